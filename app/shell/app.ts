/** The app: which screen is shown, and the room that it belongs to. */
import {
  css,
  html,
  LitElement,
  nothing,
  type PropertyValues,
  type TemplateResult,
} from 'lit'
import { customElement, property, state } from 'lit/decorators.js'
import { hasRoom } from '../join/link.ts'
import type { RoomSession } from '../room/types.ts'
import { applySampling, randomSeed, SettingsStore } from '../settings/settings.ts'
import { applyTheme } from '../settings/theme.ts'
import { announceIn } from './announcer.ts'
import { FrameGate } from './frame-gate.ts'
import './opening-screen.ts'
import { roomMemory } from './room-memory.ts'
import type { Services } from './services.ts'
import './sheet.ts'
import './start-screen.ts'
import './update-snack.ts'

type Screen =
  /** `retry` is the link of the room that did not open. */
  | { readonly kind: 'start'; readonly problem: string; readonly retry: string | null }
  | { readonly kind: 'join' }
  | {
      readonly kind: 'opening'
      readonly words: string
      readonly digits: string
      readonly abort: AbortController
    }
  | { readonly kind: 'room'; readonly session: RoomSession }

type Enter = (signal: AbortSignal) => Promise<RoomSession>

/** By these a person does something on a screen. */
const ACTS = ['click', 'keydown'] as const
const START: Screen = { kind: 'start', problem: '', retry: null }

@customElement('choir-app')
export class ChoirApp extends LitElement {
  @property({ attribute: false }) services: Services | undefined
  @state() private screen: Screen = START
  @state() private settingsOpen = false
  @state() private settingsSheet: 'settings' | 'history' = 'settings'
  private readonly settings = new SettingsStore(safeStorage())
  private readonly gate = new FrameGate(() => this.requestUpdate())
  private lastChosen = this.settings.value

  static override readonly styles = css`
    :host {
      display: block;
    }
  `

  override connectedCallback(): void {
    super.connectedCallback()
    announceIn(document.body)
    applyTheme(this.settings.value.theme, document)
    this.settings.addEventListener('change', this.chosen)
    for (const act of ACTS) this.addEventListener(act, this.acted, true)
    addEventListener('hashchange', this.fromAddress)
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    this.settings.removeEventListener('change', this.chosen)
    for (const act of ACTS) this.removeEventListener(act, this.acted, true)
    removeEventListener('hashchange', this.fromAddress)
  }

  protected override updated(changed: PropertyValues<this>): void {
    if (!changed.has('services') || !this.services) return
    this.fromAddress()
    const kept = roomMemory.get()
    if (this.screen.kind !== 'start' || kept === null) return
    if (roomMemory.inside)
      this.enter('Coming back …', (signal) => this.rooms().rejoin(kept, signal))
    else this.join(kept)
  }

  protected override render(): TemplateResult | typeof nothing {
    if (!this.services) return nothing
    return html`${this.page(this.services)}<choir-update></choir-update>`
  }

  private page(services: Services): TemplateResult {
    const { screen } = this
    switch (screen.kind) {
      case 'start':
        return this.start(services, screen.problem, screen.retry)
      case 'join':
        return html`<choir-join-screen
          @choir-back=${() => (this.screen = START)}
          @choir-join=${(event: CustomEvent<string>) => this.join(event.detail)}
          @choir-knock=${(event: CustomEvent<string>) => this.knock(event.detail)}
        ></choir-join-screen>`
      case 'opening':
        return html`<choir-opening-screen
          .words=${screen.words}
          .digits=${screen.digits}
          @choir-cancel=${() => {
            screen.abort.abort()
            roomMemory.set(null)
            this.screen = START
          }}
        ></choir-opening-screen>`
      case 'room':
        return this.room(services, screen.session)
    }
  }

  private start(
    services: Services,
    problem: string,
    retry: string | null,
  ): TemplateResult {
    const sheet = this.settingsSheet
    return html`<choir-start-screen
        .services=${services}
        .problem=${problem}
        .retryable=${retry !== null}
        @choir-retry=${() => {
          if (retry !== null) this.join(retry)
        }}
        @choir-create=${() =>
          this.enter('Opening a room …', (signal) => services.rooms.create(signal))}
        @choir-open-join=${() => {
          void import('../join/join-screen.ts')
          this.screen = { kind: 'join' }
        }}
        @choir-open-settings=${() => {
          void import('../settings/settings-panel.ts')
          this.settingsSheet = 'settings'
          this.settingsOpen = true
        }}
      ></choir-start-screen>
      <choir-sheet
        .heading=${sheet === 'settings' ? 'Settings' : 'Earlier chats'}
        .open=${this.settingsOpen}
        @choir-close=${() => (this.settingsOpen = false)}
        @choir-open-history=${() => {
          void import('../chat/history.ts')
          this.settingsSheet = 'history'
        }}
      >
        ${
          !this.settingsOpen
            ? nothing
            : sheet === 'settings'
              ? html`<choir-settings
                  .settings=${this.settings}
                  .services=${services}
                ></choir-settings>`
              : html`<choir-history></choir-history>`
        }
      </choir-sheet>`
  }

