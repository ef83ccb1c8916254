//! A participant of unified-testing's kad-dht suite on rust-libp2p, built on the published crates only.
//!
//! ROLE says what it does (docs/peers.md): a bootstrap publishes its address, a provider announces
//! itself and stores a value, a querier finds both. stdout carries the querier's result and nothing
//! else. Exit codes: 0 found, 1 failed, 2 configuration wrong, 127 a transport it does not have.

#[path = "../../peers/rust-libp2p/redis.rs"]
mod redis;

use std::{env, net::Ipv4Addr, process::ExitCode, time::Duration};

use futures::StreamExt;
use libp2p::{
    identify, identity,
    kad::{self, store::MemoryStore, GetProvidersOk, GetRecordOk, Mode, QueryId, QueryResult, Quorum, Record, RecordKey},
    multiaddr::Protocol,
    noise, ping,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux, Multiaddr, PeerId, Swarm, SwarmBuilder,
};
use tokio::time::{sleep, sleep_until, timeout_at, Instant};

/// How often a querier asks, and how long it waits in between.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

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

/// A variable's value; unset, empty and `null` are the same.
fn var(name: &str) -> Option<String> {
    env::var(name).ok().map(|v| v.trim().to_owned()).filter(|v| !v.is_empty() && v != "null")
}

fn one_of(name: &str, value: String, known: &[&str]) -> Result<String, Failure> {
    if known.contains(&value.as_str()) {
        return Ok(value);
    }
    Err(Configuration(format!("{name}={value}: want one of {}", known.join(", "))))
}

struct Config {
    role: String,
    transport: String,
    ip: Option<Ipv4Addr>,
    redis: String,
    test_key: String,
    timeout: Duration,
    debug: bool,
}

impl Config {
    fn from_env() -> Result<Self, Failure> {
        let role =
            one_of("ROLE", var("ROLE").unwrap_or_default(), &["bootstrap", "provider", "querier"])?;
        let transport = var("TRANSPORT").unwrap_or_else(|| "tcp".to_owned());
        let transport = one_of("TRANSPORT", transport, &["tcp", "quic-v1", "ws", "wss"])?;
        let test_key = var("TEST_KEY").ok_or_else(|| Configuration("TEST_KEY is not set".to_owned()))?;
        let ip = match var("LISTENER_IP") {
            None => None,
            Some(ip) => Some(ip.parse().map_err(|_| {
                Configuration(format!("LISTENER_IP={ip}: not an IPv4 address"))
            })?),
        };
        let seconds = var("TEST_TIMEOUT_SECS").unwrap_or_else(|| "180".to_owned());
        let timeout = match seconds.parse::<f64>() {
            Ok(s) if s > 0.0 && s < 1e6 => Duration::from_secs_f64(s),
            _ => return Err(Configuration(format!("TEST_TIMEOUT_SECS={seconds}: not a number of seconds"))),
        };
        if transport != "tcp" && transport != "quic-v1" {
            return Err(Unsupported(format!("no {transport} in this peer")));
        }
        Ok(Self {
            role,
            transport,
            ip,
            redis: var("REDIS_ADDR").unwrap_or_else(|| "redis:6379".to_owned()),
            test_key,
            timeout,
            debug: var("DEBUG").as_deref() == Some("true"),
        })
    }

    /// The suite's keys are plain text, also where a multihash belongs.
    fn provider_key(&self) -> RecordKey {
        RecordKey::new(&format!("interop-test-key-{}", self.test_key))
    }

    fn value_key(&self) -> RecordKey {
        RecordKey::new(&format!("/example/data/{}", self.test_key))
    }
}

