/** AutoNAT, every part ours, over each stack; with go-libp2p in autonat-peers.test.ts. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { describe, it, type TestContext } from 'node:test';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import type { Connection } from '../../src/connection.ts';
import { isLeanError } from '../../src/errors.ts';
import { parseMultiaddr, withoutPeer } from '../../src/multiaddr.ts';
import type { NatOptions } from '../../src/node/nat.ts';
import type { LeanNode } from '../../src/node/node.ts';
import {
  DIAL_STATUS,
  encodeDataRequest,
  encodeDialRequest,
  encodeDialResponse,
  MAX_AUTONAT_MESSAGE,
  RESPONSE_STATUS,
} from '../../src/protocols/autonat-messages.ts';
import { AUTONAT_V1 } from '../../src/protocols/autonat-v1.ts';
import {
  AUTONAT_DIAL_BACK,
  AUTONAT_DIAL_REQUEST,
  checkAddresses,
  createDialBacks,
} from '../../src/protocols/autonat-v2.ts';
import { readFields, writeBytes, writeVarint } from '../../src/protocols/fields.ts';
import { ping } from '../../src/protocols/ping.ts';
import { readMessage, writeMessage } from '../../src/stream/messages.ts';
import type { Stream } from '../../src/stream.ts';
import { tcp } from '../../src/transports/factories.ts';
import { longEnough } from '../support/long-enough.ts';
import { eventsOf, makeNode, type Stack, stacksHere } from '../support/nodes.ts';
import { inbox } from '../support/quic-helpers.ts';
import { SUITE } from '../support/suite-limit.ts';

/** Some engines do not hear that a port is closed. */
const QUICK = { dialTimeout: 1_000 };
const code = (expected: string, message?: RegExp) => (error: unknown) => {
  assert(isLeanError(error), String(error));
  assert.equal(error.code, expected, error.message);
  if (message !== undefined) assert.match(error.message, message);
  return true;
};

/** A server, and a client that is connected to it and takes dial-backs. */
const pair = async (t: TestContext, stack: Stack, nat: NatOptions = {}) => {
  const [server, client] = await Promise.all([
    makeNode(t, { ...stack.options, nat: { autonat: QUICK, allowPrivate: true, ...nat } }),
    makeNode(t, stack.options),
  ]);
  const [there, here] = [await server.listen(stack.listen()), await client.listen(stack.listen())];
  const connection = await client.dial(there.address);
  const dialBacks = createDialBacks();
  client.handle(AUTONAT_DIAL_BACK, dialBacks.handle);
  return { server, client, connection, dialBacks, here };
};

/** An address like `node`'s that nobody listens on. */
const deadAddress = async (t: TestContext, stack: Stack) => {
  const node = await makeNode(t, stack.options);
  const listener = await node.listen(stack.listen());
  await listener.close();
  return withoutPeer(listener.address);
};

const nextReachability = (node: LeanNode): Promise<unknown> =>
  new Promise((resolve) => {
    node.addEventListener('reachability:change', ({ detail }) => resolve(detail), { once: true });
  });

