/** Bun's `node:quic` as dialer, against a quiche listener in this process. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import type { CloseReason } from '../../src/close-reason.ts';
import type { QuicConnection } from '../../src/quic/engine.ts';
import { quicheEngine } from '../../src/quic/quiche/engine.ts';
import { readVarint } from '../../src/stream/bytes.ts';
import type { Stream } from '../../src/stream.ts';
import { issueTestCredentials } from '../support/quic-credentials.ts';
import { echo } from '../support/quic-helpers.ts';

const bun = fileURLToPath(new URL('../../node_modules/.bin/bun', import.meta.url));
const script = fileURLToPath(new URL('../support/quic-bun-dialer.ts', import.meta.url));
const skip = existsSync(bun) ? false : 'bun is not installed';

test('Bun dials quiche', { skip, timeout: 60_000 }, async (t) => {
  const engine = await quicheEngine();
  const credentials = await issueTestCredentials('listener');
  const closes: CloseReason[] = [];
  const refused: string[] = [];
  const listener = await engine.listen({
    address: { host: '127.0.0.1', port: 0 },
    credentials,
    authenticate: (chain) => assert.equal(chain.length, 1),
    onConnection: (connection) => {
      connection.closed.then((close) => closes.push(close));
      serve(connection).catch(() => {});
    },
    onRefused: (error) => refused.push(error.message),
  });
  t.after(() => listener.close());

  const child = spawn(
    bun,
    [script, `${listener.address.port}`, Buffer.from(credentials.certificateDer).toString('hex')],
    { stdio: ['pipe', 'pipe', 'pipe'] },
  );
  t.after(() => child.kill('SIGKILL'));
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (data: string) => {
    out += data;
  });
  child.stderr.setEncoding('utf8').on('data', (data: string) => {
    err += data;
  });
  const code = await new Promise((resolve) => child.once('close', resolve));
  assert.equal(code, 0, `${out}\n${err}`);
  assert.deepEqual(out.trim().split('\n'), [
    'handshake',
    'echo',
    '4 MiB each way',
    '64 streams at once',
    'reset by the peer',
    'stopped by the peer',
    'reset by us',
    'authenticate',
    'closed by the peer',
    'closed by us',
    'dial timeout',
    'no listener',
  ]);
  assert.ok(
    closes.some(({ by, code: closeCode, reason }) => {
      return by === 'remote' && closeCode === 3 && reason === 'bye';
    }),
    JSON.stringify(closes),
  );
});

const serve = async (connection: QuicConnection): Promise<void> => {
  for (;;) {
    const stream = await connection.acceptStream();
    if (stream === null) return;
    answer(connection, stream).catch(() => {});
  }
};

const answer = async (connection: QuicConnection, stream: Stream): Promise<void> => {
  const [what, code] = (await readLine(stream)).split(' ');
  if (what === 'echo') await echo(stream);
  else if (what === 'reset') stream.reset(Number(code));
  else if (what === 'close') await connection.close(Number(code), 'enough');
  else if (what === 'stop') {
    stream.stopSending(Number(code));
    stream.write(Buffer.from('stopped'));
  }
};

const readLine = async (stream: Stream): Promise<string> => {
  let line = '';
  for (;;) {
    const byte = await readVarint(stream, 0x7f);
    if (byte === null || byte === 0x0a) return line;
    line += String.fromCharCode(byte);
  }
};
