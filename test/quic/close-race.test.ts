/**
 * Connections that are closed while streams are in use, each engine with each: nothing may hang. The
 * hammer: `CLOSE_RACE_ROUNDS=5000 CLOSE_RACE_SEED=1 node --test test/quic/close-race.test.ts`.
 */

import { describe, test } from 'node:test';
import type { QuicConnection, QuicEngine } from '../../src/quic/engine.ts';
import { selectEngine } from '../../src/quic/select.ts';
import { closeRace, raceFromEnvironment } from '../support/close-race.ts';
import { enginesHere } from '../support/engines.ts';
import { lossyRelay } from '../support/lossy-relay.ts';
import { issueTestCredentials } from '../support/quic-credentials.ts';

/** A connection whose end got lost is over after this; milliseconds. */
const IDLE = 2_000;
const race = raceFromEnvironment(40);
const HANG = { timeout: race.limit + 10_000 };

const engines = await enginesHere(['dialer', 'listener']);
const load = async (name: (typeof engines)[number]): Promise<QuicEngine> =>
  (await selectEngine(name, 'listener')).engine;

describe('close() while streams are in use', () => {
  for (const dialling of engines) {
    for (const listening of engines) {
      for (const loss of [0, 0.05]) {
        const path = loss === 0 ? '' : ', 5 % of the packets are lost';
        test(`${dialling} dials ${listening}${path}`, HANG, async (t) => {
          const [dialer, listener] = await Promise.all([load(dialling), load(listening)]);
          const options = {
            credentials: await issueTestCredentials('race'),
            authenticate: () => {},
            limits: {
              idleTimeout: IDLE,
              maxStreams: 16,
              streamWindow: 256 << 10,
              connectionWindow: 1 << 20,
            },
          };
          let onConnection = (_: QuicConnection): void => {};
          const bound = await listener.listen({
            ...options,
            address: { host: '127.0.0.1', port: 0 },
            onConnection: (connection) => onConnection(connection),
          });
          t.after(() => bound.close());
          let seed = race.seed;
          const connect = async (): Promise<readonly [QuicConnection, QuicConnection]> => {
            const accepted = new Promise<QuicConnection>((resolve) => {
              onConnection = resolve;
            });
            const relay = loss > 0 ? await lossyRelay(bound.address, loss, seed++) : undefined;
            try {
              const dialed = await dialer.dial(relay?.address ?? bound.address, {
                ...options,
                signal: AbortSignal.timeout(30_000),
              });
              // The listener's end may never have come about.
              const over = dialed.closed.then(({ reason }) => Promise.reject(new Error(reason)));
              const both = [dialed, await Promise.race([accepted, over])] as const;
              Promise.all(both.map(({ closed }) => closed)).then(() => relay?.close());
              return both;
            } catch (error) {
              relay?.close();
              throw error;
            }
          };
          // The idle timeout is so short that two lost packets, or a busy machine, may end a dial.
          const connectInTheEnd: typeof connect = async () => {
            for (let tries = 1; ; tries++) {
              try {
                return await connect();
              } catch (error) {
                if (tries === 5) throw error;
              }
            }
          };
          await closeRace({ ...race, connect: connectInTheEnd });
        });
      }
    }
  }
});
