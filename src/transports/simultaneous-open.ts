/**
 * Who speaks first on a TCP connection that a hole punch makes (libp2p/specs relay/DCUtR.md). Both sides dial, one as
 * the dialer and one as the listener, so that both know it when their packets cross. When the first packet of one side
 * arrives before the other side has dialled, that one's listener accepts it, and each may wait for the other.
 */

import type { Socket } from 'node:net';
import type { Role } from '../connection.ts';
import { startDeadline } from '../deadline.ts';
import { isLeanError } from '../errors.ts';
import type { PeerId } from '../identity/peer-id.ts';
import { MULTISTREAM } from '../multistream.ts';
import { plainHost, type SocketAddress } from '../socket-address.ts';
import type { Wire } from '../wire/wire.ts';
import type { Turn } from './upgrade.ts';

/** Time within which a peer that has also dialled sends its first bytes; milliseconds. */
const FIRST_WORD = 600;
/** Bytes of multistream-select's header, which listeners on go-libp2p send unasked; a dialer sends more. */
const HEADER = MULTISTREAM.length + 2;

/**
 * Our role on a connection that we made as the listener of a hole punch: if the peer sends nothing, its listener
 * has accepted our dial and waits for us.
 *
 * @throws what reading throws, and the signal's reason.
 */
export const roleOn = async (wire: Wire, signal: AbortSignal): Promise<Role> => {
  const deadline = startDeadline(FIRST_WORD, "the peer's first word", signal);
  const heard: Uint8Array[] = [];
  let bytes = 0;
  try {
    while (bytes <= HEADER) {
      const chunk = await wire.read(undefined, deadline.signal);
      if (chunk === null) break;
      heard.push(chunk);
      bytes += chunk.length;
    }
    return 'listener';
  } catch (error) {
    if (isLeanError(error, 'ERR_TIMEOUT') && !signal.aborted) return 'dialer';
    wire.reset();
    throw error;
  } finally {
    deadline.clear();
    for (const chunk of heard.reverse()) wire.unread(chunk);
  }
};

/**
 * How long a connection must have been silent, milliseconds: the first bytes of a dialer come right behind the packet
 * that completes its connection.
 */
const SILENCE = 200;

/** Connections that listeners have accepted and whose peer has not sent anything. */
export interface SilentPeers {
  /** For a connection that was accepted just now: we are its listener, unless {@link speakTo} comes before the first bytes. */
  turnOn(wire: Wire, socket: Socket): Turn;
  /** A dial of ours, as the dialer of a hole punch, failed as its ports have a connection: if that is silent, we speak first. */
  speakTo(remote: SocketAddress, expected: PeerId | undefined): void;
}

export const createSilentPeers = (): SilentPeers => {
  const waiting = new Map<string, (expected: PeerId | undefined) => void>();
  return {
    turnOn: (wire, { remoteAddress = '', remotePort = 0 }) => {
      const key = keyOf({ host: remoteAddress, port: remotePort });
      const since = performance.now();
      const stop = new AbortController();
      let peer: PeerId | undefined;
      const speak = (expected: PeerId | undefined): void => {
        if (performance.now() - since < SILENCE) return;
        peer = expected;
        stop.abort();
      };
      return async () => {
        waiting.set(key, speak);
        try {
          const chunk = await wire.read(undefined, stop.signal);
          if (chunk !== null) wire.unread(chunk);
          return { role: 'listener', expected: undefined };
        } catch (error) {
          if (stop.signal.aborted) return { role: 'dialer', expected: peer };
          throw error;
        } finally {
          if (waiting.get(key) === speak) waiting.delete(key);
        }
      };
    },
    speakTo: (remote, expected) => waiting.get(keyOf(remote))?.(expected),
  };
};

const keyOf = ({ host, port }: SocketAddress): string => `${plainHost(host)} ${port}`;
