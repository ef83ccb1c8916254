/**
 * The images, as the matrices run them: listener, dialer and Redis are three containers on a private
 * network. `make docker-test` builds the images and runs this; `make test` does not.
 */

import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { createNetwork, docker, type Outcome, tryDocker, type Variables } from './docker.ts';

const IMAGES = { quinn: 'libp2p-lean', 'node-quic': 'libp2p-lean:node-quic' } as const;
type ImageName = keyof typeof IMAGES;
const NAMES = Object.keys(IMAGES) as ImageName[];

const TEST_KEY = 'a5b50d5e';

interface Dialect {
  readonly key: string;
  variables(isDialer: boolean): Variables;
  /** All that the dialer may print. */
  readonly report: RegExp;
}

const DIALECTS: Readonly<Record<'unified' | 'legacy', Dialect>> = {
  unified: {
    key: `${TEST_KEY}_listener_multiaddr`,
    variables: (isDialer) => ({
      IS_DIALER: String(isDialer),
      TRANSPORT: 'quic-v1',
      LISTENER_IP: '0.0.0.0',
      REDIS_ADDR: 'redis:6379',
      TEST_KEY,
      TEST_TIMEOUT_SECS: '60',
    }),
    report:
      /^latency:\n {2}handshake_plus_one_rtt: (\d+(?:\.\d+)?)\n {2}ping_rtt: (\d+(?:\.\d+)?)\n {2}unit: ms\n$/,
  },
  // The defaults that test-plans leaves to its participants: redis_addr, ip.
  legacy: {
    key: 'listenerAddr',
    variables: (isDialer) => ({
      is_dialer: String(isDialer),
      transport: 'quic-v1',
      test_timeout_seconds: '60',
    }),
    report:
      /^\{"handshakePlusOneRTTMillis": (\d+(?:\.\d+)?), "pingRTTMilllis": (\d+(?:\.\d+)?)\}\n$/,
  },
};

const built = new Set<ImageName>();
for (const name of NAMES) {
  if ((await tryDocker('image', 'inspect', IMAGES[name])).code === 0) built.add(name);
}
const unlessBuilt = (...names: ImageName[]): { skip: string | false } => {
  const missing = names.find((name) => !built.has(name));
  return { skip: missing === undefined ? false : `the image ${IMAGES[missing]} is not built` };
};

const checkReport = ({ code, stdout, stderr }: Outcome, report: RegExp): void => {
  assert.equal(stderr, '');
  assert.match(stdout, report);
  const [, handshakePlusOneRtt, pingRtt] = report.exec(stdout) ?? [];
  assert.ok(Number(pingRtt) > 0);
  assert.ok(Number(handshakePlusOneRtt) > 0);
  assert.equal(code, 0);
};

/** A SIGTERM that does nothing ends as 137, `docker stop`'s SIGKILL: it gets this long, s. */
const GRACE = 2;

it('the build left no stage behind', async () => {
  const stages = ['--filter=dangling=true', '--filter=label=libp2p-lean.stage'];
  assert.equal(await docker('image', 'ls', '--quiet', ...stages), '');
});

const SILENT: Outcome = { code: 0, stdout: '', stderr: '' };

describe('listener, dialer and Redis in containers', () => {
  for (const listenerImage of NAMES) {
    for (const dialerImage of NAMES) {
      for (const [dialectName, { key, variables, report }] of Object.entries(DIALECTS)) {
        const name = `${dialectName}: ${dialerImage} dials ${listenerImage}`;
        it(name, unlessBuilt(listenerImage, dialerImage), async (test) => {
          const network = await createNetwork(test);
          const redis = await network.startRedis();
          const listener = await network.start('listener', IMAGES[listenerImage], variables(false));

          const published = await redis.waitForList(key);
          const address = await listener.address('ip4');
          assert.equal(published.length, 1);
          assert.match(published[0] ?? '', addressPattern('ip4', address));
          assert.deepEqual(await userIdsOf(listener.id), ['1000']);

          checkReport(await network.run('dialer', IMAGES[dialerImage], variables(true)), report);

          const start = performance.now();
          assert.deepEqual(await listener.stop(GRACE), SILENT);
          test.diagnostic(`docker stop: ${(performance.now() - start).toFixed(0)} ms`);
        });
      }
    }
  }
});