/// Connects to Redis, trying again until the deadline: it may start after us.
async fn connect(config: &Config, deadline: Instant) -> Result<redis::Client, Failure> {
    loop {
        match timeout_at(deadline, redis::Client::connect(&config.redis)).await {
            Ok(Ok(client)) => return Ok(client),
            Ok(Err(error)) if Instant::now() + Duration::from_millis(200) >= deadline => {
                return Err(Failed(format!("redis at {}: {error}", config.redis)))
            }
            Ok(Err(_)) => sleep(Duration::from_millis(100)).await,
            Err(_) => return Err(Failed(format!("redis at {}: no answer in time", config.redis))),
        }
    }
}

/// Waits for the value under a key, a list or a string.
async fn fetch(config: &Config, key: &str, deadline: Instant) -> Result<String, Failure> {
    let mut client = connect(config, deadline).await?;
    while Instant::now() < deadline {
        let value = match client.command(&["TYPE", key]).await.map_err(failed)?.as_deref() {
            Some("list") => client.command(&["LINDEX", key, "0"]).await.map_err(failed)?,
            Some("string") => client.command(&["GET", key]).await.map_err(failed)?,
            _ => None,
        };
        if let Some(value) = value {
            return Ok(value);
        }
        sleep(Duration::from_millis(20)).await;
    }
    Err(Failed(format!("nothing under {key} in time")))
}

async fn set(config: &Config, key: &str, value: &str, deadline: Instant) -> Result<(), Failure> {
    let mut client = connect(config, deadline).await?;
    client.command(&["SET", key, value]).await.map_err(failed)?;
    Ok(())
}

/// This machine's address on the way to Redis, where the other participants are, too.
async fn own_ip(config: &Config) -> Result<Ipv4Addr, Failure> {
    if let Some(ip) = config.ip {
        return Ok(ip);
    }
    let socket = tokio::net::UdpSocket::bind("0.0.0.0:0").await.map_err(failed)?;
    let redis = config.redis.strip_prefix("redis://").unwrap_or(&config.redis);
    socket.connect(redis.trim_end_matches('/')).await.map_err(failed)?;
    match socket.local_addr().map_err(failed)?.ip() {
        std::net::IpAddr::V4(ip) => Ok(ip),
        ip => Err(Failed(format!("{ip} is not an IPv4 address"))),
    }
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    kademlia: kad::Behaviour<MemoryStore>,
    /// js-libp2p takes nobody into its routing table who does not answer pings.
    ping: ping::Behaviour,
}

fn new_swarm(config: &Config) -> Result<Swarm<Behaviour>, Failure> {
    let behaviour = |key: &identity::Keypair| {
        let peer = key.public().to_peer_id();
        let mut kademlia = kad::Config::new(libp2p::StreamProtocol::new("/ipfs/kad/1.0.0"));
        kademlia.set_query_timeout(QUERY_TIMEOUT);
        let mut kademlia = kad::Behaviour::with_config(peer, MemoryStore::new(peer), kademlia);
        kademlia.set_mode(Some(if config.role == "querier" { Mode::Client } else { Mode::Server }));
        let identify = identify::Config::new("/libp2p-lean-peer/1.0.0".to_owned(), key.public());
        Behaviour { identify: identify::Behaviour::new(identify), kademlia, ping: Default::default() }
    };
    let timeout = config.timeout;
    let builder = SwarmBuilder::with_new_identity().with_tokio();
    Ok(if config.transport == "tcp" {
        let nodelay = tcp::Config::default().nodelay(true);
        builder
            .with_tcp(nodelay, noise::Config::new, yamux::Config::default)
            .map_err(failed)?
            .with_behaviour(behaviour)
            .map_err(failed)?
            .with_swarm_config(|c| c.with_idle_connection_timeout(timeout))
            .build()
    } else {
        builder
            .with_quic()
            .with_behaviour(behaviour)
            .map_err(failed)?
            .with_swarm_config(|c| c.with_idle_connection_timeout(timeout))
            .build()
    })
}

/// Next event of the swarm, or the failure that the time is up.
async fn next(
    config: &Config,
    swarm: &mut Swarm<Behaviour>,
    deadline: Instant,
    what: &str,
) -> Result<SwarmEvent<BehaviourEvent>, Failure> {
    let event = timeout_at(deadline, swarm.select_next_some())
        .await
        .map_err(|_| Failed(format!("{what} in time")))?;
    if config.debug {
        eprintln!("{event:?}");
    }
    Ok(event)
}

