/** One device against what a person would pick instead: same model, one tab. */
import {
  decodeRate,
  ours,
  prefillRate,
  transformersJs,
  wllama,
  type Contender,
  type Timing,
} from '../engines.ts'
import { fp32Model } from '../models.ts'
import { servePeers } from '../peer-server.ts'
import type { Bench } from '../bench.ts'
import { compare, figure, median, type Row } from '../rows.ts'

/** Weights of the default model dequantised (572 MB) with room for caches, bytes. */
const FAST_MEMORY = 1500e6
/** Too little for that, enough for int8 (185 MB). */
const LEAN_MEMORY = 400e6
const DECODED = 24
/** One that needs a second for each token is known after a few. */
const DECODED_SLOWLY = 8
/** About 490 tokens. */
const PROMPT_WORDS = 440
const SHORT = 'Write a long story about the sea.'

export function decode(bench: Bench, threads: number): Promise<Row[]> {
  return duel(bench, threads, {
    unit: 'tok/s',
    rate: decodeRate,
    answer: (contender, round) => {
      const tokens = contender.name === 'q4' ? DECODED_SLOWLY : DECODED
      return contender.answer(`${round + 1}. ${SHORT}`, tokens)
    },
    rows: [
      ['decode.wasm.transformersjs', 'fast', 'q4'],
      ['decode.wasm.transformersjs-fp32', 'fast', 'fp32'],
      ['decode.wasm.wllama', 'fast', 'wllama'],
      ['decode.wasm-lean.wllama', 'lean', 'wllama'],
    ],
  })
}

export function prefill(bench: Bench, threads: number): Promise<Row[]> {
  return duel(bench, threads, {
    unit: 'tok/s',
    rate: prefillRate,
    answer: (contender, round) => contender.answer(longPrompt(round), 2),
    rows: [
      ['prefill.wasm.transformersjs-fp32', 'fast', 'fp32'],
      ['prefill.wasm.wllama', 'fast', 'wllama'],
      ['prefill.wasm-lean.wllama', 'lean', 'wllama'],
    ],
  })
}

type Name = 'fast' | 'lean' | 'q4' | 'fp32' | 'wllama'

const LABELS: Readonly<Record<Name, string>> = {
  fast: 'Choir, fast mode',
  lean: 'Choir, lean mode',
  q4: 'transformers.js, same q4 file',
  fp32: 'transformers.js, fp32 file',
  wllama: 'wllama, GGUF',
}

interface Duel {
  readonly unit: string
  rate(timing: Timing): number
  answer(contender: Contender, round: number): Promise<Timing>
  /** Id, ours, theirs. */
  readonly rows: readonly (readonly [string, Name, Name])[]
}

async function duel(bench: Bench, threads: number, duel: Duel): Promise<Row[]> {
  const wanted = new Set(duel.rows.flatMap(([, ...names]) => names))
  const rates = new Map<Name, number[]>()
  const { contenders, close } = await openAll(bench, threads, wanted)
  try {
    for (const { contender } of contenders) await contender.answer('Hello', 2)
    for (let round = 0; round < bench.rounds; round++)
      for (const { name, contender } of contenders) {
        const rate = duel.rate(await duel.answer(contender, round))
        rates.set(name, [...(rates.get(name) ?? []), rate])
        bench.log(`  round ${round + 1}: ${LABELS[name]} ${figure(rate)} ${duel.unit}`)
      }
  } finally {
    await close()
  }
  for (const [name, all] of rates)
    bench.log(`  median of ${LABELS[name]}: ${figure(median(all))} ${duel.unit}`)
  return duel.rows.flatMap(([id, mine, other]) => {
    const [a, b] = [rates.get(mine), rates.get(other)]
    if (a && b) {
      const row = `${id}.${threads}thread${threads > 1 ? 's' : ''}`
      return [compare(row, duel.unit, LABELS[other], a, b)]
    }
    bench.log(`  skipped: ${id} (${LABELS[other]} is not here)`)
    return []
  })
}

interface Opened {
  readonly contenders: readonly { name: Name; contender: Contender }[]
  readonly close: () => Promise<void>
}

async function openAll(
  bench: Bench,
  threads: number,
  wanted: ReadonlySet<Name>,
): Promise<Opened> {
  const { browser, app, models } = bench
  const fp32 =
    models.q4 !== null && wanted.has('fp32') ? await fp32Model(models.q4) : null
  const peers = await servePeers({
    ...(models.q4 && { q4: models.q4 }),
    ...(fp32 !== null && { fp32 }),
    ...(models.gguf && { 'model.gguf': models.gguf }),
  })
  const contenders: { name: Name; contender: Contender }[] = []
  const close = async (): Promise<void> => {
    for (const { contender } of contenders) await contender.close()
    await peers.close()
  }
  const add = async (name: Name, open: () => Promise<Contender>): Promise<void> => {
    if (!wanted.has(name)) return
    bench.log(`  loading ${LABELS[name]}`)
    contenders.push({ name, contender: await open() })
  }
  const { origin } = app
  const inMode = (name: Name, memory: number) => () =>
    ours(browser, name, { origin, threads, memory })
  const hub = (dtype: 'q4' | 'fp32') => () =>
    transformersJs(browser, peers, { name: dtype, model: dtype, dtype, threads })
  try {
    await add('fast', inMode('fast', FAST_MEMORY))
    await add('lean', inMode('lean', LEAN_MEMORY))
    if (models.q4 === null) bench.log('  skipped: transformers.js (no model_q4.onnx)')
    else {
      await add('q4', hub('q4'))
      await add('fp32', hub('fp32'))
    }
    if (models.gguf === null) bench.log('  skipped: wllama (no GGUF; see --gguf)')
    else {
      const model = '/models/model.gguf'
      await add('wllama', () =>
        wllama(browser, peers, { name: 'wllama', model, threads }),
      )
    }
  } catch (error) {
    await close()
    throw error
  }
  return { contenders, close }
}

const WORDS =
  'harbour lantern quiet river stone morning window garden letter winter bridge music paper candle forest engine silver mountain bread clock'.split(
    ' ',
  )

/** Differs from round to round from its first word on, so that no cache helps. */
export function longPrompt(round: number, words = PROMPT_WORDS): string {
  const text = Array.from({ length: words }, (_, i) => WORDS[(i * 7 + round * 3) % 20])
  return `${WORDS[round % 20] ?? ''}: say what these words have in common. ${text.join(' ')}`
}
