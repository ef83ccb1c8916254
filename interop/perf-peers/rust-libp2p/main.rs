//! A perf peer on rust-libp2p, built on the published crates only; ../README.md says how it is driven.

use std::{
    collections::HashMap,
    convert::Infallible,
    error::Error,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt as _};
use libp2p::{
    core::{
        transport::PortUse,
        upgrade::{DeniedUpgrade, ReadyUpgrade},
        Endpoint,
    },
    multiaddr::Protocol,
    noise,
    swarm::{
        dial_opts::DialOpts,
        handler::{ConnectionEvent, FullyNegotiatedInbound},
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, SubstreamProtocol, SwarmEvent, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
    },
    tcp, yamux, Multiaddr, PeerId, Stream, StreamProtocol, Swarm,
};
use libp2p_stream::Control;
use tokio::{
    io::AsyncBufReadExt,
    sync::{mpsc, oneshot},
    time::timeout,
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const PERF: StreamProtocol = StreamProtocol::new("/perf/1.0.0");
const TIMEOUT: Duration = Duration::from_secs(300);
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// `libp2p-stream` opens streams; those that a peer opens it drops when several arrive at once, so
/// they are served by a handler of ours.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p::swarm::derive_prelude")]
struct Behaviour {
    open: libp2p_stream::Behaviour,
    serve: Serve,
}

struct Serve;

impl NetworkBehaviour for Serve {
    type ConnectionHandler = ServeConnection;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> std::result::Result<THandler<Self>, ConnectionDenied> {
        Ok(ServeConnection)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> std::result::Result<THandler<Self>, ConnectionDenied> {
        Ok(ServeConnection)
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

struct ServeConnection;

impl ConnectionHandler for ServeConnection {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = DeniedUpgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PERF), ())
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol>,
    ) {
        if let ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
            protocol: stream,
            ..
        }) = event
        {
            tokio::spawn(async move {
                if let Err(error) = serve(stream).await {
                    eprintln!("serving: {error}");
                }
            });
        }
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<DeniedUpgrade, (), Infallible>> {
        Poll::Pending
    }
}

fn build_swarm() -> Result<Swarm<Behaviour>> {
    Ok(libp2p::SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_quic()
        .with_behaviour(|_| Behaviour {
            open: libp2p_stream::Behaviour::new(),
            serve: Serve,
        })?
        // Streams of this behaviour do not keep a connection alive.
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(3600)))
        .build())
}

async fn send_zeros(stream: &mut Stream, mut count: u64) -> Result<()> {
    while count > 0 {
        let chunk = &ZEROS[..count.min(ZEROS.len() as u64) as usize];
        stream.write_all(chunk).await?;
        count -= chunk.len() as u64;
    }
    Ok(())
}

/// Reads to the end, into one buffer of its own.
async fn drain(stream: &mut Stream) -> Result<u64> {
    let mut buffer = vec![0; 64 << 10];
    let mut total = 0;
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(total),
            n => total += n as u64,
        }
    }
}

async fn serve(mut stream: Stream) -> Result<()> {
    let mut count = [0; 8];
    stream.read_exact(&mut count).await?;
    drain(&mut stream).await?;
    send_zeros(&mut stream, u64::from_be_bytes(count)).await?;
    stream.close().await?;
    Ok(())
}

async fn transfer(mut control: Control, peer: PeerId, up: u64, down: u64) -> Result<()> {
    let mut stream = control.open_stream(peer, PERF).await?;
    stream.write_all(&down.to_be_bytes()).await?;
    send_zeros(&mut stream, up).await?;
    stream.close().await?;
    let got = drain(&mut stream).await?;
    if got != down {
        return Err(format!("got {got} of {down} bytes").into());
    }
    Ok(())
}

/// What the task that owns the swarm is asked to do.
enum Ask {
    Connect(Multiaddr, oneshot::Sender<Result<()>>),
    Disconnect(PeerId, oneshot::Sender<Result<()>>),
}

