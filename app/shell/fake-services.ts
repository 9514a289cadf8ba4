/** Plays rooms without a network, for design and screen tests. Not part of what ships. */
import { fakeSession } from './fake-session.ts'
import type { Services } from './services.ts'

const wait = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    setTimeout(resolve, ms)
    signal.addEventListener('abort', () => reject(new DOMException('', 'AbortError')))
  })

/** @param scene see fake-scenes.ts; anything else plays from the beginning. */
export function fakeServices(scene: string): Services {
  return {
    rooms: {
      async create(signal) {
        if (scene === 'fails')
          throw new Error('No connection to the meeting point. Try again.')
        await wait(scene === '' ? 700 : 0, signal)
        return fakeSession(scene)
      },
      async join(_, signal) {
        if (scene === 'fails')
          throw new Error('Nobody of this room answers. Is another phone still in it?')
        await wait(scene === 'opening' ? 1e8 : 0, signal)
        return fakeSession(scene)
      },
      async rejoin(_, signal) {
        await wait(0, signal)
        return fakeSession(scene)
      },
      async knock(_, { signal, onDigits }) {
        await wait(300, signal)
        onDigits('402871')
        await wait(1e8, signal)
        return fakeSession(scene)
      },
    },
    forgetCrashes: () => undefined,
    preflight: () =>
      Promise.resolve({
        engine: scene === 'slow' ? 'wasm' : 'webgpu',
        memoryBytes: 1.2e9,
        halved: false,
        problems:
          scene === 'slow'
            ? [
                'This page was opened without https, so the camera and offline use do not work.',
              ]
            : [],
      }),
    storage: () =>
      Promise.resolve({
        kind: 'indexeddb',
        persisted: false,
        usedBytes: 143e6,
        quotaBytes: 10.7e9,
        models: [{ url: '/models/tiny/', name: 'SmolLM2 135M', bytes: 139e6 }],
      }),
    removeModel: () => Promise.resolve(),
  }
}
