//! What does not depend on the library: the environment, the rendezvous and the report.

use std::{env, future::Future, net::IpAddr, process::ExitCode, time::Duration};

use tokio::time::{timeout_at, Instant};

use crate::redis;

const TRANSPORTS: &[&str] =
    &["quic-v1", "quic", "tcp", "ws", "wss", "webtransport", "webrtc-direct", "webrtc"];
const SECURE_CHANNELS: &[&str] = &["noise", "tls", "plaintext"];
const MUXERS: &[&str] = &["yamux", "mplex"];

/// What ends the process, and with which exit code.
pub enum Failure {
    /// 1
    Failed(String),
    /// 2
    Configuration(String),
    /// 127
    Unsupported(String),
}
pub use Failure::{Configuration, Failed, Unsupported};

pub fn failed(error: impl std::fmt::Display) -> Failure {
    Failed(error.to_string())
}

/// What the environment asks for, whichever dialect it speaks.
pub struct Config {
    pub unified: bool,
    pub dialer: bool,
    pub transport: String,
    pub secure_channel: Option<String>,
    pub muxer: Option<String>,
    pub ip: IpAddr,
    pub redis: String,
    pub key: String,
    pub timeout: Duration,
    pub debug: bool,
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
    pub fn from_env() -> Result<Self, Failure> {
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

    /// Where to listen, as a multiaddr.
    pub fn listen_address(&self) -> String {
        let ip = match self.ip {
            IpAddr::V4(ip) => format!("/ip4/{ip}"),
            IpAddr::V6(ip) => format!("/ip6/{ip}"),
        };
        let rest = match self.transport.as_str() {
            "quic-v1" => "/udp/0/quic-v1",
            "ws" => "/tcp/0/ws",
            _ => "/tcp/0",
        };
        format!("{ip}{rest}")
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
            Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(_) => return Err(Failed(format!("redis at {}: no answer in time", config.redis))),
        }
    }
}

/// Waits for the listener's address, which is a list in one suite and a string in another.
pub async fn fetch(config: &Config, deadline: Instant) -> Result<String, Failure> {
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

pub async fn publish(config: &Config, address: &str, deadline: Instant) -> Result<(), Failure> {
    let mut client = connect(config, deadline).await?;
    if config.unified {
        client.command(&["DEL", &config.key]).await.map_err(failed)?;
    }
    client.command(&["RPUSH", &config.key, address]).await.map_err(failed)?;
    Ok(())
}

/// Prints the dialer's result: times from the start of the dial to the first pong, and of the ping.
pub fn report(config: &Config, total: Duration, rtt: Duration) {
    let (total, rtt) = (total.as_secs_f64() * 1e3, rtt.as_secs_f64() * 1e3);
    if config.unified {
        println!("latency:\n  handshake_plus_one_rtt: {total:.3}\n  ping_rtt: {rtt:.3}\n  unit: ms");
    } else {
        println!("{{\"handshakePlusOneRTTMillis\": {total:.3}, \"pingRTTMilllis\": {rtt:.3}}}");
    }
}

/// Runs to the end and turns the outcome into the exit code.
pub async fn finish(run: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    let (text, code) = match run.await {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failed(text)) => (text, 1),
        Err(Configuration(text)) => (text, 2),
        Err(Unsupported(text)) => (text, 127),
    };
    eprintln!("{text}");
    ExitCode::from(code)
}
