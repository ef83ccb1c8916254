/** Listening: the listeners of a node and their addresses. */

import type { Multiaddr } from '@multiformats/multiaddr';
import { aborted, orAborted } from '../deadline.ts';
import type { PeerId } from '../identity/peer-id.ts';
import { parseMultiaddr, reachableAddresses, withoutPeer, withPeer } from '../multiaddr.ts';
import type { PendingPool } from '../pending-pool.ts';
import type { TransportListener } from '../transports/transport.ts';
import type { Connections } from './connections.ts';
import type { Events } from './events.ts';
import type { Listener } from './listener.ts';
import type { Transports } from './transports.ts';

export interface Listening {
  /** @see LeanNode.listen */
  listen(
    address: Multiaddr | string,
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<Listener>;
  /** Where this node can be dialled, without `/p2p`; unspecified hosts stand for every interface. */
  addresses(): Multiaddr[];
  /** The addresses that its listeners are bound to, without `/p2p`. */
  bound(): Multiaddr[];
  /** Closes every listener. Never rejects. */
  close(): Promise<void>;
}

export const createListening = (
  peerId: PeerId,
  transports: Transports,
  connections: Connections,
  events: Events,
  pendingPool: PendingPool,
  /** Fires when the node closes. */
  closing: AbortSignal,
): Listening => {
  const listeners = new Map<Listener, TransportListener>();

  const open = (bound: TransportListener): Listener => {
    let closed: Promise<void> | undefined;
    const close = (): Promise<void> => {
      if (closed === undefined) {
        listeners.delete(listener);
        closed = bound.close();
        events.emit('listen:close', { listener });
      }
      return closed;
    };
    const address = withPeer(bound.address, peerId);
    const listener: Listener = { address, close, [Symbol.asyncDispose]: close };
    listeners.set(listener, bound);
    events.emit('listen:open', { listener });
    return listener;
  };

  return {
    listen: async (address, { signal } = {}) => {
      const wanted = withoutPeer(parseMultiaddr(address));
      const transport = transports.find(wanted);
      const either = signal === undefined ? closing : AbortSignal.any([signal, closing]);
      const what = `listening on ${wanted}`;
      if (either.aborted) throw aborted(what, either.reason);
      const binding = transport.listen(wanted, {
        onConnection: connections.accept,
        onRefused: (error, remote) => events.emit('connection:refuse', { error, remote }),
        pendingPool,
      });
      try {
        return open(await orAborted(binding, either, what));
      } catch (error) {
        // The listener may still be bound after the abort.
        binding.then((bound) => bound.close()).catch(() => {});
        throw error;
      }
    },
    addresses: () =>
      [...listeners.values()].flatMap(
        (bound) => bound.addresses?.() ?? reachableAddresses(bound.address),
      ),
    bound: () => [...listeners.values()].map(({ address }) => address),
    close: async () =>
      void (await Promise.all([...listeners.keys()].map((listener) => listener.close()))),
  };
};
