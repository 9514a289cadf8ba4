/** Two significant digits: small changes of a measurement are not worth a message. */
export function twoDigits(value: number): number {
  return Number(value.toPrecision(2))
}
