/** Which sequences are being decoded, as the steps of one span tell. */
export class InFlight {
  /** In order of their last step. */
  readonly #sequences = new Set<number>()

  /** A step of the sequence begins. What had none since its last one has come to an end. */
  stepped(sequence: number): void {
    if (this.#sequences.has(sequence))
      for (const older of this.#sequences) {
        this.#sequences.delete(older)
        if (older === sequence) break
      }
    this.#sequences.add(sequence)
  }

  /** @param waiting sequences whose next step waits here. */
  count(waiting: readonly number[]): number {
    return new Set([...this.#sequences, ...waiting]).size
  }
}
