/** Attacks on TCP listeners that speak Noise and yamux. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { generateHostKey } from '../../src/identity/keys.ts';
import { select } from '../../src/multistream.ts';
import { createNoiseIdentity, NOISE, secureWithNoise } from '../../src/secure/noise.ts';
import type { SecureChannel } from '../../src/secure/secure-channel.ts';
import { writeAll } from '../../src/stream/bytes.ts';
import { socketWire } from '../../src/wire/socket-wire.ts';
import type { Wire } from '../../src/wire/wire.ts';
import { type Attacks, MULTISTREAM_MESSAGES, pace, repeat, type Target } from './attack.ts';
import { neverRead, requestForever } from './stream-attacks.ts';

const YAMUX = '/yamux/1.0.0';
const HEADER = '\x13/multistream/1.0.0\n';
const TIMEOUT = 10_000;
/** Sockets of the slow loris attack. */
const SOCKETS = 2_000;

const open = async ({ host, port }: Target): Promise<Socket> => {
  const socket = connect({ host, port, noDelay: true });
  socket.on('error', () => {});
  await once(socket, 'connect', { signal: AbortSignal.timeout(TIMEOUT) });
  return socket;
};

/** Sends some bytes on a new socket, waits up to 1 s for the listener to close it, and leaves. */
const say = async (target: Target, ...pieces: readonly Uint8Array[]): Promise<void> => {
  const socket = await open(target);
  socket.resume();
  for (const piece of pieces) socket.write(piece);
  await Promise.race([once(socket, 'close'), delay(1_000)]);
  socket.destroy();
};

const identity = createNoiseIdentity(generateHostKey(), [YAMUX]);

const secured = async (target: Target): Promise<SecureChannel> => {
  const wire = socketWire(await open(target), 'dialer');
  await select(wire, [NOISE]);
  const options = { role: 'dialer', expectedPeer: undefined, muxers: [YAMUX] } as const;
  return await secureWithNoise(wire, wire, identity, options);
};

/** A connection on which yamux frames are ours to write; what comes back is read and discarded. */
const yamux = async (target: Target): Promise<Wire> => {
  const { wire, muxer } = await secured(target);
  if (muxer === undefined) await select(wire, [YAMUX]);
  return wire;
};

const discard = async (wire: Wire): Promise<void> => {
  while ((await wire.read()) !== null);
};

const TYPE = { data: 0, windowUpdate: 1, ping: 2 } as const;
const SYN = 1;

const frame = (type: number, flags: number, stream: number, length: number): Buffer => {
  const header = Buffer.alloc(12);
  header[1] = type;
  header.writeUInt16BE(flags, 2);
  header.writeUInt32BE(stream, 4);
  header.writeUInt32BE(length, 8);
  return header;
};

/** The points at which a peer can stop, from before its first byte to a stream without a protocol. */
const STAGES: readonly ((target: Target) => Promise<unknown>)[] = [
  open,
  async (target) => (await open(target)).write(HEADER.slice(0, 7)),
  async (target) => (await open(target)).write(HEADER),
  async (target) => (await open(target)).write(`${HEADER}\x07/noise\n`),
  async (target) => (await open(target)).write(`${HEADER}\x07/noise\n\x00\x20abc`),
  async (target) =>
    (await open(target)).write(
      Buffer.concat([Buffer.from(`${HEADER}\x07/noise\n\x00\x20`), randomBytes(32)]),
    ),
  secured,
  async (target) => (await secured(target)).wire.write(Buffer.from(HEADER.slice(0, 7))),
  yamux,
  async (target) => (await yamux(target)).write(frame(TYPE.data, SYN, 1, 20).subarray(0, 5)),
  async (target) =>
    (await yamux(target)).write(
      Buffer.concat([frame(TYPE.data, SYN, 1, 7), Buffer.from(HEADER.slice(0, 7))]),
    ),
];

