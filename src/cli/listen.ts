/** `libp2p-lean listen`: a node for people to dial. */

import { reachableAddresses } from '../multiaddr.ts';
import { createNode } from '../node.ts';
import { type Log, noLog } from '../harness/log.ts';
import type { EngineChoice } from '../harness/environment.ts';
import { EXIT, onTermination, print } from './process.ts';

export interface ListenFlags {
  readonly engine: EngineChoice;
  readonly debug?: boolean;
}

/** Listens until SIGINT or SIGTERM. @throws ERR_ADDRESS, ERR_LISTEN, ERR_ENGINE_UNAVAILABLE. */
export const listen = async (address: string, flags: ListenFlags): Promise<number> => {
  const signal = onTermination(EXIT.ok);
  const log: Log = flags.debug ? (await import('./debug-log.ts')).createDebugLog() : noLog;
  const node = await createNode({ quicEngine: flags.engine, log });
  try {
    const bound = await node.listen(address);
    await print(reachableAddresses(bound).map((reachable) => `${reachable}\n`).join(''));
    if (!signal.aborted) {
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    }
    return EXIT.ok;
  } finally {
    await node.close();
  }
};
