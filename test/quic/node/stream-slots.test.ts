/** Who may open a stream, and who waits. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LeanError } from '../../../src/errors.ts';
import { StreamSlots } from '../../../src/quic/node/stream-slots.ts';
import { rejection } from '../../support/quic-helpers.ts';

test('as many as were granted at once, then one for each that is given back, in turn', async () => {
  const slots = new StreamSlots(2);
  assert.equal(slots.take(), undefined);
  assert.equal(slots.take(), undefined);
  const order: string[] = [];
  const waiting = ['one', 'two'].map((name) => slots.take()?.then(() => order.push(name)));
  slots.give();
  await waiting[0];
  assert.deepEqual(order, ['one']);
  slots.give();
  await waiting[1];
  assert.deepEqual(order, ['one', 'two']);
  slots.give();
  assert.equal(slots.take(), undefined);
});

test('who gives up leaves the queue, and the next one goes on', async () => {
  const slots = new StreamSlots(1);
  slots.take();
  const controller = new AbortController();
  const first = slots.take(controller.signal);
  const second = slots.take();
  controller.abort();
  const error = await rejection(first ?? Promise.resolve());
  assert.ok(error instanceof LeanError);
  assert.equal(error.code, 'ERR_ABORTED');
  slots.give();
  await second;
});

test('the end of the connection is everybody’s; a peer that grants none is tried once', async () => {
  const slots = new StreamSlots(0);
  assert.equal(slots.take(), undefined);
  const ended = new LeanError('ERR_CONNECTION_CLOSED', 'over');
  const waiting = rejection(slots.take() ?? Promise.resolve());
  slots.end(ended);
  assert.equal(await waiting, ended);
});
