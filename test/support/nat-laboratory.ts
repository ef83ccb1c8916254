/** A laboratory that stays until this process is killed; prints `up`. */
import { once } from 'node:events';
import { isInside, lackOfDelay, runInside } from '../../interop/nat/isolate.ts';
import { createLaboratory, prepareLaboratories } from '../../interop/nat/laboratory.ts';
import { startRedis } from '../../interop/redis-server.ts';

if (isInside()) {
  await prepareLaboratories();
  await startRedis();
  const delays = lackOfDelay() === undefined ? { relay: 1, dialer: 1, listener: 1 } : undefined;
  await createLaboratory({ slot: 0, dialer: 'double', listener: 'symmetric', delays });
  process.stdout.write('up\n');
  const forEver = setInterval(() => {}, 60_000);
  await once(process, 'exit');
  clearInterval(forEver);
} else process.exitCode = await runInside(import.meta.filename, []);
