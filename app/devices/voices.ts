/** Each phone keeps its colour while the room is open, whoever comes or goes. */
export const VOICES = 8

export class Voices {
  private readonly places = new Map<string, number>()

  /** CSS colour of a phone. */
  of(device: string): string {
    let place = this.places.get(device)
    if (place === undefined) {
      place = this.places.size
      this.places.set(device, place)
    }
    return `var(--voice-${place % VOICES})`
  }
}
