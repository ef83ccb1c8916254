/** Takes what the harness and the command line log: an event, and its details. */
export type Log = (event: string, detail?: Record<string, unknown>) => void;

/** Discards it. */
export const noLog: Log = () => undefined;
