import { expect, it } from 'vitest'
import { reachableOrigin } from './reachable-origin.ts'
import { installDefaultPolicy } from './trusted-types.ts'

const at = (url: string) => new URL(url)
const answering = (body: string) => () => Promise.resolve(new Response(body))

it('puts the address in the link that other devices can open', async () => {
  const lan = answering(
    '{"origins":["https://192.168.1.20:4173","https://10.0.0.7:4173"]}',
  )
  expect(await reachableOrigin(at('https://localhost:4173/'), lan)).toBe(
    'https://192.168.1.20:4173',
  )
  expect(await reachableOrigin(at('https://choir.example/a/'), answering(''))).toBe(
    'https://choir.example',
  )
})

it('knows when only this computer can open the app', async () => {
  const answers = [
    '{"origins":[]}',
    '<!doctype html>',
    '{"origins":["javascript"]}',
    '[]',
  ]
  for (const body of answers)
    expect(
      await reachableOrigin(at('http://127.0.0.1:4173/'), answering(body)),
    ).toBeNull()
  const offline = () => Promise.reject(new TypeError('offline'))
  expect(await reachableOrigin(at('http://[::1]:4173/'), offline)).toBeNull()
})

it('starts workers of its own origin only', () => {
  let check: ((url: string) => string) | undefined
  const trustedTypes = {
    createPolicy: (
      _name: string,
      rules: { createScriptURL: (url: string) => string },
    ) => {
      check = rules.createScriptURL
    },
  }
  installDefaultPolicy({ trustedTypes }, 'https://choir.example')
  expect(check?.('/assets/stage.js')).toBe('/assets/stage.js')
  for (const url of [
    'https://elsewhere.example/x.js',
    'data:text/javascript,0',
    'blob:null/1',
  ])
    expect(() => check?.(url)).toThrow(TypeError)
  expect(() => installDefaultPolicy({}, 'https://choir.example')).not.toThrow()
})
