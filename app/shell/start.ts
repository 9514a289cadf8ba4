/** Chooses what the screens talk to: the real room, or a played one for design and tests. */
import type { Services } from './services.ts'

export async function openServices(page: URL): Promise<Services> {
  if (import.meta.env.DEV || import.meta.env.MODE === 'fake') {
    const scene = page.searchParams.get('fake')
    if (scene !== null) return (await import('./fake-services.ts')).fakeServices(scene)
  }
  const { realServices } = await import('./real-services.ts')
  return realServices(page)
}
