/** A node's events in the log of a run. */

import { cappedLog } from '../capped-log.ts';
import { describeClose } from '../close-reason.ts';
import type { Connection } from '../connection.ts';
import type { NodeEvents } from '../node/events.ts';
import type { LeanNode } from '../node/node.ts';
import type { Log } from './log.ts';

/** The most entries of one type per second: more than a run of a test suite has, but fewer than a peer can cause. */
const MAX_ENTRIES = 100;
/** The same for refused connections. */
const MAX_REFUSALS = 5;

/** Logs the events of `node`, each under its type. Of too many in one second, only the number of the rest is logged. */
export const logEvents = (node: LeanNode, log: Log): void => {
  const on = <Type extends keyof NodeEvents>(
    type: Type,
    detailOf: (detail: NodeEvents[Type]) => Record<string, unknown> = (detail) => ({ ...detail }),
    most = MAX_ENTRIES,
  ): void => {
    const logSome = cappedLog<NodeEvents[Type]>(
      most,
      (detail) => log(type, detailOf(detail)),
      (more) => log(type, { more }),
    );
    node.addEventListener(type, ({ detail }) => logSome(detail));
  };
  for (const type of ['engine:select', 'limits:ignore', 'dial:start', 'dial:error'] as const) {
    on(type);
  }
  for (const type of ['listen:open', 'listen:close'] as const) {
    on(type, ({ listener }) => ({ address: listener.address }));
  }
  on('connection:open', ({ connection }) => {
    const { role, description } = connection;
    return { ...whoIs(connection), role, via: description };
  });
  on('connection:close', ({ connection, reason }) => ({
    ...whoIs(connection),
    reason: describeClose(reason),
    ...connection.stats?.(),
  }));
  on('connection:refuse', undefined, MAX_REFUSALS);
  on('connection:direct', ({ connection, afterMs }) => ({
    ...whoIs(connection),
    via: connection.description,
    afterMs,
  }));
  on('identify:push', ({ connection, info }) => ({
    ...whoIs(connection),
    listens: info.listenAddrs,
  }));
  for (const type of ['punch:start', 'punch:error'] as const) on(type);
  for (const type of ['relay:reserve', 'relay:lost', 'relay:grant', 'relay:circuit'] as const) {
    on(type);
  }
  for (const type of ['stream:open', 'stream:refuse', 'stream:error'] as const) {
    on(type, ({ connection, ...rest }) => ({ peer: connection.remotePeer, ...rest }));
  }
};

const whoIs = ({ remotePeer, remoteAddress }: Connection) => ({
  peer: remotePeer,
  address: remoteAddress,
});
