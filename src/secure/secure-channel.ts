/** A secure channel as the upgrade sees it: a wire with an authenticated peer. */

import type { Role } from '../connection.ts';
import type { PeerId } from '../identity/peer-id.ts';
import type { Wire } from '../wire/wire.ts';

/** The names that the interop matrices use; on the wire `/noise` and `/tls/1.0.0`. */
export type SecureChannelName = 'noise' | 'tls';

export interface SecureChannel {
  /** Plaintext in and out. */
  readonly wire: Wire;
  /** Authenticated by the handshake. */
  readonly remotePeer: PeerId;
  /** The protocol name of the muxer that early negotiation has chosen; `undefined` if the peer does not support that. */
  readonly muxer: string | undefined;
}

export interface SecureOptions {
  readonly role: Role;
  /** The peer that must answer; `undefined` accepts any. */
  readonly expectedPeer: PeerId | undefined;
  /** Protocol names of the muxers that we support, best first. */
  readonly muxers: readonly string[];
}
