/** Web folders and hubs against real servers on this machine. */
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { openSource } from './open.ts'

type Handler = (request: IncomingMessage, response: ServerResponse) => void

const servers: Server[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
})

async function serve(handler: Handler): Promise<string> {
  const server = createServer(handler)
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const waits: number[] = []
const sleep = (milliseconds: number): Promise<void> => {
  waits.push(milliseconds)
  return Promise.resolve()
}
afterEach(() => waits.splice(0))

const CONTENT = Buffer.from(Array.from({ length: 1000 }, (_, i) => i % 251))

function send(request: IncomingMessage, response: ServerResponse, content: Buffer): void {
  const match = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '')
  const headers = { etag: '"1"' }
  if (!match) {
    response.writeHead(200, { ...headers, 'content-length': content.length }).end(content)
    return
  }
  const start = Number(match[1])
  const end = Math.min(Number(match[2]) + 1, content.length)
  response
    .writeHead(206, {
      ...headers,
      'content-length': end - start,
      'content-range': `bytes ${start}-${end - 1}/${content.length}`,
    })
    .end(content.subarray(start, end))
}

const missing: Handler = (_, response) =>
  void response.writeHead(404).end('Entry not found')

describe('a hub', () => {
  /** Lists, and answers files by sending to another server. */
  async function hub(
    files: Record<string, Buffer>,
  ): Promise<{ host: string; asked: string[] }> {
    const asked: string[] = []
    const cdn = await serve((request, response) => {
      asked.push(`cdn ${request.url ?? ''} ${request.headers.range ?? ''}`)
      const content = files[(request.url ?? '').slice(1)]
      if (content) send(request, response, content)
      else missing(request, response)
    })
    const host = await serve((request, response) => {
      const url = new URL(request.url ?? '', 'http://host')
      asked.push(url.pathname)
      const list = '/api/models/org/name/tree/main'
      if (url.pathname === list && !url.searchParams.has('cursor')) {
        response.setHeader('link', `<${list}?recursive=true&cursor=2>; rel="next"`)
        response.end(JSON.stringify([{ type: 'directory', path: 'onnx' }]))
      } else if (url.pathname === list) {
        const entries = Object.keys(files).map((path) => ({
          type: 'file',
          path,
          size: 1,
        }))
        response.end(JSON.stringify([...entries, { type: 'file', path: '../evil' }]))
      } else if (url.pathname.startsWith('/org/name/resolve/main/')) {
        const path = url.pathname.slice('/org/name/resolve/main/'.length)
        if (files[path]) response.writeHead(302, { location: `${cdn}/${path}` }).end()
        else missing(request, response)
      } else response.writeHead(401).end()
    })
    return { host, asked }
  }

  test('lists page by page and reads ranges behind a redirect', async () => {
    const { host, asked } = await hub({ 'onnx/model.onnx': CONTENT })
    const source = await openSource('org/name', { hub: host, sleep })
    expect(source.name).toBe('org/name')
    expect(await source.list()).toEqual(['onnx/model.onnx'])
    expect(await source.size('onnx/model.onnx')).toBe(1000)
    expect(Buffer.from(await source.read('onnx/model.onnx', 10, 20))).toEqual(
      CONTENT.subarray(10, 30),
    )
    expect(asked).toContain('cdn /onnx/model.onnx bytes=10-29')
    expect(await source.size('config.json')).toBe(null)
    expect(await source.text('config.json')).toBe(null)
  })

  test('the page of a repository means the repository', async () => {
    const { host } = await hub({ 'config.json': CONTENT })
    const source = await openSource(`${host}/org/name/tree/main`, { hub: host })
    expect(source.name).toBe('org/name')
    expect(await source.list()).toEqual(['config.json'])
  })

  test('a repository that is not public is one clear sentence', async () => {
    const { host } = await hub({})
    const source = await openSource('org/other', { hub: host, sleep })
    await expect(source.list()).rejects.toThrow(
      /shows org\/other to nobody without signing in/,
    )
    await expect(source.size('config.json')).rejects.toThrow(/status 401/)
    expect(waits).toEqual([])
  })

  test('revisions are part of the address, and no path out of it', async () => {
    const asked: string[] = []
    const host = await serve((request, response) => {
      asked.push(request.url ?? '')
      missing(request, response)
    })
    const source = await openSource('org/name@v1.0', { hub: host, sleep })
    expect(await source.size('a b.json')).toBe(null)
    expect(asked).toEqual(['/org/name/resolve/v1.0/a%20b.json'])
    await expect(source.size('../x')).rejects.toThrow(/leads out of the folder/)
    await expect(openSource('org/name@../x', { hub: host })).rejects.toThrow(
      /not a hub id/,
    )
  })

  test('where nothing is listed, the usual names are tried', async () => {
    const host = await serve((request, response) => {
      const known = ['config.json', 'onnx/model_q4.onnx', 'onnx/model_q4.onnx_data']
      if (known.some((path) => request.url === `/org/name/resolve/main/${path}`))
        send(request, response, CONTENT)
      else missing(request, response)
    })
    const source = await openSource('org/name', { hub: host, sleep })
    expect(await source.list()).toEqual([
      'config.json',
      'onnx/model_q4.onnx',
      'onnx/model_q4.onnx_data',
    ])
  })
})

