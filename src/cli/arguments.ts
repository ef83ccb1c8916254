/** The argument parser. @see main */

import { isIP } from 'node:net';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { hasHarnessVariables } from '../harness/environment.ts';
import { HarnessError } from '../harness/errors.ts';
import { ENGINE_CHOICES } from '../quic/engine-name.ts';
import { VERSION } from '../version.ts';
import { EXIT } from './process.ts';
import { parseSize } from './size.ts';

const DEFAULT_LISTEN = '/ip4/0.0.0.0/udp/0/quic-v1';
const DEFAULT_RELAY = ['/ip4/0.0.0.0/udp/4001/quic-v1', '/ip4/0.0.0.0/tcp/4001'];

const EXAMPLES = `
Examples:
  $ libp2p-lean listen
  $ libp2p-lean ping -c 5 /ip4/127.0.0.1/udp/4001/quic-v1/p2p/12D3KooW…
  $ IS_DIALER=false TRANSPORT=quic-v1 LISTENER_IP=0.0.0.0 REDIS_ADDR=localhost:6379 \\
    TEST_KEY=a5b50d5e libp2p-lean transport

A checkout and the image libp2p-lean:kad-dht have kad-dht and gossipsub-interop, too:
  $ ROLE=bootstrap REDIS_ADDR=localhost:6379 TEST_KEY=a5b50d5e libp2p-lean kad-dht

Exit codes: 0 done; 1 failed; 2 wrong arguments or configuration; 127 not supported here.`;

const HOLE_PUNCH_HELP = `
Environment, as libp2p/unified-testing's hole-punch suite sets it:
  IS_DIALER                             true: dialer; false: listener; not set, with RELAY_IP: relay
  IS_RELAY                              true: relay
  DIALER_IP, LISTENER_IP, RELAY_IP      where each listens; default 0.0.0.0
  TRANSPORT                             quic-v1, tcp (with SECURE_CHANNEL and MUXER)
  REDIS_ADDR, TEST_KEY                  where they meet
  PUNCH_TIMEOUT_SECS                    a dialer without a direct connection by then reports the relayed one
or as libp2p/test-plans' hole-punch-interop sets it: MODE (dial, listen), TRANSPORT (tcp, quic).`;

const TRANSPORT_HELP = `
Two dialects are understood; a variable that is empty or null is unset.
  unified-testing   test-plans             what it may be
  IS_DIALER         is_dialer              true, false
  TRANSPORT         transport              quic-v1, tcp, ws, wss
  SECURE_CHANNEL    security               noise, tls; not for quic-v1
  MUXER             muxer                  yamux, mplex; not for quic-v1
  LISTENER_IP       ip                     IPv4 or IPv6 address (0.0.0.0)
  REDIS_ADDR        redis_addr             host:port (test-plans: redis:6379)
  TEST_KEY          -                      names the test in Redis
  TEST_TIMEOUT_SECS test_timeout_seconds   seconds for the whole run (180)
  DEBUG             DEBUG                  true: a log of every step on stderr
  QUIC_ENGINE       QUIC_ENGINE            auto, quinn, node, quiche (auto)
  NODE_QUIC         NODE_QUIC              path of a Node.js built with node:quic, for auto and node

With these variables set, libp2p-lean without a command does the same.`;

const MISC_HELP = `
The variables of the transport command, and PROTOCOL: ping, echo, identify.`;

