/**
 * The perf suite does not say what an application sends under `/perf/1.0.0`, so its images use two kinds of
 * request, both made of big-endian counts of 8 bytes:
 *
 * - `spec`, libp2p/specs perf/perf.md (py, nim, and everything outside the suite): how much to
 *   download; the upload, up to the half-close.
 * - `two-counts` (rust v0.56, dotnet v1.0, zig): how much will be uploaded; how much to download; the
 *   upload. dotnet's dialer keeps its side open until it has its download.
 *
 * A listener recognises the kind by what arrives, a dialer by the answer to a small first request.
 */

import { LeanError } from '../errors.ts';
import {
  decodeCount,
  encodeCount,
  type PerfOptions,
  type PerfProgress,
  type PerfResult,
  perf,
  sendZeros,
  watch,
} from '../protocols/perf.ts';
import { readExactly, writeAll } from '../stream/bytes.ts';
import type { Stream } from '../stream.ts';

export type PerfRequest = 'spec' | 'two-counts';

const COUNT_LENGTH = 8;
/**
 * What `probeRequest()` sends: read as `spec`, it asks for one byte down and nine up; as `two-counts`, for two
 * down and one up. No suite measures either. Our own listener reads it as `spec`.
 */
const PROBE_FIRST = 1;
const PROBE_SECOND = 2;
/** A second count above this is not a count but the start of an upload. */
const MAX_SECOND = 2 ** 40;

/**
 * Dialer: finds out which kind of request the listener expects, and closes the stream.
 *
 * @throws ERR_PROTOCOL_VIOLATION when the answer fits neither; what `watch()` and the stream throw.
 */
export const probeRequest = (stream: Stream, options: PerfOptions = {}): Promise<PerfRequest> => {
  const moved = { uploaded: 0, downloaded: 0 };
  return watch(stream, moved, options, async () => {
    await writeAll(stream, encodeCount(PROBE_FIRST));
    await writeAll(stream, encodeCount(PROBE_SECOND));
    await sendZeros(stream, PROBE_FIRST, moved, 'uploaded');
    stream.closeWrite();
    while (moved.downloaded <= PROBE_SECOND) {
      const chunk = await stream.read();
      if (chunk === null) break;
      moved.downloaded += chunk.length;
    }
    if (moved.downloaded === PROBE_FIRST) return 'spec';
    if (moved.downloaded === PROBE_SECOND) return 'two-counts';
    throw new LeanError(
      'ERR_PROTOCOL_VIOLATION',
      `perf: the listener sent ${moved.downloaded === 0 ? 'nothing' : 'too much'} for a first byte`,
    );
  });
};

/** Dialer: makes one transfer, and closes the stream. @throws as `perf()`. */
export const requestPerf = async (
  stream: Stream,
  request: PerfRequest,
  uploadBytes: number,
  downloadBytes: number,
  options: PerfOptions = {},
): Promise<PerfResult> => {
  // `two-counts` is `spec` with a count before it.
  if (request === 'two-counts') await writeAll(stream, encodeCount(uploadBytes));
  return perf(stream, uploadBytes, downloadBytes, options);
};

/**
 * Listener: serves one transfer of either kind. They cannot be told apart when a `spec` dialer uploads zeros, exactly 8
 * bytes more than it downloads; that counts as `two-counts`.
 *
 * @returns how many bytes were moved, and the kind of request.
 * @throws as `handlePerf()`.
 */
export const handleEitherPerf = (
  stream: Stream,
  options: PerfOptions = {},
): Promise<PerfProgress & { readonly request: PerfRequest }> => {
  const moved = { uploaded: 0, downloaded: 0 };
  return watch(stream, moved, options, async () => {
    const first = decodeCount(await readExactly(stream, COUNT_LENGTH));
    const head = new Uint8Array(COUNT_LENGTH);
    let second = Number.NaN;
    for (;;) {
      const chunk = await stream.read();
      if (chunk === null) break;
      if (moved.uploaded < COUNT_LENGTH) {
        head.set(chunk.subarray(0, COUNT_LENGTH - moved.uploaded), moved.uploaded);
      }
      const before = moved.uploaded;
      moved.uploaded += chunk.length;
      if (before < COUNT_LENGTH && moved.uploaded >= COUNT_LENGTH) second = decodeCount(head);
      // The upload is complete; the dialer may wait for its download before it half-closes.
      const complete = moved.uploaded === COUNT_LENGTH + first;
      if (complete && second > 0 && second <= MAX_SECOND) break;
    }
    const probe = first === PROBE_FIRST && second === PROBE_SECOND;
    const request = moved.uploaded === COUNT_LENGTH + first && !probe ? 'two-counts' : 'spec';
    if (request === 'two-counts') moved.uploaded = first;
    await sendZeros(stream, request === 'spec' ? first : second, moved, 'downloaded');
    stream.closeWrite();
    return { ...moved, request };
  });
};
