import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isLeanError } from '../src/errors.ts';
import { MULTISTREAM, negotiate, select, selectLazily } from '../src/multistream.ts';
import { readExactly, writeAll } from '../src/stream/bytes.ts';
import { type Stream, StreamResetError } from '../src/stream.ts';
import { type PairOptions, streamPair } from './support/stream-pair.ts';

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const string = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
/** One message as the spec writes it; names in these tests are short, so the varint is one byte. */
const message = (line: string): Uint8Array => {
  const body = text(`${line}\n`);
  return Buffer.concat([Uint8Array.of(body.length), body]);
};
const messages = (...lines: string[]): Uint8Array => Buffer.concat(lines.map(message));

const readAll = async (stream: Stream): Promise<string> => {
  const chunks: Uint8Array[] = [];
  for (;;) {
    const chunk = await stream.read();
    if (chunk === null) return string(Buffer.concat(chunks));
    chunks.push(chunk);
  }
};
const code = (expected: string) => (error: unknown) => {
  assert(isLeanError(error), String(error));
  assert.equal(error.code, expected, error.message);
  return true;
};

const deliveries = ['as-written', 'coalesced', 'bytewise'] as const;
const everyDelivery = (name: string, run: (options: PairOptions) => Promise<void>) => {
  for (const delivery of deliveries) it(`${name} (${delivery})`, () => run({ delivery }));
};

describe('multistream-select on the wire', () => {
  it('is a varint length, the text and a newline', async () => {
    const [dialer, listener] = streamPair();
    selectLazily(dialer, '/a/1').closeWrite();
    assert.equal(await readAll(listener), '\x13/multistream/1.0.0\n\x05/a/1\n');
  });

  it('writes two-byte lengths for long names', async () => {
    const [dialer, listener] = streamPair();
    const long = `/${'x'.repeat(200)}`;
    const chosen = select(dialer, [long]);
    assert.equal(await negotiate(listener, [long]), long);
    assert.equal(await chosen, long);
    assert.equal(Buffer.from(dialer.flights[0] ?? []).toString('hex', 20, 23), 'ca012f');
  });
});

describe('select, the eager dialer', () => {
  everyDelivery('agrees on the first protocol in one round trip', async (options) => {
    const [dialer, listener] = streamPair(options);
    const chosen = select(dialer, ['/a/1', '/b/1']);
    assert.equal(await negotiate(listener, ['/b/1', '/a/1']), '/a/1');
    assert.equal(await chosen, '/a/1');
    assert.equal(dialer.flights.length, 1);
    // What follows the negotiation is left for the protocol.
    listener.write(text('hello'));
    assert.equal(string(await readExactly(dialer, 5)), 'hello');
    dialer.write(text('world'));
    assert.equal(string(await readExactly(listener, 5)), 'world');
  });

  everyDelivery('goes on to the next protocol after na', async (options) => {
    const [dialer, listener] = streamPair(options);
    const chosen = select(dialer, ['/x/1', '/y/1', '/b/1']);
    assert.equal(await negotiate(listener, ['/b/1']), '/b/1');
    assert.equal(await chosen, '/b/1');
  });

  it('fails when the peer takes none, and both sides say so', async () => {
    const [dialer, listener] = streamPair();
    const refused = assert.rejects(
      negotiate(listener, ['/b/1']),
      code('ERR_PROTOCOL_NOT_SUPPORTED'),
    );
    await assert.rejects(select(dialer, ['/x/1', '/y/1']), (error) => {
      code('ERR_PROTOCOL_NOT_SUPPORTED')(error);
      assert.match(String(error), /\/x\/1, \/y\/1/);
      return true;
    });
    assert.notEqual(dialer.did.reset, undefined);
    await refused;
  });

  const junk: [string, Uint8Array, string][] = [
    ['another header', messages('/http/1.1'), 'ERR_PROTOCOL_VIOLATION'],
    ['another protocol', messages(MULTISTREAM, '/z/1'), 'ERR_PROTOCOL_VIOLATION'],
    ['na instead of a header', messages('na'), 'ERR_PROTOCOL_VIOLATION'],
    ['no newline', Uint8Array.of(3, 97, 98, 99), 'ERR_PROTOCOL_VIOLATION'],
    ['an empty message', Uint8Array.of(0), 'ERR_PROTOCOL_VIOLATION'],
    [
      'an HTTP answer',
      text('HTTP/1.1 400 Bad Request\r\n\r\n'.repeat(9)),
      'ERR_PROTOCOL_VIOLATION',
    ],
    ['1,025 bytes', Uint8Array.of(0x81, 0x08), 'ERR_MESSAGE_TOO_LONG'],
    ['2^40 bytes', Uint8Array.of(0x80, 0x80, 0x80, 0x80, 0x80, 0x20), 'ERR_MESSAGE_TOO_LONG'],
    ['a length without end', new Uint8Array(64).fill(0x80), 'ERR_PROTOCOL_VIOLATION'],
    ['a padded length', Uint8Array.of(0x85, 0x00), 'ERR_PROTOCOL_VIOLATION'],
  ];
  for (const [name, answer, expected] of junk) {
    it(`refuses ${name}`, async () => {
      const [dialer, listener] = streamPair();
      listener.write(answer);
      await assert.rejects(select(dialer, ['/a/1']), code(expected));
      assert.notEqual(dialer.did.reset, undefined);
    });
  }

  it('reports a peer that closes without an answer, or in the middle of one', async () => {
    for (const answer of [
      new Uint8Array(0),
      messages(MULTISTREAM),
      message('/a/1').subarray(0, 3),
    ]) {
      const [dialer, listener] = streamPair();
      listener.write(answer);
      listener.closeWrite();
      await assert.rejects(select(dialer, ['/a/1']), code('ERR_EOF'));
    }
  });
});

