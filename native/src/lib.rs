//! quinn, a QUIC engine in Rust, for libp2p-lean.
//!
//! JavaScript sees only the functions below; src/quic/quinn/binding.ts has their types. Listeners,
//! connections and streams are numbers there. Each engine has one network thread that does everything
//! except reading and writing streams, which happens on the JavaScript thread. Network events are
//! queued, and `wake` is called once for all that are queued.
//!
//! A panic becomes a JavaScript error.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};

use napi::bindgen_prelude::{BufferSlice, Env, Error, Function, Result, Status};
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi_derive::napi;
use slab::Slab;

use admission::Admission;
use close::Close;
use connection::{CloseMessage, Opened};
use engine::Engine;
use events::EventQueue;
use limits::{Limits, varint};
use listener::ListenerOptions;
use stream::{Read, Write};
use tls::Tls;
use trace::{KeyLog, Qlog};

mod admission;
mod certificate;
mod close;
mod close_frame;
mod congestion;
mod connection;
mod dial;
mod driving;
mod engine;
mod events;
mod limits;
mod listener;
mod memory;
mod session;
mod socket;
mod stream;
mod tls;
mod trace;

/// Version of the functions below: JavaScript refuses a binary with another one.
#[napi]
pub const INTERFACE: u32 = 6;

/// Returned in place of a byte count or a stream number: nothing now; an event follows.
const BLOCKED: i32 = -1;
/// The peer reset or stopped the stream; `lastCode()` has its code.
const RESET: i32 = -2;
/// The connection or the stream has ended.
const ENDED: i32 = -3;
/// The peer finished the stream.
const EOF: i32 = 0;

thread_local! {
    /// The engines of this JavaScript thread, by the number that `start()` returned.
    static ENGINES: RefCell<Slab<Engine>> = const { RefCell::new(Slab::new()) };
}

/// Runs `body` with an engine of this thread.
fn with<T>(engine: u32, body: impl FnOnce(&mut Engine) -> Result<T>) -> Result<T> {
    ENGINES.with_borrow_mut(|engines| match engines.get_mut(engine as usize) {
        Some(engine) => body(engine),
        None => Err(failure("there is no such engine")),
    })
}

fn failure(message: impl Into<String>) -> Error {
    Error::new(Status::GenericFailure, message.into())
}

fn socket_address(host: &str, port: u16) -> Result<SocketAddr> {
    let ip: IpAddr = host
        .parse()
        .map_err(|_| failure(format!("not an IP address: {host}")))?;
    Ok(SocketAddr::new(ip, port))
}

