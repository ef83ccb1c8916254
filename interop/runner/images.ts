/**
 * The capability file (`interop/images.yaml`): which implementations there are and what each can
 * do. Same shape as libp2p/unified-testing's `transport/images.yaml` (docs/images-yaml-schema.md
 * there), with a few keys of ours that say how to run an implementation without a container.
 */
import { MatrixError } from './error.ts';
import { parseYaml, readYaml, type YamlFile, type YamlNode } from './yaml-file.ts';

/** Transports that bring their own security and multiplexing: no secure channel, no muxer. */
export const STANDALONE_TRANSPORTS: readonly string[] = [
  'quic',
  'quic-v1',
  'webtransport',
  'webrtc',
  'webrtc-direct',
  'https',
];
const LAYERED_TRANSPORTS: readonly string[] = ['tcp', 'ws', 'wss'];
const TRANSPORTS = [...LAYERED_TRANSPORTS, ...STANDALONE_TRANSPORTS];
const SECURE_CHANNELS: readonly string[] = ['noise', 'tls', 'plaintext'];
const MUXERS: readonly string[] = ['yamux', 'mplex'];

export interface Implementation {
  readonly id: string;
  readonly transports: readonly string[];
  readonly secureChannels: readonly string[];
  readonly muxers: readonly string[];
  /** Transports it can dial but not listen on. */
  readonly dialOnly: readonly string[];
  /** Speaks only the test-plans dialect. */
  readonly legacy: boolean;
  /** Whether this is the project's own: its failures fail the run. */
  readonly ours: boolean;
  /** Folder of a peer that interop/build-peers.ts builds. */
  readonly path: string | undefined;
  /** A command; words that start with `./` are relative to the checkout, or to the package. */
  readonly command: readonly string[] | undefined;
  /** Whether `command` runs this project's package, built from the checkout. */
  readonly package: boolean;
  /** Container image for `--exec docker`. */
  readonly image: string | undefined;
  readonly env: Readonly<Record<string, string>>;
  /** Environment variables without which the implementation is skipped. */
  readonly requiresEnv: readonly string[];
  /** Files of the checkout without which the implementation is skipped, unless it runs in a container. */
  readonly requiresFiles: readonly string[];
}

export interface Images {
  readonly file: string;
  readonly aliases: ReadonlyMap<string, string>;
  readonly implementations: readonly Implementation[];
}

const ENTRY_KEYS = [
  'id',
  'name',
  'source',
  'transports',
  'secureChannels',
  'muxers',
  'dialOnly',
  'legacy',
  'ours',
  'path',
  'command',
  'package',
  'image',
  'env',
  'requiresEnv',
  'requiresFiles',
];

const names = (
  file: YamlFile,
  node: YamlNode,
  what: string,
  known: readonly string[],
): string[] => {
  const seen: string[] = [];
  for (const item of file.items(node, what)) {
    const name = file.text(item, `an entry of ${what}`);
    if (known.length > 0 && !known.includes(name)) {
      file.fail(item, `${what}: unknown "${name}"; it may be ${known.join(', ')}`);
    }
    if (seen.includes(name)) file.fail(item, `${what}: "${name}" is there twice`);
    seen.push(name);
  }
  return seen;
};