  private room(services: Services, session: RoomSession): TemplateResult {
    const { view } = session
    if (view.status.kind === 'closed')
      return html`<choir-closed-screen
        .message=${view.status.message}
        @choir-rejoin=${() => {
          void this.drop(session)
          this.join(view.link)
        }}
        @choir-leave=${() => this.leave(session)}
      ></choir-closed-screen>`
    return html`<choir-room
      .session=${session}
      .view=${view}
      .settings=${this.settings}
      .services=${services}
      @choir-leave=${() => this.leave(session)}
    ></choir-room>`
  }

  private join(link: string): void {
    // The page may reload at any time, also on the way in.
    roomMemory.set(link)
    this.enter('Joining the room …', (signal) => this.rooms().join(link, signal))
  }

  private knock(code: string): void {
    this.enter('Knocking …', (signal) =>
      this.rooms().knock(code, {
        signal,
        onDigits: (digits) => {
          if (this.screen.kind === 'opening') this.screen = { ...this.screen, digits }
        },
      }),
    )
  }

  private rooms(): Services['rooms'] {
    if (!this.services) throw new Error('The app has not started yet.')
    return this.services.rooms
  }

  private enter(words: string, task: Enter): void {
    if (this.screen.kind === 'opening') this.screen.abort.abort()
    this.settingsOpen = false
    const abort = new AbortController()
    this.screen = { kind: 'opening', words, digits: '', abort }
    Promise.all([task(abort.signal), loadRoom()]).then(
      ([session]) => {
        if (abort.signal.aborted) void session.leave().catch(() => undefined)
        else this.entered(session)
      },
      (error: unknown) => {
        if (abort.signal.aborted) return
        const retry = roomMemory.get()
        roomMemory.set(null)
        const problem =
          error instanceof Error && error.message !== ''
            ? error.message
            : 'The room did not open. Try again.'
        this.screen = { kind: 'start', problem, retry }
      },
    )
  }

  private entered(session: RoomSession): void {
    const { value } = this.settings
    if (value.name !== null) session.rename(value.name)
    if (value.memoryBudget !== null) session.setMemoryBudget(value.memoryBudget)
    applySampling(session, value, randomSeed)
    session.addEventListener('change', this.viewChanged)
    roomMemory.enter(session.view.link)
    this.screen = { kind: 'room', session }
  }

  private readonly viewChanged = (event: Event): void => {
    const { screen } = this
    if (screen.kind !== 'room' || event.currentTarget !== screen.session) return
    roomMemory.set(screen.session.view.link)
    this.gate.open()
  }

  private readonly acted = (): void => this.gate.hurry()

  private async drop(session: RoomSession): Promise<void> {
    session.removeEventListener('change', this.viewChanged)
    await session.leave().catch(() => undefined)
  }

  private leave(session: RoomSession): void {
    roomMemory.set(null)
    this.screen = START
    void this.drop(session)
  }

  /** `#room=…` joins at once and leaves the address bar: nobody should read it there. */
  private readonly fromAddress = (): void => {
    if (!hasRoom(location.hash) || !this.services) return
    const link = location.href
    history.replaceState(null, '', location.pathname + location.search)
    const { screen } = this
    if (screen.kind === 'room') {
      if (screen.session.view.link === link) return
      void this.drop(screen.session)
    }
    this.join(link)
  }

  private readonly chosen = (): void => {
    const { value } = this.settings
    const before = this.lastChosen
    this.lastChosen = value
    if (value.theme !== before.theme) applyTheme(value.theme, document)
    if (this.screen.kind !== 'room' || !this.services) return
    const { session } = this.screen
    if (value.memoryBudget !== before.memoryBudget) {
      if (value.memoryBudget !== null) session.setMemoryBudget(value.memoryBudget)
      else
        void this.services.preflight().then(
          ({ memoryBytes }) => session.setMemoryBudget(memoryBytes),
          () => undefined,
        )
    }
    applySampling(session, value, randomSeed)
  }
}

function safeStorage(): Storage | null {
  try {
    return localStorage
  } catch {
    return null
  }
}

async function loadRoom(): Promise<void> {
  try {
    await Promise.all([import('./room-screen.ts'), import('./closed-screen.ts')])
  } catch (error) {
    throw new Error('A part of Choir did not load. Check the network and try again.', {
      cause: error,
    })
  }
}
