//! `QuicLimits` of src/quic/limits.ts as quinn's configuration.

use std::sync::Arc;
use std::time::Duration;

use napi_derive::napi;
use quinn::{IdleTimeout, TransportConfig, VarInt};

use crate::admission::AdmissionLimits;
use crate::congestion::ClosableConfig;
use crate::trace::Trace;

/// Streams that a peer may open at first; when half of them are open, `max_streams` if that is more.
/// quinn-proto inserts each stream that may be opened into two hash maps (`StreamsState::new`): 48 take 64
/// places of 42 bytes, 256 would take 512. Most peers never have more than a few.
const FIRST_STREAMS: u32 = 48;

/// How many streams a peer may have open at once.
#[derive(Clone, Copy)]
pub struct MaxStreams {
    /// At first.
    pub first: u32,
    /// Once half of `first` are open.
    pub full: VarInt,
}

/// Limits of a connection or listener; bytes and milliseconds.
#[napi(object)]
#[derive(Clone)]
pub struct Limits {
    /// Duration of a handshake.
    pub handshake_timeout: f64,
    /// How long a connection may be silent.
    pub idle_timeout: f64,
    /// Receive window of one stream.
    pub stream_window: f64,
    /// Receive window of the connection.
    pub connection_window: f64,
    /// Bytes of a connection that were written and not acknowledged.
    pub send_window: f64,
    /// Bidirectional streams that the peer may have open.
    pub max_streams: f64,
    /// Connections of a listener, including those not authenticated yet.
    pub max_connections: f64,
    /// Those of one host, including those not authenticated yet.
    pub max_connections_per_host: f64,
    /// Connections of a listener that are not authenticated yet.
    pub max_pending: f64,
    /// Those of one host that are not authenticated yet.
    pub max_pending_per_host: f64,
    /// Pending handshakes from which on clients must validate their address (Retry).
    pub retry_above: f64,
}

impl Limits {
    /// How long a handshake may take.
    pub fn handshake_timeout(&self) -> Duration {
        Duration::from_millis(self.handshake_timeout as u64)
    }

    /// Limits on the streams that a peer opens.
    pub fn max_streams(&self) -> MaxStreams {
        let full = varint(self.max_streams);
        let first = full.into_inner().min(FIRST_STREAMS.into()) as u32;
        MaxStreams { first, full }
    }

    /// A listener's admission limits.
    pub fn admission(&self) -> AdmissionLimits {
        AdmissionLimits {
            connections: self.max_connections as usize,
            connections_per_host: self.max_connections_per_host as usize,
            pending: self.max_pending as usize,
            pending_per_host: self.max_pending_per_host as usize,
        }
    }

    /// quinn's configuration of a connection.
    pub fn transport(&self, trace: Option<Trace>) -> Arc<TransportConfig> {
        let mut transport = TransportConfig::default();
        let idle = IdleTimeout::from(varint(self.idle_timeout));
        transport
            .max_concurrent_bidi_streams(self.max_streams().first.into())
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .max_idle_timeout(Some(idle))
            .stream_receive_window(varint(self.stream_window))
            .receive_window(varint(self.connection_window))
            .send_window(self.send_window as u64)
            .datagram_receive_buffer_size(None)
            .keep_alive_interval(None)
            .congestion_controller_factory(Arc::new(ClosableConfig::default()));
        if let Some(trace) = trace {
            trace.write_by(&mut transport);
        }
        Arc::new(transport)
    }
}

/// A JavaScript number as a varint, clamped to the largest.
pub fn varint(value: f64) -> VarInt {
    VarInt::from_u64(value as u64).unwrap_or(VarInt::MAX)
}
