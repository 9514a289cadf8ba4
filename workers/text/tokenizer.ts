/** The model's own tokenizer and chat template, by @huggingface/transformers. */
import type { ChatMessage, TemplateKind } from './types.ts'

export interface TextTokenizer {
  readonly template: TemplateKind
  /**
   * A conversation as ids, ready for the assistant's turn.
   * @throws Error with one sentence where the model's template refuses it.
   */
  encode(messages: readonly ChatMessage[]): number[]
  /** Ids to text, without special tokens, spaces as the model wrote them. */
  decode(ids: readonly number[]): string
}

/** Reads a text file of the model; undefined where it has none. */
export type TextFiles = (name: string) => Promise<string | undefined>

/** What the library asks its cache for, by the end of the path. */
const served = new Map<string, string>()
/** One load at a time: they share `served`. */
let lastLoad: Promise<unknown> = Promise.resolve()

/**
 * @param id names the contents: equal ids must mean equal files, as the library remembers.
 * @throws Error with one sentence where the model has no tokenizer that can be used.
 */
export async function loadTokenizer(
  id: string,
  files: TextFiles,
): Promise<TextTokenizer> {
  const tokenizerJson = await files('tokenizer.json')
  if (tokenizerJson === undefined)
    throw new Error(
      'This model has no tokenizer.json, so it cannot read text; choose another model.',
    )
  const config = await readConfig(files)
  const load = lastLoad.then(() => construct(id, tokenizerJson, config))
  lastLoad = load.catch(() => undefined)
  const tokenizer = await load
  const template: TemplateKind = 'chat_template' in config ? 'model' : 'plain'
  return {
    template,
    encode(messages) {
      if (template === 'plain') return tokenizer.encode(plainTemplate(messages))
      try {
        return tokenizer.apply_chat_template([...messages], {
          add_generation_prompt: true,
          tokenize: true,
          return_tensor: false,
          return_dict: false,
        })
      } catch (cause) {
        const why = cause instanceof Error ? cause.message : String(cause)
        throw new Error(
          `This model's chat template does not take this conversation (${why}); start a new chat.`,
          { cause },
        )
      }
    },
    decode(ids) {
      // The library refuses an empty list.
      if (ids.length === 0) return ''
      return tokenizer.decode([...ids], {
        skip_special_tokens: true,
        // Joining " ." to "." would change what has been shown already, and code.
        clean_up_tokenization_spaces: false,
      })
    },
  }
}

async function construct(id: string, tokenizerJson: string, config: object) {
  const { AutoTokenizer } = await loadLibrary()
  served.set(`${id}/tokenizer.json`, tokenizerJson)
  served.set(`${id}/tokenizer_config.json`, JSON.stringify(config))
  try {
    return await AutoTokenizer.from_pretrained(id)
  } catch (cause) {
    throw new Error(
      "This model's tokenizer.json cannot be read; download the model again or choose another one.",
      { cause },
    )
  } finally {
    served.clear()
  }
}

/** For models without a template (base models). */
function plainTemplate(messages: readonly ChatMessage[]): string {
  const names = { system: 'System', user: 'User', assistant: 'Assistant' }
  const turns = messages.map(({ role, content }) => `${names[role]}: ${content}\n`)
  return `${turns.join('')}Assistant:`
}

/** Newer models keep the template in a file of its own. */
async function readConfig(files: TextFiles): Promise<object> {
  const config = parseObject(await files('tokenizer_config.json')) ?? {}
  if ('chat_template' in config) {
    if (config.chat_template !== null) return config
    delete config.chat_template
  }
  const jinja = await files('chat_template.jinja')
  if (jinja !== undefined) return { ...config, chat_template: jinja }
  const json = parseObject(await files('chat_template.json'))
  return { ...config, ...json }
}

function parseObject(text: string | undefined): object | undefined {
  if (text === undefined) return undefined
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

/** Half a megabyte of JavaScript: loaded when the first text is to be read. */
async function loadLibrary() {
  const library = await import('@huggingface/transformers')
  const { env } = library
  env.allowRemoteModels = false
  // Off in browsers by default; with both off, the library refuses even its cache.
  env.allowLocalModels = true
  env.useFS = false
  env.useFSCache = false
  env.useBrowserCache = false
  env.useCustomCache = true
  env.customCache = {
    match(request) {
      const entry = [...served].find(([path]) => request.endsWith(path))
      return Promise.resolve(entry && new Response(entry[1]))
    },
    put: () => Promise.resolve(),
  }
  env.fetch = () => Promise.reject(new Error('Tokenizers are read from the store.'))
  return library
}
