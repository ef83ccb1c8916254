/**
 * The transports that a node can be given. Their implementations are loaded when they are first needed, or by
 * `prepare()`.
 */

import { checkNames } from '../check-names.ts';
import type { Role } from '../connection.ts';
import { isCircuit, kindOf } from '../multiaddr.ts';
import type { MuxLimits } from '../mux/mux-limits.ts';
import type { MuxerName } from '../mux/muxer.ts';
import { once } from '../once.ts';
import type { QuicTrace } from '../quic/engine.ts';
import { checkEngineChoice, type EngineChoice } from '../quic/engine-name.ts';
import { type QuicLimits, quicLimitsOf } from '../quic/limits.ts';
import { selectEngine } from '../quic/select.ts';
import { keyLogOf } from '../quic/trace.ts';
import type { SecureChannelName } from '../secure/secure-channel.ts';
import type { TlsCredentials } from '../tls/credentials.ts';
import type { Relays } from './circuit.ts';
import { openKeyLog, warnOfKeyLog, warnOfNoQlog } from './key-log.ts';
import type { QuicTransport } from './quic.ts';
import type { Transport, TransportContext, TransportFactory } from './transport.ts';
import type { UpgradeOptions } from './upgrade.ts';
import { checkUpgradeLimits, type UpgradeLimits } from './upgrade-limits.ts';

export interface QuicOptions {
  /** Default `auto`: the best one that this machine has. */
  readonly engine?: EngineChoice;
  /** In place of the node's. */
  readonly limits?: Partial<QuicLimits>;
  readonly trace?: QuicTrace;
}

/** `/ip4|ip6|dns…/<host>/udp/<port>/quic-v1`. @throws ERR_OPTIONS for an unknown engine, or a limit out of range. */
export const quic = ({
  engine: wanted = 'auto',
  limits: own,
  trace,
}: QuicOptions = {}): TransportFactory => {
  checkEngineChoice(wanted);
  quicLimitsOf(own);
  const keyLog = trace && keyLogOf(trace);
  return (context) => {
    const limits: Partial<QuicLimits> = { ...context.limits, ...own };
    /** The transport that listens, once there is one: dials leave from its sockets. */
    let listening: QuicTransport | undefined;
    const loader = (role: Role) =>
      once(async (): Promise<QuicTransport> => {
        const [{ quicTransport }, { engine, why, caution }, tls] = await Promise.all([
          import('./quic.ts'),
          selectEngine(wanted, role, trace),
          context.tls(),
        ]);
        if (keyLog !== undefined) warnOfKeyLog(keyLog);
        if (trace?.qlog !== undefined && engine.name === 'quiche') warnOfNoQlog(engine.name);
        context.emit('engine:select', { engine: engine.name, role, why });
        const ignored = engine.lacks.filter((name) => limits[name] !== undefined);
        if (ignored.length > 0) {
          context.emit('limits:ignore', { engine: engine.name, limits: ignored });
        }
        return quicTransport({
          engine,
          hostKey: context.hostKey,
          tls,
          limits,
          ...(caution && { caution }),
        });
      });
    const load = { dialer: loader('dialer'), listener: loader('listener') };
    const transport = lazy('quic-v1', ['quic-v1'], (role) => load[role]());
    return {
      ...transport,
      dial: (address, options) =>
        listening?.dialsFromListener(address)
          ? listening.dial(address, options)
          : transport.dial(address, options),
      punch: async (address, sharing, signal) =>
        (await listening?.punch?.(address, sharing, signal)) ?? false,
      listen: async (address, options) => {
        listening = await load.listener();
        return listening.listen(address, options);
      },
    };
  };
};

/** Secure channels and muxers of a socket. */
export interface StreamTransportOptions {
  /** Best first; default: `noise`, `tls`. */
  readonly secureChannels?: readonly SecureChannelName[];
  /** Best first; default: `yamux`, `mplex`. */
  readonly muxers?: readonly MuxerName[];
  /** In place of the node's. */
  readonly limits?: Partial<UpgradeLimits & MuxLimits>;
  /** A file that secrets of the secure channel `tls` are appended to, in NSS format: they decrypt everything that was sent. */
  readonly keyLog?: string | undefined;
  /** Bytes of that file, whoever wrote them; once it has as many, nothing is appended. Default 1 GiB. */
  readonly maxKeyLogBytes?: number | undefined;
}

