/**
 * Imports point one way: app -> workers -> model-split -> nothing.
 * e2e may import everything; nothing imports e2e.
 * @type {import('dependency-cruiser').IConfiguration}
 */
const NODE_PARTS = '^model-split/(?:onnx|source|cut|run|cli)/'
const TESTING = '(?:\\.test\\.ts$|/testing/|-suite\\.ts$)'

module.exports = {
  forbidden: [
    {
      name: 'no-circles',
      comment: 'Modules that need each other cannot be read, tested or moved alone.',
      severity: 'error',
      from: {},
      // Types that refer to each other leave no trace in what runs.
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'model-split-needs-nothing',
      comment: 'model-split runs in Node, in the page and in workers.',
      severity: 'error',
      from: { path: '^model-split/', pathNot: TESTING },
      to: { path: '^(?:workers|app|e2e)/' },
    },
    {
      name: 'workers-need-no-page',
      severity: 'error',
      from: { path: '^workers/', pathNot: TESTING },
      to: { path: '^(?:app|e2e)/' },
    },
    {
      name: 'app-starts-workers-only',
      comment:
        'The page shares types with workers and starts their entries; what they run must not be bundled into it.',
      severity: 'error',
      from: { path: '^app/', pathNot: TESTING },
      to: {
        path: '^workers/',
        dependencyTypesNot: ['type-only'],
        // Entries, and the words and pure bookkeeping that both sides speak.
        pathNot: [
          '\\.worker\\.ts$',
          '/(?:types|api|epoch|limits|messages)\\.ts$',
          '^workers/probe/',
        ],
      },
    },
    {
      name: 'no-cutter-in-the-browser',
      comment: 'Reading ONNX files needs Node and a protobuf library.',
      severity: 'error',
      from: { path: '^(?:app|workers)/', pathNot: TESTING },
      to: { path: NODE_PARTS },
    },
    {
      name: 'no-cutter-in-the-linker',
      severity: 'error',
      from: { path: '^model-split/', pathNot: `${NODE_PARTS}|${TESTING}` },
      to: { path: NODE_PARTS },
    },
    {
      name: 'no-node-in-the-browser',
      severity: 'error',
      from: {
        path: '^(?:app|workers|model-split)/',
        pathNot: `^app/serve/|${NODE_PARTS}|${TESTING}`,
      },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'server-stays-outside',
      severity: 'error',
      from: { path: '^(?:app|workers|model-split)/', pathNot: '^app/serve/' },
      to: { path: '^app/serve/' },
    },
    {
      name: 'no-tests-in-products',
      severity: 'error',
      from: { path: '^(?:app|workers|model-split)/', pathNot: TESTING },
      to: { path: '(?:\\.test\\.ts$|/testing/)' },
    },
    {
      name: 'shipped-packages-are-dependencies',
      comment: 'What the page or a worker imports belongs into "dependencies".',
      severity: 'error',
      from: { path: '^(?:app|workers|model-split)/', pathNot: `^app/serve/|${TESTING}` },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'] },
    },
    {
      name: 'nothing-unresolved',
      severity: 'error',
      from: {},
      // Vite's asset imports carry a query.
      to: { couldNotResolve: true, pathNot: '\\?(?:url|raw|worker)|^virtual:' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(?:dist|\\.cache)/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.base.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['types', 'import', 'browser', 'default'],
      extensions: ['.ts', '.js', '.mjs', '.json'],
    },
  },
}
