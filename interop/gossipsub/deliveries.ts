/** How often each node received each message, from the nodes' logs. */

export interface Deliveries {
  /** Messages of other nodes that it received. */
  readonly delivered: number;
  readonly expected: number;
  /** How often it received a message that it already had. */
  readonly duplicates: number;
  /** Ids that nobody published. */
  readonly strange: readonly string[];
}

/**
 * Reads one node's stdout.
 *
 * @param own ids of the messages that it published itself
 * @param all ids of all messages
 */
export const deliveriesOf = (
  stdout: string,
  own: ReadonlySet<string>,
  all: ReadonlySet<string>,
): Deliveries => {
  const seen = new Set<string>();
  const strange = new Set<string>();
  let duplicates = 0;
  for (const line of stdout.split('\n')) {
    const id = receivedIn(line);
    if (id === undefined) continue;
    if (!all.has(id)) strange.add(id);
    else if (own.has(id) || seen.has(id)) duplicates++;
    else seen.add(id);
  }
  return {
    delivered: seen.size,
    expected: all.size - own.size,
    duplicates,
    strange: [...strange],
  };
};

const receivedIn = (line: string): string | undefined => {
  if (!line.includes('Received Message')) return undefined;
  try {
    const event = JSON.parse(line) as { readonly msg?: unknown; readonly id?: unknown };
    return event.msg === 'Received Message' && typeof event.id === 'string' ? event.id : undefined;
  } catch {
    return undefined;
  }
};