/// Runs the swarm; one thing is asked at a time.
async fn drive(mut swarm: Swarm<Behaviour>, mut asks: mpsc::Receiver<Ask>) {
    let mut connecting: Option<oneshot::Sender<Result<()>>> = None;
    let mut disconnecting: HashMap<PeerId, oneshot::Sender<Result<()>>> = HashMap::new();
    loop {
        tokio::select! {
            ask = asks.recv() => match ask {
                None => return,
                Some(Ask::Connect(address, answer)) => match swarm.dial(DialOpts::from(address)) {
                    Ok(()) => connecting = Some(answer),
                    Err(error) => drop(answer.send(Err(error.into()))),
                },
                Some(Ask::Disconnect(peer, answer)) => {
                    disconnecting.insert(peer, answer);
                    if swarm.disconnect_peer_id(peer).is_err() {
                        disconnecting.remove(&peer).map(|answer| answer.send(Ok(())));
                    }
                }
            },
            event = swarm.select_next_some() => match event {
                SwarmEvent::ConnectionEstablished { .. } => {
                    connecting.take().map(|answer| answer.send(Ok(())));
                }
                SwarmEvent::OutgoingConnectionError { error, .. } => {
                    connecting.take().map(|answer| answer.send(Err(error.into())));
                }
                SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => {
                    disconnecting.remove(&peer_id).map(|answer| answer.send(Ok(())));
                }
                SwarmEvent::NewListenAddr { address, .. } => {
                    println!("{address}/p2p/{}", swarm.local_peer_id());
                }
                _ => {}
            }
        }
    }
}

struct Dialer {
    control: Control,
    asks: mpsc::Sender<Ask>,
    address: Multiaddr,
    peer: PeerId,
}

impl Dialer {
    async fn ask(&self, make: impl FnOnce(oneshot::Sender<Result<()>>) -> Ask) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(make(answer)).await?;
        answered.await?
    }

    async fn connect(&self) -> Result<()> {
        self.ask(|answer| Ask::Connect(self.address.clone(), answer))
            .await
    }

    async fn disconnect(&self) -> Result<()> {
        self.ask(|answer| Ask::Disconnect(self.peer, answer)).await
    }

    /// Answers one command with the JSON of its milliseconds.
    async fn run(&self, line: &str) -> Result<String> {
        self.disconnect().await?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let number =
            |at: usize| -> Result<u64> { Ok(words.get(at).ok_or("a number is missing")?.parse()?) };
        match words.first().copied() {
            Some("transfer") => {
                let (up, down, streams) = (number(1)?, number(2)?, number(3)?);
                self.connect().await?;
                let start = Instant::now();
                let all = (0..streams)
                    .map(|_| tokio::spawn(transfer(self.control.clone(), self.peer, up, down)));
                for one in futures::future::join_all(all).await {
                    one??;
                }
                Ok(milliseconds(start))
            }
            Some("roundtrips") => {
                self.connect().await?;
                let mut times = Vec::new();
                for _ in 0..number(1)? {
                    let start = Instant::now();
                    transfer(self.control.clone(), self.peer, 1, 1).await?;
                    times.push(milliseconds(start));
                }
                Ok(format!("[{}]", times.join(",")))
            }
            Some("handshakes") => {
                let mut times = Vec::new();
                for _ in 0..number(1)? {
                    let start = Instant::now();
                    self.connect().await?;
                    transfer(self.control.clone(), self.peer, 1, 1).await?;
                    times.push(milliseconds(start));
                    self.disconnect().await?;
                }
                Ok(format!("[{}]", times.join(",")))
            }
            _ => Err(format!("no command {line:?}").into()),
        }
    }
}

fn milliseconds(since: Instant) -> String {
    format!("{:.6}", since.elapsed().as_secs_f64() * 1e3)
}

async fn listen(transport: &str) -> Result<()> {
    let mut swarm = build_swarm()?;
    swarm.listen_on(match transport {
        "quic-v1" => "/ip4/127.0.0.1/udp/0/quic-v1".parse()?,
        _ => "/ip4/127.0.0.1/tcp/0".parse()?,
    })?;
    let (_asks, asked) = mpsc::channel(1);
    tokio::spawn(drive(swarm, asked));
    let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    while lines.next_line().await?.is_some() {}
    Ok(())
}

async fn dial(address: &str) -> Result<()> {
    let address: Multiaddr = address.parse()?;
    let Some(Protocol::P2p(peer)) = address.iter().last() else {
        return Err("the address names no peer".into());
    };
    let swarm = build_swarm()?;
    let control = swarm.behaviour().open.new_control();
    let (asks, asked) = mpsc::channel(1);
    tokio::spawn(drive(swarm, asked));
    let dialer = Dialer {
        control,
        asks,
        address,
        peer,
    };
    let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match timeout(TIMEOUT, dialer.run(&line)).await {
            Ok(Ok(times)) => println!("{{\"ms\":{times}}}"),
            Ok(Err(error)) => println!("{{\"error\":{:?}}}", error.to_string()),
            Err(_) => println!("{{\"error\":\"took too long\"}}"),
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["listen", transport] => listen(transport).await,
        ["dial", address] => dial(address).await,
        _ => Err("usage: listen quic-v1|tcp, or dial <multiaddr>".into()),
    }
}
