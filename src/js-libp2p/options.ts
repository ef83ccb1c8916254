/** Options and components of the transport. */

import type { ComponentLogger, Metrics, PrivateKey, StreamMuxerOptions } from '@libp2p/interface';
import type { QuicTrace } from '../quic/engine.ts';
import type { EngineChoice } from '../quic/engine-name.ts';
import type { QuicLimits } from '../quic/limits.ts';

export interface QuicOptions {
  /** Default `auto`: the best one that this machine has. */
  readonly engine?: EngineChoice;
  /** Limits of each listener and connection. */
  readonly limits?: Partial<QuicLimits>;
  /** Options of js-libp2p's streams; how many the peer may open is `limits.maxStreams`. */
  readonly streamOptions?: StreamMuxerOptions['streamOptions'];
  /**
   * Whether dials leave from the socket of a listener, where the engine can do that: peers behind a NAT
   * then see one address of this node, which hole punching needs. Default: true.
   */
  readonly dialFromListener?: boolean;
  /**
   * `lazy`: `newStream()` does not wait for the answer of a peer that has accepted the protocol before, which saves a
   * round trip. If the peer no longer does, the stream is aborted with `UnsupportedProtocolError`. `eager`:
   * `newStream()` always waits. Default: `lazy`.
   */
  readonly negotiation?: 'lazy' | 'eager';
  readonly trace?: QuicTrace;
}

/** The js-libp2p components that the transport uses. */
export interface QuicComponents {
  readonly privateKey: PrivateKey;
  readonly logger: ComponentLogger;
  readonly metrics?: Metrics;
}
