/** The perf participant as the suite sees it: real processes, real Redis, real transports. */

import assert from 'node:assert/strict';
import { after, before, describe, type TestContext, test } from 'node:test';
import { parse } from 'yaml';
import { noRedis, type RedisServer, startRedis } from '../../interop/redis-server.ts';
import { createNode } from '../../src/node/node.ts';
import { handlePerf, PERF } from '../../src/protocols/perf.ts';
import { readExactly } from '../../src/stream/bytes.ts';
import { whyNoQuinn } from '../support/engines.ts';
import { longEnough } from '../support/long-enough.ts';
import { type Outcome, type Participant, start, type Variables } from '../support/participant.ts';
import { SUITE } from '../support/suite-limit.ts';

const HANG = { timeout: 240_000 };
const MiB = 2 ** 20;

/** What the matrix can ask for here: all engines where this machine has them, and one TCP stack. */
const QUIC = (engine: string): Variables => ({ TRANSPORT: 'quic-v1', QUIC_ENGINE: engine });
const STACKS: readonly (readonly [name: string, variables: Variables, skip: string | false])[] = [
  ['quinn', QUIC('quinn'), whyNoQuinn ?? false],
  ['quiche', QUIC('quiche'), false],
  [
    'node:quic',
    { ...QUIC('node'), NODE_QUIC: process.env.NODE_QUIC ?? '' },
    process.env.NODE_QUIC ? false : 'NODE_QUIC is not set',
  ],
  ['tcp', { TRANSPORT: 'tcp', SECURE_CHANNEL: 'noise', MUXER: 'yamux' }, false],
];

const FEW: Variables = {
  UPLOAD_ITERATIONS: '1',
  DOWNLOAD_ITERATIONS: '1',
  LATENCY_ITERATIONS: '1',
};

// One for each process that runs.
process.setMaxListeners(0);

let lastKey = 0;
const freshKey = (): string => `perf${++lastKey}`;

interface Report {
  readonly iterations: number;
  readonly min: number;
  readonly samples: readonly number[];
  readonly unit: string;
}

const reportOf = ({ code, stdout, stderr }: Outcome): Record<string, Report> => {
  assert.equal(code, 0, stderr);
  return parse(stdout);
};

const assertFailed = (outcome: Outcome, code: number, message: RegExp): void => {
  assert.match(outcome.stderr, /^libp2p-lean: [^\n]+\n$/);
  assert.match(outcome.stderr, message);
  assert.equal(outcome.stdout, '');
  assert.deepEqual([outcome.code, outcome.signal], [code, null]);
};

