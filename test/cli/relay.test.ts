/** `relay`, `listen --relay` and a `ping` through it, for people. */

import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { type Participant, run, start } from '../support/participant.ts';
import { SUITE } from '../support/suite-limit.ts';

const HANG = { timeout: 60_000 };

const startFor = (t: TestContext, args: readonly string[]): Participant => {
  const participant = start(args);
  t.after(() => participant.dispose());
  return participant;
};

const LOOPBACK = '/ip4/127.0.0.1/udp/0/quic-v1';

describe('through a relay', SUITE, () => {
  test('a listener prints its circuit address, and replies turn direct', HANG, async (t) => {
    const relay = startFor(t, ['relay', LOOPBACK]);
    const [address = ''] = await relay.waitFor(/\/ip4\/127\.0\.0\.1\S+/);
    const listener = startFor(t, ['listen', '--relay', address, LOOPBACK]);
    const [circuit = ''] = await listener.waitFor(/\S+\/p2p-circuit\/p2p\/\w+/);
    assert.ok(circuit.startsWith(address));
    const pinging = startFor(t, ['ping', '-i', '0.05', circuit]);
    await pinging.waitFor(/^PING \S+: p2p-circuit\/noise\/yamux, connected/);
    // The connection may be direct before the first answer.
    await pinging.waitFor(/ time=\S+ ms (relayed|direct)\n/);
    await pinging.waitFor(/\nDIRECT \S+: quic-v1 \(\w+\), \d+ ms after the relayed connection\n/);
    await pinging.waitFor(/ time=\S+ ms direct\n/);
    pinging.kill('SIGINT');
    const { stdout } = await pinging.ended;
    assert.match(stdout, / 0% loss, time \d+ ms\n(relayed rtt min.* ms\ndirect )?rtt min.* ms\n$/);
    assert.equal(/ ms relayed\n/.test(stdout), /\nrelayed rtt/.test(stdout));
    await relay.waitFor(/ is relayed to /, 'stderr');
    const json = await run(['ping', '-c', '2', '-i', '0', '--json', circuit]);
    assert.equal(json.code, 0);
    const events = json.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    const direct = events.findIndex(({ event }) => event === 'direct');
    for (const [i, { event, relayed }] of events.entries()) {
      if (event !== 'answer') continue;
      if (direct < 0 || i < direct) assert.equal(relayed, true);
      else assert.equal(typeof relayed, 'boolean');
    }
    assert.equal(events.at(-1).answered, 2);
  });

  test('limits of a relay, and of its listeners', HANG, async (t) => {
    const relay = startFor(t, ['relay', LOOPBACK, '--limit', 'maxReservations=0']);
    const [address = ''] = await relay.waitFor(/\/ip4\/127\.0\.0\.1\S+/);
    const refused = await run(['listen', '--relay', address, LOOPBACK]);
    assert.equal(refused.code, 1);
    assert.equal(refused.stdout, '');
    assert.match(refused.stderr, /libp2p-lean: .*RESERVATION_REFUSED\n$/);
    for (const [name, why] of [
      ['maxReservations=x', /name=value/],
      ['circuitTime=99999999999', /circuitTime must be a whole number/],
      ['maxFun=1', /no limit maxFun/],
    ] as const) {
      const { code, stderr } = await run(['relay', LOOPBACK, '--limit', name]);
      assert.equal(code, 2);
      assert.match(stderr, why);
    }
    const nowhere = await run(['listen', '--relay', '/ip4/127.0.0.1/udp/1/quic-v1', LOOPBACK]);
    assert.equal(nowhere.code, 2);
    assert.match(nowhere.stderr, /^libp2p-lean: .*does not say which relay.*\n$/);
  });
});
