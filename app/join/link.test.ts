import { describe, expect, it } from 'vitest'
import * as fc from 'fast-check'
import { cleanCode, findLink, hasRoom, isLoopback, openLink } from './link.ts'

const page = 'https://choir.example/app/?x=1'

describe('findLink', () => {
  it.each([
    'https://choir.example/app/#room=s3cret',
    ' https://choir.example/app/#room=s3cret \n',
    'Join us: https://choir.example/app/#room=s3cret',
  ])('finds the room in %j', (text) => {
    expect(findLink(text, page)).toEqual({
      kind: 'room',
      link: 'https://choir.example/app/#room=s3cret',
    })
  })

  it('takes the bare fragment', () => {
    expect(findLink('#room=abc', page)).toEqual({
      kind: 'room',
      link: `${page}#room=abc`,
    })
    expect(findLink('room=abc', page)).toEqual({ kind: 'room', link: `${page}#room=abc` })
  })

  it('tells another origin apart', () => {
    expect(findLink('http://choir.example/#room=abc', page)).toEqual({
      kind: 'elsewhere',
      link: 'http://choir.example/#room=abc',
      host: 'choir.example',
    })
  })

  it.each([
    '',
    'hello',
    'https://choir.example/app/',
    'https://choir.example/#room=',
    'javascript:alert(1)#room=abc',
    'data:text/html,#room=abc',
    `https://choir.example/#room=${'a'.repeat(3000)}`,
  ])('refuses %j', (text) => {
    expect(findLink(text, page).kind).toBe('none')
  })

  it('never throws and only ever gives http addresses', () => {
    fc.assert(
      fc.property(fc.string(), fc.webUrl({ withFragments: true }), (noise, url) => {
        for (const text of [noise, url, `${noise}${url}#room=${noise}`]) {
          const found = findLink(text, page)
          if (found.kind !== 'none') expect(found.link).toMatch(/^https?:\/\//)
        }
      }),
    )
  })
})

describe('openLink', () => {
  const local = 'http://127.0.0.1:8080/app/?x=1#room=abc'

  it('moves a link to the address that phones can open', () => {
    expect(openLink(local, 'https://192.168.1.7:8443')).toBe(
      'https://192.168.1.7:8443/app/?x=1#room=abc',
    )
  })

  it('says when there is none', () => {
    expect(openLink(local, null)).toBeNull()
    expect(openLink('', 'https://a.example')).toBeNull()
    expect(openLink(local, 'nonsense')).toBeNull()
  })
})

it('knows loopback addresses', () => {
  expect(
    ['localhost', '127.0.0.1', '127.1.2.3', '[::1]', 'a.localhost'].every(isLoopback),
  ).toBe(true)
  expect(['192.168.1.7', '127.example.com', 'localhost.example'].some(isLoopback)).toBe(
    false,
  )
})

it('knows a fragment that names a room', () => {
  expect(['#room=a', '#x=1&room=b'].every(hasRoom)).toBe(true)
  expect(['', '#', '#room=', '#bedroom=a', '#room'].some(hasRoom)).toBe(false)
})

it('cleans a typed code', () => {
  expect(cleanCode('ab-c d3ef gh')).toBe('ABCDEF')
})
