//! An interop participant on rust-libp2p, built on the published crates only.
//!
//! It obeys both harness dialects (docs/peers.md): stdout carries the dialer's result and nothing
//! else. Exit codes: 0 result printed, 1 failed, 2 configuration wrong, 127 a combination that
//! exists in the matrix but not here.

mod participant;
mod redis;

use std::{process::ExitCode, time::Duration};

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
use participant::{failed, fetch, finish, publish, report, Config, Failed, Failure, Unsupported};
use tokio::time::{sleep_until, timeout_at, Instant};

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
    report(config, start.elapsed(), rtt);
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
    swarm.listen_on(config.listen_address().parse().map_err(failed)?).map_err(failed)?;
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
    finish(run()).await
}
