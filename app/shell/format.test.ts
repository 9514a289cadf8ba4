import { describe, expect, it } from 'vitest'
import * as f from './format.ts'

const plain = (text: string | null): string | null =>
  text === null ? null : text.replaceAll('\u00a0', ' ')

describe('bytes', () => {
  it.each([
    [0, '0 MB'],
    [1, '1 KB'],
    [999_499, '1000 KB'],
    [999_500, '1 MB'],
    [139_600_000, '140 MB'],
    [999_500_000, '1.0 GB'],
    [12_300_000_000, '12 GB'],
    [-5, '0 MB'],
    [Number.NaN, '0 MB'],
  ])('%d is %s', (n, text) => {
    expect(plain(f.bytes(n))).toBe(text)
  })

  it('never tells that nothing is missing', () => {
    expect(plain(f.shortage(0))).toBe('1 MB')
    expect(plain(f.shortage(740e6))).toBe('0.8 GB')
    expect(plain(f.shortage(45e6))).toBe('45 MB')
  })

  it('shows both numbers in the unit of the total', () => {
    expect(plain(f.bytesOf(60e6, 140e6))).toBe('60 of 140 MB')
    expect(plain(f.bytesOf(60e6, 1.4e9))).toBe('0.1 of 1.4 GB')
    expect(plain(f.bytesOf(200e6, 140e6))).toBe('140 of 140 MB')
  })
})

describe('timeLeft', () => {
  it.each([
    [null, null],
    [Number.POSITIVE_INFINITY, null],
    [-1, null],
    [2, 'a few seconds'],
    [36, 'about 40 s'],
    [54, 'about 55 s'],
    [55, 'about 1 min'],
    [170, 'about 3 min'],
    [3590, 'about 1 h'],
    [7300, 'about 2 h'],
    [1e6, 'more than a day'],
  ])('%s is %s', (seconds, text) => {
    expect(plain(f.timeLeft(seconds))).toBe(text)
  })
})

describe('percent', () => {
  it('is 100 only when all is there', () => {
    expect(f.percent(999, 1000)).toBe(99)
    expect(f.percent(1000, 1000)).toBe(100)
    expect(f.percent(1, 0)).toBe(0)
  })
})

describe('initials', () => {
  it.each([
    ["Anna's phone", 'AP'],
    ['Pixel of Ben', 'PB'],
    ['pixel', 'P'],
    ['  ', '?'],
    ['🎵 box', '🎵B'],
  ])('%s is %s', (name, text) => {
    expect(f.initials(name)).toBe(text)
  })
})