/// An IP address and a UDP port.
#[napi(object, object_from_js = false)]
pub struct Address {
    /// IPv4 or IPv6 literal.
    pub host: String,
    /// UDP port.
    pub port: u16,
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

/// Starts an engine and returns its number. `wake` is called when there are events to `drain()`; it
/// does not keep the process alive. The engine ends with its JavaScript thread.
#[napi(catch_unwind)]
pub fn start(env: Env, wake: Function<(), ()>) -> Result<u32> {
    let wake = wake
        .build_threadsafe_function()
        .weak::<true>()
        .callee_handled::<false>()
        .build()?;
    let events = EventQueue::new(move || {
        wake.call((), ThreadsafeFunctionCallMode::NonBlocking) == Status::Ok
    });
    let engine = Engine::start(events).map_err(|error| failure(error.to_string()))?;
    let number = ENGINES.with_borrow_mut(|engines| engines.insert(engine));
    // Before `wake` is torn down, and before the code of this module may be unloaded.
    env.add_env_cleanup_hook(number, |number| {
        let engine = ENGINES.with_borrow_mut(|engines| engines.try_remove(number));
        drop(engine);
    })?;
    Ok(number as u32)
}

/// Moves events from the queue to `into`, 12 bytes each (kind, id, listener), and returns how many.
/// Must be called until it returns 0.
#[napi(catch_unwind)]
pub fn drain(engine: u32, mut into: BufferSlice) -> Result<u32> {
    with(engine, |engine| {
        Ok(engine.shared.events.drain(&mut into) as u32)
    })
}

/// A certificate and its key, for `listen()` and `dial()`.
#[napi]
pub struct Credentials {
    tls: Tls,
}

#[napi]
impl Credentials {
    /// PEM, one certificate and its PKCS#8 key. `key_log`: where TLS secrets go.
    /// `forge`: allows a key that does not belong to the certificate, to test that peers reject it.
    #[napi(constructor, catch_unwind)]
    pub fn new(
        certificate: String,
        key: String,
        key_log: Option<KeyLog>,
        forge: Option<bool>,
    ) -> Result<Self> {
        let forge = forge.unwrap_or(false);
        let tls = Tls::new(&certificate, &key, key_log, forge);
        Ok(Self {
            tls: tls.map_err(|error| failure(error.0))?,
        })
    }
}

/// Binds a socket and returns the listener's number. `qlog`: where traces go, one file per connection.
#[napi(catch_unwind)]
pub fn listen(
    engine: u32,
    host: String,
    port: u16,
    credentials: &Credentials,
    limits: Limits,
    qlog: Option<Qlog>,
) -> Result<u32> {
    let address = socket_address(&host, port)?;
    with(engine, |engine| {
        engine
            .listen(address, &credentials.tls, ListenerOptions { limits, qlog })
            .map_err(|error| failure(error.to_string()))
    })
}

/// The address that a listener is bound to.
#[napi(catch_unwind)]
pub fn listener_address(engine: u32, listener: u32) -> Result<Option<Address>> {
    with(engine, |engine| {
        Ok(engine.listener_address(listener).map(Address::from))
    })
}

/// Sends a datagram that is not a QUIC packet from a listener's socket, for hole punching. It is
/// dropped if it cannot be sent at once.
#[napi(catch_unwind)]
pub fn send_datagram(
    engine: u32,
    listener: u32,
    host: String,
    port: u16,
    data: BufferSlice,
) -> Result<()> {
    let remote = socket_address(&host, port)?;
    with(engine, |engine| {
        engine.send_datagram(listener, remote, &data);
        Ok(())
    })
}

/// Closes a listener, its socket and all connections on that socket.
#[napi(catch_unwind)]
pub fn close_listener(engine: u32, listener: u32) -> Result<()> {
    with(engine, |engine| {
        engine.close_listener(listener);
        Ok(())
    })
}

/// Pending handshakes of a listener. Allows the next `PendingRose` event.
#[napi(catch_unwind)]
pub fn pending(engine: u32, listener: u32) -> Result<u32> {
    with(engine, |engine| {
        let admission = engine.admission(listener);
        Ok(admission.map_or(0, |it| Admission::take_pending(&it) as u32))
    })
}

/// The largest number of pending handshakes that any one host has.
#[napi(catch_unwind)]
pub fn crowd(engine: u32, listener: u32) -> Result<u32> {
    with(engine, |engine| {
        let admission = engine.admission(listener);
        Ok(admission.map_or(0, |it| Admission::crowd(&it) as u32))
    })
}

/// Ends the oldest pending handshake of the host with the most.
#[napi(catch_unwind)]
pub fn evict_oldest(engine: u32, listener: u32) -> Result<()> {
    with(engine, |engine| {
        engine.evict_oldest(listener);
        Ok(())
    })
}

/// Requests the event `PendingRose` when more than `count` handshakes are pending.
#[napi(catch_unwind)]
pub fn tell_above(engine: u32, listener: u32, count: u32) -> Result<()> {
    with(engine, |engine| {
        if let Some(admission) = engine.admission(listener) {
            Admission::notify_above(&admission, count as usize);
        }
        Ok(())
    })
}

/// Starts a dial, from the socket of the listener `from` unless that is 0, and returns the
/// connection's number. `qlog`: as in `listen()`.
#[napi(catch_unwind)]
pub fn dial(
    engine: u32,
    host: String,
    port: u16,
    credentials: &Credentials,
    limits: Limits,
    from: u32,
    qlog: Option<Qlog>,
) -> Result<u32> {
    let remote = socket_address(&host, port)?;
    with(engine, |engine| {
        engine
            .dial(remote, &credentials.tls, &limits, qlog.as_ref(), from)
            .map_err(failure)
    })
}

/// Cancels a dial.
#[napi(catch_unwind)]
pub fn abort(engine: u32, connection: u32) -> Result<()> {
    with(engine, |engine| {
        engine.abort(connection);
        Ok(())
    })
}

/// A handshake that failed.
#[napi(object, object_from_js = false)]
pub struct HandshakeFailure {
    /// Why.
    pub close: Close,
    /// The peer's address.
    pub remote: Address,
}

/// Why a handshake failed. Returns it once.
#[napi(catch_unwind)]
pub fn take_failure(engine: u32, connection: u32) -> Result<Option<HandshakeFailure>> {
    with(engine, |engine| {
        Ok(engine
            .take_failure(connection)
            .map(|failure| HandshakeFailure {
                close: failure.close,
                remote: failure.remote.into(),
            }))
    })
}

/// The peer's certificates, DER, leaf first, once; `null` when the connection is gone.
#[napi(catch_unwind)]
pub fn certificates(
    env: &Env,
    engine: u32,
    connection: u32,
) -> Result<Option<Vec<BufferSlice<'_>>>> {
    with(engine, |engine| {
        let Some(connection) = engine.handshaken(connection) else {
            return Ok(None);
        };
        let chain = connection.take_certificates();
        // Copied: Rust memory would need a finalizer for each.
        let copies = chain
            .iter()
            .map(|certificate| BufferSlice::copy_from(env, certificate));
        copies.collect::<Result<_>>().map(Some)
    })
}