describe('a web folder', () => {
  async function open(handler: Handler): Promise<Awaited<ReturnType<typeof openSource>>> {
    return openSource(`${await serve(handler)}/folder`, { sleep })
  }

  test('without ranges is downloaded once, to a file that is removed', async () => {
    const asked: string[] = []
    const source = await open((request, response) => {
      asked.push(request.headers.range ?? 'whole')
      delete request.headers.range
      send(request, response, CONTENT)
    })
    const temporary = await mkdtemp(join(tmpdir(), 'choir-test-'))
    vi.stubEnv('TMPDIR', temporary)
    const reads = [0, 500, 990].map((at) => source.read('m.onnx', at, 10))
    expect(Buffer.concat(await Promise.all(reads))).toEqual(
      Buffer.concat([0, 500, 990].map((at) => CONTENT.subarray(at, at + 10))),
    )
    expect(asked).toEqual(['bytes=0-0', 'whole'])
    expect(await readdir(temporary)).toHaveLength(1)
    await source.close()
    expect(await readdir(temporary)).toEqual([])
    vi.unstubAllEnvs()
    await rm(temporary, { recursive: true })
  })

  test('without ranges keeps files apart that are downloaded together', async () => {
    const source = await open((request, response) => {
      delete request.headers.range
      send(request, response, Buffer.from(`content of ${request.url ?? ''}`))
    })
    const texts = await Promise.all(['a', 'b', 'c'].map((path) => source.text(path)))
    expect(texts).toEqual(['a', 'b', 'c'].map((path) => `content of /folder/${path}`))
    await source.close()
  })

  test('that is busy is asked again, later and later', async () => {
    const answers = [429, 503, 500]
    const source = await open((request, response) => {
      const status = answers.shift()
      if (status === 429) response.writeHead(429, { 'retry-after': '7' }).end()
      else if (status) response.writeHead(status).end()
      else send(request, response, CONTENT)
    })
    expect(await source.size('m.onnx')).toBe(1000)
    expect(waits).toEqual([7000, 1000, 2000])
  })

  test('that breaks off is asked again', async () => {
    let reads = 0
    const source = await open((request, response) => {
      if (request.headers.range === 'bytes=0-0' || ++reads > 2) {
        send(request, response, CONTENT)
        return
      }
      response.writeHead(206, {
        etag: '"1"',
        'content-length': 500,
        'content-range': 'bytes 0-499/1000',
      })
      response.write(CONTENT.subarray(0, 100), () => response.destroy())
    })
    expect(Buffer.from(await source.read('m.onnx', 0, 500))).toEqual(
      CONTENT.subarray(0, 500),
    )
    expect(reads).toBe(3)
  })

  test.each([
    ['another ETag', { etag: '"2"', 'content-range': 'bytes 5-9/1000' }],
    ['another size', { etag: '"1"', 'content-range': 'bytes 5-9/2000' }],
    ['another range', { etag: '"1"', 'content-range': 'bytes 0-4/1000' }],
  ])('that answers with %s midway is noticed', async (_, headers) => {
    const source = await open((request, response) => {
      if (request.headers.range === 'bytes=0-0') send(request, response, CONTENT)
      else response.writeHead(206, headers).end(CONTENT.subarray(5, 10))
    })
    await expect(source.read('m.onnx', 5, 5)).rejects.toThrow(
      /changed while it was being read/,
    )
  })

  test('that refuses is one clear sentence', async () => {
    const source = await open((_, response) => void response.writeHead(403).end())
    await expect(source.size('m.onnx')).rejects.toThrow(
      /does not give http.*m\.onnx to everyone \(status 403\)/,
    )
  })

  test('without a model is one clear sentence', async () => {
    const source = await open(missing)
    await expect(source.list()).rejects.toThrow(/There is no model at http/)
    await expect(source.read('m.onnx', 0, 1)).rejects.toThrow(/There is no file at http/)
  })

  test('that stays out of reach is one clear sentence', async () => {
    const source = await open((request) => void request.socket.destroy())
    await expect(source.size('m.onnx')).rejects.toThrow(
      /could not be read \(.+\) after 6 tries; check the connection/,
    )
    expect(waits.length).toBe(5)
  })

  test('that is not there at all is given up soon', async () => {
    const address = await serve(missing)
    await new Promise((resolve) => servers.pop()?.close(resolve))
    const source = await openSource(`${address}/folder`, { sleep })
    await expect(source.size('m.onnx')).rejects.toThrow(/ECONNREFUSED.* after 3 tries/)
  })

  test('an empty file has size 0 and no bytes', async () => {
    const source = await open((_, response) => {
      response.writeHead(416, { 'content-range': 'bytes */0' }).end()
    })
    expect(await source.size('m.onnx')).toBe(0)
    expect(await source.text('m.onnx')).toBe('')
    await expect(source.read('m.onnx', 0, 1)).rejects.toThrow(/ends at byte 0/)
  })

  test('an aborted signal ends the waiting', async () => {
    const control = new AbortController()
    const address = await serve((_, response) => void response.writeHead(503).end())
    const source = await openSource(`${address}/folder`, {
      signal: control.signal,
      sleep: () => {
        control.abort(new Error('enough'))
        return Promise.resolve()
      },
    })
    await expect(source.size('m.onnx')).rejects.toThrow('enough')
  })
})

test.each(['ftp://example.invalid/x', './nowhere', 'nowhere', 'http://', 'a/b/c'])(
  'the name %s means no model',
  async (spec) => {
    await expect(openSource(spec)).rejects.toThrow(
      /is not a web address|cannot be read from|There is no folder/,
    )
  },
)

test('a folder counts before a hub id', async () => {
  const source = await openSource('model-split/onnx')
  expect(source.name).toBe('onnx')
})
