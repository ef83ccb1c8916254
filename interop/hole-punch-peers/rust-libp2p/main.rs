//! A hole-punch participant on rust-libp2p, built on the published crates only: dialer, listener or relay,
//! by the contract of unified-testing's hole-punch suite (docs/nat.md). stdout carries the dialer's
//! result and nothing else. Exit codes: 0 result printed, 1 failed, 2 configuration wrong, 127 a
//! combination that exists in the suite but not here.

use std::{env, process::ExitCode, time::Duration};

use futures::StreamExt;
use libp2p::{
    dcutr, identify,
    multiaddr::Protocol,
    noise, ping, relay,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux, Multiaddr, PeerId, Swarm, SwarmBuilder,
};
use tokio::time::{sleep, sleep_until, timeout_at, Instant};

#[path = "../../peers/rust-libp2p/redis.rs"]
mod redis;

/// Connections are kept although no stream of ours is open on them.
const IDLE: Duration = Duration::from_secs(60);
/// Wait between two looks into Redis, or two attempts to reach it.
const POLL: Duration = Duration::from_millis(50);

/// What ends the process, and with which exit code.
enum Failure {
    /// 1
    Failed(String),
    /// 2
    Configuration(String),
    /// 127
    Unsupported(String),
}
use Failure::{Configuration, Failed, Unsupported};

fn failed(error: impl std::fmt::Display) -> Failure {
    Failed(error.to_string())
}

#[derive(PartialEq)]
enum Role {
    Dialer,
    Listener,
    Relay,
}

struct Config {
    role: Role,
    quic: bool,
    ip: String,
    redis: String,
    key: String,
    deadline: Instant,
    /// After that long on a relayed connection the dialer reports that; without it, it waits to the end.
    punch_timeout: Option<Duration>,
    /// How long a relay's reservations last, unless as by default.
    reservation: Option<Duration>,
    debug: bool,
}

/// A variable's value; unset, empty and `null` are the same.
fn var(name: &str) -> Option<String> {
    env::var(name).ok().map(|v| v.trim().to_owned()).filter(|v| !v.is_empty() && v != "null")
}

fn seconds(name: &str) -> Result<Option<Duration>, Failure> {
    let Some(value) = var(name) else { return Ok(None) };
    match value.parse::<f64>() {
        Ok(s) if s > 0.0 && s < 1e6 => Ok(Some(Duration::from_secs_f64(s))),
        _ => Err(Configuration(format!("{name}={value}: not a number of seconds"))),
    }
}

impl Config {
    fn from_env() -> Result<Self, Failure> {
        let role = match (var("IS_RELAY").as_deref(), var("IS_DIALER").as_deref()) {
            (Some("true"), _) => Role::Relay,
            (_, Some("true")) => Role::Dialer,
            (_, Some("false")) => Role::Listener,
            (None, None) if var("RELAY_IP").is_some() => Role::Relay,
            _ => return Err(Configuration("IS_DIALER must be true or false".to_owned())),
        };
        let combination = ["TRANSPORT", "SECURE_CHANNEL", "MUXER"].map(var);
        let quic = match combination.each_ref().map(|part| part.as_deref()) {
            [None, ..] => return Err(Configuration("TRANSPORT is not set".to_owned())),
            [Some("quic-v1"), ..] => true,
            [Some("tcp"), Some("noise"), Some("yamux")] => false,
            _ => return Err(Unsupported(format!("no {combination:?} in this peer"))),
        };
        let ip = match role {
            Role::Dialer => "DIALER_IP",
            Role::Listener => "LISTENER_IP",
            Role::Relay => "RELAY_IP",
        };
        let need = |name| var(name).ok_or_else(|| Configuration(format!("{name} is not set")));
        Ok(Config {
            role,
            quic,
            ip: var(ip).unwrap_or_else(|| "0.0.0.0".to_owned()),
            redis: need("REDIS_ADDR")?,
            key: need("TEST_KEY")?,
            deadline: Instant::now() + seconds("TEST_TIMEOUT_SECS")?.unwrap_or(Duration::from_secs(180)),
            punch_timeout: seconds("PUNCH_TIMEOUT_SECS")?,
            reservation: seconds("RESERVATION_SECS")?,
            debug: var("DEBUG").as_deref() == Some("true"),
        })
    }

    fn listen_address(&self) -> Result<Multiaddr, Failure> {
        let rest = if self.quic { "udp/0/quic-v1" } else { "tcp/0" };
        let text = format!("/ip4/{}/{rest}", self.ip);
        text.parse().map_err(|_| Configuration(format!("{}: not an IPv4 address", self.ip)))
    }

    fn log(&self, what: impl std::fmt::Debug) {
        if self.debug {
            eprintln!("{what:?}");
        }
    }
}

