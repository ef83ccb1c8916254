/** `perf` for people, and as the executable of test-plans. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, type TestContext, test } from 'node:test';
import { formatRate, formatSize, parseSize } from '../../src/cli/size.ts';
import { createNode } from '../../src/node/node.ts';
import { handlePerf, PERF, type PerfProgress, perf } from '../../src/protocols/perf.ts';
import { LAUNCHER, type Outcome, type Participant, run, start } from '../support/participant.ts';
import { SUITE } from '../support/suite-limit.ts';

const ID = '12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA';
/** The peer id that go-libp2p's perf client of test-plans dials (perf/impl/go-libp2p). */
const SERVER_ID = '12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN';

const startFor = (t: TestContext, args: readonly string[]): Participant => {
  const participant = start(args);
  t.after(() => participant.dispose());
  return participant;
};

const assertFailed = (outcome: Outcome, code: number, message: RegExp): void => {
  assert.match(outcome.stderr, /^libp2p-lean: [^\n]+\n$/);
  assert.match(outcome.stderr, message);
  assert.equal(outcome.code, code);
};

/** A node that serves perf and keeps what it counted. */
const listen = async (t: TestContext, address = '/ip4/127.0.0.1/udp/0/quic-v1') => {
  const node = await createNode();
  t.after(() => node.close());
  const served: PerfProgress[] = [];
  node.handle(PERF, async (stream) => void served.push(await handlePerf(stream)));
  return { address: String((await node.listen(address)).address), served };
};

describe('perf --to', SUITE, () => {
  test('moves what it is told to, and says how fast', async (t) => {
    const { address, served } = await listen(t);
    const args = ['perf', '--to', address, '--upload', '1MiB', '--download', '0.5 MB'];
    const { code, stdout, stderr } = await run(args);
    assert.deepEqual([code, stderr], [0, '']);
    const expected =
      /^PERF (\S+): quic-v1 \((?:quinn|node|quiche)\), connected in \d+\.\d{3} ms\nupload {3}1 MiB in \d+\.\d{3} s, [\d.]+ [MG]bit\/s\ndownload 488 KiB in \d+\.\d{3} s, [\d.]+ [MG]bit\/s\n$/;
    assert.equal(expected.exec(stdout)?.[1], address, stdout);
    assert.deepEqual(served, [
      { uploaded: 2 ** 20, downloaded: 0 },
      { uploaded: 0, downloaded: 500_000 },
    ]);
  });

  test('on several streams, over TCP, as JSON', async (t) => {
    const { address, served } = await listen(t, '/ip4/127.0.0.1/tcp/0');
    const args = ['perf', '--to', address, '--upload', '100000', '--streams', '5', '--json'];
    const { code, stdout, stderr } = await run(args);
    assert.deepEqual([code, stderr], [0, '']);
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.deepEqual(
      lines.map(({ event, bytes, streams }) => [event, bytes, streams]),
      [
        ['connected', undefined, undefined],
        ['upload', 500_000, 5],
      ],
    );
    const { timeMs, bitsPerSecond } = lines[1];
    assert.equal(bitsPerSecond, Math.round(4e9 / timeMs));
    assert.deepEqual(served, Array(5).fill({ uploaded: 100_000, downloaded: 0 }));
  });

  test('shows a bar on a terminal, and leaves none behind', { skip: noScript() }, async (t) => {
    // Enough of it that the bar is drawn before the end, on a fast machine, too.
    const { address } = await listen(t);
    const words = [process.execPath, LAUNCHER, 'perf', '--to', address, '--download', '512MiB'];
    // `script` gives a terminal; a pipe of ours keeps what it showed.
    const command = ['script', '-qec', `stty rows 24 cols 120; ${words.join(' ')}`, '/dev/null'];
    const participant = start([], { TERM: 'xterm' }, command);
    t.after(() => participant.dispose());
    const { code, stdout } = await participant.ended;
    assert.equal(code, 0, stdout);
    assert.match(
      stdout,
      /download [█░]{30} \d+% {2}[\d.]+ [KM]?i?B of 512 MiB {2}[\d.]+ [MG]bit\/s/,
    );
    assert.match(stdout, /download 512 MiB in [^\r\n]*\r?\n[^█░]*$/);
  });

  test('a listener that does not serve perf: 1', async (t) => {
    const node = await createNode();
    t.after(() => node.close());
    const address = String((await node.listen('/ip4/127.0.0.1/udp/0/quic-v1')).address);
    const what =
      /\/perf\/1\.0\.0.*; the other side must serve it, as `libp2p-lean listen --perf` does$/m;
    assertFailed(await run(['perf', '--to', address]), 1, what);
    const overTcp = String((await node.listen('/ip4/127.0.0.1/tcp/0')).address);
    assertFailed(await run(['perf', '--to', overTcp]), 1, what);
  });
});

