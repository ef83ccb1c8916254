/**
 * What the interop matrices show: `handshake_plus_one_rtt` and `ping_rtt` as the dialers print them;
 * every dialer is a new process, the two listener processes stay.
 */

import { startRedis } from '../interop/redis-server.ts';
import {
  isJsLibp2p,
  type Participant,
  participants,
  startPublished,
} from './support/participants.ts';
import { end, run } from './support/processes.ts';
import { type Section, shown, shownRatio, startSection } from './support/report.ts';
import { interleave, ratio, spread } from './support/statistics.ts';

interface Pair {
  readonly name: string;
  readonly dialer: Participant;
  readonly listener: Participant;
}

interface Report {
  readonly handshakePlusOneRtt: number;
  readonly pingRtt: number;
}

export const dial = async (rounds: number): Promise<Section> => {
  const conditions = startSection();
  const redis = await startRedis();
  const all = await participants();
  const listeners = all.filter((it) => it === all[0] || isJsLibp2p(it));
  const listening = await Promise.all(
    listeners.map(async (listener, index) => ({
      listener,
      ...(await startPublished(listener, redis, `dial-${index}`)),
    })),
  );

  let tests = 0;
  const measure = async ({ dialer, listener }: Pair): Promise<Report> => {
    const key = `dialer-${tests++}`;
    const address = listening.find((it) => it.listener === listener)?.address ?? '';
    await redis.send('RPUSH', `${key}_listener_multiaddr`, address);
    const { stdout } = await run(dialer, {
      IS_DIALER: 'true',
      TRANSPORT: 'quic-v1',
      REDIS_ADDR: redis.address,
      TEST_KEY: key,
    });
    return {
      handshakePlusOneRtt: numberIn(stdout, 'handshake_plus_one_rtt'),
      pingRtt: numberIn(stdout, 'ping_rtt'),
    };
  };

  const pairs: Pair[] = listeners.flatMap((listener) =>
    all.map((dialer) => ({ name: `${dialer.name} → ${listener.name}`, dialer, listener })),
  );
  const measured = await interleave(pairs, { rounds, warmUp: 3, what: 'dial' }, measure);
  for (const { child } of listening) await end(child);
  await redis.stop();

  const column = (pair: Pair | undefined, key: keyof Report): number[] =>
    pair === undefined ? [] : (measured.get(pair) ?? []).map((report) => report[key]);
  return {
    id: 'dial',
    rows: [
      [
        'dialer',
        'listener',
        'handshake_plus_one_rtt, ms',
        'of js-libp2p',
        'ping_rtt, ms',
        'of js-libp2p',
      ],
      ...pairs.map((pair) => {
        const { dialer, listener } = pair;
        const reference = pairs.find((it) => it.listener === listener && isJsLibp2p(it.dialer));
        const cells = (['handshakePlusOneRtt', 'pingRtt'] as const).flatMap((key) => {
          const values = column(pair, key);
          const digits = key === 'pingRtt' ? 2 : 1;
          const compared = shownRatio(ratio(values, column(reference, key)));
          return [shown(spread(values), digits), compared];
        });
        return [dialer.name, listener.name, ...cells];
      }),
    ],
    note: `Median and quartiles of ${rounds} cold dialers per row, interleaved. ${conditions()}`,
  };
};

/** The value of `key` in a dialer's report. @throws when it is not there. */
const numberIn = (report: string, key: string): number => {
  const value = Number(new RegExp(`^ {2}${key}: ([0-9.]+)$`, 'm').exec(report)?.[1]);
  if (Number.isNaN(value)) throw new Error(`no ${key} in ${JSON.stringify(report)}`);
  return value;
};
