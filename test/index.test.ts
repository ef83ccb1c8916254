/** What importing the library costs: transports and engines are loaded when they are used. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadedBy } from './support/loaded-modules.ts';

const INDEX = new URL('../src/index.ts', import.meta.url).href;

const IMPORT = `const lean = await import('${INDEX}')`;
/** Implementations of transports, and what they are made with. */
const HEAVY = [
  /\/node_modules\/ws\//,
  /\/src\/transports\/(quic|tcp|websocket|upgrade)\.ts/,
  /\/src\/quic\/(quinn|quiche|node)\//,
  /\/src\/(secure|wire|mux\/(?!mux-limits\.ts))/,
  /\/src\/(harness|cli)\//,
  /\/src\/tls\//,
  /NativeModule (tls|http|https|dgram|_http_server)\n/,
];

const assertLoadsNone = (loaded: string, patterns: readonly RegExp[]): void => {
  for (const pattern of patterns) assert.doesNotMatch(loaded, pattern);
};

test('the library, and a node that is not used yet, load no transport', () => {
  assertLoadsNone(loadedBy(IMPORT), HEAVY);
  assertLoadsNone(loadedBy(`${IMPORT}; await lean.createNode()`), HEAVY);
});

test('a transport loads what it needs, and no other transport', () => {
  const use = `${IMPORT}; const node = await lean.createNode(); await node.listen('/ip4/127.0.0.1`;
  const tcp = loadedBy(`${use}/tcp/0')`);
  assert.match(tcp, /\/src\/transports\/tcp\.ts/);
  assertLoadsNone(tcp, [/\/node_modules\/ws\//, /\/src\/quic\/(quinn|quiche|node)\//]);
  const quic = loadedBy(`${use}/udp/0/quic-v1')`);
  assert.match(quic, /\/src\/transports\/quic\.ts/);
  assertLoadsNone(quic, [/\/node_modules\/ws\//, /\/src\/(secure|wire|mux\/(?!mux-limits\.ts))/]);
});

test('of secure channels those are set up that were asked for', () => {
  const noise = loadedBy(
    `${IMPORT}; const node = await lean.createNode({ transports: [lean.tcp({ secureChannels: ['noise'] })] });
     await node.listen('/ip4/127.0.0.1/tcp/0')`,
  );
  assert.match(noise, /\/src\/secure\/noise\.ts/);
  assertLoadsNone(noise, [/\/src\/tls\/issue\.ts/]);
});
