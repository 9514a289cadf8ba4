import { describe, expect, it } from 'vitest'
import { Asker, WAIT_FOR_STARTER_MS } from './asker.ts'
import type { AskMessage } from './messages.ts'
import { FakeClock } from './testing/fake-room.ts'
import { GREEDY, type AnswerEvent } from './types.ts'

const ASK = { sequence: 1, ids: [7, 8, 9], maxTokens: 10, sampling: GREEDY }
const STATS = {
  promptTokens: 3,
  reusedTokens: 0,
  newTokens: 2,
  laps: 1,
  prefillMs: 5,
  decodeMs: 6,
}
const FIRST = { term: 1, number: 1 }
const token = (index: number, id: number) => ({ kind: 'token', index, id }) as const
const end = { kind: 'end', reason: 'eos', stats: STATS } as const

function asking() {
  const clock = new FakeClock()
  const sent: AskMessage[] = []
  const stops: number[] = []
  const starter = { here: true }
  const asker = new Asker({
    clock,
    sendAsk: (_, ask) => {
      if (starter.here) sent.push(ask)
      return starter.here
    },
    sendStop: (sequence) => {
      if (starter.here) stops.push(sequence)
      return starter.here
    },
    sendForget: () => starter.here,
  })
  const events: AnswerEvent[] = []
  const ask = () => asker.ask(ASK, (event) => events.push(event))
  return { clock, sent, stops, starter, asker, events, ask }
}

const shown = (events: AnswerEvent[]) =>
  events.map((event) => (event.kind === 'token' ? event.id : event.kind))

describe('the asking device', () => {
  it('shows each token once, whatever comes twice', () => {
    const { asker, events, ask } = asking()
    ask()
    for (const message of [token(0, 4), token(0, 4), token(1, 5), token(0, 4), end, end])
      asker.receive(1, 1, message, FIRST)
    expect(shown(events)).toEqual([4, 5, 'end'])
  })

  it('shows nothing of the answer to an earlier question', () => {
    const { asker, events, sent, ask } = asking()
    ask()
    asker.stop(1)
    ask()
    expect(sent.map(({ question }) => question)).toEqual([1, 2])
    asker.receive(1, 1, token(0, 4), FIRST)
    asker.receive(1, 1, end, FIRST)
    asker.receive(1, 2, token(0, 6), FIRST)
    asker.receive(1, 2, token(1, 7), FIRST)
    asker.receive(1, 2, end, FIRST)
    expect(shown(events)).toEqual([6, 7, 'end'])
  })

  it('asks for the rest where a token is missing, and not for ever', () => {
    const { asker, events, sent, ask } = asking()
    ask()
    asker.receive(1, 1, token(0, 4), FIRST)
    asker.receive(1, 1, token(2, 6), FIRST)
    expect(sent).toHaveLength(2)
    expect(sent[1]).toMatchObject({ ids: [7, 8, 9, 4], answered: 1, maxTokens: 10 })
    asker.receive(1, 1, end, FIRST)
    expect(sent).toHaveLength(3)
    asker.receive(1, 1, token(1, 5), FIRST)
    asker.receive(1, 1, end, FIRST)
    expect(shown(events)).toEqual([4, 5, 'end'])
    ask()
    for (let i = 0; i < 9; i++) asker.receive(1, 2, token(5, 1), FIRST)
    expect(events.at(-1)).toMatchObject({ kind: 'failed' })
    expect(sent).toHaveLength(3 + 1 + 5)
  })

  it('asks once for a hole, however many tokens are on their way behind it', () => {
    const { asker, events, sent, ask } = asking()
    ask()
    const next = { term: 1, number: 2 }
    for (let i = 1; i < 9; i++) {
      asker.receive(1, 1, token(i, i), FIRST)
      asker.receive(1, 1, token(i, i), next)
    }
    // One for each plan that it comes from.
    expect(sent).toHaveLength(3)
    for (let i = 0; i < 2; i++) asker.receive(1, 1, token(i, i), next)
    expect(shown(events)).toEqual([0, 1])
  })

  it('waits for a starter, and fails with a sentence when none comes', () => {
    const { asker, clock, events, sent, starter, ask } = asking()
    starter.here = false
    ask()
    clock.move(WAIT_FOR_STARTER_MS - 1)
    starter.here = true
    asker.resume()
    expect(sent).toHaveLength(1)
    asker.receive(1, 1, token(0, 4), FIRST)
    starter.here = false
    asker.lost()
    clock.move(WAIT_FOR_STARTER_MS - 1)
    expect(shown(events)).toEqual([4])
    clock.move(1)
    expect(events.at(-1)).toEqual({
      kind: 'failed',
      sequence: 1,
      message: 'The phone that leads the answer cannot be reached; ask again.',
    })
    expect(clock.waiting).toBe(0)
  })

  it('stops by itself where there is no starter', () => {
    const { asker, events, starter, stops, ask } = asking()
    ask()
    asker.stop(1)
    expect(stops).toEqual([1])
    // Another starter has to be told too.
    asker.resume()
    expect(stops).toEqual([1, 1])
    starter.here = false
    asker.stop(1)
    expect(events).toMatchObject([{ kind: 'end', reason: 'stopped' }])
    asker.receive(1, 1, token(0, 1), FIRST)
    expect(events).toHaveLength(1)
  })

  it('times an answer that moved by its own clock', () => {
    const { asker, clock, events, ask } = asking()
    ask()
    asker.receive(1, 1, token(0, 4), FIRST)
    clock.move(100)
    asker.resume()
    asker.receive(1, 1, token(1, 5), { term: 1, number: 2 })
    clock.move(20)
    asker.receive(1, 1, end, FIRST)
    expect(events.at(-1)).toMatchObject({ stats: { decodeMs: 120, pauseMs: 100 } })
  })
})
