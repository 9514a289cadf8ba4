/** Rooms that live through something, each from a seed: whatever fails names its seed. */
import { it } from 'vitest'

export interface Story {
  play(): Promise<void>
  check(): Promise<void>
}

/**
 * Tests that play the stories of these seeds, so many in each.
 * @param onEnd after each story that was right.
 */
export function tellStories<S extends Story>(
  seeds: readonly number[],
  inOne: number,
  begin: (seed: number) => S,
  onEnd: (story: S) => void,
): void {
  for (let from = 0; from < seeds.length; from += inOne)
    it(`seeds ${seeds[from] ?? 0} and on`, async () => {
      for (const seed of seeds.slice(from, from + inOne)) {
        const story = begin(seed)
        try {
          await story.play()
          await story.check()
        } catch (error) {
          throw new Error(`seed ${seed}`, { cause: error })
        }
        onEnd(story)
      }
    })
}
