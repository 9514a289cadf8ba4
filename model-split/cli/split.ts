/** npm run split -- <folder | hub id | URL> [--variant q4] --out <folder> [--verify] */
import { parseArgs } from 'node:util'
import { cutModel } from '../cut/cut.ts'
import { openSource } from '../source/open.ts'
import { verifyCut } from '../run/verify.ts'
import { endOnSignals, fail, progressLine } from './terminal.ts'

const USAGE =
  'Usage: npm run split -- <folder | hub id | URL> [--variant <suffix>] --out <folder> [--verify]'

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      variant: { type: 'string' },
      out: { type: 'string' },
      verify: { type: 'boolean', default: false },
    },
  })
  const [spec] = positionals
  const { out } = values
  if (spec === undefined || positionals.length > 1 || out === undefined)
    throw new Error(USAGE)
  endOnSignals()
  const source = await openSource(spec)
  const line = progressLine()
  try {
    const { manifest } = await cutModel(source, out, {
      variant: values.variant,
      onProgress: line.show,
      check: async (folder, cut) => {
        if (!values.verify) return
        const report = await verifyCut(source, folder, cut, line.show)
        line.clear()
        console.log(report.summary)
        if (!report.exact) throw new Error(report.complaint)
      },
    })
    line.clear()
    const bytes = Object.values(manifest.shards).reduce(
      (sum, shard) => sum + shard.bytes,
      0,
    )
    console.log(
      `${manifest.model.name}: ${manifest.layers} layers, ${Object.keys(manifest.shards).length} shards, ${(bytes / 1e6).toFixed(1)} MB in ${out}`,
    )
  } finally {
    line.clear()
    await source.close()
  }
}

main().catch(fail)
