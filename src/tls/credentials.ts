/** This side's certificate for TLS handshakes. */
export interface TlsCredentials {
  /** One X.509 certificate, PEM. */
  readonly certificatePem: string;
  /** Its private key, PKCS#8 PEM. */
  readonly privateKeyPem: string;
}
