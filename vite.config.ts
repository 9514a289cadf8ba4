import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vite'
import { VitePWA } from 'vite-plugin-pwa'
import {
  caching,
  contentSecurity,
  ISOLATION,
  SERVED_HEADERS,
} from './app/serve/headers.ts'
import { noRuntime } from './app/serve/no-runtime.ts'
import { originFile } from './app/serve/origins.ts'
import { peerServer } from './app/serve/peer-server.ts'
import { webManifest } from './app/serve/web-manifest.ts'

const path = (relative: string): string =>
  fileURLToPath(new URL(relative, import.meta.url))
const stub = path('./workers/text/no-runtime.ts')

export default defineConfig({
  root: path('./app'),
  publicDir: path('./public'),
  cacheDir: path('./.cache/vite'),
  plugins: [
    // Before `caching`, which knows files only.
    originFile(),
    peerServer(),
    caching(),
    contentSecurity(),
    noRuntime(stub),
    VitePWA({
      strategies: 'injectManifest',
      srcDir: 'sw',
      filename: 'sw.ts',
      injectRegister: false,
      registerType: 'prompt',
      manifest: webManifest,
      injectManifest: {
        globPatterns: ['**/*.{js,css,html,svg,png,woff2,webmanifest}'],
        // Weights are kept by the shard store, the one runtime that is used by the worker.
        globIgnores: ['models/**'],
      },
    }),
  ],
  worker: {
    format: 'es',
    plugins: () => [noRuntime(stub)],
    rolldownOptions: {
      // WebKit runs a worker's own file a second time when one of its chunks imports it: two
      // workers would answer. What chunks share is therefore a file of its own.
      output: { codeSplitting: { groups: [{ name: 'shared', minShareCount: 2 }] } },
    },
  },
  // One copy of the runtime, whoever asks for it.
  resolve: { dedupe: ['onnxruntime-web', 'onnxruntime-common'] },
  optimizeDeps: {
    // Pre-bundled it would look for its WASM files beside the bundle.
    exclude: ['onnxruntime-web'],
    rolldownOptions: { plugins: [noRuntime(stub)] },
  },
  build: {
    outDir: path('./dist'),
    emptyOutDir: true,
    target: 'es2022',
    // The runtime's WASM files are 14 to 27 MB and load only where needed.
    chunkSizeWarningLimit: 1500,
  },
  server: { host: '127.0.0.1', headers: ISOLATION },
  preview: { host: '127.0.0.1', port: 4173, headers: SERVED_HEADERS },
})
