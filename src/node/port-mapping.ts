/**
 * Has the router of this network forward ports to this node's listeners, by UPnP, or by NAT-PMP (RFC 6886) if no router
 * speaks UPnP. Uses `@achingbrain/nat-port-mapper`, which the user must install (docs/nat.md).
 */

import { readFile } from 'node:fs/promises';
import type { Gateway } from '@achingbrain/nat-port-mapper';
import type { Multiaddr } from '@multiformats/multiaddr';
import { orAborted } from '../deadline.ts';
import { errorOf, LeanError, messageOf } from '../errors.ts';
import { isPublicIp } from '../ip-scope.ts';
import { hostOf, ipOf, kindOf, multiaddrOf } from '../multiaddr.ts';
import { isLoopback, plainHost } from '../socket-address.ts';
import type { Events } from './events.ts';
import type { PortMapping } from './mapped-port.ts';

export interface PortMappings {
  /** The external addresses that lead to listeners. */
  addresses(): Multiaddr[];
}

/** How long finding a router may take; milliseconds. */
const SEARCH_TIMEOUT = 5_000;
/** How long one mapping may take; milliseconds. */
const MAP_TIMEOUT = 5_000;
/**
 * A router drops a mapping that is not renewed within this time; milliseconds. Short, as the library (4.0.5) cannot
 * remove UPnP mappings: its request names no protocol. Over UPnP the library asks for an hour. Over NAT-PMP it takes
 * milliseconds for seconds, and asks for two hours (RFC 6886 section 3.3) if the number is not an integer: hence the .5.
 */
const LEASE = 600_000.5;
/** Time between renewals; milliseconds. */
const RENEWAL = 240_000;
/** When no router was found, the next search begins after this time; milliseconds. */
const SEARCH_AGAIN = 300_000;
const MAX_MAPPINGS = 32;

/**
 * Maps the ports of all listeners, including later ones, until `closing` aborts; the router then drops the mappings
 * within two hours.
 *
 * @param listening the bound addresses.
 * @throws ERR_OPTIONS when the library is not installed.
 */
