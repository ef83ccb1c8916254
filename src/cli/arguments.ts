/** The argument parser of the command line. */

import { Command, CommanderError, Option } from 'commander';
import { hasHarnessVariables } from '../harness/environment.ts';
import { HarnessError } from '../harness/errors.ts';
import { ENGINE_CHOICES } from '../quic/engine-name.ts';
import { VERSION } from '../version.ts';
import {
  EXAMPLES,
  HOLE_PUNCH_HELP,
  LISTEN_HELP,
  MISC_HELP,
  PERF_HELP,
  PING_HELP,
  RELAY_HELP,
  TRANSPORT_HELP,
} from './help.ts';
import {
  bytes,
  collect,
  limitOf,
  positiveInteger,
  seconds,
  size,
  socketAddress,
} from './option-values.ts';
import { EXIT } from './process.ts';

const DEFAULT_LISTEN = '/ip4/0.0.0.0/udp/0/quic-v1';
const DEFAULT_RELAY = ['/ip4/0.0.0.0/udp/4001/quic-v1', '/ip4/0.0.0.0/tcp/4001'];

/** Takes the exit code of the command that ran. */
type Done = (code: number) => void;

/** Options that several commands have. */
const sharedOptions = () => {
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
  return { engine, debug, limit, insecure };
};

type SharedOptions = ReturnType<typeof sharedOptions>;

/** The participants of test suites, which environment variables configure. */
const addParticipants = (program: Command, done: Done): void => {
  program
    .command('transport')
    .description('take part in an interop test, as the environment says')
    .addHelpText('after', TRANSPORT_HELP)
    .action(async () => {
      const { transport } = await import('./transport.ts');
      done(await transport(process.env));
    });

  program
    .command('hole-punch')
    .description('take part in a hole-punch test, as the environment says')
    .addHelpText('after', HOLE_PUNCH_HELP)
    .action(async () => {
      const { holePunch } = await import('./hole-punch.ts');
      done(await holePunch(process.env));
    });

  program
    .command('misc')
    .description('take part in a test of ping, echo or identify, as the environment says')
    .addHelpText('after', MISC_HELP)
    .action(async () => {
      const { misc } = await import('./misc.ts');
      done(await misc(process.env));
    });
};

const addListen = (program: Command, { limit, engine, debug }: SharedOptions, done: Done): void => {
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
      done(await listen(addresses, options));
    });
};

const addRelay = (program: Command, { limit, engine, debug }: SharedOptions, done: Done): void => {
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
      done(await listen(addresses, { ...options, serveRelay: true }));
    });
};

const addPing = (
  program: Command,
  { insecure, engine, debug }: SharedOptions,
  done: Done,
): void => {
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
      done(await ping(addresses, options));
    });
};

const addPerf = (
  program: Command,
  { limit, insecure, engine, debug }: SharedOptions,
  done: Done,
): void => {
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
        done(await (options.runServer ? runServer(options) : runClient(options)));
      } else if (to !== undefined) {
        const { perfTo } = await import('./perf-interactive.ts');
        done(await perfTo(to, options));
      } else if (addresses !== undefined) {
        const { listen } = await import('./listen.ts');
        const where = addresses === true ? [DEFAULT_LISTEN] : addresses;
        done(await listen(where, { ...options, perf: true }));
      } else if (!hasHarnessVariables(process.env)) {
        const what = 'give --to or --listen, or set the variables of a perf test';
        throw new HarnessError('ERR_CONFIG', `nothing to measure: ${what}`);
      } else {
        const { perf } = await import('./perf.ts');
        done(await perf(process.env));
      }
    });
};

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
  const done: Done = (exitCode) => {
    code = exitCode;
  };
  const shared = sharedOptions();
  addParticipants(program, done);
  addListen(program, shared, done);
  addRelay(program, shared, done);
  addPing(program, shared, done);
  addPerf(program, shared, done);

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
