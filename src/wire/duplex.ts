/** A wire as a Node.js `Duplex`, for `node:tls` over something that is not a socket. */

import { Duplex } from 'node:stream';
import type { Wire } from './wire.ts';

export const toDuplex = (wire: Wire): Duplex =>
  new Duplex({
    read() {
      wire.read().then(
        (chunk) => this.push(chunk),
        (error) => this.destroy(error),
      );
    },
    write(chunk: Uint8Array, _encoding, done) {
      pass(wire, [chunk], done);
    },
    writev(items, done) {
      pass(
        wire,
        items.map(({ chunk }) => chunk as Uint8Array),
        done,
      );
    },
    final(done) {
      wire.closeWrite();
      done();
    },
    destroy(error, done) {
      wire.close().then(() => done(error));
    },
  });

const pass = (wire: Wire, chunks: Uint8Array[], done: (error?: Error) => void): void => {
  try {
    let room = true;
    for (const chunk of chunks) room = wire.write(chunk);
    if (room) done();
    else wire.drain().then(() => done(), done);
  } catch (error) {
    done(error as Error);
  }
};