async fn listen(
    config: &Config,
    swarm: &mut Swarm<Behaviour>,
    deadline: Instant,
) -> Result<Multiaddr, Failure> {
    let ip = own_ip(config).await?;
    let rest = if config.transport == "tcp" { "tcp/0" } else { "udp/0/quic-v1" };
    swarm.listen_on(format!("/ip4/{ip}/{rest}").parse().map_err(failed)?).map_err(failed)?;
    loop {
        match next(config, swarm, deadline, "no listen address").await? {
            SwarmEvent::NewListenAddr { address, .. } => {
                // Provider records carry external addresses only.
                swarm.add_external_address(address.clone());
                return Ok(address);
            }
            SwarmEvent::ListenerClosed { reason, .. } => {
                return Err(Failed(format!("cannot listen: {reason:?}")))
            }
            SwarmEvent::ListenerError { error, .. } => return Err(failed(error)),
            _ => {}
        }
    }
}

/// Dials the bootstrap and waits until identify has told what it can do.
async fn join(config: &Config, swarm: &mut Swarm<Behaviour>, deadline: Instant) -> Result<(), Failure> {
    let text = fetch(config, &format!("{}_bootstrap_addr", config.test_key), deadline).await?;
    let mut address: Multiaddr =
        text.parse().map_err(|e| Failed(format!("the bootstrap published {text}: {e}")))?;
    let Some(Protocol::P2p(bootstrap)) = address.pop() else {
        return Err(Failed(format!("the bootstrap published {text}, without a peer id")));
    };
    swarm.behaviour_mut().kademlia.add_address(&bootstrap, address);
    swarm.dial(bootstrap).map_err(failed)?;
    loop {
        match next(config, swarm, deadline, "the bootstrap did not identify itself").await? {
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { peer_id, .. }))
                if peer_id == bootstrap => return Ok(()),
            SwarmEvent::OutgoingConnectionError { peer_id, error, .. } if peer_id == Some(bootstrap) => {
                return Err(Failed(format!("{error:?}")))
            }
            _ => {}
        }
    }
}

/// Drives a query; `take` gets each result and ends it by saying how it went.
async fn drive<T>(
    config: &Config,
    swarm: &mut Swarm<Behaviour>,
    deadline: Instant,
    query: QueryId,
    mut take: impl FnMut(QueryResult) -> Option<T>,
) -> Result<Option<T>, Failure> {
    loop {
        let event = next(config, swarm, deadline, "the query did not end").await?;
        if let SwarmEvent::Behaviour(BehaviourEvent::Kademlia(kad::Event::OutboundQueryProgressed {
            id, result, step, ..
        })) = event
        {
            if id != query {
                continue;
            }
            if let Some(taken) = take(result) {
                return Ok(Some(taken));
            }
            if step.last {
                return Ok(None);
            }
        }
    }
}

async fn provide(config: &Config, swarm: &mut Swarm<Behaviour>, deadline: Instant) -> Result<(), Failure> {
    let query = swarm.behaviour_mut().kademlia.start_providing(config.provider_key()).map_err(failed)?;
    drive(config, swarm, deadline, query, |result| match result {
        QueryResult::StartProviding(result) => Some(result.map_err(failed)),
        _ => None,
    })
    .await?
    .unwrap_or_else(|| Err(Failed("could not announce the provider".to_owned())))?;
    let record = Record::new(config.value_key(), b"hello from rust client".to_vec());
    let query = swarm.behaviour_mut().kademlia.put_record(record, Quorum::One).map_err(failed)?;
    drive(config, swarm, deadline, query, |result| match result {
        QueryResult::PutRecord(result) => Some(result.map(drop).map_err(failed)),
        _ => None,
    })
    .await?
    .unwrap_or_else(|| Err(Failed("could not put the value".to_owned())))?;
    set(config, &format!("{}_provider_done", config.test_key), "done", deadline).await
}

