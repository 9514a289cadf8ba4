import { expect, it } from 'vitest'
import { cameraWords } from './scanner.ts'

it('says what to do when the camera does not open', () => {
  const words = (name: string): string => cameraWords(new DOMException('x', name))
  expect(words('NotAllowedError')).toMatch(/Allow it/)
  expect(words('NotFoundError')).toMatch(/No camera/)
  expect(words('NotReadableError')).toMatch(/Another app/)
  expect(cameraWords('odd')).toMatch(/did not start/)
})
