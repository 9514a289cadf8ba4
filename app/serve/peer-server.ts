/** PeerJS signalling on the app's own origin, in development and after a build. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import express from 'express'
import { ExpressPeerServer } from 'peer'
import type { Connect, HttpServer, Plugin } from 'vite'
import { WebSocketServer } from 'ws'

export const SIGNALLING_PATH = '/peer'
/**
 * A hidden page's heartbeat comes once a minute, so a client may be silent for longer than
 * that before its id is given up, in ms.
 */
const ALIVE_TIMEOUT = 150_000

/**
 * Mounts a PeerServer at `/peer` on Vite's own HTTP server, with or without TLS.
 *
 * It takes only the WebSocket upgrades of its own path (Vite's live reload listens on the
 * same server), and it answers HTTP itself: Express 4 cannot serve HTTP/2 requests.
 */
export function peerServer(): Plugin {
  return {
    name: 'choir:peer-server',
    configureServer: (server) => mount(server.httpServer, server.middlewares),
    configurePreviewServer: (server) => mount(server.httpServer, server.middlewares),
  }
}

function mount(httpServer: HttpServer | null, middlewares: Connect.Server): void {
  // In middleware mode Vite has no server of its own.
  if (!httpServer) return
  middlewares.use(SIGNALLING_PATH, answerHttp)
  const signalling = ExpressPeerServer(
    httpServer as Parameters<typeof ExpressPeerServer>[0],
    {
      alive_timeout: ALIVE_TIMEOUT,
      createWebSocketServer: ({ path }) => listen(httpServer, path ?? SIGNALLING_PATH),
    },
  )
  // A client that vanishes mid-handshake must not end the process.
  signalling.on('error', () => undefined)
  // Being mounted makes it start; the parent serves nothing.
  express().use(SIGNALLING_PATH, signalling)
}

function listen(httpServer: HttpServer, path: string): WebSocketServer {
  const sockets = new WebSocketServer({ noServer: true, maxPayload: 256 * 1024 })
  httpServer.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (pathOf(request) !== path) return
    sockets.handleUpgrade(request, socket, head, (client) =>
      sockets.emit('connection', client, request),
    )
  })
  httpServer.on('close', () => sockets.close())
  return sockets
}

function pathOf(request: IncomingMessage): string | undefined {
  return request.url?.split('?', 1)[0]
}

/** Just enough for a person or a monitor to see that signalling is here. */
function answerHttp(request: IncomingMessage, response: ServerResponse): void {
  const found = request.url === '/' || request.url === ''
  response.statusCode = found ? 200 : 404
  response.setHeader('Content-Type', 'application/json')
  response.setHeader('Cache-Control', 'no-store')
  response.end(JSON.stringify({ name: 'Choir signalling', found }))
}
