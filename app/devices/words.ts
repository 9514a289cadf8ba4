/** A phone's state in a few words. */
import type { DeviceView } from '../room/types.ts'
import { bytesOf, count, milliseconds, percent } from '../shell/format.ts'

export function layersWords({ span, starter }: DeviceView): string {
  const layers = span ? span.to - span.from : 0
  if (!span || layers === 0) return starter ? 'Reads and writes the words' : 'No layers'
  const range = layers === 1 ? `${span.from + 1}` : `${span.from + 1}–${span.to}`
  return `${count(layers, 'layer', 'layers')} (${range})`
}

/** Where it runs layers: which, and how long a token takes there. */
function readyWords(device: DeviceView): string {
  const { stageMs } = device
  const time = stageMs === null ? '' : ` · ${milliseconds(stageMs)} a token`
  return layersWords(device) + time + heldWords(device)
}

/** Layers that only rest there. */
function heldWords({ holds }: DeviceView): string {
  if (holds.length === 0) return ''
  const runs: [first: number, last: number][] = []
  for (const layer of holds) {
    const run = runs.at(-1)
    if (run?.[1] === layer) run[1] = layer + 1
    else runs.push([layer + 1, layer + 1])
  }
  const words = runs.map(([first, last]) =>
    first === last ? `${first}` : `${first}–${last}`,
  )
  return ` · also holds ${words.join(', ')}`
}

export function stateWords(device: DeviceView): string {
  const { state } = device
  switch (state.kind) {
    case 'joining':
      return 'Joining …'
    case 'idle':
      return 'Runs no layers now'
    case 'fetching':
      return `Downloading ${percent(state.doneBytes, state.totalBytes)} % · ${bytesOf(state.doneBytes, state.totalBytes)}`
    case 'loading':
      return `Loading into memory ${percent(state.doneBytes, state.totalBytes)} %`
    case 'ready':
      return readyWords(device)
    case 'failed':
      return state.message
  }
}

export function engineWords(engine: DeviceView['engine']): string {
  return engine === 'webgpu' ? 'Graphics chip' : 'Processor'
}
