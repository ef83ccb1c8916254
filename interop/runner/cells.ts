/**
 * The cells of the matrix: every dialer × listener × transport × secure channel × muxer that both
 * sides can do, named and keyed as unified-testing names and keys them
 * (transport/lib/generate-tests.sh and lib/lib-test-caching.sh there).
 */
import { createHash } from 'node:crypto';
import { type Carrier, CONDITIONS, type Condition } from '../network/conditions.ts';
import { MatrixError } from './error.ts';
import { expand, narrow, refuseUnknown } from './filter.ts';
import { type Images, type Implementation, STANDALONE_TRANSPORTS } from './images.ts';

export interface Cell {
  /**
   * `dialer x listener (transport)` or `dialer x listener (transport, secure channel, muxer)`; followed by
   * ` under <condition>` where the network has one.
   */
  readonly name: string;
  readonly dialer: string;
  readonly listener: string;
  readonly transport: string;
  /** Null on standalone transports. */
  readonly secureChannel: string | null;
  readonly muxer: string | null;
  /** Name of the network condition, of interop/network/conditions.ts; null where there is none. */
  readonly condition: string | null;
  /** Whether one side at least is the project's own. */
  readonly ours: boolean;
  /** In the NAT laboratory only: who is the relay, and what is between it and each side. */
  readonly relay?: string;
  readonly nats?: { readonly dialer: string; readonly listener: string };
}

/** One of `count` parts of the matrix. */
export interface Shard {
  /** 1-based. */
  readonly index: number;
  readonly count: number;
}

/** The selection flags, as given; undefined where not given. */
export interface Selection {
  readonly implSelect?: string | undefined;
  readonly implIgnore?: string | undefined;
  readonly transportSelect?: string | undefined;
  readonly transportIgnore?: string | undefined;
  readonly secureSelect?: string | undefined;
  readonly secureIgnore?: string | undefined;
  readonly muxerSelect?: string | undefined;
  readonly muxerIgnore?: string | undefined;
  readonly testSelect?: string | undefined;
  readonly testIgnore?: string | undefined;
}

const cell = (
  dialer: Implementation,
  listener: Implementation,
  transport: string,
  layers?: readonly [string, string],
): Cell => ({
  name: `${dialer.id} x ${listener.id} (${[transport, ...(layers ?? [])].join(', ')})`,
  dialer: dialer.id,
  listener: listener.id,
  transport,
  secureChannel: layers?.[0] ?? null,
  muxer: layers?.[1] ?? null,
  condition: null,
  ours: dialer.ours || listener.ours,
});

/** Every cell that the capability file allows, in file order. */
export const allCells = (implementations: readonly Implementation[]): Cell[] => {
  const cells: Cell[] = [];
  for (const dialer of implementations) {
    for (const listener of implementations) {
      for (const transport of dialer.transports) {
        if (!listener.transports.includes(transport) || listener.dialOnly.includes(transport))
          continue;
        if (STANDALONE_TRANSPORTS.includes(transport)) {
          cells.push(cell(dialer, listener, transport));
          continue;
        }
        for (const secure of dialer.secureChannels) {
          if (!listener.secureChannels.includes(secure)) continue;
          for (const muxer of dialer.muxers) {
            if (listener.muxers.includes(muxer))
              cells.push(cell(dialer, listener, transport, [secure, muxer]));
          }
        }
      }
    }
  }
  return cells;
};

/** What carries a transport's packets. */
export const carrierOf = (transport: string): Carrier =>
  STANDALONE_TRANSPORTS.includes(transport) ? 'udp' : 'tcp';

/** Each cell once under each condition that means something to its transport. */
export const underConditions = (cells: readonly Cell[], conditions: readonly Condition[]): Cell[] =>
  conditions.flatMap(({ name, carriers }) =>
    cells
      .filter(({ transport }) => carriers.includes(carrierOf(transport)))
      .map((one) => ({ ...one, name: `${one.name} under ${name}`, condition: name })),
  );

/**
 * The conditions that `names` lists, by name and with `,` or `|` in between; `all` is every one.
 *
 * @throws MatrixError on a name that is none
 */
