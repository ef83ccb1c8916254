/** The process of udp-relay.ts. Packets wait in order of departure; one timer serves them all. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { quantileSorted } from 'd3-array';
import type { SocketAddress } from '../../src/socket-address.ts';
import { type Direction, fatesOf } from './fate.ts';
import type { FromRelay, RelayOptions, RelayStats } from './udp-relay.ts';

/** The most packets under way; more are dropped, as by a router. */
const MAX_UNDER_WAY = 50_000;
const SOCKET_BUFFER = 4 << 20;
/** libuv's timers have a resolution of a millisecond: for less, it polls instead. */
const TIMER_PRECISION = 1;
const MAX_SAMPLES = 100_000;

process.once('disconnect', () => process.exit());

const optionsOf = async (): Promise<RelayOptions> => {
  const [options] = await once(process, 'message');
  return options as RelayOptions;
};

const { target, condition, seed, overhead } = await optionsOf();
const fates = fatesOf(condition, seed, overhead);
const packets: [number, number] = [0, 0];
const lost: [number, number] = [0, 0];
const bytes: [number, number] = [0, 0];
const lateness: number[] = [];
let rebindings = 0;

interface Waiting {
  readonly due: number;
  readonly packet: Buffer;
  readonly send: (packet: Buffer) => void;
}

/** By `due`, soonest first from `head` on. */
const queue: Waiting[] = [];
let head = 0;
let timer: NodeJS.Timeout | undefined;
let soon = false;

/** Called when another packet becomes the next to leave. */
const arm = (): void => {
  clearTimeout(timer);
  const next = queue[head];
  if (soon || next === undefined) return;
  const wait = next.due - performance.now();
  if (wait < TIMER_PRECISION) {
    soon = true;
    setImmediate(depart);
  } else timer = setTimeout(depart, Math.floor(wait - TIMER_PRECISION / 2));
};

const depart = (): void => {
  soon = false;
  for (let next = queue[head]; next !== undefined; next = queue[head]) {
    const now = performance.now();
    if (next.due > now) break;
    head++;
    next.send(next.packet);
    if (lateness.length < MAX_SAMPLES) lateness.push(now - next.due);
  }
  if (head > 1_024 && head * 2 > queue.length) {
    queue.splice(0, head);
    head = 0;
  }
  arm();
};

const enqueue = (waiting: Waiting): void => {
  let place = queue.length;
  while (place > head && (queue[place - 1]?.due ?? 0) > waiting.due) place--;
  queue.splice(place, 0, waiting);
  if (place === head) arm();
};

const pass = (direction: Direction, packet: Buffer, send: (packet: Buffer) => void): void => {
  const now = performance.now();
  packets[direction]++;
  bytes[direction] += packet.length;
  const fate = fates(direction, packet.length, now);
  if (fate.copies === 0 || queue.length - head >= MAX_UNDER_WAY) {
    lost[direction]++;
    return;
  }
  const { corrupted } = fate;
  if (corrupted !== undefined) packet[corrupted.at] = (packet[corrupted.at] ?? 0) ^ corrupted.xor;
  for (let copy = 0; copy < fate.copies; copy++) enqueue({ due: now + fate.delay, packet, send });
};

const open = async (host: string): Promise<Socket> => {
  const socket = createSocket('udp4');
  // ECONNREFUSED of a listener that is gone: the packet is lost, and the dialer finds out.
  socket.on('error', () => {});
  socket.bind(0, host);
  await once(socket, 'listening');
  socket.setRecvBufferSize(SOCKET_BUFFER);
  socket.setSendBufferSize(SOCKET_BUFFER);
  return socket;
};

const front = await open(target.host);

interface Dialer {
  /** Whose packets reach the listener, from where it sees them. */
  back: Promise<Socket>;
  rebound: boolean;
}
const dialers = new Map<string, Dialer>();

/** The socket from which the listener gets a dialer's packets. */
const openBack = async (dialer: SocketAddress, host: string): Promise<Socket> => {
  const back = await open(host);
  back.on('message', (packet) => {
    pass(1, packet, (bytesOfIt) => front.send(bytesOfIt, dialer.port, dialer.host));
  });
  return back;
};

front.on('message', (packet, from) => {
  const key = `${from.address} ${from.port}`;
  const source = { host: from.address, port: from.port };
  let dialer = dialers.get(key);
  if (dialer === undefined) {
    dialer = { back: openBack(source, target.host), rebound: false };
    dialers.set(key, dialer);
  }
  const isShort = ((packet[0] ?? 0x80) & 0x80) === 0;
  if (condition.rebind !== undefined && !dialer.rebound && isShort) {
    dialer.rebound = true;
    rebindings++;
    const old = dialer.back;
    // All of 127.0.0.0/8 is loopback.
    const host = condition.rebind === 'port' ? target.host : `127.0.1.${1 + (rebindings % 250)}`;
    dialer.back = openBack(source, host);
    // As with a NAT, what arrives at the old address is dropped; what is under way still leaves from it.
    old.then((socket) => socket.removeAllListeners('message'), fail);
  }
  const { back } = dialer;
  pass(0, packet, (bytesOfIt) => {
    back.then((socket) => socket.send(bytesOfIt, target.port, target.host), fail);
  });
});

const fail = (error: unknown): never => {
  throw error;
};

const say = (message: FromRelay): void => void process.send?.(message);

process.on('message', () => {
  const sorted = lateness.toSorted((a, b) => a - b);
  const stats: RelayStats = {
    packets,
    lost,
    bytes,
    rebindings,
    lateness: {
      median: quantileSorted(sorted, 0.5) ?? 0,
      p99: quantileSorted(sorted, 0.99) ?? 0,
      most: sorted.at(-1) ?? 0,
    },
  };
  say({ stats });
});
const { address, port } = front.address();
say({ address: { host: address, port } });
