/** `libp2p-lean listen`: a node for people to dial. */

import { orAborted } from '../deadline.ts';
import type { EngineChoice } from '../harness/environment.ts';
import type { Log } from '../harness/log.ts';
import { createNode } from '../node/node.ts';
import { parseAddress } from './addresses.ts';
import { EXIT, note, onTermination, print } from './process.ts';

export interface ListenFlags {
  readonly engine: EngineChoice;
  readonly debug?: boolean;
  /** Serve `/perf/1.0.0` too, to anyone. */
  readonly perf?: boolean;
}

/**
 * Listens on all of `addresses` until SIGINT or SIGTERM.
 *
 * @throws ERR_CONFIG, ERR_LISTEN, ERR_ENGINE_UNAVAILABLE; nothing was printed then.
 */
export const listen = async (addresses: readonly string[], flags: ListenFlags): Promise<number> => {
  const wanted = addresses.map(parseAddress);
  const signal = onTermination(EXIT.ok);
  const log: Log = flags.debug ? (await import('./debug-log.ts')).createDebugLog() : logPeers;
  const node = await createNode({ quicEngine: flags.engine, prepare: [], log });
  if (flags.perf) (await import('./perf-people.ts')).serve(node);
  try {
    for (const address of wanted) await node.listen(address);
    await print(`${node.addresses().join('\n')}\n`);
    await orAborted(new Promise<never>(() => undefined), signal).catch(() => undefined);
    return EXIT.ok;
  } finally {
    await node.close();
  }
};

/** Who comes and who goes, on stderr. */
const logPeers: Log = (event, detail = {}) => {
  const { peer, address, via, remote, error, reason, protocol } = detail;
  const line = {
    accepted: `${peer} connected from ${address} over ${via}`,
    disconnected: `${peer} left: ${reason}`,
    refused: `${remote} was refused: ${error}`,
    'stream accepted': `${peer} opened ${protocol}`,
  }[event];
  if (line !== undefined) note(line);
};
