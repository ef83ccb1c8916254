//! The UDP socket of a quinn endpoint, on quinn-udp (segmentation offload, ECN). In addition it can be
//! closed at once, and it drops datagrams from impossible source addresses.

use std::fmt;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll, Waker, ready};

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use socket2::{Domain, Protocol, SockAddr, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Requested size of the kernel's buffers, which may be less (net.core.rmem_max); it must hold a burst.
const BUFFER: usize = 4 << 20;
/// Consecutive failures to receive after which a socket counts as broken.
const MAX_FAILURES: usize = 1000;

/// A bound socket; IPv6 sockets are IPv6 only.
pub struct Socket {
    /// `None` once closed.
    open: RwLock<Option<Arc<Open>>>,
    local: SocketAddr,
    may_fragment: bool,
    receive_segments: usize,
    /// The last send would have blocked.
    blocked: AtomicBool,
    /// Wakes the receiving task when the socket is closed.
    receiver: Mutex<Option<Waker>>,
    /// Consecutive failures to receive.
    failures: AtomicUsize,
}

struct Open {
    io: UdpSocket,
    state: RwLock<UdpSocketState>,
}

impl Socket {
    /// Binds. Must be called within the runtime.
    pub fn bind(address: SocketAddr) -> io::Result<Arc<Self>> {
        let socket = socket2::Socket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Best effort.
        let _ = socket.set_recv_buffer_size(BUFFER);
        let _ = socket.set_send_buffer_size(BUFFER);
        socket.bind(&SockAddr::from(address))?;
        let socket = std::net::UdpSocket::from(socket);
        let state = UdpSocketState::new((&socket).into())?;
        let (may_fragment, receive_segments) = (state.may_fragment(), state.gro_segments());
        let io = UdpSocket::from_std(socket)?;
        let local = io.local_addr()?;
        let open = Arc::new(Open {
            io,
            state: RwLock::new(state),
        });
        Ok(Arc::new(Self {
            open: RwLock::new(Some(open)),
            local,
            may_fragment,
            receive_segments,
            blocked: AtomicBool::new(false),
            receiver: Mutex::default(),
            failures: AtomicUsize::new(0),
        }))
    }

    /// The address that it is bound to; the port is never 0.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Closes it even if it is in use: its port is free, and its endpoint ends with all connections.
    pub fn close(&self) {
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = None;
        let receiver = self
            .receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(waker) = receiver {
            waker.wake();
        }
    }

    /// Sends a datagram that is not a QUIC packet; it is dropped if it cannot be sent at once.
    pub fn send_datagram(&self, remote: SocketAddr, data: &[u8]) {
        if let Some(open) = self.open() {
            // Not through tokio: before its first poll it would report the socket as not ready.
            let _ = open.send(&Transmit {
                destination: remote,
                ecn: None,
                contents: data,
                segment_size: None,
                src_ip: None,
            });
        }
    }

    fn open(&self) -> Option<Arc<Open>> {
        self.open
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn remember_receiver(&self, cx: &Context<'_>) {
        let mut receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        if !receiver
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *receiver = Some(cx.waker().clone());
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

impl Open {
    /// On EINVAL quinn-udp assumes an old kernel and turns off segmentation offload for good. If a single
    /// datagram failed, the cause is its destination or source (such as a broadcast address that a peer
    /// sent to), so the state is reset.
    fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let sent = state.try_send((&self.io).into(), transmit);
        drop(state);
        let Err(error) = sent else { return Ok(()) };
        if error.kind() == ErrorKind::WouldBlock {
            return Err(error);
        }
        let single = transmit
            .segment_size
            .is_none_or(|size| size >= transmit.contents.len());
        if error.kind() == ErrorKind::InvalidInput
            && single
            && let Ok(fresh) = UdpSocketState::new((&self.io).into())
        {
            *self.state.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
        // The datagram counts as lost.
        Ok(())
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller {
            socket: self,
            writable: None,
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if transmit.destination.port() == 0 {
            return Ok(());
        }
        let Some(open) = self.open() else {
            return Ok(());
        };
        let sent = open.io.try_io(Interest::WRITABLE, || open.send(transmit));
        if sent.is_err() {
            self.blocked.store(true, Ordering::Relaxed);
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let Some(open) = self.open() else {
            return Poll::Ready(Err(io::Error::new(
                ErrorKind::NotConnected,
                "the socket is closed",
            )));
        };
        loop {
            if open.io.poll_recv_ready(cx)?.is_pending() {
                self.remember_receiver(cx);
                return Poll::Pending;
            }
            let state = open.state.read().unwrap_or_else(PoisonError::into_inner);
            let received = open.io.try_io(Interest::READABLE, || {
                state.recv((&open.io).into(), bufs, meta)
            });
            match received {
                Ok(count) => {
                    self.failures.store(0, Ordering::Relaxed);
                    for meta in &mut meta[..count] {
                        if !is_answerable(meta) {
                            meta.len = 0;
                        }
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // An ICMP error for an earlier datagram, or a temporary lack of memory. Other tasks run
                // before the next attempt.
                Err(error) => {
                    if self.failures.fetch_add(1, Ordering::Relaxed) >= MAX_FAILURES {
                        return Poll::Ready(Err(error));
                    }
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn max_transmit_segments(&self) -> usize {
        let Some(open) = self.open() else { return 1 };
        let state = open.state.read().unwrap_or_else(PoisonError::into_inner);
        state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.receive_segments
    }

    fn may_fragment(&self) -> bool {
        self.may_fragment
    }
}

/// Whether a datagram can be answered: source addresses may be forged (isAnswerable() of
/// src/quic/answerable.ts is the same), and the destination must be unicast, as it is the answer's source.
fn is_answerable(meta: &RecvMeta) -> bool {
    meta.addr.port() != 0 && is_unicast(meta.addr.ip()) && meta.dst_ip.is_none_or(is_unicast)
}

/// Neither unspecified, multicast, reserved nor broadcast (RFC 1122 section 3.2.1.3, RFC 4291
/// section 2).
fn is_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => (1..224).contains(&ip.octets()[0]),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
    }
}

type Writable = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

/// Tells a connection when the socket is writable again.
struct Poller {
    socket: Arc<Socket>,
    writable: Option<Writable>,
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").finish_non_exhaustive()
    }
}

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // quinn asks before every send; a future is only needed after a send that would have blocked.
        if !self.socket.blocked.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        if self.writable.is_none() {
            let Some(open) = self.socket.open() else {
                return Poll::Ready(Ok(()));
            };
            self.writable = Some(Box::pin(async move { open.io.writable().await }));
        }
        if let Some(writable) = &mut self.writable {
            let ready = ready!(writable.as_mut().poll(cx));
            self.writable = None;
            self.socket.blocked.store(false, Ordering::Relaxed);
            return Poll::Ready(ready);
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unicast_addresses() {
        for one in [
            "127.0.0.1",
            "10.0.0.255",
            "223.255.255.255",
            "::1",
            "fe80::1",
            "2001:db8::1",
        ] {
            assert!(is_unicast(one.parse().unwrap()), "{one}");
        }
        for other in [
            "0.0.0.0",
            "0.0.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "ff02::1",
        ] {
            assert!(!is_unicast(other.parse().unwrap()), "{other}");
        }
    }
}
