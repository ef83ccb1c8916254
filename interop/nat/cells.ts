/**
 * The cells of the laboratory: dialer × listener × relay × transport × pair of NATs, named as unified-testing's
 * hole-punch suite names them.
 */
import type { EngineName } from '../../src/quic/engine-name.ts';
import type { Cell } from '../runner/cells.ts';
import type { Nat } from './laboratory.ts';

/**
 * What is expected of the relayed connection: that a direct one replaces it, or that it stays. `either`: it
 * depends on the participants; ours must then succeed where a peer with itself does.
 */
export type Expectation = 'direct' | 'relayed' | 'either';

export interface NatCell extends Cell {
  readonly relay: string;
  readonly nats: { readonly dialer: Nat; readonly listener: Nat };
  readonly expected: Expectation;
}

/** The properties of a participant. */
export interface NatParticipant {
  readonly id: string;
  readonly ours: boolean;
  /** Whether it announces its listener's port instead of the observed one. */
  readonly assumesPortKept: boolean;
  /** As a TCP listener it is the responder in every attempt, even if the peer takes its SYN as a listener. */
  readonly neverSwapsRoles: boolean;
  /** It differs from another participant in this alone: it takes part over QUIC only, between NATs where engines differ. */
  readonly engine?: EngineName;
}

/** NATs of dialer and listener for the cells of one engine: where it matters who sends first, and from which socket. */
const ENGINE_NATS: readonly string[] = ['full-cone', 'port-restricted'];

/** Pairs of the NATs of dialer and listener. */
export const NAT_PAIRS: readonly (readonly [dialer: Nat, listener: Nat])[] = [
  ['full-cone', 'full-cone'],
  ['address-restricted', 'address-restricted'],
  ['port-restricted', 'port-restricted'],
  ['port-shifting', 'port-shifting'],
  ['full-cone', 'port-restricted'],
  ['port-restricted', 'full-cone'],
  ['double', 'port-restricted'],
  ['port-restricted', 'double'],
  ['double', 'double'],
  ['public', 'port-restricted'],
  ['port-restricted', 'public'],
  ['public', 'symmetric'],
  ['symmetric', 'public'],
  ['full-cone', 'symmetric'],
  ['symmetric', 'full-cone'],
  ['address-restricted', 'symmetric'],
  ['symmetric', 'address-restricted'],
  ['port-restricted', 'symmetric'],
  ['symmetric', 'port-restricted'],
  ['symmetric', 'symmetric'],
  ['udp-blocked', 'udp-blocked'],
  ['udp-blocked', 'port-restricted'],
];

const STACKS = [
  { transport: 'quic-v1', secureChannel: null, muxer: null },
  { transport: 'tcp', secureChannel: 'noise', muxer: 'yamux' },
] as const;

/** What the NATs' behaviour (RFC 4787) allows, and what the participants' does not. */
const expectationOf = (
  nats: NatCell['nats'],
  dialer: NatParticipant,
  listener: NatParticipant,
  transport: string,
): Expectation => {
  const both = [nats.dialer, nats.listener];
  const assumed = dialer.assumesPortKept || listener.assumesPortKept;
  if (assumed && both.includes('port-shifting')) return 'either';
  if (!both.includes('symmetric')) return 'direct';
  if (nats.dialer === 'public' && transport === 'tcp' && listener.neverSwapsRoles) return 'either';
  if (both.includes('public')) return 'direct';
  // The side with the random port gets through the other NAT only if that one filters by address at most.
  return both.includes('full-cone') || both.includes('address-restricted') ? 'either' : 'relayed';
};

const takesPart =
  (dialerNat: Nat, listenerNat: Nat, transport: string) =>
  (pair: readonly NatParticipant[]): boolean =>
    pair.every(({ engine }) => engine === undefined) ||
    (transport === 'quic-v1' && [dialerNat, listenerNat].every((nat) => ENGINE_NATS.includes(nat)));

/**
 * Every cell: each participant with itself, and ours with each. A network that blocks UDP is tried with TCP
 * only: over QUIC the relay cannot be reached.
 */
export const natCells = (
  participants: readonly NatParticipant[],
  relays: readonly string[],
): NatCell[] => {
  const pairs = participants.flatMap((dialer) =>
    participants
      .filter((listener) => dialer === listener || dialer.ours || listener.ours)
      .map((listener) => [dialer, listener] as const),
  );
  return NAT_PAIRS.flatMap(([dialerNat, listenerNat]) =>
    STACKS.filter(
      ({ transport }) => transport === 'tcp' || ![dialerNat, listenerNat].includes('udp-blocked'),
    ).flatMap((stack) =>
      relays.flatMap((relay) =>
        pairs
          .filter(takesPart(dialerNat, listenerNat, stack.transport))
          .map(([dialer, listener]): NatCell => {
            const layers = [stack.transport, stack.secureChannel, stack.muxer].filter(
              (layer) => layer !== null,
            );
            const nats = { dialer: dialerNat, listener: listenerNat };
            return {
              name: `${dialer.id} x ${listener.id} (${layers.join(', ')}) [dr - ${dialerNat}, rly - ${relay}, lr - ${listenerNat}]`,
              dialer: dialer.id,
              listener: listener.id,
              ...stack,
              condition: null,
              ours: dialer.ours || listener.ours,
              relay,
              nats,
              expected: expectationOf(nats, dialer, listener, stack.transport),
            };
          }),
      ),
    ),
  );
};
