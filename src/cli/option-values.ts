/** Parsers of option values, for commander. @throws InvalidArgumentError, whose message commander prints. */

import { isIP } from 'node:net';
import { InvalidArgumentError } from 'commander';
import { parseSize } from './size.ts';

/** The texts of an option that may be given several times. */
export const collect = (text: string, before: readonly string[] = []): string[] => [
  ...before,
  text,
];

/** A whole number from 1 to 999,999,999. */
export const positiveInteger = (text: string): number => {
  const value = Number(text);
  if (!/^\d{1,9}$/.test(text) || value === 0) {
    throw new InvalidArgumentError('It must be a whole number above 0.');
  }
  return value;
};

/** `<port>`, at 127.0.0.1, or `<ip>:<port>`. */
export const socketAddress = (text: string): { host: string; port: number } => {
  const [, literal, plain, digits] = /^(?:(?:\[([^\]]+)\]|([^:]+)):)?(\d{1,5})$/.exec(text) ?? [];
  const host = literal ?? plain ?? '127.0.0.1';
  const port = Number(digits ?? -1);
  if (isIP(host) === 0 || port < 0 || port > 65_535) {
    throw new InvalidArgumentError('It must be a port, or an IP address and one: 127.0.0.1:9090.');
  }
  return { host, port };
};

/** A whole number of bytes. */
export const bytes = (text: string): number => {
  const value = Number(text);
  if (!/^\d{1,16}$/.test(text) || !Number.isSafeInteger(value)) {
    throw new InvalidArgumentError('It must be a whole number up to 2^53 - 1.');
  }
  return value;
};

/** A number of bytes such as `1GiB`. */
export const size = (text: string): number => {
  const value = parseSize(text);
  if (value === undefined) throw new InvalidArgumentError('It must be a size such as 1GiB.');
  return value;
};

/** One limit, `name=value`, added to those before it. The node checks name and value. */
export const limitOf = (text: string, before: Readonly<Record<string, number>>) => {
  const [, name = '', value = ''] = /^(\w+)=(.*)$/.exec(text) ?? [];
  const number = parseSize(value);
  if (number === undefined) {
    throw new InvalidArgumentError(
      'It must be name=value with a number as the value, such as maxConnections=100.',
    );
  }
  return { ...before, [name]: number };
};

/** A number of seconds, with up to six decimals. */
export const seconds = (text: string): number => {
  if (!/^\d{0,6}(\.\d{1,6})?$/.test(text) || text === '') {
    throw new InvalidArgumentError('It must be a number of seconds.');
  }
  return Number(text);
};
