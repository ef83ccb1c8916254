//! Why a connection ended: `CloseReason` of src/close-reason.ts.

use napi_derive::napi;
use quinn::ConnectionError;

use crate::close_frame::CloseFrame;

/// Members as in `CloseReason`.
#[napi(object, object_from_js = false)]
pub struct Close {
    /// `local`, `remote`, `timeout` or `error`.
    pub by: &'static str,
    /// The error code of the application or the transport.
    pub code: f64,
    /// Whether `code` is the application's.
    pub application: bool,
    /// One line of text; may be empty.
    pub reason: String,
}

impl Close {
    /// A local failure.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self {
            by: "error",
            code: 0.0,
            application: false,
            reason: reason.into(),
        }
    }

    fn remote(application: bool, code: u64, reason: &[u8]) -> Self {
        Self {
            by: "remote",
            code: code as f64,
            application,
            reason: String::from_utf8_lossy(reason).into_owned(),
        }
    }

    /// There was no room for the connection (CONNECTION_REFUSED of RFC 9000 section 20.1).
    pub fn evicted() -> Self {
        Self {
            by: "local",
            code: 2.0,
            application: false,
            reason: "too many connections: evicted".to_owned(),
        }
    }

    /// The handshake timed out.
    pub fn timeout() -> Self {
        Self {
            by: "timeout",
            code: 0.0,
            application: false,
            reason: String::new(),
        }
    }
}

impl From<ConnectionError> for Close {
    fn from(error: ConnectionError) -> Self {
        let text = error.to_string();
        match error {
            ConnectionError::ApplicationClosed(close) => {
                Self::remote(true, close.error_code.into_inner(), &close.reason)
            }
            ConnectionError::ConnectionClosed(close) => {
                Self::remote(false, close.error_code.into(), &close.reason)
            }
            ConnectionError::Reset => Self::remote(false, 0, b"stateless reset"),
            ConnectionError::TimedOut => Self::timeout(),
            ConnectionError::TransportError(error) => Self {
                by: "error",
                code: u64::from(error.code) as f64,
                application: false,
                reason: error.reason,
            },
            ConnectionError::LocallyClosed => Self {
                by: "local",
                ..Self::failed("")
            },
            ConnectionError::VersionMismatch | ConnectionError::CidsExhausted => Self::failed(text),
        }
    }
}

impl From<&CloseFrame> for Close {
    fn from(close: &CloseFrame) -> Self {
        Self::remote(close.application, close.code, &close.reason)
    }
}
