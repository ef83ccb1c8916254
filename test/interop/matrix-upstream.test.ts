/** What is handed to the upstream matrices. `make upstream-check` tries it with containers. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse as parseYaml } from 'yaml';
import { allCells } from '../../interop/runner/cells.ts';
import { readImages } from '../../interop/runner/images.ts';
import { ROOT } from '../../interop/runner/participants.ts';
import { fillIn, makeArchive, OURS, paste } from '../../interop/upstream/checkouts.ts';
import {
  readPerf,
  readTestPlans,
  readTransport,
  testPlansCompose,
  unifiedCompose,
} from '../../interop/upstream/compose.ts';
import { MISC_PROTOCOLS } from '../../src/harness/misc-environment.ts';

/** What is pasted with an account and a commit in it. */
const TEMPLATES = [
  'unified-testing/transport-images.yaml',
  'unified-testing/perf-images.yaml',
  'unified-testing/kad-dht-images.yaml',
  'unified-testing/misc-images.yaml',
  'unified-testing/hole-punch-images.yaml',
  'test-plans/impl/libp2p-lean/v0.1/Makefile',
];

const upstream = join(ROOT, 'interop', 'upstream');
const ours = async () => {
  const images = await readImages(join(ROOT, 'interop', 'images.yaml'));
  const entry = images.implementations.find(({ id }) => id === 'libp2p-lean-v0.1');
  assert.ok(entry);
  return entry;
};

test('the transport entry says what interop/images.yaml says', async () => {
  const { id, transports, secureChannels, muxers, dialOnly } = await ours();
  const { implementations, aliases } = await readImages(
    join(upstream, 'unified-testing', 'transport-images.yaml'),
  );
  assert.equal(implementations.length, 1);
  const [entry] = implementations;
  assert.deepEqual(
    [entry?.id, entry?.transports, entry?.secureChannels, entry?.muxers, entry?.dialOnly],
    [id, transports, secureChannels, muxers, dialOnly],
  );
  assert.equal(aliases.get('libp2p-lean'), id);
  const perf = await readImages(join(upstream, 'unified-testing', 'perf-images.yaml'));
  assert.equal(perf.implementations[0]?.id, id);

  const textOf = (name: string) => readFileSync(join(upstream, 'unified-testing', name), 'utf8');
  const [kadDht] = parseYaml(textOf('kad-dht-images.yaml')).implementations;
  assert.equal(kadDht.id, id);
  // Its runner builds the last stage of the file.
  const stages = readFileSync(join(ROOT, kadDht.source.dockerfile), 'utf8').split(/^FROM /m);
  assert.match(stages.at(-1) ?? '', /suites\.cjs[\s\S]*CMD \["kad-dht"\]/);
  const [misc] = parseYaml(textOf('misc-images.yaml')).implementations;
  assert.deepEqual(
    [misc.id, misc.transports, misc.secureChannels, misc.muxers, misc.protocols],
    [id, transports, secureChannels, muxers, MISC_PROTOCOLS],
  );

  const [version] = JSON.parse(
    readFileSync(join(upstream, 'test-plans', 'versionsInput.json'), 'utf8'),
  ) as Array<Record<string, unknown>>;
  assert.deepEqual(version, {
    id,
    containerImageID: 'canonical',
    transports: transports.map((name) =>
      dialOnly.includes(name) ? { name, onlyDial: true } : name,
    ),
    secureChannels,
    muxers,
  });
});

test('account and commit stand once in each file, where they belong', () => {
  for (const file of TEMPLATES) {
    const text = readFileSync(join(upstream, file), 'utf8');
    for (const word of ['OWNER', 'COMMIT']) {
      const lines = text.split('\n').filter((line) => line.includes(word));
      // A relay and a participant, in one of them.
      assert.equal(lines.length, file.includes('hole-punch') ? 2 : 1, `${file}: ${word}`);
      for (const line of lines) assert.doesNotMatch(line, /^\s*#/);
    }
    const filled = fillIn(text, 'somebody', '0123456789'.repeat(4));
    assert.match(filled, /somebody\/libp2p-lean/);
    assert.match(filled, /commit(:| :=) (0123456789){4}$/m);
  }
});

test('pasting: our id selects nobody else, and nobody else’s selects us', () => {
  const ours = {
    'test-aliases': [
      { alias: 'libp2p-lean', value: OURS },
      { alias: 'failing', value: 'b' },
    ],
    implementations: [{ id: OURS }],
  };
  const theirs = (id: string) => ({
    'test-aliases': [{ alias: 'failing', value: 'a' }],
    implementations: [{ id: 'leanp2p' }, { id: 'js-v3.x' }],
    baselines: [{ id }],
  });
  assert.deepEqual(paste(theirs('c-v0.0.1'), ours), {
    'test-aliases': [
      { alias: 'failing', value: 'a|b' },
      { alias: 'libp2p-lean', value: OURS },
    ],
    implementations: [{ id: 'leanp2p' }, { id: 'js-v3.x' }, { id: OURS }],
    baselines: [{ id: 'c-v0.0.1' }],
  });
  for (const id of ['lean-v0.1', 'libp2p-lean-v0.2', 'rust-libp2p-lean']) {
    assert.throws(() => paste(theirs(id), ours), /select each other/);
  }
});

test('the archive is what GitHub would serve', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'libp2p-lean-archive-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const { commit, zip } = await makeArchive(folder);
  assert.match(commit, /^[0-9a-f]{40}$/);
  // The names are in it as they are.
  assert(readFileSync(zip).includes(`libp2p-lean-${commit}/Dockerfile`));
});

