/** Resolves the names in multiaddrs: `/dns`, `/dns4`, `/dns6` (RFC 1035, /etc/hosts) and `/dnsaddr`. */

import {
  CODE_DNSADDR,
  CODE_IP4,
  CODE_IP6,
  type Multiaddr,
  multiaddr,
} from '@multiformats/multiaddr';
import { withDeadline } from './deadline.ts';
import { LeanError, messageOf } from './errors.ts';
import { addressError, familyOf, hostOf, kindOf, parseMultiaddr } from './multiaddr.ts';

export interface ResolveOptions {
  /** Milliseconds for each look-up; default 5,000. */
  readonly timeout?: number;
  /** Name servers for `/dnsaddr`, each `<ip>[:<port>]`; default: the system's. */
  readonly servers?: readonly string[];
}

const RESOLVE_TIMEOUT = 5_000;
/** The most addresses that a name may resolve to. */
const MAX_RESOLVED = 32;
/** How many levels of `/dnsaddr` records that name further `/dnsaddr` addresses are followed. */
const MAX_DNSADDR_DEPTH = 4;

/**
 * Resolves the name in `address`. `/dns`, `/dns4` and `/dns6` become `/ip4` and `/ip6`, by the system's resolver (so
 * that /etc/hosts and container names work) and in its order. `/dnsaddr` becomes the addresses in its TXT records
 * that end with what follows the name. Names of WebSocket addresses stay, as the server needs them. An address
 * without a name is returned as it is.
 *
 * @returns 1 to 32 addresses.
 * @throws ERR_ADDRESS when the name does not exist or has no address; ERR_TIMEOUT.
 */
export const resolveMultiaddr = async (
  address: Multiaddr,
  options: ResolveOptions = {},
): Promise<Multiaddr[]> => {
  let level = [address];
  for (let depth = 0; level.some(isDnsaddr); depth++) {
    if (depth === MAX_DNSADDR_DEPTH)
      throw addressError(address.toString(), 'its name nests too deep');
    level = await flatten(level, (it) => (isDnsaddr(it) ? readDnsaddr(it, options) : [it]));
  }
  const found = await flatten(level, (it) => resolveHost(it, options));
  if (found.length === 0) throw addressError(address.toString(), 'its name has no address');
  return found;
};

/** The first 32 results of all look-ups, in order. Look-ups that fail are left out unless all do. */
const flatten = async (
  addresses: readonly Multiaddr[],
  resolve: (address: Multiaddr) => Multiaddr[] | Promise<Multiaddr[]>,
): Promise<Multiaddr[]> => {
  const results = await Promise.allSettled(addresses.map(async (it) => resolve(it)));
  const found = results.flatMap((it) => (it.status === 'fulfilled' ? it.value : []));
  const failed = results.find((it) => it.status === 'rejected');
  if (found.length === 0 && failed !== undefined) throw failed.reason;
  return found.slice(0, MAX_RESOLVED);
};

const isDnsaddr = (address: Multiaddr): boolean =>
  address.getComponents()[0]?.code === CODE_DNSADDR;

const resolveHost = async (address: Multiaddr, options: ResolveOptions): Promise<Multiaddr[]> => {
  const kind = kindOf(address);
  if (kind !== 'quic-v1' && kind !== 'tcp') return [address];
  const target = hostOf(address);
  if (target.name === undefined) return [address];
  const { lookup } = await resolvers();
  const found = await lookUp(address, options, () =>
    lookup(target.host, { all: true, family: familyOf(target) }),
  );
  const [, ...rest] = address.getComponents();
  return found.map((it) =>
    multiaddr([
      it.family === 4
        ? { code: CODE_IP4, name: 'ip4', value: it.address }
        : { code: CODE_IP6, name: 'ip6', value: it.address },
      ...rest,
    ]),
  );
};

/** Imported at the first look-up only: loading the module creates a resolver. */
const resolvers = (): Promise<typeof import('node:dns/promises')> => import('node:dns/promises');

/** The TXT records `dnsaddr=<multiaddr>` of `_dnsaddr.<name>` that end with what follows the name. */
const readDnsaddr = async (address: Multiaddr, options: ResolveOptions): Promise<Multiaddr[]> => {
  const [name, ...rest] = address.getComponents();
  const suffix = rest.length === 0 ? '' : multiaddr(rest).toString();
  const timeout = options.timeout ?? RESOLVE_TIMEOUT;
  const { Resolver } = await resolvers();
  const resolver = new Resolver({ timeout, tries: 1 });
  if (options.servers !== undefined) resolver.setServers(options.servers);
  const records = await lookUp(
    address,
    options,
    () => resolver.resolveTxt(`_dnsaddr.${name?.value}`),
    () => resolver.cancel(),
  );
  const found: Multiaddr[] = [];
  for (const record of records) {
    const text = record.join('');
    if (!text.startsWith('dnsaddr=') || !text.endsWith(suffix)) continue;
    try {
      found.push(parseMultiaddr(text.slice('dnsaddr='.length)));
    } catch {
      // A record with components that we do not know.
    }
    if (found.length === MAX_RESOLVED) break;
  }
  return found;
};

const lookUp = async <T>(
  address: Multiaddr,
  { timeout = RESOLVE_TIMEOUT }: ResolveOptions,
  ask: () => Promise<T>,
  expire?: () => void,
): Promise<T> => {
  try {
    return await withDeadline(ask(), timeout, `resolving ${address}`, expire);
  } catch (error) {
    if (error instanceof LeanError) throw error;
    throw addressError(address.toString(), `its name was not found: ${messageOf(error)}`, error);
  }
};
