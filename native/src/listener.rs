//! Listeners, and how many connections they accept.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::{Connecting, ConnectionError, Incoming, ServerConfig};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::admission::{Admission, Permit};
use crate::close::Close;
use crate::connection::{Connected, Slot};
use crate::dial::Bound;
use crate::driving::Driver;
use crate::engine::Shared;
use crate::events::Event;
use crate::limits::Limits;
use crate::tls::Tls;
use crate::trace::Qlog;

/// How long a listener's socket stays open for the CONNECTION_CLOSE of its last connections.
const CLOSE_GRACE: Duration = Duration::from_millis(5);

/// A bound socket that accepts connections.
pub struct Listener {
    id: u32,
    pub bound: Bound,
    acceptor: Arc<Acceptor>,
}

/// A listener's limits, and where traces of its connections go.
pub struct ListenerOptions {
    pub limits: Limits,
    pub qlog: Option<Qlog>,
}

/// The configuration of a listener's connections.
pub fn server_config(tls: &Tls, limits: &Limits) -> ServerConfig {
    let mut config = ServerConfig::with_crypto(tls.server());
    config
        .transport_config(limits.transport(None))
        // Each is accepted or refused on arrival.
        .max_incoming(limits.max_pending as usize);
    config
}

impl Listener {
    /// Starts accepting; `Event::Connected` and `Event::Failed` report each handshake.
    pub fn start(
        id: u32,
        bound: Bound,
        config: ServerConfig,
        options: ListenerOptions,
        shared: Arc<Shared>,
    ) -> Self {
        let ListenerOptions { limits, qlog } = options;
        let endpoint = bound.endpoint.clone();
        let runtime = shared.runtime.clone();
        let socket = bound.socket.local();
        let acceptor = Arc::new(Acceptor {
            id,
            config,
            qlog,
            socket,
            admission: Admission::new(limits.admission()),
            limits,
            handshakes: Arc::default(),
            shared,
        });
        let accepting = Arc::clone(&acceptor);
        runtime.spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                accepting.on_incoming(incoming);
            }
        });
        Self {
            id,
            bound,
            acceptor,
        }
    }

    /// Its admission control.
    pub fn admission(&self) -> Arc<Mutex<Admission>> {
        Arc::clone(&self.acceptor.admission)
    }

    /// Ends the oldest pending handshake of the host with the most.
    pub fn evict_oldest(&self, shared: &Arc<Shared>) {
        let Some(evicted) = Admission::evict_oldest(&self.acceptor.admission) else {
            return;
        };
        let acceptor = Arc::clone(&self.acceptor);
        // On the network thread, where its task is known by then.
        shared.runtime.spawn(async move { acceptor.evict(evicted) });
    }

    /// Closes its remaining connections, then the socket; `Event::ListenerClosed` follows.
    pub fn close(self, shared: &Arc<Shared>) {
        let events = Arc::clone(&shared.events);
        shared.runtime.spawn(async move {
            self.bound.endpoint.close(0_u32.into(), b"");
            if self.bound.endpoint.open_connections() > 0 {
                sleep(CLOSE_GRACE).await;
            }
            self.bound.socket.close();
            events.push(Event::ListenerClosed, self.id, 0);
        });
    }
}

/// Accepts or refuses incoming connections.
struct Acceptor {
    id: u32,
    config: ServerConfig,
    qlog: Option<Qlog>,
    socket: SocketAddr,
    limits: Limits,
    admission: Arc<Mutex<Admission>>,
    /// Tasks of handshakes and the peers' addresses, by connection.
    handshakes: Arc<Mutex<HashMap<u32, (AbortHandle, SocketAddr)>>>,
    shared: Arc<Shared>,
}

impl Acceptor {
    fn on_incoming(&self, incoming: Incoming) {
        let pending = Admission::pending(&self.admission) as f64;
        // Under load, clients must validate their address first (RFC 9000 section 8.1).
        if pending >= self.limits.retry_above && incoming.may_retry() {
            // It fails only where `may_retry()` is false.
            let _ = incoming.retry();
            return;
        }
        let number = self.shared.next_id();
        let remote = incoming.remote_address();
        let Some(entered) = Admission::enter(&self.admission, remote.ip(), number) else {
            incoming.refuse();
            return;
        };
        if let Some(evicted) = entered.evicted {
            self.evict(evicted);
        }
        if entered.notify {
            self.shared.events.push(Event::PendingRose, self.id, 0);
        }
        // Fails if the first packet was not valid.
        if let Ok(connecting) = self.accept(incoming, number) {
            self.handshake(number, remote, connecting, entered.permit);
        }
    }

    fn accept(&self, incoming: Incoming, number: u32) -> Result<Connecting, ConnectionError> {
        let begin = |qlog| self.shared.traces.begin(qlog, "listener", number);
        let Some(trace) = self.qlog.as_ref().and_then(begin) else {
            return incoming.accept();
        };
        let mut config = self.config.clone();
        config.transport_config(self.limits.transport(Some(trace)));
        incoming.accept_with(Arc::new(config))
    }

    fn handshake(&self, number: u32, remote: SocketAddr, connecting: Connecting, permit: Permit) {
        let (id, socket) = (self.id, self.socket);
        let shared = Arc::clone(&self.shared);
        let handshakes = Arc::clone(&self.handshakes);
        let time = self.limits.handshake_timeout();
        let max_streams = self.limits.max_streams();
        let driver = Driver::last_spawned();
        let slot = Slot::Accepted {
            permit: Mutex::new(permit),
        };
        let task = tokio::spawn(async move {
            let outcome = timeout(time, connecting).await;
            lock(&handshakes).remove(&number);
            match outcome {
                Ok(Ok(quinn)) => {
                    let connected = Connected {
                        quinn,
                        driver,
                        max_streams,
                        socket,
                        slot,
                    };
                    shared.connected(number, id, connected);
                }
                Ok(Err(error)) => shared.failed(number, id, remote, error.into()),
                Err(_) => shared.failed(number, id, remote, Close::timeout()),
            }
        });
        // It has not begun: this is the only thread.
        lock(&self.handshakes).insert(number, (task.abort_handle(), remote));
    }

    fn evict(&self, number: u32) {
        let remote = match lock(&self.handshakes).remove(&number) {
            Some((task, remote)) => {
                task.abort();
                Some(remote)
            }
            None => self.shared.withdraw(number),
        };
        if let Some(remote) = remote {
            self.shared
                .failed(number, self.id, remote, Close::evicted());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
