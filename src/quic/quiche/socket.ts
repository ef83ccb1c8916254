/**
 * A UDP socket and the connections on it: packets that arrive in one turn of the event loop are processed
 * together, and what they cause is sent together at its end.
 */

import { createSocket, type Socket } from 'node:dgram';
import type { AdmittedConnection } from '../../admission.ts';
import { LeanError, messageOf } from '../../errors.ts';
import { RUNTIME } from '../../runtime.ts';
import type { PacketSender, QuicheConnection } from './connection.ts';

/** Requested from the kernel, which may grant less (net.core.rmem_max). */
const SOCKET_BUFFER = 4 << 20;
/** How long `close()` waits at most for CONNECTION_CLOSE to be sent; milliseconds. */
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
  readonly admitted?: AdmittedConnection;
}

/**
 * The event loop's side of a UDP socket: collects the connections that have something to do and
 * serves them once per turn. First all process what has arrived; then, when the readers and writers that
 * this woke have run, all send.
 */
export const pump = (socket: Socket, connected: boolean, onDrained: (entry: Entry) => void) => {
  let due = new Set<Entry>();
  /** Those that send now. */
  let sending = new Set<Entry>();
  let scheduled = false;
  const sender: PacketSender = {
    send(packet, to) {
      try {
        if (connected) socket.send(packet);
        else socket.send(packet, to.port, to.host);
      } catch {
        // Closed meanwhile, or no route: the packet counts as lost.
      }
    },
    // Bun always reports 0, so there the memory of packets is not reused.
    idle: () => RUNTIME.udpCountsQueue && socket.getSendQueueCount() === 0,
  };

  const schedule = (entry: Entry): void => {
    due.add(entry);
    if (scheduled) return;
    scheduled = true;
    setImmediate(run);
  };
  /**
   * Nothing that a peer sends may end the process: an exception while one connection is served, here or
   * in a callback, ends that connection.
   */
  const failed = (entry: Entry, error: unknown): void => {
    try {
      entry.connection.fail(new LeanError('ERR_CONNECTION_CLOSED', messageOf(error)));
    } catch {
      // A callback threw as well.
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
    // of the readers just woken share packets with the acknowledgements.
    queueMicrotask(() => process.nextTick(send));
  };
  const send = (): void => {
    scheduled = false;
    // A connection with more to send than a burst is added to `due` again, for the next turn.
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
  /** Sends all that may be sent, so that what is handed to quiche next can be sent at once. */
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
    // A timer that fires early checks again; only one that would fire late is replaced.
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

/** Resolves when the CONNECTION_CLOSE of an ended connection has been sent, or the socket is closed. */
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
    // Hosts are IP literals here: no packet has to go through the resolver.
    lookup: (address, _options, callback) => callback(null, address, family),
  });
};

/** quiche does not parse addresses with a zone (`fe80::1%eth0`). */
export const withoutZone = (host: string): string => {
  const zone = host.indexOf('%');
  return zone < 0 ? host : host.slice(0, zone);
};

/**
 * Frees the memory of a received datagram, which must not be used afterwards. V8 does not collect these
 * buffers until there are some 20 MB of them, and then marks the whole heap: a third of a receiver's time.
 */
export const freeDatagram = (packet: Buffer): void => {
  const { buffer } = packet;
  if (!RUNTIME.udpBuffersAreOwned || buffer.byteLength !== packet.length) return;
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
};
