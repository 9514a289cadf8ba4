/** Words to token ids and back. */
export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant'
  readonly content: string
}

export type TemplateKind = 'model' | 'plain'

/** Exposed over comlink by workers/text/text.worker.ts. */
export interface TextApi {
  /**
   * Loads tokenizer and chat template of the model in the cut folder `url` (from the store).
   * @returns where the template comes from: `plain` is "User: …", for models without one.
   */
  open(url: string): Promise<{ readonly template: TemplateKind }>
  /** Conversation to ids by the model's chat template, ready for the assistant's turn. */
  encode(messages: readonly ChatMessage[]): Promise<number[]>
  /**
   * A decoder for one answer: feed ids as they come; the text that is safe to show comes back
   * (an incomplete UTF-8 sequence is held back).
   */
  push(stream: number, ids: readonly number[]): Promise<string>
  /** The rest that was held back; forgets the stream. */
  finish(stream: number): Promise<string>
  /**
   * From now on reads files from the shards worker at the other end (`ShardsApi.connect`);
   * needed only where the store is in memory and thus not shared between workers.
   */
  connect(port: MessagePort): void
}
