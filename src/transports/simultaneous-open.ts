/**
 * Which side is the dialer, and so sends first, on a TCP connection made by a hole punch (libp2p/specs relay/DCUtR.md).
 * Both sides dial, one as the dialer and one as the listener, so that the roles are known if their packets cross and a
 * simultaneous open follows. But if the packet of one side arrives before the other side has dialled, the other side's
 * listening socket accepts it, and then both sides may wait for each other.
 */

import type { Socket } from 'node:net';
import type { Role } from '../connection.ts';
import { startDeadline } from '../deadline.ts';
import { isLeanError } from '../errors.ts';
import type { PeerId } from '../identity/peer-id.ts';
import { MULTISTREAM } from '../multistream.ts';
import { plainHost, type SocketAddress } from '../socket-address.ts';
import type { Wire } from '../wire/wire.ts';
import type { DecideSide } from './upgrade.ts';

/** A peer that has dialled, too, sends its first bytes within this time; milliseconds. */
const FIRST_BYTES_TIMEOUT = 600;
/** Bytes of multistream-select's header, which go-libp2p's listeners send at once; a dialer sends more. */
const HEADER = MULTISTREAM.length + 2;

/**
 * Finds out our role on a connection that we dialled as the listener of a hole punch. It is `dialer` if the peer sends
 * nothing: then its listening socket has accepted our dial, and it waits for us. What was read is put back.
 *
 * @throws what reading throws, and the signal's reason.
 */
export const detectRole = async (wire: Wire, signal: AbortSignal): Promise<Role> => {
  const deadline = startDeadline(FIRST_BYTES_TIMEOUT, "the peer's first bytes", signal);
  const received: Uint8Array[] = [];
  let bytes = 0;
  try {
    while (bytes <= HEADER) {
      const chunk = await wire.read(undefined, deadline.signal);
      if (chunk === null) break;
      received.push(chunk);
      bytes += chunk.length;
    }
    return 'listener';
  } catch (error) {
    if (isLeanError(error, 'ERR_TIMEOUT') && !signal.aborted) return 'dialer';
    wire.reset();
    throw error;
  } finally {
    deadline.clear();
    for (const chunk of received.reverse()) wire.unread(chunk);
  }
};

/**
 * How long a connection must have been silent before we send first; milliseconds. The first bytes of a dialer follow
 * right after the packet that completes its connection.
 */
const SILENCE = 200;

/** Connections that listeners have accepted, and whose peers have not sent anything. */
export interface SilentPeers {
  /**
   * For a connection that was accepted just now. Decides that we are its listener, unless {@link becomeDialer} is called
   * before the peer's first bytes arrive.
   */
  add(wire: Wire, socket: Socket): DecideSide;
  /**
   * Our dial to `remote`, as the dialer of a hole punch, failed because there is a connection between the two ports
   * already. If that connection is silent, we become its dialer.
   */
  becomeDialer(remote: SocketAddress, expected: PeerId | undefined): void;
}

export const createSilentPeers = (): SilentPeers => {
  const waiting = new Map<string, (expected: PeerId | undefined) => void>();
  return {
    add: (wire, { remoteAddress = '', remotePort = 0 }) => {
      const key = keyOf({ host: remoteAddress, port: remotePort });
      const since = performance.now();
      const stop = new AbortController();
      let peer: PeerId | undefined;
      const become = (expected: PeerId | undefined): void => {
        if (performance.now() - since < SILENCE) return;
        peer = expected;
        stop.abort();
      };
      return async () => {
        waiting.set(key, become);
        try {
          const chunk = await wire.read(undefined, stop.signal);
          if (chunk !== null) wire.unread(chunk);
          return { role: 'listener', expected: undefined };
        } catch (error) {
          if (stop.signal.aborted) return { role: 'dialer', expected: peer };
          throw error;
        } finally {
          if (waiting.get(key) === become) waiting.delete(key);
        }
      };
    },
    becomeDialer: (remote, expected) => waiting.get(keyOf(remote))?.(expected),
  };
};

const keyOf = ({ host, port }: SocketAddress): string => `${plainHost(host)} ${port}`;
