/** The room's state in a few words. */
import { bytesOf, percent, shortage, timeLeft } from '../shell/format.ts'
import type { RoomView } from '../room/types.ts'
import { roomProgress } from './progress.ts'

export interface StatusWords {
  readonly text: string
  readonly tone: 'busy' | 'good' | 'bad'
  /** 0 to 1 while something is counted. */
  readonly fraction: number | null
}

export function statusWords(view: RoomView, secondsLeft: number | null): StatusWords {
  const { status } = view
  switch (status.kind) {
    case 'connecting':
      return { text: 'Connecting …', tone: 'busy', fraction: null }
    case 'short':
      return {
        text: `Short by ${shortage(status.missingBytes)}`,
        tone: 'bad',
        fraction: null,
      }
    case 'preparing': {
      const progress = roomProgress(view.devices)
      if (!progress) {
        const failed = view.devices.find(({ state }) => state.kind === 'failed')
        return failed
          ? { text: `${failed.name} has a problem`, tone: 'bad', fraction: null }
          : { text: 'Getting ready …', tone: 'busy', fraction: null }
      }
      const { phase, done, total } = progress
      const left = timeLeft(secondsLeft)
      const parts =
        phase === 'fetching'
          ? [`${percent(done, total)} %`, bytesOf(done, total), ...(left ? [left] : [])]
          : [`Loading into memory ${percent(done, total)} %`]
      return { text: parts.join(' · '), tone: 'busy', fraction: done / total }
    }
    case 'ready':
      return { text: 'Ready', tone: 'good', fraction: null }
    case 'closed':
      return { text: 'Closed', tone: 'bad', fraction: null }
  }
}