for (const stack of await stacksHere()) {
  describe(`AutoNAT over ${stack.name}`, SUITE, () => {
    it('tells which address can be dialled', async (t) => {
      const { connection, dialBacks, here } = await pair(t, stack);
      const [own, dead] = [withoutPeer(here.address), await deadAddress(t, stack)];
      // A busy machine may need longer for a handshake than the server waits.
      await longEnough([1, 2, 3], async () => {
        const first = await checkAddresses(connection, [own, dead], dialBacks);
        assert.deepEqual(first, { address: own, reachable: true });
      });
      const second = await checkAddresses(connection, [dead, own], dialBacks);
      assert.deepEqual(second, { address: dead, reachable: false });
    });

    it('dials nobody where it may not: the client is told so', async (t) => {
      const { connection, dialBacks, here } = await pair(t, stack, { allowPrivate: false });
      const wanted = [withoutPeer(here.address)];
      assert.equal(await checkAddresses(connection, wanted, dialBacks), undefined);
    });

    it('dials another host only for a client that pays for it', async (t) => {
      const { connection, dialBacks, here } = await pair(t, stack);
      const other = parseMultiaddr(
        withoutPeer(here.address).toString().replace('/127.0.0.1/', '/127.0.0.2/'),
      );
      // It is not bound there.
      const before = connection.stats?.()?.sentBytes;
      const check = await checkAddresses(connection, [other], dialBacks);
      assert.deepEqual(check, { address: other, reachable: false });
      const after = connection.stats?.()?.sentBytes;
      if (before !== undefined && after !== undefined) assert.ok(after - before >= 30_000);
      const refused = await pair(t, stack, { autonat: { otherHostsPerMinute: 0 } });
      await assert.rejects(
        checkAddresses(refused.connection, [other], refused.dialBacks),
        code('ERR_AUTONAT', /status 100/),
      );
    });

    it('rejects what is beyond its limits', async (t) => {
      const { connection, dialBacks, here } = await pair(t, stack, {
        autonat: { requestsPerMinutePerPeer: 2 },
      });
      const wanted = [withoutPeer(here.address)];
      for (let i = 0; i < 2; i++) {
        assert.equal((await checkAddresses(connection, wanted, dialBacks))?.reachable, true);
      }
      await assert.rejects(
        checkAddresses(connection, wanted, dialBacks),
        code('ERR_AUTONAT', /status 100/),
      );
    });

    it('believes no answer that makes no sense', async (t) => {
      const { server, connection, dialBacks, here } = await pair(t, stack);
      const answers = [
        claim(7),
        encodeDataRequest({ addressIndex: 0, bytes: 2 ** 40 }),
        encodeDialRequest({ addresses: [], nonce: 1n }),
      ];
      const errors = [
        code('ERR_PROTOCOL_VIOLATION', /not in the request/),
        code('ERR_PROTOCOL_VIOLATION', /bytes of dial data/),
        code('ERR_PROTOCOL_VIOLATION', /other than a response/),
      ];
      const wanted = [withoutPeer(here.address)];
      for (const [i, answer] of answers.entries()) {
        server.handle(AUTONAT_DIAL_REQUEST, async (stream) => {
          await readMessage(stream, MAX_AUTONAT_MESSAGE);
          await writeMessage(stream, answer);
        });
        const check = checkAddresses(connection, wanted, dialBacks);
        await assert.rejects(check, errors[i] as (error: unknown) => boolean);
      }
    });

    it('takes no dial data by the byte, and no dial-back that nobody asked for', async (t) => {
      const { server, client, connection } = await pair(t, stack);
      const other = parseMultiaddr(stack.listen().replace('127.0.0.1', '127.0.0.2'));
      const address = parseMultiaddr(other.toString().replace(/\/0(?=\/|$)/, '/9'));
      const stream = await connection.newStream(AUTONAT_DIAL_REQUEST);
      await writeMessage(stream, encodeDialRequest({ addresses: [address], nonce: 1n }));
      await readMessage(stream, MAX_AUTONAT_MESSAGE);
      await writeMessage(stream, oneByteOfData());
      await assert.rejects(readMessage(stream, MAX_AUTONAT_MESSAGE), code('ERR_STREAM_RESET'));
      const [back] = server.connections(client.peerId);
      const uninvited = await (back as Connection).newStream(AUTONAT_DIAL_BACK);
      await writeMessage(uninvited, Uint8Array.of(9, 1, 2, 3, 4, 5, 6, 7, 8));
      await assert.rejects(readMessage(uninvited, 64), code('ERR_STREAM_RESET'));
    });

    it('node.reachability follows what servers say', async (t) => {
      const servers = await Promise.all(
        [0, 1].map(() =>
          makeNode(t, { ...stack.options, nat: { autonat: true, allowPrivate: true } }),
        ),
      );
      const client = await makeNode(t, {
        ...stack.options,
        nat: { reachability: { confirmations: 2 }, allowPrivate: true },
      });
      assert.deepEqual(client.reachability, { status: 'unknown', addresses: [] });
      const { address } = await client.listen(stack.listen());
      const own = withoutPeer(address);
      for (const [i, server] of servers.entries()) {
        const told = i === 0 ? undefined : nextReachability(client);
        await client.dial((await server.listen(stack.listen())).address);
        const expected = { status: 'public', addresses: [{ address: own, status: 'public' }] };
        if (told !== undefined) assert.deepEqual(await told, expected);
      }
      assert.equal(client.reachability.status, 'public');
    });

    it('answers version 1, and dials the host that asks only', async (t) => {
      const { client, connection, here } = await pair(t, stack, { autonat: true });
      const elsewhere = withoutPeer(here.address).toString().replace('127.0.0.1', '127.0.0.9');
      // The host of the address is not taken from the message.
      const found = await askVersion1(connection, client, parseMultiaddr(elsewhere).bytes);
      assert.equal(found.status, 0);
      assert.deepEqual(Buffer.from(found.address), Buffer.from(withoutPeer(here.address).bytes));
      const none = await askVersion1(connection, client, parseMultiaddr('/ip4/1.2.3.4').bytes);
      assert.equal(none.status, 101);
    });
  });
}

