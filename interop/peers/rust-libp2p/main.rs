//! An interop participant on rust-libp2p, built on the published crates only.
//!
//! It obeys both harness dialects (docs/peers.md): stdout carries the dialer's result and nothing
//! else. Exit codes: 0 result printed, 1 failed, 2 configuration wrong, 127 a combination that
//! exists in the matrix but not here.

mod redis;

use std::{env, net::IpAddr, process::ExitCode, time::Duration};

use futures::StreamExt;
use libp2p::{
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade::Version},
    identify, identity, noise, ping, quic,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, tls, websocket, yamux, Multiaddr, PeerId, Swarm, Transport as _,
};
// `MplexConfig` and, below, `WsConfig` are the names that every version has.
#[allow(deprecated)]
use libp2p_mplex::MplexConfig;
use tokio::time::{sleep_until, timeout_at, Instant};

const TRANSPORTS: &[&str] =
    &["quic-v1", "quic", "tcp", "ws", "wss", "webtransport", "webrtc-direct", "webrtc"];
const SECURE_CHANNELS: &[&str] = &["noise", "tls", "plaintext"];
const MUXERS: &[&str] = &["yamux", "mplex"];

enum Failure {
    Failed(String),
    Configuration(String),
    Unsupported(String),
}
use Failure::{Configuration, Failed, Unsupported};

fn failed(error: impl std::fmt::Display) -> Failure {
    Failed(error.to_string())
}

/// What the environment asks for, whichever dialect it speaks.
struct Config {
    unified: bool,
    dialer: bool,
    transport: String,
    secure_channel: Option<String>,
    muxer: Option<String>,
    ip: IpAddr,
    redis: String,
    key: String,
    timeout: Duration,
    debug: bool,
}

/// A variable's value; unset, empty and `null` are the same.
fn var(name: &str) -> Option<String> {
    env::var(name).ok().map(|v| v.trim().to_owned()).filter(|v| !v.is_empty() && v != "null")
}

fn one_of(name: &str, value: Option<String>, known: &[&str]) -> Result<String, Failure> {
    let value = value.ok_or_else(|| Configuration(format!("{name} is not set")))?;
    if known.contains(&value.as_str()) {
        return Ok(value);
    }
    Err(Configuration(format!("{name}={value}: want one of {}", known.join(", "))))
}

fn boolean(name: &str, value: Option<String>) -> Result<bool, Failure> {
    Ok(one_of(name, value, &["true", "false"])? == "true")
}

impl Config {
    fn from_env() -> Result<Self, Failure> {
        let unified = var("IS_DIALER").is_some() || var("is_dialer").is_none();
        let name = |unified_name, legacy_name| if unified { unified_name } else { legacy_name };
        let role = name("IS_DIALER", "is_dialer");
        let dialer = boolean(role, var(role))?;
        let transport = name("TRANSPORT", "transport");
        let transport = one_of(transport, var(transport), TRANSPORTS)?;
        let (mut secure_channel, mut muxer) = (None, None);
        if ["tcp", "ws", "wss"].contains(&transport.as_str()) {
            let variable = name("SECURE_CHANNEL", "security");
            secure_channel = Some(one_of(variable, var(variable), SECURE_CHANNELS)?);
            let variable = name("MUXER", "muxer");
            muxer = Some(one_of(variable, var(variable), MUXERS)?);
        }
        let variable = name("LISTENER_IP", "ip");
        let ip = var(variable).unwrap_or_else(|| "0.0.0.0".to_owned());
        let ip = ip.parse().map_err(|_| Configuration(format!("{variable}={ip}: not an IP address")))?;
        let variable = name("TEST_TIMEOUT_SECS", "test_timeout_seconds");
        let seconds = var(variable).unwrap_or_else(|| "180".to_owned());
        let timeout = match seconds.parse::<f64>() {
            Ok(s) if s > 0.0 && s < 1e6 => Duration::from_secs_f64(s),
            _ => return Err(Configuration(format!("{variable}={seconds}: not a number of seconds"))),
        };
        let key = match (unified, var("TEST_KEY")) {
            (false, _) => "listenerAddr".to_owned(),
            (true, Some(key)) => format!("{key}_listener_multiaddr"),
            (true, None) => return Err(Configuration("TEST_KEY is not set".to_owned())),
        };
        Ok(Config {
            unified,
            dialer,
            transport,
            secure_channel,
            muxer,
            ip,
            redis: var(name("REDIS_ADDR", "redis_addr")).unwrap_or_else(|| "redis:6379".to_owned()),
            key,
            timeout,
            debug: unified && var("DEBUG").as_deref() == Some("true"),
        })
    }

