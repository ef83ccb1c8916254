/**
 * A `node:quic` client that does what our engines never do: no certificate, two of them, another
 * ALPN, unidirectional streams. Needs a Node with `node:quic`.
 */

import './plain-exit.ts';
import type { KeyObject } from 'node:crypto';
import { loadPrivateKey } from '../../src/quic/node/session-options.ts';
import { NO_STATELESS_RESET } from '../../src/quic/node/stateless-reset.ts';
import type { NodeQuicError, NodeQuicSession, NodeQuicStream } from '../../src/quic/node/types.ts';
import type { SocketAddress } from '../../src/socket-address.ts';

export interface RawOptions {
  readonly alpn?: string;
  /** PEM; none: no client certificate is sent. */
  readonly certificates?: readonly string[];
  readonly privateKeyPem?: string;
}

export interface RawClient {
  /** What ended the session: the peer's error, or `undefined` if there was none. */
  readonly ended: Promise<NodeQuicError | undefined>;
  /** Resolves when the client believes the handshake complete; rejects when it failed. */
  readonly opened: Promise<unknown>;
  openUnidirectional(): Promise<NodeQuicStream>;
  destroy(): Promise<void>;
}

interface RawQuic {
  connect(address: object, options: object): Promise<RawSession>;
}
interface RawSession extends NodeQuicSession {
  createUnidirectionalStream(): Promise<NodeQuicStream>;
}

export const rawDial = async (remote: SocketAddress, options: RawOptions): Promise<RawClient> => {
  const specifier: string = 'node:quic';
  const quic = (await import(specifier)) as RawQuic;
  const identity: { keys?: KeyObject[]; certs?: Buffer[] } = {};
  if (options.certificates !== undefined && options.privateKeyPem !== undefined) {
    identity.keys = [loadPrivateKey(options.privateKeyPem)];
    identity.certs = [Buffer.from(options.certificates.join('\n'))];
  }
  const address = { address: remote.host, port: remote.port, family: 'ipv4' };
  const session = await quic.connect(address, {
    ...identity,
    alpn: options.alpn ?? 'libp2p',
    servername: 'example.org',
    verifyPeer: 'manual',
    rejectUnauthorized: false,
    endpoint: {
      address: { address: '127.0.0.1', port: 0, family: 'ipv4' },
      ...NO_STATELESS_RESET,
    },
    // Seconds. None ends by its own clock while a busy machine keeps the test waiting.
    transportParams: { maxIdleTimeout: 30 },
    handshakeTimeout: 30_000,
    onerror: () => {},
    onstream: (stream: NodeQuicStream) => void stream.closed.catch(() => {}),
  });
  const { endpoint } = session;
  session.opened.catch(() => {});
  const open = async (stream: Promise<NodeQuicStream>): Promise<NodeQuicStream> => {
    const opened = await stream;
    opened.closed.catch(() => {});
    return opened;
  };
  return {
    opened: session.opened,
    ended: session.closed.then(
      () => undefined,
      (error) => error as NodeQuicError,
    ),
    openUnidirectional: () => open(session.createUnidirectionalStream()),
    destroy: async () => {
      session.destroy();
      await endpoint?.close();
    },
  };
};
