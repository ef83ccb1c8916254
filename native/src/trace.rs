//! qlog traces: one file for each connection, so many and so large at most. A peer causes a file by its first packet, and
//! events by every other one. TLS secrets go to one file, which a peer makes grow by its handshakes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use napi_derive::napi;
use quinn::TransportConfig;

use crate::events::{Event, EventQueue};

/// Where traces go, and the most that there is of them.
#[napi(object)]
#[derive(Clone)]
pub struct Qlog {
    /// A directory.
    pub folder: String,
    /// Files of this engine.
    pub max_files: f64,
    /// Bytes of all files together.
    pub max_bytes: f64,
}

/// Where TLS secrets go, in NSS key log format: what Wireshark reads.
#[napi(object)]
pub struct KeyLog {
    /// They are appended to it.
    pub file: String,
    /// Once the file has so many, whoever wrote them, nothing is appended.
    pub max_bytes: f64,
}

/// What was written by an engine.
pub struct Traces {
    events: Arc<EventQueue>,
    files: AtomicU64,
    #[cfg_attr(not(feature = "qlog"), allow(dead_code))]
    bytes: AtomicU64,
    /// `Event::TracesFull` was pushed.
    told: AtomicBool,
}

impl Traces {
    pub fn new(events: Arc<EventQueue>) -> Arc<Self> {
        Arc::new(Self {
            events,
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            told: AtomicBool::new(false),
        })
    }

    /// For the trace of connection number `id`; `None` when there are as many as there may be.
    pub fn begin(self: &Arc<Self>, qlog: &Qlog, role: &str, id: u32) -> Option<Trace> {
        if !self.take(&self.files, 1, qlog.max_files as u64) {
            return None;
        }
        let name = format!("{}-{id}-{role}.sqlog", std::process::id());
        Some(Trace {
            path: Path::new(&qlog.folder).join(name),
            traces: Arc::clone(self),
            max_bytes: qlog.max_bytes as u64,
        })
    }

    /// Adds `more` to `count`. False, and JavaScript is told once, when that passes `most`: then also for all that follow.
    fn take(&self, count: &AtomicU64, more: u64, most: u64) -> bool {
        let before = count.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) <= most {
            return true;
        }
        if !self.told.swap(true, Ordering::Relaxed) {
            self.events.push(Event::TracesFull, 0, 0);
        }
        false
    }
}

/// The trace of one connection; its file is not made yet.
pub struct Trace {
    path: PathBuf,
    traces: Arc<Traces>,
    max_bytes: u64,
}

#[cfg(feature = "qlog")]
impl Trace {
    /// Has quinn write it.
    pub fn write_by(self, transport: &mut TransportConfig) {
        use std::fs::File;
        use std::io::LineWriter;
        use std::time::{SystemTime, UNIX_EPOCH};

        // A connection works without its trace, too.
        let Ok(file) = File::create(&self.path) else {
            return;
        };
        let mut config = quinn::QlogConfig::default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let began = now.unwrap_or_default().as_secs_f64() * 1_000.0;
        config
            // An event is a line: so what there is of them is in the file even if the process is killed.
            .writer(Box::new(LineWriter::new(Bounded { file, trace: self })))
            .title(Some("libp2p-lean".to_owned()))
            // Times count from here, and there is no other place that says when that was.
            .description(Some(format!("reference_time {began:.3}")));
        transport.qlog_stream(config.into_stream());
    }
}

#[cfg(not(feature = "qlog"))]
impl Trace {
    pub fn write_by(self, _: &mut TransportConfig) {
        let _ = (self.path, self.traces, self.max_bytes);
    }
}

/// A file that ends when all of them are as large as they may be: what is written later is dropped.
#[cfg(feature = "qlog")]
struct Bounded {
    file: std::fs::File,
    trace: Trace,
}

#[cfg(feature = "qlog")]
impl std::io::Write for Bounded {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        let Trace {
            traces, max_bytes, ..
        } = &self.trace;
        if traces.take(&traces.bytes, data.len() as u64, *max_bytes) {
            self.file.write_all(data)?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_the_limit_is_told_once() {
        let events = Arc::new(EventQueue::new(|| true));
        let traces = Traces::new(Arc::clone(&events));
        let qlog = Qlog {
            folder: "/nowhere".to_owned(),
            max_files: 2.0,
            max_bytes: 100.0,
        };
        let begun: Vec<_> = (0..4)
            .map(|id| traces.begin(&qlog, "dialer", id).is_some())
            .collect();
        assert_eq!(begun, [true, true, false, false]);
        assert!(traces.take(&traces.bytes, 60, 100));
        assert!(!traces.take(&traces.bytes, 60, 100));
        assert!(!traces.take(&traces.bytes, 1, 100), "no gaps");
        assert_eq!(events.drain(&mut [0; 60]), 1);
    }
}
