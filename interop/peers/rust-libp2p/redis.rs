//! The little of Redis that a rendezvous needs: one command, one reply (RESP2).

use std::io::{Error, ErrorKind, Result};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// Longest reply taken, in bytes. A multiaddr is far shorter.
const LONGEST: usize = 1 << 16;

pub struct Client(BufReader<TcpStream>);

impl Client {
    /// Connects to `host:port`, which may carry a `redis://` prefix.
    pub async fn connect(address: &str) -> Result<Self> {
        let address = address.strip_prefix("redis://").unwrap_or(address).trim_end_matches('/');
        Ok(Self(BufReader::new(TcpStream::connect(address).await?)))
    }

    /// Sends one command and returns its reply as text, or `None` for nil.
    pub async fn command(&mut self, words: &[&str]) -> Result<Option<String>> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.0.write_all(request.as_bytes()).await?;
        let mut line = String::new();
        (&mut self.0).take(LONGEST as u64).read_line(&mut line).await?;
        let line = line.trim_end();
        let bad = || Error::new(ErrorKind::InvalidData, format!("redis answered {line:?}"));
        match line.as_bytes().first() {
            Some(b'+' | b':') => Ok(Some(line[1..].to_owned())),
            Some(b'$') if line == "$-1" => Ok(None),
            Some(b'$') => {
                let length: usize = line[1..].parse().map_err(|_| bad())?;
                if length > LONGEST {
                    return Err(bad());
                }
                let mut value = vec![0; length + 2];
                self.0.read_exact(&mut value).await?;
                value.truncate(length);
                String::from_utf8(value).map(Some).map_err(|_| bad())
            }
            _ => Err(bad()),
        }
    }
}
