/**
 * Prints what each NAT of the laboratory does, one JSON line each: `{"nat": …, "udp": …, "tcp": …}`.
 *
 *   node interop/nat/probe-all.ts
 */
import { createProgram } from '../command-line.ts';
import { isInside, lackOfLaboratory, runInside } from './isolate.ts';
import { createLaboratory, NATS, type Nat, prepareLaboratories } from './laboratory.ts';
import { probeNat } from './probe.ts';

const probePair = async (slot: number, dialer: Nat, listener: Nat): Promise<void> => {
  const laboratory = await createLaboratory({ slot, dialer, listener });
  for (const [side, nat] of [
    ['dialer', dialer],
    ['listener', listener],
  ] as const) {
    const seen = await probeNat(laboratory, side);
    process.stdout.write(`${JSON.stringify({ nat, ...seen })}\n`);
  }
  await laboratory.close();
};

const probeAll = async (): Promise<void> => {
  await prepareLaboratories();
  const nats = Object.keys(NATS) as Nat[];
  const pairs = nats.flatMap((nat, slot) =>
    slot % 2 === 0 ? [probePair(slot, nat, nats[slot + 1] ?? 'public')] : [],
  );
  await Promise.all(pairs);
};

createProgram(
  'probe-all',
  'Prints what each NAT of the laboratory does, one JSON line each.',
).parse();
const lack = lackOfLaboratory();
if (lack !== undefined) process.stderr.write(`skipped: the NAT laboratory: ${lack}\n`);
else if (isInside()) await probeAll();
else process.exitCode = await runInside(import.meta.filename, []);
