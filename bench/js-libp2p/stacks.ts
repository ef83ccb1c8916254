/** The stacks that are compared, behind one interface. */

import { once } from 'node:events';
import { quic as chainsafe } from '@chainsafe/libp2p-quic';
import type { ComponentLogger, Connection, Stream as JsStream } from '@libp2p/interface';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p, type Libp2p, type Libp2pOptions } from 'libp2p';
import { quic } from '../../src/exports/js-libp2p.ts';
import { createNode } from '../../src/node/node.ts';
import type { Stream } from '../../src/stream.ts';
import { quic as leanQuic } from '../../src/transports/factories.ts';

export const STACK_NAMES = ['lean', 'chainsafe', 'plain'] as const;
export type StackName = (typeof STACK_NAMES)[number];

export interface BenchNode {
  readonly address: string;
  dial(address: string): Promise<BenchConnection>;
  /** Of the last stream of `sendToPaused()`. */
  resumePaused?(): Promise<PausedReader>;
}

export interface BenchConnection {
  /** One byte there and back on a new stream. */
  echo(): Promise<void>;
  /** So many bytes on a new stream; resolves when the other side has counted them. */
  upload(bytes: number): Promise<void>;
  download(bytes: number): Promise<void>;
  /**
   * Sends up to so many bytes on a new stream whose reader is paused; resolves when there is no room any more, or the
   * stream has ended.
   *
   * @returns how many were taken.
   */
  sendToPaused?(bytes: number): Promise<number>;
  readonly isOpen: boolean;
  close(): Promise<void>;
}

/** The state of a paused reader after it has resumed and reached the end of its stream. */
export interface PausedReader {
  /** Bytes in its memory before it went on. */
  readonly held: number;
  /** js-libp2p's status of the stream before it went on. */
  readonly status: string;
  /** Bytes that it got in all. */
  readonly received: number;
}

const LISTEN = '/ip4/127.0.0.1/udp/0/quic-v1';
export const ECHO = '/bench/echo/1';
const UPLOAD = '/bench/upload/1';
const DOWNLOAD = '/bench/download/1';
const PAUSED = '/bench/paused/1';
/** After this many round trips without progress, a sender has no room. */
const STALLED_FOR = 50;
const CHUNK = Buffer.alloc(64 << 10);
const ONE = Uint8Array.of(1);

// ── js-libp2p ──────────────────────────────────────────────────────────────────────────────────

type Transports = NonNullable<Libp2pOptions['transports']>;

export interface JsBenchNode extends BenchNode {
  readonly node: Libp2p;
}

const jsSend = async (stream: JsStream, bytes: number): Promise<void> => {
  for (let left = bytes; left > 0; left -= CHUNK.length) {
    const chunk = left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK;
    // Not `onDrain()`, which in @libp2p/utils 7.4 waits the first time only.
    if (!stream.send(chunk)) await once(stream, 'drain');
  }
};

const jsCount = async (stream: JsStream): Promise<number> => {
  let bytes = 0;
  stream.addEventListener('message', ({ data }) => {
    bytes += data.byteLength;
  });
  await once(stream, 'remoteCloseWrite');
  return bytes;
};

/** Resolves when the stream can take more, or has ended. */
const roomOrEnd = (stream: JsStream): Promise<void> =>
  new Promise((resolve) => {
    stream.addEventListener('drain', () => resolve(), { once: true });
    stream.addEventListener('close', () => resolve(), { once: true });
  });

const jsEcho = async (connection: Connection): Promise<void> => {
  const stream = await connection.newStream(ECHO);
  const answer = once(stream, 'message');
  stream.send(ONE);
  await answer;
  await stream.close();
};

const jsSendToPaused = async (connection: Connection, bytes: number): Promise<number> => {
  const stream = await connection.newStream(PAUSED);
  let sent = 0;
  const sendAll = async (): Promise<void> => {
    while (sent < bytes && stream.status === 'open') {
      const hasRoom = stream.send(CHUNK);
      sent += CHUNK.length;
      if (!hasRoom && stream.status === 'open') await roomOrEnd(stream);
    }
    if (stream.status === 'open') await stream.close();
  };
  // It ends when the stream does; what it throws then says that.
  sendAll().catch(() => {});
  let before = -1;
  for (let same = 0; same < STALLED_FOR && stream.status === 'open'; same++) {
    await jsEcho(connection);
    if (sent !== before) same = 0;
    before = sent;
  }
  return sent;
};

const jsConnection = (connection: Connection): BenchConnection => ({
  get isOpen() {
    return connection.status === 'open';
  },
  echo: () => jsEcho(connection),
  sendToPaused: (bytes) => jsSendToPaused(connection, bytes),
  upload: async (bytes) => {
    const stream = await connection.newStream(UPLOAD, { maxOutboundStreams: 1_000 });
    const counted = once(stream, 'message');
    await jsSend(stream, bytes);
    await stream.close();
    await counted;
  },
  download: async (bytes) => {
    const stream = await connection.newStream(DOWNLOAD, { maxOutboundStreams: 1_000 });
    const counted = jsCount(stream);
    const count = Buffer.alloc(8);
    count.writeBigUInt64BE(BigInt(bytes));
    stream.send(count);
    await stream.close();
    if ((await counted) !== bytes) throw new Error('not all came');
  },
  close: () => connection.close(),
});

