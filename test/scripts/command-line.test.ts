/** The programs of interop/, bench/, fuzz/ and scripts/: their usage, and what a wrong flag ends with. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { run } from '../support/participant.ts';
import { SUITE } from '../support/suite-limit.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

const PROGRAMS = [
  ...[
    'exchanges',
    'hostile-memory',
    'idle-dialers',
    'js-libp2p',
    'long-run',
    'perf',
    'profile',
  ].map((name) => `bench/${name}.ts`),
  ...['raw-sockets', 'round-trips', 'run', 'soak', 'tcp-scale-peer', 'ten-gib'].map(
    (name) => `bench/${name}.ts`,
  ),
  ...['gossipsub', 'kad-dht', 'matrix', 'nat'].map((name) => `interop/${name}.ts`),
  ...['hostile/main', 'nat/probe-all', 'upstream/check'].map((name) => `interop/${name}.ts`),
  ...['api-docs', 'build', 'complete-lock', 'docker', 'install', 'redis', 'release'].map(
    (name) => `scripts/${name}.mjs`,
  ),
  'fuzz/fuzz.ts',
  'scripts/run.ts',
];

/** Without warnings of Node.js, which are not the program's. */
const started = (program: string, ...args: string[]) =>
  run(args, {}, [process.execPath, '--no-warnings', `${ROOT}${program}`]);

describe('a program of this checkout', { ...SUITE, concurrency: 2 }, () => {
  for (const program of PROGRAMS) {
    test(`${program}: an unknown option is one line, and exit code 2`, async () => {
      const { code, stdout, stderr } = await started(program, '--frobnicate');
      assert.deepEqual([code, stdout], [2, '']);
      assert.match(stderr, /^[\w -]+: [^\n]*--frobnicate[^\n]*\(--help says more\)\n$/);
    });
  }

  for (const program of ['bench/perf.ts', 'interop/matrix.ts', 'scripts/docker.mjs']) {
    test(`${program} --help prints its usage`, async () => {
      const { code, stdout, stderr } = await started(program, '--help');
      assert.deepEqual([code, stderr], [0, '']);
      assert.match(stdout, /^Usage:\s+\S/);
    });
  }

  for (const [program, args, message] of [
    ['bench/perf.ts', ['--rounds', '1e1'], /--rounds .*whole number from 1 to 1000/],
    ['bench/perf.ts', ['--transport', 'tcp,sctp'], /There is no sctp; .*quic-v1, tcp/],
    ['bench/run.ts', ['tcp', 'udp'], /There is no udp; .*start-up/],
    ['bench/long-run.ts', ['--minutes', '-1'], /number above 0/],
    ['fuzz/fuzz.ts', ['nothing'], /There is no nothing; .*yamux/],
    ['interop/gossipsub.ts', ['--compositions', 'go+perl'], /There is no perl; .*lean, go, rust/],
    ['interop/hostile/main.ts', ['--attacks', 'none'], /There is no none; .*quic-half-open/],
    ['scripts/docker.mjs', ['frob'], /one of build, test, measure/],
    ['scripts/install.mjs', ['now'], /unexpected argument 'now'/],
  ] as const) {
    test(`${program} ${args.join(' ')}: one line, and exit code 2`, async () => {
      const { code, stdout, stderr } = await started(program, ...args);
      assert.deepEqual([code, stdout], [2, '']);
      assert.match(stderr, /^[^\n]+\n$/);
      assert.match(stderr, message);
    });
  }
});
