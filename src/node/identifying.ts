/** Identify in a node: answers it, asks peers which address of ours they observe, and pushes changes. */

import type { Multiaddr } from '@multiformats/multiaddr';
import type { Connection } from '../connection.ts';
import type { PublicKey } from '../identity/keys.ts';
import {
  encodeIdentify,
  handleIdentify,
  handleIdentifyPush,
  IDENTIFY,
  IDENTIFY_PUSH,
  type IdentifyInfo,
  identify,
  pushIdentify,
} from '../protocols/identify.ts';
import type { Connections } from './connections.ts';
import type { Events } from './events.ts';
import { createIdentifyPush } from './identify-push.ts';
import type { ObservedAddresses } from './observed-addresses.ts';
import type { Protocols } from './protocols.ts';

export interface Identifying {
  /** Asks the peer of `connection` which address of this node it observes; once per connection. */
  ask(connection: Connection): void;
  /** This node's identify message may have changed. */
  changed(): void;
}

export interface IdentifyingOptions {
  readonly publicKey: PublicKey;
  readonly agentVersion: string;
  /** Where this node can be dialled. */
  readonly addresses: () => readonly Multiaddr[];
  /** Collects the addresses that peers observe. */
  readonly observed: ObservedAddresses;
  readonly protocols: Protocols;
  readonly connections: Connections;
  readonly events: Events;
  /** Fires when the node closes. */
  readonly closing: AbortSignal;
}

/** The most addresses in our message: rust-libp2p accepts messages of up to 4 KiB. */
const MAX_TOLD_ADDRESSES = 64;
/** The protocol family that go-libp2p and js-libp2p name by default. */
const PROTOCOL_VERSION = 'ipfs/0.1.0';

/** Answers identify and identify push from now on. */
export const createIdentifying = ({
  publicKey,
  agentVersion,
  addresses,
  observed,
  protocols,
  connections,
  events,
  closing,
}: IdentifyingOptions): Identifying => {
  /** The message for the peer of `connection`. */
  const infoFor = (connection?: Connection): IdentifyInfo => ({
    publicKey: publicKey.protobuf,
    listenAddrs: addresses().slice(0, MAX_TOLD_ADDRESSES),
    observedAddr: connection?.remoteAddress,
    protocols: protocols.names(),
    agentVersion,
    protocolVersion: PROTOCOL_VERSION,
  });
  protocols.handle(IDENTIFY, (stream, connection) => handleIdentify(stream, infoFor(connection)));
  protocols.handle(IDENTIFY_PUSH, async (stream, connection) => {
    const info = await handleIdentifyPush(stream, connection);
    events.emit('identify:push', { connection, info });
  });

  const push = createIdentifyPush(
    connections.list,
    () => Buffer.from(encodeIdentify(infoFor())).toString('base64'),
    (connection) => pushIdentify(connection, infoFor(connection), { signal: closing }),
    closing,
  );
  for (const type of ['listen:open', 'listen:close', 'relay:reserve', 'relay:lost'] as const) {
    events.target.addEventListener(type, push.changed);
  }

  const asked = new WeakSet<Connection>();
  return {
    ask: (connection) => {
      if (asked.has(connection)) return;
      asked.add(connection);
      identify(connection, { signal: closing }).then(
        ({ observedAddr }) => observed.observe(connection, observedAddr),
        () => {},
      );
    },
    changed: push.changed,
  };
};
