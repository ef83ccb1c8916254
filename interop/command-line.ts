/** What the programs of interop/, bench/, fuzz/ and scripts/ share: flags, lines for people, exit codes. */

import { Command, InvalidArgumentError } from 'commander';
import { messageOf } from '../src/errors.ts';
import { isHarnessError } from '../src/harness/errors.ts';
import { printable } from '../src/printable.ts';

/** The longest line on stderr, in characters. */
const MAX_LINE = 2_000;
/** The exit code for a flag, an argument or a file that is wrong. */
const USAGE = 2;

/** A line about the run, on stderr; escaped, as what peers said may be in it. */
export const say = (line: string): void =>
  void process.stderr.write(`${printable(line, MAX_LINE)}\n`);

/** A line of the result, on stdout. */
export const print = (line: string): void => void process.stdout.write(`${line}\n`);

/**
 * A program, to which flags are added. `--help` prints its usage; for a wrong flag or argument it prints one
 * line on stderr, and the exit code is 2. Both end the process. Its subcommands do the same.
 */
export const createProgram = (name: string, description: string): Command =>
  new Command(name)
    .description(description)
    .helpCommand(false)
    .configureOutput({
      outputError: (text, write) => {
        const line = text.replace(/^error: /, '').replace(/\s*\n\s*/g, ' ');
        write(`${name}: ${printable(line.trim(), MAX_LINE)} (--help says more)\n`);
      },
    })
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : USAGE));

/** Makes an action of a function that resolves to the exit code. */
export const exitsWith =
  <Args extends unknown[]>(work: (...args: Args) => Promise<number>) =>
  async (...args: Args): Promise<void> => {
    process.exitCode = await work(...args);
  };

/**
 * Runs `program` with this process's arguments and sets `process.exitCode`. An ERR_CONFIG, which its user can
 * put right, is one line and exit code 2.
 *
 * @throws what else its action throws.
 */
export const runProgram = async (program: Command): Promise<void> => {
  try {
    await program.parseAsync();
  } catch (error) {
    if (!isHarnessError(error, 'ERR_CONFIG')) throw error;
    say(`${program.name()}: ${messageOf(error)}`);
    process.exitCode = USAGE;
  }
};

/** Parses a whole number within these bounds. */
export const whole =
  (least: number, most: number) =>
  (text: string): number => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`);
  };

/** Parses a number above 0. */
export const positive = (text: string): number => {
  const value = Number(text);
  if (/^\d*\.?\d+$/.test(text) && value > 0) return value;
  throw new InvalidArgumentError('It must be a number above 0.');
};

/** Parses a comma-separated list; `one` parses an item. */
export const listOf =
  <T>(one: (text: string) => T) =>
  (text: string): T[] =>
    text.split(',').map(one);

/** Parses an argument that may be repeated; `one` parses each. */
export const all =
  <T>(one: (text: string) => T) =>
  (text: string, before: readonly T[] | undefined): T[] => [...(before ?? []), one(text)];

/** Parses one of these names. */
export const oneOf =
  <Name extends string>(names: readonly Name[]) =>
  (text: string): Name => {
    const found = names.find((name) => name === text);
    if (found !== undefined) return found;
    throw new InvalidArgumentError(`There is no ${text}; it must be one of ${names.join(', ')}.`);
  };
