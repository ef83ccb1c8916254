/** NAT traversal of a node: hole punching, AutoNAT, port mapping. */

import type { Multiaddr } from '@multiformats/multiaddr';
import { LeanError } from '../errors.ts';
import { DCUTR } from '../protocols/dcutr.ts';
import { type AutonatLimits, autonatLimitsOf } from './autonat-limits.ts';
import type { AutonatDialer } from './autonat-server.ts';
import type { Connections } from './connections.ts';
import type { Dialing } from './dialing.ts';
import type { Events } from './events.ts';
import { type HolePunchLimits, holePunchLimitsOf } from './hole-punch-limits.ts';
import { createHolePunching, type HolePunching } from './hole-punching.ts';
import type { PortMappings } from './port-mapping.ts';
import type { Protocols } from './protocols.ts';
import type { ReachabilityCheck } from './reachability.ts';
import type { Transports } from './transports.ts';

export interface NatOptions {
  /**
   * Replaces relayed connections by direct ones (DCUtR), event `connection:direct`. Peers that are connected
   * through a relay are sent this node's addresses as relays observe them; the addresses that they send are dialled,
   * within limits. Default: true, with the default limits.
   */
  readonly holePunching?: boolean | Partial<HolePunchLimits>;
  /**
   * Asks peers that serve AutoNAT v2 which of this node's addresses can be dialled: `node.reachability`, event
   * `reachability:change`. Default: false.
   */
  readonly reachability?: boolean | ReachabilityPolicy;
  /**
   * Serves AutoNAT, v1 and v2: dials peers that ask whether they can be reached. `true`: with the default limits.
   * Default: false.
   */
  readonly autonat?: boolean | Partial<AutonatLimits>;
  /**
   * Has the network's router forward ports to this node's listeners (UPnP, else NAT-PMP), event `port:map`. Needs
   * the package `@achingbrain/nat-port-mapper`. Default: false.
   */
  readonly mapPorts?: boolean;
  /**
   * AutoNAT, on both sides, also accepts addresses that are not public (private, loopback): for networks without
   * public addresses. A server then dials hosts of its own network for anybody. Default: false.
   */
  readonly allowPrivate?: boolean;
}

export interface ReachabilityPolicy {
  /** How many servers must agree on an address, and outnumber those that disagree; default 3. */
  readonly confirmations?: number;
}

const CONFIRMATIONS = 3;

export interface Nat {
  /** `undefined` if hole punching is off. */
  readonly punching: HolePunching | undefined;
  /** `undefined` if reachability is not checked. */
  readonly reachability: ReachabilityCheck | undefined;
  /** `undefined` if ports are not mapped. */
  readonly mappings: PortMappings | undefined;
}

/** The parts of a node that NAT traversal needs. */
export interface NatContext {
  readonly protocols: Protocols;
  readonly connections: Connections;
  readonly dialing: Dialing;
  readonly transports: Transports;
  readonly events: Events;
  /** Where this node may be reachable, the most likely first. */
  readonly candidates: () => readonly Multiaddr[];
  /** The addresses that listeners are bound to. */
  readonly bound: () => readonly Multiaddr[];
  /** Makes the node that dials for AutoNAT's clients. */
  readonly createDialer: () => Promise<AutonatDialer>;
  /** Fires when the node closes. */
  readonly closing: AbortSignal;
}

/** @throws ERR_OPTIONS for an option out of range, before anything is started. */
export const createNat = async (options: NatOptions, context: NatContext): Promise<Nat> => {
  const { holePunching = true, autonat = false, reachability = false } = options;
  const { allowPrivate = false, mapPorts = false } = options;
  const punchLimits = holePunchLimitsOf(given(holePunching));
  const autonatLimits = autonatLimitsOf(given(autonat));
  const { confirmations = CONFIRMATIONS } = given(reachability);
  if (!Number.isInteger(confirmations) || confirmations < 1) {
    const message = `nat.reachability.confirmations must be a whole number above 0, not ${confirmations}`;
    throw new LeanError('ERR_OPTIONS', message);
  }

  const { protocols, connections, events, candidates, bound, closing } = context;
  const punching = holePunching
    ? createHolePunching({ ...context, addresses: candidates, limits: punchLimits })
    : undefined;
  if (punching !== undefined) protocols.handle(DCUTR, punching.handle);
  if (autonat) {
    const { serveAutonat } = await import('./autonat-server.ts');
    const { createDialer } = context;
    serveAutonat(protocols, { limits: autonatLimits, allowPrivate, createDialer, closing });
  }
  const mappings = mapPorts
    ? await (await import('./port-mapping.ts')).mapPorts(bound, events, closing)
    : undefined;
  if (!reachability) return { punching, reachability: undefined, mappings };
  const { watchReachability } = await import('./reachability.ts');
  const check = watchReachability(protocols, {
    confirmations,
    allowPrivate,
    candidates,
    connections: () => connections.list(),
    events,
    closing,
  });
  return { punching, reachability: check, mappings };
};

/** The settings of an option that may also be a boolean. */
const given = <Settings extends object>(
  option: boolean | Settings,
): Settings | Partial<Settings> => (typeof option === 'object' ? option : {});
