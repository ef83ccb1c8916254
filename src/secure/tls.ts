/** The TLS secure channel (libp2p/specs tls/tls.md) over `node:tls`, TLS 1.3 only. */

import tls, { type SecureContext, type TLSSocket } from 'node:tls';
import { LeanError, messageOf } from '../errors.ts';
import type { TlsCredentials } from '../tls/credentials.ts';
import { verifyCertificate } from '../tls/verify.ts';
import { toDuplex } from '../wire/duplex.ts';
import { socketWire } from '../wire/socket-wire.ts';
import type { Wire } from '../wire/wire.ts';
import type { SecureChannel, SecureOptions } from './secure-channel.ts';

/** The protocol's name in multistream-select. */
export const TLS = '/tls/1.0.0';

/** The ALPN name for negotiating the muxer after the handshake; it is offered last. */
const ALPN_WITHOUT_MUXER = 'libp2p';

/** Parses certificate and key, once for many connections. */
export const createTlsContext = (credentials: TlsCredentials): SecureContext =>
  tls.createSecureContext({
    cert: credentials.certificatePem,
    key: credentials.privateKeyPem,
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
  });

/**
 * Performs the handshake over `wire`, which must not be used afterwards. For the dialer it resolves before the
 * listener has received our certificate; if the listener refuses that, the connection ends.
 *
 * @param onSecret called with each secret of the connection, a line in NSS key log format.
 * @throws ERR_HANDSHAKE, the ERR_CERT_… codes, ERR_PEER_ID_MISMATCH, ERR_KEY_MALFORMED, ERR_KEY_TYPE.
 */
export const secureWithTls = async (
  wire: Wire,
  secureContext: SecureContext,
  options: SecureOptions,
  onSecret?: (line: Uint8Array) => void,
): Promise<SecureChannel> => {
  const { muxers, expectedPeer } = options;
  const socket = wire.detach?.() ?? toDuplex(wire);
  // Certificates are verified below: OpenSSL does not know libp2p's rules.
  const common = { secureContext, rejectUnauthorized: false, allowHalfOpen: true };
  let secured: TLSSocket;
  if (options.role === 'dialer') {
    // Without `servername` there is no SNI, as specified.
    secured = tls.connect({
      ...common,
      socket,
      ALPNProtocols: [...muxers, ALPN_WITHOUT_MUXER],
    });
  } else {
    secured = new tls.TLSSocket(socket, {
      ...common,
      isServer: true,
      requestCert: true,
      ALPNCallback: ({ protocols }) => chooseMuxer(protocols, muxers),
    } as tls.TLSSocketOptions);
  }
  // There must be a listener at all times, also between the handshake and the wire.
  secured.on('error', ignore);
  if (onSecret !== undefined) secured.on('keylog', onSecret);
  try {
    await handshakeOf(secured, options.role === 'dialer' ? 'secureConnect' : 'secure');
  } catch (cause) {
    secured.destroy();
    throw new LeanError('ERR_HANDSHAKE', `tls: ${messageOf(cause)}`, { cause });
  }
  const plain = socketWire(secured, wire.id);
  try {
    const remotePeer = verifyCertificate(peerChain(secured), expectedPeer);
    const alpn = secured.alpnProtocol;
    const muxer = alpn === false || alpn === ALPN_WITHOUT_MUXER ? undefined : (alpn ?? undefined);
    return { wire: plain, remotePeer, muxer };
  } catch (error) {
    plain.reset();
    throw error;
  }
};

const ignore = (): void => {};

const handshakeOf = (socket: TLSSocket, done: 'secureConnect' | 'secure'): Promise<void> =>
  new Promise((resolve, reject) => {
    const settle = (): void => {
      socket.off(done, onDone);
      socket.off('error', onError);
      socket.off('end', onEnd);
      socket.off('close', onEnd);
    };
    const onDone = (): void => {
      settle();
      resolve();
    };
    const onError = (error: Error): void => {
      settle();
      reject(error);
    };
    const onEnd = (): void => onError(new Error('the peer closed the connection'));
    socket.on(done, onDone);
    socket.on('error', onError);
    socket.on('end', onEnd);
    socket.on('close', onEnd);
  });

/** Chooses the ALPN name by the dialer's preference; `undefined` ends the handshake. */
const chooseMuxer = (offered: readonly string[], muxers: readonly string[]): string | undefined =>
  offered.find((name) => muxers.includes(name)) ??
  offered.find((name) => name === ALPN_WITHOUT_MUXER);

/** The certificates that the peer sent, DER, leaf first, as far as `node:tls` exposes them. */
const peerChain = (socket: TLSSocket): Uint8Array[] => {
  const chain: Uint8Array[] = [];
  let certificate = socket.getPeerX509Certificate();
  while (certificate !== undefined && chain.length < 4) {
    chain.push(certificate.raw);
    certificate = certificate.issuerCertificate;
  }
  return chain;
};
