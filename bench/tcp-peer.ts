/**
 * A contestant of tcp.ts: one stack with one transport, secure channel and muxer.
 *
 *     node bench/tcp-peer.ts <stack> <kind> <secure> <muxer> listen                     prints its address
 *     node bench/tcp-peer.ts <stack> <kind> <secure> <muxer> dial <address> <bytes>     prints the `TcpReport`
 */

import { median } from './support/statistics.ts';
import { startPeer } from './tcp-stacks.ts';

/** Milliseconds, and seconds for the upload. */
export interface TcpReport {
  /** `handshake_plus_one_rtt` of the first dial of this process, and the median of those after it. */
  readonly first: number;
  readonly later: number;
  readonly upload: number;
}

const LATER = 10;

const [stack = '', kind = '', secure = '', muxer = '', role, address = '', bytes] =
  process.argv.slice(2);
const peer = await startPeer({ stack, kind, secure, muxer }, role === 'listen');
if (role === 'listen') {
  console.log(peer.address);
  // Not at once on a signal: the compile cache is written at the exit.
  process.on('SIGTERM', () => process.exit(0));
} else {
  const first = await peer.handshake(address);
  const others: number[] = [];
  while (others.length < LATER) others.push(await peer.handshake(address));
  await peer.upload(address, Number(bytes) / 4);
  const upload = (await peer.upload(address, Number(bytes))) / 1000;
  const report: TcpReport = { first, later: median(others), upload };
  console.log(JSON.stringify(report));
  await peer.stop();
  process.exit(0);
}
