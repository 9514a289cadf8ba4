/** A room: chat in the middle, its phones above, everything else in a sheet. */
import {
  css,
  html,
  LitElement,
  nothing,
  type PropertyValues,
  type TemplateResult,
} from 'lit'
import { customElement, property, query, state } from 'lit/decorators.js'
import type { ChoirComposer } from '../chat/composer.ts'
import '../chat/composer.ts'
import '../chat/empty-chat.ts'
import type { KeptChat } from '../chat/history.ts'
import { ChatKeeper } from '../chat/keeper.ts'
import type { EditedQuestion } from '../chat/message.ts'
import '../chat/message-list.ts'
import { waitingWords } from '../chat/waiting.ts'
import { RoomLog } from '../devices/room-log.ts'
import { Voices } from '../devices/voices.ts'
import type { RoomSession, RoomView } from '../room/types.ts'
import { applySampling, randomSeed, type SettingsStore } from '../settings/settings.ts'
import { controls } from '../styles/controls.ts'
import './knock-banner.ts'
import './notice.ts'
import './room-header.ts'
import type { Services } from './services.ts'
import './sheet.ts'
import { ScreenWake } from './wake-lock.ts'

type SheetName = 'devices' | 'invite' | 'settings' | 'history'

const HEADINGS: Readonly<Record<SheetName, string>> = {
  devices: 'The room',
  invite: 'Invite',
  settings: 'Settings',
  history: 'Earlier chats',
}

/** What a sheet shows comes when it is first opened. */
const load: Readonly<Record<SheetName, () => Promise<unknown>>> = {
  devices: () => import('../devices/device-list.ts'),
  invite: () => import('../join/invite.ts'),
  settings: () => import('../settings/settings-panel.ts'),
  history: () => import('../chat/history.ts'),
}

/** @fires choir-leave. */
@customElement('choir-room')
export class ChoirRoom extends LitElement {
  @property({ attribute: false }) session: RoomSession | undefined
  @property({ attribute: false }) view: RoomView | undefined
  @property({ attribute: false }) settings: SettingsStore | undefined
  @property({ attribute: false }) services: Services | undefined
  @state() private sheet: SheetName | null = null
  @state() private heading = ''
  @query('choir-composer') private readonly composer: ChoirComposer | undefined
  private readonly voices = new Voices()
  private readonly log = new RoomLog()
  private readonly wake = new ScreenWake(this)
  private readonly keeper = new ChatKeeper(
    async () => new (await import('../chat/conversations.ts')).ConversationStore(),
    () => [...crypto.getRandomValues(new Uint32Array(3))].join('-'),
    () => Date.now(),
  )

  static override readonly styles = [
    controls,
    css`
      :host {
        display: grid;
        grid-template: auto minmax(0, 1fr) auto / minmax(0, 1fr);
        height: var(--height);
      }
      .middle {
        position: relative;
        display: grid;
        grid-template: minmax(0, 1fr) / minmax(0, 1fr);
        min-height: 0;
      }
      .middle > :not(.over) {
        grid-area: 1 / 1;
      }
      .over {
        position: absolute;
        z-index: 2;
        top: 8px;
        left: 12px;
        right: 12px;
        display: grid;
        gap: 8px;
        max-width: 520px;
        margin: 0 auto;
      }
      choir-sheet choir-knock {
        margin-bottom: 20px;
      }
      .open {
        padding: 0 var(--edge-right) 0 var(--edge-left);
        text-align: center;
        font-size: 14px;
      }
    `,
  ]

  protected override willUpdate(changed: PropertyValues<this>): void {
    if (!changed.has('view') || !this.view) return
    for (const { id } of this.view.devices) this.voices.of(id)
    this.log.add(this.view, Date.now())
    void this.keeper.keep(this.view)
  }