const resume = async (stream: JsStream): Promise<PausedReader> => {
  const { readBufferLength: held, status } = stream;
  if (status !== 'open') return { held, status, received: 0 };
  const counted = jsCount(stream);
  stream.resume();
  return { held, status, received: await counted };
};

/** @param logger js-libp2p's own by default. */
const jsNode = async (transports: Transports, logger?: ComponentLogger): Promise<JsBenchNode> => {
  const node = await createLibp2p({
    ...(logger && { logger }),
    addresses: { listen: [LISTEN] },
    transports,
    connectionManager: {
      maxConnections: 10_000,
      maxIncomingPendingConnections: 1_000,
      inboundConnectionThreshold: 1e9,
    },
    connectionMonitor: { enabled: false },
  });
  const options = { maxInboundStreams: 1_000 };
  await node.handle(
    ECHO,
    (stream) => {
      stream.addEventListener('message', ({ data }) => void stream.send(data));
      stream.addEventListener('remoteCloseWrite', () => void stream.close());
    },
    options,
  );
  await node.handle(
    UPLOAD,
    async (stream) => {
      await jsCount(stream);
      stream.send(ONE);
      await stream.close();
    },
    options,
  );
  await node.handle(
    DOWNLOAD,
    async (stream) => {
      const [{ data }] = await once(stream, 'message');
      await jsSend(stream, Number(Buffer.from(data.subarray()).readBigUInt64BE()));
      await stream.close();
    },
    options,
  );
  let paused: JsStream | undefined;
  await node.handle(PAUSED, (stream) => {
    stream.pause();
    paused = stream;
  });
  return {
    node,
    resumePaused: async () => {
      if (paused === undefined) throw new Error('no stream came for sendToPaused()');
      return resume(paused);
    },
    address: `${node.getMultiaddrs()[0]}`,
    dial: async (address) => jsConnection(await node.dial(multiaddr(address), { force: true })),
  };
};

// ── Plain libp2p-lean ──────────────────────────────────────────────────────────────────────────

const send = async (stream: Stream, bytes: number): Promise<void> => {
  for (let left = bytes; left > 0; left -= CHUNK.length) {
    const chunk = left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK;
    if (!stream.write(chunk)) await stream.drain();
  }
  stream.closeWrite();
};

const count = async (stream: Stream): Promise<number> => {
  let bytes = 0;
  for (let it = await stream.read(); it !== null; it = await stream.read()) bytes += it.length;
  return bytes;
};

const plainNode = async (): Promise<BenchNode> => {
  const node = await createNode({
    transports: [leanQuic()],
    limits: { maxConnectionsPerPeer: 10_000 },
  });
  node.handle(ECHO, async (stream) => {
    for await (const chunk of stream) stream.write(chunk);
    stream.closeWrite();
  });
  node.handle(UPLOAD, async (stream) => {
    await count(stream);
    stream.write(ONE);
    stream.closeWrite();
  });
  node.handle(DOWNLOAD, async (stream) => {
    const request = await stream.read();
    if (request === null) return;
    await send(stream, Number(Buffer.from(request).readBigUInt64BE()));
  });
  const { address } = await node.listen(LISTEN);
  return {
    address: `${address}`,
    dial: async (to) => {
      const connection = await node.dial(to, { force: true });
      let isOpen = true;
      connection.closed.then(
        () => {
          isOpen = false;
        },
        () => {},
      );
      return {
        get isOpen() {
          return isOpen;
        },
        echo: async () => {
          const stream = await connection.newStream(ECHO);
          stream.write(ONE);
          await stream.read();
          stream.closeWrite();
        },
        upload: async (bytes) => {
          const stream = await connection.newStream(UPLOAD);
          await send(stream, bytes);
          await stream.read();
        },
        download: async (bytes) => {
          const stream = await connection.newStream(DOWNLOAD);
          const request = Buffer.alloc(8);
          request.writeBigUInt64BE(BigInt(bytes));
          stream.write(request);
          stream.closeWrite();
          if ((await count(stream)) !== bytes) throw new Error('not all came');
        },
        close: () => connection.close(),
      };
    },
  };
};

/** A js-libp2p node on that transport. */
export const startJsNode = (
  stack: Exclude<StackName, 'plain'>,
  logger?: ComponentLogger,
): Promise<JsBenchNode> => jsNode([stack === 'lean' ? quic() : chainsafe()], logger);

/** A node of that stack that listens on loopback. */
export const startNode = (stack: StackName): Promise<BenchNode> =>
  stack === 'plain' ? plainNode() : startJsNode(stack);
