/** The configuration that quiche makes connections with. */

import type { TlsCredentials } from '../../tls/credentials.ts';
import { ALPN, type EngineOptions } from '../engine.ts';
import { type QuicLimits, windowsOf } from '../limits.ts';
import type { KeyLog } from '../trace.ts';
import type { Quiche, QuicheConfig } from './binding.ts';
import { MAX_DATAGRAM, MAX_LOOPBACK_DATAGRAM } from './datagram-size.ts';

/** Everything BoringSSL can verify that a libp2p certificate may be signed with. */
const SIGNATURE_ALGORITHMS = [
  'ecdsa_secp256r1_sha256',
  'ed25519',
  'rsa_pss_rsae_sha256',
  'rsa_pkcs1_sha256',
  'ecdsa_secp384r1_sha384',
  'rsa_pss_rsae_sha384',
  'rsa_pkcs1_sha384',
  'ecdsa_secp521r1_sha512',
  'rsa_pss_rsae_sha512',
  'rsa_pkcs1_sha512',
].join(':');

/** What configurations are made of and kept by. */
export interface ConfigContext {
  readonly quiche: Quiche;
  /** The last configuration that dials with these credentials used, and for which limits it was made. */
  readonly configs: WeakMap<
    TlsCredentials,
    { readonly limits: string; readonly config: QuicheConfig }
  >;
  /** Where the secrets of connections go. */
  readonly keyLog: KeyLog | undefined;
}

/** As `configure()`, but makes a configuration only once: parsing key and certificate takes longer than anything else before the first packet. */
export const configureOnce = (
  context: ConfigContext,
  options: EngineOptions,
  limits: QuicLimits,
): QuicheConfig => {
  const key = JSON.stringify(limits);
  const last = context.configs.get(options.credentials);
  if (last?.limits === key) return last.config;
  const config = configure(context, options, limits);
  context.configs.set(options.credentials, { limits: key, config });
  return config;
};

/** Makes a configuration. */
export const configure = (
  { quiche, keyLog }: ConfigContext,
  options: EngineOptions,
  limits: QuicLimits,
): QuicheConfig => {
  const pem = new TextEncoder();
  const config = quiche.Config.withBoringSslCtx(
    true,
    true,
    null,
    [pem.encode(options.credentials.privateKeyPem)],
    [pem.encode(options.credentials.certificatePem)],
    SIGNATURE_ALGORITHMS,
  );
  config.setApplicationProtos([ALPN]);
  config.setMaxIdleTimeout(limits.idleTimeout);
  config.setMaxRecvUdpPayloadSize(65_527);
  const { stream: streamWindow, connection: connectionWindow } = windowsOf(limits);
  config.setInitialMaxData(connectionWindow);
  config.setInitialMaxStreamDataBidiLocal(streamWindow);
  config.setInitialMaxStreamDataBidiRemote(streamWindow);
  config.setInitialMaxStreamDataUni(0);
  config.setInitialMaxStreamsBidi(limits.maxStreams);
  config.setInitialMaxStreamsUni(0);
  config.setMaxConnectionWindow(connectionWindow);
  config.setMaxStreamWindow(streamWindow);
  config.setDisableActiveMigration(true);
  config.enablePacing(false);
  if (keyLog !== undefined) config.logKeys();
  return config;
};

/** The largest datagram to try for a host, bytes. Sets it in `config`, too, for the next connection made with that. */
export const maxDatagramTo = (host: string, config: QuicheConfig): number => {
  const loopback = host.startsWith('127.') || host === '::1' || host.startsWith('::ffff:127.');
  const bytes = loopback ? MAX_LOOPBACK_DATAGRAM : MAX_DATAGRAM;
  config.setMaxSendUdpPayloadSize(bytes);
  return bytes;
};