export const mapPorts = async (
  listening: () => readonly Multiaddr[],
  events: Events,
  closing: AbortSignal,
): Promise<PortMappings> => {
  const { upnpNat, pmpNat } = await loadMapper();
  /** By the bound address. */
  const mappings = new Map<string, PortMapping[]>();
  let gateways: Gateway[] = [];
  let searchedAt: number | undefined;

  const search = async (): Promise<void> => {
    const now = performance.now();
    if (gateways.length > 0) return;
    if (searchedAt !== undefined && now - searchedAt < SEARCH_AGAIN) return;
    searchedAt = now;
    const signal = AbortSignal.any([closing, AbortSignal.timeout(SEARCH_TIMEOUT)]);
    try {
      for await (const gateway of upnpNat().findGateways({ signal })) {
        if (gateway.family !== 'IPv4') continue;
        gateways = [gateway];
        break;
      }
    } catch {
      // No router has answered in time.
    }
    if (gateways.length > 0 || closing.aborted) return;
    const router = await defaultRouter();
    if (router !== undefined) gateways = [pmpNat(router)];
  };

  /** Closes the sockets of the known gateways and forgets them. Never rejects. */
  const forgetGateways = async (): Promise<void> => {
    const old = gateways;
    gateways = [];
    const signal = AbortSignal.timeout(MAP_TIMEOUT);
    await Promise.allSettled(old.map(async (gateway) => gateway.stop({ signal })));
  };

  /** Maps the port of `bound`, or renews its mapping. @throws what the library throws when the router does not do it. */
  const map = async (bound: Multiaddr): Promise<void> => {
    const kind = kindOf(bound);
    if (kind === undefined) return;
    const { host, port } = hostOf(bound);
    const signal = AbortSignal.any([closing, AbortSignal.timeout(MAP_TIMEOUT)]);
    const protocol = kind === 'quic-v1' ? 'UDP' : 'TCP';
    // Renewed here: of two protocols at one port the library renews only one.
    const options = { protocol, signal, ttl: LEASE, autoRefresh: false } as const;
    const [gateway] = gateways;
    if (gateway === undefined) return;
    const found: PortMapping[] = [];
    const add = (it: { readonly externalHost: string; readonly externalPort: number }): void => {
      const address = multiaddrOf(kind, { host: it.externalHost, port: it.externalPort });
      found.push({ address, listening: bound });
    };
    if (plainHost(host) === '0.0.0.0') {
      for await (const it of gateway.mapAll(port, options)) add(it);
    } else add(await gateway.map(port, host, options));
    const known = mappings.get(bound.toString()) ?? [];
    mappings.set(bound.toString(), found);
    for (const mapping of found) {
      if (known.some(({ address }) => address.equals(mapping.address))) continue;
      events.emit('port:map', mapping);
    }
  };

  /** Maps the ports of new listeners and forgets closed ones. @param renew renews the existing mappings, too. */
  const refresh = async (renew = false): Promise<void> => {
    const wanted = new Map(
      listening()
        .filter(isMappable)
        .map((it) => [it.toString(), it]),
    );
    for (const key of mappings.keys()) if (!wanted.has(key)) mappings.delete(key);
    const open = [...wanted].filter(([key]) => renew || !mappings.has(key));
    if (open.length === 0) return;
    await search();
    for (const [key, bound] of open) {
      if (closing.aborted) return;
      if (mappings.size >= MAX_MAPPINGS && !mappings.has(key)) continue;
      try {
        await orAborted(map(bound), closing);
      } catch (error) {
        if (closing.aborted) return;
        mappings.delete(key);
        events.emit('port:error', { listening: bound, error: errorOf(error) });
        // There may be another router now.
        await forgetGateways();
      }
    }
  };

  let last: Promise<void> = Promise.resolve();
  const soon = (renew = false): void => {
    last = last.then(() => refresh(renew)).catch(() => {});
  };
  const renewal = setInterval(() => soon(true), RENEWAL);
  renewal.unref();
  for (const type of ['listen:open', 'listen:close'] as const) {
    events.target.addEventListener(type, () => soon(), { signal: closing });
  }
  const stop = (): void => {
    clearInterval(renewal);
    forgetGateways();
  };
  closing.addEventListener('abort', stop, { once: true });
  soon();
  return {
    addresses: () => [...mappings.values()].flat().map(({ address }) => address),
  };
};

/** Private IPv4 addresses: IPv6 is taken to have no NATs, public addresses need no mapping, loopback gets none. */
const isMappable = (bound: Multiaddr): boolean => {
  if (kindOf(bound) === undefined) return false; // Through a relay, or over another transport.
  const ip = ipOf(bound);
  return ip !== undefined && !ip.includes(':') && !isLoopback(ip) && !isPublicIp(ip);
};

/** The router of the default route, on Linux; `undefined` elsewhere. */
const defaultRouter = async (): Promise<string | undefined> => {
  const table = await readFile('/proc/net/route', 'latin1').catch(() => '');
  for (const line of table.split('\n')) {
    const [, destination, gateway = ''] = line.split('\t');
    if (destination !== '00000000' || !/^[0-9A-F]{8}$/.test(gateway)) continue;
    return [...Buffer.from(gateway, 'hex').reverse()].join('.');
  }
  return undefined;
};

const loadMapper = async (): Promise<typeof import('@achingbrain/nat-port-mapper')> => {
  try {
    return await import('@achingbrain/nat-port-mapper');
  } catch (cause) {
    const message = `nat.mapPorts needs the package @achingbrain/nat-port-mapper: ${messageOf(cause)}`;
    throw new LeanError('ERR_OPTIONS', message, { cause });
  }
};
