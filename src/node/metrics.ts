/**
 * Metrics of a node: connections, handshakes, streams, bytes, refusals. They are derived from the node's events,
 * except bytes, which are counted in the streams if metrics are enabled.
 */

import type { Connection, ProtocolStream, Role } from '../connection.ts';
import { isLeanError } from '../errors.ts';
import { kindOf } from '../multiaddr.ts';
import { countedStream } from '../stream/counted-stream.ts';
import type { Stream } from '../stream.ts';
import type { Events, NodeEvents, NodeEventTarget } from './events.ts';

/** Label names and values. */
export type MetricLabels = Readonly<Record<string, string>>;

/** As prom-client's configuration: `new Counter({ ...options, registers })`. */
export interface MetricOptions {
  readonly name: string;
  readonly help: string;
  readonly labelNames: string[];
}

/** prom-client's `Counter` is one. */
export interface MetricCounter {
  inc(labels: MetricLabels, value?: number): void;
}

/** prom-client's `Histogram` is one. */
export interface MetricHistogram {
  observe(labels: MetricLabels, value: number): void;
}

/**
 * Creates counters and histograms. With prom-client:
 *
 *     const metrics: MetricsRegistry = {
 *       counter: (options) => new Counter({ ...options, registers: [register] }),
 *       histogram: (options) => new Histogram({ ...options, registers: [register] }),
 *     };
 */
export interface MetricsRegistry {
  counter(options: MetricOptions): MetricCounter;
  /** `buckets`: upper bounds, rising. */
  histogram(options: MetricOptions & { readonly buckets: number[] }): MetricHistogram;
}

export interface Metrics {
  /** `stream`, which the peer opened, with its bytes counted. */
  inbound(connection: Connection, stream: Stream): Stream;
  /** The same for a stream that we opened; also counts the stream. */
  outbound(connection: Connection, stream: ProtocolStream): ProtocolStream;
}

/** Seconds: from handshakes over loopback to those with many retransmissions. */
const HANDSHAKE_BUCKETS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10];

/** Registers a node's metrics with `registry`, and counts from now on. */
export const createMetrics = (registry: MetricsRegistry, events: Events): Metrics => {
  const counter = (name: string, help: string, ...labelNames: string[]): MetricCounter =>
    registry.counter({ name: `libp2p_${name}_total`, help, labelNames });
  const VIA = ['transport', 'engine', 'direction'];
  const opened = counter('connections_opened', 'Connections, authenticated', ...VIA);
  const closed = counter('connections_closed', 'Connections that have ended', ...VIA);
  const refused = counter('connections_refused', 'Inbound connections that were refused', 'reason');
  const dialsFailed = counter('dials_failed', 'Failed dials of one address', 'transport', 'reason');
  const streams = counter(
    'streams_opened',
    'Streams whose protocol was agreed on',
    'direction',
    'protocol',
  );
  const streamsRefused = counter(
    'streams_refused',
    'Streams that peers opened, but were refused',
    'reason',
  );
  const streamsFailed = counter(
    'streams_failed',
    'Streams whose handler failed',
    'protocol',
    'reason',
  );
  const bytes = counter('stream_bytes', 'Payload of streams', 'transport', 'engine', 'direction');
  const handshakes = registry.histogram({
    name: 'libp2p_handshake_seconds',
    help: "From the dial, or a listener's accepted socket, to the authenticated peer; not for connections accepted over QUIC",
    labelNames: VIA,
    buckets: HANDSHAKE_BUCKETS,
  });

  const engines: Partial<Record<Role, string>> = {};
  const via = new WeakMap<Connection, Via>();
  const viaOf = (connection: Connection): Via => {
    const known = via.get(connection);
    if (known !== undefined) return known;
    const transport =
      connection.circuit === undefined
        ? (kindOf(connection.remoteAddress) ?? 'other')
        : 'p2p-circuit';
    const engine = transport === 'quic-v1' ? (engines[connection.role] ?? '') : '';
    const made = {
      transport,
      engine,
      direction: connection.role === 'dialer' ? 'outbound' : 'inbound',
    };
    via.set(connection, made);
    return made;
  };

  const target: NodeEventTarget = events.target;
  const on = <Type extends keyof NodeEvents>(
    type: Type,
    count: (detail: NodeEvents[Type]) => void,
  ): void => target.addEventListener(type, ({ detail }) => count(detail));
  on('engine:select', ({ engine, role }) => {
    engines[role] = engine;
  });
  on('connection:open', ({ connection }) => {
    opened.inc({ ...viaOf(connection) });
    const { handshakeTime } = connection;
    if (handshakeTime !== undefined)
      handshakes.observe({ ...viaOf(connection) }, handshakeTime / 1000);
  });
  on('connection:close', ({ connection }) => closed.inc({ ...viaOf(connection) }));
  on('connection:refuse', ({ error }) => refused.inc({ reason: reasonOf(error) }));
  on('dial:error', ({ address, error }) =>
    dialsFailed.inc({ transport: kindOf(address) ?? 'other', reason: reasonOf(error) }),
  );
  on('stream:open', ({ protocol }) => streams.inc({ direction: 'inbound', protocol }));
  on('stream:refuse', ({ error }) => streamsRefused.inc({ reason: reasonOf(error) }));
  on('stream:error', ({ protocol, error }) =>
    streamsFailed.inc({ protocol, reason: reasonOf(error) }),
  );

  /** By their labels. */
  const meters = new Map<string, Meter>();
  const meterOf = ({ transport, engine }: Via, direction: string): Meter => {
    const key = `${transport} ${engine} ${direction}`;
    const meter = meters.get(key) ?? meterOn(bytes, { transport, engine, direction });
    meters.set(key, meter);
    return meter;
  };
  const counted = (connection: Connection, stream: Stream): Stream => {
    const via = viaOf(connection);
    return countedStream(stream, meterOf(via, 'sent'), meterOf(via, 'received'));
  };

  return {
    inbound: counted,
    outbound: (connection, stream) => {
      const { protocol } = stream;
      streams.inc({ direction: 'outbound', protocol });
      return Object.assign(counted(connection, stream), { protocol });
    },
  };
};

/** Adds to a counter. */
type Meter = (count: number) => void;

/** Milliseconds between updates of the registry, which looks up labels; until then a chunk costs one addition. */
const METER_INTERVAL = 100;

const meterOn = (counter: MetricCounter, labels: MetricLabels): Meter => {
  let waiting = 0;
  const flush = (): void => {
    counter.inc(labels, waiting);
    waiting = 0;
  };
  return (count) => {
    if (waiting === 0 && count > 0) setTimeout(flush, METER_INTERVAL).unref();
    waiting += count;
  };
};

interface Via {
  readonly transport: string;
  readonly engine: string;
  readonly direction: string;
}

/** The error code, of which there are few; messages would make too many label values. */
const reasonOf = (error: Error): string => (isLeanError(error) ? error.code : 'other');
