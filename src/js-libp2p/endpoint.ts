/** What the dials and listeners of one js-libp2p node share: engine, certificate, sockets. */

import type { Role } from '../connection.ts';
import type { PeerId } from '../identity/peer-id.ts';
import { once } from '../once.ts';
import type { DialOptions, QuicEngine, QuicListener } from '../quic/engine.ts';
import type { EngineName } from '../quic/engine-name.ts';
import type { QuicLimits } from '../quic/limits.ts';
import { selectEngine } from '../quic/select.ts';
import { canReach, type SocketAddress } from '../socket-address.ts';
import { issueCertificate, type TlsIdentity } from '../tls/issue.ts';
import { createVerifier } from '../tls/verify.ts';
import { type AgreedProtocols, createAgreedProtocols } from './agreed-protocols.ts';
import type { QuicComponents, QuicOptions } from './options.ts';
import { signingKeyFrom } from './peers.ts';

export interface Endpoint {
  /** Loaded at the first call. @throws as `selectEngine`. */
  engine(role: Role): Promise<QuicEngine>;
  /** @throws ERR_KEY_MALFORMED */
  tls(): TlsIdentity;
  /**
   * Loads the engine and issues the certificate, which the first dial would otherwise wait for. Resolves with this node's
   * peer id, read from the certificate; rejects as `engine()` and `tls()` do.
   */
  prepare(): Promise<PeerId>;
  readonly verifyCertificate: ReturnType<typeof createVerifier>;
  readonly limits: Partial<QuicLimits>;
  /** `undefined` if negotiation is eager. */
  readonly agreed: AgreedProtocols | undefined;
  /** The open listeners. */
  readonly listeners: Set<QuicListener>;
  /** `from` for a dial to `remote`: the socket of a listener that can reach it. */
  leaveFrom(engine: QuicEngine, remote: SocketAddress): Pick<DialOptions, 'from'>;
}

export const createEndpoint = (components: QuicComponents, options: QuicOptions): Endpoint => {
  const log = components.logger.forComponent('libp2p:quic');
  const { engine: wanted = 'auto', limits = {}, dialFromListener = true, trace } = options;
  const { negotiation = 'lazy' } = options;
  const listeners = new Set<QuicListener>();
  // One per name, for both roles: an engine only dials from listeners of its own.
  const loaded = new Map<EngineName, QuicEngine>();
  const load = (role: Role) =>
    once(async () => {
      const { engine, why, caution } = await selectEngine(wanted, role, trace);
      log('%s as %s: %s', engine.name, role, why);
      if (caution !== undefined && role === 'listener') log.error(caution);
      const known = loaded.get(engine.name) ?? engine;
      loaded.set(engine.name, known);
      return known;
    });
  const engines = { dialer: load('dialer'), listener: load('listener') };
  let made: TlsIdentity | undefined;
  const tls = (): TlsIdentity => {
    made ??= issueCertificate(signingKeyFrom(components.privateKey));
    return made;
  };
  const verifyCertificate = createVerifier();
  return {
    engine: (role) => engines[role](),
    tls,
    prepare: async () => {
      await engines.dialer();
      return verifyCertificate([tls().certificateDer]);
    },
    verifyCertificate,
    limits,
    agreed: negotiation === 'lazy' ? createAgreedProtocols() : undefined,
    listeners,
    leaveFrom: (engine, remote) => {
      if (!dialFromListener || !engine.dialsFromListener) return {};
      const from = listenerFor(listeners, remote);
      return from === undefined ? {} : { from };
    },
  };
};

/** A listener whose socket can send to `remote`, preferably one on an unspecified address. */
const listenerFor = (
  listeners: Iterable<QuicListener>,
  remote: SocketAddress,
): QuicListener | undefined => {
  const able = [...listeners].filter(({ address }) => canReach(address, remote));
  return able.find(({ address: { host } }) => host === '0.0.0.0' || host === '::') ?? able[0];
};
