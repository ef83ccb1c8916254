/**
 * `libp2p-lean perf --run-server | --server-address …`: the executable that libp2p/test-plans asks
 * for (`perf/README.md`).
 */

import { orAborted } from '../deadline.ts';
import { LeanError } from '../errors.ts';
import type { EngineChoice } from '../harness/environment.ts';
import { type Log, noLog } from '../harness/log.ts';
import { transportsFor } from '../harness/transports.ts';
import { hostKeyFromSeed } from '../identity/keys.ts';
import { createNode, type NodeOptions } from '../node/node.ts';
import { handlePerf, PERF, type PerfProgress, perf } from '../protocols/perf.ts';
import { parseAddress } from './addresses.ts';
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
 * The server's host key, in go-libp2p's executable too: its clients name the peer id, and nobody tells
 * them.
 */
const SERVER_SEED = new Uint8Array(32);

/** Serves over TCP (Noise, yamux) and QUIC until SIGINT or SIGTERM. @throws ERR_CONFIG, ERR_LISTEN. */
export const runServer = async (flags: ExecutableFlags): Promise<number> => {
  const addresses = addressesOf(flags.serverAddress);
  const signal = onTermination(EXIT.ok);
  const node = await createNode({
    ...(await nodeOptions(flags)),
    hostKey: hostKeyFromSeed(SERVER_SEED),
  });
  node.handle(PERF, async (stream) => void (await handlePerf(stream)));
  try {
    for (const address of Object.values(addresses)) await node.listen(parseAddress(address));
    process.stderr.write(`${node.addresses().join('\n')}\n`);
    await orAborted(new Promise<never>(() => undefined), signal).catch(() => undefined);
    return EXIT.ok;
  } finally {
    await node.close();
  }
};

/**
 * One transfer, from the dial on. Prints a JSON line a second with that second's bytes, and a last one
 * with all of them. @throws ERR_CONFIG; what dialling and transfers throw.
 */
export const runClient = async (flags: ExecutableFlags): Promise<number> => {
  const address = parseAddress(addressesOf(flags.serverAddress)[flags.transport]);
  const signal = onTermination(EXIT.failed);
  // Loaded before the clock starts, as TCP is, which the options bring along.
  const prepare = flags.transport === 'tcp' ? [] : [flags.transport];
  const node = await createNode({ ...(await nodeOptions(flags)), prepare });
  const { uploadBytes, downloadBytes } = flags;
  try {
    const start = performance.now();
    let last = { at: start, uploaded: 0, downloaded: 0 };
    const onProgress = ({ uploaded, downloaded }: PerfProgress): void => {
      const at = performance.now();
      const moved = [uploaded - last.uploaded, downloaded - last.downloaded] as const;
      printLine('intermediary', at - last.at, ...moved).catch(() => undefined);
      last = { at, uploaded, downloaded };
    };
    const work = (async () => {
      const connection = await node.dial(address, { signal });
      const stream = await node.openStream(connection, PERF, signal);
      await perf(stream, uploadBytes, downloadBytes, { onProgress });
    })();
    await orAborted(work, signal);
    await printLine('final', performance.now() - start, uploadBytes, downloadBytes);
    return EXIT.ok;
  } finally {
    await node.close();
  }
};

const nodeOptions = async (flags: ExecutableFlags): Promise<NodeOptions> => {
  const log: Log = flags.debug ? (await import('./debug-log.ts')).createDebugLog() : noLog;
  const { transports } = transportsFor({
    transport: 'tcp',
    secureChannel: 'noise',
    muxer: 'yamux',
  });
  return { quicEngine: flags.engine, log, ...(transports && { transports }) };
};

const addressesOf = (serverAddress: string): Readonly<Record<'tcp' | 'quic-v1', string>> => {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:[\]/]+)):(\d{1,5})$/i.exec(serverAddress);
  if (match === null) {
    const shown = JSON.stringify(serverAddress);
    throw new LeanError('ERR_CONFIG', `--server-address is ${shown}; it must be host:port`);
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
