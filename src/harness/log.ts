/** Logs one event of the harness or the command line, with its details. */
export type Log = (event: string, detail?: Record<string, unknown>) => void;

/** A log that discards everything. */
export const noLog: Log = () => undefined;
