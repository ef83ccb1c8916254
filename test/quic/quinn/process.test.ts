/** quinn's network thread beside Node: workers, instances, the end of a process, panics. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import test, { describe, type TestContext } from 'node:test';
import { Worker } from 'node:worker_threads';
import { whyNoQuinn } from '../../support/engines.ts';

const OPTIONS = { timeout: 60_000, skip: whyNoQuinn ?? false };
const moduleUrl = (file: string): string => JSON.stringify(new URL(file, import.meta.url).href);

/** Defines `engine`, `options`, `listen()` and `echoes(connection)`. */
const PRELUDE = `
  const { quinnEngine } = await import(${moduleUrl('../../../src/quic/quinn/engine.ts')});
  const { issueTestCredentials } = await import(${moduleUrl('../../support/quic-credentials.ts')});
  const { echo, readAll } = await import(${moduleUrl('../../support/quic-helpers.ts')});
  const engine = await quinnEngine();
  const options = { credentials: await issueTestCredentials('x'), authenticate() {} };
  const serve = async (connection) => {
    for (;;) {
      const stream = await connection.acceptStream();
      if (stream === null) return;
      echo(stream).catch(() => {});
    }
  };
  const listen = () =>
    engine.listen({ ...options, address: { host: '127.0.0.1', port: 0 }, onConnection: serve });
  const echoes = async (connection) => {
    const stream = await connection.openStream();
    stream.write(Buffer.from('hello'));
    stream.closeWrite();
    return (await readAll(stream)).toString();
  };
`;

interface Outcome {
  readonly code: number | null;
  readonly signal: string | null;
  readonly out: string;
}

/** Runs an ES module given as text, after the prelude, in a process of its own. */
const run = async (t: TestContext, source: string): Promise<Outcome> => {
  const child = spawn(
    process.execPath,
    [...process.execArgv, '--no-warnings', '--input-type=module', '--eval', PRELUDE + source],
    { stdio: ['ignore', 'pipe', 'ignore'] },
  );
  t.after(() => child.kill('SIGKILL'));
  let out = '';
  child.stdout.setEncoding('utf8').on('data', (data: string) => {
    out += data;
  });
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  return { code, signal, out: out.trim() };
};

describe('quinn in a process', () => {
  test('ends by itself when all is closed', OPTIONS, async (t) => {
    const outcome = await run(
      t,
      `const listener = await listen();
       const connection = await engine.dial(listener.address, options);
       console.log(await echoes(connection));
       await connection.close();
       await listener.close();`,
    );
    assert.deepEqual(outcome, { code: 0, signal: null, out: 'hello' });
  });

  test(
    'ends by itself when nothing was ever opened, and after a failed dial',
    OPTIONS,
    async (t) => {
      assert.deepEqual(await run(t, ''), { code: 0, signal: null, out: '' });
      const outcome = await run(
        t,
        `const limits = { handshakeTimeout: 100 };
       await engine.dial({ host: '127.0.0.1', port: 9 }, { ...options, limits })
         .catch((error) => console.log(error.code));`,
      );
      assert.deepEqual(outcome, { code: 0, signal: null, out: 'ERR_TIMEOUT' });
    },
  );

  test('lives as long as a listener or a dialled connection is open', OPTIONS, async (t) => {
    const outcome = await run(
      t,
      `const listener = await listen();
       const connection = await engine.dial(listener.address, options);
       // A timer that holds nothing: it fires only if something else keeps the process.
       setTimeout(async () => {
         console.log(await echoes(connection));
         await listener.close();
         await connection.closed;
         console.log('closed');
       }, 200).unref();`,
    );
    assert.deepEqual(outcome, { code: 0, signal: null, out: 'hello\nclosed' });
  });

  test('process.exit() ends it in the middle of everything', OPTIONS, async (t) => {
    const outcome = await run(
      t,
      `const listener = await listen();
       const connections = await Promise.all(
         Array.from({ length: 20 }, () => engine.dial(listener.address, options)));
       for (const connection of connections) {
         const stream = await connection.openStream();
         for (let i = 0; i < 50; i++) stream.write(Buffer.alloc(100_000));
         stream.read().catch(() => {});
       }
       engine.dial({ host: '127.0.0.1', port: 9 }, options).catch(() => {});
       setTimeout(() => process.exit(7), 50);`,
    );
    assert.deepEqual(outcome, { code: 7, signal: null, out: '' });
  });

  test('a panic is an error of one call, or of one task', OPTIONS, async (t) => {
    const outcome = await run(
      t,
      `const { quinnDriver } = await import(${moduleUrl('../../../src/quic/quinn/driver.ts')});
       const { native, engine: number } = quinnDriver();
       try {
         native.panicForTest(number, false);
       } catch (error) {
         console.log(error.message);
       }
       native.panicForTest(number, true);
       const listener = await listen();
       const connection = await engine.dial(listener.address, options);
       console.log(await echoes(connection));
       await connection.close();
       await listener.close();`,
    );
    assert.deepEqual(outcome, { code: 0, signal: null, out: 'a panic for a test\nhello' });
  });

  test('several instances share nothing that matters', OPTIONS, async (t) => {
    const outcome = await run(
      t,
      `const again = ${moduleUrl('../../../src/quic/quinn/engine.ts?again')};
       const driverAgain = ${moduleUrl('../../../src/quic/quinn/driver.ts')};
       const other = await (await import(again)).quinnEngine();
       const { native } = (await import(driverAgain)).quinnDriver();
       // A second engine in this thread, as a second copy of this library would start it.
       const number = native.start(() => {});
       const listener = await listen();
       console.log(number, await echoes(await other.dial(listener.address, options)));
       await listener.close();`,
    );
    assert.deepEqual(outcome, { code: 0, signal: null, out: '1 hello' });
  });

  test('worker threads have engines of their own, and may end at any time', OPTIONS, async () => {
    const source = `(async () => {
      const { parentPort, workerData } = require('node:worker_threads');
      ${PRELUDE}
      const listener = await listen();
      if (workerData === 'close') {
        const connection = await engine.dial(listener.address, options);
        parentPort.postMessage(await echoes(connection));
        await connection.close();
        await listener.close();
      } else {
        for (;;) {
          const connection = await engine.dial(listener.address, options);
          const stream = await connection.openStream();
          for (let i = 0; i < 20; i++) stream.write(Buffer.alloc(100_000));
          echoes(connection).catch(() => {});
          parentPort.postMessage('busy');
        }
      }
    })();`;
    const start = (how: string): Worker => new Worker(source, { eval: true, workerData: how });
    for (let round = 0; round < 5; round++) {
      const closing = [start('close'), start('close')];
      const busy = [start('busy'), start('busy')];
      const ends = closing.map(async (worker) => {
        const exit = once(worker, 'exit');
        assert.deepEqual(await once(worker, 'message'), ['hello']);
        assert.deepEqual(await exit, [0]);
      });
      for (const worker of busy) {
        await once(worker, 'message');
        assert.equal(await worker.terminate(), 1);
      }
      await Promise.all(ends);
    }
  });
});
