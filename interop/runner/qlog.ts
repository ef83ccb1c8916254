/**
 * Reads qlog traces (draft-ietf-quic-qlog-main-schema) as quinn, quic-go and ngtcp2 write them: JSON text sequences,
 * whose first record is a header, or one JSON object with a list of events.
 */

export interface QlogEvent {
  /** Milliseconds since 1970. */
  readonly at: number;
  /** One line. */
  readonly text: string;
}

type Json = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const parsed = (text: string): Json | undefined => {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    // The last record of a process that was killed.
    return undefined;
  }
};

/** A time before this is none: ngtcp2 writes 0. */
const EARLIEST = Date.UTC(2001);

/** Of our quinn engine, as quinn writes no `reference_time`: ms since 1970. */
const OWN_REFERENCE = /^reference_time (\d+\.\d+)$/;

/** When the trace began, by its header; undefined if that does not say. */
const referenceOf = (header: Json | undefined): number | undefined => {
  const trace = isObject(header?.trace) ? header.trace : header;
  const common = isObject(trace?.common_fields) ? trace.common_fields : {};
  const reference = common.reference_time;
  const wall = isObject(reference) ? (reference.wall_clock_time ?? reference.epoch) : undefined;
  const own = OWN_REFERENCE.exec(String(trace?.description ?? header?.description))?.[1];
  const at = typeof wall === 'string' ? Date.parse(wall) : Number(reference ?? own);
  return at > EARLIEST ? at : undefined;
};

const short = (value: unknown): string =>
  typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    ? String(value)
    : JSON.stringify(value);

/** Fields of `data` as `name=value`, without what says nothing. */
const fields = (data: Json): string =>
  Object.entries(data)
    .filter(([, value]) => value !== null && value !== undefined)
    .map(([name, value]) => `${name}=${short(value)}`)
    .join(' ');

const frameText = (frame: unknown): string => {
  if (!isObject(frame)) return short(frame);
  const { frame_type: type, ...rest } = frame;
  const text = fields(rest);
  return text === '' ? short(type) : `${short(type)}(${text})`;
};

/** `transport:packet_sent 1RTT #3, 120 bytes: stream(stream_id=0 …) ack(…)`; the fields of other events as they are. */
const describe = (name: string, data: Json): string => {
  const { header, frames, raw, ...rest } = data;
  if (!isObject(header)) return `${name} ${fields(data)}`.trimEnd();
  const { packet_type: type, packet_number: number } = header;
  const length = isObject(raw) ? raw.length : undefined;
  const words = [
    name,
    short(type ?? ''),
    ...(number === undefined ? [] : [`#${short(number)}`]),
    ...(length === undefined ? [] : [`${short(length)} bytes`]),
    fields(rest),
    ...(Array.isArray(frames) ? frames.map(frameText) : []),
  ];
  return words.filter(Boolean).join(' ');
};

/** Before each record of a sequence (RFC 7464); quinn and ngtcp2 end it with a line break. */
const SEPARATOR = '\x1e';
const RECORDS = new RegExp(`[${SEPARATOR}\n]+`);

type Trace = readonly [header: Json | undefined, events: readonly Json[]];

const headed = ([header, ...events]: readonly Json[]): Trace => [header, events];

const objectsOf = (list: unknown): Json[] =>
  Array.isArray(list) ? list.filter((it: unknown) => isObject(it)) : [];

/** The first trace of a file that has all in one object. */
const eventsIn = (whole: Json): Trace => {
  const trace: unknown = Array.isArray(whole.traces) ? whole.traces[0] : whole;
  if (!isObject(trace)) return [undefined, []];
  return [trace, objectsOf(trace.events)];
};

/**
 * The events of a trace. What cannot be read is left out.
 *
 * @param began when it began, ms since 1970, if it does not say so itself
 */
export const qlogEvents = (text: string, began: number): QlogEvent[] => {
  // A whole trace may have line breaks in it.
  const whole = text.startsWith(SEPARATOR) ? undefined : parsed(text);
  const [header, events] =
    whole?.traces === undefined && whole?.events === undefined
      ? headed(
          text
            .split(RECORDS)
            .map(parsed)
            .filter((record) => record !== undefined),
        )
      : eventsIn(whole);
  const reference = referenceOf(header) ?? began;
  return events.flatMap((event) => {
    const { time, name, data } = event;
    const ms = Number(time);
    if (!Number.isFinite(ms) || typeof name !== 'string') return [];
    const at = ms > EARLIEST ? ms : reference + ms;
    return { at, text: describe(name, isObject(data) ? data : {}) };
  });
};
