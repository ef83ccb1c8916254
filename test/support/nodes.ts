/** Nodes that are closed when their test ends. */

import type { TestContext } from 'node:test';
import type { Connection } from '../../src/connection.ts';
import type { NodeEvents, NodeEventTarget } from '../../src/node/events.ts';
import { createNode, type LeanNode, type NodeOptions } from '../../src/node/node.ts';
import type { EngineName } from '../../src/quic/engine-name.ts';
import { quic, tcp, websocket } from '../../src/transports/factories.ts';
import { enginesHere } from './engines.ts';
import { type Inbox, inbox } from './quic-helpers.ts';

export const makeNode = async (t: TestContext, options: NodeOptions = {}): Promise<LeanNode> => {
  const node = await createNode(options);
  t.after(() => node.close());
  return node;
};

/** The details of the events of one type, in order. */
export const eventsOf = <Type extends keyof NodeEvents>(
  node: NodeEventTarget,
  type: Type,
): Inbox<NodeEvents[Type]> => {
  const details = inbox<NodeEvents[Type]>();
  node.addEventListener(type, ({ detail }) => details.push(detail));
  return details;
};

/** The stacks that tests run over: each QUIC engine, and both muxers. */
export interface Stack {
  readonly name: string;
  readonly options: Pick<NodeOptions, 'transports'>;
  /** On any free port of a host. */
  readonly listen: (ip?: string) => string;
}

const quicStack = (engine: EngineName): Stack => ({
  name: engine,
  options: { transports: [quic({ engine })] },
  listen: (ip = '127.0.0.1') => `/ip4/${ip}/udp/0/quic-v1`,
});

const tcpStack = (muxer: 'yamux' | 'mplex'): Stack => ({
  name: muxer,
  options: { transports: [tcp({ secureChannels: ['noise'], muxers: [muxer] })] },
  listen: (ip = '127.0.0.1') => `/ip4/${ip}/tcp/0`,
});

const wsStack: Stack = {
  name: 'ws',
  options: { transports: [websocket({ secureChannels: ['noise'], muxers: ['yamux'] })] },
  listen: (ip = '127.0.0.1') => `/ip4/${ip}/tcp/0/ws`,
};

export const stacksHere = async (): Promise<Stack[]> => [
  ...(await enginesHere(['dialer', 'listener'])).map(quicStack),
  tcpStack('yamux'),
  tcpStack('mplex'),
  wsStack,
];

/** The connection that `listener` has with `dialer`, once it has it. */
export const acceptedFrom = async (listener: LeanNode, dialer: LeanNode): Promise<Connection> => {
  const [there] = listener.connections(dialer.peerId);
  if (there !== undefined) return there;
  for (const opened = eventsOf(listener, 'connection:open'); ; ) {
    const { connection } = await opened.next();
    if (connection.remotePeer.equals(dialer.peerId)) return connection;
  }
};
