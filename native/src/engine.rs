//! The engine of one JavaScript thread: its network thread and what runs on that.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use quinn::{ClientConfig, ConnectError, NoneTokenStore};
use slab::Slab;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::admission::Admission;
use crate::close::Close;
use crate::connection::{Connected, Connection, Halves, Place, Slot};
use crate::dial::{Bound, DialSlot, DialSockets};
use crate::driving::Driver;
use crate::events::{Event, EventQueue};
use crate::limits::Limits;
use crate::listener::{Listener, ListenerOptions, server_config};
use crate::stream::Stream;
use crate::tls::{SERVER_NAME, Tls};
use crate::trace::{Qlog, Traces};

/// Failed handshakes that are kept until JavaScript asks for them; further ones are not reported.
const MAX_FAILURES: usize = 1024;

/// What the JavaScript thread and the network thread share.
pub struct Shared {
    pub events: Arc<EventQueue>,
    pub runtime: Handle,
    pub traces: Arc<Traces>,
    connections: Mutex<HashMap<u32, Arc<Connection>>>,
    failures: Mutex<HashMap<u32, Failure>>,
    last_id: AtomicU32,
}

/// A failed handshake.
pub struct Failure {
    pub remote: SocketAddr,
    pub close: Close,
}

impl Shared {
    /// A number for a listener or connection: never 0, nor that of a connection which is there. Peers can make all
    /// numbers be given out in a day, as each of their first packets takes one.
    pub fn next_id(&self) -> u32 {
        free_id(&self.last_id, |id| {
            lock(&self.connections).contains_key(&id)
        })
    }

    /// Keeps a connection until JavaScript releases it, and pushes `Event::Connected`.
    pub fn connected(&self, id: u32, listener: u32, connected: Connected) {
        let connection = Connection::new(id, Arc::clone(&self.events), connected);
        lock(&self.connections).insert(id, Arc::new(connection));
        self.events.push(Event::Connected, id, listener);
    }

    /// Closes a connection that JavaScript has not accepted yet; returns the peer's address.
    pub fn withdraw(&self, id: u32) -> Option<SocketAddr> {
        let connection = lock(&self.connections).remove(&id)?;
        connection.abandon();
        Some(connection.remote())
    }

    /// Keeps a failure until JavaScript asks for it, and pushes `Event::Failed`.
    pub fn failed(&self, id: u32, listener: u32, remote: SocketAddr, close: Close) {
        let mut failures = lock(&self.failures);
        // Those of dials are always kept: each has a caller waiting.
        if listener != 0 && failures.len() >= MAX_FAILURES {
            return;
        }
        failures.insert(id, Failure { remote, close });
        drop(failures);
        self.events.push(Event::Failed, id, listener);
    }
}

