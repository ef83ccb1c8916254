/** Paths that lose long datagrams without a word, as tunnels with a filtered ICMP do. */

import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import type { QuicConnection } from '../../src/quic/engine.ts';
import { selectEngine } from '../../src/quic/select.ts';
import { enginesHere } from '../support/engines.ts';
import { pickyRelay } from '../support/lossy-relay.ts';
import { issueTestCredentials } from '../support/quic-credentials.ts';
import { echo, inbox, readAll } from '../support/quic-helpers.ts';

const HANG = { timeout: 60_000 };
/** An MTU of 1280 bytes, the least that IPv6 allows, less the headers of IPv6 and UDP. */
const PAYLOAD = 1280 - 40 - 8;

const engines = await enginesHere(['dialer', 'listener']);

describe('a path that silently drops packets of more than 1280 bytes', () => {
  for (const dialling of engines) {
    for (const listening of engines) {
      test(`${dialling} dials ${listening}: ten pings, and 1 MiB each way`, HANG, async (t) => {
        const dialer = (await selectEngine(dialling, 'dialer')).engine;
        const listener = (await selectEngine(listening, 'listener')).engine;
        const options = {
          credentials: await issueTestCredentials('narrow'),
          authenticate: () => {},
        };
        const accepted = inbox<QuicConnection>();
        const bound = await listener.listen({
          ...options,
          address: { host: '127.0.0.1', port: 0 },
          onConnection: accepted.push,
        });
        t.after(() => bound.close());
        const relay = await pickyRelay(bound.address, (packet) => packet.length <= PAYLOAD);
        t.after(() => relay.close());
        const dialed = await dialer.dial(relay.address, {
          ...options,
          signal: AbortSignal.timeout(30_000),
        });
        t.after(() => dialed.close());
        const pings = await dialed.openStream();
        for (let i = 0; i < 10; i++) {
          pings.write(Buffer.alloc(32, i));
          if (i === 0) {
            const peer = await accepted.next();
            const serve = async (): Promise<void> => {
              for (;;) {
                const stream = await peer.acceptStream();
                if (stream === null) return;
                echo(stream).catch(() => stream.reset(1));
              }
            };
            serve().catch(() => {});
          }
          assert.deepEqual(Buffer.from((await pings.read()) ?? []), Buffer.alloc(32, i));
        }
        const stream = await dialed.openStream();
        const bytes = Buffer.alloc(1 << 20, 'a mebibyte');
        const back = readAll(stream);
        for (let at = 0; at < bytes.length; at += 65_536) {
          if (!stream.write(bytes.subarray(at, at + 65_536))) await stream.drain();
        }
        stream.closeWrite();
        assert.ok(bytes.equals(await back));
      });
    }
  }
});
