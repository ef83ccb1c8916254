/** Dialling: one connection to a peer, by the address that answers first. */

import type { Multiaddr } from '@multiformats/multiaddr';
import type { Connection, Role, TransportConnection } from '../connection.ts';
import { aborted, orAborted, startDeadline } from '../deadline.ts';
import { errorOf, LeanError } from '../errors.ts';
import type { PeerId } from '../identity/peer-id.ts';
import { checkDialable, parseMultiaddr, peerOf, withoutPeer } from '../multiaddr.ts';
import { resolveMultiaddr } from '../resolve-multiaddr.ts';
import type { TransportDialOptions } from '../transports/transport.ts';
import type { Connections } from './connections.ts';
import { type Failure, failureOf, race } from './dial-race.ts';
import type { Events } from './events.ts';
import type { Transports } from './transports.ts';

/** The most addresses that one dial tries, after names were resolved. */
const MAX_ADDRESSES = 32;

export interface DialOptions {
  /** Ends the wait, and the dial if nobody else waits for it. */
  readonly signal?: AbortSignal | undefined;
  /** Makes a new connection even if one to the peer is open or being dialled. */
  readonly force?: boolean | undefined;
}

export interface Dialing {
  /** @see LeanNode.dial */
  dial(
    address: Multiaddr | string | readonly (Multiaddr | string)[],
    options?: DialOptions,
  ): Promise<Connection>;
  /**
   * Dials `peer` at several IP addresses at once, even if there is a connection.
   *
   * @throws as `dial`.
   */
  direct(addresses: readonly Multiaddr[], peer: PeerId, signal: AbortSignal): Promise<Connection>;
  /**
   * Dials one address for a hole punch. A connection that completes just as `signal` aborts is kept: of several, the
   * peer may have chosen that one.
   *
   * @throws as `dial`.
   */
  punch(
    address: Multiaddr,
    peer: PeerId,
    options: Pick<TransportDialOptions, 'signal' | 'holePunch'>,
  ): Promise<Connection>;
  /** Resolves when the dials under way have released their sockets. Never rejects. */
  settled(): Promise<void>;
}

/** A dial that several callers may wait for. */
interface Attempt {
  readonly addresses: ReadonlySet<string>;
  readonly result: Promise<Connection>;
  /** Aborts the dial. */
  readonly abort: AbortController;
  /** The number of callers. */
  waiting: number;
}