describe('perf --listen and listen --perf', SUITE, () => {
  for (const args of [
    ['perf', '--listen', '/ip4/127.0.0.1/udp/0/quic-v1'],
    ['listen', '--perf', '/ip4/127.0.0.1/udp/0/quic-v1'],
  ]) {
    test(`${args.slice(0, 2).join(' ')} serves, and says what`, async (t) => {
      const listener = startFor(t, args);
      const [address = ''] = await listener.waitFor(/\/ip4\/\S+/);
      const node = await createNode();
      t.after(() => node.close());
      const stream = await (await node.dial(address)).newStream(PERF);
      await perf(stream, 3000, 2 ** 20);
      await listener.waitFor(new RegExp(`${node.peerId}: 2.93 KiB up, 1 MiB down in `), 'stderr');
      listener.kill('SIGINT');
      assert.equal((await listener.ended).code, 0);
    });
  }

  for (const args of [
    ['perf', '--listen'],
    ['listen', '--perf'],
  ]) {
    test(`perf --to after ${args.join(' ')} with two addresses`, async (t) => {
      const wanted = ['/ip4/127.0.0.1/udp/0/quic-v1', '/ip4/127.0.0.1/tcp/0'];
      const listener = startFor(t, [...args, ...wanted]);
      await listener.waitFor(/(.+\n){2}/);
      for (const address of listener.stdout().trimEnd().split('\n')) {
        const { code, stdout, stderr } = await run(['perf', '--to', address, '--download', '1MiB']);
        assert.deepEqual([code, stderr], [0, '']);
        assert.match(stdout, /^download 1 MiB in /m);
      }
    });
  }

  test('listen without --perf does not serve it', async (t) => {
    const listener = startFor(t, ['listen', '/ip4/127.0.0.1/udp/0/quic-v1']);
    const [address = ''] = await listener.waitFor(/\/ip4\/\S+/);
    assertFailed(await run(['perf', '--to', address]), 1, /\/perf\/1\.0\.0/);
  });
});

