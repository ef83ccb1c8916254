/** One end of a UDP or TCP path. */
export interface SocketAddress {
  /** IPv4 or IPv6 literal, never a name; no brackets, no zone. */
  readonly host: string;
  readonly port: number;
}
