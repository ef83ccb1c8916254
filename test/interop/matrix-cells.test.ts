import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  allCells,
  parseShard,
  selectCells,
  shardOf,
  testKeyOf,
} from '../../interop/runner/cells.ts';
import { errorLines } from '../../interop/runner/error-lines.ts';
import { parseImages } from '../../interop/runner/images.ts';
import { parseResult } from '../../interop/runner/participant.ts';

const FILE = `
test-aliases:
  - alias: go
    value: go-v1|go-v2
  - alias: peers
    value: ~go|js-v3
implementations:
  - id: libp2p-lean-v0.1
    ours: true
    command: [./bin/libp2p-lean]
    transports: [quic-v1, tcp]
    secureChannels: [noise, tls]
    muxers: [yamux]
  - id: go-v1
    transports: [quic-v1, tcp, wss]
    secureChannels: [tls, noise]
    muxers: [yamux, mplex]
  - id: go-v2
    transports: [quic-v1]
    secureChannels: []
    muxers: []
  - id: js-v3
    transports: [tcp, wss]
    secureChannels: [noise]
    muxers: [mplex, yamux]
    dialOnly: [wss]
`;
const images = parseImages('images.yaml', FILE);
const namesFor = (selection: Parameters<typeof selectCells>[1]) =>
  selectCells(images, selection).selected.map((cell) => cell.name);

test('cells: both sides must have the transport, the secure channel and the muxer', () => {
  const names = allCells(images.implementations).map((cell) => cell.name);
  assert.deepEqual(
    names.filter((name) => name.startsWith('libp2p-lean-v0.1 x ')),
    [
      'libp2p-lean-v0.1 x libp2p-lean-v0.1 (quic-v1)',
      'libp2p-lean-v0.1 x libp2p-lean-v0.1 (tcp, noise, yamux)',
      'libp2p-lean-v0.1 x libp2p-lean-v0.1 (tcp, tls, yamux)',
      'libp2p-lean-v0.1 x go-v1 (quic-v1)',
      'libp2p-lean-v0.1 x go-v1 (tcp, noise, yamux)',
      'libp2p-lean-v0.1 x go-v1 (tcp, tls, yamux)',
      'libp2p-lean-v0.1 x go-v2 (quic-v1)',
      'libp2p-lean-v0.1 x js-v3 (tcp, noise, yamux)',
    ],
  );
  // wss: js-v3 dials it, and is not dialled over it.
  assert.deepEqual(
    names.filter((name) => name.includes('wss') && name.includes('js-v3')),
    ['js-v3 x go-v1 (wss, noise, mplex)', 'js-v3 x go-v1 (wss, noise, yamux)'],
  );
  assert.equal(new Set(names).size, names.length);
});

test('cells: standalone transports have neither secure channel nor muxer; ours is marked', () => {
  const cell = allCells(images.implementations).find((one) => one.transport === 'quic-v1');
  assert.equal(cell?.secureChannel, null);
  assert.equal(cell?.muxer, null);
  for (const { name, ours } of allCells(images.implementations)) {
    assert.equal(ours, name.includes('lean'), name);
  }
});

test('TEST_KEY is what unified-testing computes: its docs give a5b50d5e for this name', () => {
  assert.equal(testKeyOf('rust-v0.56 x rust-v0.56 (quic-v1)'), 'a5b50d5e');
  assert.notEqual(testKeyOf('rust-v0.56 x rust-v0.56 (quic-v1)', 2), 'a5b50d5e');
});

test('selection: substrings, aliases, negation, select before ignore', () => {
  assert.deepEqual(namesFor({ implSelect: 'go-v2' }), ['go-v2 x go-v2 (quic-v1)']);
  assert.deepEqual(
    namesFor({ implSelect: '~go', transportSelect: 'quic' }),
    namesFor({ implSelect: 'go-v1|go-v2', transportIgnore: 'tcp|wss' }),
  );
  assert.deepEqual(namesFor({ implSelect: '!~peers' }), namesFor({ implSelect: 'lean' }));
  assert.deepEqual(
    namesFor({ implSelect: '~peers', implIgnore: '~go' }),
    namesFor({ implSelect: 'js-v3' }),
  );
  assert.deepEqual(namesFor({ implSelect: '\\!go' }), namesFor({ implSelect: '!go' }));
  const withTls = namesFor({ secureSelect: 'tls' });
  assert.ok(withTls.some((name) => name.includes('tls')));
  assert.ok(withTls.every((name) => !name.includes('noise')));
  // Standalone cells have no muxer and are not touched by a muxer filter.
  assert.ok(namesFor({ muxerSelect: 'mplex' }).includes('go-v2 x go-v2 (quic-v1)'));
  assert.deepEqual(namesFor({ testSelect: 'go-v2 x ', testIgnore: 'lean' }), [
    'go-v2 x go-v1 (quic-v1)',
    'go-v2 x go-v2 (quic-v1)',
  ]);
  assert.deepEqual(namesFor({ implSelect: '', testIgnore: '' }), namesFor({}));
});

