/** Warnings of the process that its user should see. `bin/libp2p-lean` prints those with this name. */

const NAME = 'LeanCaution';

const emitted = new Set<string>();

/** Emits `text`, one line, as a warning of the process; the same text only once. */
export const cautionOnce = (text: string): void => {
  if (emitted.has(text)) return;
  emitted.add(text);
  process.emitWarning(text, NAME);
};
