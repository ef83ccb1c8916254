/** This project as a perf peer; ../README.md says how it is driven. QUIC_ENGINE chooses the engine. */

import { createInterface } from 'node:readline';
import type { Connection } from '../../../src/connection.ts';
import { messageOf } from '../../../src/errors.ts';
import type { HarnessConfig } from '../../../src/harness/environment.ts';
import { transportUnderTest } from '../../../src/harness/transports.ts';
import type { AddressKind } from '../../../src/multiaddr.ts';
import { createNode, type LeanNode } from '../../../src/node/node.ts';
import { handlePerf, PERF, perf } from '../../../src/protocols/perf.ts';

type Stack = Pick<HarnessConfig, 'transport' | 'secureChannel' | 'muxer' | 'quicEngine'>;

const LISTEN: Readonly<Record<AddressKind, string>> = {
  'quic-v1': '/udp/0/quic-v1',
  tcp: '/tcp/0',
  ws: '/tcp/0/ws',
  wss: '/tcp/0/tls/ws',
};

/** `quic-v1`, or `tcp`, `ws`, `wss`, with `/<secure channel>/<muxer>` where not noise and yamux. */
const stackOf = (words: string): Stack => {
  const [transport, secureChannel = 'noise', muxer = 'yamux'] = words.split('/');
  const quicEngine = process.env.QUIC_ENGINE ?? 'auto';
  const stack = transport === 'quic-v1' ? { transport } : { transport, secureChannel, muxer };
  return { ...stack, quicEngine } as Stack;
};

const startNode = async (stack: Stack): Promise<LeanNode> => {
  const node = await createNode({ transports: [transportUnderTest(stack)] });
  node.addEventListener('stream:error', ({ type, detail }) => {
    process.stderr.write(`${type}: ${messageOf(detail.error)}\n`);
  });
  await node.prepare();
  return node;
};

const listen = async (words: string, host = '127.0.0.1'): Promise<void> => {
  const stack = stackOf(words);
  const node = await startNode(stack);
  node.handle(PERF, async (stream) => void (await handlePerf(stream)));
  const listener = await node.listen(`/ip4/${host}${LISTEN[stack.transport]}`);
  process.stdout.write(`${listener.address}\n`);
  process.stdin.resume().once('end', () => node.close().then(() => process.exit(0)));
};

const dial = async (
  address: string,
  words = address.includes('/quic-v1') ? 'quic-v1' : 'tcp',
): Promise<void> => {
  const node = await startNode(stackOf(words));
  let connection: Connection | undefined;
  const connect = async (): Promise<Connection> => {
    await connection?.close();
    connection = await node.dial(address, { force: true });
    return connection;
  };
  const transfer = async (over: Connection, up: number, down: number): Promise<void> => {
    await perf(over, up, down);
  };
  const repeat = async (count: number, one: () => Promise<number>): Promise<number[]> => {
    const times: number[] = [];
    while (times.length < count) times.push(await one());
    return times;
  };
  const run = async (command: string, numbers: readonly number[]): Promise<number | number[]> => {
    const [a = 0, b = 0, streams = 1] = numbers;
    if (command === 'roundtrips') {
      const over = await connect();
      return repeat(a, async () => {
        const start = performance.now();
        await transfer(over, 1, 1);
        return performance.now() - start;
      });
    }
    if (command === 'handshakes') {
      return repeat(a, async () => {
        await connection?.close();
        const start = performance.now();
        await transfer(await connect(), 1, 1);
        return performance.now() - start;
      });
    }
    if (command !== 'transfer') throw new Error(`no command ${command}`);
    const over = await connect();
    const start = performance.now();
    await Promise.all(Array.from({ length: streams }, () => transfer(over, a, b)));
    return performance.now() - start;
  };
  for await (const line of createInterface({ input: process.stdin })) {
    const [command = '', ...numbers] = line.split(' ');
    const answer = await run(command, numbers.map(Number)).then(
      (ms) => ({ ms }),
      (error: unknown) => ({ error: messageOf(error) }),
    );
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  await node.close();
  process.exit(0);
};

const [role, what = '', ...rest] = process.argv.slice(2);
await (role === 'listen' ? listen(what, ...rest) : dial(what, ...rest));
