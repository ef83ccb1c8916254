/** The two stacks that bench/tcp.ts compares, behind one interface. */

import { noise } from '@chainsafe/libp2p-noise';
import { yamux } from '@chainsafe/libp2p-yamux';
import { mplex } from '@libp2p/mplex';
import { ping as jsPing } from '@libp2p/ping';
import { tcp } from '@libp2p/tcp';
import { tls } from '@libp2p/tls';
import { webSockets } from '@libp2p/websockets';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import { generateHostKey } from '../src/identity/keys.ts';
import type { MuxerName } from '../src/mux/muxer.ts';
import { createNode } from '../src/node/node.ts';
import { PING, ping } from '../src/protocols/ping.ts';
import type { SecureName } from '../src/secure/secure-channel.ts';
import { writeAll } from '../src/stream.ts';
import { issueCertificate } from '../src/tls/issue.ts';
import { tcpTransport } from '../src/transports/tcp.ts';
import { wsTransport } from '../src/transports/websocket.ts';

export interface Combination {
  readonly stack: string;
  readonly kind: string;
  readonly secure: string;
  readonly muxer: string;
}

export interface BenchPeer {
  readonly address: string;
  /** Dials, pings once and closes; milliseconds until the ping's answer. */
  handshake(address: string): Promise<number>;
  /** Writes `bytes` on one stream until the other side has read all; milliseconds after the dial. */
  upload(address: string, bytes: number): Promise<number>;
  stop(): Promise<void>;
}

const SINK = '/bench/sink/1';
const CHUNK = new Uint8Array(65_536);
const SUFFIX: Readonly<Record<string, string>> = { tcp: '', ws: '/ws', wss: '/tls/ws' };

export const startPeer = (combination: Combination, listen: boolean): Promise<BenchPeer> =>
  combination.stack === 'js' ? startJs(combination, listen) : startOurs(combination, listen);

const listenAddress = ({ kind }: Combination): string => `/ip4/127.0.0.1/tcp/0${SUFFIX[kind]}`;

const startOurs = async (combination: Combination, listen: boolean): Promise<BenchPeer> => {
  const node = await createNode({
    prepare: [],
    transports: async ({ hostKey, tls: certificate }) => {
      const options = {
        hostKey,
        tls: await certificate(),
        secure: [combination.secure as SecureName],
        muxers: [combination.muxer as MuxerName],
      };
      return [tcpTransport(options), wsTransport({ ...options, insecureWss: true })];
    },
  });
  node.handle(SINK, async (stream) => {
    while ((await stream.read()) !== null);
    stream.write(Uint8Array.of(1));
  });
  const address = listen ? String(await node.listen(listenAddress(combination))) : '';
  return {
    address,
    handshake: async (target) => {
      const start = performance.now();
      const connection = await node.dial(target);
      const stream = await node.openStream(connection, PING);
      await ping(stream);
      const took = performance.now() - start;
      await connection.close();
      return took;
    },
    upload: async (target, bytes) => {
      const connection = await node.dial(target);
      const stream = await node.openStream(connection, SINK);
      const start = performance.now();
      for (let sent = 0; sent < bytes; sent += CHUNK.length) await writeAll(stream, CHUNK);
      stream.closeWrite();
      await stream.read();
      const took = performance.now() - start;
      await connection.close();
      return took;
    },
    stop: () => node.close(),
  };
};

const startJs = async (combination: Combination, listen: boolean): Promise<BenchPeer> => {
  const { certificatePem: cert, privateKeyPem: key } = await issueCertificate(generateHostKey());
  const node = await createLibp2p({
    addresses: { listen: listen ? [listenAddress(combination)] : [] },
    transports: [combination.kind === 'tcp' ? tcp() : webSockets({ https: { cert, key } })],
    connectionEncrypters: [combination.secure === 'noise' ? noise() : tls()],
    streamMuxers: [combination.muxer === 'yamux' ? yamux() : mplex()],
    connectionMonitor: { enabled: false },
    connectionManager: { inboundConnectionThreshold: Number.POSITIVE_INFINITY },
    services: { ping: jsPing() },
  });
  await node.handle(SINK, async (stream) => {
    for await (const _ of stream);
    stream.send(Uint8Array.of(1));
    await stream.close();
  });
  const dial = async (target: string) => {
    while (node.getConnections().length > 0) await new Promise((go) => setTimeout(go, 1));
    return node.dial(multiaddr(target));
  };
  return {
    address: String(node.getMultiaddrs()[0] ?? ''),
    handshake: async (target) => {
      while (node.getConnections().length > 0) await new Promise((go) => setTimeout(go, 1));
      const start = performance.now();
      const connection = await node.dial(multiaddr(target));
      await node.services.ping.ping(connection.remotePeer);
      const took = performance.now() - start;
      await connection.close();
      return took;
    },
    upload: async (target, bytes) => {
      const connection = await dial(target);
      const stream = await connection.newStream(SINK);
      const answered = (async () => {
        for await (const _ of stream) return;
      })();
      const start = performance.now();
      for (let sent = 0; sent < bytes; sent += CHUNK.length) {
        if (!stream.send(CHUNK)) await stream.onDrain();
      }
      const closing = stream.close();
      await answered;
      const took = performance.now() - start;
      await closing.catch(() => {});
      await connection.close();
      return took;
    },
    stop: async () => {
      await node.stop();
    },
  };
};
