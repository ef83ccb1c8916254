/**
 * The compose files that the two upstream harnesses generate, and how they read a result from what
 * compose prints: libp2p/unified-testing (transport/lib/run-single-test.sh) and libp2p/test-plans
 * (transport-interop/src/generator.ts, compose-runner.ts, compose-stdout-helper.ts).
 */
import { type Cell, slugOf, testKeyOf } from '../runner/cells.ts';
import type { Role } from '../runner/results.ts';

/** Image names of one cell. */
export type Images = Readonly<Record<Role, string>>;

export interface Compose {
  readonly name: string;
  readonly services: Readonly<Record<string, object>>;
  readonly networks?: Readonly<Record<string, object>>;
}

/** A suite of the unified harness: its Redis has this name in the network of this name. */
export type Suite = 'transport' | 'perf';
export const redisName = (suite: Suite): string => `${suite}-redis`;

/** What the perf suite tells a dialer, with amounts small enough for a check. */
const PERF_VARIABLES: readonly string[] = [
  'UPLOAD_BYTES=8388608',
  'DOWNLOAD_BYTES=8388608',
  'UPLOAD_ITERATIONS=3',
  'DOWNLOAD_ITERATIONS=3',
  'LATENCY_ITERATIONS=5',
  'DURATION=20',
];

/**
 * One unified test: two services in a network that exists already, with a Redis that is shared by
 * all tests.
 *
 * @param network the existing network; upstream it is called transport-network or perf-network
 * @param run distinguishes this run from others
 */
export const unifiedCompose = (
  suite: Suite,
  cell: Cell,
  images: Images,
  network: string,
  run: string,
): Compose => {
  const name = `${slugOf(cell.name)}_${suite}_${run}`.toLowerCase();
  const environment = (role: Role): string[] => [
    `IS_DIALER=${role === 'dialer'}`,
    `REDIS_ADDR=${redisName(suite)}:6379`,
    `TEST_KEY=${testKeyOf(cell.name)}`,
    `TRANSPORT=${cell.transport}`,
    'LISTENER_IP=0.0.0.0',
    'DEBUG=false',
    ...(cell.secureChannel === null ? [] : [`SECURE_CHANNEL=${cell.secureChannel}`]),
    ...(cell.muxer === null ? [] : [`MUXER=${cell.muxer}`]),
    ...(suite === 'perf' && role === 'dialer' ? PERF_VARIABLES : []),
  ];
  const key = `${suite}-network`;
  const service = (role: Role) => ({
    image: images[role],
    container_name: `${name}_${role}`,
    // The perf suite gives its dialer no init process.
    ...(suite === 'transport' || role === 'listener' ? { init: true } : {}),
    ...(role === 'dialer' ? { depends_on: ['listener'] } : {}),
    networks: [key],
    environment: environment(role),
  });
  return {
    name,
    networks: {
      default: { name: network, external: true },
      [key]: { name: network, external: true },
    },
    services: { listener: service('listener'), dialer: service('dialer') },
  };
};

/** One test-plans test: two services and a Redis of their own, in the project's default network. */
export const testPlansCompose = (cell: Cell, images: Images, run: string): Compose => {
  const environment = (role: Role) => ({
    version: cell[role],
    transport: cell.transport,
    is_dialer: String(role === 'dialer'),
    ip: '0.0.0.0',
    ...(cell.muxer === null ? {} : { muxer: cell.muxer }),
    ...(cell.secureChannel === null ? {} : { security: cell.secureChannel }),
  });
  return {
    name: `${slugOf(cell.name)}_${run}`.toLowerCase(),
    services: {
      dialer: { image: images.dialer, depends_on: ['redis'], environment: environment('dialer') },
      listener: {
        init: true,
        image: images.listener,
        depends_on: ['redis'],
        environment: environment('listener'),
      },
      redis: { image: 'redis:7-alpine', environment: { REDIS_ARGS: '--loglevel warning' } },
    },
  };
};

/** What a harness read, in a few words; undefined where it would find no result. */
export type Reading = string | undefined;

/** The lines that the unified harness takes from `docker compose logs dialer`. */
const taken = (logs: string, lines: string): string[] =>
  logs
    .split('\n')
    .filter((line) => new RegExp(`dialer.*\\| (${lines})`).test(line))
    .map((line) => line.replace(/^.*\| /, ''));

const numberAfter = (lines: readonly string[], key: string): number =>
  Number(lines.find((line) => line.startsWith(`  ${key}: `))?.slice(key.length + 4));

/** The transport suite's result. */
export const readTransport = (logs: string): Reading => {
  const lines = taken(logs, 'latency:|  (handshake_plus_one_rtt|ping_rtt|unit):');
  const handshake = numberAfter(lines, 'handshake_plus_one_rtt');
  const ping = numberAfter(lines, 'ping_rtt');
  const complete = lines[0] === 'latency:' && lines.includes('  unit: ms');
  return complete && Number.isFinite(handshake + ping)
    ? `handshake+rtt ${handshake} ms, ping ${ping} ms`
    : undefined;
};

/** The perf suite's result: three sections, each with a summary of its samples. */
export const readPerf = (logs: string): Reading => {
  const lines = taken(
    logs,
    'upload:|download:|latency:|  (iterations|min|q1|median|q3|max|outliers|samples|unit):',
  );
  const words: string[] = [];
  for (const [section, next, unit] of [
    ['upload:', 'download:', 'Gbps'],
    ['download:', 'latency:', 'Gbps'],
    ['latency:', undefined, 'ms'],
  ] as const) {
    const from = lines.indexOf(section);
    if (from === -1) return undefined;
    const part = lines.slice(from + 1, next === undefined ? undefined : lines.indexOf(next));
    const median = numberAfter(part, 'median');
    const whole = ['iterations', 'min', 'q1', 'q3', 'max'].every((key) =>
      Number.isFinite(numberAfter(part, key)),
    );
    const listed = ['outliers', 'samples'].every((key) =>
      part.some((line) => line.startsWith(`  ${key}: [`)),
    );
    if (!whole || !listed || !Number.isFinite(median) || !part.includes(`  unit: ${unit}`))
      return undefined;
    words.push(`${section} ${median} ${unit}`);
  }
  return words.join(', ');
};

/** What the test-plans harness takes from the output of `docker compose up`. */
export const readTestPlans = (output: string): Reading => {
  const dialer = output
    .split('\n')
    .filter(
      (line) => line.includes('dialer') && line.includes('|') && !line.includes('exited with code'),
    )
    .map((line) => line.slice(line.indexOf('|') + 1))
    .join('\n');
  for (let open = dialer.indexOf('{'); open !== -1; open = dialer.indexOf('{', open + 1)) {
    const close = dialer.indexOf('}', open);
    if (close === -1) return undefined;
    try {
      const value = JSON.parse(dialer.slice(open, close + 1)) as Record<string, unknown>;
      const { handshakePlusOneRTTMillis: handshakeMs, pingRTTMilllis: pingMs } = value;
      if (typeof handshakeMs === 'number' && typeof pingMs === 'number') {
        return `handshake+rtt ${handshakeMs} ms, ping ${pingMs} ms`;
      }
    } catch {
      // The bracket does not begin the result.
    }
  }
  return undefined;
};
