/**
 * Finds out what a NAT of the laboratory does, in RFC 4787's terms, as a STUN client would: with sockets on both
 * sides of it.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { MatrixError } from '../runner/error.ts';
import type { Host, Laboratory, Side } from './laboratory.ts';
import type { Answer, Command, Endpoint } from './probe-agent.ts';

/** What the mapping of an inside port to an outside one depends on. */
export type Mapping = 'endpoint-independent' | 'address-dependent' | 'address-and-port-dependent';
/** Whose unsolicited packets an outside port lets in. */
export type Filtering = Mapping;

export interface Behaviour {
  readonly mapping: Mapping;
  /** Whether the outside port is the same as the inside one. */
  readonly keepsPort: boolean;
  readonly filtering: Filtering;
}

export interface Probe {
  /** `blocked` where nothing gets out. */
  readonly udp: Behaviour | 'blocked';
  readonly tcp: Behaviour | 'blocked';
}

interface Agent {
  ask(command: Command): Promise<Answer>;
  end(): void;
}

/** Enough for a round trip on a busy machine, ms. */
const TIMEOUT_MS = 2_000;
const PORTS = { contacted: 7001, other: 7002, udp: 21_000, tcp: 22_000, tcpAgain: 22_001 } as const;

const startAgent = (laboratory: Laboratory, host: Host): Agent => {
  const script = join(import.meta.dirname, 'probe-agent.ts');
  const [file = '', ...args] = laboratory.on(host, [process.execPath, script]);
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  // That it has ended shows as a missing answer.
  child.stdin.on('error', () => {});
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    ask: async (command) => {
      child.stdin.write(`${JSON.stringify(command)}\n`);
      const { value, done } = await answers.next();
      if (done) throw new MatrixError(`the probe on the ${host} ended`);
      const answer = JSON.parse(value) as Answer;
      if (answer.error !== undefined)
        throw new MatrixError(`the probe on the ${host}: ${answer.error}`);
      return answer;
    },
    end: () => void child.stdin.end(),
  };
};

const same = (a: Endpoint | undefined | null, b: Endpoint | undefined | null): boolean =>
  a?.address === b?.address && a?.port === b?.port;

const dependence = (otherAddress: boolean, otherPort: boolean): Mapping =>
  otherAddress
    ? 'endpoint-independent'
    : otherPort
      ? 'address-dependent'
      : 'address-and-port-dependent';

/** Probes what is between a side and the relay. */
export const probeNat = async (laboratory: Laboratory, side: Side): Promise<Probe> => {
  const [inside, outside] = [startAgent(laboratory, side), startAgent(laboratory, 'relay')];
  const there = (address: string, port: number): Endpoint => ({ address, port });
  const servers = [
    there(laboratory.addresses.relay, PORTS.contacted),
    there(laboratory.addresses.relay, PORTS.other),
    there(laboratory.relaySecondAddress, PORTS.contacted),
  ] as const;
  const own = (port: number): Endpoint => there(laboratory.addresses[side], port);
  try {
    return {
      udp: await probeUdp(inside, outside, own(PORTS.udp), servers),
      tcp: await probeTcp(inside, outside, own, servers),
    };
  } finally {
    inside.end();
    outside.end();
  }
};

type Servers = readonly [contacted: Endpoint, otherPort: Endpoint, otherAddress: Endpoint];

const probeUdp = async (
  inside: Agent,
  outside: Agent,
  own: Endpoint,
  servers: Servers,
): Promise<Behaviour | 'blocked'> => {
  for (const at of servers) await outside.ask({ do: 'udp-open', at });
  await inside.ask({ do: 'udp-open', at: own });
  const seenBy = async (server: Endpoint): Promise<Endpoint | undefined> => {
    await inside.ask({ do: 'udp-send', from: own, to: server, text: 'hello' });
    const wait = { at: server, until: 'hello', timeoutMs: TIMEOUT_MS } as const;
    const { datagrams } = await outside.ask({ do: 'udp-receive', ...wait });
    return datagrams?.[0]?.from;
  };
  const [contacted, otherPort, otherAddress] = servers;
  const seen = await seenBy(contacted);
  if (seen === undefined) return 'blocked';
  // Every NAT lets the last one in, so what has not arrived before it was filtered.
  for (const [from, text] of [
    [otherAddress, 'other address'],
    [otherPort, 'other port'],
    [contacted, 'contacted'],
  ] as const) {
    await outside.ask({ do: 'udp-send', from, to: seen, text });
  }
  const wait = { at: own, until: 'contacted', timeoutMs: TIMEOUT_MS } as const;
  const { datagrams = [] } = await inside.ask({ do: 'udp-receive', ...wait });
  const got = (wanted: string): boolean => datagrams.some(({ text }) => text === wanted);
  if (!got('contacted')) return 'blocked';
  const filtering = dependence(got('other address'), got('other port'));
  const [fromPort, fromAddress] = [await seenBy(otherPort), await seenBy(otherAddress)];
  const mapping = dependence(same(seen, fromAddress), same(seen, fromPort));
  return { mapping, keepsPort: seen.port === own.port, filtering };
};

const probeTcp = async (
  inside: Agent,
  outside: Agent,
  own: (port: number) => Endpoint,
  servers: Servers,
): Promise<Behaviour | 'blocked'> => {
  for (const at of servers) await outside.ask({ do: 'tcp-listen', at });
  const connect = async (agent: Agent, from: Endpoint, to: Endpoint) =>
    (await agent.ask({ do: 'tcp-connect', from, to, timeoutMs: TIMEOUT_MS })).seen;
  const [contacted, otherPort, otherAddress] = servers;
  const mine = own(PORTS.tcp);
  const seen = await connect(inside, mine, contacted);
  if (seen === undefined || seen === null) return 'blocked';
  await inside.ask({ do: 'tcp-listen', at: mine });
  // Port 0: any that the server does not use.
  const fromAddress = await connect(outside, { ...otherAddress, port: 0 }, seen);
  const fromPort = await connect(outside, { ...otherPort, port: 0 }, seen);
  await inside.ask({ do: 'tcp-close', at: mine });
  const again = own(PORTS.tcpAgain);
  const views = [];
  for (const server of servers) views.push(await connect(inside, again, server));
  return {
    mapping: dependence(same(views[0], views[2]), same(views[0], views[1])),
    keepsPort: seen.port === mine.port,
    filtering: dependence(fromAddress !== null, fromPort !== null),
  };
};