/// One command, tried again while Redis is not there yet.
async fn command(config: &Config, words: &[&str]) -> Result<Option<String>, Failure> {
    let late = || Failed(format!("redis at {}: no answer to {} {} in time", config.redis, words[0], words[1]));
    loop {
        let attempt = async { redis::Client::connect(&config.redis).await?.command(words).await };
        match timeout_at(config.deadline, attempt).await {
            Ok(Ok(reply)) => return Ok(reply),
            Err(_) => return Err(late()),
            Ok(Err(error)) if Instant::now() + POLL > config.deadline => return Err(failed(error)),
            Ok(Err(_)) => sleep(POLL).await,
        }
    }
}

async fn fetch(config: &Config, name: &str) -> Result<String, Failure> {
    let key = format!("{}_{name}", config.key);
    while Instant::now() < config.deadline {
        if let Some(value) = command(config, &["GET", &key]).await? {
            return Ok(value);
        }
        sleep(POLL).await;
    }
    Err(Failed(format!("nothing under {key} in time")))
}

async fn publish(config: &Config, name: &str, value: &str) -> Result<(), Failure> {
    command(config, &["SET", &format!("{}_{name}", config.key), value]).await.map(drop)
}

#[derive(NetworkBehaviour)]
struct PeerBehaviour {
    relay: relay::client::Behaviour,
    ping: ping::Behaviour,
    identify: identify::Behaviour,
    dcutr: dcutr::Behaviour,
}

#[derive(NetworkBehaviour)]
struct RelayBehaviour {
    relay: relay::Behaviour,
    ping: ping::Behaviour,
    identify: identify::Behaviour,
}

fn identify_of(key: &libp2p::identity::Keypair) -> identify::Behaviour {
    identify::Behaviour::new(identify::Config::new("/libp2p-lean-hole-punch/1".to_owned(), key.public()))
}

macro_rules! finish {
    ($builder:expr, $behaviour:expr) => {
        $builder
            .with_behaviour($behaviour)
            .map_err(failed)?
            .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(IDLE))
            .build()
    };
}

fn peer_swarm(config: &Config) -> Result<Swarm<PeerBehaviour>, Failure> {
    let behaviour = |key: &libp2p::identity::Keypair, relay| PeerBehaviour {
        relay,
        ping: ping::Behaviour::default(),
        identify: identify_of(key),
        dcutr: dcutr::Behaviour::new(key.public().to_peer_id()),
    };
    let builder = SwarmBuilder::with_new_identity().with_tokio();
    Ok(if config.quic {
        let builder = builder.with_quic();
        finish!(builder.with_relay_client(noise::Config::new, yamux::Config::default).map_err(failed)?, behaviour)
    } else {
        let builder = builder.with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default);
        let builder = builder.map_err(failed)?;
        finish!(builder.with_relay_client(noise::Config::new, yamux::Config::default).map_err(failed)?, behaviour)
    })
}

fn relay_swarm(config: &Config) -> Result<Swarm<RelayBehaviour>, Failure> {
    let mut limits = relay::Config::default();
    limits.reservation_duration = config.reservation.unwrap_or(limits.reservation_duration);
    let behaviour = |key: &libp2p::identity::Keypair| RelayBehaviour {
        relay: relay::Behaviour::new(key.public().to_peer_id(), limits),
        ping: ping::Behaviour::default(),
        identify: identify_of(key),
    };
    let builder = SwarmBuilder::with_new_identity().with_tokio();
    Ok(if config.quic {
        finish!(builder.with_quic(), behaviour)
    } else {
        let builder = builder.with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default);
        finish!(builder.map_err(failed)?, behaviour)
    })
}

/// Resolves with the first address that is not of the loopback interface.
async fn listen<B: NetworkBehaviour>(config: &Config, swarm: &mut Swarm<B>) -> Result<Multiaddr, Failure> {
    swarm.listen_on(config.listen_address()?).map_err(failed)?;
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            let loopback = address.iter().any(|part| matches!(part, Protocol::Ip4(ip) if ip.is_loopback()));
            if !loopback {
                return Ok(address);
            }
        }
    }
}

async fn run_relay(config: &Config) -> Result<(), Failure> {
    let mut swarm = relay_swarm(config)?;
    let address = listen(config, &mut swarm).await?;
    // Reservations name the relay's external addresses.
    swarm.add_external_address(address.clone());
    let full = address.with(Protocol::P2p(*swarm.local_peer_id()));
    publish(config, "relay_multiaddr", &full.to_string()).await?;
    loop {
        config.log(swarm.select_next_some().await);
    }
}

/// Connects to the relay; resolves once both sides know each other, and so our address as it is seen.
async fn join(config: &Config, swarm: &mut Swarm<PeerBehaviour>, relay: &Multiaddr) -> Result<(), Failure> {
    swarm.dial(relay.clone()).map_err(failed)?;
    let (mut sent, mut received) = (false, false);
    while !(sent && received) {
        match swarm.select_next_some().await {
            SwarmEvent::OutgoingConnectionError { error, .. } => {
                return Err(Failed(format!("dialling the relay: {error}")))
            }
            SwarmEvent::Behaviour(PeerBehaviourEvent::Identify(identify::Event::Sent { .. })) => sent = true,
            SwarmEvent::Behaviour(PeerBehaviourEvent::Identify(identify::Event::Received { .. })) => received = true,
            other => config.log(other),
        }
    }
    Ok(())
}

