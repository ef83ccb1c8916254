/** As test/quic/close-race.test.ts, over TCP and WebSocket, with each muxer. */

import { describe, test } from 'node:test';
import { multiaddr } from '@multiformats/multiaddr';
import type { TransportConnection } from '../../src/connection.ts';
import { generateHostKey } from '../../src/identity/keys.ts';
import { issueCertificate } from '../../src/tls/issue.ts';
import { tcpTransport } from '../../src/transports/tcp.ts';
import { wsTransport } from '../../src/transports/websocket.ts';
import { closeRace, raceFromEnvironment } from '../support/close-race.ts';

const race = raceFromEnvironment(100);
const HANG = { timeout: race.limit + 10_000 };

describe('close() while streams are in use', () => {
  for (const kind of ['tcp', 'ws'] as const) {
    for (const secure of ['noise', 'tls'] as const) {
      for (const muxer of ['yamux', 'mplex'] as const) {
        test(`${kind}, ${secure}, ${muxer}`, HANG, async (t) => {
          const make = () => {
            const hostKey = generateHostKey();
            const tls = issueCertificate(hostKey);
            const options = { hostKey, tls, secureChannels: [secure], muxers: [muxer] };
            return kind === 'tcp' ? tcpTransport(options) : wsTransport(options);
          };
          let onConnection = (_: TransportConnection): void => {};
          const listener = await make().listen(
            multiaddr(`/ip4/127.0.0.1/tcp/0${kind === 'ws' ? '/ws' : ''}`),
            {
              onConnection: (connection) => onConnection(connection),
              onRefused: (error) => t.diagnostic(error.message),
            },
          );
          t.after(() => listener.close());
          const dialer = make();
          const connect = async (): Promise<
            readonly [TransportConnection, TransportConnection]
          > => {
            const accepted = new Promise<TransportConnection>((resolve) => {
              onConnection = resolve;
            });
            const dialed = await dialer.dial(listener.address, {
              expectedPeer: undefined,
              signal: AbortSignal.timeout(30_000),
            });
            return [dialed, await accepted];
          };
          await closeRace({ ...race, connect });
        });
      }
    }
  }
});
