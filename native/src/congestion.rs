//! Cubic, quinn's default, without a window for connections that are closing.
//!
//! quinn (0.11) holds back the CONNECTION_CLOSE of a connection that has stream data waiting for the
//! congestion window. A closed connection processes no acknowledgements, so that window would never
//! open, and the peer would notice the end only by its idle timeout.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig};
use quinn_proto::RttEstimator;

/// quinn neither limits nor paces sending when the window has more than 32 bits.
const NO_WINDOW: u64 = 1 << 40;

/// Builds controllers of connections that can be closed during an upload.
#[derive(Default)]
pub struct ClosableConfig {
    inner: Arc<CubicConfig>,
}

impl ControllerFactory for ClosableConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Closable {
            inner: Arc::clone(&self.inner).build(now, current_mtu),
            closing: Arc::default(),
        })
    }
}

struct Closable {
    inner: Box<dyn Controller>,
    /// Shared by all clones.
    closing: Arc<AtomicBool>,
}

/// Must be called before `close()`.
pub fn let_close_pass(connection: &quinn::Connection) {
    if let Ok(controller) = connection
        .congestion_state()
        .into_any()
        .downcast::<Closable>()
    {
        controller.closing.store(true, Ordering::Relaxed);
    }
}

impl Controller for Closable {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.inner
            .on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.inner
            .on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        if self.closing.load(Ordering::Relaxed) {
            NO_WINDOW
        } else {
            self.inner.window()
        }
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            inner: self.inner.clone_box(),
            closing: Arc::clone(&self.closing),
        })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
