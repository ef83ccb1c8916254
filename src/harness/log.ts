/** Where every part of the harness and the command line tells what it does. */
export type Log = (event: string, detail?: Record<string, unknown>) => void;

/** Tells nobody. */
export const noLog: Log = () => undefined;
