/** What the fuzzer runs: one parser and what it must hold for every input. */

export interface FuzzTarget {
  /**
   * Parses `data`, whatever it is. The errors that the parser promises are caught here; any other is a
   * finding, as is an answer that does not come, or takes long.
   */
  readonly fuzz: (data: Uint8Array) => void | Promise<void>;
  /** Inputs that the parser takes, and near misses: what mutations start from, beside the corpus. */
  readonly seeds: () => Iterable<Uint8Array> | Promise<Iterable<Uint8Array>>;
  /** Words of the format, to be put in anywhere. */
  readonly words?: readonly (string | Uint8Array)[];
  /** Bytes of the longest input made; default 1024. */
  readonly maxLength?: number;
}

/** Every target, by name; `fuzz/targets/<name>.ts` exports it as `target`. */
export const TARGETS = [
  'autonat',
  'certificate',
  'circuit',
  'environment',
  'host-key',
  'identify',
  'mplex',
  'multiaddr',
  'multistream-dialer',
  'multistream-listener',
  'noise-handshake',
  'noise-payload',
  'noise-transport',
  'packet-header',
  'peer-id',
  'perf',
  'ping',
  'signed-key',
  'websocket',
  'yamux',
] as const;

export type TargetName = (typeof TARGETS)[number];

export const loadTarget = async (name: TargetName): Promise<FuzzTarget> => {
  const module: { readonly target: FuzzTarget } = await import(`../targets/${name}.ts`);
  return module.target;
};
