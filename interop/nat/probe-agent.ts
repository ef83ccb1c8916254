/**
 * Sockets on a host of the laboratory, driven by `probe.ts`: a JSON line for each command on stdin, one
 * for each answer on stdout. Ends with its stdin.
 */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, connect as openTcp, type Server } from 'node:net';
import { createInterface } from 'node:readline';

export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

export type Command =
  | { readonly do: 'udp-open'; readonly at: Endpoint }
  | {
      readonly do: 'udp-send';
      readonly from: Endpoint;
      readonly to: Endpoint;
      readonly text: string;
    }
  /** Answers with each datagram since the last time, up to the one that says `until`. */
  | {
      readonly do: 'udp-receive';
      readonly at: Endpoint;
      readonly until: string;
      readonly timeoutMs: number;
    }
  | { readonly do: 'tcp-listen'; readonly at: Endpoint }
  | { readonly do: 'tcp-close'; readonly at: Endpoint }
  /** Answers with the source address that the server saw. */
  | {
      readonly do: 'tcp-connect';
      readonly from: Endpoint;
      readonly to: Endpoint;
      readonly timeoutMs: number;
    };

export interface Datagram {
  readonly from: Endpoint;
  readonly text: string;
}
export interface Answer {
  readonly datagrams?: readonly Datagram[];
  readonly seen?: Endpoint | null;
  readonly error?: string;
}

const keyOf = ({ address, port }: Endpoint): string => `${address}:${port}`;

interface Inbox {
  readonly socket: Socket;
  readonly datagrams: Datagram[];
}

const inboxes = new Map<string, Inbox>();
const servers = new Map<string, Server>();

const inboxAt = (at: Endpoint): Inbox => {
  const inbox = inboxes.get(keyOf(at));
  if (inbox === undefined) throw new Error(`no socket at ${keyOf(at)}`);
  return inbox;
};

const perform = async (command: Command): Promise<Answer> => {
  switch (command.do) {
    case 'udp-open': {
      const socket = createSocket('udp4');
      const datagrams: Datagram[] = [];
      socket.on('message', (message, { address, port }) => {
        datagrams.push({ from: { address, port }, text: message.toString() });
      });
      // ICMP errors are ignored: what does not arrive is counted as filtered.
      socket.on('error', () => {});
      socket.bind(command.at.port, command.at.address);
      await once(socket, 'listening');
      inboxes.set(keyOf(command.at), { socket, datagrams });
      return {};
    }
    case 'udp-send':
      inboxAt(command.from).socket.send(command.text, command.to.port, command.to.address);
      return {};
    case 'udp-receive': {
      const { socket, datagrams } = inboxAt(command.at);
      const timeout = AbortSignal.timeout(command.timeoutMs);
      while (!datagrams.some(({ text }) => text === command.until)) {
        try {
          await once(socket, 'message', { signal: timeout });
        } catch {
          break;
        }
      }
      return { datagrams: datagrams.splice(0) };
    }
    case 'tcp-listen': {
      const server = createServer((socket) => {
        socket.on('error', () => {});
        socket.end(JSON.stringify({ address: socket.remoteAddress, port: socket.remotePort }));
      });
      server.listen(command.at.port, command.at.address);
      await once(server, 'listening');
      servers.set(keyOf(command.at), server);
      return {};
    }
    case 'tcp-close':
      servers.get(keyOf(command.at))?.close();
      return {};
    case 'tcp-connect': {
      const { from, to } = command;
      const socket = openTcp({
        host: to.address,
        port: to.port,
        localAddress: from.address,
        localPort: from.port,
      });
      const timer = setTimeout(() => socket.destroy(), command.timeoutMs);
      try {
        let text = '';
        for await (const chunk of socket) text += String(chunk);
        return { seen: text === '' ? null : (JSON.parse(text) as Endpoint) };
      } catch {
        return { seen: null };
      } finally {
        clearTimeout(timer);
        socket.destroy();
      }
    }
  }
};

if (import.meta.main) {
  for await (const line of createInterface({ input: process.stdin })) {
    const answer = await perform(JSON.parse(line) as Command).catch((error: unknown) => ({
      error: String(error),
    }));
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  process.exit(0);
}