async fn run_listener(config: &Config) -> Result<(), Failure> {
    let mut swarm = peer_swarm(config)?;
    listen(config, &mut swarm).await?;
    let relay = multiaddr(&fetch(config, "relay_multiaddr").await?)?;
    join(config, &mut swarm, &relay).await?;
    swarm.listen_on(relay.with(Protocol::P2pCircuit)).map_err(failed)?;
    let own = swarm.local_peer_id().to_string();
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(PeerBehaviourEvent::Relay(relay::client::Event::ReservationReqAccepted {
                renewal: false,
                ..
            })) => publish(config, "listener_peer_id", &own).await?,
            SwarmEvent::ListenerClosed { reason: Err(error), .. } => {
                return Err(Failed(format!("no reservation: {error}")))
            }
            other => config.log(other),
        }
    }
}

fn multiaddr(text: &str) -> Result<Multiaddr, Failure> {
    text.parse().map_err(|_| Failed(format!("redis held {text}, which is not a multiaddr")))
}

async fn run_dialer(config: &Config) -> Result<(), Failure> {
    let mut swarm = peer_swarm(config)?;
    listen(config, &mut swarm).await?;
    let relay = multiaddr(&fetch(config, "relay_multiaddr").await?)?;
    join(config, &mut swarm, &relay).await?;
    // The relay's connection must be served while Redis is asked.
    let listener = {
        let asking = fetch(config, "listener_peer_id");
        tokio::pin!(asking);
        loop {
            tokio::select! {
                found = &mut asking => break found?,
                event = swarm.select_next_some() => config.log(event),
            }
        }
    };
    let listener: PeerId = listener.parse().map_err(|_| Failed(format!("redis held {listener}, which is not a peer id")))?;

    let start = Instant::now();
    swarm.dial(relay.with(Protocol::P2pCircuit).with(Protocol::P2p(listener))).map_err(failed)?;
    let (mut relayed, mut direct, mut relayed_rtt) = (None, None, None);
    loop {
        let patience = match (relayed, config.punch_timeout) {
            (Some((_, at)), Some(timeout)) => at + timeout,
            _ => config.deadline,
        };
        tokio::select! {
            () = sleep_until(patience), if direct.is_none() && (relayed_rtt.is_some() || relayed.is_none()) => {
                let (Some((_, at)), Some(rtt)) = (relayed, relayed_rtt) else {
                    return Err(Failed("no relayed connection in time".to_owned()));
                };
                if config.punch_timeout.is_none() {
                    return Err(Failed("no direct connection in time".to_owned()));
                }
                report(config, start, at, None, rtt);
                return Ok(());
            }
            event = swarm.select_next_some() => match event {
                SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } if peer_id == listener => {
                    let seen = (connection_id, Instant::now());
                    if endpoint.is_relayed() {
                        relayed.get_or_insert(seen);
                    } else {
                        direct.get_or_insert(seen);
                    }
                }
                SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. } if peer == listener && relayed.is_none() => {
                    return Err(Failed(format!("dialling through the relay: {error}")));
                }
                SwarmEvent::Behaviour(PeerBehaviourEvent::Ping(ping::Event { connection, result: Ok(rtt), .. })) => {
                    if let (Some((id, at)), Some((_, before))) = (direct, relayed) {
                        if id == connection {
                            report(config, start, before, Some(at), rtt);
                            return Ok(());
                        }
                    }
                    if relayed.is_some_and(|(id, _)| id == connection) {
                        relayed_rtt = Some(rtt);
                    }
                }
                other => config.log(other),
            }
        }
    }
}

/// Prints the result; with PUNCH_TIMEOUT_SECS also what became of the relayed connection.
fn report(config: &Config, start: Instant, relayed: Instant, direct: Option<Instant>, rtt: Duration) {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let total = ms(direct.unwrap_or(relayed) - start + rtt);
    println!("latency:\n  handshake_plus_one_rtt: {total:.3}\n  ping_rtt: {:.3}\n  unit: ms", ms(rtt));
    if config.punch_timeout.is_some() {
        let outcome = if direct.is_some() { "direct" } else { "relayed" };
        println!("hole_punch:\n  connection: {outcome}\n  relayed_after: {:.3}", ms(relayed - start));
        if let Some(direct) = direct {
            println!("  relayed_to_direct: {:.3}", ms(direct.saturating_duration_since(relayed)));
        }
    }
}

async fn run() -> Result<(), Failure> {
    let config = Config::from_env()?;
    let work = async {
        match config.role {
            Role::Dialer => run_dialer(&config).await,
            Role::Listener => run_listener(&config).await,
            Role::Relay => run_relay(&config).await,
        }
    };
    timeout_at(config.deadline, work).await.map_err(|_| Failed("the test is over".to_owned()))?
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
