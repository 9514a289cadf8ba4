/** File names to look for where a server does not list its files. */

const TEXTS = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
  'README.md',
  'LICENSE',
]
const VARIANTS = ['', '_fp16', '_q4', '_q4f16', '_int8', '_uint8', '_quantized', '_bnb4']

/** Names that exports of decoders commonly have. */
export const WELL_KNOWN: readonly string[] = [
  ...TEXTS,
  ...['onnx/', ''].flatMap((folder) => VARIANTS.map((v) => `${folder}model${v}.onnx`)),
]

/** Names that a model file's external data commonly has. */
export function dataNames(model: string): string[] {
  return [`${model}_data`, `${model}.data`]
}
