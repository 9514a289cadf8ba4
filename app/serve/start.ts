/** `npm start`: builds what changed, serves it and says where. */
import { hostname } from 'node:os'
import { join } from 'node:path'
import { ensureBuilt, ROOT } from './build.ts'
import { localCertificate } from './certificate.ts'
import { greeting } from './greeting.ts'
import { startOptions } from './options.ts'
import { lanAddresses } from './origins.ts'
import { AUTHORITY_FILE, serve } from './serve.ts'

async function start(args: readonly string[]): Promise<void> {
  const { reach, port } = startOptions(args)
  const addresses = reach === 'lan' ? lanAddresses() : []
  if (reach === 'lan' && addresses.length === 0)
    throw new Error(
      'This computer is on no network that phones could share: connect it to Wi-Fi.',
    )
  if (await ensureBuilt()) process.stderr.write('Built the app.\n')
  const folder = join(ROOT, '.cache', 'lan')
  const serving = await serve({
    reach,
    port,
    ...(reach === 'lan' && {
      certificate: await localCertificate(folder, addresses, hostname()),
    }),
  })
  const links = addresses.map((ip) => `https://${ip}:${serving.port}/`)
  process.stdout.write(
    greeting({
      local:
        reach === 'lan'
          ? `https://localhost:${serving.port}/`
          : `http://127.0.0.1:${serving.port}/`,
      links,
      authority: links[0] ? new URL(AUTHORITY_FILE, links[0]).href : null,
    }),
  )
  const stop = (): void => {
    // Phones keep their connections open: don't wait for them.
    void serving.close()
    process.exit(0)
  }
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
}

start(process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(1)
})
