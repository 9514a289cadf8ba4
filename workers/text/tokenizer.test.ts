import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { env } from '@huggingface/transformers'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { tinyTokenizer, TINY_VOCABULARY } from '../../e2e/fixtures/tiny-tokenizer.ts'
import { createStreamDecoder } from './decoder.ts'
import { loadTokenizer } from './tokenizer.ts'
import type { TextTokenizer } from './tokenizer.ts'
import type { ChatMessage } from './types.ts'

const shared = join(import.meta.dirname, '../../../shared')
const smol = join(shared, 'models/smollm2-135m-instruct')
const expectedPath = join(shared, 'expected/smollm2-135m-instruct.json')

const from = (files: Partial<Record<string, string>>) => (name: string) =>
  Promise.resolve(files[name])

function streamed(tokenizer: TextTokenizer, ids: readonly number[]): string {
  const decoder = createStreamDecoder((part) => tokenizer.decode(part))
  return ids.map((id) => decoder.push([id])).join('') + decoder.finish()
}

beforeAll(() => {
  // As the library finds itself in a browser.
  env.allowLocalModels = false
  env.useFS = false
})

describe('the tiny tokenizer', () => {
  let tiny: TextTokenizer
  beforeAll(async () => {
    tiny = await loadTokenizer('choir/tiny', from(tinyTokenizer()))
  })

  it('has a template that begins with <s> and asks for the assistant', () => {
    const ids = tiny.encode([{ role: 'user', content: 'Hi 😀' }])
    expect(tiny.template).toBe('model')
    expect(ids[0]).toBe(1)
    expect(ids.filter((id) => id === 2)).toHaveLength(1)
    expect(Math.max(...ids)).toBeLessThan(TINY_VOCABULARY)
    expect(tiny.decode(ids)).toBe('user\nHi 😀assistant\n')
  })

  it('decodes every id, specials to nothing', () => {
    expect([0, 1, 2].map((id) => tiny.decode([id]))).toEqual(['', '', ''])
    for (let id = 3; id < 259; id++) expect(tiny.decode([id])).toHaveLength(1)
    expect(tiny.decode([259, 260, 511])).toMatch(/^( [a-z]{2,3}){3}$/)
    const words = Array.from({ length: TINY_VOCABULARY - 259 }, (_, n) =>
      tiny.decode([n + 259]),
    )
    expect(new Set(words).size).toBe(words.length)
    expect(words.every((word) => /^ [a-z]{2,3}$/.test(word))).toBe(true)
  })

  it('gives back any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        fc.pre(!/<(pad|s|\/s)>/.test(text))
        const ids = tiny.encode([{ role: 'user', content: text }])
        expect(tiny.decode(ids)).toBe(`user\n${text}assistant\n`)
      }),
    )
  })

  it('streams what it decodes', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: TINY_VOCABULARY - 1 }), { maxLength: 150 }),
        (ids) => {
          expect(streamed(tiny, ids)).toBe(tiny.decode(ids))
        },
      ),
    )
  })

  it('survives ids beyond its vocabulary, which padded models can give', () => {
    expect(tiny.decode([300, 600, 301])).toBe(tiny.decode([300, 301]))
  })
})

