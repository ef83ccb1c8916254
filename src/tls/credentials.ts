/** What this side shows in a TLS handshake. */
export interface TlsCredentials {
  /** One X.509 certificate, PEM. */
  readonly certificatePem: string;
  /** Its private key, PKCS#8 PEM. */
  readonly privateKeyPem: string;
}
