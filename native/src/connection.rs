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

use crate::admission::Guest;
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

/// The place of a stream that the peer opened: alive as long as the stream, all of a connection together
/// are counted by it.
pub type Place = Arc<()>;

/// What `close()` waits for the end to leave the socket.
const CLOSE_WAIT: Duration = Duration::from_millis(200);
/// What a dialer waits for the confirmation of its handshake, beside three round trips.
const CONFIRM_WAIT: Duration = Duration::from_millis(20);
/// How often is looked while something is waited for.
const LOOK: Duration = Duration::from_millis(1);
/// A longer reason would not fit into a datagram, bytes.
const MAX_REASON: usize = 1000;

/// Where a connection is counted, until it is dropped.
pub enum Slot {
    /// It was dialled.
    Dialed { _slot: DialSlot },
    /// A listener took it.
    Accepted { guest: Mutex<Guest> },
}

/// A connection whose handshake is complete.
pub struct Connection {
    id: u32,
    quinn: quinn::Connection,
    driver: Option<Arc<Driver>>,
    events: Arc<EventQueue>,
    bound: SocketAddr,
    /// Where the peer was when the handshake was complete.
    remote: SocketAddr,
    certificates: Vec<CertificateDer<'static>>,
    end: Arc<End>,
    /// The first reason that quinn gave: a later one would be less exact.
    lost: OnceLock<ConnectionError>,
    /// Streams of the peer that JavaScript has not taken yet; the stream limit bounds them.
    incoming: Mutex<VecDeque<(Halves, Place)>>,
    place: Place,
    max_streams: MaxStreams,
    /// The peer may have all of those.
    all_allowed: AtomicBool,
    /// Opened by the task that waits for stream credit.
    opened: Mutex<Option<Halves>>,
    /// That task is under way.
    waits_for_credit: AtomicBool,
    slot: Slot,
}

/// What a connection is made of.
pub struct Connected {
    pub quinn: quinn::Connection,
    pub driver: Option<Arc<Driver>>,
    /// What it was configured for.
    pub max_streams: MaxStreams,
    /// The address of the socket.
    pub socket: SocketAddr,
    pub slot: Slot,
}

/// What `close()` tells the peer.
pub enum Goodbye {
    /// An application's code and reason.
    Application(VarInt, String),
    /// TLS alert bad_certificate and why.
    Refusal(String),
}

/// What `open()` gave.
pub enum Opened {
    /// A stream.
    Stream(Box<Halves>),
    /// The peer's limit is reached; `Event::StreamsAllowed` will tell.
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
            certificates,
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

    /// The peer's certificates, DER, leaf first.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
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

    /// The peer's address, of the time when the handshake was complete.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// What drives it.
    pub fn driver(&self) -> Option<Arc<Driver>> {
        self.driver.clone()
    }

    /// JavaScript took the connection: from now on streams are accepted, and its end is told.
    pub fn admit(self: &Arc<Self>, runtime: &tokio::runtime::Handle) {
        if let Slot::Accepted { guest } = &self.slot {
            lock(guest).authenticated();
        }
        let connection = Arc::clone(self);
        runtime.spawn(async move {
            // Tells of the end even if a panic ends this task.
            let _end = TellEnd(Arc::clone(&connection));
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

    /// Opens a stream, or arranges that `Event::StreamsAllowed` tells when one may be opened.
    pub fn open(self: &Arc<Self>, runtime: &tokio::runtime::Handle) -> Opened {
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
        if !self.waits_for_credit.swap(true, Ordering::Relaxed) {
            let connection = Arc::clone(self);
            runtime.spawn(async move {
                if let Ok(halves) = connection.quinn.open_bi().await {
                    *lock(&connection.opened) = Some(halves);
                }
                connection.waits_for_credit.store(false, Ordering::Relaxed);
                connection
                    .events
                    .push(Event::StreamsAllowed, connection.id, 0);
            });
        }
        Opened::Blocked
    }

    /// Closes the connection; `Event::CloseSent` tells when that has left the socket.
    pub fn close(self: &Arc<Self>, goodbye: Goodbye, runtime: &tokio::runtime::Handle) {
        let connection = Arc::clone(self);
        runtime.spawn(async move {
            connection.confirmed().await;
            let before = connection.quinn.stats().udp_tx.datagrams;
            if connection.quinn.close_reason().is_none() {
                connection.say(goodbye);
                connection.sent(before).await;
            }
            connection.events.push(Event::CloseSent, connection.id, 0);
        });
    }

    fn say(&self, goodbye: Goodbye) {
        let_close_pass(&self.quinn);
        match goodbye {
            Goodbye::Application(code, reason) => self.quinn.close(code, cut(&reason).as_bytes()),
            Goodbye::Refusal(reason) => {
                self.end.refused.store(true, Ordering::Relaxed);
                let reason = [&[MARK], cut(&reason).as_bytes()].concat();
                self.quinn.close(VarInt::from_u32(BAD_CERTIFICATE), &reason);
            }
        }
    }

    /// Before its handshake is confirmed (RFC 9001 section 4.1.2) a client's CONNECTION_CLOSE leaves
    /// in a Handshake and a 1-RTT packet of one datagram. The former says nothing of what an
    /// application says, and some servers that are done with Handshake packets drop both.
    async fn confirmed(&self) {
        if self.quinn.side() == Side::Server {
            return;
        }
        let until = Instant::now() + CONFIRM_WAIT + 3 * self.quinn.rtt();
        while self.quinn.stats().frame_rx.handshake_done == 0
            && self.quinn.close_reason().is_none()
            && Instant::now() < until
        {
            sleep(LOOK).await;
        }
    }

    /// Waits until more than `before` datagrams were sent. The connection's driver runs on this
    /// very thread, so it hands them to the socket before it can be seen here.
    async fn sent(&self, before: u64) {
        let until = Instant::now() + CLOSE_WAIT;
        let mut turns = 0;
        while self.quinn.stats().udp_tx.datagrams <= before && Instant::now() < until {
            turns += 1;
            if turns < 10 {
                tokio::task::yield_now().await;
            } else {
                sleep(LOOK).await;
            }
        }
    }

    /// Ends a connection that nobody waits for.
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

    /// Statistics up to now.
    pub fn stats(&self) -> quinn::ConnectionStats {
        self.quinn.stats()
    }
}

struct TellEnd(Arc<Connection>);

impl Drop for TellEnd {
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

/// Which of our addresses the kernel sends from; nothing is sent.
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