  protected override render(): TemplateResult | typeof nothing {
    const { view, session, sheet } = this
    if (!view || !session) return nothing
    const knock =
      view.knocks.length === 0
        ? nothing
        : html`<choir-knock .knocks=${view.knocks} .session=${session}></choir-knock>`
    return html`<choir-room-header
        .view=${view}
        .voices=${this.voices}
        @choir-open=${(event: CustomEvent<SheetName>) => this.open(event.detail)}
        @choir-new-chat=${() => this.newChat()}
      ></choir-room-header>
      <main
        class="middle"
        @choir-ask=${(event: CustomEvent<string>) => this.ask(event.detail)}
        @choir-edit=${({ detail }: CustomEvent<EditedQuestion>) =>
          this.change((room) => room.chat.edit(detail.id, detail.text))}
        @choir-regenerate=${({ detail }: CustomEvent<string>) =>
          this.change((room) => room.chat.regenerate(detail))}
        @choir-continue=${({ detail }: CustomEvent<string>) =>
          this.change((room) => room.chat.continue(detail))}
        @choir-choose=${({ detail }: CustomEvent<string>) =>
          this.change((room) => room.chat.choose(detail))}
        @choir-invite=${() => this.open('invite')}
      >
        <h1 class="visually-hidden">Chat</h1>
        ${
          view.messages.length === 0
            ? html`<choir-empty-chat
                .view=${view}
                .voices=${this.voices}
              ></choir-empty-chat>`
            : html`<choir-message-list
                .messages=${view.messages}
                .waiting=${waitingWords(view)}
                .context=${view.model?.context ?? 0}
              ></choir-message-list>`
        }
        <div class="over">
          ${sheet === null ? knock : nothing}
          <choir-notice .text=${view.notice ?? ''}></choir-notice>
        </div>
      </main>
      <section aria-label="Ask">
        ${this.openHint()}
        <choir-composer
          .answering=${isAnswering(view)}
          @choir-ask=${(event: CustomEvent<string>) => this.ask(event.detail)}
          @choir-stop=${() => session.stop()}
        ></choir-composer>
      </section>
      <choir-sheet
        .heading=${this.heading || (sheet ? HEADINGS[sheet] : '')}
        .open=${sheet !== null}
        @choir-close=${() => (this.sheet = null)}
      >
        ${sheet !== null ? knock : nothing} ${this.sheetContent(view, session)}
      </choir-sheet>`
  }

  private openHint(): TemplateResult | typeof nothing {
    if (this.wake.state !== 'unsupported' && this.wake.state !== 'refused') return nothing
    return html`<p class="hint open">Keep this page open and the screen on.</p>`
  }

  private sheetContent(
    view: RoomView,
    session: RoomSession,
  ): TemplateResult | typeof nothing {
    switch (this.sheet) {
      case null:
        return nothing
      case 'devices':
        return html`<choir-device-list
          .view=${view}
          .voices=${this.voices}
          .samples=${this.log.samples}
          @choir-rename=${(event: CustomEvent<string>) => {
            this.settings?.update({ name: event.detail })
            session.rename(event.detail)
          }}
        ></choir-device-list>`
      case 'invite':
        return html`<choir-invite .view=${view}></choir-invite>`
      case 'history':
        return html`<choir-history
          inRoom
          @choir-take-up=${(event: CustomEvent<KeptChat>) => this.takeUp(event.detail)}
          @choir-title=${(event: CustomEvent<string>) => (this.heading = event.detail)}
        ></choir-history>`
      case 'settings':
        return html`<choir-settings
          inRoom
          .settings=${this.settings}
          .services=${this.services}
          @choir-open-history=${() => this.open('history')}
        ></choir-settings>`
    }
  }

  private open(sheet: SheetName): void {
    this.heading = ''
    this.sheet = sheet
    void load[sheet]()
  }

  private ask(text: string): void {
    this.change((room) => room.ask(text))
  }

  /** What begins another answer: not while one is being written. */
  private change(begin: (room: RoomSession) => void): void {
    const { session, settings, view } = this
    if (!session || !view || isAnswering(view)) return
    if (settings) applySampling(session, settings.value, randomSeed)
    begin(session)
  }

  private takeUp({ id, chat }: KeptChat): void {
    this.sheet = null
    this.keeper.next(id)
    this.session?.chat.resume(chat)
  }

  private newChat(): void {
    this.session?.stop()
    this.session?.clear()
    this.keeper.next()
    // On a phone the keyboard would cover the screen unasked.
    if (matchMedia('(pointer: fine)').matches) this.composer?.focus()
  }
}

function isAnswering({ messages }: RoomView): boolean {
  const state = messages.at(-1)?.state
  return state === 'waiting' || state === 'streaming'
}
