/** Rows of the smallest shared cache; each next one has twice as many. */
const FIRST_CAPACITY = 64

/** Rows of the cache buffer that holds so many. */
export function capacityFor(rows: number): number {
  let capacity = FIRST_CAPACITY
  while (capacity < rows) capacity *= 2
  return capacity
}
