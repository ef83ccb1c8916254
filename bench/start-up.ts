/**
 * From exec to the address published: a listener is spawned while a blocking read waits for its key
 * in a real Redis. For comparison, how long the runtime takes to start and end without doing anything.
 */

import { startRedis } from '../interop/redis-server.ts';
import {
  isJsLibp2p,
  JS_LIBP2P,
  nodeQuic,
  participants,
  startPublished,
} from './support/participants.ts';
import { type Command, end, run } from './support/processes.ts';
import { type Section, shown, shownRatio, startSection } from './support/report.ts';
import { interleave, ratio, spread } from './support/statistics.ts';

export const startUp = async (rounds: number): Promise<Section> => {
  const conditions = startSection();
  const redis = await startRedis();
  let tests = 0;

  const publish = async (listener: Command): Promise<number> => {
    const { child, ms } = await startPublished(listener, redis, `start-up-${tests++}`);
    await end(child);
    return ms;
  };

  const listeners = await participants();
  const withoutCache = { ...JS_LIBP2P, name: `${JS_LIBP2P.name}, no compile cache` };
  const quic = nodeQuic();
  const candidates = [
    { name: 'node -e 0', file: process.execPath, args: ['-e', '0'] },
    ...(quic === undefined
      ? []
      : [{ name: 'node -e 0 (the one with node:quic)', file: quic, args: ['-e', '0'] }]),
    ...listeners,
    withoutCache,
  ];
  const options = { rounds, warmUp: 3, what: 'start-up' };
  const measured = await interleave(candidates, options, async (candidate) =>
    candidate.args[0] === '-e' ? (await run(candidate)).ms : publish(candidate),
  );
  await redis.stop();

  const reference = measured.get(listeners.find(isJsLibp2p) ?? withoutCache) ?? [];
  return {
    id: 'start-up',
    rows: [
      ['process', 'exec to published, ms', 'of js-libp2p'],
      ...candidates.map((candidate) => {
        const values = measured.get(candidate) ?? [];
        return [candidate.name, shown(spread(values)), shownRatio(ratio(values, reference))];
      }),
    ],
    note: `Median and quartiles of ${rounds} cold processes each, interleaved; \`node -e 0\` to its end. ${conditions()}`,
  };
};
