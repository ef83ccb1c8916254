//! TLS 1.3 as libp2p specifies it (libp2p/specs tls/tls.md): both sides send a certificate, no SNI, ALPN
//! `libp2p`, no resumption. Any certificate is accepted here, but the handshake must be signed with its
//! key; JavaScript verifies the certificate before any stream data is passed on.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, KeyLog,
    ServerConfig, SignatureScheme, version,
};

use crate::certificate::subject_public_key_info;
use crate::session::{CloseTrackingClient, CloseTrackingServer};
use crate::trace;

/// rustls requires a server name; this one is neither sent nor compared.
pub const SERVER_NAME: &str = "libp2p";
const ALPN: &[u8] = b"libp2p";

/// The TLS configurations for one certificate, made once.
pub struct Tls {
    client: Arc<CloseTrackingClient<QuicClientConfig>>,
    server: Arc<CloseTrackingServer<QuicServerConfig>>,
}

impl Tls {
    /// Takes a certificate chain, leaf first, and the leaf's PKCS#8 key, both PEM; libp2p requires exactly
    /// one certificate. `key_log`: where TLS secrets go. `forge`: allows a
    /// key that does not belong to the certificate.
    pub fn new(
        certificates: &str,
        key: &str,
        key_log: Option<trace::KeyLog>,
        forge: bool,
    ) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_slice_iter(certificates.as_bytes())
            .collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
        let provider = Arc::clone(provider());
        let key = provider.key_provider.load_private_key(key)?;
        if !forge
            && key.public_key().as_deref()
                != chain.first().and_then(|leaf| subject_public_key_info(leaf))
        {
            return Err(TlsError(
                "the key is not that of the certificate".to_owned(),
            ));
        }
        let certified = Arc::new(CertifiedKey::new(chain, key));
        let certified = Arc::new(SingleCertAndKey::from(certified));
        let verifier = Arc::new(AnyCertificate);

        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_client_cert_resolver(Arc::clone(&certified) as _);
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.enable_sni = false;
        client.resumption = rustls::client::Resumption::disabled();

        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(certified);
        server.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would not send a certificate.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        if let Some(key_log) = key_log {
            let log: Arc<dyn KeyLog> = Arc::new(KeyLogFile::open(&key_log)?);
            client.key_log = Arc::clone(&log);
            server.key_log = log;
        }
        Ok(Self {
            client: Arc::new(CloseTrackingClient(Arc::new(QuicClientConfig::try_from(
                client,
            )?))),
            server: Arc::new(CloseTrackingServer(Arc::new(QuicServerConfig::try_from(
                server,
            )?))),
        })
    }

    /// For dials.
    pub fn client(&self) -> Arc<dyn quinn::crypto::ClientConfig> {
        Arc::clone(&self.client) as _
    }

    /// For listeners.
    pub fn server(&self) -> Arc<dyn quinn::crypto::ServerConfig> {
        Arc::clone(&self.server) as _
    }
}

/// Why there is no TLS configuration.
pub struct TlsError(pub String);

macro_rules! tls_error_from {
    ($($error:ty),*) => {$(
        impl From<$error> for TlsError {
            fn from(error: $error) -> Self {
                Self(error.to_string())
            }
        }
    )*};
}

tls_error_from!(
    Error,
    io::Error,
    rustls::pki_types::pem::Error,
    quinn::crypto::rustls::NoInitialCipherSuite
);

fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(ring::default_provider()))
}

/// Accepts every certificate, but only valid handshake signatures.
#[derive(Debug)]
struct AnyCertificate;

impl AnyCertificate {
    fn verify_signature(
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = subject_public_key_info(certificate)
            .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(key),
            signature,
            &provider().signature_verification_algorithms,
        )
    }

    /// QUIC is TLS 1.3 only.
    fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2".to_owned()))
    }

    fn schemes() -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::verify_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::schemes()
    }
}

impl ClientCertVerifier for AnyCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::verify_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::schemes()
    }
}

/// Where the secrets of all connections go.
#[derive(Debug)]
struct KeyLogFile {
    file: Mutex<File>,
    max_bytes: u64,
}

impl KeyLogFile {
    fn open(key_log: &trace::KeyLog) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&key_log.file)?;
        Ok(Self {
            file: Mutex::new(file),
            max_bytes: key_log.max_bytes as u64,
        })
    }
}

impl KeyLog for KeyLogFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let line = format!("{label} {} {}\n", hex(client_random), hex(secret));
        if let Ok(mut file) = self.file.lock() {
            let full = file.metadata().is_ok_and(|it| it.len() >= self.max_bytes);
            if !full {
                // A full disk must not break connections.
                let _ = file.write_all(line.as_bytes());
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
