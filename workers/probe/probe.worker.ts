/** The probe worker: exposes `ProbeApi` over comlink. Terminate it after use. */
import { expose } from 'comlink'
import { systemClock } from '../shards/clock.ts'
import { probeMemory } from './memory.ts'
import { probeFeatures } from './probe.ts'
import type { ProbeApi } from './types.ts'

const api: ProbeApi = {
  features: () => probeFeatures(globalThis, systemClock),
  memory: (hints) =>
    probeMemory(hints, (limits) => new WebAssembly.Memory({ ...limits })),
}

if (typeof WorkerGlobalScope !== 'undefined' && self instanceof WorkerGlobalScope)
  expose(api)
