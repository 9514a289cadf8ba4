import { X509Certificate } from 'node:crypto'
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import { request } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { localCertificate, type Certificate } from './certificate.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'choir-authority-'))
})
afterEach(() => rm(folder, { recursive: true }))

/** What a device that trusts the authority says to the name. */
async function visit(
  { cert, key, authority }: Certificate,
  host: string,
): Promise<string> {
  const server = createServer({ cert, key }, (_request, response) =>
    response.end('hello'),
  )
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as AddressInfo
  const ca = new X509Certificate(authority).toString()
  try {
    return await new Promise((resolve) => {
      const options = { host: '127.0.0.1', port, ca, servername: host, headers: { host } }
      request(options, (response) =>
        response.resume().on('end', () => resolve('trusted')),
      )
        .on('error', (error: NodeJS.ErrnoException) =>
          resolve(error.code ?? error.message),
        )
        .end()
    })
  } finally {
    server.close()
  }
}

describe('localCertificate', () => {
  it('is trusted under its addresses by whoever trusts the authority', async () => {
    const certificate = await localCertificate(
      folder,
      ['192.168.1.20', '192.0.2.2'],
      'kitchen',
    )
    const leaf = new X509Certificate(certificate.cert)
    const authority = new X509Certificate(certificate.authority)
    expect(authority.ca).toBe(true)
    expect(leaf.ca).toBe(false)
    expect(leaf.verify(authority.publicKey)).toBe(true)
    expect(leaf.checkIP('192.168.1.20')).toBe('192.168.1.20')
    expect(leaf.checkIP('192.0.2.2')).toBe('192.0.2.2')
    expect(leaf.checkHost('kitchen.local')).toBe('kitchen.local')
    expect(await visit(certificate, 'kitchen.local')).toBe('trusted')
    expect(await visit(certificate, 'example.org')).toBe('ERR_TLS_CERT_ALTNAME_INVALID')
  })

  it('keeps the authority, readable by its owner only', async () => {
    const first = await localCertificate(folder, ['192.168.1.20'], 'a')
    const second = await localCertificate(folder, ['10.1.2.3'], 'b')
    expect(second.authority).toEqual(first.authority)
    expect(second.cert).not.toBe(first.cert)
    expect((await stat(join(folder, 'authority.json'))).mode & 0o077).toBe(0)
  })

  it('makes a new authority for an address that the old one may not vouch for', async () => {
    const first = await localCertificate(folder, ['192.168.1.20'], 'a')
    const second = await localCertificate(folder, ['192.0.2.2'], 'a')
    expect(second.authority).not.toEqual(first.authority)
  })

  it('makes a new authority when the stored one is damaged or about to end', async () => {
    const first = await localCertificate(folder, [], 'a')
    const later = new Date(Date.now() + 9.5 * 365 * 24 * 3600 * 1000)
    expect((await localCertificate(folder, [], 'a', later)).authority).not.toEqual(
      first.authority,
    )
    await writeFile(join(folder, 'authority.json'), '{"cert":')
    const third = await localCertificate(folder, [], 'a')
    expect(new X509Certificate(third.authority).ca).toBe(true)
  })

  it('signs nothing for the wide internet that a device would accept', async () => {
    const certificate = await localCertificate(folder, ['192.168.1.20'], 'kitchen')
    const authority = new X509Certificate(certificate.authority)
    // id-ce-nameConstraints, critical: 2.5.29.30 and BOOLEAN TRUE.
    expect(
      Buffer.from(authority.raw).includes(Buffer.from('0603551d1e0101ff', 'hex')),
    ).toBe(true)
  })
})
