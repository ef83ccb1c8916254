/** A node's events in the log of a run. */

import { describeClose } from '../close-reason.ts';
import type { Connection } from '../connection.ts';
import type { NodeEvents } from '../node/events.ts';
import type { LeanNode } from '../node/node.ts';
import { refusalLog } from '../refusal-log.ts';
import type { Log } from './log.ts';

/** Logs every event of `node`, each under its type. */
export const logEvents = (node: LeanNode, log: Log): void => {
  node.addEventListener('engine:select', ({ type, detail }) => log(type, { ...detail }));
  node.addEventListener('limits:ignore', ({ type, detail }) => log(type, { ...detail }));
  node.addEventListener('dial:start', ({ type, detail }) => log(type, { ...detail }));
  node.addEventListener('dial:error', ({ type, detail }) => log(type, { ...detail }));
  node.addEventListener('listen:open', ({ type, detail }) =>
    log(type, { address: detail.listener.address }),
  );
  node.addEventListener('listen:close', ({ type, detail }) =>
    log(type, { address: detail.listener.address }),
  );
  node.addEventListener('connection:open', ({ type, detail: { connection } }) => {
    const { role, description } = connection;
    log(type, { ...whoIs(connection), role, via: description });
  });
  node.addEventListener('connection:close', ({ type, detail: { connection, reason } }) =>
    log(type, { ...whoIs(connection), reason: describeClose(reason), ...connection.stats?.() }),
  );
  const logRefusal = refusalLog(
    (detail: NodeEvents['connection:refuse']) => log('connection:refuse', { ...detail }),
    (more) => log('connection:refuse', { more }),
  );
  node.addEventListener('connection:refuse', ({ detail }) => logRefusal(detail));
  node.addEventListener('connection:direct', ({ type, detail: { connection, afterMs } }) =>
    log(type, { ...whoIs(connection), via: connection.description, afterMs }),
  );
  node.addEventListener('identify:push', ({ type, detail: { connection, info } }) =>
    log(type, { ...whoIs(connection), listens: info.listenAddrs }),
  );
  for (const name of ['punch:start', 'punch:error'] as const) {
    node.addEventListener(name, ({ type, detail }) => log(type, { ...detail }));
  }
  for (const name of ['relay:reserve', 'relay:lost', 'relay:grant', 'relay:circuit'] as const) {
    node.addEventListener(name, ({ type, detail }) => log(type, { ...detail }));
  }
  for (const name of ['stream:open', 'stream:refuse', 'stream:error'] as const) {
    node.addEventListener(name, ({ type, detail: { connection, ...rest } }) =>
      log(type, { peer: connection.remotePeer, ...rest }),
    );
  }
};

const whoIs = ({ remotePeer, remoteAddress }: Connection) => ({
  peer: remotePeer,
  address: remoteAddress,
});
