/** The wire writer, which the browser-side linker shares. */
export * from '../link/wire.ts'
