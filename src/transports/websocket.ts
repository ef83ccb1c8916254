/**
 * Connections over WebSocket (libp2p/specs websockets/README.md): `/tcp/N/ws`, `/tcp/N/tls/ws` and
 * `/tcp/N/wss`. The TLS of `wss` only hides the connection; the peer is authenticated, and everything
 * encrypted, by the secure channel within.
 */

import {
  createServer as createHttpServer,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { isIPv6, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createSecureContext, type SecureContext, TLSSocket } from 'node:tls';
import { CODE_SNI } from '@multiformats/multiaddr';
import { WebSocket, WebSocketServer } from 'ws';
import { abortedBy } from '../deadline.ts';
import { LeanError, messageOf } from '../errors.ts';
import { type AddressKind, familyOf, kindOf } from '../multiaddr.ts';
import type { TlsCredentials } from '../tls/credentials.ts';
import { issueCertificate } from '../tls/issue.ts';
import { wsWire } from '../wire/websocket-wire.ts';
import type { Wire } from '../wire/wire.ts';
import { type Arrival, createAcceptor } from './acceptor.ts';
import { dialFailed, listenOn, socketPath, type Target, targetOf } from './sockets.ts';
import type { Transport } from './transport.ts';
import { createUpgrade, type Path, type UpgradeOptions } from './upgrade.ts';

export interface WsOptions extends UpgradeOptions {
  /**
   * Accepts any certificate of a `wss` listener. The connection is still authenticated and encrypted by the
   * secure channel inside; without `/p2p` in the address, anyone may answer.
   */
  readonly insecureWss?: boolean;
  /** The certificate of a `wss` listener; without it a self-signed one is made. */
  readonly wssCertificate?: TlsCredentials;
}

/** The longest message accepted, bytes. Peers send one or a few Noise messages or TLS records in a message. */
const MAX_MESSAGE = 1 << 20;
/**
 * Frames of one message, and pieces of one frame as they come off the socket: each may keep a buffer of 64 KiB. Clients
 * on go-libp2p send frames of 4 KiB.
 */
const MAX_FRAGMENTS = 256;
const MAX_PIECES = 4_096;
const WIRE_OPTIONS = {
  perMessageDeflate: false,
  maxPayload: MAX_MESSAGE,
  maxFragments: MAX_FRAGMENTS,
  maxBufferedChunks: MAX_PIECES,
  skipUTF8Validation: true,
} as const;
const KINDS: readonly AddressKind[] = ['ws', 'wss'];

/** @throws ERR_OPTIONS when `tls` is wanted without a certificate, or a list is empty. */
export const wsTransport = (options: WsOptions): Transport => {
  const upgrade = createUpgrade(options);
  const { handshakeTimeout } = upgrade.limits;
  return {
    name: 'ws',
    handles: (address) => KINDS.some((kind) => kind === kindOf(address)),

    dial: async (address, { expectedPeer, signal }) => {
      const target = targetOf(address, KINDS);
      const insecure = options.insecureWss === true;
      const sni = address.getComponents().find(({ code }) => code === CODE_SNI)?.value;
      const { wire, path } = await openWebSocket(target, sni, insecure, handshakeTimeout, signal);
      return upgrade.asDialer(wire, path, expectedPeer, signal);
    },

    listen: async (address, settings) => {
      const target = targetOf(address, KINDS);
      const { kind } = target;
      const acceptor = createAcceptor(upgrade.limits, settings);
      /** Sockets that have not become WebSockets yet, by their remote end. */
      const waiting = new Map<string, { arrival: Arrival; timer: NodeJS.Timeout }>();
      const server = await createServer(kind, options, handshakeTimeout);
      const webSockets = new WebSocketServer({ ...WIRE_OPTIONS, noServer: true });

      const onSocket = (socket: Socket): void => {
        const arrival = acceptor.arrived(socket);
        if (arrival === undefined) return;
        const remote = remoteOf(socket);
        const expire = (): void => {
          const limit = `the WebSocket handshake took longer than ${handshakeTimeout} ms`;
          arrival.refuse(new LeanError('ERR_TIMEOUT', limit));
        };
        const timer = setTimeout(expire, handshakeTimeout);
        waiting.set(remote, { arrival, timer });
        socket.on('close', () => {
          clearTimeout(timer);
          if (waiting.get(remote)?.arrival === arrival) waiting.delete(remote);
        });
      };

      const onUpgrade = (request: IncomingMessage, duplex: Duplex, head: Buffer): void => {
        const remote = remoteOf(request.socket);
        const path = socketPath(kind, request.socket);
        webSockets.handleUpgrade(request, duplex, head, (webSocket) => {
          const wire = wsWire(webSocket, duplex, false, kind);
          const found = waiting.get(remote);
          if (found === undefined) {
            wire.reset();
            return;
          }
          clearTimeout(found.timer);
          waiting.delete(remote);
          found.arrival.upgrade((signal) => upgrade.asListener(wire, path, signal));
        });
      };

      server.on('connection', onSocket);
      server.on('upgrade', onUpgrade);
      return listenOn(server, target, acceptor);
    },
  };
};

/** The TLS options of dials. Making a context takes as long as a signature, so it is made once. `ws`'s types lack the option. */
let secureContext: SecureContext | undefined;
const tlsOptions = (): object => {
  secureContext ??= createSecureContext();
  return { secureContext };
};

const remoteOf = (socket: Socket): string => `${socket.remoteAddress}:${socket.remotePort}`;

/** An HTTP or HTTPS server that only accepts WebSocket handshakes. */
const createServer = async (
  kind: AddressKind,
  options: WsOptions,
  handshakeTimeout: number,
): Promise<Server> => {
  const onRequest = (_request: IncomingMessage, response: ServerResponse) => {
    response.writeHead(426, { Connection: 'close', Upgrade: 'websocket' }).end();
  };
  const common = { noDelay: true, keepAlive: true } as const;
  if (kind === 'ws') return createHttpServer(common, onRequest);
  const { wssCertificate, tls, hostKey } = options;
  const credentials = wssCertificate ?? tls ?? issueCertificate(hostKey);
  return createHttpsServer(
    {
      ...common,
      cert: credentials.certificatePem,
      key: credentials.privateKeyPem,
      handshakeTimeout,
    },
    onRequest,
  );
};

/**
 * Connects and performs the WebSocket handshake.
 *
 * @throws ERR_DIAL; ERR_WSS_CERTIFICATE when the listener's is not trusted; the signal's reason.
 */
const openWebSocket = (
  target: Target,
  sni: string | undefined,
  insecure: boolean,
  handshakeTimeout: number,
  signal: AbortSignal,
): Promise<{ wire: Wire; path: Path }> =>
  new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(abortedBy(signal, 'the dial'));
      return;
    }
    const { kind, host, port, name } = target;
    const authority = `${isIPv6(host) ? `[${host}]` : host}:${port}`;
    const servername = sni ?? (name === undefined ? '' : host);
    const webSocket = new WebSocket(`${kind}://${authority}/`, {
      ...WIRE_OPTIONS,
      handshakeTimeout,
      family: familyOf(target),
      ...(kind === 'wss' ? { ...tlsOptions(), rejectUnauthorized: !insecure, servername } : {}),
      finishRequest: (request) => {
        request.once('socket', (its) => {
          underlying = its;
        });
        request.end();
      },
    });
    /** The socket of the handshake; a TLS socket shows whether the certificate was the cause. */
    let underlying: Socket | undefined;
    let socket: Socket | undefined;
    const settle = (): void => {
      signal.removeEventListener('abort', onAbort);
    };
    const onAbort = (): void => {
      settle();
      webSocket.terminate();
      reject(abortedBy(signal, 'the dial'));
    };
    // Stays in place: after an abort, for instance, the WebSocket still fails.
    const onError = (cause: Error): void => {
      settle();
      const untrusted =
        !insecure && underlying instanceof TLSSocket && underlying.authorizationError;
      reject(untrusted ? certificateRefused(target, cause) : dialFailed(target, cause));
    };
    webSocket.once('upgrade', (response) => {
      socket = response.socket;
    });
    webSocket.on('error', onError);
    webSocket.once('open', () => {
      settle();
      if (socket === undefined) {
        webSocket.terminate();
        reject(dialFailed(target, new Error('no socket')));
        return;
      }
      // At once: the first message may come before a promise is looked at.
      const wire = wsWire(webSocket, socket, true, kind);
      resolve({ wire, path: socketPath(kind, socket) });
    });
    signal.addEventListener('abort', onAbort);
  });

const certificateRefused = (target: Target, cause: Error): LeanError => {
  // Newer versions of Node.js append advice about Node's own command line.
  const why = messageOf(cause).replace(/; if the root CA is installed locally.*/, '');
  const where = `cannot connect to ${target.host}:${target.port}`;
  const message = `${where}: its TLS certificate is not trusted: ${why}`;
  return new LeanError('ERR_WSS_CERTIFICATE', message, { cause });
};
