//! A TLS session that sees to CONNECTION_CLOSE frames, where quinn falls short (`close_frame`):
//!
//! - rustls takes any certificate here; JavaScript judges it when the handshake is over. What quinn
//!   sends to close a connection that was refused is made a refusal by TLS, just before its packet is
//!   encrypted.
//! - A peer that closes and forgets a connection at once answers what still comes with a stateless
//!   reset. When quinn (0.11) takes in both in one go, it says "reset" only. So what the peer's close
//!   said is noted here as well, when its packet was decrypted.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::BytesMut;
use quinn::crypto::{
    ClientConfig, CryptoError, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey,
    ServerConfig, Session, UnsupportedVersion,
};
use quinn::{ConnectError, ConnectionId, Side};
use quinn_proto::TransportError;
use quinn_proto::transport_parameters::TransportParameters;
use rustls::pki_types::CertificateDer;

use crate::close_frame::{CloseFrame, read_close, refuse};

/// What `quinn::Connection::peer_identity()` yields.
pub struct PeerIdentity {
    /// Leaf first; empty when the peer sent none.
    pub certificates: Vec<CertificateDer<'static>>,
    /// How the connection ends.
    pub end: Arc<End>,
}

/// The end of a connection, as its session knows it.
#[derive(Default)]
pub struct End {
    /// Set before `close()`, it makes that a refusal.
    pub refused: AtomicBool,
    /// What the peer's close said, in a packet that was authenticated.
    pub peer: OnceLock<CloseFrame>,
}

/// Starts client sessions of this kind.
pub struct EndingClient<C>(pub Arc<C>);

impl<C: ClientConfig> ClientConfig for EndingClient<C> {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let inner = Arc::clone(&self.0).start_session(version, server_name, params)?;
        Ok(EndingSession::boxed(inner))
    }
}

/// Starts server sessions of this kind.
pub struct EndingServer<C>(pub Arc<C>);

impl<C: ServerConfig> ServerConfig for EndingServer<C> {
    fn initial_keys(&self, version: u32, dst: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.0.initial_keys(version, dst)
    }

    fn retry_tag(&self, version: u32, original_dst: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.0.retry_tag(version, original_dst, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        params: &TransportParameters,
    ) -> Box<dyn Session> {
        EndingSession::boxed(Arc::clone(&self.0).start_session(version, params))
    }
}

struct EndingSession {
    inner: Box<dyn Session>,
    end: Arc<End>,
    /// The Handshake keys were made; the next ones are those of 1-RTT packets.
    handshake_keys: bool,
}

impl EndingSession {
    fn boxed(inner: Box<dyn Session>) -> Box<dyn Session> {
        Box::new(Self {
            inner,
            end: Arc::default(),
            handshake_keys: false,
        })
    }

    fn ending(&self, inner: Box<dyn PacketKey>) -> Box<dyn PacketKey> {
        Box::new(EndingKey {
            inner,
            end: Arc::clone(&self.end),
        })
    }
}

impl Session for EndingSession {
    fn initial_keys(&self, dst: &ConnectionId, side: Side) -> Keys {
        self.inner.initial_keys(dst, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.inner.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        let certificates = self
            .inner
            .peer_identity()
            .and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok())
            .map_or_else(Vec::new, |chain| *chain);
        Some(Box::new(PeerIdentity {
            certificates,
            end: Arc::clone(&self.end),
        }))
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.inner.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.inner.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        self.inner.read_handshake(buf)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.inner.transport_parameters()
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        let mut keys = self.inner.write_handshake(buf)?;
        if self.handshake_keys {
            keys.packet.local = self.ending(keys.packet.local);
            keys.packet.remote = self.ending(keys.packet.remote);
        }
        self.handshake_keys = true;
        Some(keys)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let mut keys = self.inner.next_1rtt_keys()?;
        keys.local = self.ending(keys.local);
        keys.remote = self.ending(keys.remote);
        Some(keys)
    }

    fn is_valid_retry(&self, original_dst: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.inner.is_valid_retry(original_dst, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.inner.export_keying_material(output, label, context)
    }
}

struct EndingKey {
    inner: Box<dyn PacketKey>,
    end: Arc<End>,
}

impl PacketKey for EndingKey {
    fn encrypt(&self, packet: u64, buf: &mut [u8], header_len: usize) {
        if self.end.refused.load(Ordering::Relaxed) {
            let end = buf.len() - self.inner.tag_len();
            refuse(&mut buf[header_len..end]);
        }
        self.inner.encrypt(packet, buf, header_len);
    }

    fn decrypt(
        &self,
        packet: u64,
        header: &[u8],
        payload: &mut BytesMut,
    ) -> Result<(), CryptoError> {
        self.inner.decrypt(packet, header, payload)?;
        if let Some(close) = read_close(payload) {
            let _ = self.end.peer.set(close);
        }
        Ok(())
    }

    fn tag_len(&self) -> usize {
        self.inner.tag_len()
    }

    fn confidentiality_limit(&self) -> u64 {
        self.inner.confidentiality_limit()
    }

    fn integrity_limit(&self) -> u64 {
        self.inner.integrity_limit()
    }
}
