/** The TLS handshake of a session of `node:quic`, and the certificates that the peer has shown in it. */

import { LeanError } from '../../errors.ts';
import type { NodeQuicSession } from './types.ts';

/**
 * Resolves when TLS is done; node:quic alone would take 8 s and more to notice some failures.
 *
 * @param timeout milliseconds; `Infinity`: none.
 */
export const handshake = (
  session: NodeQuicSession,
  timeout: number,
  signal?: AbortSignal,
): Promise<void> =>
  new Promise((resolve, reject) => {
    const onAbort = (): void => end(new LeanError('ERR_ABORTED', 'the dial was aborted'));
    const expire = (): void =>
      end(new LeanError('ERR_TIMEOUT', `no handshake within ${timeout} ms`));
    const timer = Number.isFinite(timeout) ? setTimeout(expire, timeout) : undefined;
    const end = (error?: unknown): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      if (error === undefined) resolve();
      else reject(error);
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    session.opened.then(() => end(), end);
    // While the session was made.
    if (signal?.aborted === true) onAbort();
  });

/** DER, leaf first. Must not be called before the handshake is over: "none" would stick. */
export const chainOf = (session: NodeQuicSession): Uint8Array[] => {
  const chain: Uint8Array[] = [];
  // `issuerCertificate` is what the peer sent next, whoever issued the leaf; undefined if nothing.
  let certificate = session.peerCertificate;
  while (certificate !== undefined && chain.length < 4) {
    chain.push(certificate.raw);
    certificate = certificate.issuerCertificate;
  }
  return chain;
};
