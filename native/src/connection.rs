//! One QUIC connection after its handshake.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use quinn::{ConnectionError, RecvStream, SendStream, Side, VarInt};
use rustls::pki_types::CertificateDer;
use tokio::time::{Instant, sleep};

use crate::admission::Permit;
use crate::close::Close;
use crate::close_frame::{BAD_CERTIFICATE, MARK};
use crate::congestion::let_close_pass;
use crate::dial::DialSlot;
use crate::driving::Driver;
use crate::events::{Event, EventQueue};
use crate::limits::MaxStreams;
use crate::session::{End, PeerIdentity};

/// The two halves of a bidirectional stream.
pub type Halves = (SendStream, RecvStream);

/// Held by each stream that the peer opened; its strong count says how many a connection has.
pub type Place = Arc<()>;

/// How long `close()` waits at most until the close has been sent.
const CLOSE_WAIT: Duration = Duration::from_millis(200);
/// How long a dialer waits for its handshake to be confirmed, in addition to three round trips.
const CONFIRM_WAIT: Duration = Duration::from_millis(20);
/// Polling interval.
const POLL_INTERVAL: Duration = Duration::from_millis(1);
/// The longest reason that fits into a datagram; bytes.
const MAX_REASON: usize = 1000;

/// What a connection occupies until it is dropped.
pub enum Slot {
    /// Its dial's socket.
    Dialed { _slot: DialSlot },
    /// Its place among the connections of a listener.
    Accepted { permit: Mutex<Permit> },
}

/// A connection whose handshake is complete.
pub struct Connection {
    id: u32,
    quinn: quinn::Connection,
    driver: Option<Arc<Driver>>,
    events: Arc<EventQueue>,
    bound: SocketAddr,
    /// The peer's address when the handshake completed.
    remote: SocketAddr,
    certificates: Mutex<Vec<CertificateDer<'static>>>,
    end: Arc<End>,
    /// The first error that quinn returned: later ones are less specific.
    lost: OnceLock<ConnectionError>,
    /// Streams opened by the peer that JavaScript has not accepted yet; bounded by the stream limit.
    incoming: Mutex<VecDeque<(Halves, Place)>>,
    place: Place,
    max_streams: MaxStreams,
    /// `max_streams.full` is in force.
    all_allowed: AtomicBool,
    /// A stream opened by the task that waits for stream credit.
    opened: Mutex<Option<Halves>>,
    /// That task is running.
    waits_for_credit: AtomicBool,
    slot: Slot,
}

/// What `Connection::new()` takes.
pub struct Connected {
    pub quinn: quinn::Connection,
    pub driver: Option<Arc<Driver>>,
    /// As it was configured.
    pub max_streams: MaxStreams,
    /// The address of the socket.
    pub socket: SocketAddr,
    pub slot: Slot,
}

/// What `close()` sends to the peer.
pub enum CloseMessage {
    /// An application error code and a reason.
    Application(VarInt, String),
    /// TLS alert bad_certificate and a reason.
    Refusal(String),
}

/// The result of `open()`.
pub enum Opened {
    /// A stream.
    Stream(Box<Halves>),
    /// The peer's limit is reached; `Event::StreamsAllowed` follows.
    Blocked,
    /// The connection has ended.
    Ended,
}

impl Connection {
    pub fn new(id: u32, events: Arc<EventQueue>, connected: Connected) -> Self {
        let Connected {
            quinn,
            driver,
            max_streams,
            socket,
            slot,
        } = connected;
        let identity = quinn
            .peer_identity()
            .and_then(|it| it.downcast::<PeerIdentity>().ok());
        let (certificates, end) =
            identity.map_or_else(Default::default, |it| (it.certificates, it.end));
        Self {
            id,
            remote: quinn.remote_address(),
            quinn,
            driver,
            events,
            bound: socket,
            certificates: Mutex::new(certificates),
            end,
            lost: OnceLock::new(),
            incoming: Mutex::default(),
            place: Place::default(),
            max_streams,
            all_allowed: AtomicBool::new(max_streams.full == VarInt::from_u32(max_streams.first)),
            opened: Mutex::default(),
            waits_for_credit: AtomicBool::new(false),
            slot,
        }
    }