    fn listen_address(&self) -> Result<Multiaddr, Failure> {
        let ip = match self.ip {
            IpAddr::V4(ip) => format!("/ip4/{ip}"),
            IpAddr::V6(ip) => format!("/ip6/{ip}"),
        };
        let rest = match self.transport.as_str() {
            "quic-v1" => "/udp/0/quic-v1",
            "ws" => "/tcp/0/ws",
            _ => "/tcp/0",
        };
        format!("{ip}{rest}").parse().map_err(failed)
    }
}

type BoxedTransport = Boxed<(PeerId, StreamMuxerBox)>;

/// Upgrades a raw byte-stream transport with the secure channel and the muxer that were asked for.
macro_rules! upgrade {
    ($raw:expr, $key:expr, $secure_channel:expr, $muxer:expr) => {{
        let raw = $raw.upgrade(Version::V1Lazy);
        match ($secure_channel, $muxer) {
            (Some("noise"), Some("yamux")) => raw
                .authenticate(noise::Config::new($key).map_err(failed)?)
                .multiplex(yamux::Config::default())
                .boxed(),
            (Some("noise"), Some("mplex")) => raw
                .authenticate(noise::Config::new($key).map_err(failed)?)
                .multiplex(MplexConfig::default())
                .boxed(),
            (Some("tls"), Some("yamux")) => raw
                .authenticate(tls::Config::new($key).map_err(failed)?)
                .multiplex(yamux::Config::default())
                .boxed(),
            (Some("tls"), Some("mplex")) => raw
                .authenticate(tls::Config::new($key).map_err(failed)?)
                .multiplex(MplexConfig::default())
                .boxed(),
            (secure_channel, muxer) => {
                return Err(Unsupported(format!(
                    "no {}/{} in this peer",
                    secure_channel.unwrap_or("?"),
                    muxer.unwrap_or("?")
                )))
            }
        }
    }};
}

#[allow(deprecated)]
fn transport(config: &Config, key: &identity::Keypair) -> Result<BoxedTransport, Failure> {
    let secure_channel = config.secure_channel.as_deref();
    let muxer = config.muxer.as_deref();
    let tcp = || tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    Ok(match config.transport.as_str() {
        "quic-v1" => quic::tokio::Transport::new(quic::Config::new(key))
            .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)))
            .boxed(),
        "tcp" => upgrade!(tcp(), key, secure_channel, muxer),
        "ws" => upgrade!(websocket::WsConfig::new(tcp()), key, secure_channel, muxer),
        other => return Err(Unsupported(format!("no {other} in this peer"))),
    })
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    ping: ping::Behaviour,
    identify: identify::Behaviour,
}

/// Connects to Redis, trying again until the deadline: it may start after us.
async fn connect(config: &Config, deadline: Instant) -> Result<redis::Client, Failure> {
    loop {
        match timeout_at(deadline, redis::Client::connect(&config.redis)).await {
            Ok(Ok(client)) => return Ok(client),
            Ok(Err(error)) if Instant::now() + Duration::from_millis(200) >= deadline => {
                return Err(Failed(format!("redis at {}: {error}", config.redis)))
            }
            Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(_) => return Err(Failed(format!("redis at {}: no answer in time", config.redis))),
        }
    }
}

