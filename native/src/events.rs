//! Events for JavaScript: one queue, one wake-up for all that is queued.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// Kinds of events; `src/quic/quinn/binding.ts` has the same numbers.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Event {
    /// A stream whose read was blocked may be read.
    Readable = 1,
    /// A stream whose write was blocked may be written to.
    Writable = 2,
    /// The peer opened streams on a connection.
    StreamsOpened = 3,
    /// A connection that was out of stream credit may open a stream.
    StreamsAllowed = 4,
    /// A handshake is complete; JavaScript must accept or close the connection.
    Connected = 5,
    /// A handshake failed.
    Failed = 6,
    /// A connection that JavaScript accepted has ended.
    Closed = 7,
    /// The CONNECTION_CLOSE of a connection that we closed has been sent.
    CloseSent = 8,
    /// The socket of a listener is closed.
    ListenerClosed = 9,
    /// A listener has more pending handshakes than the number set by `tell_above()`.
    PendingRose = 10,
    /// There are as many traces as there may be, or they are as large.
    TracesFull = 11,
}

/// Bytes of one event in `drain()`: kind, id and listener, each a `u32` in the machine's byte order.
const EVENT_SIZE: usize = 12;

/// The queue. Any thread pushes, the JavaScript thread drains.
pub struct EventQueue {
    state: Mutex<State>,
    /// Makes the JavaScript thread call `drain()` soon. False: that thread has ended.
    wake: Box<dyn Fn() -> bool + Send + Sync>,
}

#[derive(Default)]
struct State {
    events: Vec<[u32; 3]>,
    /// How many of `events` have been drained.
    drained: usize,
    /// JavaScript was woken and has not emptied the queue yet.
    woken: bool,
    /// The JavaScript thread has ended: nothing is queued any more.
    closed: bool,
}

impl EventQueue {
    pub fn new(wake: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            state: Mutex::default(),
            wake: Box::new(wake),
        }
    }

    /// `listener` is that of `Connected` and `Failed`, 0 for a dial and for every other event.
    pub fn push(&self, event: Event, id: u32, listener: u32) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        state.events.push([event as u32, id, listener]);
        if state.woken {
            return;
        }
        state.woken = true;
        drop(state);
        if !(self.wake)() {
            self.lock().closed = true;
        }
    }

    /// Moves as many events as fit from the queue to `out` and returns how many. After 0, the next event
    /// wakes JavaScript again.
    pub fn drain(&self, out: &mut [u8]) -> usize {
        let mut state = self.lock();
        let waiting = &state.events[state.drained..];
        let count = waiting.len().min(out.len() / EVENT_SIZE);
        for (event, out) in waiting.iter().zip(out.chunks_exact_mut(EVENT_SIZE)) {
            for (word, out) in event.iter().zip(out.chunks_exact_mut(4)) {
                out.copy_from_slice(&word.to_ne_bytes());
            }
        }
        state.drained += count;
        if state.drained == state.events.len() {
            state.events.clear();
            state.drained = 0;
        }
        if count == 0 {
            state.woken = false;
        }
        count
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct StreamWaker {
    events: Arc<EventQueue>,
    event: Event,
    stream: u32,
}

impl Wake for StreamWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.events.push(self.event, self.stream, 0);
    }
}

/// A waker that pushes `event` of `stream`.
pub fn stream_waker(events: &Arc<EventQueue>, event: Event, stream: u32) -> Waker {
    Waker::from(Arc::new(StreamWaker {
        events: Arc::clone(events),
        event,
        stream,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn many_events_wake_once() {
        let woken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&woken);
        let queue = EventQueue::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
            true
        });
        for id in 0..5 {
            queue.push(Event::Readable, id, 0);
        }
        assert_eq!(woken.load(Ordering::Relaxed), 1);

        let mut out = [0; 3 * EVENT_SIZE];
        assert_eq!(queue.drain(&mut out), 3);
        assert_eq!(out[..4], 1_u32.to_ne_bytes());
        assert_eq!(out[EVENT_SIZE + 4..][..4], 1_u32.to_ne_bytes());
        queue.push(Event::Closed, 9, 0);
        assert_eq!(queue.drain(&mut out), 3);
        assert_eq!(woken.load(Ordering::Relaxed), 1, "it is draining");
        assert_eq!(queue.drain(&mut out), 0);

        queue.push(Event::Closed, 9, 0);
        assert_eq!(woken.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn nothing_is_kept_for_a_thread_that_is_gone() {
        let queue = EventQueue::new(|| false);
        queue.push(Event::Closed, 1, 0);
        for id in 0..1000 {
            queue.push(Event::Closed, id, 0);
        }
        assert!(queue.lock().events.len() <= 1);
    }
}