async fn find_provider(
    config: &Config,
    swarm: &mut Swarm<Behaviour>,
    deadline: Instant,
) -> Result<Option<PeerId>, Failure> {
    let query = swarm.behaviour_mut().kademlia.get_providers(config.provider_key());
    drive(config, swarm, deadline, query, |result| match result {
        QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })) => {
            providers.into_iter().next()
        }
        _ => None,
    })
    .await
}

async fn find_value(
    config: &Config,
    swarm: &mut Swarm<Behaviour>,
    deadline: Instant,
) -> Result<Option<Vec<u8>>, Failure> {
    let query = swarm.behaviour_mut().kademlia.get_record(config.value_key());
    drive(config, swarm, deadline, query, |result| match result {
        QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(found))) => Some(found.record.value),
        _ => None,
    })
    .await
}

async fn query(config: &Config, swarm: &mut Swarm<Behaviour>, deadline: Instant) -> Result<(), Failure> {
    let mut attempt = 1;
    while find_provider(config, swarm, deadline).await?.is_none() {
        if attempt == ATTEMPTS {
            return Err(Failed("no provider was found".to_owned()));
        }
        attempt += 1;
        sleep(PAUSE).await;
    }
    let mut attempt = 1;
    loop {
        if let Some(value) = find_value(config, swarm, deadline).await? {
            let value = String::from_utf8_lossy(&value);
            if value.contains("hello from") {
                return Ok(());
            }
            return Err(Failed(format!("the value is {value:?}")));
        }
        if attempt == ATTEMPTS {
            return Err(Failed("no value was found".to_owned()));
        }
        attempt += 1;
        sleep(PAUSE).await;
    }
}

async fn stay(config: &Config, swarm: &mut Swarm<Behaviour>, deadline: Instant) -> Result<(), Failure> {
    loop {
        tokio::select! {
            event = swarm.select_next_some() => if config.debug { eprintln!("{event:?}") },
            () = sleep_until(deadline) => return Err(Failed("nobody ended this participant in time".to_owned())),
        }
    }
}

async fn run(config: &Config) -> Result<(), Failure> {
    let deadline = Instant::now() + config.timeout;
    let mut swarm = new_swarm(config)?;
    // Redis may start after us; the address on the way to it is known without it.
    let address = listen(config, &mut swarm, deadline).await?;
    match config.role.as_str() {
        "bootstrap" => {
            let address = format!("{address}/p2p/{}", swarm.local_peer_id());
            let key = format!("{}_bootstrap_addr", config.test_key);
            set(config, &key, &address, deadline).await?;
            stay(config, &mut swarm, deadline).await
        }
        "provider" => {
            join(config, &mut swarm, deadline).await?;
            provide(config, &mut swarm, deadline).await?;
            stay(config, &mut swarm, deadline).await
        }
        _ => {
            fetch(config, &format!("{}_provider_done", config.test_key), deadline).await?;
            join(config, &mut swarm, deadline).await?;
            query(config, &mut swarm, deadline).await
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::from_env();
    let outcome = match &config {
        Ok(config) => run(config).await,
        Err(_) => Ok(()),
    };
    let (config, outcome) = match config {
        Ok(config) => (Some(config), outcome),
        Err(failure) => (None, Err(failure)),
    };
    let (text, code) = match outcome {
        Ok(()) => {
            println!("status: pass");
            return ExitCode::SUCCESS;
        }
        Err(Failed(text)) => (text, 1),
        Err(Configuration(text)) => (text, 2),
        Err(Unsupported(text)) => (text, 127),
    };
    if config.is_some_and(|config| config.role == "querier") {
        println!("error: {}\nstatus: fail", text.replace('\n', " "));
    }
    eprintln!("{text}");
    ExitCode::from(code)
}