/// Belongs to the JavaScript thread.
pub struct Engine {
    pub shared: Arc<Shared>,
    dial_sockets: Arc<DialSockets>,
    dials: HashMap<u32, AbortHandle>,
    listeners: HashMap<u32, Listener>,
    streams: Slab<Stream>,
    /// The error code of the last reset or stop.
    pub last_code: u64,
    /// Ends the network thread when dropped.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts the network thread.
    pub fn start(events: EventQueue) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new()
            .name("quinn".to_owned())
            .spawn(move || {
                let _ = runtime.block_on(stopped);
            })?;
        let events = Arc::new(events);
        let shared = Arc::new(Shared {
            traces: Traces::new(Arc::clone(&events)),
            events,
            runtime: handle.clone(),
            connections: Mutex::default(),
            failures: Mutex::default(),
            last_id: AtomicU32::new(0),
        });
        Ok(Self {
            shared,
            dial_sockets: DialSockets::new(handle),
            dials: HashMap::new(),
            listeners: HashMap::new(),
            streams: Slab::new(),
            last_code: 0,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Binds a socket and accepts connections on it.
    pub fn listen(
        &mut self,
        address: SocketAddr,
        tls: &Tls,
        options: ListenerOptions,
    ) -> io::Result<u32> {
        let _within = self.shared.runtime.enter();
        let config = server_config(tls, &options.limits);
        let bound = Bound::new(address, Some(config.clone()))?;
        let id = self.shared.next_id();
        let listener = Listener::start(id, bound, config, options, Arc::clone(&self.shared));
        self.listeners.insert(id, listener);
        Ok(id)
    }

    /// The address that a listener is bound to.
    pub fn listener_address(&self, id: u32) -> Option<SocketAddr> {
        Some(self.listeners.get(&id)?.bound.socket.local())
    }

    /// Sends a datagram that is not a QUIC packet from a listener's socket.
    pub fn send_datagram(&self, id: u32, remote: SocketAddr, data: &[u8]) {
        if let Some(listener) = self.listeners.get(&id) {
            let _within = self.shared.runtime.enter();
            listener.bound.socket.send_datagram(remote, data);
        }
    }

    /// A listener's admission control.
    pub fn admission(&self, id: u32) -> Option<Arc<Mutex<Admission>>> {
        Some(self.listeners.get(&id)?.admission())
    }

    /// Ends the oldest pending handshake of the host with the most at a listener.
    pub fn evict_oldest(&self, id: u32) {
        if let Some(listener) = self.listeners.get(&id) {
            listener.evict_oldest(&self.shared);
        }
    }

    /// Closes a listener and all connections on its socket.
    pub fn close_listener(&mut self, id: u32) {
        if let Some(listener) = self.listeners.remove(&id) {
            listener.close(&self.shared);
        }
    }

    /// Starts a dial, from the socket of the listener `from` unless that is 0.
    pub fn dial(
        &mut self,
        remote: SocketAddr,
        tls: &Tls,
        limits: &Limits,
        qlog: Option<&Qlog>,
        from: u32,
    ) -> Result<u32, String> {
        let _within = self.shared.runtime.enter();
        let id = self.shared.next_id();
        let trace = qlog.and_then(|qlog| self.shared.traces.begin(qlog, "dialer", id));
        let mut config = ClientConfig::new(tls.client());
        config
            .transport_config(limits.transport(trace))
            // Tokens are stored by server name, which is the same for all peers.
            .token_store(Arc::new(NoneTokenStore));
        let (bound, connecting, slot) = self.connect(remote, config, from)?;
        let driver = Driver::last_spawned();
        let shared = Arc::clone(&self.shared);
        let time = limits.handshake_timeout();
        let max_streams = limits.max_streams();
        let socket = bound.socket.local();
        let task = self.shared.runtime.spawn(async move {
            match timeout(time, connecting).await {
                Ok(Ok(quinn)) => {
                    let connected = Connected {
                        quinn,
                        driver,
                        max_streams,
                        socket,
                        slot: Slot::Dialed { _slot: slot },
                    };
                    shared.connected(id, 0, connected);
                }
                Ok(Err(error)) => shared.failed(id, 0, remote, error.into()),
                Err(_) => shared.failed(id, 0, remote, Close::timeout()),
            }
        });
        self.dials.insert(id, task.abort_handle());
        Ok(id)
    }

    fn connect(
        &self,
        remote: SocketAddr,
        config: ClientConfig,
        from: u32,
    ) -> Result<(Bound, quinn::Connecting, DialSlot), String> {
        if from != 0 {
            let listener = self.listeners.get(&from).ok_or("the listener is closed")?;
            let bound = listener.bound.clone();
            let connecting = bound
                .endpoint
                .connect_with(config, remote, SERVER_NAME)
                .map_err(|error| error.to_string())?;
            return Ok((bound, connecting, DialSlot::of_listener()));
        }
        let acquire = || {
            self.dial_sockets
                .acquire(remote)
                .map_err(|error| format!("no socket: {error}"))
        };
        let (bound, slot) = acquire()?;
        match bound
            .endpoint
            .connect_with(config.clone(), remote, SERVER_NAME)
        {
            Ok(connecting) => Ok((bound, connecting, slot)),
            Err(ConnectError::EndpointStopping) => {
                self.dial_sockets.discard(remote);
                let (bound, slot) = acquire()?;
                let connecting = bound
                    .endpoint
                    .connect_with(config, remote, SERVER_NAME)
                    .map_err(|error| error.to_string())?;
                Ok((bound, connecting, slot))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Cancels a dial, or closes the connection that it made.
    pub fn abort(&mut self, id: u32) {
        if let Some(task) = self.dials.remove(&id) {
            task.abort();
        }
        lock(&self.shared.failures).remove(&id);
        self.shared.withdraw(id);
    }

    /// Why a handshake failed. Returns it once.
    pub fn take_failure(&mut self, id: u32) -> Option<Failure> {
        self.dials.remove(&id);
        lock(&self.shared.failures).remove(&id)
    }

    /// A connection that has not been released.
    pub fn connection(&self, id: u32) -> Option<Arc<Connection>> {
        lock(&self.shared.connections).get(&id).cloned()
    }

    /// A connection; its dial, if there was one, is over.
    pub fn handshaken(&mut self, id: u32) -> Option<Arc<Connection>> {
        self.dials.remove(&id);
        self.connection(id)
    }

    /// Frees a connection that has ended.
    pub fn release(&mut self, id: u32) {
        let released = lock(&self.shared.connections).remove(&id);
        drop(released);
    }

    /// Stores a stream and returns its number.
    pub fn add_stream(
        &mut self,
        halves: Halves,
        driver: Option<Arc<Driver>>,
        place: Option<Place>,
    ) -> u32 {
        let entry = self.streams.vacant_entry();
        let id = entry.key() as u32;
        let events = Arc::clone(&self.shared.events);
        entry.insert(Stream::new(id, halves, events, driver, place));
        id
    }

    /// A stream that has not been freed.
    pub fn stream(&mut self, id: u32) -> Option<&mut Stream> {
        self.streams.get_mut(id as usize)
    }

    /// Frees a stream.
    pub fn free_stream(&mut self, id: u32) {
        self.streams.try_remove(id as usize);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // While the network thread still runs, so that peers learn of the end.
        self.streams.clear();
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn free_id(last: &AtomicU32, is_taken: impl Fn(u32) -> bool) -> u32 {
    loop {
        let id = last.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        if id != 0 && !is_taken(id) {
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_again_and_leave_out_those_in_use() {
        let last = AtomicU32::new(u32::MAX - 1);
        let next = || free_id(&last, |id| id == 1 || id == 2);
        assert_eq!([next(), next(), next()], [u32::MAX, 3, 4]);
    }
}
