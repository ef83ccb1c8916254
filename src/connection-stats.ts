/** Statistics of a QUIC connection. */
export interface ConnectionStats {
  /** Smoothed round-trip time, milliseconds (RFC 9002 section 5.3). */
  readonly rtt: number;
  /** The shortest round-trip time, milliseconds. */
  readonly minRtt: number;
  /** Bytes. */
  readonly congestionWindow: number;
  /** How often the congestion controller has reacted to losses. */
  readonly congestionEvents: number;
  /** UDP payload of the largest datagram that the path is known to carry, bytes. */
  readonly datagramSize: number;
  readonly sentPackets: number;
  readonly lostPackets: number;
  readonly lostBytes: number;
  /** UDP payload, bytes. */
  readonly sentBytes: number;
  /** UDP payload, bytes. */
  readonly receivedBytes: number;
}
