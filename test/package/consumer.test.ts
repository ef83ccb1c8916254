/** The package as those see it who install it: a tarball in a project of their own. */

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import packageJson from '../../package.json' with { type: 'json' };
import { ROOT, stagePackage } from '../support/package.ts';
import { SUITE } from '../support/suite-limit.ts';

/** Uses every subpath: types and values. */
const CONSUMER = `
import { createServer, connect, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { createNode, quic, tcp, ping, type LeanNode, type Connection } from 'libp2p-lean';
import { selectEngine, type QuicEngine, type QuicLimits } from 'libp2p-lean/quic';
import { issueCertificate, verifyCertificate, generateHostKey, peerIdOf, type PeerId } from 'libp2p-lean/tls';
import { createNoiseIdentity, secureWithNoise, socketWire, type SecureChannel } from 'libp2p-lean/noise';
import { createYamux, type Muxer } from 'libp2p-lean/yamux';
import { createMplex } from 'libp2p-lean/mplex';
import { negotiate, select } from 'libp2p-lean/multistream';
import { hostKeyFromSeed, type HostKey } from 'libp2p-lean/identity';
import { toWebStreams } from 'libp2p-lean/web-streams';

// A node.
const node: LeanNode = await createNode({ transports: [quic(), tcp()], limits: { maxConnections: 10 } });
const { address } = await node.listen('/ip4/127.0.0.1/tcp/0');
const other = await createNode();
const connection: Connection = await other.dial(address);
const rtt: number = await ping(connection);
await Promise.all([node.close(), other.close()]);

// A certificate.
const hostKey: HostKey = hostKeyFromSeed(new Uint8Array(32).fill(7));
const peer: PeerId = verifyCertificate([issueCertificate(hostKey).certificateDer]);
const { engine }: { engine: QuicEngine } = await selectEngine('auto', 'dialer');
const limits: Partial<QuicLimits> = { maxStreams: 1 };

// Noise, multistream-select and a muxer over a socket.
const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
await once(server, 'listening');
const dialer = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
const [accepted] = await once(server, 'connection');
const secure = async (socket: typeof dialer, role: 'dialer' | 'listener'): Promise<SecureChannel> => {
  const wire = socketWire(socket, role);
  const identity = createNoiseIdentity(generateHostKey(), []);
  return secureWithNoise(wire, wire, identity, { role, expectedPeer: undefined, muxers: [] });
};
const [one, two] = await Promise.all([secure(dialer, 'dialer'), secure(accepted, 'listener')]);
const muxers = [[one, 'dialer'], [two, 'listener']] as const;
for (const create of [createYamux, createMplex]) void create;
const [a, b] = muxers.map(([{ wire }, role]): Muxer =>
  createYamux({ stream: wire, close: () => wire.close() }, role)) as [Muxer, Muxer];
const opened = await a.openStream();
const selected = select(opened, ['/none/1', '/upper/1']);
const taken = await b.acceptStream();
if (taken === null) throw new Error('the connection ended');
const protocol: string = await negotiate(taken, ['/upper/1']);
const { writable } = toWebStreams(opened);
if ((await selected) !== protocol) throw new Error(protocol);
const writer = writable.getWriter();
await writer.write(new TextEncoder().encode('there'));
await writer.close();
let text = '';
for await (const chunk of taken) text += new TextDecoder().decode(chunk);
await a.close();
await b.close();
server.close();
console.log(JSON.stringify({ rtt: rtt > 0, peer: peer.equals(peerIdOf(hostKey.publicKey)), engine: engine.name, limits, text }));
`;

/** Uses the subpath for js-libp2p, which its user has installed. */
const JS_LIBP2P_CONSUMER = `
import { createLibp2p } from 'libp2p';
import { quic, type QuicOptions } from 'libp2p-lean/js-libp2p';

const options: QuicOptions = { engine: 'auto', limits: { maxStreams: 64 } };
const start = () =>
  createLibp2p({
    addresses: { listen: ['/ip4/127.0.0.1/udp/0/quic-v1'] },
    transports: [quic(options)],
  });
const [one, two] = await Promise.all([start(), start()]);
const connection = await one.dial(two.getMultiaddrs());
console.log(connection.remotePeer.equals(two.peerId));
await Promise.all([one.stop(), two.stop()]);
`;

/** What npm says when there is no registry to be had. */
const UNREACHABLE =
  /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ENOTCACHED|network/;

