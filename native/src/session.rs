//! A TLS session that reads and changes CONNECTION_CLOSE frames (`close_frame`), for two reasons:
//!
//! - rustls accepts any certificate here; JavaScript verifies it after the handshake. If it is refused,
//!   quinn can only send an application close; that is changed to a TLS alert before its packet is
//!   encrypted.
//! - A peer that closes a connection and drops its state at once answers later packets with a stateless
//!   reset. If quinn (0.11) receives both together, it only reports the reset. So the peer's close is
//!   recorded here when its packet has been decrypted.

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

/// What `quinn::Connection::peer_identity()` returns.
pub struct PeerIdentity {
    /// Leaf first; empty when the peer sent none.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The close frames of the connection.
    pub end: Arc<End>,
}

/// What a session knows of the connection's close, or is to change in it.
#[derive(Default)]
pub struct End {
    /// Set before `close()`: the close is sent as TLS alert bad_certificate.
    pub refused: AtomicBool,
    /// The peer's close, from an authenticated packet.
    pub peer: OnceLock<CloseFrame>,
}

/// Starts client sessions that track closes.
pub struct CloseTrackingClient<C>(pub Arc<C>);

impl<C: ClientConfig> ClientConfig for CloseTrackingClient<C> {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let inner = Arc::clone(&self.0).start_session(version, server_name, params)?;
        Ok(CloseTrackingSession::boxed(inner))
    }
}

/// Starts server sessions that track closes.
pub struct CloseTrackingServer<C>(pub Arc<C>);

impl<C: ServerConfig> ServerConfig for CloseTrackingServer<C> {
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
        CloseTrackingSession::boxed(Arc::clone(&self.0).start_session(version, params))
    }
}

struct CloseTrackingSession {
    inner: Box<dyn Session>,
    end: Arc<End>,
    /// The Handshake keys exist; the next ones are for 1-RTT packets.
    handshake_keys: bool,
}

impl CloseTrackingSession {
    fn boxed(inner: Box<dyn Session>) -> Box<dyn Session> {
        Box::new(Self {
            inner,
            end: Arc::default(),
            handshake_keys: false,
        })
    }

    fn close_tracking(&self, inner: Box<dyn PacketKey>) -> Box<dyn PacketKey> {
        Box::new(CloseTrackingKey {
            inner,
            end: Arc::clone(&self.end),
        })
    }
}

impl Session for CloseTrackingSession {
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
            keys.packet.local = self.close_tracking(keys.packet.local);
            keys.packet.remote = self.close_tracking(keys.packet.remote);
        }
        self.handshake_keys = true;
        Some(keys)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let mut keys = self.inner.next_1rtt_keys()?;
        keys.local = self.close_tracking(keys.local);
        keys.remote = self.close_tracking(keys.remote);
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

struct CloseTrackingKey {
    inner: Box<dyn PacketKey>,
    end: Arc<End>,
}

impl PacketKey for CloseTrackingKey {
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
