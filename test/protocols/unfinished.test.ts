/** Peers that answer and never finish their side of the stream: it must not stay for as long as the connection does. */

import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import type { Connection } from '../../src/connection.ts';
import type { StreamHandler } from '../../src/node/protocols.ts';
import {
  DIAL_STATUS,
  encodeDialResponse,
  RESPONSE_STATUS,
} from '../../src/protocols/autonat-messages.ts';
import {
  AUTONAT_DIAL_REQUEST,
  checkAddresses,
  createDialBacks,
} from '../../src/protocols/autonat-v2.ts';
import { CIRCUIT_HOP, reserve } from '../../src/protocols/circuit-hop.ts';
import { encodeHop } from '../../src/protocols/circuit-messages.ts';
import { DCUTR, encodeHolePunch, initiateDcutr } from '../../src/protocols/dcutr.ts';
import { IDENTIFY_PUSH, pushIdentify } from '../../src/protocols/identify.ts';
import { PING, PING_SIZE, ping } from '../../src/protocols/ping.ts';
import { readExactly } from '../../src/stream/bytes.ts';
import { readMessage, writeMessage } from '../../src/stream/messages.ts';
import type { Stream } from '../../src/stream.ts';
import { tcp } from '../../src/transports/factories.ts';
import { makeNode } from '../support/nodes.ts';
import { SUITE } from '../support/suite-limit.ts';

const never = (): Promise<void> => new Promise(() => {});
const MINUTE = 60_000;

const NOBODY = {
  publicKey: undefined,
  listenAddrs: [],
  observedAddr: undefined,
  protocols: [],
  agentVersion: undefined,
  protocolVersion: undefined,
};

interface Case {
  readonly protocol: string;
  /** What the peer does before it is silent. */
  readonly answer: (stream: Stream) => Promise<void>;
  readonly ask: (connection: Connection) => Promise<unknown>;
}

const CASES: readonly Case[] = [
  {
    protocol: PING,
    answer: async (stream) => void stream.write(await readExactly(stream, PING_SIZE)),
    ask: (connection) => ping(connection),
  },
  {
    protocol: IDENTIFY_PUSH,
    answer: async () => {},
    ask: (connection) => pushIdentify(connection, NOBODY),
  },
  {
    protocol: CIRCUIT_HOP,
    answer: async (stream) => {
      await readMessage(stream, 4096);
      const reservation = { expires: Date.now() + MINUTE, addresses: [], voucher: undefined };
      await writeMessage(stream, encodeHop({ type: 2, status: 100, reservation }));
    },
    ask: (connection) => reserve(connection),
  },
  {
    protocol: AUTONAT_DIAL_REQUEST,
    answer: async (stream) => {
      await readMessage(stream, 8192);
      const dialStatus = DIAL_STATUS.E_DIAL_ERROR;
      const response = { status: RESPONSE_STATUS.OK, addressIndex: 0, dialStatus };
      await writeMessage(stream, encodeDialResponse(response));
    },
    ask: (connection) => checkAddresses(connection, [connection.remoteAddress], createDialBacks()),
  },
  {
    protocol: DCUTR,
    answer: async (stream) => {
      await readMessage(stream, 4096);
      await writeMessage(stream, encodeHolePunch({ type: 100, addresses: [] }));
      await readMessage(stream, 4096);
      // Nobody asked for it.
      stream.write(new Uint8Array(1));
    },
    ask: (connection) => initiateDcutr(connection, []),
  },
];

describe('a peer that answers and does not finish', SUITE, () => {
  const connect = async (
    t: TestContext,
    muxer: 'yamux' | 'mplex',
    protocol: string,
    handler: StreamHandler,
  ): Promise<Connection> => {
    const options = { transports: [tcp({ secureChannels: ['noise'], muxers: [muxer] })] };
    const [listener, dialer] = [await makeNode(t, options), await makeNode(t, options)];
    listener.handle(protocol, handler);
    const { address } = await listener.listen('/ip4/127.0.0.1/tcp/0');
    return dialer.dial(address);
  };
  for (const muxer of ['yamux', 'mplex'] as const) {
    for (const { protocol, answer, ask } of CASES) {
      it(`${protocol} over ${muxer}`, async (t) => {
        const connection = await connect(t, muxer, protocol, async (stream) => {
          await answer(stream);
          await never();
        });
        t.mock.timers.enable({ apis: ['setTimeout'] });
        await ask(connection);
        await ask(connection);
        t.mock.timers.tick(MINUTE);
        for (let turn = 0; turn < 100 && connection.memory.streams > 0; turn++) {
          await new Promise((resolve) => setImmediate(resolve));
        }
        assert.equal(connection.memory.streams, 0);
      });
    }
  }
});
