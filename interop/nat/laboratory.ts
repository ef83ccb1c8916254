/**
 * One laboratory: a relay, a dialer and a listener in network namespaces of their own, the latter two behind
 * routers (docs/nat.md has the picture). Only inside `isolate.ts`'s namespaces.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../runner/command.ts';
import { MatrixError } from '../runner/error.ts';
import { type RouterKind, rulesetOf } from './router.ts';

export const HOSTS = ['relay', 'dialer', 'listener'] as const;
export type Host = (typeof HOSTS)[number];
/** A host that may be behind routers. */
export type Side = Exclude<Host, 'relay'>;

/** Routers between a host and the wide area network, the host's own first. */
export const NATS = {
  public: [],
  'full-cone': ['full-cone'],
  'address-restricted': ['address-restricted'],
  'port-restricted': ['port-restricted'],
  'port-shifting': ['port-shifting'],
  symmetric: ['symmetric'],
  'udp-blocked': ['udp-blocked'],
  /** A home behind a carrier's NAT. */
  double: ['port-restricted', 'port-restricted'],
} as const satisfies Record<string, readonly RouterKind[]>;
export type Nat = keyof typeof NATS;

/** From a host's access line to the middle of the network, one way, ms. */
export type Delays = Readonly<Record<Host, number>>;

export interface LaboratoryOptions {
  /** Distinguishes laboratories that run at once: from 0 to 99. */
  readonly slot: number;
  readonly dialer: Nat;
  readonly listener: Nat;
  /** Undefined: packets are not delayed. */
  readonly delays?: Delays | undefined;
  /**
   * Addresses of the wide area network: of public ones, or, as in unified-testing, of a private range,
   * through which go-libp2p does not punch.
   */
  readonly network?: 'public' | 'private';
}

export interface Laboratory {
  /** Where each host listens. */
  readonly addresses: Readonly<Record<Host, string>>;
  /** A second address of the relay's host. */
  readonly relaySecondAddress: string;
  /** The address that the relay's network sees of a side. */
  readonly outside: Readonly<Record<Side, string>>;
  /** The address of this process's namespace for the hosts, where Redis is reached. */
  controlAddress(host: Host): string;
  /** A command that runs another one on a host. */
  on(host: Host, command: readonly string[]): string[];
  close(): Promise<void>;
}

/** The time limit for each step, on a busy machine. */
const TIMEOUT_MS = 60_000;
const NETWORKS = { public: '44.0.0', private: '10.44.44' } as const;

/** Mounts a private folder for the names of namespaces. Once, before the first laboratory. */
export const prepareLaboratories = async (): Promise<void> => {
  mkdirSync('/run/netns', { recursive: true });
  await must(['mount', '-t', 'tmpfs', 'tmpfs', '/run/netns']);
  await must(['ip', 'link', 'set', 'lo', 'up']);
};

const must = async (command: readonly string[], input = ''): Promise<void> => {
  const { code, stderr } = await run(command, TIMEOUT_MS, undefined, input);
  if (code !== 0) {
    const line = stderr.trim().split('\n')[0] ?? '';
    throw new MatrixError(`the laboratory: ${command.join(' ').slice(0, 80)}: ${line}`);
  }
};

const batch = (lines: readonly string[]): Promise<void> =>
  must(['ip', '-batch', '-'], `${lines.join('\n')}\n`);

interface Router {
  readonly namespace: string;
  readonly kind: RouterKind;
}

