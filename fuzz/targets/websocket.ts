/** WebSocket frames from a client, as the wire over them gives them (src/wire/websocket-wire.ts). */

import type { IncomingMessage } from 'node:http';
import { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { wsWire } from '../../src/wire/websocket-wire.ts';
import type { FuzzTarget } from '../runner/target.ts';
import { check, expected } from '../support/expect.ts';
import { chunksOf, inChunks } from '../support/pipe.ts';

/** As in src/transports/websocket.ts. */
const server = new WebSocketServer({
  perMessageDeflate: false,
  maxPayload: 1 << 20,
  skipUTF8Validation: true,
  noServer: true,
});

const request = {
  method: 'GET',
  url: '/',
  headers: {
    upgrade: 'websocket',
    connection: 'upgrade',
    'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'sec-websocket-version': '13',
  },
} as unknown as IncomingMessage;

/** A frame masked with zeros. */
const frame = (first: number, body: string): Uint8Array =>
  Buffer.concat([Uint8Array.of(first, 0x80 | body.length, 0, 0, 0, 0), Buffer.from(body)]);

export const target: FuzzTarget = {
  seeds: () => [
    inChunks(0, frame(0x82, 'hello'), frame(0x88, '')),
    inChunks(3, frame(0x02, 'a'), frame(0x89, 'ping'), frame(0x80, 'b')),
    inChunks(0, frame(0x81, 'text'), frame(0x88, '\x03\xe8bye')),
    inChunks(7, Uint8Array.of(0x82, 0xfe, 0x01, 0x00, 0, 0, 0, 0), new Uint8Array(256)),
  ],
  words: [
    frame(0x82, 'x'),
    frame(0x00, 'y'),
    frame(0x8a, ''),
    Uint8Array.of(0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 1),
  ],
  fuzz: async (data) => {
    const chunks = chunksOf(data);
    const duplex = new Duplex({
      read() {
        this.push(chunks.shift() ?? null);
      },
      write: (_chunk, _encoding, done) => done(),
    });
    const socket = await new Promise<WebSocket>((resolve) => {
      server.handleUpgrade(request, duplex, Buffer.alloc(0), resolve);
    });
    const wire = wsWire(socket, duplex, false, 'fuzz');
    try {
      for await (const chunk of wire) check(chunk.length > 0, 'no chunk is empty');
    } catch (error) {
      expected(error, 'ERR_CONNECTION_CLOSED');
    }
    wire.reset();
  },
};
