/** When a private method of `node:quic` is taken for what it was. */

import assert from 'node:assert/strict';
import { isBuiltin } from 'node:module';
import { test } from 'node:test';
import { finishCloseOf } from '../../../src/quic/node/finish-close.ts';
import type { NodeQuicSession } from '../../../src/quic/node/types.ts';

const sessionWith = (description: string, method: unknown): NodeQuicSession =>
  Object.create({ [Symbol(description)]: method });

const four = (_type: number, _code: bigint, _reason: string, _name: string): void => {};
const two = (_error: Error, _code: bigint): void => {};

test('it is found in the versions that are known', () => {
  const session = sessionWith('kFinishClose', four);
  for (const version of ['24.20.0', '26.3.0']) {
    assert.equal(finishCloseOf(session, version)?.description, 'kFinishClose');
  }
});

test('it is left alone in others, and where it is not what it was', () => {
  for (const version of ['25.4.0', '27.0.0', '4.2.0', '240.0.0']) {
    assert.equal(finishCloseOf(sessionWith('kFinishClose', four), version), undefined);
  }
  assert.equal(finishCloseOf(sessionWith('kFinishClose', two), '26.3.0'), undefined);
  assert.equal(finishCloseOf(sessionWith('kFinishClose', 4), '26.3.0'), undefined);
  assert.equal(finishCloseOf(sessionWith('kFinish', four), '26.3.0'), undefined);
});

test('this Node.js has it', { skip: !isBuiltin('node:quic') && 'no node:quic here' }, async () => {
  const specifier: string = 'node:quic';
  const { QuicSession } = (await import(specifier)) as { QuicSession: { prototype: object } };
  assert.ok(finishCloseOf(Object.create(QuicSession.prototype)));
});