const LISTEN_HELP = `
Prints its addresses, one a line, then logs peers on stderr until Ctrl-C. With --perf, anyone who may dial
it can make it send as much as they like.

Limits on what peers may cost, and their defaults; a refusal at one is logged:
  maxConnections 10000, maxConnectionsPerHost 512, maxConnectionsPerPeer 64
  maxMemoryPercent 85                         of V8's heap, the cgroup, ulimit -v
  maxPending 1000, maxPendingPerHost 256      handshakes under way
  maxStreams                                  a peer's on one connection: QUIC 256, else 1024
  connectionMemory 16MiB                      held for one connection
  stallTimeout 30000                          ms until a writer that waits for its peer is given up
  handshakeTimeout 10000, idleTimeout         ms; idle: QUIC 30000, else none

Examples:
  $ libp2p-lean listen
  $ libp2p-lean listen --limit maxConnections=100 --limit connectionMemory=4MiB
  $ libp2p-lean listen /ip6/::1/udp/4001/quic-v1
  $ libp2p-lean listen /ip4/0.0.0.0/udp/4001/quic-v1 /ip4/0.0.0.0/tcp/4001 /ip4/0.0.0.0/tcp/4002/ws
  $ libp2p-lean listen --perf
  $ libp2p-lean listen --metrics 9090`;

const PING_HELP = `
Works against any libp2p node. Several addresses are dialled at once and the first connection is
used. Ends with the summary after -c pings or on Ctrl-C; exits 1 when nothing was answered.

Examples:
  $ libp2p-lean ping -c 5 /ip4/127.0.0.1/udp/4001/quic-v1/p2p/12D3KooW…
  $ libp2p-lean ping -i 0.2 --json /dns4/example.org/udp/4001/quic-v1/p2p/12D3KooW…
  $ libp2p-lean ping --insecure /ip4/127.0.0.1/tcp/4001/tls/ws/p2p/12D3KooW…`;

const RELAY_HELP = `
Prints its multiaddrs and relays until it is ended. Anyone may use it, within its limits:
  maxReservations (128), maxReservationsPerHost (8), reservationTime (3600000 ms),
  maxCircuits (1024), maxCircuitsPerPeer (16), circuitTime (120000 ms), circuitData (131072 bytes
  in each direction); 0 ms and 0 bytes: no limit. Those of \`listen\` hold, too.

Examples:
  $ libp2p-lean relay
  $ libp2p-lean relay --limit circuitData=10MiB /ip4/0.0.0.0/udp/4001/quic-v1
  $ libp2p-lean listen --relay /ip4/203.0.113.7/udp/4001/quic-v1/p2p/12D3KooW…`;

const PERF_HELP = `
Without --to, --listen and test-plans' flags it takes part in a perf test as the environment says:
as for \`transport\`, and for a dialer
  UPLOAD_BYTES, DOWNLOAD_BYTES               bytes of one transfer (1 GiB)
  UPLOAD_ITERATIONS, DOWNLOAD_ITERATIONS     how often each is measured (10)
  LATENCY_ITERATIONS                         round trips of one byte (100)

Without --upload and --download it moves 1 GiB each way. Anyone who may dial a node that serves perf
can make it send as much as they like.

Examples:
  $ libp2p-lean listen --perf
  $ libp2p-lean perf --to /ip4/127.0.0.1/udp/4001/quic-v1/p2p/12D3KooW… --upload 1GiB
  $ libp2p-lean perf --run-server --server-address 0.0.0.0:4001
  $ libp2p-lean perf --server-address 10.0.0.1:4001 --transport quic-v1 --upload-bytes 1048576`;

