/** Finds out, by AutoNAT v2 servers, which addresses of this node can be dialled from outside. */

import type { Multiaddr } from '@multiformats/multiaddr';
import type { Connection } from '../connection.ts';
import { isLeanError } from '../errors.ts';
import { isPublicIp } from '../ip-scope.ts';
import { ipOf, kindOf, withoutPeer } from '../multiaddr.ts';
import { AUTONAT_DIAL_BACK, checkAddresses, createDialBacks } from '../protocols/autonat-v2.ts';
import { countedHostOf } from './counted-host.ts';
import type { Events } from './events.ts';
import type { Protocols } from './protocols.ts';
import type { Reachability, ReachabilityStatus } from './reachability-status.ts';

export interface ReachabilityOptions {
  /** How many servers must agree on an address, and outnumber those that disagree. */
  readonly confirmations: number;
  /** Also checks addresses that are not public. */
  readonly allowPrivate: boolean;
  /** Where this node may be reachable, the most likely first. */
  readonly candidates: () => readonly Multiaddr[];
  readonly connections: () => readonly Connection[];
  readonly events: Events;
  /** Fires when the node closes. */
  readonly closing: AbortSignal;
}

export interface ReachabilityCheck {
  /** The result so far. */
  current(): Reachability;
  /** Something has changed: asks servers about addresses that they have not been asked about yet. */
  refresh(): void;
}

/** The most addresses that are checked; further candidates are not. */
const MAX_ADDRESSES = 8;
/** The most answers that are kept for one address: the latest. */
const MAX_VOTES = 16;
/** How long an answer counts; milliseconds. */
const VOTE_LIFETIME = 3_600_000;
/** Time between two rounds; milliseconds. */
const ROUND = 900_000;
/** A server is not asked about the same addresses again within this time; milliseconds. */
const ASK_AGAIN = 60_000;
/** For how many servers that is remembered: the latest. */
const MAX_ASKED = 1_024;

/** What a server was asked, and when. */
interface Question {
  readonly addresses: string;
  readonly at: number;
}

interface Vote {
  readonly reachable: boolean;
  readonly at: number;
}