/// Waits for the listener's address, which is a list in one suite and a string in another.
async fn fetch(config: &Config, deadline: Instant) -> Result<String, Failure> {
    let mut client = connect(config, deadline).await?;
    while Instant::now() < deadline {
        let kind = client.command(&["TYPE", &config.key]).await.map_err(failed)?;
        let value = match kind.as_deref() {
            Some("list") => client.command(&["LPOP", &config.key]).await.map_err(failed)?,
            Some("string") => client.command(&["GET", &config.key]).await.map_err(failed)?,
            _ => None,
        };
        if let Some(value) = value {
            return Ok(value);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(Failed(format!("no listener address under {} in time", config.key)))
}

async fn publish(config: &Config, address: &str, deadline: Instant) -> Result<(), Failure> {
    let mut client = connect(config, deadline).await?;
    if config.unified {
        client.command(&["DEL", &config.key]).await.map_err(failed)?;
    }
    client.command(&["RPUSH", &config.key, address]).await.map_err(failed)?;
    Ok(())
}

async fn dial(config: &Config, swarm: &mut Swarm<Behaviour>, deadline: Instant) -> Result<(), Failure> {
    let address = fetch(config, deadline).await?;
    let address: Multiaddr =
        address.parse().map_err(|e| Failed(format!("the listener published {address}: {e}")))?;
    if config.debug {
        eprintln!("dialling {address}");
    }
    let start = Instant::now();
    swarm.dial(address).map_err(failed)?;
    let rtt = loop {
        let event = timeout_at(deadline, swarm.select_next_some())
            .await
            .map_err(|_| Failed("no ping in time".to_owned()))?;
        if config.debug {
            eprintln!("{event:?}");
        }
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { result: Ok(rtt), .. })) => break rtt,
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { result: Err(error), .. })) => {
                return Err(failed(error))
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => return Err(Failed(format!("{error:?}"))),
            SwarmEvent::ConnectionClosed { cause, .. } => {
                return Err(Failed(format!("the connection was closed: {cause:?}")))
            }
            _ => {}
        }
    };
    let total = start.elapsed().as_secs_f64() * 1e3;
    let rtt = rtt.as_secs_f64() * 1e3;
    if config.unified {
        println!("latency:\n  handshake_plus_one_rtt: {total:.3}\n  ping_rtt: {rtt:.3}\n  unit: ms");
    } else {
        println!("{{\"handshakePlusOneRTTMillis\": {total:.3}, \"pingRTTMilllis\": {rtt:.3}}}");
    }
    Ok(())
}

fn is_loopback(address: &Multiaddr) -> bool {
    use libp2p::multiaddr::Protocol;
    address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_loopback(),
        Protocol::Ip6(ip) => ip.is_loopback(),
        _ => false,
    })
}

async fn listen(config: &Config, swarm: &mut Swarm<Behaviour>, deadline: Instant) -> Result<(), Failure> {
    swarm.listen_on(config.listen_address()?).map_err(failed)?;
    // A wildcard bind reports one address per interface; loopback is published only if nothing
    // better shows up within this time.
    let mut loopback: Option<Multiaddr> = None;
    let mut settled = deadline;
    let address = loop {
        match timeout_at(settled, swarm.select_next_some()).await {
            Ok(SwarmEvent::NewListenAddr { address, .. }) => {
                if !config.ip.is_unspecified() || !is_loopback(&address) {
                    break address;
                }
                loopback = Some(address);
                settled = deadline.min(Instant::now() + Duration::from_millis(300));
            }
            Ok(SwarmEvent::ListenerClosed { reason, .. }) => {
                return Err(Failed(format!("cannot listen: {reason:?}")))
            }
            Ok(SwarmEvent::ListenerError { error, .. }) => return Err(failed(error)),
            Ok(_) => {}
            Err(_) => break loopback.ok_or_else(|| Failed("no listen address".to_owned()))?,
        }
    };
    let address = format!("{address}/p2p/{}", swarm.local_peer_id());
    if config.debug {
        eprintln!("listening on {address}");
    }
    publish(config, &address, deadline).await?;
    loop {
        tokio::select! {
            event = swarm.select_next_some() => if config.debug { eprintln!("{event:?}") },
            () = sleep_until(deadline) => return Err(Failed("nobody ended this listener in time".to_owned())),
        }
    }
}

async fn run() -> Result<(), Failure> {
    let config = Config::from_env()?;
    let deadline = Instant::now() + config.timeout;
    let key = identity::Keypair::generate_ed25519();
    let behaviour = Behaviour {
        ping: ping::Behaviour::new(ping::Config::new().with_interval(Duration::from_secs(1))),
        identify: identify::Behaviour::new(identify::Config::new(
            "/libp2p-lean-peer/1.0.0".to_owned(),
            key.public(),
        )),
    };
    let mut swarm = Swarm::new(
        transport(&config, &key)?,
        behaviour,
        key.public().to_peer_id(),
        libp2p::swarm::Config::with_tokio_executor().with_idle_connection_timeout(config.timeout),
    );
    if config.dialer {
        dial(&config, &mut swarm, deadline).await
    } else {
        listen(&config, &mut swarm, deadline).await
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let (text, code) = match run().await {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failed(text)) => (text, 1),
        Err(Configuration(text)) => (text, 2),
        Err(Unsupported(text)) => (text, 127),
    };
    eprintln!("{text}");
    ExitCode::from(code)
}
