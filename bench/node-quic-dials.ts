/**
 * What a dial costs for good on `node:quic` itself, without a line of this project between: resident memory after
 * garbage collection, every 100 connections that were made and closed.
 *
 *     $NODE_QUIC --experimental-quic bench/node-quic-dials.ts <host> <port> [connections]
 *
 * Someone must listen there: `libp2p-lean listen --engine quinn`.
 */
import { createPrivateKey } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { generateHostKey, issueCertificate } from '../src/exports/tls.ts';
import type { NodeQuic } from '../src/quic/node/types.ts';

const [host = '127.0.0.1', port = '', connections = '300'] = process.argv.slice(2);
const specifier: string = 'node:quic';
const { connect, QuicEndpoint } = (await import(specifier)) as NodeQuic;
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;
const { certificatePem, privateKeyPem } = issueCertificate(generateHostKey());
const certs = [Buffer.from(certificatePem)];
const keys = [createPrivateKey(privateKeyPem)];
const ignore = (): void => {};
/** The rest is for the listener's sake. */
const OPTIONS = {
  ...{ alpn: 'libp2p', servername: 'localhost', verifyPeer: 'manual' as const },
  rejectUnauthorized: false,
  ...{ enableEarlyData: false, streamIdleTimeout: 0, handshakeTimeout: 10_000 },
  ...{ maxStreamWindow: 1 << 20, maxWindow: 1 << 20, onerror: ignore, onstream: ignore },
  transportParams: {
    ...{ initialMaxStreamDataBidiLocal: 65_536, initialMaxStreamDataBidiRemote: 65_536 },
    ...{ initialMaxStreamDataUni: 0, initialMaxData: 1 << 20, initialMaxStreamsBidi: 16 },
    ...{ initialMaxStreamsUni: 0, maxIdleTimeout: 6, maxDatagramFrameSize: 0 },
  },
} as const;
const address = { address: '127.0.0.1', port: 0, family: 'ipv4' } as const;
const endpoint = new QuicEndpoint({ address, udpReceiveBufferSize: 1 << 20, idleTimeout: 60 });
for (let n = 0; n <= Number(connections); n++) {
  if (n % 100 === 0) {
    await delay(300);
    collectGarbage();
    collectGarbage();
    const { rss, heapUsed } = process.memoryUsage();
    console.log(`${n} connections: ${rss >> 10} KiB resident, ${heapUsed >> 10} KiB of heap`);
  }
  const remote = { address: host, port: Number(port), family: 'ipv4' } as const;
  const session = await connect(remote, { ...OPTIONS, endpoint, keys, certs, ca: certs });
  session.closed.catch(ignore);
  await session.opened;
  session.destroy();
}
process.exit();