/** Asks connected AutoNAT servers from now on. */
export const watchReachability = (
  protocols: Protocols,
  options: ReachabilityOptions,
): ReachabilityCheck => {
  const { confirmations, allowPrivate, candidates, connections, events, closing } = options;
  const dialBacks = createDialBacks();
  protocols.handle(AUTONAT_DIAL_BACK, dialBacks.handle);
  /** The servers' answers by address, then by voter, the oldest first. */
  const votes = new Map<string, Map<string, Vote>>();
  /** The last question by voter, the oldest first. */
  const asked = new Map<string, Question>();
  /** Connections whose peer does not serve AutoNAT. */
  const noServers = new WeakSet<Connection>();
  let last: Reachability = { status: 'unknown', addresses: [] };
  let running = false;
  let again = false;

  /** The addresses that are checked. */
  const checked = (): Multiaddr[] => {
    const wanted = new Map<string, Multiaddr>();
    for (const candidate of candidates()) {
      // Relayed addresses, and those of transports that servers do not know, are not checked.
      if (kindOf(candidate) === undefined) continue;
      const address = withoutPeer(candidate);
      const ip = ipOf(address);
      if (ip !== undefined && (allowPrivate || isPublicIp(ip))) {
        wanted.set(address.toString(), address);
      }
    }
    return [...wanted.values()].slice(0, MAX_ADDRESSES);
  };

  const votesOf = (address: Multiaddr): Map<string, Vote> => {
    const known = votes.get(address.toString()) ?? new Map<string, Vote>();
    for (const [voter, { at }] of known) {
      if (performance.now() - at > VOTE_LIFETIME) known.delete(voter);
    }
    return known;
  };

  const statusOf = (address: Multiaddr): ReachabilityStatus => {
    const all = [...votesOf(address).values()];
    const yes = all.filter(({ reachable }) => reachable).length;
    const no = all.length - yes;
    if (yes >= confirmations && yes > no) return 'public';
    return no >= confirmations && no > yes ? 'private' : 'unknown';
  };

  /**
   * Whether a server may be asked about `open`: not about the same again soon. Otherwise peers that come and go would
   * make us ask all other servers each time, and a host that does not answer would delay us with each connection.
   */
  const mayAsk = (voter: string, open: readonly Multiaddr[]): boolean => {
    const addresses = open.map(String).sort().join();
    const now = performance.now();
    const before = asked.get(voter);
    if (before?.addresses === addresses && now - before.at < ASK_AGAIN) return false;
    asked.delete(voter);
    asked.set(voter, { addresses, at: now });
    const [oldest] = asked.keys();
    if (asked.size > MAX_ASKED && oldest !== undefined) asked.delete(oldest);
    return true;
  };

  /** Asks one server about the addresses that it has not answered for yet. Never rejects. */
  const ask = async (connection: Connection): Promise<void> => {
    const voter = voterOf(connection);
    if (voter === undefined) return;
    try {
      for (;;) {
        const open = checked().filter((it) => !votesOf(it).has(voter));
        if (open.length === 0 || !mayAsk(voter, open)) return;
        const check = await checkAddresses(connection, open, dialBacks, { signal: closing });
        if (check === undefined) return;
        const known = votesOf(check.address);
        const [oldest] = known.keys();
        if (known.size >= MAX_VOTES && oldest !== undefined) known.delete(oldest);
        known.set(voter, { reachable: check.reachable, at: performance.now() });
        votes.set(check.address.toString(), known);
        tell();
      }
    } catch (error) {
      if (!isLeanError(error, 'ERR_PROTOCOL_NOT_SUPPORTED')) return;
      noServers.add(connection);
      // Another peer of the same host may be a server.
      asked.delete(voter);
    }
  };

  /** Updates the result, and emits an event if it has changed. */
  const tell = (): void => {
    const addresses = checked().map((address) => ({ address, status: statusOf(address) }));
    const found = addresses.map(({ status }) => status);
    const all = found.length > 0 && found.every((it) => it === 'private');
    const status = found.includes('public') ? 'public' : all ? 'private' : 'unknown';
    const next: Reachability = { status, addresses };
    const changed = textOf(next) !== textOf(last);
    last = next;
    if (changed) events.emit('reachability:change', next);
  };

  /** Asks one server after the other, so that they do not all dial at once. */
  const round = async (): Promise<void> => {
    if (running) {
      again = true;
      return;
    }
    running = true;
    try {
      do {
        again = false;
        const current = new Set(checked().map(String));
        for (const address of votes.keys()) if (!current.has(address)) votes.delete(address);
        for (const connection of connections()) {
          if (closing.aborted) return;
          if (connection.circuit === undefined && !noServers.has(connection)) await ask(connection);
        }
        tell();
      } while (again);
    } finally {
      running = false;
    }
  };

  const refresh = (): void => {
    // A custom transport's addresses() may throw: the next round tries again.
    round().catch(() => {});
  };
  const timer = setInterval(refresh, ROUND);
  timer.unref();
  closing.addEventListener('abort', () => clearInterval(timer), { once: true });
  for (const type of ['connection:open', 'listen:open', 'listen:close', 'port:map'] as const) {
    events.target.addEventListener(type, refresh, { signal: closing });
  }
  return { current: () => last, refresh };
};

/**
 * A host has one vote, however many peer ids it uses; on loopback, each peer has one. Peers without an IP address
 * have none, as one party may use many peer ids.
 */
const voterOf = ({ remoteAddress, remotePeer }: Connection): string | undefined =>
  ipOf(remoteAddress) === undefined
    ? undefined
    : (countedHostOf(remoteAddress) ?? remotePeer.toString());

const textOf = ({ addresses }: Reachability): string =>
  addresses.map(({ address, status }) => `${address} ${status}`).join();