/** `/ip4|ip6|dns…/<host>/tcp/<port>`. @throws ERR_OPTIONS for an empty list, an unknown name in one, or a limit out of range. */
export const tcp = (options: StreamTransportOptions = {}): TransportFactory => {
  checkOptions(options);
  return (context) => {
    const load = once(async () => {
      const [{ tcpTransport }, upgrade] = await Promise.all([
        import('./tcp.ts'),
        upgradeOptionsOf(context, options),
      ]);
      return tcpTransport(upgrade);
    });
    return lazy('tcp', ['tcp'], load);
  };
};

export interface WebSocketOptions extends StreamTransportOptions {
  /**
   * Accepts any certificate of a `wss` listener. The secure channel inside still authenticates the peer;
   * without `/p2p/<peer id>` in the address, that may be anyone.
   */
  readonly insecureWss?: boolean;
  /** The certificate of a `wss` listener; default: a self-signed one. */
  readonly wssCertificate?: TlsCredentials;
}

/** `…/tcp/<port>/ws` and `…/tcp/<port>/tls/ws`. @throws ERR_OPTIONS for an empty list, an unknown name in one, or a limit out of range. */
export const websocket = (options: WebSocketOptions = {}): TransportFactory => {
  checkOptions(options);
  const { insecureWss = false, wssCertificate } = options;
  return (context) => {
    const load = once(async () => {
      const [{ wsTransport }, upgrade] = await Promise.all([
        import('./websocket.ts'),
        upgradeOptionsOf(context, options),
      ]);
      return wsTransport({ ...upgrade, insecureWss, ...(wssCertificate && { wssCertificate }) });
    });
    return lazy('websocket', ['ws', 'wss'], load);
  };
};

/** `…/p2p/<relay>/p2p-circuit`, which every node has. */
export const circuit = (context: TransportContext, relays: Relays): Transport => {
  const load = once(async () => {
    const [{ circuitTransport }, { createUpgrade }, options] = await Promise.all([
      import('./circuit.ts'),
      import('./upgrade.ts'),
      upgradeOptionsOf(context, {}),
    ]);
    const upgrade = createUpgrade(options);
    return circuitTransport({ upgrade, relays });
  });
  return lazy('p2p-circuit', isCircuit, load);
};

const SECURE_CHANNELS: readonly SecureChannelName[] = ['noise', 'tls'];
const MUXERS: readonly MuxerName[] = ['yamux', 'mplex'];

const checkOptions = (options: StreamTransportOptions): void => {
  const { secureChannels, muxers, limits } = options;
  if (secureChannels) checkNames('secure channel', secureChannels, SECURE_CHANNELS);
  if (muxers) checkNames('muxer', muxers, MUXERS);
  checkUpgradeLimits(limits);
  keyLogOf(options);
};

const upgradeOptionsOf = async (
  { hostKey, tls, limits }: TransportContext,
  options: StreamTransportOptions,
): Promise<UpgradeOptions> => {
  const { secureChannels = SECURE_CHANNELS, muxers = MUXERS, limits: own } = options;
  const upgrade = { hostKey, secureChannels, muxers, limits: { ...limits, ...own } };
  if (!secureChannels.includes('tls')) return upgrade;
  const keyLog = keyLogOf(options);
  return {
    ...upgrade,
    tls: await tls(),
    ...(keyLog !== undefined && { onTlsSecret: openKeyLog(keyLog) }),
  };
};

/** A transport that is loaded by `load` when it first dials or listens. */
const lazy = (
  name: string,
  handles: readonly string[] | Transport['handles'],
  load: (role: Role) => Promise<Transport>,
): Transport => ({
  name,
  handles:
    typeof handles === 'function' ? handles : (address) => handles.includes(kindOf(address) ?? ''),
  prepare: async (role) => void (await load(role)),
  dial: async (address, options) => (await load('dialer')).dial(address, options),
  listen: async (address, options) => (await load('listener')).listen(address, options),
});
