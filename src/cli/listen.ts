/** `libp2p-lean listen`: a node for people to dial. */

import { describeClose } from '../close-reason.ts';
import { orAborted } from '../deadline.ts';
import { messageOf } from '../errors.ts';
import type { NodeEvents } from '../node/events.ts';
import type { NodeLimits } from '../node/limits.ts';
import { createNode, type LeanNode } from '../node/node.ts';
import { refusalLog } from '../refusal-log.ts';
import { parseAddress } from './addresses.ts';
import { EXIT, note, onTermination, print } from './process.ts';
import { type TransportFlags, transportsOf } from './transports.ts';

export interface ListenFlags extends TransportFlags {
  readonly debug?: boolean;
  readonly limit?: Partial<NodeLimits>;
  /** Serve `/perf/1.0.0` too, to anyone. */
  readonly perf?: boolean;
}

/**
 * Listens on all of `addresses` until SIGINT or SIGTERM.
 *
 * @throws ERR_CONFIG, ERR_OPTIONS for a limit, ERR_LISTEN, ERR_ENGINE_UNAVAILABLE; nothing was printed then.
 */
export const listen = async (addresses: readonly string[], flags: ListenFlags): Promise<number> => {
  const wanted = addresses.map(parseAddress);
  const signal = onTermination(EXIT.ok);
  const node = await createNode({
    transports: transportsOf(flags),
    limits: flags.limit ?? {},
  });
  if (flags.debug) (await import('./debug-log.ts')).debugNode(node);
  else notePeers(node);
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
const notePeers = (node: LeanNode): void => {
  node.addEventListener('connection:open', ({ detail: { connection } }) => {
    const { remotePeer, remoteAddress, description } = connection;
    note(`${remotePeer} connected from ${remoteAddress} over ${description}`);
  });
  node.addEventListener('connection:close', ({ detail: { connection, reason } }) =>
    note(`${connection.remotePeer} left: ${describeClose(reason)}`),
  );
  const noteRefusal = refusalLog(
    ({ error, remote }: NodeEvents['connection:refuse']) =>
      note(`${remote} was refused: ${messageOf(error)}`),
    (count) => note(`and ${count} more were refused`),
  );
  node.addEventListener('connection:refuse', ({ detail }) => noteRefusal(detail));
  node.addEventListener('stream:open', ({ detail: { connection, protocol } }) =>
    note(`${connection.remotePeer} opened ${protocol}`),
  );
};
