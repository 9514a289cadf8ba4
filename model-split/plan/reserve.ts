/** Rows of cache that a device leaves room for when its layers are chosen. */
export const PLANNED_ROWS = 1024
/** The least that a room can talk with; taken only where more does not fit. */
export const LEAST_ROWS = 256
