/**
 * The upgrade of a raw connection (libp2p/specs connections/README.md): a secure channel is
 * negotiated and set up, then a muxer, unless the secure channel's handshake has settled it already.
 */

import type { Multiaddr } from '@multiformats/multiaddr';
import type { Role, TransportConnection } from '../connection.ts';
import { startDeadline } from '../deadline.ts';
import { LeanError } from '../errors.ts';
import type { HostKey } from '../identity/keys.ts';
import { type PeerId, peerIdOf } from '../identity/peer-id.ts';
import { negotiate, select, selectLazily } from '../multistream.ts';
import { createMplex, MPLEX } from '../mux/mplex.ts';
import type { MuxLimits } from '../mux/mux-limits.ts';
import type { CreateMuxer, Muxer, MuxerName } from '../mux/muxer.ts';
import { createYamux, YAMUX } from '../mux/yamux.ts';
import { createNoiseIdentity, NOISE, secureWithNoise } from '../secure/noise.ts';
import type { SecureChannel, SecureChannelName } from '../secure/secure-channel.ts';
import { createTlsContext, secureWithTls, TLS } from '../secure/tls.ts';
import type { Stream } from '../stream.ts';
import type { TlsIdentity } from '../tls/issue.ts';
import type { Wire } from '../wire/wire.ts';
import { DEFAULT_UPGRADE_LIMITS, muxLimitsOf, type UpgradeLimits } from './upgrade-limits.ts';

export interface UpgradeOptions {
  readonly hostKey: HostKey;
  /** Needed for the secure channel `tls`. */
  readonly tls?: TlsIdentity;
  /** Secure channels, best first; at least one. */
  readonly secureChannels: readonly SecureChannelName[];
  /** Muxers, best first; at least one. */
  readonly muxers: readonly MuxerName[];
  readonly limits?: Partial<UpgradeLimits & MuxLimits>;
  /** Called with each secret of the secure channel `tls`, a line in NSS format. */
  readonly onTlsSecret?: ((line: Uint8Array) => void) | undefined;
}

export interface Upgrade {
  readonly limits: UpgradeLimits;
  /**
   * Upgrades `wire`, which it closes when it fails.
   *
   * @throws ERR_PROTOCOL_NOT_SUPPORTED, ERR_HANDSHAKE, ERR_PEER_ID_MISMATCH, the ERR_CERT_… codes,
   * ERR_TIMEOUT, ERR_ABORTED, ERR_CONNECTION_CLOSED, ERR_EOF, ERR_PROTOCOL_VIOLATION.
   */
  asDialer(
    wire: Wire,
    path: Path,
    expected: PeerId | undefined,
    signal: AbortSignal,
  ): Promise<TransportConnection>;
  asListener(wire: Wire, path: Path, signal: AbortSignal): Promise<TransportConnection>;
  /** As the side that `decide` resolves with. */
  asEither(
    wire: Wire,
    path: Path,
    decide: DecideSide,
    signal: AbortSignal,
  ): Promise<TransportConnection>;
}

/** Finds out which side we are on a connection made by a hole punch. Rejects when the wire fails. */
export type DecideSide = () => Promise<Side>;

export interface Side {
  readonly role: Role;
  /** The peer that must answer; `undefined` accepts any. */
  readonly expected: PeerId | undefined;
}

/** The two ends of the raw connection. */
export interface Path {
  /** `tcp`, `ws`, `wss` or `p2p-circuit`. */
  readonly transport: string;
  localAddress(): Multiaddr;
  remoteAddress(): Multiaddr;
  /** Calls `expire` when nothing was sent or received for `ms` milliseconds. */
  watchIdle(ms: number, expire: () => void): void;
}

const MUXERS: Readonly<Record<MuxerName, { protocol: string; create: CreateMuxer }>> = {
  yamux: { protocol: YAMUX, create: createYamux },
  mplex: { protocol: MPLEX, create: createMplex },
};

const SECURE: Readonly<Record<SecureChannelName, string>> = { noise: NOISE, tls: TLS };