describe('a model', () => {
  const { 'tokenizer.json': tokenizer, 'tokenizer_config.json': config } = tinyTokenizer()
  const bare = JSON.parse(config) as Record<string, unknown>
  delete bare['chat_template']
  const chat: ChatMessage[] = [
    { role: 'system', content: 'Be kind.' },
    { role: 'user', content: 'Hi' },
  ]

  it('without a template gets a plain one, and says so', async () => {
    const files = {
      'tokenizer.json': tokenizer,
      'tokenizer_config.json': JSON.stringify(bare),
    }
    const plain = await loadTokenizer('choir/plain', from(files))
    expect(plain.template).toBe('plain')
    expect(plain.decode(plain.encode(chat))).toBe(
      'System: Be kind.\nUser: Hi\nAssistant:',
    )
  })

  it('may keep its template in a file of its own, and have no config', async () => {
    const files = {
      'tokenizer.json': tokenizer,
      'chat_template.jinja': "{{ messages[1]['content'] }}!",
    }
    const model = await loadTokenizer('choir/jinja', from(files))
    expect(model.template).toBe('model')
    expect(model.decode(model.encode(chat))).toBe('Hi!')
  })

  it('whose template refuses the conversation says so in a sentence', async () => {
    const files = {
      'tokenizer.json': tokenizer,
      'chat_template.jinja': "{{ raise_exception('roles must alternate') }}",
    }
    const model = await loadTokenizer('choir/strict', from(files))
    expect(() => model.encode(chat)).toThrow(/does not take .*roles must alternate/)
  })

  it.each([
    ['has none', {}, /has no tokenizer.json/],
    ['has a broken one', { 'tokenizer.json': '<html>' }, /cannot be read/],
    ['has an empty one', { 'tokenizer.json': '{}' }, /cannot be read/],
  ])('that %s is refused', async (name, files, sentence) => {
    await expect(loadTokenizer(`choir/bad-${name.length}`, from(files))).rejects.toThrow(
      sentence,
    )
  })

  it('loads beside another one', async () => {
    const files = tinyTokenizer()
    const both = await Promise.all(
      ['one', 'two'].map((name) => loadTokenizer(`choir/${name}`, from(files))),
    )
    const [one, two] = both.map((each) => each.decode([259]))
    expect([one, two]).toEqual([' aa', ' aa'])
  })
})

describe.skipIf(!existsSync(smol) || !existsSync(expectedPath))(
  'smollm2-135m-instruct (needs ../shared)',
  () => {
    interface Expected {
      readonly prompts: readonly {
        readonly messages: readonly ChatMessage[]
        readonly prompt_ids: readonly number[]
        readonly token_ids: readonly number[]
        readonly text: string
      }[]
    }
    let tokenizer: TextTokenizer
    let prompts: Expected['prompts']
    beforeAll(async () => {
      tokenizer = await loadTokenizer('choir/smol', (name) =>
        Promise.resolve(
          existsSync(join(smol, name))
            ? readFileSync(join(smol, name), 'utf8')
            : undefined,
        ),
      )
      const { prompts: all } = JSON.parse(readFileSync(expectedPath, 'utf8')) as Expected
      prompts = all
    })

    it('encodes every prompt as the reference does', () => {
      expect(prompts.length).toBeGreaterThan(0)
      expect(prompts.map((prompt) => tokenizer.encode(prompt.messages))).toEqual(
        prompts.map((prompt) => prompt.prompt_ids),
      )
    })

    it('decodes every answer as the reference does, at once and streamed', () => {
      const texts = prompts.map((prompt) => prompt.text)
      expect(prompts.map((prompt) => tokenizer.decode(prompt.token_ids))).toEqual(texts)
      expect(prompts.map((prompt) => streamed(tokenizer, prompt.token_ids))).toEqual(
        texts,
      )
    })

    it('streams random ids and emoji as it decodes them', () => {
      const emoji = tokenizer.encode([{ role: 'user', content: '👩‍👩‍👧‍👦🇩🇪😀漢字é' }])
      fc.assert(
        fc.property(
          fc.array(
            fc.oneof(
              fc.integer({ min: 0, max: 49_151 }),
              fc.integer({ min: 0, max: 300 }),
              fc.constantFrom(...emoji),
            ),
            { maxLength: 120 },
          ),
          (ids) => {
            expect(streamed(tokenizer, ids)).toBe(tokenizer.decode(ids))
          },
        ),
        { numRuns: 60 },
      )
      expect(streamed(tokenizer, emoji)).toBe(tokenizer.decode(emoji))
    })
  },
)
