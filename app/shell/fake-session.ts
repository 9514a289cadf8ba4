/** A room that exists on this screen only. */
import type { Message, RoomSession, RoomView } from '../room/types.ts'
import { ANSWER, BASE, phone, SCENES } from './fake-scenes.ts'

class FakeSession extends EventTarget implements RoomSession {
  private timer: ReturnType<typeof setInterval> | null = null
  private next = 0

  constructor(public view: RoomView) {
    super()
  }

  show(patch: Partial<RoomView>): void {
    this.view = { ...this.view, ...patch }
    this.dispatchEvent(new Event('change'))
  }

  ask(text: string): void {
    this.next += 1
    const id = `fake-${this.next}`
    const answer: Message = {
      id: `${id}a`,
      role: 'assistant',
      text: '',
      state: 'waiting',
    }
    this.show({
      messages: [
        ...this.view.messages,
        { id, role: 'user', text, state: 'done' },
        answer,
      ],
    })
    const pieces = ANSWER.match(/\s*\S+/g) ?? []
    let written = 0
    const started = performance.now()
    this.timer = setInterval(() => {
      if (this.view.status.kind !== 'ready') return
      written += 1
      const done = written >= pieces.length
      this.answer({
        text: pieces.slice(0, written).join(''),
        state: done ? 'done' : 'streaming',
      })
      if (done) this.finish('done', started, written)
    }, 60)
  }

  stop(): void {
    if (this.timer) this.finish('stopped', performance.now() - 1000, 12)
  }

  clear(): void {
    this.show({ messages: [] })
  }

  admit(id: string): void {
    const { devices, knocks } = this.view
    const state = { kind: 'joining' } as const
    this.show({
      knocks: knocks.filter((knock) => knock.id !== id),
      devices: [...devices, phone(devices.length, 4, state)],
    })
  }

  deny(id: string): void {
    this.show({ knocks: this.view.knocks.filter((knock) => knock.id !== id) })
  }

  rename(name: string): void {
    this.show({ devices: this.view.devices.map((d) => (d.self ? { ...d, name } : d)) })
  }

  setMemoryBudget(memoryBudget: number): void {
    this.show({
      devices: this.view.devices.map((d) => (d.self ? { ...d, memoryBudget } : d)),
    })
  }

  setSampling(): void {
    // Answers are written already.
  }

  leave(): Promise<void> {
    if (this.timer) clearInterval(this.timer)
    return Promise.resolve()
  }

  private answer(patch: Partial<Message>): void {
    const { messages } = this.view
    this.show({
      messages: messages.map((m, i) =>
        i === messages.length - 1 ? { ...m, ...patch } : m,
      ),
    })
  }

  private finish(state: 'done' | 'stopped', started: number, newTokens: number): void {
    if (this.timer) clearInterval(this.timer)
    this.timer = null
    const decodeMs = performance.now() - started
    this.answer({
      state,
      stats: {
        promptTokens: 30,
        reusedTokens: 0,
        newTokens,
        laps: newTokens - 1,
        prefillMs: 60,
        decodeMs,
        firstTokenMs: 90,
      },
    })
  }
}

export function fakeSession(scene: string): RoomSession {
  const view = SCENES[scene]
  if (view) return new FakeSession(view)
  const session = new FakeSession({
    ...BASE,
    status: { kind: 'connecting' },
    devices: [phone(0, 1, { kind: 'joining' })],
  })
  play(session)
  return session
}

/** Alone, then three, then ready; later somebody knocks. */
function play(session: FakeSession): void {
  const total = 46e6
  let tick = 0
  const timer = setInterval(() => {
    tick += 1
    const doneBytes = Math.min(total, Math.max(0, tick - 8) * 1.2e6)
    if (tick < 4) return
    if (tick < 8) {
      const devices = [0, 1, 2].map((index) => phone(index, 3, { kind: 'joining' }))
      session.show({ status: { kind: 'preparing' }, devices })
    } else if (doneBytes < total) {
      const state = { kind: 'fetching', doneBytes, totalBytes: total } as const
      session.show({ devices: [0, 1, 2].map((index) => phone(index, 3, state)) })
    } else {
      clearInterval(timer)
      session.show({ status: { kind: 'ready' }, devices: BASE.devices })
      setTimeout(() => {
        session.show({ knocks: [{ id: 'k', name: "Dina's iPhone", digits: '402871' }] })
      }, 15_000)
    }
  }, 200)
}