describe('selectLazily, the lazy dialer', () => {
  everyDelivery('sends header, proposal and payload in one flight', async (options) => {
    const [dialer, listener] = streamPair(options);
    const stream = selectLazily(dialer, '/a/1');
    stream.write(text('payload'));
    stream.closeWrite();
    assert.equal(await negotiate(listener, ['/a/1']), '/a/1');
    assert.equal(await readAll(listener), 'payload');
    listener.write(text('answer'));
    listener.closeWrite();
    assert.equal(await readAll(stream), 'answer');
    assert.equal(await stream.read(), null);
    assert.equal(dialer.flights.length, 1);
    // The listener's header, its answer and its payload leave together, too.
    if (options.delivery !== 'bytewise') {
      const answer = Buffer.concat([messages(MULTISTREAM, '/a/1'), text('answer')]);
      assert.equal(string(listener.flights[0] ?? text('')), string(answer));
    }
  });

  it('still sends all in one flight when the stream is handed through promises', async () => {
    const [dialer, listener] = streamPair();
    const open = async () => selectLazily(dialer, '/a/1');
    const stream = await (async () => await open())();
    stream.write(text('payload'));
    await negotiate(listener, ['/a/1']);
    assert.equal(string(await readExactly(listener, 7)), 'payload');
    assert.equal(dialer.flights.length, 1);
  });

  everyDelivery('learns of na at its first read and at every later one', async (options) => {
    const [dialer, listener] = streamPair(options);
    const stream = selectLazily(dialer, '/a/1');
    stream.write(text('\x05payload that is no message'));
    const refused = assert.rejects(
      negotiate(listener, ['/b/1']),
      code('ERR_PROTOCOL_NOT_SUPPORTED'),
    );
    await assert.rejects(stream.read(), code('ERR_PROTOCOL_NOT_SUPPORTED'));
    await assert.rejects(stream.read(), code('ERR_PROTOCOL_NOT_SUPPORTED'));
    assert.throws(() => stream.write(text('more')), code('ERR_STREAM_CLOSED'));
    await refused;
    // `na` must arrive, so the listener may not reset the stream.
    assert.equal(listener.did.reset, undefined);
    assert.equal(listener.did.closedWrite, true);
    assert.equal(listener.did.stopped, 0x1001);
  });

  it('takes a reset with go-libp2p code StreamProtocolNegotiationFailed for na', async () => {
    const [dialer, listener] = streamPair();
    const stream = selectLazily(dialer, '/a/1');
    listener.reset(0x1001);
    await assert.rejects(stream.read(), code('ERR_PROTOCOL_NOT_SUPPORTED'));
  });

  it('names the proposal when the peer resets the stream with another code, and keeps the code', async () => {
    const [dialer, listener] = streamPair();
    const stream = selectLazily(dialer, '/a/1');
    listener.reset(7);
    await assert.rejects(stream.read(), (error) => {
      assert(error instanceof StreamResetError && error.code === 'ERR_STREAM_RESET', String(error));
      assert.equal(error.resetCode, 7);
      assert.match(error.message, /the peer reset .* \/a\/1.*may not support/);
      return true;
    });
    // What we did ourselves is not laid at the peer's door.
    const [ours] = streamPair();
    const abandoned = selectLazily(ours, '/a/1');
    const reading = abandoned.read();
    abandoned.reset();
    await assert.rejects(reading, /by this side/);
    // Nor what comes after the answer.
    const [late, accepting] = streamPair();
    const agreed = selectLazily(late, '/a/1');
    assert.equal(await negotiate(accepting, ['/a/1']), '/a/1');
    await writeAll(accepting, text('x'));
    await agreed.read();
    accepting.reset(7);
    await assert.rejects(agreed.read(), /^(?!.*support)/);
  });

  it('refuses a wrong answer', async () => {
    const [dialer, listener] = streamPair();
    listener.write(messages(MULTISTREAM, '/z/1'));
    await assert.rejects(selectLazily(dialer, '/a/1').read(), code('ERR_PROTOCOL_VIOLATION'));
    assert.notEqual(dialer.did.reset, undefined);
  });

  it('lets a caller close without reading', async () => {
    const [dialer, listener] = streamPair();
    const stream = selectLazily(dialer, '/a/1');
    stream.write(text('x'));
    stream.closeWrite();
    assert.equal(await negotiate(listener, ['/a/1']), '/a/1');
    assert.equal(await readAll(listener), 'x');
  });

  it('tells the peer to stop only after its answer', async () => {
    const [dialer, listener] = streamPair();
    const stream = selectLazily(dialer, '/a/1');
    stream.stopSending(9);
    stream.closeWrite();
    assert.equal(dialer.did.stopped, undefined);
    assert.equal(await negotiate(listener, ['/a/1']), '/a/1');
    while (dialer.did.stopped === undefined) await new Promise(setImmediate);
    assert.equal(dialer.did.stopped, 9);
    assert.equal(dialer.did.reset, undefined);
  });

  it('puts back what a parser read too far', async () => {
    const [dialer, listener] = streamPair({ delivery: 'coalesced' });
    const stream = selectLazily(dialer, '/a/1');
    listener.write(Buffer.concat([messages(MULTISTREAM, '/a/1'), text('abcdef')]));
    assert.equal(string(await readExactly(stream, 2)), 'ab');
    assert.equal(string(await readExactly(stream, 4)), 'cdef');
  });
});

