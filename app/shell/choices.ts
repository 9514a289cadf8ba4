/** What the address of the page may choose, for tests and for trying other models. */
import { DEFAULT_MODEL } from '../room/model-url.ts'

export interface Choices {
  /** Cut folder of a room that is opened here. */
  readonly model: string
  readonly engine: 'auto' | 'wasm' | 'webgpu'
  /** Bytes to lend; null: as the settings or the probe say. */
  readonly memoryBudget: number | null
  /** Null: as the browser's cores suggest. */
  readonly threads: number | null
  /** Phones that a room opened here waits for before it deals its layers; null: whoever comes soon. */
  readonly phones: number | null
  /** How layers are dealt by this phone: `planned`, `fast`, `still`, `equal`, `hand`; see room/other-deals.ts. */
  readonly deal: string
}

/** `?model=<cut folder>&engine=wasm&memory=<bytes>&threads=1&phones=3&deal=still` */
export function readChoices(search: URLSearchParams): Choices {
  const engine = search.get('engine')
  return {
    model: search.get('model') ?? DEFAULT_MODEL,
    engine: engine === 'wasm' || engine === 'webgpu' ? engine : 'auto',
    memoryBudget: count(search.get('memory'), 1e12),
    threads: count(search.get('threads'), 16),
    phones: count(search.get('phones'), 16),
    deal: search.get('deal') ?? 'planned',
  }
}

function count(text: string | null, most: number): number | null {
  if (text === null || !/^\d+$/.test(text)) return null
  return Math.min(Number(text), most)
}
