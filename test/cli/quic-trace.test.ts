/** SSLKEYLOGFILE, QLOGDIR and `--debug`: what the QUIC engines tell of their connections. */

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { qlogEvents } from '../../interop/runner/qlog.ts';
import { ping } from '../../src/protocols/ping.ts';
import { quic } from '../../src/transports/factories.ts';
import { enginesHere, whyNoQuinn } from '../support/engines.ts';
import { makeNode } from '../support/nodes.ts';
import { run, start } from '../support/participant.ts';

const OPTIONS = { timeout: 60_000, skip: whyNoQuinn ?? false };

test('traces are written, and statistics logged', OPTIONS, async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const keys = path.join(folder, 'keys');
  const listener = start(['listen', '--engine', 'quinn', '/ip4/127.0.0.1/udp/0/quic-v1'], {});
  t.after(() => listener.dispose());
  const [address = ''] = await listener.waitFor(/\S+\/p2p\/\S+/);
  const { code, stderr } = await run(['ping', '-c', '1', '--debug', '--engine', 'quinn', address], {
    SSLKEYLOGFILE: keys,
    QLOGDIR: folder,
  });
  assert.equal(code, 0, stderr);
  assert.match(stderr, /connection:close .* rtt=\d.* lostPackets=\d+ .*receivedBytes=\d+/);
  assert.match(readFileSync(keys, 'utf8'), /^CLIENT_TRAFFIC_SECRET_0 [0-9a-f]{64} [0-9a-f]{64,}$/m);
  assert.equal(readdirSync(folder).filter((name) => name.endsWith('dialer.sqlog')).length, 1);
});

const HANG = { timeout: 60_000 };

/** Each line of a form that Wireshark takes (NSS key log format). */
const SECRET = /^[A-Z]+(_[A-Z0-9]+)+ [0-9a-f]{64} [0-9a-f]{64,96}$/;

for (const engine of await enginesHere(['listener', 'dialer'])) {
  test(
    `${engine}: both sides log the same secrets, and qlog where the engine has it`,
    HANG,
    async (t) => {
      const folder = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-'));
      t.after(() => rmSync(folder, { recursive: true }));
      const variables = (side: string) => ({
        SSLKEYLOGFILE: path.join(folder, side),
        QLOGDIR: folder,
        ...(process.env.NODE_QUIC && { NODE_QUIC: process.env.NODE_QUIC }),
      });
      const listen = ['listen', '--engine', engine, '/ip4/127.0.0.1/udp/0/quic-v1'];
      const listener = start(listen, variables('there'));
      t.after(() => listener.dispose());
      const [address = ''] = await listener.waitFor(/\S+\/p2p\/\S+/);
      const ping = ['ping', '-c', '1', '--engine', engine, address];
      const { code, stderr } = await run(ping, variables('here'));
      assert.equal(code, 0, stderr);
      const secretsOf = (side: string) =>
        readFileSync(path.join(folder, side), 'utf8').trimEnd().split('\n').toSorted();
      for (const line of secretsOf('here')) assert.match(line, SECRET);
      assert.deepEqual(secretsOf('here'), secretsOf('there'));
      assert.match(stderr, /TLS secrets are appended to/);
      if (engine === 'quiche') {
        assert.match(stderr, /the QUIC engine quiche writes no qlog traces/);
        return;
      }
      for (const role of ['dialer', 'listener']) {
        const [name = ''] = readdirSync(folder).filter((it) => it.endsWith(`${role}.sqlog`));
        const events = qlogEvents(readFileSync(path.join(folder, name), 'utf8'), 0);
        assert.ok(
          events.some(({ text }) => /packet_sent/.test(text)),
          role,
        );
        // It says itself when it began.
        assert.ok(
          events.every(({ at }) => Math.abs(at - Date.now()) < 3_600_000),
          role,
        );
      }
    },
  );
}

