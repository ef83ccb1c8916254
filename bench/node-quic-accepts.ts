/**
 * What a connection that is accepted costs for good on `node:quic` itself, without a line of this project between:
 * resident memory after garbage collection, every 100 connections. Prints its port first.
 *
 *     $NODE_QUIC --experimental-quic bench/node-quic-accepts.ts
 *
 * The connections are made by bench/node-quic-dials.ts, each closed before the next.
 */
import { createPrivateKey } from 'node:crypto';
import { BlockList } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { generateHostKey, issueCertificate } from '../src/exports/tls.ts';
import type { NodeQuic } from '../src/quic/node/types.ts';

const specifier: string = 'node:quic';
const { listen } = (await import(specifier)) as NodeQuic;
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;
const { certificatePem, privateKeyPem } = issueCertificate(generateHostKey());
const identity = {
  keys: [createPrivateKey(privateKeyPem)],
  certs: [Buffer.from(certificatePem)],
};
const ignore = (): void => {};
let accepted = 0;
const endpoint = await listen(
  (session) => {
    session.opened.catch(ignore);
    session.closed.catch(ignore);
    if (++accepted % 100 !== 0) return;
    collectGarbage();
    collectGarbage();
    const { rss, heapUsed } = process.memoryUsage();
    console.log(
      `${accepted} connections: ${rss >> 10} KiB resident, ${heapUsed >> 10} KiB of heap`,
    );
  },
  {
    endpoint: {
      address: { address: '127.0.0.1', port: 0, family: 'ipv4' },
      ...{ validateAddress: true, udpReceiveBufferSize: 1 << 20, maxConnectionsPerHost: 0 },
      ...{ ipv6Only: false, maxConnectionsTotal: 10_000, blockList: new BlockList() },
      ...{ sessionCreationRate: 1e9, sessionCreationBurst: 1e9 },
    },
    ...{ alpn: ['libp2p'], sni: { '*': identity }, verifyClient: true, verifyPeer: 'manual' },
    ...{ rejectUnauthorized: false, enableEarlyData: false, streamIdleTimeout: 0 },
    ...{ maxStreamWindow: 1 << 20, maxWindow: 1 << 20, onerror: ignore, onstream: ignore },
    handshakeTimeout: 10_000,
    transportParams: {
      ...{ initialMaxStreamDataBidiLocal: 65_536, initialMaxStreamDataBidiRemote: 65_536 },
      ...{ initialMaxStreamDataUni: 0, initialMaxData: 1 << 20, initialMaxStreamsBidi: 16 },
      ...{ initialMaxStreamsUni: 0, maxIdleTimeout: 6, maxDatagramFrameSize: 0 },
    },
  },
);
console.log(endpoint.address?.port);