export const parseConditions = (names: string): Condition[] => {
  if (names === 'all') return [...CONDITIONS];
  return names.split(/[,|]/).map((name) => {
    const condition = CONDITIONS.find((one) => one.name === name);
    if (condition === undefined) {
      const there = CONDITIONS.map((one) => one.name).join(', ');
      throw new MatrixError(`--conditions: there is no "${name}"; it may be all, or of ${there}`);
    }
    return condition;
  });
};

/**
 * Splits the full matrix by the selection flags.
 *
 * @throws MatrixError on an unknown alias, or on a part that matches nothing there is
 */
export const selectCells = (
  images: Images,
  selection: Selection,
): { selected: Cell[]; ignored: Cell[] } => {
  const ids = images.implementations.map((implementation) => implementation.id);
  const distinct = (pick: (implementation: Implementation) => readonly string[]) => [
    ...new Set(images.implementations.flatMap(pick)),
  ];
  const cells = allCells(images.implementations);
  /**
   * The names that the flags of one dimension leave.
   *
   * @param targets the names that aliases and negations in a filter stand for
   */
  const kept = (
    dimension: 'impl' | 'transport' | 'secure' | 'muxer' | 'test',
    what: string,
    names: readonly string[],
    targets: readonly string[] = names,
  ): ReadonlySet<string> => {
    const patterns = (verb: 'Select' | 'Ignore'): string[] | undefined => {
      const filter = selection[`${dimension}${verb}`];
      if (filter === undefined || filter === '') return undefined;
      refuseUnknown(`--${dimension}-${verb.toLowerCase()}`, filter, names, what);
      return expand(filter, targets, images.aliases);
    };
    return new Set(narrow(names, patterns('Select'), patterns('Ignore')));
  };
  const implementations = kept('impl', 'implementations', ids);
  const transports = kept(
    'transport',
    'transports',
    distinct((implementation) => implementation.transports),
  );
  const secureChannels = kept(
    'secure',
    'secure channels',
    distinct((implementation) => implementation.secureChannels),
  );
  const muxers = kept(
    'muxer',
    'muxers',
    distinct((implementation) => implementation.muxers),
  );
  // Test names are matched as they are, but aliases and negations in them stand for
  // implementation ids, as in unified-testing.
  const testNames = cells.map(({ name }) => name);
  const tests = kept('test', 'tests', testNames, ids);
  const chosen = (candidate: Cell) =>
    implementations.has(candidate.dialer) &&
    implementations.has(candidate.listener) &&
    transports.has(candidate.transport) &&
    (candidate.secureChannel === null || secureChannels.has(candidate.secureChannel)) &&
    (candidate.muxer === null || muxers.has(candidate.muxer)) &&
    tests.has(candidate.name);
  return {
    selected: cells.filter(chosen),
    ignored: cells.filter((candidate) => !chosen(candidate)),
  };
};

/** Every `count`-th cell, starting with the `index`-th (1-based), so that shards cost nearly the same. */
export const shardOf = <T>(cells: readonly T[], { index, count }: Shard): T[] =>
  cells.filter((_, position) => position % count === index - 1);

/** Parses `i/n`. Throws {@link MatrixError}. */
export const parseShard = (text: string): Shard => {
  const [, index, count] = (/^(\d{1,4})\/(\d{1,4})$/.exec(text) ?? []).map(Number);
  if (index === undefined || count === undefined || index < 1 || index > count) {
    throw new MatrixError(`--shard: "${text}" is not i/n with 1 <= i <= n, such as 2/4`);
  }
  return { index, count };
};

/**
 * TEST_KEY: the first 8 hex digits of the SHA-256 of the test name. As unified-testing hashes what
 * `echo` prints, the name is followed by a newline; the keys are then the same as there.
 *
 * @param attempt 1-based; the key of a repeated attempt must be another, as Redis still holds the last
 */
export const testKeyOf = (name: string, attempt = 1): string =>
  createHash('sha256')
    .update(`${name}${attempt === 1 ? '' : ` #${attempt}`}\n`)
    .digest('hex')
    .slice(0, 8);

/** A file name for the cell, as unified-testing derives it. */
export const slugOf = (name: string): string => name.replaceAll(/[^a-zA-Z0-9-]/g, '_');