    /// The peer's certificates, DER, leaf first. Returns them once: JavaScript keeps its own copy.
    pub fn take_certificates(&self) -> Vec<CertificateDer<'static>> {
        std::mem::take(&mut lock(&self.certificates))
    }

    /// Our address on the path to the peer.
    pub fn local(&self) -> SocketAddr {
        let ip = self.quinn.local_ip().or_else(|| {
            let bound = self.bound.ip();
            if bound.is_unspecified() {
                source_ip(self.remote())
            } else {
                Some(bound)
            }
        });
        SocketAddr::new(ip.unwrap_or(self.bound.ip()), self.bound.port())
    }

    /// The peer's address when the handshake completed.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Its driver.
    pub fn driver(&self) -> Option<Arc<Driver>> {
        self.driver.clone()
    }

    /// JavaScript accepted the connection: from now on streams are accepted, and there is an event for its
    /// end.
    pub fn admit(self: &Arc<Self>, runtime: &tokio::runtime::Handle) {
        if let Slot::Accepted { permit } = &self.slot {
            lock(permit).authenticated();
        }
        let connection = Arc::clone(self);
        runtime.spawn(async move {
            // Pushes `Event::Closed` even if this task panics.
            let _end = PushClosed(Arc::clone(&connection));
            loop {
                match connection.quinn.accept_bi().await {
                    Ok(halves) => connection.take(halves),
                    Err(error) => {
                        let _ = connection.lost.set(error);
                        break;
                    }
                }
            }
        });
    }

    fn take(&self, halves: Halves) {
        let place = Arc::clone(&self.place);
        let open = Arc::strong_count(&place) - 1;
        if open >= self.max_streams.first as usize / 2
            && !self.all_allowed.swap(true, Ordering::Relaxed)
        {
            self.quinn
                .set_max_concurrent_bi_streams(self.max_streams.full);
        }
        let mut incoming = lock(&self.incoming);
        incoming.push_back((halves, place));
        if incoming.len() == 1 {
            self.events.push(Event::StreamsOpened, self.id, 0);
        }
    }

    /// The next stream that the peer opened.
    pub fn accept(&self) -> Option<(Halves, Place)> {
        lock(&self.incoming).pop_front()
    }

    /// Opens a stream, or arranges for `Event::StreamsAllowed` when one may be opened.
    pub fn open(self: &Arc<Self>, runtime: &tokio::runtime::Handle) -> Opened {
        // Whatever the task opens must come before what is opened here: ids are given out in order.
        if self.waits_for_credit.load(Ordering::Acquire) {
            return Opened::Blocked;
        }
        if let Some(halves) = lock(&self.opened).take() {
            return Opened::Stream(Box::new(halves));
        }
        let mut opening = std::pin::pin!(self.quinn.open_bi());
        match opening
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(Ok(halves)) => return Opened::Stream(Box::new(halves)),
            Poll::Ready(Err(_)) => return Opened::Ended,
            Poll::Pending => {}
        }
        self.waits_for_credit.store(true, Ordering::Relaxed);
        let connection = Arc::clone(self);
        runtime.spawn(async move {
            if let Ok(halves) = connection.quinn.open_bi().await {
                *lock(&connection.opened) = Some(halves);
            }
            connection.waits_for_credit.store(false, Ordering::Release);
            connection
                .events
                .push(Event::StreamsAllowed, connection.id, 0);
        });
        Opened::Blocked
    }

    /// Closes the connection; `Event::CloseSent` follows when the close has been sent.
    pub fn close(self: &Arc<Self>, message: CloseMessage, runtime: &tokio::runtime::Handle) {
        let connection = Arc::clone(self);
        runtime.spawn(async move {
            connection.handshake_confirmed().await;
            let before = connection.quinn.stats().udp_tx.datagrams;
            if connection.quinn.close_reason().is_none() {
                connection.send_close(message);
                connection.datagrams_sent(before).await;
            }
            connection.events.push(Event::CloseSent, connection.id, 0);
        });
    }

    fn send_close(&self, message: CloseMessage) {
        let_close_pass(&self.quinn);
        match message {
            CloseMessage::Application(code, reason) => {
                self.quinn.close(code, cut(&reason).as_bytes())
            }
            CloseMessage::Refusal(reason) => {
                self.end.refused.store(true, Ordering::Relaxed);
                let reason = [&[MARK], cut(&reason).as_bytes()].concat();
                self.quinn.close(VarInt::from_u32(BAD_CERTIFICATE), &reason);
            }
        }
    }

    /// Waits for the handshake to be confirmed. Before that (RFC 9001 section 4.1.2) a client sends
    /// CONNECTION_CLOSE in a Handshake and a 1-RTT packet in one datagram. The former must not carry an
    /// application's code, and some servers that have discarded their Handshake keys drop both.
    async fn handshake_confirmed(&self) {
        if self.quinn.side() == Side::Server {
            return;
        }
        let until = Instant::now() + CONFIRM_WAIT + 3 * self.quinn.rtt();
        while self.quinn.stats().frame_rx.handshake_done == 0
            && self.quinn.close_reason().is_none()
            && Instant::now() < until
        {
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until more than `before` datagrams were sent. The connection's driver runs on this thread:
    /// when the count has risen, the datagrams are with the socket.
    async fn datagrams_sent(&self, before: u64) {
        let until = Instant::now() + CLOSE_WAIT;
        let mut turns = 0;
        while self.quinn.stats().udp_tx.datagrams <= before && Instant::now() < until {
            turns += 1;
            if turns < 10 {
                tokio::task::yield_now().await;
            } else {
                sleep(POLL_INTERVAL).await;
            }
        }
    }

    /// Closes a connection that JavaScript has not accepted.
    pub fn abandon(&self) {
        let_close_pass(&self.quinn);
        self.quinn.close(VarInt::from_u32(0), b"");
    }

    /// Why it has ended; `None` while it has not.
    pub fn close_reason(&self) -> Option<Close> {
        let lost = self
            .lost
            .get()
            .cloned()
            .or_else(|| self.quinn.close_reason())?;
        match (&lost, self.end.peer.get()) {
            (ConnectionError::Reset, Some(close)) => Some(close.into()),
            _ => Some(lost.into()),
        }
    }

    /// Statistics.
    pub fn stats(&self) -> quinn::ConnectionStats {
        self.quinn.stats()
    }
}

struct PushClosed(Arc<Connection>);

impl Drop for PushClosed {
    fn drop(&mut self) {
        self.0.events.push(Event::Closed, self.0.id, 0);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn cut(reason: &str) -> &str {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

/// The local address that the kernel would send from; nothing is sent.
fn source_ip(remote: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = if remote.is_ipv6() {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    } else {
        (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(remote).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
