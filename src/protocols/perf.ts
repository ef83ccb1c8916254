/**
 * Perf (libp2p/specs perf/perf.md): the dialer sends the number of bytes that it wants, uploads, half-closes,
 * and then downloads. All bytes are zero, sent from one shared buffer; nothing is allocated per chunk.
 */

import type { Connection } from '../connection.ts';
import { aborted, withDeadline } from '../deadline.ts';
import { isLeanError, LeanError } from '../errors.ts';
import { readExactly, writeAll } from '../stream/bytes.ts';
import type { Stream } from '../stream.ts';

export const PERF = '/perf/1.0.0';

/** What one `write()` sends: large enough that calls cost little, small compared to the stream's window. */
const CHUNK = new Uint8Array(64 * 1024);

/** The size of the buffer for reading, bytes. */
const ROOM = 64 * 1024;

/** A transfer fails when nothing is sent or received for this time; milliseconds. */
const STALL_TIMEOUT = 30_000;
/** Number of checks within that time. */
const STALL_LOOKS = 4;

/** How long to wait for the answer of a peer that stopped an upload; milliseconds. */
const REFUSAL_TIMEOUT = 1_000;

/** Bytes transferred so far; uploaded ones are those handed to the stream, some of which may not have been sent yet. */
export interface PerfProgress {
  readonly uploaded: number;
  readonly downloaded: number;
}

export interface PerfOptions {
  /** Called every `progressInterval` milliseconds during the transfer. */
  readonly onProgress?: (progress: PerfProgress) => void;
  /** Milliseconds; default 1,000. */
  readonly progressInterval?: number;
  /** Without progress for this time the transfer ends with ERR_TIMEOUT; milliseconds, default 30,000. */
  readonly stallTimeout?: number;
  /** Ends the transfer with ERR_ABORTED. */
  readonly signal?: AbortSignal | undefined;
}

/** The durations of a transfer; milliseconds, with a fraction. */
export interface PerfResult {
  /** From the first write until the last byte was handed to the stream and our side closed. */
  readonly uploadMs: number;
  /** From then until the peer closed its side; it includes the time that the upload's last bytes took to arrive. */
  readonly downloadMs: number;
}

/**
 * Dialer: one transfer, on a new stream of the connection `target`, or on the stream `target`, which it closes.
 *
 * @param uploadBytes an integer in 0 … 2^53 - 1.
 * @param downloadBytes the same.
 * @throws ERR_EOF when the peer sent fewer bytes than asked for, ERR_PROTOCOL_VIOLATION when more;
 * ERR_TIMEOUT when nothing moves; ERR_ABORTED; what the stream throws. The stream is then reset.
 */
export const perf = async (
  target: Connection | Stream,
  uploadBytes: number,
  downloadBytes: number,
  options: PerfOptions = {},
): Promise<PerfResult> => {
  const { signal } = options;
  const stream = 'newStream' in target ? await target.newStream(PERF, { signal }) : target;
  const moved = { uploaded: 0, downloaded: 0 };
  return watch(stream, moved, options, async () => {
    const start = performance.now();
    try {
      await writeAll(stream, encodeCount(downloadBytes));
      await sendZeros(stream, uploadBytes, moved, 'uploaded');
    } catch (error) {
      await refusal(stream, error);
      throw error;
    }
    stream.closeWrite();
    const half = performance.now();
    await receive(stream, moved, 'downloaded', downloadBytes);
    if (moved.downloaded !== downloadBytes) {
      throw new LeanError(
        'ERR_EOF',
        `perf: the peer sent ${moved.downloaded} of ${downloadBytes} bytes`,
      );
    }
    return { uploadMs: half - start, downloadMs: performance.now() - half };
  });
};

/**
 * Listener: one transfer. Any peer can make us send any number of bytes, so this is for benchmarks only.
 *
 * @returns how many bytes the dialer uploaded and downloaded.
 * @throws ERR_EOF when the dialer closed its side before it had sent a count; ERR_TIMEOUT when nothing moves; what the
 * stream throws. The stream is then reset.
 */
export const handlePerf = (stream: Stream, options: PerfOptions = {}): Promise<PerfProgress> => {
  const moved = { uploaded: 0, downloaded: 0 };
  return watch(stream, moved, options, async () => {
    const count = decodeCount(await readExactly(stream, 8));
    await receive(stream, moved, 'uploaded', Number.POSITIVE_INFINITY);
    await sendZeros(stream, count, moved, 'downloaded');
    stream.closeWrite();
    return moved;
  });
};

