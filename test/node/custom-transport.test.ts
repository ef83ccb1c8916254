/** A node with a transport of its user's, whose addresses have no IP address. */

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { isLeanError } from '../../src/errors.ts';
import { withoutPeer } from '../../src/multiaddr.ts';
import type { LeanNode, NodeOptions } from '../../src/node/node.ts';
import {
  AUTONAT_DIAL_BACK,
  checkAddresses,
  createDialBacks,
} from '../../src/protocols/autonat-v2.ts';
import { ping } from '../../src/protocols/ping.ts';
import { tcp } from '../../src/transports/factories.ts';
import { acceptedFrom, eventsOf, makeNode } from '../support/nodes.ts';
import { SUITE } from '../support/suite-limit.ts';
import { unix } from '../support/unix-transport.ts';

const LOOPBACK = '/ip4/127.0.0.1/tcp/0';

/** Makes nodes that reach each other over TCP and Unix domain sockets. */
const makerOf = async (t: TestContext): Promise<(options?: NodeOptions) => Promise<LeanNode>> => {
  const folder = await mkdtemp(path.join(tmpdir(), 'libp2p-lean-unix-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return (options = {}) => makeNode(t, { transports: [unix(folder), tcp()], ...options });
};

describe('a transport whose addresses have no IP address', SUITE, () => {
  it('dials and listens', async (t) => {
    const make = await makerOf(t);
    const [listener, dialer] = [await make(), await make()];
    const { address } = await listener.listen('/memory/1');
    assert.ok((await ping(await dialer.dial(address))) > 0);
    assert.ok((await ping(await acceptedFrom(listener, dialer))) > 0);
  });

  it('does not keep AutoNAT servers on other connections from being asked', async (t) => {
    const make = await makerOf(t);
    const nat = { autonat: true, allowPrivate: true };
    const servers = [await make({ nat }), await make({ nat })];
    const client = await make({ nat: { reachability: { confirmations: 1 }, allowPrivate: true } });
    const changed = eventsOf(client, 'reachability:change');
    await client.listen('/memory/1');
    const { address } = await client.listen(LOOPBACK);
    const [first, second] = servers.map((server, i) => server.listen(i ? LOOPBACK : '/memory/2'));
    await client.dial((await first)?.address ?? '');
    await client.dial((await second)?.address ?? '');
    const own = withoutPeer(address);
    while (client.reachability.status !== 'public') await changed.next();
    assert.deepEqual(client.reachability.addresses, [{ address: own, status: 'public' }]);
  });

  it('makes an AutoNAT server take the addresses of its clients for those of others', async (t) => {
    const make = await makerOf(t);
    const [server, client] = [
      await make({ nat: { autonat: { otherHostsPerMinute: 1 }, allowPrivate: true } }),
      await make(),
    ];
    const there = await server.listen('/memory/1');
    const { address } = await client.listen(LOOPBACK);
    const dialBacks = createDialBacks();
    client.handle(AUTONAT_DIAL_BACK, dialBacks.handle);
    const connection = await client.dial(there.address);
    const own = withoutPeer(address);
    const check = await checkAddresses(connection, [own], dialBacks);
    assert.deepEqual(check, { address: own, reachable: true });
    await assert.rejects(checkAddresses(connection, [own], dialBacks), (error) =>
      isLeanError(error, 'ERR_AUTONAT'),
    );
  });

  it('leads to a relay', async (t) => {
    const make = await makerOf(t);
    const [relay, listener, dialer] = [await make({ relay: true }), await make(), await make()];
    const { address } = await relay.listen('/memory/1');
    const { address: circuit } = await listener.listen(`${address}/p2p-circuit`);
    const connection = await dialer.dial(circuit);
    assert.ok(connection.circuit?.relay.equals(relay.peerId));
    assert.ok((await ping(connection)) > 0);
  });
});
