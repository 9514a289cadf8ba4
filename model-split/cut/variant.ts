/** Which of a repository's model files is cut. */
import { ModelError } from '../onnx/error.ts'
import type { ModelSource } from '../source/source.ts'

export interface ModelFile {
  readonly path: string
  /** What follows `model_`: q4, fp16, quantized, …; '' for the plain file. */
  readonly variant: string
}

const MODEL_FILE = /^(?:onnx\/)?(?:decoder_)?model(?:_merged)?(?:_([A-Za-z0-9]+))?\.onnx$/
/** Older exports keep it beside the merged model; it has no caches to go on from. */
const FIRST_STEP = /decoder_model(?!_merged)/

/** @throws ModelError when there is none, or several and none was named. */
export async function findModelFile(
  source: ModelSource,
  variant?: string,
): Promise<ModelFile> {
  const found = (await source.list()).flatMap((path): ModelFile[] => {
    const match = MODEL_FILE.exec(path)
    return match ? [{ path, variant: match[1] ?? '' }] : []
  })
  const files = found.filter(
    ({ path, variant }) =>
      !FIRST_STEP.test(path) ||
      found.every((other) => other.path === path || other.variant !== variant),
  )
  const offered = files.map((file) => file.variant || '(none)').join(', ')
  if (files.length === 0)
    throw new ModelError(
      `There is no model file in ${source.name}: expected onnx/model.onnx or onnx/model_<variant>.onnx, as in the hub's transformers.js models.`,
    )
  if (variant !== undefined && variant !== '') {
    const chosen = files.find((file) => file.variant === variant)
    if (!chosen)
      throw new ModelError(
        `${source.name} has no variant "${variant}"; it has: ${offered}.`,
      )
    return chosen
  }
  const plain = files.length === 1 ? files[0] : files.find((file) => file.variant === '')
  if (!plain)
    throw new ModelError(
      `${source.name} has several variants; choose one with --variant: ${offered}.`,
    )
  return plain
}

/** The last part of a folder, hub id or address. */
export function modelName(source: ModelSource): string {
  return (
    source.name
      .replace(/[/\\]+$/, '')
      .split(/[/\\]/)
      .at(-1) ?? source.name
  )
}
