/** SSLKEYLOGFILE for TLS over TCP and WebSocket: off by default, warned about when on, NSS format. */

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { createNode } from '../../src/node/node.ts';
import { ping } from '../../src/protocols/ping.ts';
import { tcp, websocket } from '../../src/transports/factories.ts';
import { run } from '../support/participant.ts';

const HANG = { timeout: 60_000 };

const folderOf = (t: TestContext): string => {
  const folder = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
};

/** Its lines, each of a form that Wireshark takes (NSS key log format). */
const secretsIn = (file: string): string[] => {
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  for (const line of lines) {
    assert.match(line, /^[A-Z]+(_[A-Z0-9]+)+ [0-9a-f]{64} [0-9a-f]{64,96}$/);
  }
  return lines;
};

for (const [name, transportOf, address] of [
  ['tcp', tcp, '/ip4/127.0.0.1/tcp/0'],
  ['ws', websocket, '/ip4/127.0.0.1/tcp/0/ws'],
] as const) {
  test(`${name}: both sides log the same secrets, of each connection its own`, HANG, async (t) => {
    const folder = folderOf(t);
    const [here, there] = ['here', 'there'].map((it) => path.join(folder, it)) as [string, string];
    const nodeWith = async (keyLog: string | undefined) => {
      const node = await createNode({
        transports: [transportOf({ secureChannels: ['tls'], keyLog })],
      });
      t.after(() => node.close());
      return node;
    };
    const [dialer, listener] = [await nodeWith(here), await nodeWith(there)];
    const { address: where } = await listener.listen(address);
    for (let i = 0; i < 2; i++) await ping(await dialer.dial(where, { force: true }));
    const secrets = secretsIn(here);
    assert.deepEqual(secrets.toSorted(), secretsIn(there).toSorted());
    assert.equal(secrets.filter((it) => it.startsWith('CLIENT_TRAFFIC_SECRET_0 ')).length, 2);
    assert.equal(new Set(secrets.map((it) => it.split(' ')[1])).size, 2);
    assert.equal(statSync(here).mode & 0o077, 0, 'others may not read it');
  });
}

test('tcp: the file does not grow beyond its limit', HANG, async (t) => {
  const keyLog = path.join(folderOf(t), 'keys');
  const nodeWith = async (options: { keyLog?: string; maxKeyLogBytes?: number }) => {
    const node = await createNode({ transports: [tcp({ secureChannels: ['tls'], ...options })] });
    t.after(() => node.close());
    return node;
  };
  const [dialer, listener] = [
    await nodeWith({}),
    await nodeWith({ keyLog, maxKeyLogBytes: 1_000 }),
  ];
  const { address } = await listener.listen('/ip4/127.0.0.1/tcp/0');
  for (let i = 0; i < 5; i++) await ping(await dialer.dial(address, { force: true }));
  const { size } = statSync(keyLog);
  assert.ok(size >= 1_000 && size < 1_500, `${size}`);
  assert.throws(() => tcp({ maxKeyLogBytes: 0 }), { code: 'ERR_OPTIONS' });
});

test('the command line says so on stderr, or why it cannot', HANG, async (t) => {
  const file = path.join(folderOf(t), 'keys');
  const nobody = ['ping', '-c', '1', '--engine', 'quiche', '/ip4/127.0.0.1/tcp/1'];
  const on = await run(nobody, { SSLKEYLOGFILE: file });
  assert.ok(on.stderr.includes(`TLS secrets are appended to ${file}`), on.stderr);
  const off = await run(nobody, {});
  assert.ok(!off.stderr.includes('TLS secrets'));
  const failed = await run(nobody, { SSLKEYLOGFILE: '/nowhere/keys' });
  assert.match(
    failed.stderr,
    /^libp2p-lean: the trace \/nowhere\/keys cannot be written: \w+: [^\n]*; SSLKEYLOGFILE names it\n$/,
  );
  assert.equal(failed.code, 2);
  assert.ok(!existsSync('/nowhere/keys'));
});
