/** A model that cannot be cut; the message is one sentence for people. */
export class ModelError extends Error {
  override readonly name = 'ModelError'
}