test('compose files: the services, networks and variables of each harness', async () => {
  const entry = {
    ...(await ours()),
    transports: ['tcp'],
    secureChannels: ['noise'],
    muxers: ['yamux'],
  };
  const [cell] = allCells([entry]);
  assert.ok(cell);
  const images = { dialer: 'libp2p-lean', listener: 'libp2p-lean' };
  const unified = unifiedCompose('transport', cell, images, 'net', 'ab12');
  assert.deepEqual(unified.services.dialer, {
    image: 'libp2p-lean',
    container_name: 'libp2p-lean-v0_1_x_libp2p-lean-v0_1__tcp__noise__yamux__transport_ab12_dialer',
    init: true,
    depends_on: ['listener'],
    networks: ['transport-network'],
    environment: [
      'IS_DIALER=true',
      'REDIS_ADDR=transport-redis:6379',
      'TEST_KEY=896332bd',
      'TRANSPORT=tcp',
      'LISTENER_IP=0.0.0.0',
      'DEBUG=false',
      'SECURE_CHANNEL=noise',
      'MUXER=yamux',
    ],
  });
  const legacy = testPlansCompose(cell, images, 'ab12');
  assert.deepEqual(Object.keys(legacy.services), ['dialer', 'listener', 'redis']);
  assert.deepEqual(legacy.services.listener, {
    init: true,
    image: 'libp2p-lean',
    depends_on: ['redis'],
    environment: {
      version: 'libp2p-lean-v0.1',
      transport: 'tcp',
      is_dialer: 'false',
      ip: '0.0.0.0',
      muxer: 'yamux',
      security: 'noise',
    },
  });
});

test('results are read as the harnesses read them, from what compose prints', () => {
  const lines = (...own: string[]) => own.map((line) => `a_x_b_dialer  | ${line}`).join('\n');
  const good = ['latency:', '  handshake_plus_one_rtt: 5.1', '  ping_rtt: 0.5', '  unit: ms'];
  assert.equal(readTransport(lines(...good)), 'handshake+rtt 5.1 ms, ping 0.5 ms');
  assert.equal(readTransport(lines(...good).replaceAll('dialer', 'listener')), undefined);
  assert.equal(readTransport(lines(...good.slice(1))), undefined);
  assert.equal(readTransport(lines(...good.map((line) => line.replace('  ', '    ')))), undefined);

  const compose = [
    'redis-1  | {"handshakePlusOneRTTMillis": 1, "pingRTTMilllis": 2}',
    'dialer-1  | a log line with a { in it }',
    'dialer-1  | {"handshakePlusOneRTTMillis": 5.1,',
    'dialer-1  | "pingRTTMilllis": 0.5}',
    'dialer-1 exited with code 0',
  ].join('\n');
  assert.equal(readTestPlans(compose), 'handshake+rtt 5.1 ms, ping 0.5 ms');
  assert.equal(readTestPlans(compose.replace('Milllis": 0', 'Millis": 0')), undefined);

  const section = (name: string, unit: string) => [
    `${name}:`,
    '  iterations: 3',
    ...['min', 'q1', 'median', 'q3', 'max'].map((key) => `  ${key}: 1.5`),
    '  outliers: []',
    '  samples: [1.5, 1.5, 1.5]',
    `  unit: ${unit}`,
  ];
  const perf = [
    ...section('upload', 'Gbps'),
    ...section('download', 'Gbps'),
    ...section('latency', 'ms'),
  ];
  assert.equal(readPerf(lines(...perf)), 'upload: 1.5 Gbps, download: 1.5 Gbps, latency: 1.5 ms');
  for (let gone = 0; gone < perf.length; gone++) {
    assert.equal(readPerf(lines(...perf.toSpliced(gone, 1))), undefined, perf[gone]);
  }
});
