//! A bidirectional stream, read and written on the JavaScript thread: a lock, no hop to another one.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use quinn::{ReadError, RecvStream, SendStream, VarInt, WriteError};
use tokio::runtime::Handle;

use crate::connection::{Halves, Place};
use crate::driving::{Driver, holding_wakeups};
use crate::events::{Event, EventQueue, stream_waker};

/// A stream and the wakers of those who wait for it.
pub struct Stream {
    id: u32,
    send: SendStream,
    recv: RecvStream,
    events: Arc<EventQueue>,
    readable: Option<Waker>,
    writable: Option<Waker>,
    driver: Option<Arc<Driver>>,
    /// Of a stream that the peer opened.
    _place: Option<Place>,
}

/// A write of no more bytes than this is sent by the thread that writes, bytes: they fit into one
/// datagram, and whoever writes so little waits for the answer.
const SENT_AT_ONCE: usize = 1200;

/// What a read gave.
pub enum Read {
    /// So many bytes.
    Bytes(usize),
    /// The peer finished, and all was read.
    End,
    /// Nothing yet; `Event::Readable` will tell.
    Blocked,
    /// The peer reset the stream with this code.
    Reset(u64),
    /// The connection has ended.
    Lost,
}

/// What a write did.
pub enum Write {
    /// So many bytes were taken; when not all, `Event::Writable` tells of room.
    Taken(usize),
    /// The peer stopped the stream with this code.
    Stopped(u64),
    /// The connection has ended, or this side of the stream.
    Lost,
}

impl Stream {
    pub fn new(
        id: u32,
        (send, recv): Halves,
        events: Arc<EventQueue>,
        driver: Option<Arc<Driver>>,
        place: Option<Place>,
    ) -> Self {
        Self {
            id,
            send,
            recv,
            events,
            readable: None,
            writable: None,
            driver,
            _place: place,
        }
    }

    /// Reads into `into`, which is not empty.
    pub fn read(&mut self, into: &mut [u8]) -> Read {
        let waker = self
            .readable
            .get_or_insert_with(|| stream_waker(&self.events, Event::Readable, self.id));
        match self.recv.poll_read(&mut Context::from_waker(waker), into) {
            Poll::Ready(Ok(0)) => Read::End,
            Poll::Ready(Ok(count)) => Read::Bytes(count),
            Poll::Pending => Read::Blocked,
            Poll::Ready(Err(ReadError::Reset(code))) => Read::Reset(code.into_inner()),
            Poll::Ready(Err(_)) => Read::Lost,
        }
    }

    /// Writes as much of `data` as there is room for. When that is all of it, and `fin`, nothing
    /// comes after it.
    pub fn write(&mut self, data: &[u8], fin: bool, runtime: &Handle) -> Write {
        let (outcome, wakeups) = holding_wakeups(|| self.put(data, fin));
        if !wakeups.is_empty()
            && data.len() <= SENT_AT_ONCE
            && let Some(driver) = &self.driver
            && driver.run(runtime)
        {
            wakeups.forget();
        }
        outcome
    }

    fn put(&mut self, data: &[u8], fin: bool) -> Write {
        let waker = self
            .writable
            .get_or_insert_with(|| stream_waker(&self.events, Event::Writable, self.id));
        let mut cx = Context::from_waker(waker);
        let mut taken = 0;
        while taken < data.len() {
            match Pin::new(&mut self.send).poll_write(&mut cx, &data[taken..]) {
                Poll::Ready(Ok(count)) => taken += count,
                Poll::Pending => return Write::Taken(taken),
                Poll::Ready(Err(WriteError::Stopped(code))) => {
                    // RFC 9000 section 3.5: STOP_SENDING is answered with RESET_STREAM.
                    let _ = self.send.reset(code);
                    return Write::Stopped(code.into_inner());
                }
                Poll::Ready(Err(_)) => return Write::Lost,
            }
        }
        if fin {
            let _ = self.send.finish();
        }
        Write::Taken(taken)
    }

    /// Abandons what was written. Harmless when the stream has ended.
    pub fn reset(&mut self, code: VarInt) {
        let _ = self.send.reset(code);
    }

    /// Discards what comes. Harmless when the stream has ended.
    pub fn stop(&mut self, code: VarInt) {
        let _ = self.recv.stop(code);
    }
}