/** After `/noise` was agreed on: each with its own length in front. */
const NOISE_MESSAGES: readonly Uint8Array[] = [
  Buffer.alloc(2),
  Buffer.concat([Buffer.from('ffff', 'hex'), randomBytes(65_535)]),
  Buffer.concat([Buffer.from('0020', 'hex'), Buffer.alloc(32)]),
  Buffer.concat([Buffer.from('0020', 'hex'), randomBytes(32), Buffer.from('0001ff', 'hex')]),
  Buffer.concat([
    Buffer.from('0020', 'hex'),
    randomBytes(32),
    Buffer.from('ffff', 'hex'),
    randomBytes(65_535),
  ]),
];

export const tcpAttacks: Attacks = {
  'tcp-slow-loris': async (target) => {
    const held: unknown[] = [];
    // Where one is closed it is opened again.
    const hold = async (n: number): Promise<void> => {
      // From the last one down: those that need answers of the listener get them before it is busy.
      const stage = STAGES.length - 1 - Math.floor((n * STAGES.length) / SOCKETS);
      for (;;) {
        try {
          held.push(await STAGES[stage]?.(target));
          target.count(`stage ${stage}`);
          return;
        } catch {
          target.count('refused');
          await delay(1_000);
        }
      }
    };
    await pace(SOCKETS, 200, (n) => void hold(n));
  },

  'tcp-garbage': async (target) => {
    await repeat(target, 'sockets', 16, (n) => say(target, randomBytes(1 + ((n * 97) % 65_536))));
  },

  'tcp-multistream': async (target) => {
    await repeat(target, 'messages', 8, async (n) => {
      const message = MULTISTREAM_MESSAGES[n % MULTISTREAM_MESSAGES.length] ?? Buffer.alloc(0);
      await say(target, message);
    });
  },

  'tcp-noise': async (target) => {
    await repeat(target, 'messages', 8, async (n) => {
      const message = NOISE_MESSAGES[n % NOISE_MESSAGES.length] ?? Buffer.alloc(0);
      await say(target, Buffer.from(`${HEADER}\x07/noise\n`), message);
    });
  },

  'yamux-streams': async (target) => {
    await Promise.all(
      Array.from({ length: 4 }, async () => {
        const wire = await yamux(target);
        discard(wire).catch(() => {});
        for (let n = 0; n < 25_000; n += 100) {
          const frames = Array.from({ length: 100 }, (_, place) =>
            frame(TYPE.windowUpdate, SYN, 2 * (n + place) + 1, 0),
          );
          await writeAll(wire, Buffer.concat(frames));
          target.count('streams', 100);
          await delay(5);
        }
      }),
    );
  },

  'yamux-windows': async (target) => {
    await repeat(target, 'connections', 4, async (n) => {
      const wire = await yamux(target);
      discard(wire).catch(() => {});
      const MIB = 1 << 20;
      // A frame that claims 4 GiB; 16 frames of 1 MiB on one stream; a window that overflows; an unknown type.
      if (n % 4 === 0) await writeAll(wire, frame(TYPE.data, SYN, 1, 0xffffffff));
      else if (n % 4 === 2) {
        for (let more = 0; more < 16; more++) {
          await writeAll(wire, frame(TYPE.windowUpdate, more === 0 ? SYN : 0, 1, 0xffffffff));
        }
      } else if (n % 4 === 3) await writeAll(wire, frame(9, 0xffff, 0, 0xffffffff));
      for (let more = 0; more < 16; more++) {
        const isFirst = more === 0 && n % 4 === 1;
        const bytes = Buffer.concat([
          ...(n % 4 === 1 ? [frame(TYPE.data, isFirst ? SYN : 0, 1, MIB)] : []),
          Buffer.alloc(MIB),
        ]);
        await Promise.race([writeAll(wire, bytes), delay(2_000)]);
      }
      await wire.close();
    });
  },

  'yamux-never-reads': (target) => neverRead(target, 'tcp'),
  'yamux-perf': (target) => requestForever(target, 'tcp'),
};
