/** Addresses under which phones in the same network can open this page. */
import * as v from 'valibot'

const schema = v.object({ origins: v.pipe(v.array(v.string()), v.maxLength(32)) })

/** Empty where the server doesn't say; never rejects. */
export async function serverOrigins(get: typeof fetch = fetch): Promise<string[]> {
  try {
    const response = await get('/choir-origin.json', { cache: 'no-store' })
    if (!response.ok) return []
    const parsed = v.safeParse(schema, await response.json())
    return parsed.success ? parsed.output.origins : []
  } catch {
    return []
  }
}
