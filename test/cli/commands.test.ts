/** `listen` and `ping`, for people. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, describe, type TestContext, test } from 'node:test';
import { statistics } from '../../src/cli/ping.ts';
import { createNode } from '../../src/node/node.ts';
import { PING, ping } from '../../src/protocols/ping.ts';
import { quic, tcp, websocket } from '../../src/transports/factories.ts';
import { VERSION } from '../../src/version.ts';
import { longEnough } from '../support/long-enough.ts';
import { LAUNCHER, type Outcome, type Participant, run, start } from '../support/participant.ts';
import { SUITE } from '../support/suite-limit.ts';

const HANG = { timeout: 60_000 };
const ID = '12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA';

const assertFailed = (outcome: Outcome, code: number, message: RegExp): void => {
  assert.match(outcome.stderr, /^libp2p-lean: [^\n]+\n$/);
  assert.match(outcome.stderr, message);
  assert.equal(outcome.stdout, '');
  assert.equal(outcome.code, code);
};

describe('arguments', SUITE, () => {
  test('--version and --help', async () => {
    assert.equal((await run(['--version'])).stdout, `${VERSION}\n`);
    for (const args of [
      ['--help'],
      ['ping', '--help'],
      ['listen', '--help'],
      ['transport', '-h'],
    ]) {
      const { code, stdout, stderr } = await run(args);
      assert.deepEqual([code, stderr], [0, '']);
      assert.match(stdout, /Examples:|REDIS_ADDR/);
    }
  });

  test('nothing to do: the help, on stderr', async () => {
    const { code, stdout, stderr } = await run([]);
    assert.deepEqual([code, stdout], [2, '']);
    assert.match(stderr, /Usage: libp2p-lean/);
  });

  const wrong: [args: string[], message: RegExp][] = [
    [['fly'], /unknown command 'fly'/],
    [['ping'], /missing required argument 'multiaddr'/],
    [['ping', '-c', '0', '/ip4/1.2.3.4/udp/1/quic-v1'], /-c, --count.*whole number above 0/],
    [['ping', '-i', 'x', '/ip4/1.2.3.4/udp/1/quic-v1'], /-i, --interval.*number of seconds/],
    [['ping', '--engine', 'x', '/ip4/1.2.3.4/udp/1/quic-v1'], /auto, quinn, node, quiche/],
    [['listen', '--port', '1'], /unknown option '--port'/],
    [['transport', 'x'], /too many arguments/],
    [['listen', '--limit', 'maxStreams'], /--limit.*name=value/],
    [['listen', '--limit', 'maxStream=1'], /no limit maxStream$/m],
    [['listen', '--limit', 'maxStreams=0'], /maxStreams must be a whole number in 1 …/],
    [['listen', '--limit', 'maxStreams=many'], /--limit.*a number/],
    [['ping', 'nonsense'], /"nonsense"/],
    [['ping', '/ip4/1.2.3.4/udp/1/quic-v1/p2p/abc'], /udp\/1\/quic-v1\/p2p\/abc: .*peer id/],
    [['ping', '/ip4/1.2.3.4/udp/0/quic-v1'], /udp\/0\/quic-v1: .*port 0/],
    [['ping', '/ip4/1.2.3.4/udp/1/quic-v1/p2p-circuit'], /p2p-circuit: .*which relay/],
    [['perf', '--to', '/ip4/1.2.3.4/udp/1/quic-v1/p2p/abc'], /p2p\/abc: .*peer id/],
    [['listen', '--relay', '/ip4/1.2.3.4/udp/1/quic-v1'], /udp\/1\/quic-v1.*which relay/],
    [['listen', '/dns4/localhost/udp/1/quic-v1'], /localhost.*not an IP address/],
    [['listen', '/ip4/1.2.3.4/udp/x/quic-v1'], /\/ip4\/1\.2\.3\.4/],
  ];
  for (const [args, message] of wrong) {
    test(`${args.join(' ')}: 2`, async () => assertFailed(await run(args), 2, message));
  }

  test('an address of a transport that is not supported: 127', async () => {
    const address = `/ip4/127.0.0.1/udp/1/quic-v1/webtransport/p2p/${ID}`;
    assertFailed(await run(['ping', address]), 127, /webtransport/);
    assertFailed(await run(['listen', '/ip4/127.0.0.1/udp/0/webrtc-direct']), 127, /webrtc-direct/);
  });
});

describe('ping and listen', SUITE, () => {
  let listener: Participant;
  let address: string;
  before(async () => {
    listener = start(['listen', '/ip4/127.0.0.1/udp/0/quic-v1']);
    [address = ''] = await listener.waitFor(
      /\/ip4\/127\.0\.0\.1\/udp\/\d+\/quic-v1\/p2p\/12D3KooW\w+/,
    );
  });
  after(() => listener?.dispose());

  const startFor = (t: TestContext, args: readonly string[]): Participant => {
    const participant = start(args);
    t.after(() => participant.dispose());
    return participant;
  };

  test('a line for each answer, and a summary', HANG, async () => {
    const { code, stdout, stderr } = await run(['ping', '-c', '3', '-i', '0.01', address]);
    assert.deepEqual([code, stderr], [0, '']);
    const peer = address.split('/').at(-1);
    const lines = stdout.split('\n');
    assert.match(
      lines[0] ?? '',
      /^PING \/ip4\/.*: quic-v1 \((quinn|node|quiche)\), connected in \d+\.\d{3} ms$/,
    );
    for (const seq of [1, 2, 3]) {
      const pattern = `^32 bytes from ${peer}: seq=${seq} time=\\d+\\.\\d{3} ms$`;
      assert.match(lines[seq] ?? '', new RegExp(pattern));
    }
    assert.equal(lines[5], `--- ${address} ping statistics ---`);
    assert.match(lines[6] ?? '', /^3 sent, 3 answered, 0% loss, time \d+ ms$/);
    assert.match(lines[7] ?? '', /^rtt min\/avg\/max\/mdev = (\d+\.\d{3}\/){3}\d+\.\d{3} ms$/);
    assert.equal(lines.length, 9);
    await listener.waitFor(
      new RegExp(`connected from .*[\\s\\S]* opened ${PING}[\\s\\S]* left: `),
      'stderr',
    );
  });

  test('--json: an object per line', HANG, async () => {
    const { code, stdout } = await run(['ping', '-c', '2', '-i', '0', '--json', address]);
    assert.equal(code, 0);
    const events = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.deepEqual(
      events.map(({ event }) => event),
      ['connected', 'answer', 'answer', 'summary'],
    );
    const [connected, first, , summary] = events;
    assert.equal(connected.address, address);
    assert.equal(typeof connected.connectMs, 'number');
    assert.deepEqual([first.seq, typeof first.rttMs], [1, 'number']);
    const { sent, answered, lossPercent, minMs, avgMs, maxMs, mdevMs } = summary;
    assert.deepEqual([sent, answered, lossPercent], [2, 2, 0]);
    assert.ok(minMs <= avgMs && avgMs <= maxMs && mdevMs >= 0);
  });

  test('several addresses race; it says which one won', HANG, async () => {
    const dead = address.replace(/udp\/\d+/, 'udp/9');
    const { code, stdout } = await run(['ping', '-c', '1', dead, address]);
    assert.equal(code, 0);
    assert.match(stdout, new RegExp(`^PING ${address}: .*, first of 2 addresses\n`));
  });

  test('Ctrl-C prints the summary', HANG, async (t) => {
    const pinging = startFor(t, ['ping', '-i', '0.05', address]);
    await pinging.waitFor(/seq=3 /);
    pinging.kill('SIGINT');
    const { code, signal, stdout } = await pinging.ended;
    assert.match(stdout, /\n\d+ sent, \d+ answered, 0% loss, time \d+ ms\nrtt .* ms\n$/);
    assert.deepEqual([code, signal], [0, null]);
  });

  test('a reader that leaves ends it quietly', HANG, () => {
    const line = `"${process.execPath}" "${LAUNCHER}" ping -i 0.01 ${address} | head -n 2`;
    const piped = spawnSync('sh', ['-c', line], { encoding: 'utf8', timeout: 30_000 });
    assert.equal(piped.stderr, '');
    assert.equal(piped.status, 0);
    assert.equal(piped.stdout.trimEnd().split('\n').length, 2);
  });

  test('the wrong peer id', HANG, async () => {
    const other = address.replace(/12D3\w+/, ID);
    assertFailed(await run(['ping', '-c', '1', other]), 1, new RegExp(ID));
  });

  test('a port where nobody listens', HANG, async () => {
    const dead = address.replace(/udp\/\d+/, 'udp/9');
    assertFailed(await run(['ping', '-c', '1', '-W', '2', dead]), 1, /udp\/9|port 9|2000 ms/);
  });

  test('a listener that leaves: the summary, and 1', HANG, async (t) => {
    const other = startFor(t, ['listen', '/ip4/127.0.0.1/udp/0/quic-v1']);
    const [there = ''] = await other.waitFor(/\S+\/p2p\/\S+/);
    const pinging = startFor(t, ['ping', '-i', '0.05', there]);
    await pinging.waitFor(/seq=2 /);
    other.kill('SIGTERM');
    const { code, stdout, stderr } = await pinging.ended;
    assert.match(stdout, /ping statistics/);
    assert.match(stderr, /^libp2p-lean: connection closed by the peer/);
    assert.equal(code, 1);
  });

  test('answers that do not come are lost, and each is said', HANG, async (t) => {
    const node = await createNode();
    t.after(() => node.close());
    const there = (await node.listen('/ip4/127.0.0.1/udp/0/quic-v1')).address;
    await longEnough([300, 3_000, 15_000], async (limit) => {
      let pings = 0;
      node.handle(PING, async (stream) => {
        const chunk = await stream.read();
        pings++;
        if (chunk !== null && pings > 1) stream.write(chunk);
        await stream.read();
      });
      const args = ['ping', '-c', '2', '-i', '0', '-W', `${limit / 1000}`, String(there)];
      const { code, stdout } = await run(args);
      const lines = new RegExp(`\nno answer: seq=1 \\(.*${limit} ms\\)\n32 bytes from .*seq=2 `);
      assert.match(stdout, lines);
      assert.match(stdout, /\n2 sent, 1 answered, 50% loss/);
      assert.equal(code, 0);
    });
  });

  test('a peer without ping: 1', HANG, async (t) => {
    const node = await createNode();
    t.after(() => node.close());
    node.handle(PING, async (stream) => stream.reset());
    const there = (await node.listen('/ip4/127.0.0.1/udp/0/quic-v1')).address;
    const { code, stdout } = await run(['ping', '-c', '1', String(there)]);
    assert.match(stdout, /\n1 sent, 0 answered, 100% loss, time \d+ ms\n$/);
    assert.equal(code, 1);
  });

  test('listen on a port in use: 1', HANG, async () => {
    const port = /udp\/(\d+)/.exec(address)?.[1];
    const inUse = `/ip4/127.0.0.1/udp/${port}/quic-v1`;
    assertFailed(await run(['listen', inUse]), 1, /cannot listen/);
    assertFailed(await run(['listen', '/ip4/127.0.0.1/tcp/0', inUse]), 1, /cannot listen/);
  });

  test('listen with limits: who is refused is told, and logged', HANG, async (t) => {
    const limits = ['--limit', 'maxConnectionsPerPeer=1', '--limit', 'connectionMemory=4MiB'];
    const other = startFor(t, ['listen', '/ip4/127.0.0.1/tcp/0', ...limits]);
    const [there = ''] = await other.waitFor(/\S+\/p2p\/\S+/);
    const node = await createNode();
    t.after(() => node.close());
    const first = await node.dial(there);
    assert.equal((await (await node.dial(there, { force: true })).closed).by, 'remote');
    await other.waitFor(
      / was refused: too many connections of this peer \(maxConnectionsPerPeer\)\n/,
      'stderr',
    );
    assert((await ping(first)) > 0);
  });

  test('listen on several addresses', HANG, async (t) => {
    const wanted = ['/udp/0/quic-v1', '/tcp/0', '/tcp/0/ws', '/tcp/0/tls/ws'];
    const other = startFor(t, ['listen', ...wanted.map((it) => `/ip4/127.0.0.1${it}`)]);
    await other.waitFor(/(.+\n){4}/);
    const there = other.stdout().trimEnd().split('\n');
    assert.deepEqual(
      there.map((it) => it.replace(/\/p2p\/\w+$/, '').replace(/(?<=udp|tcp)\/\d+/, '/0')),
      wanted.map((it) => `/ip4/127.0.0.1${it}`),
    );
    const node = await createNode({
      transports: [quic(), tcp(), websocket({ insecureWss: true })],
    });
    t.after(() => node.close());
    for (const each of there) {
      await ping(await node.dial(each, { force: true }));
    }
  });

  describe('a wss listener with a self-signed certificate', () => {
    let other: Participant;
    let there: string;
    before(async () => {
      other = start(['listen', '/ip4/127.0.0.1/tcp/0/tls/ws']);
      [there = ''] = await other.waitFor(/\S+\/p2p\/\S+/);
    });
    after(() => other?.dispose());
    const untrusted =
      /its TLS certificate is not trusted: self-signed certificate; -k \(--insecure\) /;

    test('is refused, and how to accept it is said', HANG, async () => {
      const outcome = await run(['ping', '-c', '1', there]);
      assertFailed(outcome, 1, untrusted);
      assert.doesNotMatch(outcome.stderr, /--use-system-ca|Node\.js/);
      assertFailed(await run(['perf', '--to', there]), 1, untrusted);
    });

    test('is refused among several addresses, too', HANG, async () => {
      const dead = there.replace(/\/tcp\/\d+\/tls\/ws/, '/tcp/9');
      const outcome = await run(['ping', '-c', '1', dead, there]);
      assertFailed(outcome, 1, /every address failed: .*; -k \(--insecure\) accepts it$/m);
    });

    test('is accepted with -k', HANG, async () => {
      const { code, stdout, stderr } = await run(['ping', '-c', '1', '-k', there]);
      assert.deepEqual([code, stderr], [0, '']);
      assert.match(stdout, /: wss\/noise\/yamux, connected in /);
    });

    test('must still be the peer that was dialled', HANG, async () => {
      const wrong = there.replace(/12D3\w+/, ID);
      assertFailed(await run(['ping', '-c', '1', '--insecure', wrong]), 1, new RegExp(ID));
    });
  });

  test('the time of a dial is not that of loading modules', { timeout: 180_000 }, async (t) => {
    const wanted = ['/udp/0/quic-v1', '/tcp/0', '/tcp/0/ws', '/tcp/0/tls/ws'];
    const other = startFor(t, ['listen', '--perf', ...wanted.map((it) => `/ip4/127.0.0.1${it}`)]);
    await other.waitFor(/(.+\n){4}/);
    const sources = new URL('../../src/cli.ts', import.meta.url).href;
    // The sources, since a bundle is loaded at once, and another node's hooks may differ.
    const main = `process.argv.splice(1, 0, ''); (await import('${sources}')).main(process.argv.slice(2))`;
    const hook = new URL('../support/log-loads.mjs', import.meta.url).href;
    const node = [process.execPath, '--import', hook, '--input-type=module', '-e', main, '--'];
    const there = other.stdout().trimEnd().split('\n');
    for (const args of [
      ...there.map((each) => ['ping', '-c', '1', '-k', each]),
      ['perf', '-k', '--upload', '1', '--to', there.at(-1) ?? ''],
    ]) {
      const { code, stderr } = await run([...args, '--debug'], {}, node);
      assert.equal(code, 0, stderr);
      assert.match(stderr, /^loads file:/m);
      const dial = /^\S+ dial:start [\s\S]*?^\S+ connection:open /m.exec(stderr)?.[0] ?? '';
      assert.notEqual(dial, '');
      assert.doesNotMatch(dial, /^loads /m, args.join(' '));
    }
  });

  test('SIGTERM ends the listener with 0', HANG, async () => {
    listener.kill('SIGTERM');
    const { code, signal } = await listener.ended;
    assert.deepEqual([code, signal], [0, null]);
  });
});

test('min, avg, max and mdev', () => {
  assert.deepEqual(statistics([1, 2, 3, 6]), {
    minMs: 1,
    avgMs: 3,
    maxMs: 6,
    mdevMs: Math.sqrt(3.5),
  });
  assert.equal(statistics([]), undefined);
});