test('selection: what matches nothing is refused with what there is', () => {
  assert.throws(() => namesFor({ implSelect: 'go-v1|swift' }), {
    message:
      '--impl-select: "swift" matches none of the implementations; there are libp2p-lean-v0.1, go-v1, go-v2, js-v3',
  });
  assert.throws(() => namesFor({ transportIgnore: '!quik' }), /--transport-ignore: "quik" matches/);
  assert.throws(() => namesFor({ testSelect: 'lean x go' }), /--test-select: "lean x go" matches/);
  assert.throws(() => namesFor({ implSelect: '~rust' }), {
    message: 'unknown alias ~rust; there are ~go, ~peers',
  });
});

test('shards: every cell is in exactly one, and they differ by one cell at most', () => {
  const cells = allCells(images.implementations);
  const shards = [1, 2, 3, 4].map((index) => shardOf(cells, { index, count: 4 }));
  assert.deepEqual(new Set(shards.flat()), new Set(cells));
  assert.equal(shards.flat().length, cells.length);
  const sizes = shards.map((shard) => shard.length);
  assert.ok(Math.max(...sizes) - Math.min(...sizes) <= 1);
  assert.deepEqual(parseShard('2/4'), { index: 2, count: 4 });
  for (const bad of ['0/2', '3/2', '2', '1/0', 'a/b', '1/2/3', '-1/2']) {
    assert.throws(() => parseShard(bad), /--shard: ".*" is not i\/n/, bad);
  }
});

test('capability file: every mistake is one line with file, line and column', () => {
  const entry = (lines: string) => `implementations:\n  - id: a\n${lines}\n`;
  const cases: Array<[string, string | RegExp]> = [
    ['implementations: [', /^images\.yaml:1:\d+: /],
    ['', /^images\.yaml:1:1: the capability file must be a map/],
    ['implementations: []', 'images.yaml: there are no implementations'],
    [
      'implementation:\n  - id: a',
      /^images\.yaml:1:1: the capability file: unknown key "implementation"/,
    ],
    [
      entry('    transport: [tcp]'),
      /^images\.yaml:3:5: an implementation: unknown key "transport"/,
    ],
    [
      entry('    transports: [quic-v2]'),
      /^images\.yaml:3:18: a: transports: unknown "quic-v2"; it may be/,
    ],
    [entry('    transports: quic-v1'), 'images.yaml:3:17: a: transports must be a list'],
    [entry('    muxers: []'), 'images.yaml:2:5: a: transports is empty'],
    [
      entry('    transports: [tcp]\n    muxers: [yamux]'),
      /^images\.yaml:2:5: a: tcp needs a secure channel/,
    ],
    [entry('    transports: [tcp]\n    secureChannels: [noise]'), /a: tcp needs a muxer/],
    [entry('    transports: [quic-v1, quic-v1]'), /"quic-v1" is there twice/],
    [
      entry('    transports: [quic-v1]\n    dialOnly: [ws]'),
      /a: dialOnly names ws, which is not in transports/,
    ],
    [entry('    transports: [quic-v1]\n    ours: maybe'), /a: ours must be true or false/],
    [entry('    transports: [quic-v1]\n    command: []'), /a: command is empty/],
    [entry('    transports: [quic-v1]\n    path: x\n    command: [y]'), /a: has both path/],
    [
      entry('    transports: [quic-v1]\n  - id: a\n    transports: [quic-v1]'),
      /:4:5: implementation "a" is there twice/,
    ],
    ['implementations:\n  - id: "a b"\n    transports: [quic-v1]', /id "a b" may have letters/],
    ['implementations:\n  - transports: [quic-v1]', /:2:5: id of an implementation must be a text/],
    [
      'test-aliases:\n  - alias: x\n    value: ~y\nimplementations:\n  - id: a\n    transports: [quic-v1]',
      /:3:12: alias "x" names ~y/,
    ],
    [
      'test-aliases:\n  - alias: x\n    value: ~y\n  - alias: y\n    value: "!~x"\nimplementations:\n  - id: a\n    transports: [quic-v1]',
      /aliases go round in a circle: x -> y -> x/,
    ],
  ];
  for (const [source, message] of cases) {
    assert.throws(
      () => parseImages('images.yaml', source),
      { code: 'ERR_CONFIG', message },
      source,
    );
    assert.throws(
      () => parseImages('images.yaml', source),
      (error: Error) => !error.message.includes('\n'),
      source,
    );
  }
});

