/** The readable log of `DEBUG=true` and `--debug`: one timestamped line per event, on stderr. */

import { createConsola, type LogObject } from 'consola/core';
import { messageOf } from '../errors.ts';
import type { Log } from '../harness/log.ts';
import { logEvents } from '../harness/node-log.ts';
import type { LeanNode } from '../node/node.ts';
import { quote } from '../printable.ts';
import { note } from './process.ts';

/** The longest value, characters: error messages that name several addresses are long. */
const MAX_VALUE = 2_000;

export const createDebugLog = (): Log => {
  const logger = createConsola({
    level: 5,
    reporters: [{ log: (entry: LogObject) => note(format(entry)) }],
  });
  return (event, detail) => logger.debug(event, detail ?? {});
};

/** Logs the events of `node`. */
export const debugNode = (node: LeanNode): void => logEvents(node, createDebugLog());

/** `2026-01-25T10:00:00.123Z event key=value key=value` */
const format = ({ date, args }: LogObject): string => {
  const [event, detail] = args as [string, Record<string, unknown>];
  const pairs = Object.entries(detail).map(([key, value]) => ` ${key}=${show(value)}`);
  return `${date.toISOString()} ${event}${pairs.join('')}`;
};

const show = (value: unknown): string => {
  if (typeof value === 'number') return Number.isInteger(value) ? `${value}` : value.toFixed(3);
  if (Array.isArray(value)) return `[${value.map(show).join(' ')}]`;
  const text = value instanceof Error ? messageOf(value) : String(value);
  const plain = text.length <= MAX_VALUE && /^[\x21\x23-\x7e]+$/.test(text);
  return plain ? text : quote(text, MAX_VALUE);
};