for (const engine of await enginesHere(['listener', 'dialer'])) {
  if (engine === 'quiche') continue; // It writes none.
  for (const [name, most] of [
    ['QLOG_MAX_FILES', '2'],
    ['QLOG_MAX_BYTES', '5000'],
  ] as const) {
    test(`${engine}: peers cause no more traces than ${name} says`, HANG, async (t) => {
      const folder = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-'));
      t.after(() => rmSync(folder, { recursive: true }));
      const { NODE_QUIC } = process.env;
      const variables = { QLOGDIR: folder, [name]: most, ...(NODE_QUIC && { NODE_QUIC }) };
      const listen = ['listen', '--engine', engine, '/ip4/127.0.0.1/udp/0/quic-v1'];
      const listener = start(listen, variables);
      t.after(() => listener.dispose());
      const [address = ''] = await listener.waitFor(/\S+\/p2p\/\S+/);
      const client = await makeNode(t, { transports: [quic()] });
      for (let i = 0; i < 6; i++) {
        const connection = await client.dial(address, { force: true });
        assert.ok((await ping(connection)) > 0);
        await connection.close();
      }
      await listener.waitFor(/^libp2p-lean: .*\(maxQlogFiles, maxQlogBytes\).*\n/m, 'stderr');
      const files = readdirSync(folder).map((file) => statSync(path.join(folder, file)));
      const bytes = files.reduce((sum, { size }) => sum + size, 0);
      if (name === 'QLOG_MAX_FILES') assert.equal(files.length, 2);
      else assert.ok(bytes > 1000 && bytes <= 5000, `${bytes}`);
      assert.equal(listener.stderr().match(/maxQlogFiles/g)?.length, 1);
    });
  }
}

for (const engine of await enginesHere(['listener', 'dialer'])) {
  test(`${engine}: the secrets of each connection are appended`, HANG, async (t) => {
    const folder = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const keyLog = path.join(folder, 'keys');
    writeFileSync(keyLog, 'of another program\n');
    const transports = () => [quic({ engine, trace: { keyLog } })];
    const listener = await makeNode(t, { transports: transports() });
    const { address } = await listener.listen('/ip4/127.0.0.1/udp/0/quic-v1');
    const dialer = await makeNode(t, { transports: transports() });
    for (let i = 0; i < 4; i++) {
      assert.ok((await ping(await dialer.dial(address, { force: true }))) > 0);
    }
    const lines = readFileSync(keyLog, 'utf8').trimEnd().split('\n');
    assert.equal(lines[0], 'of another program');
    const secrets = lines.filter((line) => /^CLIENT_TRAFFIC_SECRET_0 /.test(line));
    // Each from both sides.
    assert.equal(secrets.length, 8);
    assert.equal(new Set(secrets).size, 4);
    assert.deepEqual(readdirSync(folder), ['keys']);
  });

  test(`${engine}: the secrets' file does not grow beyond its limit`, HANG, async (t) => {
    const folder = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const keyLog = path.join(folder, 'keys');
    const listener = await makeNode(t, {
      transports: [quic({ engine, trace: { keyLog, maxKeyLogBytes: 1_000 } })],
    });
    const { address } = await listener.listen('/ip4/127.0.0.1/udp/0/quic-v1');
    const client = await makeNode(t, { transports: [quic()] });
    for (let i = 0; i < 8; i++) {
      assert.ok((await ping(await client.dial(address, { force: true }))) > 0);
    }
    const { size } = statSync(keyLog);
    // What one handshake has to log may be more.
    assert.ok(size >= 1_000 && size < 3_000, `${size}`);
  });
}

test('a limit of traces that is none: one line, exit code 2', OPTIONS, async () => {
  const args = ['ping', '-c', '1', '--engine', 'quinn', '/ip4/127.0.0.1/udp/9/quic-v1'];
  for (const variables of [
    { QLOG_MAX_FILES: 'many' },
    { QLOG_MAX_BYTES: '0' },
    { QLOG_MAX_FILES: '99999999999' },
    { SSLKEYLOG_MAX_BYTES: '1 MB' },
  ]) {
    const { code, stderr } = await run(args, { QLOGDIR: tmpdir(), ...variables });
    assert.match(
      stderr,
      /^libp2p-lean: [^\n]*(QLOG_MAX|maxQlog|SSLKEYLOG_MAX)[^\n]* a whole number [^\n]*\n$/,
    );
    assert.equal(code, 2);
  }
});

test('a trace that cannot be written: one line, exit code 2', OPTIONS, async () => {
  const args = ['ping', '-c', '1', '--engine', 'quinn', '/ip4/127.0.0.1/udp/9/quic-v1'];
  for (const variables of [{ SSLKEYLOGFILE: '/nowhere/keys' }, { QLOGDIR: '/etc/passwd' }]) {
    const { code, stderr } = await run(args, variables);
    const [[name, file]] = Object.entries(variables) as [[string, string]];
    assert.match(stderr, /^libp2p-lean: the trace [^\n]* cannot be written: \w+: [^\n]*\n$/);
    assert.ok(stderr.includes(`the trace ${file} `), stderr);
    assert.ok(stderr.endsWith(`; ${name} names it\n`), stderr);
    assert.equal(code, 2);
  }
});
