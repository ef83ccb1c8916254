//! The sockets of dials.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::{Endpoint, EndpointConfig};
use tokio::runtime::Handle;

use crate::driving::DrivingRuntime;
use crate::socket::Socket;

/// How long an unused socket is kept for the next dial.
const LINGER: Duration = Duration::from_secs(2);

/// A socket and the quinn endpoint on it.
#[derive(Clone)]
pub struct Bound {
    pub endpoint: Endpoint,
    pub socket: Arc<Socket>,
}

impl Bound {
    /// Must be called within the runtime. With a server configuration it accepts connections.
    pub fn new(address: SocketAddr, server: Option<quinn::ServerConfig>) -> io::Result<Self> {
        let socket = Socket::bind(address)?;
        let endpoint = Endpoint::new_with_abstract_socket(
            EndpointConfig::default(),
            server,
            Arc::clone(&socket) as _,
            Arc::new(DrivingRuntime),
        )?;
        Ok(Self { endpoint, socket })
    }
}

/// The sockets of dials: one for each IP version, shared by all.
pub struct DialSockets {
    runtime: Handle,
    /// The key says whether it is IPv6.
    sockets: Mutex<HashMap<bool, Shared>>,
}

struct Shared {
    bound: Bound,
    users: usize,
    /// How often it was acquired: shows whether it was used again while idle.
    uses: u64,
}

impl DialSockets {
    pub fn new(runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            sockets: Mutex::default(),
        })
    }

    /// The socket for `remote`, for as long as the slot lives. Must be called within the runtime.
    pub fn acquire(self: &Arc<Self>, remote: SocketAddr) -> io::Result<(Bound, DialSlot)> {
        let ipv6 = remote.is_ipv6();
        let mut sockets = self.lock();
        let shared = match sockets.get_mut(&ipv6) {
            Some(shared) => shared,
            None => {
                let any = if ipv6 {
                    SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
                } else {
                    SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
                };
                let bound = Bound::new(any, None)?;
                sockets.entry(ipv6).or_insert(Shared {
                    bound,
                    users: 0,
                    uses: 0,
                })
            }
        };
        shared.users += 1;
        shared.uses += 1;
        let slot = DialSlot {
            sockets: Some((Arc::clone(self), ipv6)),
        };
        Ok((shared.bound.clone(), slot))
    }

    /// Forgets the socket for `remote`, which no longer works.
    pub fn discard(&self, remote: SocketAddr) {
        self.lock().remove(&remote.is_ipv6());
    }

    fn release(self: &Arc<Self>, ipv6: bool) {
        let mut sockets = self.lock();
        let Some(shared) = sockets.get_mut(&ipv6) else {
            return;
        };
        shared.users = shared.users.saturating_sub(1);
        if shared.users > 0 {
            return;
        }
        let uses = shared.uses;
        drop(sockets);
        let this = Arc::clone(self);
        self.runtime.spawn(async move {
            tokio::time::sleep(LINGER).await;
            let mut sockets = this.lock();
            if sockets.get(&ipv6).is_some_and(|shared| shared.uses == uses) {
                // quinn closes it when the last connection has drained.
                sockets.remove(&ipv6);
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<bool, Shared>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the socket of a dial open.
pub struct DialSlot {
    /// `None`: it belongs to a listener.
    sockets: Option<(Arc<DialSockets>, bool)>,
}

impl DialSlot {
    /// For a dial from a listener's socket.
    pub fn of_listener() -> Self {
        Self { sockets: None }
    }
}

impl Drop for DialSlot {
    fn drop(&mut self) {
        if let Some((sockets, ipv6)) = self.sockets.take() {
            sockets.release(ipv6);
        }
    }
}
