//! quinn, a QUIC engine in Rust, for libp2p-lean.
//!
//! The functions below are the whole of what JavaScript sees; src/quic/quinn/binding.ts has their
//! types. Connections and streams are numbers there. Everything runs on one network thread for each
//! engine, except reading and writing of streams: that is done on the JavaScript thread.
//! What happens on the network is queued; `wake` is called once for all that is queued.
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
use connection::{Goodbye, Opened};
use engine::Engine;
use events::EventQueue;
use limits::{Limits, varint};
use listener::ListenerOptions;
use stream::{Read, Write};
use tls::Tls;

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
mod session;
mod socket;
mod stream;
mod tls;

/// Counts changes of the functions below: JavaScript refuses a binary of another number.
#[napi]
pub const INTERFACE: u32 = 3;

/// Of functions that give a number of bytes or of a stream: nothing for now; an event will tell.
const BLOCKED: i32 = -1;
/// The peer reset or stopped the stream; `lastCode()` has its code.
const RESET: i32 = -2;
/// The connection or the stream has ended.
const ENDED: i32 = -3;
/// The peer finished the stream.
const EOF: i32 = 0;

thread_local! {
    /// Of this JavaScript thread, by the number that `start()` gave.
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

/// Starts an engine; its number. `wake` is called without arguments when there are events to
/// `drain()`; it keeps no process alive. The engine ends with its JavaScript thread.
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

/// Takes events off the queue into `into`, 12 bytes each (kind, id, listener); how many. Must be
/// called until it gives 0.
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
    /// PEM, one certificate and its PKCS#8 key. `key_log`: a file to append TLS secrets to.
    /// `forge`: the key need not be that of the certificate; for the test that peers notice.
    #[napi(constructor, catch_unwind)]
    pub fn new(
        certificate: String,
        key: String,
        key_log: Option<String>,
        forge: Option<bool>,
    ) -> Result<Self> {
        let forge = forge.unwrap_or(false);
        let tls = Tls::new(&certificate, &key, key_log.as_deref(), forge);
        Ok(Self {
            tls: tls.map_err(|error| failure(error.0))?,
        })
    }
}

/// Binds a socket; the listener's number. `qlog`: a directory for traces, one file a connection.
#[napi(catch_unwind)]
pub fn listen(
    engine: u32,
    host: String,
    port: u16,
    credentials: &Credentials,
    limits: Limits,
    qlog: Option<String>,
) -> Result<u32> {
    let address = socket_address(&host, port)?;
    with(engine, |engine| {
        engine
            .listen(address, &credentials.tls, ListenerOptions { limits, qlog })
            .map_err(|error| failure(error.to_string()))
    })
}

/// Where a listener is bound.
#[napi(catch_unwind)]
pub fn listener_address(engine: u32, listener: u32) -> Result<Option<Address>> {
    with(engine, |engine| {
        Ok(engine.listener_address(listener).map(Address::from))
    })
}

/// Sends a datagram that is no QUIC packet from a listener's socket, as hole punching needs it. What
/// cannot leave is lost.
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

/// Closes a listener, its socket and all connections on that.
#[napi(catch_unwind)]
pub fn close_listener(engine: u32, listener: u32) -> Result<()> {
    with(engine, |engine| {
        engine.close_listener(listener);
        Ok(())
    })
}

/// Handshakes under way at a listener. An event may tell of more again.
#[napi(catch_unwind)]
pub fn pending(engine: u32, listener: u32) -> Result<u32> {
    with(engine, |engine| {
        let admission = engine.admission(listener);
        Ok(admission.map_or(0, |it| Admission::take_pending(&it) as u32))
    })
}

/// How many of them one host has, at most.
#[napi(catch_unwind)]
pub fn crowd(engine: u32, listener: u32) -> Result<u32> {
    with(engine, |engine| {
        let admission = engine.admission(listener);
        Ok(admission.map_or(0, |it| Admission::crowd(&it) as u32))
    })
}

/// Ends the oldest one of that host.
#[napi(catch_unwind)]
pub fn evict_oldest(engine: u32, listener: u32) -> Result<()> {
    with(engine, |engine| {
        engine.evict_oldest(listener);
        Ok(())
    })
}

/// An event tells when more than `count` handshakes are under way.
#[napi(catch_unwind)]
pub fn tell_above(engine: u32, listener: u32, count: u32) -> Result<()> {
    with(engine, |engine| {
        if let Some(admission) = engine.admission(listener) {
            Admission::tell_above(&admission, count as usize);
        }
        Ok(())
    })
}

