/** What a secure channel is to the upgrade: a wire whose other end is known. */

import type { Role } from '../connection.ts';
import type { PeerId } from '../identity/peer-id.ts';
import type { Wire } from '../wire/wire.ts';

/** The harness's names; `/noise` and `/tls/1.0.0` on the wire. */
export type SecureChannelName = 'noise' | 'tls';

export interface SecureChannel {
  /** Plaintext in and out. */
  readonly wire: Wire;
  /** Proven by the handshake. */
  readonly remotePeer: PeerId;
  /** What early muxer negotiation agreed on; `undefined` when the peer does not do it. */
  readonly muxer: string | undefined;
}

export interface SecureOptions {
  readonly role: Role;
  /** Who must answer; `undefined` accepts whoever does. */
  readonly expectedPeer: PeerId | undefined;
  /** Protocol names of the muxers that we speak, best first. */
  readonly muxers: readonly string[];
}
