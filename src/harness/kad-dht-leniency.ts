/**
 * Makes js-libp2p's DHT tolerate what other participants of the kad-dht suite do against the specification.
 *
 * - Their provider keys are plain text, `interop-test-key-…`, where js-libp2p's server takes multihashes
 *   only (as the specification has it): it is given the SHA-256 of such a key.
 * - py-libp2p and .NET wait for an answer to ADD_PROVIDER, which no other implementation sends: this side of
 *   the stream is closed instead, which go-libp2p, rust-libp2p and js-libp2p take for the end of that stream.
 * - rust-libp2p closes its side after a request. js-libp2p's server takes that for an error once it has
 *   answered, and resets the stream; over QUIC, unlike yamux, a reset overtakes the answer. Here it closes the
 *   stream instead.
 */

import { AsyncLocalStorage } from 'node:async_hooks';
import { createHash } from 'node:crypto';
import type { Connection, PeerId, Stream } from '@libp2p/interface';
import type { KadDHT } from '@libp2p/kad-dht';
import { LeanError } from '../errors.ts';

/** The part of a message of @libp2p/kad-dht that is looked at. `type` is the name of the message's type. */
interface Message {
  readonly type: string;
  readonly key?: Uint8Array;
}

/** Methods of KadDHT that its type does not declare. */
interface Internals {
  readonly rpc?: {
    handleMessage?: (peer: PeerId, message: Message) => Promise<Message | undefined>;
    onIncomingStream?: (stream: Stream, connection: Connection) => Promise<void>;
  };
}

const MULTIHASH = Buffer.from([0x12, 0x20]);

/** Whether `key` is a SHA-256 multihash, the only one that js-libp2p's server reads. */
const isMultihash = (key: Uint8Array): boolean =>
  key.length === 34 && key[0] === MULTIHASH[0] && key[1] === MULTIHASH[1];

/** The multihash that stands for a provider key: itself, or that of its bytes. */
export const multihashOf = (key: Uint8Array): Uint8Array =>
  isMultihash(key) ? key : Buffer.concat([MULTIHASH, createHash('sha256').update(key).digest()]);

/**
 * Makes a DHT that has not been started lenient.
 *
 * @throws ERR_UNSUPPORTED when this is another version of @libp2p/kad-dht than the one that was bundled
 */
export const makeLenient = (dht: KadDHT): void => {
  const { rpc } = dht as unknown as Internals;
  const handleMessage = rpc?.handleMessage;
  const onIncomingStream = rpc?.onIncomingStream;
  if (rpc === undefined || handleMessage === undefined || onIncomingStream === undefined) {
    throw new LeanError('ERR_UNSUPPORTED', 'this version of @libp2p/kad-dht is not known');
  }
  const streams = new AsyncLocalStorage<Stream>();
  rpc.onIncomingStream = (stream, connection) =>
    streams.run(stream, async () => {
      try {
        await onIncomingStream.call(rpc, stream, connection);
      } catch (error) {
        if (!(error instanceof Error) || error.name !== 'UnexpectedEOFError') throw error;
        await stream.close();
      }
    });
  rpc.handleMessage = async (peer, message) => {
    const { type, key } = message;
    if (key === undefined || (type !== 'ADD_PROVIDER' && type !== 'GET_PROVIDERS')) {
      return handleMessage.call(rpc, peer, message);
    }
    const answer = await handleMessage.call(rpc, peer, { ...message, key: multihashOf(key) });
    if (type === 'ADD_PROVIDER')
      streams
        .getStore()
        ?.close()
        .catch(() => undefined);
    return answer === undefined ? undefined : { ...answer, key };
  };
};
