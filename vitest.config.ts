import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['{model-split,workers,app,e2e}/**/*.test.ts'],
    environment: 'node',
    testTimeout: 60_000,
    // Nothing else runs meanwhile; by default one core is left alone.
    maxWorkers: '100%',
  },
})
