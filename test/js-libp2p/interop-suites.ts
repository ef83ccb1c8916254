/**
 * js-libp2p's own interop suites, `@libp2p/interop` (connect, relay, DHT, streams), with js-libp2p
 * over our QUIC on one side and go-libp2p's daemon over its own on the other: `make interop-js-libp2p`.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { describe } from 'node:test';
import { circuitRelayServer, circuitRelayTransport } from '@libp2p/circuit-relay-v2';
import { privateKeyFromProtobuf } from '@libp2p/crypto/keys';
import { createClient } from '@libp2p/daemon-client';
import { createServer } from '@libp2p/daemon-server';
import { gossipsub } from '@libp2p/gossipsub';
import { identify } from '@libp2p/identify';
import {
  connectInteropTests,
  type Daemon,
  type DaemonFactory,
  dhtInteropTests,
  relayInteropTests,
  type SpawnOptions,
  streamInteropTests,
  UnsupportedError,
} from '@libp2p/interop';
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht';
import { noise } from '@libp2p/noise';
import { ping } from '@libp2p/ping';
import { yamux } from '@libp2p/yamux';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import { buildPeers } from '../../interop/build-peers.ts';
import { quic } from '../../src/exports/js-libp2p.ts';
import { LOOPBACK } from '../support/js-libp2p.ts';
import { withMochaGlobals } from '../support/mocha.ts';

const CONTROL = '/ip4/127.0.0.1/tcp/0';
const [go] = await buildPeers(['daemon-go-libp2p-daemon-v0.9']);

const children = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

const spawnGo = async (options: SpawnOptions): Promise<Daemon> => {
  if (go === undefined || 'skipped' in go) throw new UnsupportedError('no go-libp2p-daemon here');
  const flags = [
    ...['-listen', CONTROL],
    ...(options.noListen ? ['-noListenAddrs'] : ['-hostAddrs', LOOPBACK]),
    ...(options.key === undefined ? [] : ['-id', options.key]),
    ...(options.dht ? ['-dhtServer'] : []),
    ...(options.pubsub ? ['-pubsub', '-pubsubRouter', options.pubsubRouter ?? 'gossipsub'] : []),
    ...(options.relay ? ['-relay', '-forceReachabilityPublic'] : []),
  ];
  const [command = '', ...words] = go.command;
  const child = spawn(command, [...words, ...flags], { stdio: ['ignore', 'pipe', 'ignore'] });
  children.add(child);
  const lines = createInterface(child.stdout);
  const control = await new Promise<string>((resolve, reject) => {
    lines.on('line', (line) => {
      const [, address] = /^Control socket: (\S+)/.exec(line) ?? [];
      if (address !== undefined) resolve(address);
    });
    child.once('exit', (code) => reject(new Error(`go-libp2p-daemon ended with ${code}`)));
  });
  return {
    client: createClient(multiaddr(control)),
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    },
  };
};

const spawnJs = async (options: SpawnOptions): Promise<Daemon> => {
  const node = await createLibp2p({
    ...(options.key && { privateKey: privateKeyFromProtobuf(readFileSync(options.key)) }),
    addresses: { listen: options.noListen ? [] : [LOOPBACK] },
    transports: [quic(), circuitRelayTransport()],
    // For relayed connections: QUIC has its own.
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionGater: { denyDialMultiaddr: () => false },
    services: {
      identify: identify(),
      ping: ping(),
      ...(options.dht && {
        dht: kadDHT({
          protocol: '/ipfs/kad/1.0.0',
          peerInfoMapper: passthroughMapper,
          clientMode: false,
        }),
      }),
      ...(options.pubsub && { pubsub: gossipsub() }),
      ...(options.relay && { relay: circuitRelayServer() }),
    },
  });
  // It asks whether these are there when they are used.
  const server = createServer(multiaddr(CONTROL), node as Parameters<typeof createServer>[1]);
  await server.start();
  return {
    client: createClient(server.getMultiaddr()),
    stop: async () => {
      await server.stop();
      await node.stop();
    },
  };
};

const factory: DaemonFactory = {
  spawn: async (options) => {
    const { transport = 'tcp' } = options;
    // Their name for what is not a transport of browsers: QUIC here.
    if (transport !== 'tcp') throw new UnsupportedError(`no ${transport}`);
    return options.type === 'go' ? spawnGo(options) : spawnJs(options);
  },
};

if (go === undefined || 'skipped' in go) {
  process.stderr.write(`skipped: js-libp2p's interop suites: ${go?.skipped}\n`);
} else {
  describe("js-libp2p's interop suites over our QUIC", { timeout: 1_800_000 }, () =>
    withMochaGlobals(async () => {
      connectInteropTests(factory);
      relayInteropTests(factory);
      await dhtInteropTests(factory);
      // Their pubsub suite has floodsub, which js-libp2p 3 has as a package of its own, and skips gossipsub.
      await streamInteropTests(factory);
    }),
  );
}
