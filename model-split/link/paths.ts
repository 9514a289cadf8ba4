import type { WeightForm } from '../manifest.ts'

/** What a linked graph calls the external data of a blob in one form. */
export function externalPath(blob: string, form: WeightForm): string {
  return form === 'packed' ? blob : `${blob}.${form}`
}
