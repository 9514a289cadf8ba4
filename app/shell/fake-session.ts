/** A room that exists on this screen only. */
import { Thread } from '../room/thread.ts'
import type { ChatActions, Message, RoomSession, RoomView } from '../room/types.ts'
import { ANSWER, BASE, phone, SCENES } from './fake-scenes.ts'

class FakeSession extends EventTarget implements RoomSession {
  private timer: ReturnType<typeof setInterval> | null = null
  private next = 0
  private thread: Thread
  readonly chat: ChatActions = {
    edit: (question, text) => this.askBehind(this.thread.parentOf(question), text),
    regenerate: (answer) => this.answerBehind(this.thread.parentOf(answer)),
    continue: (answer) => this.write(answer),
    choose: (message) => this.say(this.thread.choose(message)),
    resume: ({ nodes, leaf }) => this.say(Thread.of(nodes, leaf)),
  }

  constructor(public view: RoomView) {
    super()
    const nodes = view.messages.map((message, i) => ({
      message,
      parent: view.messages[i - 1]?.id ?? null,
    }))
    this.thread = Thread.of(nodes, nodes.at(-1)?.message.id ?? null)
  }

  show(patch: Partial<RoomView>): void {
    this.view = { ...this.view, ...patch }
    this.dispatchEvent(new Event('change'))
  }

  ask(text: string): void {
    this.askBehind(this.thread.leaf, text)
  }

  stop(): void {
    if (this.timer) this.finish('stopped', performance.now() - 1000, 12)
  }

  clear(): void {
    this.say(Thread.EMPTY)
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

  /** An answer without end, from stages whose speed wanders. */
  sing(): void {
    let beats = 0
    setInterval(() => {
      beats += 1
      const wander = (place: number): number => 1 + 0.3 * Math.sin(beats / 9 + place)
      this.show({
        devices: this.view.devices.map((device, place) => ({
          ...device,
          stageMs: (20 + 9 * place) * wander(place),
        })),
      })
      const tokens = Math.round(beats * 2.4 * wander(4))
      this.answer({ live: { tokens, ms: beats * 200, firstTokenMs: 90 } })
    }, 200)
  }

  private askBehind(parent: string | null, text: string): void {
    const question = { id: this.newId(), role: 'user', text, state: 'done' } as const
    this.say(this.thread.add(question, parent))
    this.answerBehind(question.id)
  }

  private answerBehind(parent: string | null): void {
    const id = this.newId()
    this.say(
      this.thread.add({ id, role: 'assistant', text: '', state: 'waiting' }, parent),
    )
    this.write(id)
  }

  private write(id: string): void {
    const before = this.thread.nodes.get(id)?.message.text ?? ''
    const pieces = ANSWER.match(/\s*\S+/g) ?? []
    let written = 0
    const started = performance.now()
    this.timer = setInterval(() => {
      if (this.view.status.kind !== 'ready') return
      written += 1
      const done = written >= pieces.length
      const ms = performance.now() - started
      this.answer({
        text: before + pieces.slice(0, written).join(''),
        state: done ? 'done' : 'streaming',
        live: { tokens: written, ms, firstTokenMs: 90 },
      })
      if (done) this.finish('done', started, written)
    }, 60)
  }

  private newId(): string {
    this.next += 1
    return `fake-${this.next}`
  }

  private say(thread: Thread): void {
    this.thread = thread
    this.show({
      messages: thread.path,
      chat: { nodes: [...thread.nodes.values()], leaf: thread.leaf },
    })
  }

  private answer(patch: Partial<Message>): void {
    if (this.thread.leaf) this.say(this.thread.change(this.thread.leaf, patch))
  }

  private finish(state: 'done' | 'stopped', started: number, newTokens: number): void {
    if (this.timer) clearInterval(this.timer)
    this.timer = null
    const decodeMs = performance.now() - started
    this.answer({
      state,
      continuable: state === 'stopped',
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
  if (view) {
    const session = new FakeSession(view)
    if (scene === 'live') session.sing()
    return session
  }
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