/** Runs the command that `args` name and resolves with its exit code. */
export const parse = async (args: readonly string[]): Promise<number> => {
  let code: number = EXIT.ok;
  const program = new Command('libp2p-lean')
    .description('A lean libp2p node over QUIC: the interop participant, a listener, a ping.')
    .version(VERSION)
    .addHelpText('after', EXAMPLES)
    .exitOverride()
    .configureOutput({
      outputError: (text, write) =>
        write(
          `libp2p-lean: ${text
            .replace(/^error: /, '')
            .replace(/\s*\n\s*/g, ' ')
            .trim()}\n`,
        ),
    });
  const engine = new Option(
    '--engine <name>',
    'QUIC engine; NODE_QUIC names a Node.js that has node:quic',
  )
    .choices(ENGINE_CHOICES)
    .default('auto')
    .env('QUIC_ENGINE');
  const debug = new Option('--debug', 'log every step on stderr; DEBUG=true does the same').default(
    process.env.DEBUG === 'true' || undefined,
  );

  const limit = new Option(
    '--limit <name=value>',
    'what peers may cost; may be given several times',
  )
    .argParser(limitOf)
    .default({}, 'see below');
  const insecure = new Option(
    '-k, --insecure',
    'dial wss listeners whatever their certificate; the peer id is proven all the same',
  );

  program
    .command('transport')
    .description('take part in an interop test, as the environment says')
    .addHelpText('after', TRANSPORT_HELP)
    .action(async () => {
      const { transport } = await import('./transport.ts');
      code = await transport(process.env);
    });

  program
    .command('hole-punch')
    .description('take part in a hole-punch test, as the environment says')
    .addHelpText('after', HOLE_PUNCH_HELP)
    .action(async () => {
      const { holePunch } = await import('./hole-punch.ts');
      code = await holePunch(process.env);
    });

  program
    .command('misc')
    .description('take part in a test of ping, echo or identify, as the environment says')
    .addHelpText('after', MISC_HELP)
    .action(async () => {
      const { misc } = await import('./misc.ts');
      code = await misc(process.env);
    });

  program
    .command('listen')
    .description('listen and answer ping and identify')
    .argument('[multiaddr...]', 'where to listen', [DEFAULT_LISTEN])
    .option(
      '--relay <multiaddr>',
      'be reached through that relay; may be given several times',
      collect,
    )
    .option('--perf', 'serve /perf/1.0.0 too, to anyone')
    .option(
      '--metrics <[ip:]port>',
      'serve metrics for Prometheus over HTTP; ip: 127.0.0.1',
      socketAddress,
    )
    .addOption(limit)
    .addOption(engine)
    .addOption(debug)
    .addHelpText('after', LISTEN_HELP)
    .action(async (addresses, options) => {
      const { listen } = await import('./listen.ts');
      code = await listen(addresses, options);
    });

  program
    .command('relay')
    .description('be a relay for peers that cannot be dialled (circuit relay v2)')
    .argument('[multiaddr...]', 'where to listen', DEFAULT_RELAY)
    .addOption(limit)
    .addOption(engine)
    .addOption(debug)
    .addHelpText('after', RELAY_HELP)
    .action(async (addresses, options) => {
      const { listen } = await import('./listen.ts');
      code = await listen(addresses, { ...options, serveRelay: true });
    });

  program
    .command('ping')
    .description('measure round trips to a libp2p node')
    .argument('<multiaddr...>', 'where it listens, best with /p2p/<peer id>')
    .option('-c, --count <n>', 'stop after n pings', positiveInteger)
    .option('-i, --interval <s>', 'seconds between pings', seconds, 1)
    .option(
      '-W, --timeout <s>',
      'seconds to wait for the connection and for each answer',
      seconds,
      10,
    )
    .option('--json', 'one JSON object per line')
    .addOption(insecure)
    .addOption(engine)
    .addOption(debug)
    .addHelpText('after', PING_HELP)
    .action(async (addresses, options) => {
      const { ping } = await import('./ping.ts');
      code = await ping(addresses, options);
    });

  program
    .command('perf')
    .description('measure throughput, or take part in a perf test, as the environment says')
    .addOption(
      new Option('--to <multiaddr>', 'dial and measure').conflicts(['listen', 'runServer']),
    )
    .option('--listen [multiaddr...]', `the same as listen --perf; default ${DEFAULT_LISTEN}`)
    .addOption(limit)
    .option('--upload <size>', 'what to upload, on each stream: 1GiB, 500MB, 1000', size)
    .option('--download <size>', 'what to download, on each stream', size)
    .option('--streams <n>', 'streams at once', positiveInteger, 1)
    .option('--json', 'one JSON object per line')
    .addOption(insecure)
    .addOption(new Option('--run-server', 'test-plans: serve').conflicts('listen'))
    .option('--server-address <host:port>', 'test-plans: where the server listens')
    .addOption(
      new Option('--transport <name>', 'test-plans: what to dial with')
        .choices(['tcp', 'quic-v1'])
        .default('tcp'),
    )
    .option('--upload-bytes <n>', 'test-plans: bytes to upload', bytes, 0)
    .option('--download-bytes <n>', 'test-plans: bytes to download', bytes, 0)
    .addOption(engine)
    .addOption(debug)
    .addHelpText('after', PERF_HELP)
    .action(async (options) => {
      const { serverAddress, listen: addresses, to } = options;
      if (options.runServer && serverAddress === undefined) {
        throw new HarnessError('ERR_CONFIG', '--run-server needs --server-address host:port');
      }
      if (serverAddress !== undefined) {
        const { runClient, runServer } = await import('./perf-executable.ts');
        code = await (options.runServer ? runServer(options) : runClient(options));
      } else if (to !== undefined) {
        const { perfTo } = await import('./perf-people.ts');
        code = await perfTo(to, options);
      } else if (addresses !== undefined) {
        const { listen } = await import('./listen.ts');
        const where = addresses === true ? [DEFAULT_LISTEN] : addresses;
        code = await listen(where, { ...options, perf: true });
      } else if (!hasHarnessVariables(process.env)) {
        const what = 'give --to or --listen, or set the variables of a perf test';
        throw new HarnessError('ERR_CONFIG', `nothing to measure: ${what}`);
      } else {
        const { perf } = await import('./perf.ts');
        code = await perf(process.env);
      }
    });

  if (args.length === 0) {
    program.outputHelp({ error: true });
    return EXIT.usage;
  }
  try {
    await program.parseAsync(args, { from: 'user' });
    return code;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // It has said what is wrong, or printed the help or the version that was asked for.
    return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  }
};

