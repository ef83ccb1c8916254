/**
 * A node of libp2p/test-plans' gossipsub-interop (`test-specs/implementation.md` there), on js-libp2p and
 * `@libp2p/gossipsub`: runs the script and logs every message that it receives, duplicates included.
 */

import { lookup } from 'node:dns/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys';
import {
  type GossipSub,
  type GossipSubComponents,
  type GossipsubOpts,
  gossipsub,
  StrictNoSign,
  TopicValidatorResult,
} from '@libp2p/gossipsub';
import { identify } from '@libp2p/identify';
import type { Libp2p, PeerId, PrivateKey, Startable } from '@libp2p/interface';
import { noise } from '@libp2p/noise';
import { peerIdFromPrivateKey } from '@libp2p/peer-id';
import { ping } from '@libp2p/ping';
import { tcp } from '@libp2p/tcp';
import { yamux } from '@libp2p/yamux';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import { orAborted } from '../deadline.ts';
import { LeanError, messageOf } from '../errors.ts';
import { quic } from '../js-libp2p/transport.ts';
import { printable } from '../printable.ts';
import { closeInTime } from './closing.ts';
import type { GossipSubParams, Instruction } from './gossipsub-script.ts';

/** The port on which every node listens. */
const PORT = 9000;
/** How long a node that does not answer yet is dialled; milliseconds. */
const CONNECT_TIMEOUT = 20_000;
/** Pause between two attempts; milliseconds. */
const CONNECT_PAUSE = 200;
/** Bytes of a message id. */
const ID_LENGTH = 8;
/** The longest RPC, bytes: go's node accepts messages of 10 MiB. */
const MAX_RPC = 11 << 20;
/** Nanoseconds in a millisecond. */
const NANOSECONDS = 1_000_000;

export interface GossipsubNodeOptions {
  readonly nodeId: number;
  /** What other nodes are dialled over; the node listens on both. */
  readonly transport: 'tcp' | 'quic-v1';
  readonly script: readonly Instruction[];
  /** When this process started, on the clock of `performance.now()`. */
  readonly startedAt: number;
  readonly signal: AbortSignal;
  /** Takes an event for stdout. */
  readonly event: (msg: string, fields: Readonly<Record<string, string | number>>) => void;
  /** Takes a line for people. */
  readonly note: (line: string) => void;
}

/** The key of a node: an Ed25519 key whose seed is the node's number, little-endian. */
export const nodeKey = (nodeId: number): Promise<PrivateKey> => {
  const seed = Buffer.alloc(32);
  seed.writeBigUInt64LE(BigInt(nodeId));
  return generateKeyPairFromSeed('Ed25519', seed);
};

/** A message's first 8 bytes as a big-endian integer, in base 10. */
export const messageIdOf = (data: Uint8Array): string =>
  data.length < ID_LENGTH
    ? '0'
    : Buffer.from(data.buffer, data.byteOffset, ID_LENGTH).readBigUInt64BE().toString();

/**
 * Runs the script to its end, and closes the node.
 *
 * @throws ERR_UNSUPPORTED at an instruction that needs partial messages; ERR_DIAL when a node cannot be
 * connected to; ERR_ABORTED when `signal` ended it.
 */
