//! A node of test-plans' gossipsub-interop on rust-libp2p, built on the published crates only: does what its
//! params file says and logs every message that it receives, duplicates too, as JSON.
//!
//! It listens on tcp and quic-v1, and dials others over the one that --transport names. Partial messages,
//! which no published libp2p has, end it.

use std::{
    net::ToSocketAddrs,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::StreamExt;
use libp2p::{
    gossipsub::{
        self, Behaviour as Gossipsub, ConfigBuilder, DataTransform, IdentTopic, Message,
        MessageAuthenticity, MessageId, RawMessage, TopicHash, ValidationMode,
    },
    identify, identity, noise,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux, Multiaddr, PeerId, Swarm, SwarmBuilder,
};
use serde::Deserialize;
use tokio::time::{sleep_until, Instant};

const PORT: u16 = 9000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const CONNECT_PAUSE: Duration = Duration::from_millis(200);
const MAX_MESSAGE: usize = 10 << 20;

/// The parameters of go-libp2p-pubsub that this peer takes; durations are nanoseconds.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Params {
    #[serde(rename = "D")]
    d: Option<usize>,
    dlo: Option<usize>,
    dhi: Option<usize>,
    dout: Option<usize>,
    dlazy: Option<usize>,
    gossip_factor: Option<f64>,
    history_length: Option<usize>,
    history_gossip: Option<usize>,
    heartbeat_initial_delay: Option<f64>,
    heartbeat_interval: Option<f64>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Instruction {
    InitGossipSub {
        #[serde(rename = "gossipSubParams")]
        params: Params,
    },
    Connect {
        connect_to: Vec<u64>,
    },
    #[serde(rename = "ifNodeIDEquals")]
    IfNodeIdEquals {
        #[serde(rename = "nodeID")]
        node_id: u64,
        instruction: Box<Instruction>,
    },
    WaitUntil {
        elapsed_seconds: f64,
    },
    Publish {
        #[serde(rename = "messageID")]
        message_id: u64,
        message_size_bytes: usize,
        #[serde(rename = "topicID")]
        topic: String,
    },
    SubscribeToTopic {
        #[serde(rename = "topicID")]
        topic: String,
        #[serde(default)]
        partial: bool,
    },
}

#[derive(Deserialize)]
struct Experiment {
    script: Vec<Instruction>,
}

/// One line of JSON on stdout, with the time as RFC 3339 has it.
fn event(msg: &str, fields: &[(&str, serde_json::Value)]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (now.as_secs() / 86_400, now.as_secs() % 86_400);
    // Days since 1970 to a date: Howard Hinnant's civil_from_days.
    let z = days as i64 + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let time = format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        now.subsec_micros()
    );
    let mut line = serde_json::Map::new();
    line.insert("time".into(), time.into());
    line.insert("level".into(), "INFO".into());
    line.insert("msg".into(), msg.into());
    for (name, value) in fields {
        line.insert((*name).into(), value.clone());
    }
    println!("{}", serde_json::Value::Object(line));
}

/// Logs what arrives, before duplicates are dropped.
#[derive(Clone, Default)]
struct Received;

fn id_of(data: &[u8]) -> u64 {
    data.get(..8).and_then(|first| first.try_into().ok()).map_or(0, u64::from_be_bytes)
}

impl DataTransform for Received {
    fn inbound_transform(&self, raw: RawMessage) -> Result<Message, std::io::Error> {
        event(
            "Received Message",
            &[
                ("service", "gossipsub".into()),
                ("topic", raw.topic.as_str().into()),
                ("id", id_of(&raw.data).to_string().into()),
            ],
        );
        Ok(Message {
            source: raw.source,
            data: raw.data,
            sequence_number: raw.sequence_number,
            topic: raw.topic,
        })
    }

    fn outbound_transform(&self, _: &TopicHash, data: Vec<u8>) -> Result<Vec<u8>, std::io::Error> {
        Ok(data)
    }
}

type Pubsub = Gossipsub<Received, gossipsub::AllowAllSubscriptionFilter>;

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    pubsub: Pubsub,
}

type Failure = Box<dyn std::error::Error>;

/// The key of a node: its number, little-endian, as the seed.
fn node_key(id: u64) -> Result<identity::Keypair, Failure> {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&id.to_le_bytes());
    Ok(identity::Keypair::ed25519_from_bytes(seed)?)
}

fn new_pubsub(params: &Params) -> Result<Pubsub, Failure> {
    let nanoseconds = |value: f64| Duration::from_nanos(value as u64);
    let mut config = ConfigBuilder::default();
    config
        .validation_mode(ValidationMode::Anonymous)
        .max_transmit_size(MAX_MESSAGE)
        .flood_publish(false)
        .message_id_fn(|message: &Message| {
            MessageId::new(&message.data[..message.data.len().min(8)])
        });
    if let Some(d) = params.d {
        config.mesh_n(d);
    }
    if let Some(dlo) = params.dlo {
        config.mesh_n_low(dlo);
    }
    if let Some(dhi) = params.dhi {
        config.mesh_n_high(dhi);
    }
    if let Some(dout) = params.dout {
        config.mesh_outbound_min(dout);
    }
    if let Some(dlazy) = params.dlazy {
        config.gossip_lazy(dlazy);
    }
    if let Some(factor) = params.gossip_factor {
        config.gossip_factor(factor);
    }
    if let Some(length) = params.history_length {
        config.history_length(length);
    }
    if let Some(gossip) = params.history_gossip {
        config.history_gossip(gossip);
    }
    if let Some(delay) = params.heartbeat_initial_delay {
        config.heartbeat_initial_delay(nanoseconds(delay));
    }
    if let Some(interval) = params.heartbeat_interval {
        config.heartbeat_interval(nanoseconds(interval));
    }
    Ok(Gossipsub::new_with_transform(
        MessageAuthenticity::Anonymous,
        config.build()?,
        Received,
    )?)
}

