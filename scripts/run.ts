/**
 * `make run`: a listener and a dialer, two processes, meet over a real Redis and ping over QUIC, once in
 * each harness dialect. Prints what each printed, and what it means.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { createProgram } from '../interop/command-line.ts';
import { startRedis } from '../interop/redis-server.ts';
import { messageOf } from '../src/errors.ts';

type Dialect = 'unified' | 'legacy';

const LAUNCHER = fileURLToPath(new URL('../bin/libp2p-lean', import.meta.url));
/** For each role, s. Either role ends by itself after it. */
const TIMEOUT = 30;
/** What a role inherits of our environment. */
const INHERITED = ['PATH', 'HOME', 'QUIC_ENGINE', 'NODE_QUIC', 'DEBUG'];

const children = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});
for (const name of ['SIGINT', 'SIGTERM']) process.on(name, () => process.exit(1));

const environmentOf = (
  dialect: Dialect,
  isDialer: boolean,
  redis: string,
): Readonly<Record<string, string>> =>
  dialect === 'unified'
    ? {
        IS_DIALER: String(isDialer),
        TRANSPORT: 'quic-v1',
        LISTENER_IP: '0.0.0.0',
        REDIS_ADDR: redis,
        TEST_KEY: 'a5b50d5e',
        TEST_TIMEOUT_SECS: String(TIMEOUT),
      }
    : {
        is_dialer: String(isDialer),
        transport: 'quic-v1',
        ip: '0.0.0.0',
        redis_addr: redis,
        test_timeout_seconds: String(TIMEOUT),
      };

/** Resolves with stdout and the exit code when it has ended. */
const startRole = (dialect: Dialect, isDialer: boolean, redis: string) => {
  const inherited = INHERITED.flatMap((name) => {
    const value = process.env[name];
    return value ? [[name, value] as const] : [];
  });
  const child = spawn(LAUNCHER, {
    env: { ...Object.fromEntries(inherited), ...environmentOf(dialect, isDialer, redis) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.add(child);
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
  });
  const ended = once(child, 'close').then(([code]: (number | null)[]) => {
    children.delete(child);
    return { code: code ?? null, stdout };
  });
  return { child, ended };
};

const runTest = async (dialect: Dialect, redis: string): Promise<boolean> => {
  const listener = startRole(dialect, false, redis);
  const dialer = await startRole(dialect, true, redis).ended;
  listener.child.kill('SIGTERM');
  const { code } = await listener.ended;
  console.log(`  dialer (exit code ${dialer.code}):`);
  console.log(dialer.stdout.trimEnd().replace(/^/gm, '    '));
  console.log(`  listener, ended by SIGTERM (exit code ${code})\n`);
  return dialer.code === 0 && code === 0;
};

const DIALECTS: readonly (readonly [Dialect, string])[] = [
  ['unified', 'libp2p/unified-testing: upper-case variables, YAML'],
  ['legacy', 'libp2p/test-plans: lower-case variables, JSON'],
];

createProgram('run', 'A listener and a dialer ping over QUIC, in both harness dialects.').parse();
try {
  const redis = await startRedis();
  console.log(`Redis runs on ${redis.address}.\n`);
  let passed = true;
  for (const [dialect, description] of DIALECTS) {
    console.log(description);
    console.log('  A listener published its address in Redis; a dialer fetched it, dialled over');
    console.log('  QUIC, and measured dial to first ping answered, then one more ping (ms).');
    passed = (await runTest(dialect, redis.address)) && passed;
  }
  console.log(passed ? 'Both dialects passed.' : 'A test failed.');
  if (passed) {
    console.error(
      'Next: `make interop` meets go-, rust-, js- and py-libp2p; `make help` lists the rest.',
    );
  }
  process.exit(passed ? 0 : 1);
} catch (error) {
  console.error(messageOf(error));
  process.exit(1);
}
