/** The messages between the processes of a long run. */

export type Order =
  | { readonly do: 'dial'; readonly where: Readonly<Record<string, Addresses>> }
  /** Ends what is under way, waits until every connection is gone, and answers with a sample. */
  | { readonly do: 'rest' }
  | { readonly do: 'go on' };

/** Of one stack's listeners: the one that lives as long as the run, and the one that is killed now and then. */
export interface Addresses {
  readonly steady: string;
  readonly mortal: string | undefined;
}

export type Report =
  /** Listening; addresses by stack. */
  | { readonly say: 'listening'; readonly addresses: Readonly<Record<string, string>> }
  | { readonly say: 'sample'; readonly sample: Sample; readonly counts: Counts };

/** A process at rest, without a connection, its garbage collected. */
export interface Sample {
  /** ms since the process started */
  readonly at: number;
  /** bytes */
  readonly resident: number;
  readonly heap: number;
  /** What keeps the process alive: `process.getActiveResourcesInfo()`. */
  readonly handles: number;
  readonly descriptors: number;
  /** Connections that would not end. */
  readonly connections: number;
}

/** How transfers ended, by stack. */
export type Counts = Readonly<Record<string, Outcomes>>;

export interface Outcomes {
  rounds: number;
  complete: number;
  /** Bytes there and back. */
  bytes: number;
  /** We aborted it, or its peer may have been killed: it ended with an error. */
  refused: number;
  /** The errors' codes. */
  codes: Record<string, number>;
  /** Failures: it ended normally with wrong data, with an error without a cause, or never. */
  wrong: string[];
}
