/** js-libp2p 3 nodes on our QUIC transport. */

import type { TestContext } from 'node:test';
import { type Identify, identify } from '@libp2p/identify';
import type { ComponentLogger, Connection, Libp2p, PrivateKey, Stream } from '@libp2p/interface';
import { type Ping, ping } from '@libp2p/ping';
import { createLibp2p, type Libp2pOptions } from 'libp2p';
import { type QuicOptions, quic } from '../../src/exports/js-libp2p.ts';

export type JsNode = Libp2p<{ ping: Ping; identify: Identify }>;

export interface JsNodeOptions extends QuicOptions {
  readonly listen?: readonly string[];
  readonly privateKey?: PrivateKey;
  readonly logger?: ComponentLogger;
  readonly libp2p?: Pick<Libp2pOptions, 'metrics' | 'connectionManager' | 'connectionGater'>;
}

export const LOOPBACK = '/ip4/127.0.0.1/udp/0/quic-v1';

/** Stopped when the test has ended. */
export const startJsNode = async (
  t: Pick<TestContext, 'after'>,
  { listen = [LOOPBACK], privateKey, logger, libp2p, ...options }: JsNodeOptions = {},
): Promise<JsNode> => {
  const node = await createLibp2p({
    ...(privateKey && { privateKey }),
    ...(logger && { logger }),
    addresses: { listen: [...listen] },
    transports: [quic(options)],
    services: { ping: ping(), identify: identify() },
    ...libp2p,
  });
  t.after(() => node.stop());
  return node;
};

export interface JsPair {
  readonly dialer: JsNode;
  readonly listener: JsNode;
  readonly connection: Connection;
}

/** Two nodes, the first connected to the second. */
export const startJsPair = async (
  t: Pick<TestContext, 'after'>,
  options: JsNodeOptions = {},
): Promise<JsPair> => {
  const [dialer, listener] = await Promise.all([startJsNode(t, options), startJsNode(t, options)]);
  const connection = await dialer.dial(listener.getMultiaddrs());
  return { dialer, listener, connection };
};

let protocols = 0;

/** Both ends of a new stream, after protocol negotiation. */
export const openStreams = async ({
  listener,
  connection,
}: Pick<JsPair, 'listener' | 'connection'>): Promise<readonly [near: Stream, far: Stream]> => {
  const protocol = `/lean-test/${++protocols}`;
  const { promise, resolve } = Promise.withResolvers<Stream>();
  await listener.handle(protocol, resolve);
  const [near, far] = await Promise.all([connection.newStream(protocol), promise]);
  return [near, far];
};

/** What comes until the peer has finished. */
export const readAll = async (stream: Stream): Promise<Buffer> => {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk.subarray());
  return Buffer.concat(chunks);
};