export const runGossipsubNode = async (options: GossipsubNodeOptions): Promise<void> => {
  const { nodeId, script, event } = options;
  const privateKey = await nodeKey(nodeId);
  let components: GossipSubComponents | undefined;
  const node = await createLibp2p({
    privateKey,
    addresses: { listen: [`/ip4/0.0.0.0/tcp/${PORT}`, `/ip4/0.0.0.0/udp/${PORT}/quic-v1`] },
    transports: [tcp(), quic()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionManager: { maxConnections: 10_000, inboundConnectionThreshold: 10_000 },
    connectionMonitor: { enabled: false },
    services: {
      identify: identify(),
      ping: ping(),
      // GossipSub's parameters come with an instruction, when the node is up.
      components: (given: GossipSubComponents) => {
        components = given;
        return {};
      },
    },
  });
  if (components === undefined) throw new LeanError('ERR_UNSUPPORTED', 'no components of libp2p');
  event('PeerID', { id: node.peerId.toString(), node_id: nodeId });
  const state: State = { node, components, pubsub: undefined };
  try {
    for (const instruction of script) await execute(instruction, state, options);
  } finally {
    await closeInTime('GossipSub', async () => state.pubsub?.stop(), options.note);
    await closeInTime('the node', () => node.stop(), options.note);
  }
};

interface State {
  readonly node: Libp2p;
  readonly components: GossipSubComponents;
  pubsub: (GossipSub & Startable) | undefined;
}

const execute = async (
  instruction: Instruction,
  state: State,
  options: GossipsubNodeOptions,
): Promise<void> => {
  const { nodeId, note, signal } = options;
  if (signal.aborted) throw signal.reason;
  switch (instruction.type) {
    case 'ifNodeIDEquals':
      if (instruction.nodeID === nodeId) await execute(instruction.instruction, state, options);
      return;
    case 'initGossipSub':
      state.pubsub = await startGossipSub(instruction.gossipSubParams, state.components, options);
      return;
    case 'connect':
      for (const target of instruction.connectTo) await connect(target, state.node, options);
      note(`node ${nodeId} is connected to ${state.node.getPeers().length} peers`);
      return;
    case 'waitUntil': {
      const elapsed = performance.now() - options.startedAt;
      const left = instruction.elapsedSeconds * 1000 - elapsed;
      if (left > 0) await delay(left, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) throw signal.reason;
      return;
    }
    case 'publish': {
      const data = new Uint8Array(instruction.messageSizeBytes);
      new DataView(data.buffer).setBigUint64(0, BigInt(instruction.messageID));
      await pubsubOf(state).publish(instruction.topicID, data);
      note(`published message ${instruction.messageID}`);
      return;
    }
    case 'subscribeToTopic':
      if (instruction.partial) throw partial();
      pubsubOf(state).subscribe(instruction.topicID);
      return;
    case 'setTopicValidationDelay': {
      const ms = instruction.delaySeconds * 1000;
      pubsubOf(state).topicValidators.set(instruction.topicID, () =>
        delay(ms, TopicValidatorResult.Accept),
      );
      return;
    }
    default:
      throw partial();
  }
};

const partial = (): LeanError =>
  new LeanError('ERR_UNSUPPORTED', 'js-libp2p has no partial messages, which the script asks for');

const pubsubOf = ({ pubsub }: State): GossipSub => {
  if (pubsub !== undefined) return pubsub;
  throw new LeanError('ERR_OPTIONS', 'the script uses GossipSub before initGossipSub');
};

/** A method of GossipSub's class that its type does not declare. */
interface Internals {
  handleReceivedMessage?: (from: PeerId, message: ReceivedMessage) => Promise<void>;
}

interface ReceivedMessage {
  readonly topic?: string;
  readonly data?: Uint8Array;
}

const startGossipSub = async (
  params: GossipSubParams,
  components: GossipSubComponents,
  { event, note }: GossipsubNodeOptions,
): Promise<GossipSub & Startable> => {
  const { known, unknown } = optionsOf(params);
  if (unknown.length > 0) note(`js-libp2p has no ${unknown.join(', ')}: its defaults are used`);
  const pubsub = gossipsub({
    ...known,
    globalSignaturePolicy: StrictNoSign,
    msgIdFn: ({ data }) => data.subarray(0, ID_LENGTH),
    // As in go-libp2p's node, the reference.
    floodPublish: false,
    allowPublishToZeroTopicPeers: true,
    fallbackToFloodsub: false,
    maxInboundDataLength: MAX_RPC,
    maxOutboundBufferSize: 64 * MAX_RPC,
  })(components) as GossipSub & Startable;
  const internals = pubsub as unknown as Internals;
  const handle = internals.handleReceivedMessage;
  if (handle === undefined) {
    throw new LeanError('ERR_UNSUPPORTED', 'this version of @libp2p/gossipsub is not known');
  }
  internals.handleReceivedMessage = (from, message) => {
    event('Received Message', {
      service: 'gossipsub',
      from: from.toString(),
      topic: printable(message.topic ?? ''),
      id: messageIdOf(message.data ?? new Uint8Array(0)),
    });
    return handle.call(pubsub, from, message);
  };
  await pubsub.start();
  return pubsub;
};

/** For each of go's parameters the name of js-libp2p's option, and how many of go's units make one of its units. */
const NAMES: Readonly<Record<string, readonly [name: keyof GossipsubOpts, unit: number]>> = {
  D: ['D', 1],
  Dlo: ['Dlo', 1],
  Dhi: ['Dhi', 1],
  Dscore: ['Dscore', 1],
  Dout: ['Dout', 1],
  Dlazy: ['Dlazy', 1],
  GossipFactor: ['gossipFactor', 1],
  HistoryLength: ['mcacheLength', 1],
  HistoryGossip: ['mcacheGossip', 1],
  HeartbeatInterval: ['heartbeatInterval', NANOSECONDS],
  FanoutTTL: ['fanoutTTL', NANOSECONDS],
  PrunePeers: ['prunePeers', 1],
  PruneBackoff: ['pruneBackoff', NANOSECONDS],
  UnsubscribeBackoff: ['unsubcribeBackoff', NANOSECONDS],
  GraftFloodThreshold: ['graftFloodThreshold', NANOSECONDS],
  OpportunisticGraftPeers: ['opportunisticGraftPeers', 1],
  OpportunisticGraftTicks: ['opportunisticGraftTicks', 1],
  DirectConnectTicks: ['directConnectTicks', 1],
  IWantFollowupTime: ['gossipsubIWantFollowupMs', NANOSECONDS],
  IDontWantMessageThreshold: ['idontwantMinDataSize', 1],
  MaxIDontWantMessages: ['idontwantMaxMessages', 1],
};

/** js-libp2p's options for go's parameters, and the names of those that it has no option for. */
export const optionsOf = (
  params: GossipSubParams,
): { readonly known: Partial<GossipsubOpts>; readonly unknown: readonly string[] } => {
  const known: Record<string, number> = {};
  const unknown: string[] = [];
  for (const [name, value] of Object.entries(params)) {
    const [ours, unit] = (Object.hasOwn(NAMES, name) && NAMES[name]) || [];
    if (ours === undefined || unit === undefined) unknown.push(name);
    else known[ours] = value / unit;
  }
  return { known, unknown };
};

/** Dials node `target`, which may start after us. */
const connect = async (
  target: number,
  node: Libp2p,
  { signal, transport }: GossipsubNodeOptions,
): Promise<void> => {
  const peer = peerIdFromPrivateKey(await nodeKey(target));
  const limited = AbortSignal.any([signal, AbortSignal.timeout(CONNECT_TIMEOUT)]);
  for (;;) {
    try {
      const { address } = await orAborted(lookup(`node${target}`, { family: 4 }), limited);
      const rest = transport === 'tcp' ? `tcp/${PORT}` : `udp/${PORT}/quic-v1`;
      const remote = multiaddr(`/ip4/${address}/${rest}/p2p/${peer}`);
      await orAborted(node.dial(remote, { signal: limited }), limited);
      return;
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (limited.aborted) {
        const what = `node ${target} cannot be connected to: ${messageOf(error)}`;
        throw new LeanError('ERR_DIAL', what, { cause: error });
      }
      await delay(CONNECT_PAUSE, undefined, { signal: limited }).catch(() => undefined);
    }
  }
};
