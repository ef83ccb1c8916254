/**
 * The cells of the kad-dht suite: bootstrap × provider × querier, N³ of them, named and keyed as
 * unified-testing names and keys them (kad-dht/lib/generate-tests.sh, run-single-test.sh there).
 */
import { createHash } from 'node:crypto';
import { expand, narrow, refuseUnknown } from '../runner/filter.ts';
import type { Images } from '../runner/images.ts';

export const KAD_DHT_ROLES = ['bootstrap', 'provider', 'querier'] as const;
export type KadDhtRole = (typeof KAD_DHT_ROLES)[number];

/** unified-testing's participants run over tcp only; over any other one a cell's name says so. */
const UPSTREAM_TRANSPORT = 'tcp';

export interface KadDhtCell extends Readonly<Record<KadDhtRole, string>> {
  /** `bootstrap_x_provider_x_querier`; over QUIC `… (quic-v1)` follows. */
  readonly name: string;
  readonly transport: string;
  /** Whether one of the three at least is the project's own. */
  readonly ours: boolean;
}

/** Every cell whose three participants have a transport in common, in file order. */
export const allKadDhtCells = ({ implementations }: Images): KadDhtCell[] => {
  const transports = [...new Set(implementations.flatMap((one) => one.transports))];
  return transports.flatMap((transport) => {
    const able = implementations.filter((one) => one.transports.includes(transport));
    return able.flatMap((bootstrap) =>
      able.flatMap((provider) =>
        able.map((querier): KadDhtCell => {
          const name = `${bootstrap.id}_x_${provider.id}_x_${querier.id}`;
          return {
            name: transport === UPSTREAM_TRANSPORT ? name : `${name} (${transport})`,
            bootstrap: bootstrap.id,
            provider: provider.id,
            querier: querier.id,
            transport,
            ours: bootstrap.ours || provider.ours || querier.ours,
          };
        }),
      ),
    );
  });
};

/** The selection flags, as given; undefined where not given. */
export interface KadDhtSelection {
  readonly implSelect?: string | undefined;
  readonly implIgnore?: string | undefined;
  readonly transportSelect?: string | undefined;
  readonly transportIgnore?: string | undefined;
  readonly testSelect?: string | undefined;
  readonly testIgnore?: string | undefined;
}

/**
 * The cells that the selection flags leave, by the rules of the matrix (docs/matrix.md).
 *
 * @throws MatrixError on an unknown alias, or on a part that matches nothing there is
 */
export const selectKadDhtCells = (images: Images, selection: KadDhtSelection): KadDhtCell[] => {
  const cells = allKadDhtCells(images);
  const ids = images.implementations.map(({ id }) => id);
  const kept = (
    dimension: 'impl' | 'transport' | 'test',
    what: string,
    names: readonly string[],
  ): ReadonlySet<string> => {
    const patterns = (verb: 'Select' | 'Ignore'): string[] | undefined => {
      const filter = selection[`${dimension}${verb}`];
      if (filter === undefined || filter === '') return undefined;
      refuseUnknown(`--${dimension}-${verb.toLowerCase()}`, filter, names, what);
      return expand(filter, dimension === 'test' ? ids : names, images.aliases);
    };
    return new Set(narrow(names, patterns('Select'), patterns('Ignore')));
  };
  const implementations = kept('impl', 'implementations', ids);
  const transports = kept('transport', 'transports', [
    ...new Set(cells.map(({ transport }) => transport)),
  ]);
  const tests = kept(
    'test',
    'tests',
    cells.map(({ name }) => name),
  );
  return cells.filter(
    (cell) =>
      KAD_DHT_ROLES.every((role) => implementations.has(cell[role])) &&
      transports.has(cell.transport) &&
      tests.has(cell.name),
  );
};

/** TEST_KEY: the first 8 hex digits of the SHA-256 of the name, here without a newline after it. */
export const kadDhtTestKeyOf = (name: string, attempt = 1): string =>
  createHash('sha256')
    .update(`${name}${attempt === 1 ? '' : ` #${attempt}`}`)
    .digest('hex')
    .slice(0, 8);