/// Accepts a connection: from now on there are events for its streams and its end.
#[napi(catch_unwind)]
pub fn admit(engine: u32, connection: u32) -> Result<()> {
    with(engine, |engine| {
        if let Some(connection) = engine.handshaken(connection) {
            connection.admit(&engine.shared.runtime);
        }
        Ok(())
    })
}

/// Our address on the path to the peer.
#[napi(catch_unwind)]
pub fn local_address(engine: u32, connection: u32) -> Result<Option<Address>> {
    with(engine, |engine| {
        Ok(engine.connection(connection).map(|it| it.local().into()))
    })
}

/// The peer's address.
#[napi(catch_unwind)]
pub fn remote_address(engine: u32, connection: u32) -> Result<Option<Address>> {
    with(engine, |engine| {
        Ok(engine.connection(connection).map(|it| it.remote().into()))
    })
}

/// Closes a connection with an application error code; the event `CloseSent` follows when the close
/// has been sent.
#[napi(catch_unwind)]
pub fn close(engine: u32, connection: u32, code: f64, reason: String) -> Result<()> {
    close_with(
        engine,
        connection,
        CloseMessage::Application(varint(code), reason),
    )
}

/// Closes a connection with TLS alert bad_certificate; otherwise as `close()`.
#[napi(catch_unwind)]
pub fn refuse(engine: u32, connection: u32, reason: String) -> Result<()> {
    close_with(engine, connection, CloseMessage::Refusal(reason))
}

fn close_with(engine: u32, connection: u32, message: CloseMessage) -> Result<()> {
    with(engine, |engine| {
        if let Some(connection) = engine.handshaken(connection) {
            connection.close(message, &engine.shared.runtime);
        }
        Ok(())
    })
}

/// Why a connection ended; `null` while it has not.
#[napi(catch_unwind)]
pub fn close_reason(engine: u32, connection: u32) -> Result<Option<Close>> {
    with(engine, |engine| {
        Ok(engine
            .connection(connection)
            .and_then(|it| it.close_reason()))
    })
}

/// Frees a connection that has ended.
#[napi(catch_unwind)]
pub fn release(engine: u32, connection: u32) -> Result<()> {
    with(engine, |engine| {
        engine.release(connection);
        Ok(())
    })
}

/// Statistics of a connection; milliseconds, bytes, packets.
#[napi(object, object_from_js = false)]
pub struct Stats {
    /// Smoothed round trip time.
    pub rtt: f64,
    /// Shortest round trip time.
    pub min_rtt: f64,
    /// Congestion window.
    pub congestion_window: f64,
    /// Congestion events.
    pub congestion_events: f64,
    /// Current path MTU: UDP payload of a datagram.
    pub datagram_size: u32,
    /// Packets sent.
    pub sent_packets: f64,
    /// Packets lost, of those sent.
    pub lost_packets: f64,
    /// Bytes in lost packets.
    pub lost_bytes: f64,
    /// UDP payload sent.
    pub sent_bytes: f64,
    /// UDP payload received.
    pub received_bytes: f64,
}

/// Statistics of a connection.
#[napi(catch_unwind)]
pub fn stats(engine: u32, connection: u32) -> Result<Option<Stats>> {
    with(engine, |engine| {
        Ok(engine.connection(connection).map(|connection| {
            let stats = connection.stats();
            let path = stats.path;
            Stats {
                rtt: path.rtt.as_secs_f64() * 1e3,
                min_rtt: path.min_rtt.as_secs_f64() * 1e3,
                congestion_window: path.cwnd as f64,
                congestion_events: path.congestion_events as f64,
                datagram_size: path.current_mtu.into(),
                sent_packets: path.sent_packets as f64,
                lost_packets: path.lost_packets as f64,
                lost_bytes: path.lost_bytes as f64,
                sent_bytes: stats.udp_tx.bytes as f64,
                received_bytes: stats.udp_rx.bytes as f64,
            }
        }))
    })
}

