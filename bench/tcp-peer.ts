/** A listener for bench/tcp.ts: `tcp-peer.ts ours|js <kind> <secure> <muxer>`; prints its address. */

import { startPeer } from './tcp-stacks.ts';

const [stack = '', kind = '', secure = '', muxer = ''] = process.argv.slice(2);
const peer = await startPeer({ stack, kind, secure, muxer }, true);
process.stdout.write(`${peer.address}\n`);
process.on('disconnect', () => process.exit(0));
