/** What the runner of gossipsub-interop reads in the nodes' logs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deliveriesOf } from '../../interop/gossipsub/deliveries.ts';

const received = (id: string) =>
  JSON.stringify({ time: '2026-01-01T00:00:00Z', msg: 'Received Message', topic: 't', id });

test('deliveries, duplicates and what nobody sent', () => {
  const log = [
    '{"msg":"PeerID","id":"12D3","node_id":0}',
    received('1'),
    received('1'),
    received('0'), // its own, come back
    received('2'),
    received('77'),
    'Received Message, but no JSON',
    '{"msg":"Sent Message","id":"3","note":"no Received Message"}',
    '',
  ].join('\n');
  assert.deepEqual(deliveriesOf(log, new Set(['0']), new Set(['0', '1', '2', '3'])), {
    delivered: 2,
    expected: 3,
    duplicates: 2,
    strange: ['77'],
  });
});
