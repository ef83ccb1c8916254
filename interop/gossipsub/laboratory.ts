/**
 * Hosts node0 … nodeN on one network, each with a network namespace and a host name, which the others resolve.
 * Only inside the namespaces of `../nat/isolate.ts`; it is removed with them.
 */
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../runner/command.ts';
import { MatrixError } from '../runner/error.ts';

const TIMEOUT_MS = 20_000;
/** How many hosts the /24 has room for. */
export const MAX_HOSTS = 250;

const must = async (...command: readonly string[]): Promise<void> => {
  const { code, stderr } = await run(command, TIMEOUT_MS);
  if (code !== 0) {
    const line = stderr.trim().split('\n')[0] ?? '';
    throw new MatrixError(`the laboratory: ${command.join(' ').slice(0, 80)}: ${line}`);
  }
};

/** Makes the hosts; resolves to a function that wraps a command to run it on one of them. */
export const makeHosts = async (
  count: number,
): Promise<(host: number, command: readonly string[]) => string[]> => {
  mkdirSync('/run/netns', { recursive: true });
  await must('mount', '-t', 'tmpfs', 'tmpfs', '/run/netns');
  await must('ip', 'link', 'set', 'lo', 'up');
  await must('ip', 'link', 'add', 'br0', 'type', 'bridge');
  await must('ip', 'link', 'set', 'br0', 'up');
  const names = Array.from({ length: count }, (_, host) => `node${host}`);
  const addressOf = (host: number) => `10.99.0.${host + 1}`;
  for (const [host, name] of names.entries()) {
    await must('ip', 'netns', 'add', name);
    await must(
      'ip',
      'link',
      'add',
      `v${host}`,
      'type',
      'veth',
      'peer',
      'name',
      'e0',
      'netns',
      name,
    );
    await must('ip', 'link', 'set', `v${host}`, 'master', 'br0', 'up');
    await must('ip', '-n', name, 'address', 'add', `${addressOf(host)}/24`, 'dev', 'e0');
    await must('ip', '-n', name, 'link', 'set', 'e0', 'up');
    await must('ip', '-n', name, 'link', 'set', 'lo', 'up');
  }
  // This mount namespace's own; the machine's stays as it is.
  const hosts = join(mkdtempSync(join(tmpdir(), 'libp2p-lean-hosts-')), 'hosts');
  const lines = names.map((name, host) => `${addressOf(host)} ${name}`);
  writeFileSync(hosts, `127.0.0.1 localhost\n${lines.join('\n')}\n`);
  await must('mount', '--bind', hosts, '/etc/hosts');
  return (host, command) => [
    ...['nsenter', `--net=/run/netns/node${host}`, 'unshare', '--uts', 'sh', '-c'],
    `hostname node${host} && exec "$@"`,
    'sh',
    ...command,
  ];
};