describe('negotiate, the listener', () => {
  everyDelivery('answers an eager peer that waits for each answer', async (options) => {
    const [dialer, listener] = streamPair(options);
    const chosen = negotiate(listener, ['/a/1']);
    const expect = async (line: string) => {
      assert.deepEqual(
        Buffer.from(await readExactly(dialer, line.length + 2)),
        Buffer.from(message(line)),
      );
    };
    dialer.write(message(MULTISTREAM));
    await expect(MULTISTREAM);
    dialer.write(message('/x/1'));
    await expect('na');
    dialer.write(message('no slash, and ünïcode'));
    await expect('na');
    dialer.write(message('/a/1'));
    await expect('/a/1');
    assert.equal(await chosen, '/a/1');
  });

  it('takes a predicate', async () => {
    const [dialer, listener] = streamPair();
    dialer.write(messages(MULTISTREAM, '/a/1', '/b/2'));
    assert.equal(await negotiate(listener, (protocol) => protocol.startsWith('/b/')), '/b/2');
  });

  it('lists what it supports on ls', async () => {
    const [dialer, listener] = streamPair();
    const chosen = negotiate(listener, ['/a/1', '/b/1']);
    dialer.write(messages(MULTISTREAM, 'ls', '/b/1'));
    assert.equal(await chosen, '/b/1');
    listener.closeWrite();
    const list = '\x05/a/1\n\x05/b/1\n\n';
    assert.equal(
      await readAll(dialer),
      `${string(message(MULTISTREAM))}${String.fromCharCode(list.length)}${list}\x05/b/1\n`,
    );
  });

  it('answers na to ls where it has no list', async () => {
    const [dialer, listener] = streamPair();
    dialer.write(messages(MULTISTREAM, 'ls', '/b/1'));
    assert.equal(await negotiate(listener, (protocol) => protocol === '/b/1'), '/b/1');
    listener.closeWrite();
    assert.equal(await readAll(dialer), string(messages(MULTISTREAM, 'na', '/b/1')));
  });

  it('serves a peer that has closed its side or stopped reading', async () => {
    const [dialer, listener] = streamPair();
    dialer.write(messages(MULTISTREAM, '/a/1'));
    dialer.write(text('data'));
    dialer.closeWrite();
    dialer.stopSending(0);
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    assert.equal(await negotiate(listener, ['/a/1']), '/a/1');
    assert.equal(await readAll(listener), 'data');
  });

  it('bounds the number of proposals', async () => {
    const [dialer, listener] = streamPair();
    dialer.write(messages(MULTISTREAM, ...Array.from({ length: 100 }, (_, i) => `/x/${i}`)));
    await assert.rejects(negotiate(listener, ['/a/1']), code('ERR_PROTOCOL_NOT_SUPPORTED'));
    await new Promise(setImmediate);
    const answered = string(listener.flights[0] ?? text('')).split('na\n').length - 1;
    assert.equal(answered, 32);
  });

  it('bounds the number of ls, too', async () => {
    const [dialer, listener] = streamPair();
    dialer.write(messages(MULTISTREAM, ...Array.from({ length: 100 }, () => 'ls')));
    await assert.rejects(negotiate(listener, ['/a/1']), code('ERR_PROTOCOL_VIOLATION'));
    assert.notEqual(listener.did.reset, undefined);
  });

  const malformed: [string, Uint8Array, string][] = [
    [
      'garbage',
      Uint8Array.from({ length: 100 }, (_, i) => (i * 71) & 0xff),
      'ERR_PROTOCOL_VIOLATION',
    ],
    ['no header', messages('/a/1'), 'ERR_PROTOCOL_VIOLATION'],
    ['an old header', messages('/multistream/0.9.0'), 'ERR_PROTOCOL_VIOLATION'],
    ['no newline', Uint8Array.of(19, ...text(`${MULTISTREAM}!`)), 'ERR_PROTOCOL_VIOLATION'],
    [
      'an oversize proposal',
      Buffer.concat([message(MULTISTREAM), Uint8Array.of(0x81, 8)]),
      'ERR_MESSAGE_TOO_LONG',
    ],
    ['an early end', message(MULTISTREAM).subarray(0, 7), 'ERR_EOF'],
    ['no proposal', message(MULTISTREAM), 'ERR_EOF'],
    ['nothing', new Uint8Array(0), 'ERR_EOF'],
  ];
  for (const [name, bytes, expected] of malformed) {
    everyDelivery(`refuses ${name}`, async (options) => {
      const [dialer, listener] = streamPair(options);
      dialer.write(bytes);
      dialer.closeWrite();
      await assert.rejects(negotiate(listener, ['/a/1']), code(expected));
      assert.equal(listener.did.reset, 0x1001);
    });
  }
});