describe('AutoNAT', SUITE, () => {
  const TCP = { transports: [tcp({ secureChannels: ['noise'], muxers: ['yamux'] })] };
  const LOOPBACK = '/ip4/127.0.0.1/tcp/0';
  const nat = { reachability: { confirmations: 1 }, allowPrivate: true };

  it('does not say why a dial failed, in version 1: it is no port scanner', async (t) => {
    const server = await makeNode(t, { ...TCP, nat: { autonat: true, allowPrivate: true } });
    const client = await makeNode(t, TCP);
    const connection = await client.dial((await server.listen(LOOPBACK)).address);
    const other = createServer((socket) => socket.end('220 mail.example.org\r\n'));
    t.after(() => other.close());
    other.listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const answers = await Promise.all(
      [`/ip4/127.0.0.1/tcp/${port}`, '/ip4/127.0.0.1/tcp/1'].map((address) =>
        askVersion1(connection, client, parseMultiaddr(address).bytes),
      ),
    );
    assert.equal(answers[0]?.status, 100);
    assert.deepEqual(answers[0], answers[1]);
  });

  it('keeps to the limits of its node on the connections that it dials', async (t) => {
    const nat = { autonat: true, allowPrivate: true };
    const server = await makeNode(t, { ...TCP, limits: { maxStreams: 2 }, nat });
    const client = await makeNode(t, TCP);
    const { address } = await server.listen('/ip4/127.0.0.1/tcp/0');
    const { address: own } = await client.listen('/ip4/127.0.0.1/tcp/0');
    const pings = inbox<string[]>();
    client.handle(AUTONAT_DIAL_BACK, async (_stream, back) => {
      const all = Array.from({ length: 6 }, () => ping(back));
      pings.push((await Promise.allSettled(all)).map(({ status }) => status));
    });
    const stream = await (await client.dial(address)).newStream(AUTONAT_DIAL_REQUEST);
    const request = { addresses: [withoutPeer(own)], nonce: 1n };
    await writeMessage(stream, encodeDialRequest(request));
    const ends = await pings.next();
    assert.ok(ends.includes('rejected'), `${ends}`);
  });

  it('asks a server that refuses no more often because somebody comes and goes', async (t) => {
    const [client, server, other] = [
      await makeNode(t, { ...TCP, nat }),
      await makeNode(t, TCP),
      await makeNode(t, TCP),
    ];
    const asked = inbox<void>();
    server.handle(AUTONAT_DIAL_REQUEST, async (stream) => {
      asked.push();
      await readMessage(stream, MAX_AUTONAT_MESSAGE);
      const refusal = { status: RESPONSE_STATUS.E_DIAL_REFUSED, addressIndex: 0, dialStatus: 0 };
      await writeMessage(stream, encodeDialResponse(refusal));
    });
    const { address } = await client.listen(LOOPBACK);
    await client.dial((await server.listen(LOOPBACK)).address);
    await asked.next();
    for (let i = 0; i < 20; i++) {
      const connection = await other.dial(address);
      await ping(connection);
      await connection.close();
    }
    // Were it asked again, it would be before this one.
    const second = await makeNode(t, { ...TCP, nat: { autonat: true, allowPrivate: true } });
    const changed = eventsOf(client, 'reachability:change');
    await client.dial((await second.listen(LOOPBACK)).address);
    while (client.reachability.status !== 'public') await changed.next();
    assert.equal(asked.size, 0);
  });

  const host = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .find(({ family, internal }) => family === 'IPv4' && !internal)?.address;
  const skip = host === undefined ? 'this machine has loopback only' : false;
  it('waits for one server of a host only, however many do not answer', { skip }, async (t) => {
    const client = await makeNode(t, { ...TCP, nat });
    const asked = inbox<Stream>();
    for (let i = 0; i < 3; i++) {
      const silent = await makeNode(t, TCP);
      silent.handle(AUTONAT_DIAL_REQUEST, async (stream) => {
        asked.push(stream);
        await new Promise(() => {});
      });
      await client.dial((await silent.listen(`/ip4/${host}/tcp/0`)).address);
    }
    const good = await makeNode(t, { ...TCP, nat: { autonat: true, allowPrivate: true } });
    await client.dial((await good.listen(LOOPBACK)).address);
    const changed = eventsOf(client, 'reachability:change');
    await client.listen(LOOPBACK);
    // As if the time limit had passed.
    (await asked.next()).reset();
    const told = async (): Promise<string> => {
      while (client.reachability.status !== 'public') await changed.next();
      return 'the good one was asked';
    };
    const next = asked.next().then(() => 'another one of the same host was asked');
    assert.equal(await Promise.race([told(), next]), 'the good one was asked');
  });

  it('believes no server that claims a dial which did not arrive', async (t) => {
    const stack = (await stacksHere()).at(-1) as Stack;
    const { server, connection, dialBacks, here } = await pair(t, stack);
    server.handle(AUTONAT_DIAL_REQUEST, async (stream) => {
      await readMessage(stream, MAX_AUTONAT_MESSAGE);
      await writeMessage(stream, claim(0));
    });
    await assert.rejects(
      checkAddresses(connection, [withoutPeer(here.address)], dialBacks),
      code('ERR_AUTONAT', /did not arrive/),
    );
  });
});

