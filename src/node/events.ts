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

/** The `detail` of each event by its type. Messages of errors may quote a peer: escape them before printing. */
export interface NodeEvents extends TransportEvents {
  /** A peer has connected, or was dialled, and is authenticated. */
  'connection:open': { readonly connection: Connection };
  'connection:close': { readonly connection: Connection; readonly reason: CloseReason };
  /** An inbound connection was refused: the handshake failed, or a limit is reached. `remote`: its address. */
  'connection:refuse': { readonly error: Error; readonly remote: string };
  /** One address is dialled; one dial may have several. */
  'dial:start': { readonly address: Multiaddr };
  'dial:error': { readonly address: Multiaddr; readonly error: Error };
  'listen:open': { readonly listener: Listener };
  'listen:close': { readonly listener: Listener };
  /**
   * There is now a direct connection to the peer of `relayed`, `afterMs` milliseconds after `relayed` was opened,
   * whose streams go on. It is closed when they have ended.
   */
  'connection:direct': {
    readonly connection: Connection;
    readonly relayed: Connection;
    readonly afterMs: number;
  };
  /** A hole punch begins: the peer's `addresses` that limits allow are dialled. */
  'punch:start': {
    readonly peer: PeerId;
    readonly attempt: number;
    readonly role: Role;
    readonly addresses: readonly Multiaddr[];
  };
  /** An attempt failed. Attempt 0: the hole punch has failed, and the connection stays relayed. */
  'punch:error': { readonly peer: PeerId; readonly attempt: number; readonly error: Error };
  /** A relay has granted or renewed a reservation of ours. `expires`: milliseconds since 1970. */
  'relay:reserve': {
    readonly relay: PeerId;
    readonly expires: number;
    readonly limit: CircuitLimit | undefined;
  };
  /** A reservation of ours was lost; the node asks for it again. */
  'relay:lost': { readonly relay: PeerId; readonly error: Error };
  /** This node, as a relay, has granted or renewed a reservation. */
  'relay:grant': { readonly peer: PeerId; readonly expires: number };
  /** This node, as a relay, has connected two peers. */
  'relay:circuit': { readonly source: PeerId; readonly target: PeerId };
  /** A router forwards a port to a listener of ours; see {@link NatOptions.mapPorts}. */
  'port:map': PortMapping;
  'port:error': { readonly listening: Multiaddr; readonly error: Error };
  /** AutoNAT servers changed the result for an address of this node; see {@link NatOptions.reachability}. */
  'reachability:change': Reachability;
  /** A peer has pushed its identify message, as something in it has changed. */
  'identify:push': { readonly connection: Connection; readonly info: IdentifyInfo };
  /** A peer opened a stream for a protocol that is handled here. */
  'stream:open': StreamDetail & { readonly protocol: string };
  /** A peer opened a stream and no protocol was agreed on. */
  'stream:refuse': StreamDetail & { readonly error: Error };
  /** A handler failed; its stream was reset. */
  'stream:error': StreamDetail & { readonly protocol: string; readonly error: Error };
}

/** Of a stream that a peer opened. */
export interface StreamDetail {
  readonly connection: Connection;
  readonly streamId: string;
}

export type NodeEvent<Type extends keyof NodeEvents> = CustomEvent<NodeEvents[Type]>;

/**
 * `EventTarget`'s methods, typed. What a listener throws is an uncaught exception, as with every `EventTarget`.
 */
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
  /** Whether a listener was ever added; checked before making the details of frequent events. */
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
