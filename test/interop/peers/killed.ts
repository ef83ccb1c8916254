/** Our participant, killed (SIGKILL) as soon as it has a connection: a peer that crashes midway. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { LAUNCHER } from '../../support/participant.ts';

const child = spawn(process.execPath, [LAUNCHER, 'transport'], {
  env: { ...process.env, DEBUG: 'true' },
  stdio: ['ignore', 'inherit', 'pipe'],
});
createInterface({ input: child.stderr }).on('line', (line) => {
  process.stderr.write(`${line}\n`);
  if (line.includes('connection:open')) child.kill('SIGKILL');
});
child.once('close', () => process.exit(1));