test('results on stdout: exactly what the upstream runners pick up, and nothing else', () => {
  const good = 'latency:\n  handshake_plus_one_rtt: 5.011\n  ping_rtt: 0.599\n  unit: ms\n';
  assert.deepEqual(parseResult('unified', good), {
    handshakePlusOneRttMs: 5.011,
    pingRttMs: 0.599,
  });
  assert.deepEqual(
    parseResult('unified', `# Measurements from dialer\n${good}`),
    parseResult('unified', good.replaceAll('\n', '\r\n')),
  );
  const bad: Array<[string, RegExp]> = [
    ['', /stdout is empty/],
    [`hello\n${good}`, /line 1 of its stdout does not belong to a result: "hello"/],
    [`${good}bye\n`, /line 5/],
    [good.replace('  ping', ' ping'), /line 3/],
    [good.replace('0.599', 'NaN'), /line 3/],
    [good.replace('0.599', '-1'), /line 3/],
    [good.replace('unit: ms', 'unit: s'), /line 4/],
    [good.replace('  unit: ms\n', ''), /no unit/],
    [good.replace('  ping_rtt: 0.599\n', ''), /no ping_rtt/],
    ['latency:\n  unit: ms\n', /no handshake_plus_one_rtt/],
    [good + good, /line 5/],
  ];
  for (const [stdout, message] of bad)
    assert.match(String(parseResult('unified', stdout)), message, stdout);

  const json = '{"handshakePlusOneRTTMillis":5.5,"pingRTTMilllis":0.25}\n';
  assert.deepEqual(parseResult('legacy', json), { handshakePlusOneRttMs: 5.5, pingRttMs: 0.25 });
  assert.match(String(parseResult('legacy', good)), /line 1 of its stdout is not JSON/);
  assert.match(String(parseResult('legacy', `${json}x`)), /line 2/);
  assert.match(String(parseResult('legacy', json.replace('lllis', 'llis'))), /no pingRTTMilllis/);
  assert.match(String(parseResult('legacy', json.replace('5.5', 'null'))), /no handshakePlus/);
});

test('error lines: what names an error first, without noise; else the last lines', () => {
  const log = [
    '# TRANSPORT=quic-v1',
    '   0.100 err  connected',
    '   0.101 err  \u001b[31mError: handshake failed\u001b[0m',
    '   0.102 err      at Socket.<anonymous> (x.js:1:1)',
    '   0.103 err  Error: handshake failed',
    '   0.104 err  panic: nil dereference',
    '# 0.2 s: exit code 1',
  ].join('\n');
  assert.deepEqual(errorLines(log), ['Error: handshake failed', 'panic: nil dereference']);
  assert.deepEqual(errorLines('   0.1 out  a\n   0.200 err  b\n   0.300 err  c\n'), [
    '   0.1 out  a',
    'b',
    'c',
  ]);
  const python = [
    '  + Exception Group Traceback (most recent call last):',
    '  |   File "/x/main.py", line 1, in <module>',
    '  |     await self.gen.athrow(error)',
    '  | ExceptionGroup: Exceptions from Trio nursery (1 sub-exception)',
    '  +-+---------------- 1 ----------------',
    '    | libp2p.exceptions.MultiError: Error 1: fail to open connection',
    '    | The above exception was the direct cause of the following exception:',
    '    +------------------------------------',
  ];
  assert.deepEqual(errorLines(python.map((line) => `   3.692 err  ${line}`).join('\n')), [
    'libp2p.exceptions.MultiError: Error 1: fail to open connection',
  ]);
  assert.deepEqual(errorLines(''), []);
  assert.equal(errorLines(`   0.100 err  error ${'x'.repeat(1000)}`)[0]?.length, 301);
  assert.deepEqual(errorLines('   0.100 err  error\ta\x1b[31mb\x1b]0;c\x07\r\u202ed'), [
    'error ab\\x1b]0;c\\x07\\r\\u202ed',
  ]);
});
