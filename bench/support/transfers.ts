/** One stream's throughput, measured by the dialer; the same for every stack. */

import { cpuSeconds } from './processes.ts';

/** Of one transfer: wall-clock seconds, and CPU seconds of all threads of either process. */
export interface Transfer {
  readonly seconds: number;
  readonly dialerCpu: number;
  readonly listenerCpu: number;
}

export interface Transfers {
  readonly upload: Transfer;
  readonly download: Transfer;
}

/** Sends and asks for so many bytes on a new stream, `/perf/1.0.0`; resolves at the stream's end. */
export type Perf = (uploadBytes: number, downloadBytes: number) => Promise<unknown>;

/** `bytes` in each direction, after a warm-up of a quarter of that. */
export const measureTransfers = async (
  perf: Perf,
  bytes: number,
  listenerPid: number,
): Promise<Transfers> => {
  await perf(bytes / 4, bytes / 4);
  const measure = async (up: number, down: number): Promise<Transfer> => {
    const cpu = () => [cpuSeconds(process.pid), cpuSeconds(listenerPid)] as const;
    const [dialer, listener] = cpu();
    const began = performance.now();
    await perf(up, down);
    const seconds = (performance.now() - began) / 1000;
    const [dialerAfter, listenerAfter] = cpu();
    return { seconds, dialerCpu: dialerAfter - dialer, listenerCpu: listenerAfter - listener };
  };
  return { upload: await measure(bytes, 0), download: await measure(0, bytes) };
};