/// Opens a stream and returns its number, `BLOCKED` (an event tells when to try again) or `ENDED`.
#[napi(catch_unwind)]
pub fn open_stream(engine: u32, connection: u32) -> Result<i32> {
    with(engine, |engine| {
        let Some(connection) = engine.connection(connection) else {
            return Ok(ENDED);
        };
        Ok(match connection.open(&engine.shared.runtime) {
            Opened::Stream(halves) => engine.add_stream(*halves, connection.driver(), None) as i32,
            Opened::Blocked => BLOCKED,
            Opened::Ended => ENDED,
        })
    })
}

/// The number of the next stream that the peer opened, or `BLOCKED`.
#[napi(catch_unwind)]
pub fn accept_stream(engine: u32, connection: u32) -> Result<i32> {
    with(engine, |engine| {
        let Some(connection) = engine.connection(connection) else {
            return Ok(BLOCKED);
        };
        Ok(connection.accept().map_or(BLOCKED, |(halves, place)| {
            engine.add_stream(halves, connection.driver(), Some(place)) as i32
        }))
    })
}

/// Reads into `into` and returns how many bytes, or `EOF`, `BLOCKED`, `RESET`, `ENDED`.
#[napi(catch_unwind)]
pub fn read(engine: u32, stream: u32, mut into: BufferSlice) -> Result<i32> {
    with(engine, |engine| {
        let Some(stream) = engine.stream(stream) else {
            return Ok(ENDED);
        };
        if into.is_empty() {
            return Ok(BLOCKED);
        }
        Ok(match stream.read(&mut into) {
            Read::Bytes(count) => i32::try_from(count).unwrap_or(i32::MAX),
            Read::End => EOF,
            Read::Blocked => BLOCKED,
            Read::Lost => ENDED,
            Read::Reset(code) => {
                engine.last_code = code;
                RESET
            }
        })
    })
}

/// Writes as much of `data` as there is room for and returns how many bytes, or `RESET` or `ENDED`. If
/// that is not all of it, an event follows when there is room again. If it is all of it and `fin` is set,
/// the stream is finished.
#[napi(catch_unwind)]
pub fn write(engine: u32, stream: u32, data: BufferSlice, fin: bool) -> Result<i32> {
    with(engine, |engine| {
        let runtime = engine.shared.runtime.clone();
        let Some(stream) = engine.stream(stream) else {
            return Ok(ENDED);
        };
        Ok(match stream.write(&data, fin, &runtime) {
            Write::Taken(count) => i32::try_from(count).unwrap_or(i32::MAX),
            Write::Lost => ENDED,
            Write::Stopped(code) => {
                engine.last_code = code;
                RESET
            }
        })
    })
}

/// The error code of the last `RESET`.
#[napi(catch_unwind)]
pub fn last_code(engine: u32) -> Result<f64> {
    with(engine, |engine| Ok(engine.last_code as f64))
}

/// Resets the sending half of a stream.
#[napi(catch_unwind)]
pub fn reset_stream(engine: u32, stream: u32, code: f64) -> Result<()> {
    with(engine, |engine| {
        if let Some(stream) = engine.stream(stream) {
            stream.reset(varint(code));
        }
        Ok(())
    })
}

/// Tells the peer to stop writing to a stream.
#[napi(catch_unwind)]
pub fn stop_sending(engine: u32, stream: u32, code: f64) -> Result<()> {
    with(engine, |engine| {
        if let Some(stream) = engine.stream(stream) {
            stream.stop(varint(code));
        }
        Ok(())
    })
}

/// Frees a stream that has ended in both directions.
#[napi(catch_unwind)]
pub fn free_stream(engine: u32, stream: u32) -> Result<()> {
    with(engine, |engine| {
        engine.free_stream(stream);
        Ok(())
    })
}

/// Gives memory that the process has freed back to the system, beside the JavaScript thread; whether that is
/// possible here.
#[napi]
pub fn trim_memory() -> bool {
    memory::trim()
}

/// Panics, here or on the network thread, to test that the process survives.
#[napi(catch_unwind)]
pub fn panic_for_test(engine: u32, on_network_thread: bool) -> Result<()> {
    if !on_network_thread {
        panic!("a panic for a test");
    }
    with(engine, |engine| {
        engine
            .shared
            .runtime
            .spawn(async { panic!("a panic for a test") });
        Ok(())
    })
}