const addressPattern = (family: 'ip4' | 'ip6', address: string): RegExp =>
  new RegExp(
    `^/${family}/${address.replaceAll('.', '\\.')}/udp/[1-9]\\d*/quic-v1/p2p/12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$`,
  );

/** Of every process in the container, as the host sees them. */
const userIdsOf = async (container: string): Promise<string[]> => {
  const [, ...lines] = (await docker('top', container, '-eo', 'uid,pid')).split('\n');
  return lines.map((line) => line.trim().split(/\s+/)[0] ?? '');
};

/** unified-testing's kad-dht suite: three containers and Redis, as its compose file has them. */
const KAD_DHT = 'libp2p-lean:kad-dht';
const hasKadDht = (await tryDocker('image', 'inspect', KAD_DHT)).code === 0;
const skipKadDht = hasKadDht ? false : `the image ${KAD_DHT} is not built`;

describe('bootstrap, provider, querier and Redis in containers', { skip: skipKadDht }, () => {
  it('the querier finds what the provider announced and stored', async (test) => {
    const network = await createNetwork(test);
    await network.startRedis();
    const roleOf = (ROLE: string): Variables => ({ ROLE, REDIS_ADDR: 'redis:6379', TEST_KEY });
    const bootstrap = await network.start('bootstrap', KAD_DHT, roleOf('bootstrap'));
    const provider = await network.start('provider', KAD_DHT, roleOf('provider'));
    const { code, stdout, stderr } = await network.run('querier', KAD_DHT, roleOf('querier'));
    assert.match(stdout, /^status: pass$/m, stderr);
    assert.equal(code, 0);
    assert.deepEqual(await userIdsOf(provider.id), ['1000']);
    await provider.stop(GRACE);
    await bootstrap.stop(GRACE);
  });
});

