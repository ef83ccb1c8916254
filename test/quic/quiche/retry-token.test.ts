import assert from 'node:assert/strict';
import test from 'node:test';
import { retryTokens } from '../../../src/quic/quiche/retry-token.ts';

const here = { host: '127.0.0.1', port: 4001 };
const dcid = Buffer.from('0123456789abcdef', 'hex');

test('a token opens for its address and gives the first DCID back', () => {
  const tokens = retryTokens();
  assert.deepEqual(tokens.open(here, tokens.issue(here, dcid)), dcid);
});

test('a token is refused elsewhere, later, changed, cut off, or from another listener', () => {
  let now = 1_000_000;
  const tokens = retryTokens(() => now);
  const token = tokens.issue(here, dcid);
  assert.equal(tokens.open({ host: '127.0.0.2', port: 4001 }, token), undefined);
  assert.equal(tokens.open({ host: '127.0.0.1', port: 4002 }, token), undefined);
  assert.equal(retryTokens(() => now).open(here, token), undefined);
  for (let i = 0; i < token.length; i++) {
    const changed = Buffer.from(token);
    changed[i] = (changed[i] ?? 0) ^ 1;
    assert.equal(tokens.open(here, changed), undefined, `byte ${i}`);
    assert.equal(tokens.open(here, token.subarray(0, i)), undefined, `${i} bytes`);
  }
  assert.equal(tokens.open(here, Buffer.alloc(2000)), undefined);
  now += 9_000;
  assert.deepEqual(tokens.open(here, token), dcid);
  now += 2_000;
  assert.equal(tokens.open(here, token), undefined);
});
