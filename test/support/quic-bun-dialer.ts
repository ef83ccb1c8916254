/**
 * Tests of Bun's `node:quic` dialer against a listener in another process; see
 * `test/quic/bun.test.ts`, which starts it with the port. Bun does not run suites of `node:test`, so
 * it prints one line for each thing that worked and ends with code 0, or throws.
 */

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { endWithParent } from '../../interop/end-with-parent.ts';
import { isLeanError } from '../../src/errors.ts';
import { BAD_CERTIFICATE, type DialOptions } from '../../src/quic/engine.ts';
import { nodeQuicEngine } from '../../src/quic/node/engine.ts';
import { writeAll } from '../../src/stream/bytes.ts';
import { type Stream, StreamResetError } from '../../src/stream.ts';
import { issueTestCredentials } from './quic-credentials.ts';
import { hashAll, readAll, rejection, silentSocket } from './quic-helpers.ts';

endWithParent();
const remote = { host: '127.0.0.1', port: Number(process.argv[2]) };
const expectedCertificate = process.argv[3];
const engine = await nodeQuicEngine();
const credentials = await issueTestCredentials('bun');
const options: DialOptions = { credentials, authenticate: () => {} };
const text = (value: string): Uint8Array => new TextEncoder().encode(value);

/** The first line of a stream tells the listener what to do with it. */
const ask = async (what: string): Promise<Stream> => {
  const stream = await connection.openStream();
  stream.write(text(`${what}\n`));
  return stream;
};

const done = (what: string): void => void process.stdout.write(`${what}\n`);

let seen = '';
const connection = await engine.dial(remote, {
  ...options,
  authenticate: (chain) => {
    assert.equal(chain.length, 1);
    seen = Buffer.from(chain[0] ?? []).toString('hex');
  },
});
assert.equal(seen, expectedCertificate);
assert.deepEqual(connection.remoteAddress, remote);
done('handshake');

for (let i = 0; i < 50; i++) {
  const stream = await ask('echo');
  stream.write(text(`message ${i}`));
  stream.closeWrite();
  assert.equal((await readAll(stream)).toString(), `message ${i}`);
}
done('echo');

const data = randomBytes(4 << 20);
const big = await ask('echo');
const hash = hashAll(big);
for (let at = 0; at < data.length; at += 65_536) {
  await writeAll(big, data.subarray(at, at + 65_536));
}
big.closeWrite();
assert.equal(await hash, createHash('sha256').update(data).digest('hex'));
done('4 MiB each way');

await Promise.all(
  Array.from({ length: 64 }, async (_, i) => {
    const stream = await ask('echo');
    stream.write(new Uint8Array(5_000).fill(i));
    stream.closeWrite();
    assert.deepEqual(await readAll(stream), Buffer.alloc(5_000, i));
  }),
);
done('64 streams at once');

const reset = await ask('reset 5');
const resetError = await rejection(reset.read());
assert.ok(isLeanError(resetError, 'ERR_STREAM_RESET'), String(resetError));
assert.equal((resetError as StreamResetError).resetCode, 5);
done('reset by the peer');

const stopped = await ask('stop 6');
assert.equal(Buffer.from((await stopped.read()) ?? []).toString(), 'stopped');
let stopError: unknown;
while (stopError === undefined) {
  try {
    await writeAll(stopped, new Uint8Array(1000));
    await new Promise((resolve) => setTimeout(resolve, 5));
  } catch (error) {
    stopError = error;
  }
}
assert.ok(isLeanError(stopError, 'ERR_STREAM_STOPPED'), String(stopError));
stopped.reset();
done('stopped by the peer');

const ours = await ask('echo');
ours.reset(9);
assert.ok(isLeanError(await rejection(ours.read()), 'ERR_STREAM_RESET'));
done('reset by us');

const refused = await rejection(
  engine.dial(remote, {
    ...options,
    authenticate: () => {
      throw new Error('not who I dialled');
    },
  }),
);
assert.equal((refused as Error).message, 'not who I dialled');
done('authenticate');

const pending = await ask('close 7');
const pendingRead = rejection(pending.read());
const close = await connection.closed;
assert.deepEqual(close, { by: 'remote', code: 7, application: true, reason: 'enough' });
assert.ok(isLeanError(await pendingRead, 'ERR_CONNECTION_CLOSED'));
done('closed by the peer');

const second = await engine.dial(remote, options);
await second.close(3, 'bye');
assert.deepEqual(await second.closed, { by: 'local', code: 3, application: true, reason: 'bye' });
done('closed by us');

const silent = await silentSocket();
const timeout = await rejection(
  engine.dial(silent.address, { ...options, limits: { handshakeTimeout: 300 } }),
);
assert.ok(isLeanError(timeout, 'ERR_TIMEOUT'), String(timeout));
await silent.close();
done('dial timeout');

const listening = await rejection(
  engine.listen({ ...options, address: { host: '127.0.0.1', port: 0 }, onConnection: () => {} }),
);
assert.ok(isLeanError(listening, 'ERR_ENGINE_UNAVAILABLE'), String(listening));
done('no listener');

assert.equal(BAD_CERTIFICATE, 0x12a);
assert.ok(resetError instanceof StreamResetError);
process.exit(0);
