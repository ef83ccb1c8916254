/** Statistics of a connection; milliseconds, bytes, packets. */
export interface ConnectionStats {
  /** Smoothed, and the shortest. */
  readonly rtt: number;
  readonly minRtt: number;
  readonly congestionWindow: number;
  /** Congestion events. */
  readonly congestionEvents: number;
  /** UDP payload of the datagrams that the path is known to carry. */
  readonly datagramSize: number;
  readonly sentPackets: number;
  readonly lostPackets: number;
  readonly lostBytes: number;
  /** UDP payload. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
}
