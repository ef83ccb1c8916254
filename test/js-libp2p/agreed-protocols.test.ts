import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createAgreedProtocols } from '../../src/js-libp2p/agreed-protocols.ts';

test('of what peers agreed to, so much is remembered, the newest', () => {
  const agreed = createAgreedProtocols(2);
  agreed.add('a', '/x');
  agreed.add('b', '/x');
  agreed.add('a', '/x');
  agreed.add('a', '/y');
  assert.deepEqual(
    [agreed.has('a', '/x'), agreed.has('b', '/x'), agreed.has('a', '/y')],
    [true, false, true],
  );
  agreed.delete('a', '/y');
  assert.equal(agreed.has('a', '/y'), false);
  for (let i = 0; i < 10_000; i++) agreed.add('c', `/${i}`);
  assert.equal(agreed.has('a', '/x'), false);
});
