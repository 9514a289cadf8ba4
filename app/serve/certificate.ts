/**
 * A certificate for this computer on its local networks. It is signed by an authority of
 * Choir's own, which is made once and kept, so that a phone that trusts it keeps doing so.
 *
 * The authority can vouch for addresses of local networks only (name constraints, RFC 5280
 * section 4.2.1.10): trusting it opens no way to impersonate other sites.
 */
// What @peculiar/x509 needs before it loads.
import 'reflect-metadata'
import { webcrypto } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { BlockList } from 'node:net'
import { join } from 'node:path'
import { AsnConvert } from '@peculiar/asn1-schema'
import {
  GeneralName,
  GeneralSubtree,
  GeneralSubtrees,
  NameConstraints,
} from '@peculiar/asn1-x509'
import * as x509 from '@peculiar/x509'
import * as v from 'valibot'

/** PEM, as a TLS server wants it. */
export interface Certificate {
  readonly cert: string
  readonly key: string
  /** The authority's certificate in DER, for phones to install. */
  readonly authority: Uint8Array
}

const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const DAY = 24 * 3600 * 1000
const AUTHORITY_DAYS = 10 * 365
/** Phones refuse certificates that are valid for more than 398 days. */
const SERVER_DAYS = 397
/** Renewed when it has less than this left. */
const AUTHORITY_SPARE_DAYS = SERVER_DAYS

/** Private, link-local and carrier ranges; `[network, prefix length]`. */
const LOCAL_RANGES = [
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
] as const
const LOCAL_NAMES = ['localhost', 'local']

const storedAuthority = v.object({
  cert: v.string(),
  key: v.string(),
  /** Addresses outside of the local ranges that it may vouch for. */
  others: v.array(v.string()),
})
type Authority = v.InferOutput<typeof storedAuthority>

/**
 * A new certificate for the given IPv4 addresses and for `host`.local.
 * @param folder where the authority is kept, readable by this user only.
 */
export async function localCertificate(
  folder: string,
  addresses: readonly string[],
  host: string,
  now = new Date(),
): Promise<Certificate> {
  const authority = await authorityIn(folder, addresses, now)
  const issuer = new x509.X509Certificate(authority.cert)
  const keys = await newKeys()
  const names = ['localhost', `${host.replace(/\.local$|[^\w-]/g, '') || 'choir'}.local`]
  const cert = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: 'CN=Choir on this computer',
    issuer: issuer.subject,
    notBefore: new Date(now.getTime() - DAY),
    notAfter: new Date(now.getTime() + SERVER_DAYS * DAY),
    signingAlgorithm: EC,
    publicKey: keys.publicKey,
    signingKey: await signingKey(authority.key),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension([
        ...names.map((value) => ({ type: 'dns' as const, value })),
        ...['127.0.0.1', ...addresses].map((value) => ({ type: 'ip' as const, value })),
      ]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  })
  return {
    cert: cert.toString('pem'),
    key: await privatePem(keys.privateKey),
    authority: new Uint8Array(issuer.rawData),
  }
}

async function authorityIn(
  folder: string,
  addresses: readonly string[],
  now: Date,
): Promise<Authority> {
  const file = join(folder, 'authority.json')
  const others = addresses.filter((ip) => !local.check(ip))
  const known = await readAuthority(file)
  if (known && others.every((ip) => known.others.includes(ip)) && lastsAt(known, now))
    return known
  const authority = await newAuthority(
    [...new Set([...(known?.others ?? []), ...others])],
    now,
  )
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await writeFile(file, JSON.stringify(authority), { mode: 0o600 })
  return authority
}

/** Null when there is none or it can't be used. */
async function readAuthority(file: string): Promise<Authority | null> {
  try {
    return v.parse(storedAuthority, JSON.parse(await readFile(file, 'utf8')))
  } catch {
    return null
  }
}

function lastsAt(authority: Authority, now: Date): boolean {
  try {
    const end = new x509.X509Certificate(authority.cert).notAfter
    return end.getTime() > now.getTime() + AUTHORITY_SPARE_DAYS * DAY
  } catch {
    return false
  }
}

async function newAuthority(others: readonly string[], now: Date): Promise<Authority> {
  const keys = await newKeys()
  const cert = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: 'CN=Choir local authority, O=Choir',
    notBefore: new Date(now.getTime() - DAY),
    notAfter: new Date(now.getTime() + AUTHORITY_DAYS * DAY),
    signingAlgorithm: EC,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
        true,
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      nameConstraints(others),
    ],
  })
  return {
    cert: cert.toString('pem'),
    key: await privatePem(keys.privateKey),
    others: [...others],
  }
}

function nameConstraints(others: readonly string[]): x509.Extension {
  const ranges = [...LOCAL_RANGES, ...others.map((address) => [address, 32] as const)]
  const permitted = [
    ...LOCAL_NAMES.map((dNSName) => new GeneralName({ dNSName })),
    ...ranges.map(([ip, prefix]) => new GeneralName({ iPAddress: `${ip}/${prefix}` })),
  ]
  const constraints = new NameConstraints({
    permittedSubtrees: new GeneralSubtrees(
      permitted.map((base) => new GeneralSubtree({ base })),
    ),
  })
  return new x509.Extension('2.5.29.30', true, AsnConvert.serialize(constraints))
}

const local = new BlockList()
for (const [network, prefix] of LOCAL_RANGES) local.addSubnet(network, prefix)

function newKeys(): Promise<CryptoKeyPair> {
  return webcrypto.subtle.generateKey(EC, true, ['sign', 'verify'])
}

async function privatePem(key: CryptoKey): Promise<string> {
  return x509.PemConverter.encode(
    await webcrypto.subtle.exportKey('pkcs8', key),
    'PRIVATE KEY',
  )
}

function signingKey(pem: string): Promise<CryptoKey> {
  const bytes = x509.PemConverter.decodeFirst(pem)
  return webcrypto.subtle.importKey('pkcs8', bytes, EC, false, ['sign'])
}

/** Positive and below 2^127. */
function serialNumber(): string {
  const bytes = webcrypto.getRandomValues(new Uint8Array(16))
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40
  return Buffer.from(bytes).toString('hex')
}
