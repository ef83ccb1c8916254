/** Serves metrics over HTTP, to be scraped: `GET /metrics`. */

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { LeanError, messageOf } from '../errors.ts';
import { CONTENT_TYPE, createTextRegistry, type TextRegistry } from './prometheus.ts';

/** The most connections: a newcomer ends the oldest one, so that idle connections cannot keep others out. */
const MAX_CONNECTIONS = 16;
/** How long a request, and the pause between two on one connection, may take; milliseconds. */
const TIMEOUT = 5_000;

export interface MetricsServer {
  /** For `createNode({ metrics })`. */
  readonly registry: TextRegistry;
  readonly url: string;
  close(): void;
}

/**
 * Starts the server, which does not keep the process alive.
 *
 * @param host an IP address.
 * @throws ERR_LISTEN.
 */
export const serveMetrics = async (host: string, port: number): Promise<MetricsServer> => {
  const registry = createTextRegistry();
  const server = createServer(
    { requestTimeout: TIMEOUT, headersTimeout: TIMEOUT, keepAliveTimeout: TIMEOUT },
    ({ url, method }, response) => {
      // The client disconnected.
      response.on('error', () => {});
      const found = url?.split('?')[0] === '/metrics' && (method === 'GET' || method === 'HEAD');
      response.writeHead(found ? 200 : 404, {
        'Content-Type': found ? CONTENT_TYPE : 'text/plain',
      });
      response.end(found ? registry.text() : 'GET /metrics\n');
    },
  );
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    const [oldest] = sockets;
    if (sockets.size >= MAX_CONNECTIONS) oldest?.destroy();
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.setTimeout(TIMEOUT);
  server.listen(port, host);
  try {
    await once(server, 'listening');
  } catch (cause) {
    const why = messageOf(cause);
    throw new LeanError('ERR_LISTEN', `cannot serve metrics: ${why}`, { cause });
  }
  server.on('error', () => {});
  server.unref();
  const bound = server.address() as AddressInfo;
  const shown = host.includes(':') ? `[${host}]` : host;
  return {
    registry,
    url: `http://${shown}:${bound.port}/metrics`,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
};