for (const imageName of NAMES) {
  const image = IMAGES[imageName];
  const { variables, key, report } = DIALECTS.unified;

  describe(`the image ${image}`, unlessBuilt(imageName), () => {
    it('starts in any order: dialer, listener, Redis', async (test) => {
      const network = await createNetwork(test);
      const dialer = await network.start('dialer', image, variables(true));
      const listener = await network.start('listener', image, variables(false));
      await network.startRedis();
      checkReport(await dialer.ended(), report);
      assert.deepEqual(await listener.stop(GRACE), SILENT);
    });

    it('runs TCP with Noise and yamux', async (test) => {
      const network = await createNetwork(test);
      await network.startRedis();
      const tcp = { TRANSPORT: 'tcp', SECURE_CHANNEL: 'noise', MUXER: 'yamux' };
      const listener = await network.start('listener', image, { ...variables(false), ...tcp });
      checkReport(await network.run('dialer', image, { ...variables(true), ...tcp }), report);
      assert.deepEqual(await listener.stop(GRACE), SILENT);
    });

    it('runs the perf suite, told by the environment alone', async (test) => {
      const network = await createNetwork(test);
      await network.startRedis();
      // The suite's Redis has this name; nothing else tells its listeners from the transport suite's.
      const perf = {
        REDIS_ADDR: 'perf-redis:6379',
        UPLOAD_BYTES: '1000000',
        DOWNLOAD_BYTES: '1000000',
      };
      const iterations = {
        UPLOAD_ITERATIONS: '2',
        DOWNLOAD_ITERATIONS: '2',
        LATENCY_ITERATIONS: '3',
      };
      const { REDIS_ADDR } = perf;
      const listener = await network.start('listener', image, { ...variables(false), REDIS_ADDR });
      const dialer = { ...variables(true), ...perf, ...iterations };
      const { code, stdout, stderr } = await network.run('dialer', image, dialer);
      assert.equal(stderr, '');
      const section = (name: string, count: number, unit: string): string =>
        `${name}:\\n  iterations: ${count}\\n(?:  (?:min|q1|median|q3|max): [\\d.]+\\n){5}` +
        `  outliers: \\[.*\\]\\n  samples: \\[.+\\]\\n  unit: ${unit}\\n`;
      const sections = section('upload', 2, 'Gbps') + section('download', 2, 'Gbps');
      assert.match(stdout, new RegExp(`^${sections}${section('latency', 3, 'ms')}$`));
      assert.equal(code, 0);
      assert.deepEqual(await listener.stop(GRACE), SILENT);
    });

    it('publishes and dials over IPv6', async (test) => {
      const network = await createIpv6Network(test);
      if (network === undefined) return;
      const redis = await network.startRedis();
      const ipv6 = { LISTENER_IP: '::' };
      const listener = await network.start('listener', image, { ...variables(false), ...ipv6 });
      const [published = ''] = await redis.waitForList(key);
      assert.match(published, addressPattern('ip6', await listener.address('ip6')));
      checkReport(await network.run('dialer', image, { ...variables(true), ...ipv6 }), report);
      assert.deepEqual(await listener.stop(GRACE), SILENT);
    });

    it('ends on SIGTERM while it waits for a listener', async (test) => {
      const network = await createNetwork(test);
      await network.startRedis();
      const dialer = await network.start('dialer', image, { ...variables(true), DEBUG: 'true' });
      await logged(dialer.id, /connected to Redis/);
      const { code, stdout } = await dialer.stop(GRACE);
      assert.deepEqual({ code, stdout }, { code: 1, stdout: '' });
    });

    it('runs the engine that it is for', async (test) => {
      const network = await createNetwork(test);
      await network.startRedis();
      const listener = await network.start('listener', image, {
        ...variables(false),
        DEBUG: 'true',
      });
      await logged(listener.id, /published/);
      const { stderr } = await listener.stop(GRACE);
      assert.match(stderr, imageName === 'quinn' ? /engine=quinn/ : /engine=node/);
      // The entry point passes the flags; the launcher has nothing to start again.
      assert.doesNotMatch(stderr, /launcher: using/);
    });

    it('says with its exit code what is wrong', async (test) => {
      const network = await createNetwork(test);
      for (const [code, wrong] of [
        [2, { IS_DIALER: 'perhaps' }],
        [2, { TEST_KEY: '' }],
        [127, { TRANSPORT: 'webtransport' }],
      ] as const) {
        const role = Object.keys(wrong)[0] ?? '';
        const outcome = await network.run(role, image, { ...variables(true), ...wrong });
        assert.equal(outcome.code, code);
        assert.equal(outcome.stdout, '');
        assert.match(outcome.stderr, /^libp2p-lean: .+\n$/);
      }
    });

    it('answers --version and --help', async () => {
      const version = await tryDocker('run', '--rm', '--network=none', image, '--version');
      assert.match(version.stdout, /^\d+\.\d+\.\d+\n$/);
      assert.equal(version.code, 0);
      const help = await docker('run', '--rm', '--network=none', image, '--help');
      assert.match(help, /transport.*listen.*ping/s);
    });

    it('reads its code from the caches that it brings, whoever runs it', async () => {
      const variables = {
        IS_DIALER: 'true',
        TRANSPORT: 'quic-v1',
        REDIS_ADDR: '127.0.0.1:1',
        TEST_KEY: 'cache',
        TEST_TIMEOUT_SECS: '1',
        DEBUG: 'true',
      };
      for (const user of ['1000', '4711']) {
        const { stderr, stdout } = await tryDocker(
          ...['run', '--rm', '--network=none', '--read-only', '--user', user],
          ...Object.entries(variables).flatMap(([name, value]) => ['--env', `${name}=${value}`]),
          image,
        );
        assert.match(`${stdout}${stderr}`, /launcher: code cache \/app\/dist\/\.compile-cache\//);
      }
    });

    it('holds what it needs and nothing else, owned by root: no shell, no other program', async () => {
      const node = imageName === 'quinn' ? '/usr/local/bin/node' : '/opt/node-quic/bin/node';
      const list = `
        const { readdirSync, statSync } = require('node:fs');
        const walk = (folder) => readdirSync(folder + '/', { withFileTypes: true }).flatMap((entry) => {
          const path = folder + '/' + entry.name;
          if (/^\\/(dev|proc|sys|\\.dockerenv)$/.test(path)) return [];
          return entry.isDirectory() ? walk(path) : entry.isFile() ? [path] : [];
        });
        const files = walk('');
        const foreign = files.filter((file) => statSync(file).uid !== 0 || statSync(file).mode & 0o022);
        const programs = files.filter((file) => statSync(file).mode & 0o111);
        console.log(JSON.stringify({ files, foreign, programs }));`;
      const { files, foreign, programs } = JSON.parse(
        await docker('run', '--rm', '--network=none', '--entrypoint', node, image, '-e', list),
      ) as Record<'files' | 'foreign' | 'programs', string[]>;
      assert.deepEqual(foreign, []);
      const isLibrary = (file: string): boolean => /\.so(\.\d+)*$|\.node$/.test(file);
      assert.deepEqual(
        programs.filter((file) => !isLibrary(file)),
        ['/app/bin/libp2p-lean', node],
      );
      const places = new Set(
        files
          .filter((file) => file.startsWith('/app/'))
          .map((file) =>
            file
              .replace(/^(\/app\/dist\/\.compile-cache)\/.*/, '$1/')
              .replace(/^(\/app\/node_modules\/@infisical\/quic-linux-)[^/]+\/.*/, '$1*'),
          ),
      );
      assert.deepEqual([...places].sort(), [
        '/app/LICENSE-APACHE',
        '/app/LICENSE-MIT',
        '/app/bin/code-cache.js',
        '/app/bin/libp2p-lean',
        '/app/bin/node-quic.js',
        '/app/bin/package.json',
        '/app/bin/quinn.js',
        '/app/dist/.compile-cache/',
        '/app/dist/cli.cjs',
        '/app/dist/cli.cjs.LEGAL.txt',
        '/app/native/LICENCES.txt',
        '/app/native/quinn.node',
        '/app/node_modules/@infisical/quic-linux-*',
        '/app/package.json',
      ]);
    });

    it('is set up to run as a user, without arguments', async () => {
      const [config] = JSON.parse(await docker('image', 'inspect', image)) as {
        Config: { User: string; Entrypoint: string[]; Cmd: string[] | null };
      }[];
      assert.equal(config?.Config.User, '1000:1000');
      assert.equal(config.Config.Entrypoint.at(-1), '/app/bin/libp2p-lean');
      assert.deepEqual(config.Config.Cmd ?? [], []);
    });
  });
}

/** `undefined`, with the test marked as skipped, where Docker cannot do IPv6. */
const createIpv6Network = async (test: TestContext) => {
  const block = Math.floor(Math.random() * 0xffff).toString(16);
  try {
    return await createNetwork(test, '--ipv6', `--subnet=fd00:1eaf:${block}::/64`);
  } catch (error) {
    test.skip(`no IPv6 network: ${error instanceof Error ? error.message : error}`);
    return undefined;
  }
};

/** Waits until the container's stderr matches. */
const logged = async (container: string, pattern: RegExp): Promise<void> => {
  const deadline = performance.now() + 60_000;
  for (;;) {
    const { stderr } = await tryDocker('logs', container);
    if (pattern.test(stderr)) return;
    const running = await docker('inspect', '--format={{.State.Running}}', container);
    if (running !== 'true' || performance.now() > deadline) {
      throw new Error(`${pattern} was not logged: ${stderr}`);
    }
  }
};
