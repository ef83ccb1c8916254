/** The attacks on a listener, as a table. attacker.ts runs one of them as a process of its own. */

export type Layer = 'quic' | 'tcp' | 'ws';

export interface Attack {
  readonly name: string;
  readonly layer: Layer;
  readonly summary: string;
  /** It lasts until it is ended, instead of doing something a number of times. */
  readonly endless?: true;
  /** Only for listeners that serve /perf/1.0.0. */
  readonly perf?: true;
}

export const ATTACKS: readonly Attack[] = [
  {
    name: 'quic-half-open',
    layer: 'quic',
    summary: '10,000 QUIC handshakes that are begun and never go on',
  },
  {
    name: 'quic-handshakes',
    layer: 'quic',
    summary: '2,000 complete QUIC handshakes, 200 a second, held until the end',
  },
  {
    name: 'quic-replayed-initials',
    layer: 'quic',
    summary: '20,000 copies of Initial packets, most with another connection id',
  },
  {
    name: 'quic-garbage',
    layer: 'quic',
    summary: '100,000 random datagrams, half of them with a QUIC header in front',
  },
  {
    name: 'quic-certificates',
    layer: 'quic',
    summary: 'handshakes with malformed, wrong, missing and oversize certificates',
    endless: true,
  },
  {
    name: 'quic-transport-parameters',
    layer: 'quic',
    summary: 'handshakes with transport parameters that RFC 9000 forbids',
    endless: true,
  },
  {
    name: 'quic-streams',
    layer: 'quic',
    endless: true,
    summary: 'as many of 100,000 streams as it gets, opened and never used',
  },
  {
    name: 'quic-resets',
    layer: 'quic',
    summary: '100,000 streams, opened and reset at once',
  },
  {
    name: 'quic-multistream',
    layer: 'quic',
    summary: 'malformed and oversize multistream-select messages on streams',
    endless: true,
  },
  {
    name: 'quic-never-reads',
    layer: 'quic',
    summary: 'four connections that write to ping streams and never read',
  },
  {
    name: 'quic-identify',
    layer: 'quic',
    summary: 'endless identify answers, and endless identify pushes',
    endless: true,
  },
  {
    name: 'quic-perf',
    layer: 'quic',
    summary: 'eight perf requests for 2^63 bytes, never read',
    perf: true,
  },
  {
    name: 'tcp-slow-loris',
    layer: 'tcp',
    summary: '2,000 sockets that stop at each stage of the upgrade',
  },
  {
    name: 'tcp-garbage',
    layer: 'tcp',
    summary: 'sockets with random bytes, one after the other',
    endless: true,
  },
  {
    name: 'tcp-multistream',
    layer: 'tcp',
    summary: 'malformed and oversize multistream-select messages on sockets',
    endless: true,
  },
  {
    name: 'tcp-noise',
    layer: 'tcp',
    summary: 'malformed and oversize Noise messages',
    endless: true,
  },
  {
    name: 'yamux-streams',
    layer: 'tcp',
    summary: '100,000 yamux streams, opened and never used',
  },
  {
    name: 'yamux-windows',
    layer: 'tcp',
    summary: 'yamux frames beyond the window, on many connections',
    endless: true,
  },
  {
    name: 'yamux-never-reads',
    layer: 'tcp',
    summary: 'four connections that write to ping streams and never read',
  },
  {
    name: 'yamux-perf',
    layer: 'tcp',
    summary: 'eight perf requests for 2^63 bytes, never read',
    perf: true,
  },
  {
    name: 'ws-frames',
    layer: 'ws',
    summary: 'WebSocket frames of 2^62 bytes, and messages without an end',
    endless: true,
  },
];
