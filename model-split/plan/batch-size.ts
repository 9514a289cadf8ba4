/**
 * How many decoding steps that wait at a stage run as one. There stay at least as many batches
 * as stages: larger ones would travel together for good, and leave stages idle behind them.
 * @param sequences that are being answered.
 */
export function batchSize(sequences: number, stages: number): number {
  return Math.max(1, Math.floor(sequences / stages))
}