struct Node {
    id: u64,
    over_quic: bool,
    start: Instant,
    swarm: Swarm<Behaviour>,
}

impl Node {
    /// Serves the network until then.
    async fn until(&mut self, when: Instant) {
        loop {
            tokio::select! {
                _ = self.swarm.select_next_some() => {}
                () = sleep_until(when) => return,
            }
        }
    }

    /// Dials a node, which may start after us.
    async fn connect(&mut self, id: u64) -> Result<(), Failure> {
        let peer = node_key(id)?.public().to_peer_id();
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        while !self.swarm.is_connected(&peer) {
            if Instant::now() > deadline {
                return Err(format!("node{id} cannot be connected to").into());
            }
            let address = (format!("node{id}"), PORT).to_socket_addrs()?.find(|one| one.is_ipv4());
            if let Some(address) = address {
                let rest = if self.over_quic { format!("udp/{PORT}/quic-v1") } else { format!("tcp/{PORT}") };
                let address: Multiaddr = format!("/ip4/{}/{rest}/p2p/{peer}", address.ip()).parse()?;
                // Refused while a dial to it is under way.
                let _ = self.swarm.dial(address);
            }
            self.until_connected(peer, Instant::now() + CONNECT_PAUSE).await;
        }
        Ok(())
    }

    async fn until_connected(&mut self, peer: PeerId, when: Instant) {
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => {
                    if matches!(event, SwarmEvent::ConnectionEstablished { peer_id, .. } if peer_id == peer) {
                        return;
                    }
                }
                () = sleep_until(when) => return,
            }
        }
    }

    async fn execute(&mut self, instruction: Instruction) -> Result<(), Failure> {
        match instruction {
            Instruction::InitGossipSub { .. } => {}
            Instruction::IfNodeIdEquals { node_id, instruction } => {
                if node_id == self.id {
                    Box::pin(self.execute(*instruction)).await?;
                }
            }
            Instruction::Connect { connect_to } => {
                for id in connect_to {
                    self.connect(id).await?;
                }
            }
            Instruction::WaitUntil { elapsed_seconds } => {
                self.until(self.start + Duration::from_secs_f64(elapsed_seconds)).await;
            }
            Instruction::Publish { message_id, message_size_bytes, topic } => {
                let mut data = vec![0; message_size_bytes.max(8)];
                data[..8].copy_from_slice(&message_id.to_be_bytes());
                self.swarm.behaviour_mut().pubsub.publish(IdentTopic::new(topic), data)?;
            }
            Instruction::SubscribeToTopic { topic, partial } => {
                if partial {
                    return Err("no partial messages in this peer".into());
                }
                self.swarm.behaviour_mut().pubsub.subscribe(&IdentTopic::new(topic))?;
            }
        }
        Ok(())
    }
}

/// The parameters of this node's GossipSub, which is made before the script runs.
fn params_of(script: &[Instruction], id: u64) -> Option<&Params> {
    script.iter().find_map(|instruction| match instruction {
        Instruction::InitGossipSub { params } => Some(params),
        Instruction::IfNodeIdEquals { node_id, instruction } if *node_id == id => {
            params_of(std::slice::from_ref(instruction.as_ref()), id)
        }
        _ => None,
    })
}

async fn run() -> Result<(), Failure> {
    let start = Instant::now();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| {
        words.iter().position(|word| word == name).and_then(|at| words.get(at + 1)).cloned()
    };
    let file = flag("--params").ok_or("--params is not given")?;
    let experiment: Experiment = serde_json::from_slice(&std::fs::read(file)?)?;
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    let id: u64 = name
        .trim()
        .strip_prefix("node")
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| format!("this host is called {}; it must be node<number>", name.trim()))?;
    let key = node_key(id)?;
    let pubsub = new_pubsub(params_of(&experiment.script, id).unwrap_or(&Params::default()))?;
    let mut swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)?
        .with_quic()
        .with_behaviour(|key| Behaviour {
            identify: identify::Behaviour::new(identify::Config::new(
                "/libp2p-lean-peer/1.0.0".to_owned(),
                key.public(),
            )),
            pubsub,
        })?
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(3600)))
        .build();
    swarm.listen_on(format!("/ip4/0.0.0.0/tcp/{PORT}").parse()?)?;
    swarm.listen_on(format!("/ip4/0.0.0.0/udp/{PORT}/quic-v1").parse()?)?;
    event("PeerID", &[("id", swarm.local_peer_id().to_string().into()), ("node_id", id.into())]);
    let over_quic = flag("--transport").as_deref() == Some("quic-v1");
    let mut node = Node { id, over_quic, start, swarm };
    for instruction in experiment.script {
        node.execute(instruction).await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
