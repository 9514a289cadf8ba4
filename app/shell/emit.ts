/** Sends an event up through shadow roots to whoever handles it. */
export function emit(from: EventTarget, name: string, detail?: unknown): void {
  from.dispatchEvent(new CustomEvent(name, { bubbles: true, composed: true, detail }))
}
