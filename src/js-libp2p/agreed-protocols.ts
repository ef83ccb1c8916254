/** Protocols that peers have accepted on our streams: further streams for them need not wait for the peer's answer. */

export interface AgreedProtocols {
  has(peer: string, protocol: string): boolean;
  /** At most {@link MAX_PAIRS} are kept, the newest. */
  add(peer: string, protocol: string): void;
  delete(peer: string, protocol: string): void;
}

/** Pairs of a peer and a protocol; some hundred bytes each. */
const MAX_PAIRS = 4_096;

export const createAgreedProtocols = (most = MAX_PAIRS): AgreedProtocols => {
  // In the order in which they were last agreed to.
  const pairs = new Set<string>();
  // No peer id has a space in it.
  const pairOf = (peer: string, protocol: string): string => `${peer} ${protocol}`;
  return {
    has: (peer, protocol) => pairs.has(pairOf(peer, protocol)),
    add: (peer, protocol) => {
      const pair = pairOf(peer, protocol);
      pairs.delete(pair);
      pairs.add(pair);
      if (pairs.size <= most) return;
      for (const oldest of pairs) {
        pairs.delete(oldest);
        return;
      }
    },
    delete: (peer, protocol) => void pairs.delete(pairOf(peer, protocol)),
  };
};
