/** UDP relays in front of a listener that lose packets, for tests of recovery. */

import { createSocket, type Socket } from 'node:dgram';
import type { SocketAddress } from '../../src/socket-address.ts';
import { seededRandom } from './random.ts';

export interface LossyRelay {
  readonly address: SocketAddress;
  readonly dropped: () => number;
  /** Length of the longest packet relayed; bytes. */
  readonly longest: () => number;
  /** Idempotent. */
  close(): void;
}

/**
 * Relays between whoever sends to its address, on `target`'s host, and `target`; loses each packet with probability
 * `loss`, the same ones for the same `seed` and traffic.
 */
export const lossyRelay = (
  target: SocketAddress,
  loss: number,
  seed: number,
): Promise<LossyRelay> => {
  const random = seededRandom(seed);
  return pickyRelay(target, () => random.below(10_000) >= loss * 10_000);
};

/** A relay that silently drops the packets for which `keeps` returns false. */
export const pickyRelay = async (
  target: SocketAddress,
  keeps: (packet: Buffer, toTarget: boolean) => boolean,
): Promise<LossyRelay> => {
  let open = true;
  let dropped = 0;
  let longest = 0;
  const kept = (packet: Buffer, toTarget: boolean): boolean => {
    longest = Math.max(longest, packet.length);
    const keep = keeps(packet, toTarget);
    if (!keep) dropped++;
    return keep;
  };
  const front = createSocket('udp4');
  const backs = new Map<string, Socket>();
  front.on('message', (packet, from) => {
    const key = `${from.address} ${from.port}`;
    let back = backs.get(key);
    if (back === undefined) {
      back = createSocket('udp4');
      back.on('message', (answer) => {
        if (kept(answer, false)) front.send(answer, from.port, from.address);
      });
      backs.set(key, back);
    }
    if (kept(packet, true)) back.send(packet, target.port, target.host);
  });
  await new Promise<void>((resolve) => front.bind(0, target.host, resolve));
  const { address, port } = front.address();
  return {
    address: { host: address, port },
    dropped: () => dropped,
    longest: () => longest,
    close() {
      if (!open) return;
      open = false;
      front.close();
      for (const back of backs.values()) back.close();
    },
  };
};