export const createDialing = (
  transports: Transports,
  connections: Connections,
  events: Events,
  dialTimeout: number,
  /** Fires when the node closes. */
  closing: AbortSignal,
): Dialing => {
  /** The dials under way, each as a promise that never rejects. */
  const underWay = new Set<Promise<void>>();
  /** Shared dials by peer id. */
  const attempts = new Map<string, Attempt>();

  const dialOne = async (
    address: Multiaddr,
    expectedPeer: PeerId | undefined,
    signal: AbortSignal,
    holePunch?: Role,
  ): Promise<TransportConnection> => {
    events.emit('dial:start', { address });
    const start = performance.now();
    try {
      checkDialable(address);
      const transport = transports.find(address);
      const options = { expectedPeer, signal, holePunch };
      const connection = await transport.dial(withoutPeer(address), options);
      connection.handshakeTime = performance.now() - start;
      const { remotePeer } = connection;
      if (expectedPeer === undefined || expectedPeer.equals(remotePeer)) return connection;
      await connection.close();
      throw new LeanError(
        'ERR_PEER_ID_MISMATCH',
        `expected peer ${expectedPeer}, found ${remotePeer}`,
      );
    } catch (error) {
      events.emit('dial:error', { address, error: errorOf(error) });
      throw error;
    }
  };

  /** Registers `dial`, so that `settled()` waits for it. */
  const tracked = <T>(dial: Promise<T>): Promise<T> => {
    const settled = dial.then(
      () => {},
      () => {},
    );
    underWay.add(settled);
    settled.finally(() => underWay.delete(settled));
    return dial;
  };

  const raceAll = (
    addresses: readonly Multiaddr[],
    expectedPeer: PeerId | undefined,
    signal: AbortSignal,
    headStart?: number,
  ): Promise<TransportConnection> =>
    race(addresses, {
      ...(headStart !== undefined && { headStart }),
      signal,
      dialOne: (address, raceSignal) => tracked(dialOne(address, expectedPeer, raceSignal)),
    });

  /** One dial, from resolving names to the connection; ends at its time limit, with `signal`, or with the node. */
  const attempt = async (
    given: readonly Multiaddr[],
    { signal, force }: DialOptions,
  ): Promise<Connection> => {
    const deadline = startDeadline(dialTimeout, `dialling ${given.join(', ')}`, signal);
    const onClose = () => deadline.abort(closing.reason);
    closing.addEventListener('abort', onClose, { once: true });
    if (closing.aborted) onClose();
    let dialled: Promise<TransportConnection> | undefined;
    try {
      const { found, failures } = await orAborted(resolveAll(given), deadline.signal);
      const expectedPeer = onlyPeerOf([...given, ...found]);
      if (found.length === 0) throw failureOf(failures);
      const open = force || expectedPeer === undefined ? undefined : connections.find(expectedPeer);
      if (open !== undefined) return open;
      dialled = raceAll(found, expectedPeer, deadline.signal);
      return connections.add(await orAborted(dialled, deadline.signal));
    } catch (error) {
      // The dial may have completed just as it was aborted.
      dialled?.then((connection) => connection.close()).catch(() => {});
      throw deadline.signal.aborted ? deadline.signal.reason : error;
    } finally {
      closing.removeEventListener('abort', onClose);
      deadline.clear();
    }
  };

  const start = (peer: string, given: readonly Multiaddr[]): Attempt => {
    const abort = new AbortController();
    const result = attempt(given, { signal: abort.signal });
    const addresses = new Set(given.map(String));
    const started: Attempt = { addresses, result, abort, waiting: 0 };
    attempts.set(peer, started);
    const forget = (): void => {
      if (attempts.get(peer) === started) attempts.delete(peer);
    };
    result.then(forget, forget);
    return started;
  };

  /** Waits for `dial`, which is aborted when its last caller stops waiting. */
  const wait = async (dial: Attempt, signal: AbortSignal | undefined): Promise<Connection> => {
    dial.waiting++;
    try {
      return await (signal === undefined
        ? dial.result
        : orAborted(dial.result, signal, 'the dial'));
    } finally {
      dial.waiting--;
      if (dial.waiting === 0) {
        dial.abort.abort(new LeanError('ERR_ABORTED', 'the dial was aborted'));
      }
    }
  };

  /**
   * Waits for the dial to `peer` that is under way, or starts one. If a dial that others started fails, those of the
   * given addresses that it did not try are dialled.
   */
  const share = async (
    peer: string,
    given: readonly Multiaddr[],
    signal: AbortSignal | undefined,
  ): Promise<Connection> => {
    const running = attempts.get(peer);
    if (running === undefined || running.abort.signal.aborted) {
      return wait(start(peer, given), signal);
    }
    try {
      return await wait(running, signal);
    } catch (error) {
      const others = given.filter((address) => !running.addresses.has(address.toString()));
      if (others.length === 0 || closing.aborted || signal?.aborted === true) throw error;
      return share(peer, others, signal);
    }
  };

  return {
    dial: async (address, { signal, force = false } = {}) => {
      const list = typeof address === 'string' || !isList(address) ? [address] : address;
      const given = list.map(parseMultiaddr);
      if (given.length === 0) throw new LeanError('ERR_ADDRESS', 'there is no address to dial');
      const peer = onlyPeerOf(given); // before names are resolved
      if (closing.aborted) throw closing.reason;
      if (signal?.aborted === true) throw aborted('the dial', signal.reason);
      if (peer === undefined || force) return attempt(given, { signal, force });
      return connections.find(peer) ?? share(peer.toString(), given, signal);
    },
    direct: async (addresses, peer, signal) => {
      const either = AbortSignal.any([signal, closing]);
      return connections.add(await raceAll(addresses, peer, either, 0));
    },
    punch: async (address, peer, { signal, holePunch }) => {
      const either = AbortSignal.any([signal, closing]);
      return connections.add(await tracked(dialOne(address, peer, either, holePunch)));
    },
    settled: async () => void (await Promise.all(underWay)),
  };
};

/** The peer that `addresses` name, if any does. @throws ERR_ADDRESS. */
const onlyPeerOf = (addresses: readonly Multiaddr[]): PeerId | undefined => {
  const [peer, ...rest] = addresses.map(peerOf).filter((it) => it !== undefined);
  const other = peer === undefined ? undefined : rest.find((it) => !it.equals(peer));
  if (other === undefined) return peer;
  throw new LeanError('ERR_ADDRESS', `the addresses name different peers, ${peer} and ${other}`);
};

/** Resolves the names in all addresses. @returns the results, and the errors of those that could not be resolved. */
const resolveAll = async (
  given: readonly Multiaddr[],
): Promise<{ found: Multiaddr[]; failures: Failure[] }> => {
  const failures: Failure[] = [];
  const lists = await Promise.all(
    given.map((address) =>
      resolveMultiaddr(address).catch((error) => {
        failures.push({ address, error });
        return [];
      }),
    ),
  );
  return { found: lists.flat().slice(0, MAX_ADDRESSES), failures };
};

const isList = (
  value: Multiaddr | string | readonly (Multiaddr | string)[],
): value is readonly (Multiaddr | string)[] => Array.isArray(value);
