/**
 * A node behind a router that forwards ports: miniupnpd, in network namespaces. Argument: `upnp` or `nat-pmp`, what
 * the router speaks. Prints a line of JSON: the mappings, whether the node tells of them, what a peer outside said
 * that pinged the node through each, how many ports the router forwards; of one that
 * speaks NAT-PMP also for how many seconds, and how it answers PCP.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { on, once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { isInside, runInside } from '../../interop/nat/isolate.ts';
import { withPeer } from '../../src/multiaddr.ts';
import { createNode } from '../../src/node/node.ts';
import { eventsOf } from './nodes.ts';

const ip = (...args: readonly string[]): void => void execFileSync('ip', args);
const inRouter = ['netns', 'exec', 'router'] as const;

/** The node is at 192.168.7.2; 45.0.0.9, outside, is not in use yet. */
const makeNetwork = (): void => {
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', '/run']);
  for (const name of ['router', 'outside']) ip('netns', 'add', name);
  ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'lan0', 'netns', 'router');
  ip(
    '-n',
    'router',
    'link',
    'add',
    'wan0',
    'type',
    'veth',
    'peer',
    'name',
    'eth0',
    'netns',
    'outside',
  );
  ip('address', 'add', '192.168.7.2/24', 'dev', 'eth0');
  ip('-n', 'router', 'address', 'add', '192.168.7.1/24', 'dev', 'lan0');
  ip('-n', 'router', 'address', 'add', '45.0.0.1/24', 'dev', 'wan0');
  ip('-n', 'outside', 'address', 'add', '45.0.0.9/24', 'dev', 'eth0');
  for (const device of ['lo', 'eth0']) ip('link', 'set', device, 'up');
  for (const device of ['lo', 'lan0', 'wan0']) ip('-n', 'router', 'link', 'set', device, 'up');
  for (const device of ['lo', 'eth0']) ip('-n', 'outside', 'link', 'set', device, 'up');
  ip('route', 'add', 'default', 'via', '192.168.7.1');
  ip(...inRouter, 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
};

const RULES = `
table inet filter {
  chain miniupnpd {}
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "lan0" accept
    jump miniupnpd
  }
  chain prerouting_miniupnpd {}
  chain prerouting { type nat hook prerouting priority -100; jump prerouting_miniupnpd; }
  chain postrouting_miniupnpd {}
  chain postrouting {
    type nat hook postrouting priority 100;
    jump postrouting_miniupnpd
    oifname "wan0" masquerade
  }
}`;

/** @param onLifetime called with the lifetime of each NAT-PMP mapping that it is asked for, seconds. */
const startRouter = async (
  speaks: string,
  folder: string,
  onLifetime: (seconds: number) => void,
): Promise<ChildProcess> => {
  execFileSync('ip', [...inRouter, 'nft', '-f', '-'], { input: RULES });
  const configuration = path.join(folder, 'miniupnpd.conf');
  const yes = (it: boolean): string => (it ? 'yes' : 'no');
  writeFileSync(
    configuration,
    `ext_ifname=wan0
listening_ip=lan0
enable_natpmp=${yes(speaks === 'nat-pmp')}
enable_upnp=${yes(speaks === 'upnp')}
uuid=7d2ea9a4-9f4b-4b3c-8f0a-000000000001
upnp_table_name=filter
upnp_nat_table_name=filter
upnp_forward_chain=miniupnpd
upnp_nat_chain=prerouting_miniupnpd
upnp_nat_postrouting_chain=postrouting_miniupnpd
allow 1024-65535 192.168.7.0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
`,
  );
  // -d: in the foreground, and it says what it does.
  const args = [...inRouter, 'miniupnpd', '-d', '-f', configuration, '-P', `${folder}/pid`];
  const router = spawn('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  router.stderr.setEncoding('utf8');
  const lines = createInterface({ input: router.stderr });
  lines.on('line', (line) => {
    if (process.env.DEBUG) process.stderr.write(`${line}\n`);
    const [, lifetime] = /lifetime=(\d+)/.exec(line) ?? [];
    if (lifetime !== undefined) onLifetime(Number(lifetime));
  });
  for await (const [line] of on(lines, 'line')) {
    if (/[Ll]istening for NAT-PMP|HTTP listening/.test(line)) break;
  }
  return router;
};

const forwarded = (): string[] => {
  const args = [...inRouter, 'nft', 'list', 'chain', 'inet', 'filter', 'prerouting_miniupnpd'];
  const text = execFileSync('ip', args, { encoding: 'utf8' });
  return text.split('\n').filter((line) => line.includes('dnat'));
};

/** Version, opcode and result of a PCP server's answer to ANNOUNCE (RFC 6887 sections 7.1 and 14.1). */
const announcePcp = async (): Promise<readonly number[]> => {
  const request = Buffer.alloc(24);
  request[0] = 2; // version; opcode 0 and lifetime 0 follow
  request.set([0xff, 0xff, 192, 168, 7, 2], 18); // our address, in IPv6's form
  const socket = createSocket('udp4');
  socket.bind(0, '192.168.7.2');
  await once(socket, 'listening');
  socket.send(request, 5351, '192.168.7.1');
  const [answer] = await once(socket, 'message', { signal: AbortSignal.timeout(10_000) });
  socket.close();
  return [answer[0], answer[1], answer[3]];
};

const main = async (speaks: string): Promise<void> => {
  makeNetwork();
  const folder = mkdtempSync(path.join(tmpdir(), 'libp2p-lean-router-'));
  const lifetimes: number[] = [];
  const router = await startRouter(speaks, folder, (seconds) => lifetimes.push(seconds));
  const node = await createNode({ nat: { mapPorts: true } });
  const mapped = eventsOf(node, 'port:map');
  await node.listen('/ip4/192.168.7.2/udp/4001/quic-v1');
  await node.listen('/ip4/0.0.0.0/tcp/4001');
  const mappings = [await mapped.next(), await mapped.next()];
  const outside = mappings.map(({ address }) => withPeer(address, node.peerId).toString());
  const told = outside.every((it) => node.addresses().some((own) => own.toString() === it));
  const replies: unknown[] = [];
  for (const address of outside) {
    const args = ['netns', 'exec', 'outside'];
    const cli = path.join(import.meta.dirname, '../../bin/libp2p-lean');
    const ping = spawn('ip', [...args, cli, 'ping', address, '--count', '1'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    for await (const chunk of ping.stdout) text += chunk;
    replies.push(text);
  }
  const count = forwarded().length;
  const pcp = speaks === 'nat-pmp' ? await announcePcp() : undefined;
  await node.close();
  const result = { mappings: mappings.map(({ address }) => `${address}`), told, replies };
  process.stdout.write(`${JSON.stringify({ ...result, forwarded: count, lifetimes, pcp })}\n`);
  router.kill();
  rmSync(folder, { recursive: true });
};

if (isInside()) {
  await main(process.argv[2] ?? '');
  process.exit();
} else process.exitCode = await runInside(import.meta.filename, process.argv.slice(2));
