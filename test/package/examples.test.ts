/**
 * The programs of examples/ and those of the README, with the package as a user has it, each in processes of
 * its own.
 */

import assert from 'node:assert/strict';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import packageJson from '../../package.json' with { type: 'json' };
import { enginesHere } from '../support/engines.ts';
import { ROOT, stagePackage } from '../support/package.ts';
import { type Participant, run, start } from '../support/participant.ts';
import { SUITE } from '../support/suite-limit.ts';

const HANG = { timeout: 60_000 };
const ADDRESS = /\/ip4\/\S+\/p2p\/(\S+)/;

describe('examples', SUITE, () => {
  let staged: string;
  let project: string;
  before(() => {
    staged = stagePackage();
    project = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-'));
    mkdirSync(path.join(project, 'node_modules'));
    // It is found by its name here, and finds its dependencies in the checkout.
    symlinkSync(staged, path.join(project, 'node_modules/libp2p-lean'));
    // js-libp2p is its user's.
    for (const name of ['libp2p', '@libp2p', '@multiformats']) {
      symlinkSync(path.join(ROOT, 'node_modules', name), path.join(project, 'node_modules', name));
    }
    writeFileSync(path.join(project, 'package.json'), '{ "type": "module" }');
    cpSync(path.join(ROOT, 'examples'), path.join(project, 'examples'), { recursive: true });
  });
  after(() => {
    for (const folder of [staged, project]) rmSync(folder, { recursive: true, force: true });
  });

  const commandOf = (name: string): string[] => [
    process.execPath,
    ...process.execArgv.filter((flag) => flag.startsWith('--experimental-quic')),
    '--disable-warning=ExperimentalWarning',
    path.join(project, 'examples', `${name}.ts`),
  ];

  /** Starts one that goes on until the end of the test. */
  const serve = (t: TestContext, name: string, args: readonly string[] = []): Participant => {
    const participant = start(args, {}, commandOf(name));
    t.after(() => participant.dispose());
    return participant;
  };

  /** Its result, once it has ended as it should. */
  const outputOf = async (name: string, args: readonly string[] = []): Promise<string> => {
    const { code, stdout, stderr } = await run(args, {}, commandOf(name));
    assert.deepEqual([code, stderr], [0, ''], stdout);
    return stdout;
  };

  test('these are the ones that there are', () => {
    const names = readdirSync(path.join(ROOT, 'examples')).sort();
    const tested = ['certificate', 'echo', 'js-libp2p', 'listen', 'ping', 'quic-engine'];
    assert.deepEqual(
      names,
      tested.map((name) => `${name}.ts`),
    );
  });

  for (const transport of ['udp/0/quic-v1', 'tcp/0', 'tcp/0/ws']) {
    test(`listen and ping: ${transport}`, HANG, async (t) => {
      const listener = serve(t, 'listen', [`/ip4/127.0.0.1/${transport}`]);
      const [address, peer = ''] = await listener.waitFor(ADDRESS);
      const said = await outputOf('ping', [address]);
      assert.ok(said.startsWith(`${peer} (libp2p-lean/`), said);
      assert.match(said, /\n\d+\.\d\d ms\n$/);
      await listener.waitFor(/is connected over/, 'stderr');
      listener.kill('SIGINT');
      assert.equal((await listener.ended).code, 0);
    });
  }

  test('a protocol of one’s own', HANG, async (t) => {
    const [address] = await serve(t, 'listen').waitFor(ADDRESS);
    const file = path.join(project, 'ask.mjs');
    writeFileSync(
      file,
      `import { createNode } from 'libp2p-lean';
       await using node = await createNode();
       const connection = await node.dial('${address}');
       const stream = await connection.newStream(['/upper/2', '/upper/1']);
       stream.write(Buffer.from('hello'));
       stream.closeWrite();
       for await (const chunk of stream) process.stdout.write(chunk);`,
    );
    const { stdout, stderr } = await run([], {}, [process.execPath, file]);
    assert.deepEqual([stdout, stderr], ['HELLO', '']);
  });

  test('echo between two processes', HANG, async (t) => {
    const listener = serve(t, 'echo');
    const [address] = await listener.waitFor(ADDRESS);
    assert.equal(await outputOf('echo', [address, 'there', 'and', 'back']), 'there and back\n');
    const { code, stderr } = await listener.ended;
    assert.deepEqual([code, stderr], [0, '']);
  });

  test('js-libp2p over our QUIC', HANG, async (t) => {
    const listener = serve(t, 'js-libp2p');
    const [address, peer = ''] = await listener.waitFor(ADDRESS);
    const said = await outputOf('js-libp2p', [address]);
    assert.match(said, new RegExp(`^${peer} answered in \\d+ ms\n$`));
    const { code, stderr } = await listener.ended;
    assert.deepEqual([code, stderr], [0, '']);
  });

  test('certificates alone', HANG, async () => {
    const said = await outputOf('certificate');
    const pattern =
      /^the dialer expected (\S+)\nthe listener met (\S+)\nanybody else is refused: (\S+)\n$/;
    const [, alice, bob, code] = pattern.exec(said) ?? [];
    assert.ok(alice !== undefined && bob !== undefined && alice !== bob, said);
    assert.equal(code, 'ERR_PEER_ID_MISMATCH');
  });

  test('a QUIC engine alone', HANG, async (t) => {
    // quinn's binary comes in a package of its own, which a checkout does not have.
    const here = await enginesHere(['dialer', 'listener']);
    const engines = here.filter((name) => name !== 'quinn');
    if (engines.length === 0) return t.skip('no QUIC engine but quinn here');
    for (const name of engines) {
      const said = await outputOf('quic-engine', [name]);
      assert.match(said, new RegExp(`^${name}: .* was asked for\nthere and back\n$`));
      t.diagnostic(name);
    }
  });

  /** From the subpath to its program in the README, whose comments say what is printed: `// → one, two`. */
  const programs = new Map(
    [
      ...readFileSync(path.join(ROOT, 'README.md'), 'utf8').matchAll(
        /^### (.+)\n(?:(?!^#)[\s\S])*?^```js\n([\s\S]*?)^```$/gm,
      ),
    ].flatMap(([, heading = '', program = '']) =>
      [...heading.matchAll(/libp2p-lean\/([\w-]+)/g)].map(([, name = '']) => [name, program]),
    ),
  );

  test('the README has a program for each subpath', () => {
    const names = Object.keys(packageJson.exports).filter(
      (name) => !/^\.(|\/package.json)$/.test(name),
    );
    assert.deepEqual([...programs.keys()].sort(), names.map((name) => name.slice(2)).sort());
  });

  for (const [name, program] of programs) {
    test(`the README's program for libp2p-lean/${name}`, HANG, async () => {
      const file = path.join(project, `${name}.mjs`);
      // Two muxers share one.
      const source =
        name === 'mplex'
          ? program
              .replaceAll('libp2p-lean/yamux', 'libp2p-lean/mplex')
              .replaceAll('createYamux', 'createMplex')
          : program;
      assert.match(source, new RegExp(`'libp2p-lean/${name}'`));
      writeFileSync(file, source);
      const expected = [...source.matchAll(/\/\/ → (.+)$/gm)].flatMap(([, text = '']) =>
        text.split(', '),
      );
      assert.notEqual(expected.length, 0);
      const { code, stdout, stderr } = await run([], {}, [process.execPath, file]);
      assert.deepEqual(
        [code, stderr, stdout],
        [0, '', expected.map((line) => `${line}\n`).join('')],
      );
    });
  }
});
