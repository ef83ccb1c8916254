//! Identify and identify push on rust-libp2p, built on the published crates only, for
//! test/js-libp2p/identify-push.test.ts.
//!
//!     <listen multiaddr>
//!
//! Prints its address; then, whenever identify told it of a peer, by a push too, a line of JSON: the peer's id and its
//! protocols. A line on its stdin is an address that it has from then on, which it pushes to its peers. Ends with its
//! stdin. Exit codes: 0, 1 failed, 2 wrong arguments.

use std::{env, io::BufRead, process::ExitCode, thread, time::Duration};

use futures::{channel::mpsc, StreamExt};
use libp2p::{
    identify, ping,
    swarm::{NetworkBehaviour, SwarmEvent},
    Multiaddr, SwarmBuilder,
};

/// Connections are kept although no stream is open on them.
const IDLE: Duration = Duration::from_secs(600);

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

/// The lines of stdin; it ends with it.
fn lines() -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.unbounded_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn run(listen: Multiaddr) -> Result<(), Box<dyn std::error::Error>> {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_quic()
        .with_behaviour(|key| Behaviour {
            identify: identify::Behaviour::new(identify::Config::new("/libp2p-lean-identify/1".to_owned(), key.public())),
            ping: ping::Behaviour::default(),
        })?
        .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(IDLE))
        .build();
    swarm.listen_on(listen)?;
    let mut lines = lines();
    loop {
        tokio::select! {
            line = lines.next() => {
                let Some(line) = line else { return Ok(()) };
                swarm.add_external_address(line.parse()?);
                let peers: Vec<_> = swarm.connected_peers().copied().collect();
                swarm.behaviour_mut().identify.push(peers);
            }
            event = swarm.select_next_some() => match event {
                SwarmEvent::NewListenAddr { address, .. } => println!("{address}/p2p/{}", swarm.local_peer_id()),
                SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. })) => {
                    let protocols: Vec<_> = info.protocols.iter().map(|it| format!("{:?}", it.as_ref())).collect();
                    println!("{{\"peer\":\"{peer_id}\",\"protocols\":[{}]}}", protocols.join(","));
                }
                _ => {}
            }
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut words = env::args().skip(1);
    let (Some(Ok(listen)), None) = (words.next().map(|it| it.parse()), words.next()) else {
        eprintln!("usage: <listen multiaddr>");
        return ExitCode::from(2);
    };
    match run(listen).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
