//! A bidirectional stream, read and written on the JavaScript thread under quinn's lock.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use quinn::{ReadError, RecvStream, SendStream, VarInt, WriteError};
use tokio::runtime::Handle;

use crate::connection::{Halves, Place};
use crate::driving::{Driver, holding_wakeups};
use crate::events::{Event, EventQueue, stream_waker};

/// A stream and its wakers.
pub struct Stream {
    id: u32,
    send: SendStream,
    recv: RecvStream,
    events: Arc<EventQueue>,
    readable: Option<Waker>,
    writable: Option<Waker>,
    driver: Option<Arc<Driver>>,
    /// Set if the peer opened the stream.
    _place: Option<Place>,
}

/// Writes of up to so many bytes are sent by the writing thread: they fit into one datagram, and are
/// often requests whose answer is waited for.
const SENT_AT_ONCE: usize = 1200;

/// The result of a read.
pub enum Read {
    /// Number of bytes read.
    Bytes(usize),
    /// The peer finished, and all was read.
    End,
    /// Nothing yet; `Event::Readable` follows.
    Blocked,
    /// The peer reset the stream with this code.
    Reset(u64),
    /// The connection has ended.
    Lost,
}

/// The result of a write.
pub enum Write {
    /// Number of bytes taken; if not all, `Event::Writable` follows when there is room.
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

    /// Writes as much of `data` as there is room for; if that is all of it and `fin` is set, finishes the
    /// stream.
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

    /// Resets the sending half. Does nothing if it has ended.
    pub fn reset(&mut self, code: VarInt) {
        let _ = self.send.reset(code);
    }

    /// Sends STOP_SENDING. Does nothing if the receiving half has ended.
    pub fn stop(&mut self, code: VarInt) {
        let _ = self.recv.stop(code);
    }
}