/** @throws ERR_OPTIONS when `tls` is wanted and there is no certificate for it. */
export const createUpgrade = (options: UpgradeOptions): Upgrade => {
  const { hostKey, secureChannels, limits = {} } = options;
  const localPeer = peerIdOf(hostKey.publicKey);
  const upgradeLimits: UpgradeLimits = { ...DEFAULT_UPGRADE_LIMITS, ...limits };
  const muxLimits = muxLimitsOf(limits);
  const secureProtocols = secureChannels.map((name) => SECURE[name]);
  const muxers = options.muxers.map((name) => MUXERS[name].protocol);
  const noise = secureChannels.includes('noise') ? createNoiseIdentity(hostKey, muxers) : undefined;
  if (secureChannels.includes('tls') && options.tls === undefined) {
    throw new LeanError('ERR_OPTIONS', 'the secure channel tls needs a certificate');
  }
  const tlsContext = options.tls === undefined ? undefined : createTlsContext(options.tls);

  const setUpSecureChannel = async (
    wire: Wire,
    role: Role,
    expectedPeer: PeerId | undefined,
  ): Promise<{ channel: SecureChannel; name: SecureChannelName }> => {
    const [only] = secureProtocols;
    let stream: Stream = wire;
    let protocol: string;
    if (role === 'listener') {
      protocol = await negotiate(wire, secureProtocols);
    } else if (only === NOISE && secureProtocols.length === 1) {
      // Saves a round trip: the first Noise message is sent with the proposal.
      stream = selectLazily(wire, NOISE);
      protocol = NOISE;
    } else {
      protocol = await select(wire, secureProtocols);
    }
    const settings = { role, expectedPeer, muxers };
    if (protocol === NOISE && noise !== undefined) {
      return { channel: await secureWithNoise(stream, wire, noise, settings), name: 'noise' };
    }
    if (tlsContext === undefined) throw new Error(`unexpected protocol ${protocol}`);
    return {
      channel: await secureWithTls(wire, tlsContext, settings, options.onTlsSecret),
      name: 'tls',
    };
  };

  const setUpMuxer = async (
    channel: SecureChannel,
    role: Role,
  ): Promise<{ muxer: Muxer; name: MuxerName }> => {
    const { wire } = channel;
    let stream: Stream = wire;
    let protocol = channel.muxer;
    if (protocol === undefined) {
      const [only] = muxers;
      if (role === 'listener') {
        protocol = await negotiate(wire, muxers);
      } else if (only !== undefined && muxers.length === 1) {
        // The streams of the connection report a refusal, with the same error code.
        stream = selectLazily(wire, only);
        protocol = only;
      } else {
        protocol = await select(wire, muxers);
      }
    }
    const name: MuxerName = protocol === YAMUX ? 'yamux' : 'mplex';
    const carrier = { stream, close: () => wire.close() };
    return { muxer: MUXERS[name].create(carrier, role, muxLimits), name };
  };

  const upgrade = async (
    wire: Wire,
    path: Path,
    given: Side | DecideSide,
    signal: AbortSignal,
  ): Promise<TransportConnection> => {
    let role: Role = 'listener';
    const deadline = startDeadline(upgradeLimits.handshakeTimeout, 'the upgrade', signal);
    let top = wire;
    const onAbort = (): void => {
      top.reset();
      wire.reset();
    };
    deadline.signal.addEventListener('abort', onAbort);
    try {
      if (deadline.signal.aborted) throw deadline.signal.reason;
      const side = typeof given === 'function' ? await given() : given;
      role = side.role;
      const secured = await setUpSecureChannel(wire, role, side.expected);
      top = secured.channel.wire;
      const muxed = await setUpMuxer(secured.channel, role);
      if (deadline.signal.aborted) throw deadline.signal.reason;
      const connection = makeConnection(
        role,
        localPeer,
        secured.channel.remotePeer,
        path,
        `${path.transport}/${secured.name}/${muxed.name}`,
        muxed.muxer,
      );
      const { idleTimeout } = upgradeLimits;
      if (Number.isFinite(idleTimeout)) {
        const why = `nothing was sent or received for ${idleTimeout} ms`;
        path.watchIdle(idleTimeout, () => connection.close(0, why));
      }
      return connection;
    } catch (error) {
      // A listener closes gracefully, so that its refusal reaches the peer.
      if (role === 'listener' && !deadline.signal.aborted) top.close();
      else onAbort();
      throw deadline.signal.aborted ? deadline.signal.reason : error;
    } finally {
      deadline.signal.removeEventListener('abort', onAbort);
      deadline.clear();
    }
  };

  return {
    limits: upgradeLimits,
    asDialer: (wire, path, expected, signal) =>
      upgrade(wire, path, { role: 'dialer', expected }, signal),
    asListener: (wire, path, signal) => upgrade(wire, path, AS_LISTENER, signal),
    asEither: upgrade,
  };
};

const AS_LISTENER = { role: 'listener', expected: undefined } as const;

const makeConnection = (
  role: Role,
  localPeer: PeerId,
  remotePeer: PeerId,
  path: Path,
  description: string,
  muxer: Muxer,
): TransportConnection => {
  let localAddress: Multiaddr | undefined;
  let remoteAddress: Multiaddr | undefined;
  return {
    role,
    localPeer,
    remotePeer,
    // Made on demand: that takes a noticeable part of a fast handshake.
    get localAddress() {
      localAddress ??= path.localAddress();
      return localAddress;
    },
    get remoteAddress() {
      remoteAddress ??= path.remoteAddress();
      return remoteAddress;
    },
    description,
    openStream: (signal) => muxer.openStream(signal),
    acceptStream: () => muxer.acceptStream(),
    close: (code, reason) => muxer.close(code, reason),
    closed: muxer.closed,
    memory: muxer.memory,
  };
};
