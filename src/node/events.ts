/** The events of a node: typed, on an `EventTarget`. */

import type { Multiaddr } from '@multiformats/multiaddr';
import type { CloseReason } from '../close-reason.ts';
import type { CircuitLimit, Connection, Role } from '../connection.ts';
import type { PeerId } from '../identity/peer-id.ts';
import type { IdentifyInfo } from '../protocols/identify.ts';
import type { TransportEvents } from '../transports/transport.ts';
import type { Listener } from './listener.ts';
import type { PortMapping } from './mapped-port.ts';
import type { Reachability } from './reachability-status.ts';

/** The `detail` of each event, by its type. Messages of errors may contain a peer's text: escape them before printing. */
export interface NodeEvents extends TransportEvents {
  /** A connection, inbound or outbound, is open: its peer is authenticated. */
  'connection:open': { readonly connection: Connection };
  'connection:close': { readonly connection: Connection; readonly reason: CloseReason };
  /** An inbound connection was refused: its handshake failed, or a limit is reached. `remote`: where it came from. */
  'connection:refuse': { readonly error: Error; readonly remote: string };
  /** An address is dialled; `node.dial()` may dial several. */
  'dial:start': { readonly address: Multiaddr };
  /** The dial to one address failed. */
  'dial:error': { readonly address: Multiaddr; readonly error: Error };
  'listen:open': { readonly listener: Listener };
  'listen:close': { readonly listener: Listener };
  /**
   * There is now a direct connection to the peer of `relayed`, `afterMs` milliseconds after `relayed` was opened.
   * Streams on `relayed` go on; it is closed when they have ended.
   */
  'connection:direct': {
    readonly connection: Connection;
    readonly relayed: Connection;
    readonly afterMs: number;
  };
  /** An attempt at a hole punch begins: those `addresses` of the peer that limits allow are dialled. `role`: ours. */
  'punch:start': {
    readonly peer: PeerId;
    readonly attempt: number;
    readonly role: Role;
    readonly addresses: readonly Multiaddr[];
  };
  /** An attempt failed. Attempt 0: the whole hole punch failed, and the connection stays relayed. */
  'punch:error': { readonly peer: PeerId; readonly attempt: number; readonly error: Error };
  /** A relay has granted or renewed a reservation of ours. `expires`: milliseconds since 1970. */
  'relay:reserve': {
    readonly relay: PeerId;
    readonly expires: number;
    readonly limit: CircuitLimit | undefined;
  };
  /** A reservation of ours was lost; the node requests it again. */
  'relay:lost': { readonly relay: PeerId; readonly error: Error };
  /** This node, as a relay, has granted or renewed a reservation. */
  'relay:grant': { readonly peer: PeerId; readonly expires: number };
  /** This node, as a relay, has connected two peers. */
  'relay:circuit': { readonly source: PeerId; readonly target: PeerId };
  /** A router forwards a port to a listener of ours; see {@link NatOptions.mapPorts}. */
  'port:map': PortMapping;
  /** No router forwards a port to the listener bound to `listening`. */
  'port:error': { readonly listening: Multiaddr; readonly error: Error };
  /** AutoNAT servers changed the result for an address of this node; see {@link NatOptions.reachability}. */
  'reachability:change': Reachability;
  /** A peer has pushed its identify message, because something in it has changed. */
  'identify:push': { readonly connection: Connection; readonly info: IdentifyInfo };
  /** A peer opened a stream for a protocol that is handled here. */
  'stream:open': StreamDetail & { readonly protocol: string };
  /** A peer opened a stream, but no protocol was agreed on, or a limit is reached. */
  'stream:refuse': StreamDetail & { readonly error: Error };
  /** A handler failed; its stream was reset. */
  'stream:error': StreamDetail & { readonly protocol: string; readonly error: Error };
}

/** A stream that a peer opened. */
export interface StreamDetail {
  readonly connection: Connection;
  /** `Stream.id`. */
  readonly streamId: string;
}

export type NodeEvent<Type extends keyof NodeEvents> = CustomEvent<NodeEvents[Type]>;

/** `EventTarget`'s methods, typed. An error thrown by a listener is an uncaught exception, as with every `EventTarget`. */
export interface NodeEventTarget {
  addEventListener<Type extends keyof NodeEvents>(
    type: Type,
    listener: (event: NodeEvent<Type>) => void,
    options?: { readonly once?: boolean; readonly signal?: AbortSignal },
  ): void;
  removeEventListener<Type extends keyof NodeEvents>(
    type: Type,
    listener: (event: NodeEvent<Type>) => void,
  ): void;
}

export interface Events {
  /** The target that the node's users see. */
  readonly target: EventTarget & NodeEventTarget;
  /** Whether a listener was ever added for `type`; checked before making the details of frequent events. */
  has(type: keyof NodeEvents): boolean;
  emit<Type extends keyof NodeEvents>(type: Type, detail: NodeEvents[Type]): void;
}

export const createEvents = (): Events => {
  const heard = new Set<string>();
  const target = new EventTarget();
  const add: EventTarget['addEventListener'] = (type, ...rest) => {
    heard.add(type);
    EventTarget.prototype.addEventListener.call(target, type, ...rest);
  };
  return {
    target: Object.assign(target, { addEventListener: add }) as Events['target'],
    has: (type) => heard.has(type),
    emit: (type, detail) => {
      if (heard.has(type)) target.dispatchEvent(new CustomEvent(type, { detail }));
    },
  };
};
