/** `libp2p-lean listen` and `relay`: a node that runs until it is ended. */

import type { Multiaddr } from '@multiformats/multiaddr';
import { cappedLog } from '../capped-log.ts';
import { describeClose } from '../close-reason.ts';
import { untilAborted } from '../deadline.ts';
import { isLeanError, messageOf } from '../errors.ts';
import { HarnessError } from '../harness/errors.ts';
import type { NodeEvents } from '../node/events.ts';
import { createNode, type LeanNode, type NodeOptions } from '../node/node.ts';
import { isRelayLimit } from '../node/relay-limits.ts';
import { parseListenAddress, parseRelay } from './addresses.ts';
import { freeMemoryAfterBursts } from './free-memory.ts';
import { EXIT, note, onTermination, print } from './process.ts';
import { type TransportFlags, transportsOf } from './transports.ts';

export interface ListenFlags extends TransportFlags {
  readonly debug?: boolean;
  /** Limits of the node and of the relay, by name. */
  readonly limit?: Readonly<Record<string, number>>;
  /** Relays to be reached through. */
  readonly relay?: readonly string[];
  /** Be a relay. */
  readonly serveRelay?: boolean;
  /** Serve `/perf/1.0.0` too, to anyone. */
  readonly perf?: boolean;
  /** Where to serve metrics over HTTP. */
  readonly metrics?: { readonly host: string; readonly port: number };
}

/**
 * Listens on all of `addresses` until SIGINT or SIGTERM.
 *
 * @throws ERR_CONFIG, ERR_OPTIONS for a limit, ERR_LISTEN, ERR_ENGINE_UNAVAILABLE; nothing was printed then.
 */
export const listen = async (addresses: readonly string[], flags: ListenFlags): Promise<number> => {
  const wanted = addresses.map(parseListenAddress);
  const relays = (flags.relay ?? []).map(parseRelay);
  const signal = onTermination(EXIT.ok);
  const metrics = flags.metrics && (await serve(flags.metrics));
  const node = await createNode({
    transports: transportsOf(flags),
    ...limitsOf(flags),
    ...(metrics && { metrics: metrics.registry }),
  });
  if (flags.debug) (await import('./debug-log.ts')).debugNode(node);
  else notePeers(node);
  freeMemoryAfterBursts(node);
  if (flags.perf) (await import('./perf-interactive.ts')).serve(node);
  try {
    for (const address of wanted) await bind(node, address);
    for (const relay of relays) await node.listen(relay);
    await print(`${node.addresses().join('\n')}\n`);
    await untilAborted(signal).catch(() => undefined);
    return EXIT.ok;
  } finally {
    metrics?.close();
    await node.close();
  }
};

/** Listens on `address`. @throws ERR_CONFIG if that cannot be listened on, such as a name; what `node.listen()` throws. */
const bind = async (node: LeanNode, address: Multiaddr): Promise<void> => {
  try {
    await node.listen(address);
  } catch (cause) {
    if (!isLeanError(cause, 'ERR_ADDRESS')) throw cause;
    throw new HarnessError('ERR_CONFIG', messageOf(cause), { cause });
  }
};

const serve = async ({ host, port }: { readonly host: string; readonly port: number }) => {
  const { serveMetrics } = await import('./metrics-server.ts');
  const server = await serveMetrics(host, port);
  note(`metrics at ${server.url}`);
  return server;
};

/** The node's options for `limit` and `serveRelay`. */
const limitsOf = ({ limit = {}, serveRelay = false }: ListenFlags): NodeOptions => {
  if (!serveRelay) return { limits: limit };
  const [ofRelay, others] = [true, false].map((wanted) =>
    Object.fromEntries(Object.entries(limit).filter(([name]) => isRelayLimit(name) === wanted)),
  );
  return { limits: others ?? {}, relay: ofRelay ?? {} };
};

/** The most lines of one kind on stderr, per second. */
const MAX_LINES = 10;
/** The same for refused connections, which peers can cause at the least cost. */
const MAX_REFUSALS = 5;

/** Logs on stderr what peers do. */
const notePeers = (node: LeanNode): void => {
  const on = <Type extends keyof NodeEvents>(
    type: Type,
    line: (detail: NodeEvents[Type]) => string,
    more: string,
    most = MAX_LINES,
  ): void => {
    const log = cappedLog<NodeEvents[Type]>(
      most,
      (detail) => note(line(detail)),
      (count) => note(`and ${count} more ${more}`),
    );
    node.addEventListener(type, ({ detail }) => log(detail));
  };
  on(
    'connection:open',
    ({ connection: { remotePeer, remoteAddress, description } }) =>
      `${remotePeer} connected from ${remoteAddress} over ${description}`,
    'connected',
  );
  on(
    'connection:close',
    ({ connection, reason }) => `${connection.remotePeer} left: ${describeClose(reason)}`,
    'left',
  );
  on(
    'connection:refuse',
    ({ error, remote }) => `${remote} was refused: ${messageOf(error)}`,
    'were refused',
    MAX_REFUSALS,
  );
  on(
    'relay:lost',
    ({ relay, error }) => `the relay ${relay} is lost: ${messageOf(error)}`,
    'relays are lost',
  );
  on(
    'relay:circuit',
    ({ source, target }) => `${source} is relayed to ${target}`,
    'circuits are relayed',
  );
  on(
    'stream:open',
    ({ connection, protocol }) => `${connection.remotePeer} opened ${protocol}`,
    'streams were opened',
  );
};
