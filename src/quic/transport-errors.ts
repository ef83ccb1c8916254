/** Names of QUIC transport error codes (RFC 9000 section 20.1) and TLS alerts (RFC 8446 section 6). */

const TRANSPORT: Readonly<Record<number, string>> = {
  0: 'no error',
  1: 'internal error',
  2: 'connection refused',
  3: 'flow control error',
  4: 'stream limit error',
  5: 'stream state error',
  6: 'final size error',
  7: 'frame encoding error',
  8: 'transport parameter error',
  9: 'connection id limit error',
  10: 'protocol violation',
  11: 'invalid token',
  12: 'application error',
  13: 'crypto buffer exceeded',
  14: 'key update error',
  15: 'AEAD limit reached',
  16: 'no viable path',
};

const ALERTS: Readonly<Record<number, string>> = {
  10: 'unexpected_message',
  40: 'handshake_failure',
  42: 'bad_certificate',
  43: 'unsupported_certificate',
  44: 'certificate_revoked',
  45: 'certificate_expired',
  46: 'certificate_unknown',
  47: 'illegal_parameter',
  48: 'unknown_ca',
  49: 'access_denied',
  50: 'decode_error',
  51: 'decrypt_error',
  70: 'protocol_version',
  71: 'insufficient_security',
  80: 'internal_error',
  109: 'missing_extension',
  110: 'unsupported_extension',
  112: 'unrecognized_name',
  116: 'certificate_required',
  120: 'no_application_protocol',
};

/** `TLS alert certificate_required`, `connection refused`, `transport error 0x1234`. */
export const describeTransportError = (code: number): string => {
  if (code >= 0x100 && code <= 0x1ff) {
    return `TLS alert ${ALERTS[code - 0x100] ?? code - 0x100}`;
  }
  return TRANSPORT[code] ?? `transport error 0x${code.toString(16)}`;
};