const readImplementation = (file: YamlFile, node: YamlNode): Implementation => {
  const entry = file.entries(node, 'an implementation', ENTRY_KEYS);
  const id = file.text(entry.get('id') ?? node, 'id of an implementation');
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(id)) {
    file.fail(entry.get('id'), `id "${id}" may have letters, digits, ".", "_" and "-" only`);
  }
  const list = (key: string, known: readonly string[]) =>
    names(file, entry.get(key), `${id}: ${key}`, known);
  const transports = list('transports', TRANSPORTS);
  const secureChannels = list('secureChannels', SECURE_CHANNELS);
  const muxers = list('muxers', MUXERS);
  const dialOnly = list('dialOnly', TRANSPORTS);
  if (transports.length === 0)
    file.fail(entry.get('transports') ?? node, `${id}: transports is empty`);
  for (const transport of dialOnly) {
    if (!transports.includes(transport)) {
      file.fail(
        entry.get('dialOnly'),
        `${id}: dialOnly names ${transport}, which is not in transports`,
      );
    }
  }
  const layered = transports.find((transport) => !STANDALONE_TRANSPORTS.includes(transport));
  if (layered !== undefined) {
    if (secureChannels.length === 0) {
      file.fail(
        entry.get('secureChannels') ?? node,
        `${id}: ${layered} needs a secure channel; secureChannels is empty`,
      );
    }
    if (muxers.length === 0) {
      file.fail(entry.get('muxers') ?? node, `${id}: ${layered} needs a muxer; muxers is empty`);
    }
  }
  const text = (key: string) => {
    const value = entry.get(key);
    return value === undefined ? undefined : file.text(value, `${id}: ${key}`);
  };
  const commandNode = entry.get('command');
  const command =
    commandNode === undefined
      ? undefined
      : file
          .items(commandNode, `${id}: command`)
          .map((word) => file.text(word, `${id}: a word of command`));
  if (command?.length === 0) file.fail(commandNode, `${id}: command is empty`);
  if (command !== undefined && entry.get('path') !== undefined) {
    file.fail(commandNode, `${id}: has both path (built) and command (run as it is)`);
  }
  const env: Record<string, string> = {};
  const envNode = entry.get('env');
  if (envNode !== undefined) {
    for (const [key, value] of file.entries(envNode, `${id}: env`, envKeys(envNode))) {
      env[key] = file.text(value, `${id}: env ${key}`);
    }
  }
  return {
    id,
    transports,
    secureChannels,
    muxers,
    dialOnly,
    legacy: file.flag(entry.get('legacy'), `${id}: legacy`),
    ours: file.flag(entry.get('ours'), `${id}: ours`),
    path: text('path'),
    command,
    package: file.flag(entry.get('package'), `${id}: package`),
    image: text('image'),
    env,
    requiresEnv: names(file, entry.get('requiresEnv'), `${id}: requiresEnv`, []),
    requiresFiles: names(file, entry.get('requiresFiles'), `${id}: requiresFiles`, []),
  };
};

/** `env` may have any keys. */
const envKeys = (node: YamlNode): string[] => {
  const json = (node as { toJSON?: () => unknown }).toJSON?.();
  return typeof json === 'object' && json !== null ? Object.keys(json) : [];
};

const readAliases = (file: YamlFile, node: YamlNode): Map<string, string> => {
  const aliases = new Map<string, string>();
  const where = new Map<string, YamlNode>();
  for (const item of file.items(node, 'test-aliases')) {
    const entry = file.entries(item, 'an alias', ['alias', 'value']);
    const name = file.text(entry.get('alias') ?? item, 'alias');
    if (aliases.has(name)) file.fail(entry.get('alias'), `alias "${name}" is there twice`);
    aliases.set(name, file.text(entry.get('value') ?? item, `value of alias "${name}"`));
    where.set(name, entry.get('value'));
  }
  const visit = (name: string, chain: readonly string[]): void => {
    for (const part of (aliases.get(name) ?? '').split('|')) {
      const target = /^!?~(.+)$/.exec(part)?.[1];
      if (target === undefined) continue;
      if (!aliases.has(target))
        file.fail(where.get(name), `alias "${name}" names ~${target}, which is not defined`);
      if (chain.includes(target)) {
        file.fail(
          where.get(name),
          `aliases go round in a circle: ${[...chain, target].join(' -> ')}`,
        );
      }
      visit(target, [...chain, target]);
    }
  };
  for (const name of aliases.keys()) visit(name, [name]);
  return aliases;
};

const interpret = (path: string, file: YamlFile): Images => {
  // baselines, routers and relays belong to unified-testing's other suites and are ignored.
  const root = file.entries(file.root, 'the capability file', [
    'test-aliases',
    'implementations',
    'baselines',
    'routers',
    'relays',
  ]);
  const implementations: Implementation[] = [];
  for (const node of file.items(root.get('implementations'), 'implementations')) {
    const implementation = readImplementation(file, node);
    if (implementations.some((other) => other.id === implementation.id)) {
      file.fail(node, `implementation "${implementation.id}" is there twice`);
    }
    implementations.push(implementation);
  }
  if (implementations.length === 0) throw new MatrixError(`${path}: there are no implementations`);
  return { file: path, aliases: readAliases(file, root.get('test-aliases')), implementations };
};

/** Reads and checks a capability file. Throws {@link MatrixError} with file, line and column. */
export const readImages = async (path: string): Promise<Images> =>
  interpret(path, await readYaml(path));

/** The same for text in memory. */
export const parseImages = (path: string, source: string): Images =>
  interpret(path, parseYaml(path, source));
