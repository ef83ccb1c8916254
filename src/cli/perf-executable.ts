/**
 * `libp2p-lean perf --run-server | --server-address …`: the executable that libp2p/test-plans asks
 * for (`perf/README.md`).
 */

import { untilAborted } from '../deadline.ts';
import { HarnessError } from '../harness/errors.ts';
import { quicTraceOf } from '../harness/quic-trace.ts';
import { type HostKey, hostKeyFromSeed } from '../identity/keys.ts';
import { createNode, type LeanNode } from '../node/node.ts';
import { handlePerf, PERF, type PerfProgress, perf } from '../protocols/perf.ts';
import type { EngineChoice } from '../quic/engine-name.ts';
import { quic, tcp } from '../transports/factories.ts';
import { parseDialAddress, parseListenAddress } from './addresses.ts';
import { EXIT, onTermination, print } from './process.ts';

export interface ExecutableFlags {
  /** `host:port`, of TCP and of UDP. */
  readonly serverAddress: string;
  readonly transport: 'tcp' | 'quic-v1';
  readonly uploadBytes: number;
  readonly downloadBytes: number;
  readonly engine: EngineChoice;
  readonly debug?: boolean;
}

/**
 * The seed of the server's host key: that of go-libp2p's executable. Its clients expect this peer id, as the suite has
 * no way to tell them another.
 */
const SERVER_SEED = new Uint8Array(32);

/** Serves over TCP (Noise, yamux) and QUIC until SIGINT or SIGTERM. @throws ERR_CONFIG, ERR_LISTEN. */
export const runServer = async (flags: ExecutableFlags): Promise<number> => {
  const addresses = addressesOf(flags.serverAddress);
  const signal = onTermination(EXIT.ok);
  const node = await startNode(flags, hostKeyFromSeed(SERVER_SEED));
  node.handle(PERF, async (stream) => void (await handlePerf(stream)));
  try {
    for (const address of Object.values(addresses)) await node.listen(parseListenAddress(address));
    process.stderr.write(`${node.addresses().join('\n')}\n`);
    await untilAborted(signal).catch(() => undefined);
    return EXIT.ok;
  } finally {
    await node.close();
  }
};

/**
 * Dials and makes one transfer. Prints a JSON line per second with that second's bytes, and a last one with all bytes
 * and the whole time, dial included.
 *
 * @throws ERR_CONFIG; what dialling and transfers throw.
 */
export const runClient = async (flags: ExecutableFlags): Promise<number> => {
  const address = parseDialAddress(addressesOf(flags.serverAddress)[flags.transport]);
  const signal = onTermination(EXIT.failed);
  const node = await startNode(flags);
  const { uploadBytes, downloadBytes } = flags;
  try {
    // Before the clock starts.
    await node.prepare({ addresses: [address] });
    const start = performance.now();
    let last = { at: start, uploaded: 0, downloaded: 0 };
    const onProgress = ({ uploaded, downloaded }: PerfProgress): void => {
      const at = performance.now();
      const moved = [uploaded - last.uploaded, downloaded - last.downloaded] as const;
      printLine('intermediary', at - last.at, ...moved).catch(() => undefined);
      last = { at, uploaded, downloaded };
    };
    const connection = await node.dial(address, { signal });
    await perf(connection, uploadBytes, downloadBytes, { onProgress, signal });
    await printLine('final', performance.now() - start, uploadBytes, downloadBytes);
    return EXIT.ok;
  } finally {
    await node.close();
  }
};

const startNode = async (flags: ExecutableFlags, hostKey?: HostKey): Promise<LeanNode> => {
  const node = await createNode({
    ...(hostKey && { hostKey }),
    transports: [
      quic({ engine: flags.engine, trace: quicTraceOf(process.env) }),
      tcp({ secureChannels: ['noise'], muxers: ['yamux'] }),
    ],
  });
  if (flags.debug) (await import('./debug-log.ts')).debugNode(node);
  return node;
};

const addressesOf = (serverAddress: string): Readonly<Record<'tcp' | 'quic-v1', string>> => {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:[\]/]+)):(\d{1,5})$/i.exec(serverAddress);
  if (match === null) {
    const shown = JSON.stringify(serverAddress);
    throw new HarnessError('ERR_CONFIG', `--server-address is ${shown}; it must be host:port`);
  }
  const [, ip6, host = '', port] = match;
  const kind = ip6 !== undefined ? 'ip6' : /^[\d.]+$/.test(host) ? 'ip4' : 'dns';
  const base = `/${kind}/${ip6 ?? host}`;
  return { tcp: `${base}/tcp/${port}`, 'quic-v1': `${base}/udp/${port}/quic-v1` };
};

const printLine = (
  type: 'intermediary' | 'final',
  milliseconds: number,
  uploadBytes: number,
  downloadBytes: number,
): Promise<void> => {
  const timeSeconds = milliseconds / 1000;
  return print(`${JSON.stringify({ type, timeSeconds, uploadBytes, downloadBytes })}\n`);
};
