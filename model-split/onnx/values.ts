/** Reads ValueInfoProtos: name, element type and shape of a tensor. */
import type { Dtype } from '../manifest.ts'
import { integer, payload } from './fields.ts'
import type { Extent, MessageFile } from './fields.ts'
import { DIMENSION, SHAPE, TENSOR_TYPE, TYPE, VALUE_INFO, dtypeOf } from './schema.ts'
import type { ValueInfo } from './types.ts'

export async function readValueInfo(file: MessageFile, at: Extent): Promise<ValueInfo> {
  await file.ahead(at)
  let name = ''
  let dtype: Dtype | null = null
  let dims: (number | string | null)[] | null = null
  await file.each(at, async (field) => {
    if (field.number === VALUE_INFO.name) name = await file.text(payload(file, field))
    if (field.number !== VALUE_INFO.type) return
    await file.each(payload(file, field), async (type) => {
      // Sequences, maps and optionals have no tensor type.
      if (type.number !== TYPE.tensorType) return
      await file.each(payload(file, type), async (part) => {
        if (part.number === TENSOR_TYPE.elemType) dtype = dtypeOf(integer(file, part))
        if (part.number === TENSOR_TYPE.shape)
          dims = await readShape(file, payload(file, part))
      })
    })
  })
  return { name, dtype, dims }
}

async function readShape(
  file: MessageFile,
  at: Extent,
): Promise<(number | string | null)[]> {
  const dims: (number | string | null)[] = []
  await file.each(at, async (field) => {
    if (field.number !== SHAPE.dim) return
    let dim: number | string | null = null
    await file.each(payload(file, field), async (part) => {
      if (part.number === DIMENSION.value) dim = integer(file, part)
      if (part.number === DIMENSION.param)
        dim = (await file.text(payload(file, part))) || null
    })
    dims.push(dim)
  })
  return dims
}
