import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { it } from 'node:test';
import { AGENT_VERSION, VERSION } from '../src/version.ts';

it('is the version in package.json', () => {
  const url = new URL('../package.json', import.meta.url);
  assert.equal(VERSION, JSON.parse(readFileSync(url, 'utf8')).version);
  assert.equal(AGENT_VERSION, `libp2p-lean/${VERSION}`);
});