describe('the executable of test-plans', SUITE, () => {
  const PORT = /\/ip4\/127\.0\.0\.1\/(tcp|udp)\/(\d+)/g;

  test('a server listens on both transports, as the peer that clients expect', async (t) => {
    const server = startFor(t, ['perf', '--run-server', '--server-address', '127.0.0.1:0']);
    await server.waitFor(/\/udp\/\d+\/quic-v1\/p2p\/\w+\n/, 'stderr');
    assert.equal(server.stdout(), '', 'stdout is for measurements');
    const addresses = server.stderr().trimEnd().split('\n');
    assert(
      addresses.every((address) => address.endsWith(`/p2p/${SERVER_ID}`)),
      server.stderr(),
    );
    const ports = new Map(
      [...server.stderr().matchAll(PORT)].map(([, name, port]) => [name, port]),
    );
    for (const [transport, name] of [
      ['tcp', 'tcp'],
      ['quic-v1', 'udp'],
    ] as const) {
      const where = ['--server-address', `127.0.0.1:${ports.get(name)}`, '--transport', transport];
      const what = ['--upload-bytes', '70000', '--download-bytes', '1'];
      const { code, stdout, stderr } = await run(['perf', ...where, ...what]);
      assert.deepEqual([code, stderr], [0, '']);
      const { timeSeconds, ...rest } = JSON.parse(stdout);
      assert.deepEqual(rest, { type: 'final', uploadBytes: 70_000, downloadBytes: 1 });
      assert(timeSeconds > 0);
    }
    server.kill('SIGTERM');
    assert.equal((await server.ended).code, 0);
  });

  test('a client says every second what it moved, until it is killed', async (t) => {
    const { address, served } = await listen(t, '/ip4/127.0.0.1/tcp/0');
    const port = /\/tcp\/(\d+)/.exec(address)?.[1];
    const most = String(Number.MAX_SAFE_INTEGER);
    const client = startFor(t, [
      ...['perf', '--server-address', `127.0.0.1:${port}`, '--transport', 'tcp'],
      ...['--upload-bytes', '0', '--download-bytes', most],
    ]);
    await client.waitFor(/\n[\s\S]*\n/);
    client.kill('SIGTERM');
    const { code, stdout } = await client.ended;
    assert.equal(code, 1);
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    for (const { type, timeSeconds, uploadBytes, downloadBytes } of lines) {
      assert.deepEqual([type, uploadBytes], ['intermediary', 0]);
      assert(timeSeconds >= 0.9 && downloadBytes > 0, stdout);
    }
    assert.deepEqual(served, []);
  });

  const wrong: [args: string[], code: number, message: RegExp][] = [
    [['--run-server'], 2, /--run-server needs --server-address/],
    [['--server-address', '127.0.0.1'], 2, /--server-address is "127.0.0.1"; .*host:port/],
    [['--server-address', 'a:1', '--transport', 'ws'], 2, /tcp, quic-v1/],
    [['--server-address', 'a:1', '--upload-bytes', '9007199254740992'], 2, /2\^53 - 1/],
    [['--upload', 'much', '--to', `/ip4/127.0.0.1/udp/1/quic-v1/p2p/${ID}`], 2, /such as 1GiB/],
    [['--to', '/ip4/1.2.3.4/udp/1/quic-v1', '--listen'], 2, /cannot be used with/],
    [['--to', 'nonsense'], 2, /"nonsense"/],
    [[], 2, /nothing to measure/],
  ];
  for (const [args, code, message] of wrong) {
    test(`perf ${args.join(' ')}: ${code}`, async () => {
      assertFailed(await run(['perf', ...args]), code, message);
    });
  }
});

describe('sizes', () => {
  test('are read', () => {
    for (const [text, bytes] of [
      ['0', 0],
      ['1000', 1000],
      ['12 B', 12],
      ['1kB', 1000],
      ['64K', 65_536],
      ['1GiB', 2 ** 30],
      ['1.5 mib', 1_572_864],
      ['9007199254740991', Number.MAX_SAFE_INTEGER],
      ['9007199254740992', undefined],
      ['9999TiB', undefined],
      ['-1', undefined],
      ['1iB', undefined],
      ['GiB', undefined],
      ['1 EiB', undefined],
      ['0x10', undefined],
    ] as const) {
      assert.equal(parseSize(text), bytes, text);
    }
  });

  test('are written', () => {
    assert.deepEqual(
      [0, 1023, 1024, 1536, 10 * 2 ** 20, 2 ** 30, 123_456_789, 10 * 2 ** 40].map(formatSize),
      ['0 B', '1023 B', '1 KiB', '1.50 KiB', '10 MiB', '1 GiB', '118 MiB', '10 TiB'],
    );
    assert.equal(formatRate(125_000_000, 1000), '1.00 Gbit/s');
    assert.equal(formatRate(1_000_000, 1000), '8.0 Mbit/s');
    assert.equal(formatRate(0, 0), '0.0 Mbit/s');
  });
});

function noScript(): string | false {
  const { status } = spawnSync('script', ['--version'], { stdio: 'ignore' });
  return status === 0 ? false : 'no script(1) on this machine';
}
