/** The argument parser. @see main */

import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { VERSION } from '../version.ts';
import { EXIT } from './process.ts';

const EXAMPLES = `
Examples:
  $ libp2p-lean listen
  $ libp2p-lean ping -c 5 /ip4/127.0.0.1/udp/4001/quic-v1/p2p/12D3KooW…
  $ IS_DIALER=false TRANSPORT=quic-v1 LISTENER_IP=0.0.0.0 REDIS_ADDR=localhost:6379 \\
    TEST_KEY=a5b50d5e libp2p-lean transport

Exit codes: 0 done; 1 failed; 2 wrong arguments or configuration; 127 not supported here.`;

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
  QUIC_ENGINE       QUIC_ENGINE            auto, node, quiche (auto)

With these variables set, libp2p-lean without a command does the same.`;

const LISTEN_HELP = `
Prints its addresses, one a line, then logs peers on stderr until Ctrl-C.

Examples:
  $ libp2p-lean listen
  $ libp2p-lean listen /ip6/::1/udp/4001/quic-v1`;

const PING_HELP = `
Works against any libp2p node. Several addresses are dialled at once and the first connection is
used. Ends with the summary after -c pings or on Ctrl-C; exits 1 when nothing was answered.

Examples:
  $ libp2p-lean ping -c 5 /ip4/127.0.0.1/udp/4001/quic-v1/p2p/12D3KooW…
  $ libp2p-lean ping -i 0.2 --json /dns4/example.org/udp/4001/quic-v1/p2p/12D3KooW…`;

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
  const engine = new Option('--engine <name>', 'QUIC engine')
    .choices(['auto', 'node', 'quiche'])
    .default('auto')
    .env('QUIC_ENGINE');
  const debug = new Option('--debug', 'log every step on stderr');

  program
    .command('transport')
    .description('take part in an interop test, as the environment says')
    .addHelpText('after', TRANSPORT_HELP)
    .action(async () => {
      const { transport } = await import('./transport.ts');
      code = await transport(process.env);
    });

  program
    .command('listen')
    .description('listen and answer ping and identify')
    .argument('[multiaddr]', 'where to listen', '/ip4/0.0.0.0/udp/0/quic-v1')
    .addOption(engine)
    .addOption(debug)
    .addHelpText('after', LISTEN_HELP)
    .action(async (address, options) => {
      const { listen } = await import('./listen.ts');
      code = await listen(address, options);
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
    .addOption(engine)
    .addOption(debug)
    .addHelpText('after', PING_HELP)
    .action(async (addresses, options) => {
      const { ping } = await import('./ping.ts');
      code = await ping(addresses, options);
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

const positiveInteger = (text: string): number => {
  const value = Number(text);
  if (!/^\d{1,9}$/.test(text) || value === 0) {
    throw new InvalidArgumentError('It must be a whole number above 0.');
  }
  return value;
};

const seconds = (text: string): number => {
  if (!/^\d{0,6}(\.\d{1,6})?$/.test(text) || text === '') {
    throw new InvalidArgumentError('It must be a number of seconds.');
  }
  return Number(text);
};
