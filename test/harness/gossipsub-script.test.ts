/** The scripts of gossipsub-interop: what is read, and what is refused in one line. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { peerIdFromPrivateKey } from '@libp2p/peer-id';
import { scriptOf } from '../../interop/gossipsub/script.ts';
import { isHarnessError } from '../../src/harness/errors.ts';
import { messageIdOf, nodeKey, optionsOf } from '../../src/harness/gossipsub-node.ts';
import { parseScript } from '../../src/harness/gossipsub-script.ts';

const parse = (...script: readonly object[]) => parseScript(JSON.stringify({ script }));

describe("gossipsub-interop's scripts", () => {
  test('every instruction, as upstream writes it', () => {
    const script = [
      { type: 'initGossipSub', gossipSubParams: { D: 8, HeartbeatInterval: null } },
      { type: 'connect', connectTo: [1, 2] },
      {
        type: 'ifNodeIDEquals',
        nodeID: 3,
        instruction: { type: 'waitUntil', elapsedSeconds: 30 },
      },
      { type: 'publish', messageID: 7, messageSizeBytes: 1024, topicID: 'a' },
      { type: 'subscribeToTopic', topicID: 'a', partial: false },
      { type: 'setTopicValidationDelay', topicID: 'a', delaySeconds: 0.1 },
      { type: 'addPartialMessage', parts: 1, topicID: 'a', groupID: 1 },
    ];
    const parsed = parse(...script);
    assert.deepEqual(parsed[0], { type: 'initGossipSub', gossipSubParams: { D: 8 } });
    assert.deepEqual(parsed.slice(1, 6), script.slice(1, 6));
    assert.deepEqual(parsed[6], { type: 'addPartialMessage' });
  });

  test("the runner's own scripts are scripts", () => {
    const experiment = {
      ...{ nodes: 5, degree: 2, messages: 3, messageSizeBytes: 64 },
      ...{ settleSecs: 1, pauseSecs: 1, endSecs: 1, seed: 7 },
    };
    const made = scriptOf(experiment);
    const parsed = parseScript(JSON.stringify(made));
    assert.equal(parsed.filter(({ type }) => type === 'waitUntil').length, 4);
    assert.deepEqual(scriptOf(experiment), made);
    assert.notDeepEqual(scriptOf({ ...experiment, seed: 8 }), made);
    // All are connected: each with one before it.
    for (let node = 1; node < 5; node++) {
      const of = parsed.find((one) => one.type === 'ifNodeIDEquals' && one.nodeID === node);
      assert.ok(of?.type === 'ifNodeIDEquals' && of.instruction.type === 'connect');
      assert.ok(of.instruction.connectTo.includes(node - 1));
      assert.ok(of.instruction.connectTo.every((target) => target < node));
    }
  });

  const nested = (depth: number): object =>
    depth === 0
      ? { type: 'waitUntil', elapsedSeconds: 1 }
      : { type: 'ifNodeIDEquals', nodeID: 1, instruction: nested(depth - 1) };

  for (const [what, text, message] of [
    ['no JSON', '{', /^the params file is not JSON$/],
    ['no script', '{}', /^the params file: script is not a list$/],
    ['a list', '[]', /is not an object$/],
    ['an unknown instruction', { type: 'dance' }, /script\[0\]\.type is no instruction$/],
    ['a node that is none', { type: 'connect', connectTo: [-1] }, /connectTo\[0\] is not a number/],
    ['half a node', { type: 'connect', connectTo: [0.5] }, /connectTo\[0\] is not a whole number$/],
    [
      'a message without room for its id',
      { type: 'publish', messageID: 1, messageSizeBytes: 7, topicID: 'a' },
      /messageSizeBytes is not a number from 8/,
    ],
    [
      'a message without end',
      { type: 'publish', messageID: 1, messageSizeBytes: 2 ** 40, topicID: 'a' },
      /messageSizeBytes is not a number/,
    ],
    ['no topic', { type: 'subscribeToTopic' }, /topicID is not a topic$/],
    ['nesting without end', nested(100), /nested too deeply$/],
    [
      'a parameter that is no number',
      { type: 'initGossipSub', gossipSubParams: { D: 'many' } },
      /gossipSubParams\.D is not a number/,
    ],
  ] as const) {
    test(`${what} is refused`, () => {
      assert.throws(
        () => (typeof text === 'string' ? parseScript(text) : parse(text)),
        (error) => isHarnessError(error, 'ERR_CONFIG') && message.test(error.message),
      );
    });
  }
});

test('parameters: durations of nanoseconds become milliseconds; what js-libp2p lacks is named', () => {
  const { known, unknown } = optionsOf({
    Dlazy: 3,
    HeartbeatInterval: 7e8,
    Connectors: 2,
    constructor: 1,
  });
  assert.deepEqual(known, { Dlazy: 3, heartbeatInterval: 700 });
  assert.deepEqual(unknown, ['Connectors', 'constructor']);
});

test("a node's key is its number, little-endian; a message's id its first 8 bytes, big-endian", async () => {
  // As go's node logs it for node0: `go-libp2p` with a seed of 32 zero bytes.
  const zero = peerIdFromPrivateKey(await nodeKey(0));
  assert.equal(`${zero}`, '12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN');
  assert.notEqual(`${peerIdFromPrivateKey(await nodeKey(1))}`, `${zero}`);
  assert.equal(messageIdOf(Buffer.from('00000000000001ff99', 'hex')), '511');
  assert.equal(messageIdOf(Buffer.from('00000000000001', 'hex')), '0');
});