const collect = (text: string, before: readonly string[] = []): string[] => [...before, text];

const positiveInteger = (text: string): number => {
  const value = Number(text);
  if (!/^\d{1,9}$/.test(text) || value === 0) {
    throw new InvalidArgumentError('It must be a whole number above 0.');
  }
  return value;
};

const socketAddress = (text: string): { host: string; port: number } => {
  const [, literal, plain, digits] = /^(?:(?:\[([^\]]+)\]|([^:]+)):)?(\d{1,5})$/.exec(text) ?? [];
  const host = literal ?? plain ?? '127.0.0.1';
  const port = Number(digits ?? -1);
  if (isIP(host) === 0 || port < 0 || port > 65_535) {
    throw new InvalidArgumentError('It must be a port, or an IP address and one: 127.0.0.1:9090.');
  }
  return { host, port };
};

const bytes = (text: string): number => {
  const value = Number(text);
  if (!/^\d{1,16}$/.test(text) || !Number.isSafeInteger(value)) {
    throw new InvalidArgumentError('It must be a whole number up to 2^53 - 1.');
  }
  return value;
};

const size = (text: string): number => {
  const value = parseSize(text);
  if (value === undefined) throw new InvalidArgumentError('It must be a size such as 1GiB.');
  return value;
};

/** The node checks the limit's name and value. */
const limitOf = (text: string, before: Readonly<Record<string, number>>) => {
  const [, name = '', value = ''] = /^(\w+)=(.*)$/.exec(text) ?? [];
  const number = parseSize(value);
  if (number === undefined) {
    throw new InvalidArgumentError(
      'It must be name=value with a number as the value, such as maxConnections=100.',
    );
  }
  return { ...before, [name]: number };
};

const seconds = (text: string): number => {
  if (!/^\d{0,6}(\.\d{1,6})?$/.test(text) || text === '') {
    throw new InvalidArgumentError('It must be a number of seconds.');
  }
  return Number(text);
};
