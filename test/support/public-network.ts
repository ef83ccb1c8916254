/**
 * AutoNAT between this project and go-libp2p on public addresses, in a network namespace: neither go-libp2p nor we
 * dial others. Arguments: the engine, the go peer's program. Prints a line of JSON for each question.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { isInside, runInside } from '../../interop/nat/isolate.ts';
import { parseMultiaddr } from '../../src/multiaddr.ts';
import { createNode } from '../../src/node/node.ts';
import {
  AUTONAT_DIAL_BACK,
  checkAddresses,
  createDialBacks,
} from '../../src/protocols/autonat-v2.ts';
import type { EngineName } from '../../src/quic/engine-name.ts';
import { quic, tcp } from '../../src/transports/factories.ts';

/** Our address, that of go-libp2p in its namespace, and one that is not in use. */
const [LEAN, GO, NOBODY] = ['45.0.0.1', '45.0.0.2', '45.0.0.9'] as const;

const ip = (...args: readonly string[]): void => void execFileSync('ip', args);

const makeNetwork = (): void => {
  // `ip netns` keeps the names here; the mount namespace is ours.
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', '/run']);
  ip('netns', 'add', 'go');
  ip('link', 'add', 'lean', 'type', 'veth', 'peer', 'name', 'go', 'netns', 'go');
  ip('address', 'add', `${LEAN}/24`, 'dev', 'lean');
  for (const link of ['lo', 'lean']) ip('link', 'set', link, 'up');
  ip('-n', 'go', 'address', 'add', `${GO}/24`, 'dev', 'go');
  for (const link of ['lo', 'go']) ip('-n', 'go', 'link', 'set', link, 'up');
};

const main = async (engine: EngineName, program: string): Promise<void> => {
  makeNetwork();
  const spawnGo = (...args: readonly string[]): ChildProcess =>
    spawn('ip', ['netns', 'exec', 'go', program, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  const transports = [quic({ engine }), tcp()];
  const over = async (end: string): Promise<void> => {
    const at = (ip: string): string => `/ip4/${ip}/${end}`;
    const other = at(GO).replace('4001', '4002');
    const say = (question: string, answer: unknown): void => {
      process.stdout.write(`${JSON.stringify({ over: end, question, answer })}\n`);
    };
    const go = spawnGo('serve', at(GO));
    const goAddress = await lineOf(go);
    const node = await createNode({ transports, nat: { autonat: { dialTimeout: 2_000 } } });
    const { address } = await node.listen(at(LEAN));
    const dialBacks = createDialBacks();
    node.handle(AUTONAT_DIAL_BACK, dialBacks.handle);
    const connection = await node.dial(goAddress);
    for (const [question, asked] of [
      ['go, of ours', at(LEAN)],
      ['go, of one that nobody has', at(NOBODY).replace('4001', '4999')],
    ] as const) {
      const check = await checkAddresses(connection, [parseMultiaddr(asked)], dialBacks);
      say(question, check?.reachable ?? 'refused');
    }
    for (const [question, ...args] of [
      ['go asks, v1', 'ask-v1', `${address}`, other],
      ['go asks, v2', 'ask-v2', `${address}`, other],
      ['go asks of an address that nobody has', 'ask-v2', `${address}`, other, at(NOBODY)],
    ] as const) {
      const asking = spawnGo(...args);
      say(question, await lineOf(asking));
      asking.stdin?.end();
    }
    go.stdin?.end();
    await once(go, 'exit');
    await node.close();
  };
  await Promise.all(['udp/4001/quic-v1', 'tcp/4001'].map(over));
};

const lineOf = async (child: ChildProcess): Promise<string> => {
  if (child.stdout === null) return '';
  for await (const line of createInterface({ input: child.stdout })) return line;
  return 'nothing';
};

const [engine, program] = process.argv.slice(2) as [EngineName, string];
if (isInside()) {
  await main(engine, program);
  process.exit();
} else process.exitCode = await runInside(import.meta.filename, [engine, program]);
