/**
 * The dialer of bench/round-trips.ts: new connections, one after the other; prints a line of JSON for each.
 *
 *     node bench/support/round-trip-dialer.ts <multiaddr> <noise|tls> <times>
 *
 * One that fails is missing from the output, with a line on stderr: with packets lost, a time limit may end it.
 */

import { endWithParent } from '../../interop/end-with-parent.ts';
import { messageOf } from '../../src/errors.ts';
import { createNode, perf, ping, quic, tcp, websocket } from '../../src/index.ts';

/** Milliseconds from the start of the dial. */
export interface RoundTripTimes {
  /** Until a ping is answered. */
  readonly firstPing: number;
  /** On another new connection: until the last byte of 1 MiB. */
  readonly firstMebibyte: number;
}

const MIB = 1 << 20;
const TIMEOUT = 120_000;

endWithParent();
const [address = '', security = 'noise', times = '1'] = process.argv.slice(2);
const layers = {
  secureChannels: [security === 'tls' ? 'tls' : 'noise'],
  muxers: ['yamux'],
} as const;
const transport = address.includes('quic')
  ? quic({ engine: 'quinn' })
  : address.includes('/ws')
    ? websocket(layers)
    : tcp(layers);
const node = await createNode({ transports: [transport], dialTimeout: TIMEOUT });
await node.prepare({ role: 'dialer' });

const timed = async (
  use: (connection: Awaited<ReturnType<typeof node.dial>>) => Promise<unknown>,
): Promise<number> => {
  const began = performance.now();
  const connection = await node.dial(address, { force: true });
  await use(connection);
  const took = performance.now() - began;
  await connection.close();
  return took;
};
const firstPing = () => timed((connection) => ping(connection, { timeout: TIMEOUT }));
const firstMebibyte = () =>
  timed((connection) => perf(connection, 0, MIB, { stallTimeout: TIMEOUT }));

/** Runs `use`; a failure is a line on stderr. */
const orSay = async <T>(use: () => Promise<T>): Promise<T | undefined> => {
  try {
    return await use();
  } catch (error) {
    process.stderr.write(`${address}: ${messageOf(error)}\n`);
    return undefined;
  }
};

// A first run, so that compilation is not measured.
await orSay(firstPing);
await orSay(firstMebibyte);
for (let n = 0; n < Number(times); n++) {
  const measured = await orSay(
    async (): Promise<RoundTripTimes> => ({
      firstPing: await firstPing(),
      firstMebibyte: await firstMebibyte(),
    }),
  );
  if (measured !== undefined) process.stdout.write(`${JSON.stringify(measured)}\n`);
}
process.exit();
