/** The acceptance suite of the engines in a page, on the browser's graphics chip. */
import { parseManifest } from '../../model-split/manifest.ts'
import { toleranceFor } from '../../workers/stage/canary.ts'
import { engineChecks } from '../../workers/stage/engine-suite.ts'
import { createWebGpuEngine } from '../../workers/stage/engine-webgpu.ts'
import { loadWebGpuRuntime } from '../../workers/stage/ort-webgpu.ts'
import type { EngineCheck } from '../../workers/stage/suite-tools.ts'

/** Steps of other sizes take other kernels. */
const OWN_TOLERANCE = 1e-4

let checks: readonly EngineCheck[] = []

const engineSuite = {
  /** @returns names of the checks with this cut model. */
  async open(url: string): Promise<string[]> {
    const bytes = async (file: string): Promise<Uint8Array> =>
      new Uint8Array(await (await fetch(url + file)).arrayBuffer())
    const json: unknown = await (await fetch(`${url}manifest.json`)).json()
    const manifest = parseManifest(json)
    const reader = {
      file: bytes,
      shard: (sha256: string) => bytes(`shards/${sha256}.bin`),
    }
    const runtime = await loadWebGpuRuntime()
    if (!runtime) throw new Error('There is no graphics chip.')
    const { ort } = runtime
    const device = await runtime.openDevice()
    // Kernels are compiled once per device, and kept while one of its sessions lives: all
    // engines share one that no engine may destroy.
    Object.defineProperty(device, 'destroy', { value: () => undefined })
    // As many sessions as there can be.
    const create = () =>
      Promise.resolve(createWebGpuEngine({ ort, device, sessionBytes: 1 }))
    const whole = { from: 0, to: manifest.layers, embed: true, head: true }
    const keeper = await create()
    const mode = 'packed'
    await keeper.load({ layout: 1, manifest, reader, spans: [whole], mode })
    const quantised = Object.values(manifest.blobs).some((b) => b.quantised.length > 0)
    checks = engineChecks({
      ...{ create, model: { manifest, reader }, mode },
      tolerance: toleranceFor('webgpu', manifest.logits.dtype, quantised),
      ownTolerance: OWN_TOLERANCE,
    })
    return checks.map(({ name }) => name)
  },

  async run(name: string): Promise<void> {
    await checks.find((check) => check.name === name)?.run()
  },
}
Object.assign(window, { engineSuite })

declare global {
  interface Window {
    engineSuite: typeof engineSuite
  }
}
