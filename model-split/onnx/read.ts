/** Reads an ONNX model of any size: the graph into memory, of weights where they lie. */
import { bytesField, concat, varintField } from '../link/wire.ts'
import type { ModelSource } from '../source/source.ts'
import { checkGraph, checkIsOnnx } from './check.ts'
import { ModelError } from './error.ts'
import { ExternalFiles } from './external.ts'
import { MessageFile, integer, payload } from './fields.ts'
import type { Extent } from './fields.ts'
import { readGraph } from './graph.ts'
import { Hoisted } from './hoist.ts'
import { MODEL, OPSET } from './schema.ts'
import type { OnnxModel } from './types.ts'

export { readTensor, readTensorPart } from './tensor.ts'

const LARGEST_FUNCTION = 16 * 2 ** 20

/**
 * Reads and checks the model. Weights stay in the files: readTensor fetches them.
 * @throws ModelError saying what is wrong with the model; SourceError where it can't be read
 */
export async function readModel(source: ModelSource, path: string): Promise<OnnxModel> {
  const size = await source.size(path)
  if (size === null) throw new ModelError(`${source.name} has no file ${path}.`)
  if (size === 0)
    throw new ModelError(`${path} is empty; it has no graph. Download it again.`)
  await checkIsOnnx(source, path, size)
  const file = new MessageFile(source, path, size)
  const found = await topLevel(file)
  if (!found.graph) throw new ModelError(`${path} has no graph; export the model again.`)
  const { irVersion, opsets, functions } = found
  const reading = {
    file,
    external: new ExternalFiles(source, path),
    hoisted: new Hoisted(),
    depth: 0,
  }
  const graph = await readGraph(reading, found.graph)
  checkGraph(path, graph)
  const header = concat([
    varintField(MODEL.irVersion, irVersion),
    ...found.imports.map((bytes) => bytesField(MODEL.opsetImport, bytes)),
    ...functions.map((bytes) => bytesField(MODEL.functions, bytes)),
  ])
  return { file: path, irVersion, opsets, functions, header, graph }
}

interface TopLevel {
  irVersion: number
  graph: Extent | null
  readonly opsets: { domain: string; version: number }[]
  readonly imports: Uint8Array[]
  readonly functions: Uint8Array[]
}

async function topLevel(file: MessageFile): Promise<TopLevel> {
  const found: TopLevel = {
    irVersion: 0,
    graph: null,
    opsets: [],
    imports: [],
    functions: [],
  }
  await file.each(file.whole, async (field) => {
    switch (field.number) {
      case MODEL.irVersion:
        found.irVersion = integer(file, field)
        break
      case MODEL.graph:
        if (found.graph) throw new ModelError(`${file.path} has more than one graph.`)
        found.graph = payload(file, field)
        break
      case MODEL.opsetImport:
        found.opsets.push(await readOpset(file, payload(file, field)))
        found.imports.push(await file.bytes(payload(file, field)))
        break
      case MODEL.functions: {
        const at = payload(file, field)
        if (at.end - at.start > LARGEST_FUNCTION)
          throw new ModelError(
            `A local function in ${file.path} holds ${at.end - at.start} bytes; export the model with its weights as initialisers.`,
          )
        found.functions.push(await file.bytes(at))
        break
      }
      default:
        break
    }
  })
  return found
}

async function readOpset(
  file: MessageFile,
  at: Extent,
): Promise<{ domain: string; version: number }> {
  let domain = ''
  let version = 0
  await file.each(at, async (field) => {
    if (field.number === OPSET.domain) domain = await file.text(payload(file, field))
    if (field.number === OPSET.version) version = integer(file, field)
  })
  return { domain: domain === 'ai.onnx' ? '' : domain, version }
}
