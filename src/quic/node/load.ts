/** Loads `node:quic`, or says why this runtime does not have it. */

import { LeanError } from '../../errors.ts';
import { RUNTIME } from '../../runtime.ts';
import type { NodeQuic } from './types.ts';

/** @throws ERR_ENGINE_UNAVAILABLE with what is missing. */
export const loadNodeQuic = async (): Promise<NodeQuic> => {
  // Not a literal, as neither the compiler nor bundlers know the module.
  const specifier: string = 'node:quic';
  let quic: NodeQuic;
  try {
    quic = (await import(specifier)) as NodeQuic;
  } catch (error) {
    throw unavailable(whyMissing(), error);
  }
  // Node 25.0 to 25.4 had an early version, without these.
  const { QuicEndpoint, QuicSession, QuicStream } = quic;
  if (
    QuicEndpoint === undefined ||
    QuicSession === undefined ||
    QuicStream === undefined ||
    !('peerCertificate' in QuicSession.prototype) ||
    !('writer' in QuicStream.prototype)
  ) {
    throw unavailable(
      `node:quic of ${RUNTIME.name} is too old; Node 24.20 or 26 has what it takes`,
    );
  }
  return quic;
};

const whyMissing = (): string => {
  const built = (process.config?.variables as Record<string, unknown> | undefined)?.node_use_quic;
  return built === true
    ? `${RUNTIME.name} has node:quic, but was started without --experimental-quic`
    : `${RUNTIME.name} was built without node:quic (./configure --experimental-quic)`;
};

export const unavailable = (message: string, cause?: unknown): LeanError =>
  new LeanError('ERR_ENGINE_UNAVAILABLE', message, { cause });
