/** The text files that travel with a cut model: config, tokenizer, licence. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Manifest } from '../manifest.ts'
import { hash } from '../run/folder.ts'
import type { ModelSource } from '../source/source.ts'

export const TEXTS: readonly string[] = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
  'chat_template.json',
  'LICENSE',
]

export async function copyTexts(
  source: ModelSource,
  folder: string,
): Promise<Manifest['files']> {
  const files: Manifest['files'] = []
  for (const file of TEXTS) {
    const text = await source.text(file)
    if (text === null) continue
    const bytes = new TextEncoder().encode(text)
    await writeFile(join(folder, file), bytes)
    files.push({ file, bytes: bytes.length, sha256: hash(bytes) })
  }
  return files
}