describe('perf test', { skip: noRedis, ...SUITE }, () => {
  let redis: RedisServer;
  before(async () => {
    redis = await startRedis();
  });
  after(() => redis?.stop());

  const startFor = (
    t: TestContext,
    role: 'listener' | 'dialer',
    key: string,
    variables: Variables,
    args: readonly string[] = ['perf'],
  ): Participant => {
    const participant = start(args, {
      IS_DIALER: String(role === 'dialer'),
      LISTENER_IP: '127.0.0.1',
      REDIS_ADDR: redis.address,
      TEST_KEY: key,
      TEST_TIMEOUT_SECS: '90',
      ...variables,
    });
    t.after(() => participant.dispose());
    return participant;
  };

  for (const [name, stack, skip] of STACKS) {
    describe(name, { skip }, () => {
      test('a dialer reports what a listener counted', HANG, async (t) => {
        const key = freshKey();
        const listener = startFor(t, 'listener', key, { ...stack, DEBUG: 'true' });
        const amounts = { UPLOAD_BYTES: String(3 * MiB + 7), DOWNLOAD_BYTES: String(5 * MiB + 1) };
        const often = {
          UPLOAD_ITERATIONS: '2',
          DOWNLOAD_ITERATIONS: '3',
          LATENCY_ITERATIONS: '5',
          DURATION: '20',
        };
        const dialer = startFor(t, 'dialer', key, { ...stack, ...amounts, ...often });
        const outcome = await dialer.ended;
        assert.equal(outcome.stderr, '');
        const { upload, download, latency } = reportOf(outcome);
        assert.deepEqual(
          [upload, download, latency].map((it) => [it?.iterations, it?.samples.length, it?.unit]),
          [
            [2, 2, 'Gbps'],
            [3, 3, 'Gbps'],
            [5, 5, 'ms'],
          ],
        );
        assert(Number(upload?.min) > 0 && Number(download?.min) > 0 && Number(latency?.min) > 0);

        await listener.waitFor(/connection:close/, 'stderr');
        listener.kill('SIGTERM');
        const ended = await listener.ended;
        assert.deepEqual([ended.code, ended.stdout], [0, '']);
        const served = [...ended.stderr.matchAll(/ served .* uploaded=(\d+) downloaded=(\d+)/g)];
        // The first request asks how the listener is to be asked.
        assert.deepEqual(
          served.slice(1).map(([, up, down]) => [Number(up), Number(down)]),
          [
            ...Array(2).fill([3 * MiB + 7, 0]),
            ...Array(3).fill([0, 5 * MiB + 1]),
            ...Array(5).fill([1, 1]),
          ],
        );
      });

      test('0 bytes and 1 byte are transfers too', HANG, async (t) => {
        const key = freshKey();
        startFor(t, 'listener', key, stack);
        for (const bytes of ['0', '1']) {
          const amounts = { UPLOAD_BYTES: bytes, DOWNLOAD_BYTES: bytes };
          // A listener serves one dialer after the other.
          const dialer = startFor(t, 'dialer', key, { ...stack, ...FEW, ...amounts });
          const { upload, download } = reportOf(await dialer.ended);
          assert.deepEqual(upload?.samples, [0]);
          assert.deepEqual(download?.samples, [0]);
        }
      });

      test('SIGTERM in a transfer ends either role in good order', HANG, async (t) => {
        const key = freshKey();
        const listener = startFor(t, 'listener', key, { ...stack, DEBUG: 'true' });
        const endless = { ...stack, ...FEW, UPLOAD_BYTES: String(2 ** 40) };
        const dialer = startFor(t, 'dialer', key, endless);
        await listener.waitFor(/(stream:open [^\n]*\/perf\/1.0.0[\s\S]*){2}/, 'stderr');
        dialer.kill('SIGTERM');
        const { code, stdout, stderr } = await dialer.ended;
        assert.deepEqual([code, stdout], [1, '']);
        // Nothing, where closing took all of the 100 ms that a signal leaves.
        assert.match(stderr, /^(libp2p-lean: ended by SIGTERM, upload 1 of 1\n)?$/);
        await listener.waitFor(/connection:close/, 'stderr');
        const second = startFor(t, 'dialer', key, endless);
        await listener.waitFor(/(stream:open [^\n]*\/perf\/1.0.0[\s\S]*){4}/, 'stderr');
        listener.kill('SIGINT');
        assert.deepEqual([(await listener.ended).code, listener.stdout()], [0, '']);
        assertFailed(await second.ended, 1, /upload 1 of 1: /);
      });
    });
  }

  // All at the same time, since QUIC takes its time to call silence a failure.
  describe('a listener killed', { concurrency: true }, () => {
    for (const [name, stack, skip] of STACKS) {
      for (const direction of ['UPLOAD', 'DOWNLOAD'] as const) {
        test(`${name}, ${direction}: 1, and one line`, { ...HANG, skip }, async (t) => {
          const key = freshKey();
          const listener = startFor(t, 'listener', key, { ...stack, DEBUG: 'true' });
          const amounts = { UPLOAD_BYTES: '1', DOWNLOAD_BYTES: '1' };
          const dialer = startFor(t, 'dialer', key, {
            ...stack,
            ...FEW,
            ...amounts,
            [`${direction}_BYTES`]: String(2 ** 40),
          });
          // The first request, and one byte up before a download.
          const begun = direction === 'UPLOAD' ? 2 : 3;
          await listener.waitFor(
            new RegExp(`(stream:open [^\\n]*/perf/1.0.0[\\s\\S]*){${begun}}`),
            'stderr',
          );
          listener.kill('SIGKILL');
          const step = direction.toLowerCase();
          assertFailed(await dialer.ended, 1, new RegExp(`: ${step} 1 of 1: `));
        });
      }
    }
  });

  test('the address is a string in Redis, over whatever was there', HANG, async (t) => {
    const key = freshKey();
    await redis.send('RPUSH', `${key}_listener_multiaddr`, 'old');
    const listener = startFor(t, 'listener', key, { ...QUIC('quiche'), DEBUG: 'true' });
    await listener.waitFor(/published /, 'stderr');
    const reply = await redis.send('GET', `${key}_listener_multiaddr`);
    assert.match(reply, /\r\n\/ip4\/127\.0\.0\.1\/udp\/\d+\/quic-v1\/p2p\/12D3KooW\w+\r\n$/);
  });

  test('without a command, the perf suite’s variables select it', HANG, async (t) => {
    const key = freshKey();
    const listener = startFor(t, 'listener', key, QUIC('quiche'));
    const amounts = { UPLOAD_BYTES: '10', DOWNLOAD_BYTES: 'null', DOWNLOAD_ITERATIONS: '' };
    const variables = { ...QUIC('quiche'), ...FEW, ...amounts, DOWNLOAD_BYTES: '10' };
    const dialer = startFor(t, 'dialer', key, variables, []);
    assert.deepEqual(Object.keys(reportOf(await dialer.ended)), ['upload', 'download', 'latency']);
    listener.kill('SIGTERM');
    await listener.ended;
  });

  describe('a dialer before other listeners', () => {
    /** A listener of our own making, published as `command` does. */
    const listen = async (
      t: TestContext,
      command: 'SET' | 'RPUSH',
      handler: Parameters<Awaited<ReturnType<typeof createNode>>['handle']>[1] | undefined,
    ): Promise<string> => {
      const key = freshKey();
      const node = await createNode();
      t.after(() => node.close());
      if (handler !== undefined) node.handle(PERF, handler);
      const address = (await node.listen('/ip4/127.0.0.1/udp/0/quic-v1')).address;
      await redis.send(command, `${key}_listener_multiaddr`, String(address));
      return key;
    };
    const dial = (t: TestContext, key: string): Promise<Outcome> => {
      const amounts = { UPLOAD_BYTES: '100000', DOWNLOAD_BYTES: '200000' };
      return startFor(t, 'dialer', key, { ...QUIC('quiche'), ...FEW, ...amounts }).ended;
    };

    for (const command of ['SET', 'RPUSH'] as const) {
      test(`takes what was ${command}, and asks as the spec says`, HANG, async (t) => {
        const served: unknown[] = [];
        const key = await listen(t, command, async (stream) => {
          served.push(await handlePerf(stream));
        });
        reportOf(await dial(t, key));
        assert.deepEqual(served.slice(1), [
          { uploaded: 100_000, downloaded: 0 },
          { uploaded: 0, downloaded: 200_000 },
          { uploaded: 1, downloaded: 1 },
        ]);
      });
    }

    test('asks rust’s and dotnet’s with two counts', HANG, async (t) => {
      const served: [number, number][] = [];
      const key = await listen(t, 'SET', async (stream) => {
        const counts = Buffer.from(await readExactly(stream, 16));
        const [up, down] = [counts.readBigUInt64BE(0), counts.readBigUInt64BE(8)].map(Number);
        if (up) await readExactly(stream, up);
        if (down) stream.write(new Uint8Array(down));
        served.push([up ?? 0, down ?? 0]);
      });
      reportOf(await dial(t, key));
      assert.deepEqual(served.slice(1), [
        [100_000, 0],
        [0, 200_000],
        [1, 1],
      ]);
    });

    test('fails on one that does not serve perf', HANG, async (t) => {
      const key = await listen(t, 'SET', undefined);
      assertFailed(await dial(t, key), 1, /the first request: .*\/perf\/1\.0\.0/);
    });

    test('fails on one that sends too little', HANG, async (t) => {
      let transfers = 0;
      const key = await listen(t, 'SET', async (stream) => {
        if (transfers++ < 2) await handlePerf(stream);
        else stream.write(new Uint8Array(199_999));
      });
      assertFailed(await dial(t, key), 1, /download 1 of 1: .*199999 of 200000 bytes/);
    });

    test('fails on one that sends too much', HANG, async (t) => {
      let transfers = 0;
      const key = await listen(t, 'SET', async (stream) => {
        if (transfers++ < 2) await handlePerf(stream);
        else stream.write(new Uint8Array(200_001));
      });
      assertFailed(await dial(t, key), 1, /download 1 of 1: .*more than the 200000 bytes/);
    });
  });

  test('nobody publishes: 1 within the timeout', HANG, async (t) => {
    await longEnough([4, 20], async (seconds) => {
      const timeout = { ...QUIC('quiche'), TEST_TIMEOUT_SECS: `${seconds}` };
      const dialer = startFor(t, 'dialer', freshKey(), timeout);
      const waited = new RegExp(`took longer than ${seconds}000 ms, waiting for perf`);
      assertFailed(await dialer.ended, 1, waited);
    });
  });

  for (const [name, value, code] of [
    ['UPLOAD_BYTES', 'lots', 2],
    ['TEST_KEY', '', 2],
    ['TRANSPORT', 'webrtc-direct', 127],
  ] as const) {
    test(`${name}=${value}: ${code}`, HANG, async (t) => {
      const dialer = startFor(t, 'dialer', freshKey(), { ...QUIC('quiche'), [name]: value });
      assertFailed(await dialer.ended, code, new RegExp(name === 'TRANSPORT' ? value : name));
    });
  }
});
