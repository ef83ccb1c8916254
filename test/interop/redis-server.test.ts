/** The starter of redis-server that tests, benchmarks, the matrix and `make run` share. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { noRedis, sendCommand, startRedis } from '../../interop/redis-server.ts';
import { SUITE } from '../support/suite-limit.ts';

const MODULE = fileURLToPath(new URL('../../interop/redis-server.ts', import.meta.url));

describe('redis-server', { skip: noRedis, ...SUITE }, () => {
  it('answers, writes its log, and is gone when it was stopped', async (test) => {
    const folder = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-redis-'));
    test.after(() => rmSync(folder, { recursive: true }));
    const log = path.join(folder, 'redis.log');
    const redis = await startRedis({ log });
    assert.equal(redis.address, `127.0.0.1:${redis.port}`);
    assert.equal(await redis.send('SET', 'key', 'välue'), '+OK\r\n');
    assert.equal(await redis.send('GET', 'key'), '$6\r\nvälue\r\n');
    while (!/ready to accept connections/i.test(readFileSync(log, 'utf8')))
      await redis.send('PING');
    await redis.stop();
    await redis.stop();
    await assert.rejects(redis.send('PING'), { code: 'ECONNREFUSED' });
  });

  it('a command that is waiting when it is stopped fails', async () => {
    const redis = await startRedis();
    const waiting = assert.rejects(
      redis.send('BLPOP', 'key', '60'),
      /without an answer|ECONNRESET/,
    );
    // Once this is answered, Redis has had time to take the command above.
    while (!(await redis.send('CLIENT', 'LIST')).includes('cmd=blpop'));
    await redis.stop();
    await waiting;
  });

  it('says how it ended when nobody stopped it', async () => {
    const redis = await startRedis();
    await redis.send('SHUTDOWN', 'NOSAVE').catch(() => undefined);
    assert.equal(await redis.lost, 'exit code 0');
    await redis.stop();
  });

  it('a port that is taken, and an argument that it does not know, are one line', async (test) => {
    const holder = createServer().listen(0, '127.0.0.1');
    test.after(() => holder.close());
    await once(holder, 'listening');
    const address = holder.address();
    assert.ok(typeof address === 'object' && address !== null);
    const taken = /^Error: redis-server did not come up: exit code 1: .*Failed listening[^\n]*$/;
    await assert.rejects(startRedis({ port: address.port }), taken);
    const unknown = /^Error: redis-server did not come up: exit code 1: [^\n]+$/;
    await assert.rejects(startRedis({ args: ['--no-such-option', '1'] }), unknown);
  });

  it('ends with the process that started it', async () => {
    const script = `import { startRedis } from ${JSON.stringify(MODULE)};
      console.log((await startRedis({ detached: true })).port);
      process.stdin.once('data', () => process.exit(3));`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const closed = once(child, 'close');
    const [line] = await once(createInterface({ input: child.stdout }), 'line');
    assert.equal(await sendCommand(Number(line), ['PING']), '+PONG\r\n');
    child.stdin.write('end\n');
    assert.deepEqual(await closed, [3, null]);
    while (await isListening(Number(line)));
  });
});

const isListening = (port: number): Promise<boolean> =>
  sendCommand(port, ['PING']).then(
    () => true,
    () => false,
  );