/** The byte counters of a running transfer. */
export interface Moved {
  uploaded: number;
  downloaded: number;
}

/** Writes `bytes` zeros as fast as the stream takes them, and counts them in `moved[direction]`. */
export const sendZeros = async (
  stream: Stream,
  bytes: number,
  moved: Moved,
  direction: keyof Moved,
): Promise<void> => {
  let left = bytes;
  while (left > 0) {
    const chunk = left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK;
    const room = stream.write(chunk);
    left -= chunk.length;
    moved[direction] += chunk.length;
    if (!room) await stream.drain();
  }
};

/**
 * Looks for the reason if the peer stopped an upload: on a lazily negotiated stream a peer that does not support the
 * protocol does so, too, and its answer says it.
 *
 * @throws ERR_PROTOCOL_NOT_SUPPORTED if that is the reason; ERR_STREAM_RESET if it may be.
 */
const refusal = async (stream: Stream, error: unknown): Promise<void> => {
  if (!isLeanError(error, 'ERR_STREAM_STOPPED')) return;
  try {
    await withDeadline(stream.read(), REFUSAL_TIMEOUT, 'the answer');
  } catch (answer) {
    if (
      isLeanError(answer, 'ERR_PROTOCOL_NOT_SUPPORTED') ||
      isLeanError(answer, 'ERR_STREAM_RESET')
    ) {
      throw answer;
    }
  }
};

/** Reads to the end of the stream, and counts in `moved[direction]`. @throws ERR_PROTOCOL_VIOLATION beyond `most` bytes. */
const receive = async (
  stream: Stream,
  moved: Moved,
  direction: keyof Moved,
  most: number,
): Promise<void> => {
  let room: Uint8Array | undefined;
  for (;;) {
    const chunk = await stream.read(room);
    if (chunk === null) return;
    moved[direction] += chunk.length;
    // Small transfers go without a buffer: allocating one would cost more than the transfer.
    if (moved[direction] >= ROOM) room ??= new Uint8Array(ROOM);
    if (moved[direction] > most) {
      throw new LeanError(
        'ERR_PROTOCOL_VIOLATION',
        `perf: the peer sent more than the ${most} bytes asked for`,
      );
    }
  }
};

/**
 * Runs `transfer` under a stall timeout, reporting progress. Timers look at the counters in `moved`, so that a chunk
 * costs only an addition.
 *
 * @throws ERR_TIMEOUT when nothing moves; what `transfer` throws. The stream is then reset.
 */
export const watch = async <T>(
  stream: Stream,
  moved: Moved,
  options: PerfOptions,
  transfer: () => Promise<T>,
): Promise<T> => {
  const { onProgress, progressInterval = 1_000, stallTimeout = STALL_TIMEOUT, signal } = options;
  /** Why this function ended the transfer. */
  let ended: LeanError | undefined;
  let before = -1;
  let quiet = 0;
  const stallTimer = setInterval(() => {
    const now = moved.uploaded + moved.downloaded;
    quiet = now === before ? quiet + 1 : 0;
    if (quiet === STALL_LOOKS) {
      ended = new LeanError(
        'ERR_TIMEOUT',
        `perf: nothing moved for ${stallTimeout} ms, after ${moved.uploaded} bytes up and ` +
          `${moved.downloaded} bytes down`,
      );
      stream.reset();
    }
    before = now;
  }, stallTimeout / STALL_LOOKS);
  const progressTimer =
    onProgress === undefined
      ? undefined
      : setInterval(() => onProgress({ ...moved }), progressInterval);
  const onAbort = (): void => {
    ended = aborted('the transfer', signal?.reason);
    stream.reset();
  };
  signal?.addEventListener('abort', onAbort, { once: true });
  if (signal?.aborted === true) onAbort();
  try {
    return await transfer();
  } catch (error) {
    stream.reset();
    throw ended ?? error;
  } finally {
    clearInterval(stallTimer);
    clearInterval(progressTimer);
    signal?.removeEventListener('abort', onAbort);
  }
};

/** `count` as 8 bytes, big-endian. */
export const encodeCount = (count: number): Uint8Array => {
  const out = new Uint8Array(8);
  const view = new DataView(out.buffer);
  view.setUint32(0, Math.floor(count / 2 ** 32));
  view.setUint32(4, count % 2 ** 32);
  return out;
};

/** The count in 8 bytes, big-endian; above 2^53 - 1 it is approximate. */
export const decodeCount = (bytes: Uint8Array): number => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, 8);
  return view.getUint32(0) * 2 ** 32 + view.getUint32(4);
};