/** Makes it; when that fails, what was made so far is removed. @throws MatrixError */
export const createLaboratory = async (options: LaboratoryOptions): Promise<Laboratory> => {
  const { slot, delays } = options;
  const network = NETWORKS[options.network ?? 'public'];
  const name = (what: string): string => `nat${slot}-${what}`;
  const hosts = { relay: name('relay'), dialer: name('dialer'), listener: name('listener') };
  const routersOf = (side: Side): Router[] =>
    NATS[options[side]].map((kind, place) => ({
      namespace: name(`${side}-router${place}`),
      kind,
    }));
  const routers = { dialer: routersOf('dialer'), listener: routersOf('listener') };
  const wan = name('wan');
  const namespaces = [
    wan,
    ...Object.values(hosts),
    ...Object.values(routers).flatMap((list) => list.map(({ namespace }) => namespace)),
  ];
  const outside = { dialer: `${network}.66`, listener: `${network}.67` };
  const relayAddresses = [`${network}.68`, `${network}.69`] as const;

  const made: string[] = [];
  const devices: string[] = [];
  const edge = (
    namespace: string,
    addresses: readonly string[],
    delay: number | undefined,
  ): void => {
    if (delay === undefined) {
      made.push(
        `link add wan0 netns ${namespace} type veth peer name w${devices.length} netns ${wan}`,
        `-n ${wan} link set w${devices.length} master br0 up`,
      );
    } else made.push(`-n ${namespace} tuntap add dev wan0 mode tun`);
    devices.push(`${namespace}=${addresses.join(',')}:${delay ?? 0}`);
    for (const address of addresses) made.push(`-n ${namespace} addr add ${address}/27 dev wan0`);
    made.push(`-n ${namespace} link set wan0 up`);
  };

  for (const namespace of namespaces) made.push(`netns add ${namespace}`);
  for (const namespace of namespaces) made.push(`-n ${namespace} link set lo up`);
  if (delays === undefined)
    made.push(`-n ${wan} link add br0 type bridge`, `-n ${wan} link set br0 up`);
  edge(hosts.relay, relayAddresses, delays?.relay);
  const addresses: Record<Host, string> = {
    relay: relayAddresses[0],
    dialer: outside.dialer,
    listener: outside.listener,
  };
  for (const [place, side] of (['dialer', 'listener'] as const).entries()) {
    const chain = routers[side];
    // What is on the inside of each router: the host, or the router before.
    let inside = { namespace: hosts[side], device: 'lan0' };
    for (const [depth, router] of chain.entries()) {
      const subnet = depth === 0 ? `192.168.${place + 1}` : `100.64.${place + 1}`;
      const own = `${subnet}.99`;
      made.push(
        `link add ${inside.device} netns ${inside.namespace} type veth peer name lan0 netns ${router.namespace}`,
        `-n ${inside.namespace} addr add ${own}/24 dev ${inside.device}`,
        `-n ${router.namespace} addr add ${subnet}.98/24 dev lan0`,
        `-n ${inside.namespace} link set ${inside.device} up`,
        `-n ${router.namespace} link set lan0 up`,
        `-n ${inside.namespace} route add default via ${subnet}.98`,
      );
      if (depth === 0) addresses[side] = own;
      inside = { namespace: router.namespace, device: 'wan0' };
    }
    edge(inside.namespace, [outside[side]], delays?.[side]);
  }
  // Each host has a separate link to Redis, which leads nowhere else.
  const controlDevice = (host: Host): string => `c${slot}${host}`;
  const control = (host: Host, end: 1 | 2): string =>
    `10.255.${slot}.${HOSTS.indexOf(host) * 4 + end}`;
  for (const host of HOSTS) {
    const device = controlDevice(host);
    made.push(
      `link add redis0 netns ${hosts[host]} type veth peer name ${device}`,
      `addr add ${control(host, 1)}/30 dev ${device}`,
      `-n ${hosts[host]} addr add ${control(host, 2)}/30 dev redis0`,
      `link set ${device} up`,
      `-n ${hosts[host]} link set redis0 up`,
    );
  }

  let delayer: ChildProcess | undefined;
  const close = async (): Promise<void> => {
    if (delayer !== undefined && delayer.exitCode === null) {
      const gone = once(delayer, 'exit');
      delayer.kill('SIGKILL');
      await gone;
    }
    // The kernel removes namespaces later, but their names are needed again.
    for (const host of HOSTS) await run(['ip', 'link', 'delete', controlDevice(host)], TIMEOUT_MS);
    for (const namespace of namespaces) {
      await run(['ip', 'netns', 'delete', namespace], TIMEOUT_MS);
    }
  };
  try {
    await applyAll(made);
    await Promise.all(Object.values(routers).flat().map(configureRouter));
    if (delays !== undefined) delayer = await startDelayer(devices);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    addresses,
    relaySecondAddress: relayAddresses[1],
    outside,
    controlAddress: (host) => control(host, 1),
    on: (host, command) => ['ip', 'netns', 'exec', hosts[host], ...command],
    close,
  };
};

/** `ip -batch` for each run of lines that are for the same namespace: `-n` counts for a whole call. */
const applyAll = async (lines: readonly string[]): Promise<void> => {
  let here: string[] = [];
  const there = new Map<string, string[]>();
  const flush = async (): Promise<void> => {
    if (here.length > 0) await batch(here);
    here = [];
    for (const [namespace, commands] of there) {
      await must(['ip', '-n', namespace, '-batch', '-'], `${commands.join('\n')}\n`);
    }
    there.clear();
  };
  // First everything that makes namespaces and devices between them, in order, then what is set in each.
  for (const line of lines) {
    const [, namespace, command] = /^-n (\S+) (.*)$/.exec(line) ?? [];
    if (namespace === undefined || command === undefined) here.push(line);
    else there.set(namespace, [...(there.get(namespace) ?? []), command]);
  }
  await flush();
};

const configureRouter = ({ namespace, kind }: Router): Promise<void> =>
  must(
    [
      ...['ip', 'netns', 'exec', namespace, 'sh', '-c'],
      'echo 1 > /proc/sys/net/ipv4/ip_forward && exec nft -f -',
    ],
    rulesetOf(kind),
  );

const startDelayer = async (devices: readonly string[]): Promise<ChildProcess> => {
  const child = spawn('python3', [join(import.meta.dirname, 'wan.py'), ...devices], {
    stdio: ['pipe', 'pipe', 'inherit'],
    // The runner handles Ctrl-C.
    detached: true,
  });
  const [word] = await Promise.race([
    once(child.stdout, 'data', { signal: AbortSignal.timeout(TIMEOUT_MS) }),
    once(child, 'exit').then(() => ['']),
  ]).catch(() => ['']);
  if (String(word).trim() === 'ready') return child;
  child.kill('SIGKILL');
  throw new MatrixError('the laboratory: the process that delays packets did not start');
};