/** That an address was dialled. */
const claim = (addressIndex: number): Uint8Array =>
  encodeDialResponse({ status: RESPONSE_STATUS.OK, addressIndex, dialStatus: DIAL_STATUS.OK });

const oneByteOfData = (): Uint8Array => {
  const inner = new BinaryWriter();
  writeBytes(inner, 1, Uint8Array.of(1));
  const writer = new BinaryWriter();
  writeBytes(writer, 4, inner.finish());
  return writer.finish();
};

const askVersion1 = async (connection: Connection, client: LeanNode, address: Uint8Array) => {
  const info = new BinaryWriter();
  writeBytes(info, 1, client.peerId.multihash);
  writeBytes(info, 2, address);
  const dial = new BinaryWriter();
  writeBytes(dial, 1, info.finish());
  const writer = new BinaryWriter();
  writeVarint(writer, 1, 0);
  writeBytes(writer, 2, dial.finish());
  const stream = await connection.newStream(AUTONAT_V1);
  await writeMessage(stream, writer.finish());
  let status = -1;
  let text = '';
  let found = new Uint8Array(0);
  readFields('test', await readMessage(stream, MAX_AUTONAT_MESSAGE), {
    bytes: {
      3: (response) =>
        readFields('test', response, {
          varint: {
            1: (value) => {
              status = value;
            },
          },
          bytes: {
            2: (value) => {
              text = Buffer.from(value).toString();
            },
            3: (value) => {
              found = Uint8Array.from(value);
            },
          },
        }),
    },
  });
  return { status, text, address: found };
};
