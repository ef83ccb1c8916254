//! An interop participant on litep2p, built on the published crate only.
//!
//! It obeys both harness dialects (docs/peers.md) with the code of the rust-libp2p peers.

#[path = "../rust-libp2p/participant.rs"]
mod participant;
#[path = "../rust-libp2p/redis.rs"]
mod redis;

use std::{net::UdpSocket, process::ExitCode, time::Duration};

use futures::StreamExt;
use litep2p::{
    config::ConfigBuilder,
    protocol::libp2p::{identify, ping},
    transport::{quic, tcp, websocket},
    Litep2p, Litep2pEvent,
};
use participant::{failed, fetch, finish, publish, report, Config, Failed, Failure, Unsupported};
use tokio::time::{sleep_until, timeout_at, Instant};

/// Adds the transport that was asked for. Over tcp and ws, litep2p has Noise and yamux only.
fn with_transport(config: &Config, builder: ConfigBuilder) -> Result<ConfigBuilder, Failure> {
    for (layer, only) in [(&config.secure_channel, "noise"), (&config.muxer, "yamux")] {
        if let Some(other) = layer.as_deref().filter(|name| *name != only) {
            return Err(Unsupported(format!("no {other} in this peer")));
        }
    }
    let listen_addresses = match config.dialer {
        true => Vec::new(),
        false => vec![config.listen_address().parse().map_err(failed)?],
    };
    Ok(match config.transport.as_str() {
        "quic-v1" => builder.with_quic(quic::config::Config { listen_addresses, ..Default::default() }),
        "tcp" => {
            builder.with_tcp(tcp::config::Config { listen_addresses, nodelay: true, ..Default::default() })
        }
        "ws" => builder.with_websocket(websocket::config::Config {
            listen_addresses,
            nodelay: true,
            ..Default::default()
        }),
        other => return Err(Unsupported(format!("no {other} in this peer"))),
    })
}

/// Puts an address of this machine where litep2p reports the wildcard it was bound to (its QUIC
/// does): the one that the default route leaves by, or loopback. Connecting UDP sends nothing.
fn reachable(address: &str) -> String {
    let outward = || {
        let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
        socket.connect("198.51.100.1:9").ok()?;
        socket.local_addr().ok()
    };
    let ip = outward().map_or("127.0.0.1".to_owned(), |a| a.ip().to_string());
    address.replacen("/ip4/0.0.0.0/", &format!("/ip4/{ip}/"), 1).replacen("/ip6/::/", "/ip6/::1/", 1)
}

async fn run() -> Result<(), Failure> {
    let config = Config::from_env()?;
    let deadline = Instant::now() + config.timeout;
    let (ping, mut pings) = ping::ConfigBuilder::new().with_ping_interval(Duration::from_secs(1)).build();
    let (identify, mut identified) =
        identify::Config::new("/ipfs/0.1.0".to_owned(), Some("libp2p-lean-peer/1.0.0".to_owned()));
    let builder = ConfigBuilder::new()
        .with_keep_alive_timeout(config.timeout)
        .with_libp2p_ping(ping)
        .with_libp2p_identify(identify);
    let mut node = Litep2p::new(with_transport(&config, builder)?.build()).map_err(failed)?;

    let mut start = Instant::now();
    if config.dialer {
        let address = fetch(&config, deadline).await?;
        if config.debug {
            eprintln!("dialling {address}");
        }
        let address =
            address.parse().map_err(|e| Failed(format!("the listener published {address}: {e}")))?;
        start = Instant::now();
        timeout_at(deadline, node.dial_address(address)).await.map_err(failed)?.map_err(failed)?;
    } else {
        // A wildcard bind reports one address per interface; loopback only if there is no other.
        let addresses: Vec<String> = node.listen_addresses().map(ToString::to_string).collect();
        let loopback = |a: &&String| a.starts_with("/ip4/127.") || a.starts_with("/ip6/::1/");
        let address = addresses.iter().find(|a| !loopback(a)).or(addresses.first());
        let address = reachable(address.ok_or_else(|| Failed("no listen address".to_owned()))?);
        if config.debug {
            eprintln!("listening on {address}");
        }
        publish(&config, &address, deadline).await?;
    }
    // Both event streams must be read, or their protocols stall.
    loop {
        tokio::select! {
            Some(ping::PingEvent::Ping { ping, .. }) = pings.next() => {
                if config.dialer {
                    report(&config, start.elapsed(), ping);
                    return Ok(());
                }
            }
            Some(event) = identified.next() => if config.debug { eprintln!("{event:?}") },
            Some(event) = node.next_event() => match event {
                Litep2pEvent::DialFailure { error, .. } => return Err(Failed(format!("{error:?}"))),
                Litep2pEvent::ListDialFailures { errors } => return Err(Failed(format!("{errors:?}"))),
                Litep2pEvent::ConnectionClosed { .. } if config.dialer => {
                    return Err(Failed("the connection was closed".to_owned()))
                }
                event => if config.debug { eprintln!("{event:?}") },
            },
            () = sleep_until(deadline) => return Err(Failed(match config.dialer {
                true => "no ping in time".to_owned(),
                false => "nobody ended this listener in time".to_owned(),
            })),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    finish(run()).await
}
