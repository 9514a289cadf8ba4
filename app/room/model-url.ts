/** Which model a room runs: named by its cut folder. */

export const DEFAULT_MODEL = './models/smollm2-135m-instruct/'

/**
 * The model's address as the room's state carries it: a path for a folder of this origin
 * (the others may have opened the page under another name), else an https URL.
 * @throws Error with one sentence for people.
 */
export function modelAddress(model: string, page: string): string {
  const url = resolveModel(model, page)
  return url.startsWith(`${new URL(page).origin}/`) ? new URL(url).pathname : url
}

/**
 * The folder's full URL, ending in '/'.
 * @throws Error with one sentence for people.
 */
export function resolveModel(model: string, page: string): string {
  const wrong = new Error(
    "This room's model address is not allowed: it must be a folder of this site or an https address.",
  )
  if (model.length > 500 || !URL.canParse(model, page)) throw wrong
  const url = new URL(model, page)
  const own = url.origin === new URL(page).origin
  if (!own && url.protocol !== 'https:') throw wrong
  if (url.username !== '' || url.password !== '') throw wrong
  url.search = ''
  url.hash = ''
  if (!url.pathname.endsWith('/')) url.pathname += '/'
  return url.href
}
