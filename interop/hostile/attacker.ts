/**
 * One attack, a process of its own:
 *
 *     node interop/hostile/attacker.ts <attack> <multiaddr>
 *
 * Prints what it has done so far, a line of JSON each second. Runs until its stdin ends.
 */
import { endWithParent } from '../end-with-parent.ts';
import type { Attacks } from './attack.ts';
import { quicAttacks } from './quic-attacks.ts';
import { tcpAttacks } from './tcp-attacks.ts';
import { websocketAttacks } from './websocket-attacks.ts';

const attacks: Attacks = { ...quicAttacks, ...tcpAttacks, ...websocketAttacks };

endWithParent();
// Errors are expected: the listener refuses, resets and closes.
process.on('uncaughtException', (error) => process.stderr.write(`${error}\n`));
const [name = '', multiaddr = ''] = process.argv.slice(2);
const attack = attacks[name];
const [, host, port] = /^\/ip4\/([\d.]+)\/(?:udp|tcp)\/(\d+)/.exec(multiaddr) ?? [];
if (attack === undefined || host === undefined) throw new Error(`${name} ${multiaddr}`);
const done: Record<string, number> = {};
setInterval(() => process.stdout.write(`${JSON.stringify(done)}\n`), 1_000);
/** What it is asked to do is done; its connections stay. */
const FINISHED = 'finished';
const count = (what: string, by = 1): void => {
  done[what] = (done[what] ?? 0) + by;
};
await attack({ host, port: Number(port), multiaddr, count });
done[FINISHED] = 1;
