/** An AutoNAT server, v1 and v2: which requests it accepts, and which addresses it dials. */

import { networkInterfaces } from 'node:os';
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr';
import type { Connection } from '../connection.ts';
import { startDeadline } from '../deadline.ts';
import type { PeerId } from '../identity/peer-id.ts';
import { isPublicIp } from '../ip-scope.ts';
import { hostOf, ipOf, isCircuit, kindOf, withPeer } from '../multiaddr.ts';
import { once } from '../once.ts';
import { AUTONAT_V1, handleAutonatV1 } from '../protocols/autonat-v1.ts';
import { AUTONAT_DIAL_REQUEST, handleDialRequest } from '../protocols/autonat-v2.ts';
import type { AutonatLimits } from './autonat-limits.ts';
import { createMinuteCount } from './minute-count.ts';
import type { Protocols } from './protocols.ts';

/** The node that dials, as far as the server needs it. */
export interface AutonatDialer {
  dial(
    addresses: readonly Multiaddr[],
    options: { readonly force: true; readonly signal: AbortSignal },
  ): Promise<Connection>;
  close(): Promise<void>;
}

export interface AutonatServerOptions {
  readonly limits: AutonatLimits;
  /** Whether addresses that are not public are dialled, too: for networks without public addresses. */
  readonly allowPrivate: boolean;
  /** Makes the node that dials. It has its own identity and sockets: a dial from ours would open our NAT for the client. */
  readonly createDialer: () => Promise<AutonatDialer>;
  /** Fires when the node closes. */
  readonly closing: AbortSignal;
}

/** Answers AutoNAT's requests from now on. */
export const serveAutonat = (protocols: Protocols, options: AutonatServerOptions): void => {
  const { limits, allowPrivate, createDialer, closing } = options;
  const requests = createRequestCount(limits);
  const dialer = once(async () => {
    const node = await createDialer();
    closing.addEventListener('abort', () => void node.close(), { once: true });
    if (closing.aborted) await node.close();
    return node;
  });

  const mayDial = (address: Multiaddr): boolean => {
    if (kindOf(address) === undefined || isCircuit(address)) return false;
    const { host, port, name } = hostOf(address);
    if (name !== undefined || port === 0) return false;
    return (allowPrivate || isPublicIp(host)) && (!host.includes(':') || hasIPv6());
  };
  const dial = async (
    peer: PeerId,
    addresses: readonly Multiaddr[],
    signal: AbortSignal,
  ): Promise<Connection> => {
    const node = await dialer();
    const wanted = addresses.map((it) => withPeer(it, peer));
    const deadline = startDeadline(limits.dialTimeout, 'the dial', signal);
    try {
      return await node.dial(wanted, { force: true, signal: deadline.signal });
    } finally {
      deadline.clear();
    }
  };

  protocols.handle(AUTONAT_DIAL_REQUEST, (stream, connection) =>
    handleDialRequest(stream, connection, {
      admit: requests.admit,
      admitOther: requests.admitOther,
      mayDial,
      isOwn: ({ circuit, remoteAddress }, address) =>
        circuit === undefined &&
        ipOf(address) !== undefined &&
        ipOf(remoteAddress) === ipOf(address),
      dial: (peer, address, signal) => dial(peer, [address], signal),
    }),
  );
  protocols.handle(AUTONAT_V1, (stream, connection) =>
    handleAutonatV1(stream, connection, {
      admit: requests.admit,
      ownAddress: ({ remoteAddress }, address) => {
        if (kindOf(address) === undefined || isCircuit(address)) return undefined;
        const [host] = remoteAddress.getComponents();
        const [, ...rest] = address.getComponents();
        if (host === undefined) return undefined;
        const own = multiaddr([host, ...rest]);
        return mayDial(own) ? own : undefined;
      },
      dial,
    }),
  );
};

/** Whether this machine has an IPv6 address beyond loopback and link-local. */
const hasIPv6 = (): boolean =>
  Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .some(({ family, address, internal }) => {
      return family === 'IPv6' && !internal && !/^fe[89ab]/i.test(address);
    });

/** Counts requests. Its memory is bounded by the limits. */
const createRequestCount = (limits: AutonatLimits) => {
  const [requests, others] = [createMinuteCount(), createMinuteCount()];
  const atOnce = new Map<string, number>();
  return {
    admit: (id: PeerId): { end(): void } | undefined => {
      const peer = id.toString();
      const running = atOnce.get(peer) ?? 0;
      if (
        requests.total() >= limits.requestsPerMinute ||
        requests.of(peer) >= limits.requestsPerMinutePerPeer ||
        running >= limits.requestsAtOncePerPeer
      ) {
        return undefined;
      }
      requests.add(peer);
      atOnce.set(peer, running + 1);
      const end = (): void => {
        const left = (atOnce.get(peer) ?? 1) - 1;
        if (left === 0) atOnce.delete(peer);
        else atOnce.set(peer, left);
      };
      return { end };
    },
    admitOther: (): boolean => {
      if (others.total() >= limits.otherHostsPerMinute) return false;
      others.add('');
      return true;
    },
  };
};