/// Begins a dial, from the socket of the listener `from` unless that is 0; the connection's number.
/// `qlog`: as of `listen()`.
#[napi(catch_unwind)]
pub fn dial(
    engine: u32,
    host: String,
    port: u16,
    credentials: &Credentials,
    limits: Limits,
    from: u32,
    qlog: Option<String>,
) -> Result<u32> {
    let remote = socket_address(&host, port)?;
    with(engine, |engine| {
        engine
            .dial(remote, &credentials.tls, &limits, qlog.as_deref(), from)
            .map_err(failure)
    })
}

/// Gives up a dial.
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
    /// With whom.
    pub remote: Address,
}

/// Why a handshake failed; can be asked once.
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

/// The peer's certificates, DER, leaf first; `null` when the connection is gone.
#[napi(catch_unwind)]
pub fn certificates(
    env: &Env,
    engine: u32,
    connection: u32,
) -> Result<Option<Vec<BufferSlice<'_>>>> {
    with(engine, |engine| {
        let Some(connection) = engine.judge(connection) else {
            return Ok(None);
        };
        let chain = connection.certificates();
        // Copies: memory of Rust's would need a finalizer each.
        let copies = chain
            .iter()
            .map(|certificate| BufferSlice::copy_from(env, certificate));
        copies.collect::<Result<_>>().map(Some)
    })
}

/// Takes a connection: its streams and its end are told from now on.
#[napi(catch_unwind)]
pub fn admit(engine: u32, connection: u32) -> Result<()> {
    with(engine, |engine| {
        if let Some(connection) = engine.judge(connection) {
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

/// Closes a connection with an application's code; an event tells when that has left the socket.
#[napi(catch_unwind)]
pub fn close(engine: u32, connection: u32, code: f64, reason: String) -> Result<()> {
    say_goodbye(
        engine,
        connection,
        Goodbye::Application(varint(code), reason),
    )
}

/// Closes a connection with TLS alert bad_certificate, as `close()`.
#[napi(catch_unwind)]
pub fn refuse(engine: u32, connection: u32, reason: String) -> Result<()> {
    say_goodbye(engine, connection, Goodbye::Refusal(reason))
}

fn say_goodbye(engine: u32, connection: u32, goodbye: Goodbye) -> Result<()> {
    with(engine, |engine| {
        if let Some(connection) = engine.judge(connection) {
            connection.close(goodbye, &engine.shared.runtime);
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

/// Forgets a connection that has ended.
#[napi(catch_unwind)]
pub fn release(engine: u32, connection: u32) -> Result<()> {
    with(engine, |engine| {
        engine.release(connection);
        Ok(())
    })
}

/// What a connection has done so far; milliseconds, bytes, packets.
#[napi(object, object_from_js = false)]
pub struct Stats {
    /// Smoothed round trip time.
    pub rtt: f64,
    /// Shortest round trip time.
    pub min_rtt: f64,
    /// Congestion window.
    pub congestion_window: f64,
    /// Times that the network was found congested.
    pub congestion_events: f64,
    /// UDP payload of a datagram.
    pub datagram_size: u32,
    /// Packets sent.
    pub sent_packets: f64,
    /// Packets lost, of those sent.
    pub lost_packets: f64,
    /// Bytes in them.
    pub lost_bytes: f64,
    /// UDP payload sent.
    pub sent_bytes: f64,
    /// UDP payload received.
    pub received_bytes: f64,
}

/// Statistics of a connection up to now.
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

/// Opens a stream; its number, `BLOCKED` (an event tells when to try again) or `ENDED`.
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

/// The next stream that the peer opened; its number, or `BLOCKED`.
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

/// Reads into `into`; how many bytes, or `EOF`, `BLOCKED`, `RESET`, `ENDED`.
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

/// Writes of `data` what there is room for; how many bytes, `RESET` or `ENDED`. When that is not
/// all, an event tells of room. With `fin`, when it is all, the stream is finished.
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

/// The code that came with the last `RESET`.
#[napi(catch_unwind)]
pub fn last_code(engine: u32) -> Result<f64> {
    with(engine, |engine| Ok(engine.last_code as f64))
}

/// Abandons what was written to a stream.
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

/// Forgets a stream that has ended both ways.
#[napi(catch_unwind)]
pub fn free_stream(engine: u32, stream: u32) -> Result<()> {
    with(engine, |engine| {
        engine.free_stream(stream);
        Ok(())
    })
}

/// Panics, here or on the network thread; for the test that a process survives it.
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
