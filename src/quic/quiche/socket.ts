/**
 * A UDP socket and the connections on it: packets that arrive in one turn of the event loop are taken together,
 * and what they cause leaves together at its end.
 */

import { createSocket, type Socket } from 'node:dgram';
import type { Guest } from '../../admission.ts';
import { LeanError, messageOf } from '../../errors.ts';
import { RUNTIME } from '../../runtime.ts';
import type { PacketSender, QuicheConnection } from './connection.ts';

/** Asked of the kernel, which may give less (net.core.rmem_max). */
const SOCKET_BUFFER = 4 << 20;
/** How long `close()` waits at most for CONNECTION_CLOSE to leave the socket; milliseconds. */
const CLOSE_WAIT = 1_000;

/** A connection on its socket: what is due for it, and its timer. */
export interface Entry {
  readonly connection: QuicheConnection;
  /** Packets came in since the last `settle()`. */
  received: boolean;
  timer: NodeJS.Timeout | undefined;
  /** When `timer` fires, by `performance.now()`. */
  timerDue: number;
  /** Its keys in the listener's routing table. */
  readonly routes: string[];
  /** The listener's count of it. */
  readonly guest?: Guest;
}

/**
 * The event loop's side of a UDP socket: collects the connections that have something to do and
 * serves them once per turn. First all take in what has arrived; then, when the code that this woke
 * has run, all send.
 */
export const pump = (socket: Socket, connected: boolean, onDrained: (entry: Entry) => void) => {
  let due = new Set<Entry>();
  /** Those whose turn to send it is. */
  let sending = new Set<Entry>();
  let scheduled = false;
  const sender: PacketSender = {
    send(packet, to) {
      try {
        if (connected) socket.send(packet);
        else socket.send(packet, to.port, to.host);
      } catch {
        // Closed meanwhile, or nowhere to send to: the packet is lost, as packets may be.
      }
    },
    // Bun's count was only ever seen to be 0; its packets keep their memory.
    idle: () => RUNTIME.udpCountsQueue && socket.getSendQueueCount() === 0,
  };

  const schedule = (entry: Entry): void => {
    due.add(entry);
    if (scheduled) return;
    scheduled = true;
    setImmediate(run);
  };
  /**
   * Nothing that a peer sends may end the process: what is thrown for one connection, here or in the
   * code of whoever is told of it, ends that connection.
   */
  const failed = (entry: Entry, error: unknown): void => {
    try {
      entry.connection.fail(new LeanError('ERR_CONNECTION_CLOSED', messageOf(error)));
    } catch {
      // Whoever is told of the end threw as well.
    }
  };
  const run = (): void => {
    for (const entry of due) {
      if (!entry.received) continue;
      entry.received = false;
      try {
        entry.connection.settle();
      } catch (error) {
        failed(entry, error);
      }
    }
    // A tick queued from a microtask runs when the whole microtask queue is empty, so the answers
    // of the readers just woken leave in the same packets as the acknowledgements.
    queueMicrotask(() => process.nextTick(send));
  };
  const send = (): void => {
    scheduled = false;
    // Whoever has more to send than a burst is due again: in the next turn.
    [due, sending] = [sending, due];
    for (const entry of sending) {
      sending.delete(entry);
      flush(entry);
    }
  };
  const flush = (entry: Entry): void => {
    try {
      if (entry.connection.flush(sender)) schedule(entry);
    } catch (error) {
      failed(entry, error);
    }
    arm(entry);
  };
  /** Sends all that may be sent, however much: what is handed to quiche next leaves at once. */
  const flushAll = (entry: Entry): void => {
    while (entry.connection.flush(sender));
    arm(entry);
  };
  const arm = (entry: Entry): void => {
    const { connection } = entry;
    if (connection.ended !== undefined && connection.drained) {
      clearTimeout(entry.timer);
      onDrained(entry);
      return;
    }
    const wait = connection.dueIn();
    if (wait === undefined) return;
    const at = performance.now() + wait;
    // A timer that fires early looks again; only one that would fire late is replaced.
    if (entry.timer !== undefined && entry.timerDue <= at + 1) return;
    clearTimeout(entry.timer);
    entry.timerDue = at;
    entry.timer = setTimeout(onTimer, Math.max(1, wait), entry).unref();
  };
  const onTimer = (entry: Entry): void => {
    entry.timer = undefined;
    const wait = entry.connection.dueIn();
    try {
      if (wait !== undefined && wait <= 0) entry.connection.tick();
    } catch (error) {
      failed(entry, error);
    }
    flush(entry);
  };
  /** Sends its CONNECTION_CLOSE and forgets it. */
  const drop = (entry: Entry): void => {
    flush(entry);
    due.delete(entry);
    sending.delete(entry);
    clearTimeout(entry.timer);
  };
  return { schedule, flush, flushAll, drop };
};

/** Resolves when the end of an ended connection has left the socket, or that is no longer open. */
export const sent = async (
  connection: QuicheConnection,
  socket: Socket,
  isOpen: () => boolean,
): Promise<void> => {
  const deadline = performance.now() + CLOSE_WAIT;
  while (isOpen() && (!connection.closeSent || socket.getSendQueueCount() > 0)) {
    if (performance.now() >= deadline) return;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
};

export const bindSocket = (host: string): Socket => {
  const family = host.includes(':') ? 6 : 4;
  return createSocket({
    type: family === 6 ? 'udp6' : 'udp4',
    ipv6Only: family === 6,
    recvBufferSize: SOCKET_BUFFER,
    sendBufferSize: SOCKET_BUFFER,
    // Hosts are IP literals here; this spares each packet a trip through the resolver.
    lookup: (address, _options, callback) => callback(null, address, family),
  });
};

/** quiche reads addresses without a zone (`fe80::1%eth0`). */
export const withoutZone = (host: string): string => {
  const zone = host.indexOf('%');
  return zone < 0 ? host : host.slice(0, zone);
};