describe('the tarball', SUITE, () => {
  let staged: string;
  let tarball: string;
  before(() => {
    staged = stagePackage();
    const packed = execFileSync('npm', ['pack', '--ignore-scripts', '--json'], {
      cwd: staged,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    tarball = path.join(staged, JSON.parse(packed)[0].filename);
  });
  after(() => rmSync(staged, { recursive: true, force: true }));

  test('holds the library without the command line, and what package.json names', () => {
    const listed = execFileSync('tar', ['-tzf', tarball], { encoding: 'utf8' }).trim().split('\n');
    const files = listed.map((file) => file.replace(/^package\//, ''));
    assert.deepEqual(
      files.filter((file) => /^dist\/lib\/(cli|harness)\b/.test(file)),
      [],
    );
    const named = Object.values(packageJson.exports).flatMap((target) =>
      typeof target === 'string' ? [target] : Object.values(target),
    );
    for (const file of [...named, packageJson.bin['libp2p-lean'], 'dist/cli.cjs', 'README.md']) {
      assert.ok(files.includes(file.replace(/^\.\//, '')), file);
    }
    const library = files.filter((file) => /^dist\/lib\/.*\.js$/.test(file));
    const imported = library.flatMap((file) => {
      const source = readFileSync(path.join(staged, file), 'utf8');
      return [...source.matchAll(/(?:from |import\(|require\()'((?:@[\w-]+\/)?[\w-]+)/g)].map(
        ([, name = '']) => name,
      );
    });
    const packages = [...new Set(imported)].filter((name) => name !== 'node').sort();
    // What it imports is what npm brings. The engines are looked for by names that are made up.
    const { dependencies, peerDependencies } = packageJson;
    assert.deepEqual(packages, Object.keys({ ...dependencies, ...peerDependencies }).sort());
  });

  test('its licences name every package that is in the bundle', () => {
    const licences = readFileSync(path.join(staged, 'dist/cli.cjs.LEGAL.txt'), 'utf8');
    for (const name of ['commander', 'consola', 'log-update', '@redis/client', 'ws']) {
      assert.match(licences, new RegExp(`^${name} [0-9.]+ \\(MIT\\)$`, 'm'));
    }
    assert.match(licences, /Permission is hereby granted/);
  });

  test('docs/dependencies.md has a row for each dependency, and no other', () => {
    const text = readFileSync(path.join(ROOT, 'docs/dependencies.md'), 'utf8');
    const [, section = ''] = /## At run time\n([\s\S]*?)\n## /.exec(text) ?? [];
    const rows = [...section.matchAll(/^\| `([^`]+)` \|/gm)].map(([, name]) => name);
    assert.deepEqual(rows.sort(), Object.keys(packageJson.dependencies).sort());
  });

  /** What uses a peer dependency: a subpath's folder, or the file that an option loads. */
  const PEERS_ARE_USED_IN = /^(js-libp2p\/|node\/port-mapping\.)/;

  test('no peer dependency is installed with it, and none is loaded where nobody asked for it', () => {
    const { peerDependencies, peerDependenciesMeta } = packageJson;
    const names = Object.keys(peerDependencies);
    assert.deepEqual(Object.keys(peerDependenciesMeta), names);
    assert.ok(Object.values(peerDependenciesMeta).every(({ optional }) => optional));
    const users = readdirSync(path.join(staged, 'dist/lib'), { recursive: true, encoding: 'utf8' })
      .filter((file) => /\.(js|d\.ts)$/.test(file))
      .filter((file) => {
        const source = readFileSync(path.join(staged, 'dist/lib', file), 'utf8');
        return names.some((name) => source.includes(`'${name}`));
      });
    assert.ok(users.length > 0);
    assert.deepEqual(
      users.filter((file) => !PEERS_ARE_USED_IN.test(file)),
      [],
    );
  });

  test('publint finds nothing', async () => {
    const bytes = readFileSync(tarball);
    const { messages, pkg } = await publint({
      pack: { tarball: Uint8Array.from(bytes).buffer },
      strict: true,
    });
    assert.deepEqual(
      messages.map((message) => formatMessage(message, pkg ?? {})),
      [],
    );
  });

  test('its declarations are right in every mode of resolution that an ES module is for', () => {
    const attw = path.join(ROOT, 'node_modules/@arethetypeswrong/cli/dist/index.js');
    const { stdout, stderr, status } = spawnSync(
      process.execPath,
      [attw, tarball, '--profile', 'esm-only', '--no-color', '--no-emoji', '--format', 'ascii'],
      { encoding: 'utf8' },
    );
    assert.equal(status, 0, stdout + stderr);
  });

  describe('installed into an empty project', () => {
    let project: string;
    let unreachable: string | undefined;
    before(() => {
      project = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-'));
      writeFileSync(path.join(project, 'package.json'), '{ "private": true, "type": "module" }');
      const types = `@types/node@${packageJson.devDependencies['@types/node']}`;
      const flags = '--prefer-offline --no-audit --no-fund --fetch-retries=1 --loglevel=error';
      const { status, stderr } = spawnSync(
        'npm',
        ['install', ...flags.split(' '), tarball, types],
        {
          cwd: project,
          encoding: 'utf8',
        },
      );
      if (status === 0) return;
      assert.match(stderr, UNREACHABLE);
      unreachable = `npm cannot reach its registry: ${stderr.split('\n')[0]}`;
    });
    after(() => rmSync(project, { recursive: true, force: true }));

    const unlessReachable = (t: TestContext): boolean => {
      if (unreachable !== undefined) t.skip(unreachable);
      return unreachable !== undefined;
    };

    test('it brings what the library needs, and nothing of the command line', (t) => {
      if (unlessReachable(t)) return;
      const lock = JSON.parse(readFileSync(path.join(project, 'package-lock.json'), 'utf8'));
      const names = Object.keys(lock.packages).map((key) => key.replace(/^.*node_modules\//, ''));
      for (const name of Object.keys(packageJson.dependencies))
        assert.ok(names.includes(name), name);
      for (const name of Object.keys(packageJson.devDependencies)) {
        if (name !== '@types/node') assert.ok(!names.includes(name), name);
      }
      assert.ok(!names.some((name) => name.startsWith('@redis/')));
      const bin = readdirSync(path.join(project, 'node_modules/.bin'));
      assert.deepEqual(bin, ['libp2p-lean']);
    });

    // TypeScript 6 is the one that API Extractor brings.
    for (const compiler of ['', '@microsoft/api-extractor/node_modules/']) {
      const folder = path.join(ROOT, 'node_modules', compiler, 'typescript');
      const { version } = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'));
      test(`it compiles under strict, its declarations too, and runs: TypeScript ${version}`, (t) => {
        if (unlessReachable(t)) return;
        writeFileSync(path.join(project, 'use.mts'), CONSUMER);
        writeFileSync(
          path.join(project, 'tsconfig.json'),
          JSON.stringify({
            compilerOptions: {
              strict: true,
              target: 'es2023',
              lib: ['es2024', 'esnext.disposable'],
              module: 'nodenext',
              types: ['node'],
              skipLibCheck: false,
            },
            files: ['use.mts'],
          }),
        );
        const compiled = spawnSync(process.execPath, [path.join(folder, 'bin/tsc')], {
          cwd: project,
          encoding: 'utf8',
        });
        assert.equal(compiled.status, 0, compiled.stdout);
        const ran = spawnSync(process.execPath, ['use.mjs'], {
          cwd: project,
          encoding: 'utf8',
          timeout: 60_000,
        });
        assert.equal(ran.status, 0, ran.stderr);
        const { engine, ...rest } = JSON.parse(ran.stdout);
        assert.match(engine, /^(quinn|node|quiche)$/);
        assert.deepEqual(rest, { rtt: true, peer: true, limits: { maxStreams: 1 }, text: 'there' });
      });
    }

    test('beside js-libp2p, its transport compiles under strict, and runs', (t) => {
      if (unlessReachable(t)) return;
      const libp2p = `libp2p@${packageJson.devDependencies.libp2p}`;
      const peers = Object.entries(packageJson.peerDependencies).map(
        ([name, it]) => `${name}@${it}`,
      );
      const flags = '--prefer-offline --no-audit --no-fund --fetch-retries=1 --loglevel=error';
      const installed = spawnSync('npm', ['install', ...flags.split(' '), libp2p, ...peers], {
        cwd: project,
        encoding: 'utf8',
      });
      assert.equal(installed.status, 0, installed.stderr);
      writeFileSync(path.join(project, 'js-libp2p.mts'), JS_LIBP2P_CONSUMER);
      writeFileSync(
        path.join(project, 'tsconfig.json'),
        JSON.stringify({
          compilerOptions: {
            strict: true,
            target: 'es2024',
            // js-libp2p's declarations name types of the DOM.
            lib: ['es2024', 'esnext.disposable', 'dom'],
            module: 'nodenext',
            types: ['node'],
            skipLibCheck: false,
          },
          files: ['js-libp2p.mts'],
        }),
      );
      const compiled = spawnSync(
        process.execPath,
        [path.join(ROOT, 'node_modules/typescript/bin/tsc')],
        { cwd: project, encoding: 'utf8' },
      );
      assert.equal(compiled.status, 0, compiled.stdout);
      const ran = spawnSync(process.execPath, ['js-libp2p.mjs'], {
        cwd: project,
        encoding: 'utf8',
        timeout: 60_000,
      });
      assert.equal(ran.status, 0, ran.stderr);
      assert.equal(ran.stdout, 'true\n');
    });
  });
});
