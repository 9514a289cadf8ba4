/** What this browser can lend: looked at, probed, and halved after each load that ended a tab. */
import { wrap } from 'comlink'
import {
  budgetAfterCrash,
  dropCrumb,
  forgetCrashes,
  pickUpCrumb,
  tabLife,
  type CrumbStorage,
} from '../../workers/probe/crumb.ts'
import type { MemoryReport, ProbeApi } from '../../workers/probe/types.ts'
import type { StageApi } from '../../workers/stage/api.ts'
import { quickPreflight } from './preflight.ts'
import type { Preflight } from './services.ts'

/** A probe that does not answer is given up, ms. */
const PROBE_MS = 5000

export interface Lendable extends Preflight {
  /** Bytes that the probe could get, or null. */
  readonly probedBytes: number | null
}

export class Lending {
  readonly #storage = safeStorage()
  readonly #tab = crypto.randomUUID()
  readonly #isAlive = tabLife(navigator.locks, this.#tab)
  #known: Promise<Lendable> | null = null
  #notice: string | null = null

  /** Looks once; the answer is kept. */
  look(): Promise<Lendable> {
    this.#known ??= this.#look()
    return this.#known
  }

  /** One sentence where the last load ended the tab; told once. */
  takeNotice(): string | null {
    const notice = this.#notice
    this.#notice = null
    return notice
  }

  /** Lends as much as before the crashes again. */
  forgetCrashes(): void {
    forgetCrashes(this.#storage)
    this.#known = null
  }

  /** A crumb lies there while a stage loads. */
  watch(stage: StageApi): StageApi {
    const pickUp = (): void => pickUpCrumb(this.#storage)
    return {
      ...stage,
      prepare: async (plan, onProgress, before) => {
        dropCrumb(this.#storage, { what: 'its layers', tab: this.#tab })
        addEventListener('pagehide', pickUp)
        try {
          return await stage.prepare(plan, onProgress, before)
        } finally {
          removeEventListener('pagehide', pickUp)
          pickUp()
        }
      },
    }
  }

  async #look(): Promise<Lendable> {
    const [quick, probed] = await Promise.all([quickPreflight(), probe()])
    const allowed = Math.min(quick.memoryBytes, probed?.budget ?? Infinity)
    const { budget, notice } = await budgetAfterCrash(
      this.#storage,
      allowed,
      this.#isAlive,
    )
    this.#notice = notice
    return {
      ...quick,
      memoryBytes: budget,
      halved: budget < allowed,
      probedBytes: probed?.grown ?? null,
    }
  }
}

/** In a worker that ends at once, which gives the memory back. Null where it fails. */
async function probe(): Promise<MemoryReport | null> {
  const worker = new Worker(
    new URL('../../workers/probe/probe.worker.ts', import.meta.url),
    { type: 'module', name: 'probe' },
  )
  const deviceMemory: unknown = Reflect.get(navigator, 'deviceMemory')
  const hints = {
    userAgent: navigator.userAgent,
    touchPoints: navigator.maxTouchPoints,
    deviceMemory: typeof deviceMemory === 'number' ? deviceMemory : null,
  }
  try {
    const late = new Promise<null>((resolve) => setTimeout(resolve, PROBE_MS, null))
    const broken = new Promise<null>((resolve) => {
      worker.addEventListener('error', () => resolve(null))
    })
    const report = await Promise.race([
      wrap<ProbeApi>(worker).memory(hints),
      late,
      broken,
    ])
    // A browser that gives nothing to a probe may still give some to a model.
    return report && report.grown > 0 ? report : null
  } catch {
    return null
  } finally {
    worker.terminate()
  }
}

/** Where storage is denied, crumbs are lost with the page. */
function safeStorage(): CrumbStorage {
  try {
    return localStorage
  } catch {
    const kept = new Map<string, string>()
    return {
      getItem: (key) => kept.get(key) ?? null,
      setItem: (key, value) => void kept.set(key, value),
      removeItem: (key) => void kept.delete(key),
    }
  }
}
