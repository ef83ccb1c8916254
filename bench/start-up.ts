/**
 * From exec to the address in Redis, and from exec to the result: a listener is started while a blocking
 * read waits for its key in a real Redis, a dialer while a listener of ours runs. Beside them, what the
 * runtime takes to start and end without doing anything.
 */

import { once } from 'node:events';
import path from 'node:path';
import { buildPeers } from '../interop/build-peers.ts';
import { type RedisServer, startRedis } from '../interop/redis-server.ts';
import {
  isJsLibp2p,
  JS_LIBP2P,
  nodeQuic,
  type Participant,
  participants,
  ROOT,
  startPublished,
} from './support/participants.ts';
import { type Command, end, run, start, within } from './support/processes.ts';
import { type Section, shown, shownRatio, startSection } from './support/report.ts';
import { difference, interleave, ratio, spread } from './support/statistics.ts';

/** How long rust-libp2p's interop program waits for the address: the default of redis-rs, ms. */
const PATIENCE = 500;

/** One round, ms. A runtime that does nothing has no `result`. */
interface Times {
  readonly published: number;
  readonly result?: number;
}

export const startUp = async (rounds: number): Promise<Section> => {
  const conditions = startSection();
  const redis = await startRedis();
  const ours = await participants();
  const [packed] = ours;
  if (packed === undefined) throw new Error('no participant');
  const running = await startPublished(packed, redis, 'start-up');
  let tests = 0;

  const measure = async (candidate: Command): Promise<Times> => {
    if (candidate.args[0] === '-e') return { published: (await run(candidate)).ms };
    const key = `start-up-${tests++}`;
    const { child, ms } = await startPublished(candidate, redis, key);
    await end(child);
    return {
      published: ms,
      result: await dial(candidate, redis, `${key}-dialer`, running.address),
    };
  };

  const bare = { name: 'node -e 0', file: process.execPath, args: ['-e', '0'] };
  const quic = nodeQuic();
  const candidates: Participant[] = [
    bare,
    ...(quic === undefined
      ? []
      : [{ name: 'node -e 0 (the one with node:quic)', file: quic, args: ['-e', '0'] }]),
    ...(await nativePeers()),
    ...ours,
    {
      name: 'libp2p-lean, quiche, from a checkout',
      file: process.execPath,
      args: [path.join(ROOT, 'bin/libp2p-lean')],
      env: { QUIC_ENGINE: 'quiche' },
    },
    { ...JS_LIBP2P, name: `${JS_LIBP2P.name}, no compile cache` },
  ];
  const options = { rounds, warmUp: 3, what: 'start-up' };
  const measured = await interleave(candidates, options, measure);
  await end(running.child);
  await redis.stop();

  const column = (candidate: Participant | undefined, key: keyof Times): number[] =>
    (candidate === undefined ? [] : (measured.get(candidate) ?? [])).flatMap(
      (times) => times[key] ?? [],
    );
  const runtime = column(bare, 'published');
  const reference = column(candidates.find(isJsLibp2p), 'published');
  return {
    id: 'start-up',
    rows: [
      [
        'process',
        'listener: exec to published, ms',
        'above node -e 0',
        'of js-libp2p',
        `within ${PATIENCE} ms`,
        'dialer: exec to result, ms',
        'above node -e 0',
      ],
      ...candidates.map((candidate) => {
        const published = column(candidate, 'published');
        const result = column(candidate, 'result');
        const above = (values: readonly number[]): string =>
          values.length === 0 ? '' : difference(values, runtime).toFixed(1);
        const inTime = published.filter((ms) => ms < PATIENCE).length;
        return [
          candidate.name,
          shown(spread(published)),
          above(published),
          shownRatio(ratio(published, reference)),
          result.length === 0 ? '' : `${inTime} of ${published.length}`,
          result.length === 0 ? '' : shown(spread(result)),
          above(result),
        ];
      }),
    ],
    note: `Median and quartiles of ${rounds} cold processes each, interleaved; \`node -e 0\` to its end; dialers dial a listener of ours over quiche. ${conditions()}`,
  };
};

/** From exec until it prints its result, ms. */
const dial = async (
  dialer: Command,
  redis: RedisServer,
  key: string,
  address: string,
): Promise<number> => {
  await redis.send('RPUSH', `${key}_listener_multiaddr`, address);
  const began = performance.now();
  const child = start(dialer, {
    IS_DIALER: 'true',
    TRANSPORT: 'quic-v1',
    LISTENER_IP: '127.0.0.1',
    REDIS_ADDR: redis.address,
    TEST_KEY: key,
  });
  if (child.stdout === null) throw new Error('no stdout');
  const ended = once(child, 'exit');
  await within(Promise.race([once(child.stdout, 'data'), ended]), dialer);
  const ms = performance.now() - began;
  const [code, signal] = await within(ended, dialer);
  if (code !== 0) throw new Error(`the dialer of ${key} ended with ${code ?? signal}`);
  return ms;
};

/** The matrix's newest go- and rust-libp2p, where they are built (interop/build-peers.ts). */
const nativePeers = async (): Promise<Participant[]> => {
  const found = await buildPeers(['go-v0.51', 'rust-v0.57'], undefined, false);
  return found.flatMap((peer) => {
    if ('skipped' in peer) return [];
    const [file = '', ...args] = peer.command;
    return [{ name: `${peer.implementation} ${peer.version}`, file, args }];
  });
};
