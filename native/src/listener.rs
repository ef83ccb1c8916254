//! Listeners: whom they let in, and what they hold at most.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::{Connecting, ConnectionError, Incoming, ServerConfig};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::admission::{Admission, Guest};
use crate::close::Close;
use crate::connection::{Connected, Slot};
use crate::dial::Bound;
use crate::driving::Driver;
use crate::engine::Shared;
use crate::events::Event;
use crate::limits::{Limits, trace_file};
use crate::tls::Tls;

/// What the closes of a listener's last connections have to leave its socket.
const CLOSE_GRACE: Duration = Duration::from_millis(5);

/// A bound socket that accepts connections.
pub struct Listener {
    id: u32,
    pub bound: Bound,
    doors: Arc<Doors>,
}

/// What a listener may hold, and a directory for traces, one file a connection.
pub struct ListenerOptions {
    pub limits: Limits,
    pub qlog: Option<String>,
}

/// The configuration of a listener's connections.
pub fn server_config(tls: &Tls, limits: &Limits) -> ServerConfig {
    let mut config = ServerConfig::with_crypto(tls.server());
    config
        .transport_config(limits.transport(None))
        // They are taken or refused as they come.
        .max_incoming(limits.max_pending as usize);
    config
}

impl Listener {
    /// Begins to accept; `Event::Connected` and `Event::Failed` tell what came.
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
        let doors = Arc::new(Doors {
            id,
            config,
            qlog,
            socket,
            admission: Admission::new(limits.admission()),
            limits,
            handshakes: Arc::default(),
            shared,
        });
        let inside = Arc::clone(&doors);
        runtime.spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                inside.arrived(incoming);
            }
        });
        Self { id, bound, doors }
    }

    /// Whom it lets in.
    pub fn admission(&self) -> Arc<Mutex<Admission>> {
        Arc::clone(&self.doors.admission)
    }

    /// Ends the oldest handshake of the host that has most of them.
    pub fn evict_oldest(&self, shared: &Arc<Shared>) {
        let Some(evicted) = Admission::evict_oldest(&self.doors.admission) else {
            return;
        };
        let doors = Arc::clone(&self.doors);
        // On the network thread, where its task is known by then.
        shared.runtime.spawn(async move { doors.evict(evicted) });
    }

    /// Closes what is left of its connections, then the socket; `Event::ListenerClosed` tells.
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

/// What decides on those who arrive.
struct Doors {
    id: u32,
    config: ServerConfig,
    qlog: Option<String>,
    socket: SocketAddr,
    limits: Limits,
    admission: Arc<Mutex<Admission>>,
    /// Tasks of handshakes and with whom they are, by connection.
    handshakes: Arc<Mutex<HashMap<u32, (AbortHandle, SocketAddr)>>>,
    shared: Arc<Shared>,
}

impl Doors {
    fn arrived(&self, incoming: Incoming) {
        let pending = Admission::pending(&self.admission) as f64;
        // Under load nobody gets in who has not shown that it receives at its address (RFC 9000
        // section 8.1).
        if pending >= self.limits.retry_above && incoming.may_retry() {
            // It fails only where it may not be asked for.
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
        if entered.tell {
            self.shared.events.push(Event::PendingRose, self.id, 0);
        }
        // What is no proper first packet is nobody's handshake.
        if let Ok(connecting) = self.accept(incoming, number) {
            self.handshake(number, remote, connecting, entered.guest);
        }
    }

    fn accept(&self, incoming: Incoming, number: u32) -> Result<Connecting, ConnectionError> {
        let Some(qlog) = &self.qlog else {
            return incoming.accept();
        };
        let file = trace_file(qlog, "listener", number);
        let mut config = self.config.clone();
        config.transport_config(self.limits.transport(Some(&file)));
        incoming.accept_with(Arc::new(config))
    }

    fn handshake(&self, number: u32, remote: SocketAddr, connecting: Connecting, guest: Guest) {
        let (id, socket) = (self.id, self.socket);
        let shared = Arc::clone(&self.shared);
        let handshakes = Arc::clone(&self.handshakes);
        let time = self.limits.handshake_timeout();
        let max_streams = self.limits.max_streams();
        let driver = Driver::last_spawned();
        let slot = Slot::Accepted {
            guest: Mutex::new(guest),
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
