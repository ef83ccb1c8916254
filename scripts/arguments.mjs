// Reads the arguments of the scripts here; some run before dependencies are installed.
import path from 'node:path';
import { parseArgs } from 'node:util';

/**
 * This process's arguments, as `parseArgs()` of node:util gives them. `--help` prints `usage` and ends the
 * process; for wrong arguments it prints one line on stderr, and the exit code is 2.
 *
 * @param usage the arguments after `node scripts/<name>.mjs`, a line for each form.
 * @param config as for `parseArgs()`.
 * @param most how many positional arguments there may be.
 */
export const argumentsOf = (usage, config = {}, most = 0) => {
  const script = path.basename(process.argv[1] ?? '');
  try {
    const options = { help: { type: 'boolean', short: 'h' }, ...config.options };
    const parsed = parseArgs({ ...config, options, allowPositionals: true });
    if (parsed.values.help) {
      const lines = usage.split('\n').map((line) => `  node scripts/${script} ${line}`.trimEnd());
      console.log(`Usage:\n${lines.join('\n')}`);
      process.exit(0);
    }
    const [unexpected] = parsed.positionals.slice(most);
    if (unexpected !== undefined) throw new Error(`unexpected argument '${unexpected}'`);
    return parsed;
  } catch (error) {
    return wrongArguments(error.message);
  }
};

/** Prints one line about wrong arguments, and ends the process with exit code 2. */
export const wrongArguments = (why) => {
  const script = path.basename(process.argv[1] ?? '', '.mjs');
  console.error(`${script}: ${why.replace(/\s*\n\s*/g, ' ')} (--help says more)`);
  process.exit(2);
};
