/**
 * From exec to the address published: a listener is spawned while a blocking read waits for its key
 * in a real Redis. Beside it, what the runtime takes to start and end without doing anything.
 */

import { startRedis } from '../interop/redis-server.ts';
import { isJsLibp2p, JS_LIBP2P, nodeQuic, participants } from './support/participants.ts';
import { type Command, end, run, start, within } from './support/processes.ts';
import { type Section, shown, shownRatio, startSection } from './support/report.ts';
import { interleave, ratio, spread } from './support/statistics.ts';

export const startUp = async (rounds: number): Promise<Section> => {
  const conditions = startSection();
  const redis = await startRedis();
  let tests = 0;

  const publish = async (listener: Command): Promise<number> => {
    const key = `start-up-${tests++}`;
    const published = redis.send('BLPOP', `${key}_listener_multiaddr`, '60');
    const began = performance.now();
    const child = start(listener, {
      IS_DIALER: 'false',
      TRANSPORT: 'quic-v1',
      LISTENER_IP: '127.0.0.1',
      REDIS_ADDR: redis.address,
      TEST_KEY: key,
    });
    const reply = await within(published, listener);
    const ms = performance.now() - began;
    await end(child);
    if (!reply.includes('/quic-v1')) throw new Error(`${key} held ${reply}`);
    return ms;
  };

  const listeners = await participants();
  const withoutCache = { ...JS_LIBP2P, name: `${JS_LIBP2P.name}, no compile cache` };
  const quic = nodeQuic();
  const contestants = [
    { name: 'node -e 0', file: process.execPath, args: ['-e', '0'] },
    ...(quic === undefined
      ? []
      : [{ name: 'node -e 0 (the one with node:quic)', file: quic, args: ['-e', '0'] }]),
    ...listeners,
    withoutCache,
  ];
  const options = { rounds, warmUp: 3, what: 'start-up' };
  const measured = await interleave(contestants, options, async (contestant) =>
    contestant.args[0] === '-e' ? (await run(contestant)).ms : publish(contestant),
  );
  await redis.stop();

  const reference = measured.get(listeners.find(isJsLibp2p) ?? withoutCache) ?? [];
  return {
    id: 'start-up',
    rows: [
      ['process', 'exec to published, ms', 'of js-libp2p'],
      ...contestants.map((contestant) => {
        const values = measured.get(contestant) ?? [];
        return [contestant.name, shown(spread(values)), shownRatio(ratio(values, reference))];
      }),
    ],
    note: `Median and quartiles of ${rounds} cold processes each, interleaved; \`node -e 0\` to its end. ${conditions()}`,
  };
};
