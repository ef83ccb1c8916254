//! Runs connection drivers on the network thread or, where that saves a context switch, on the
//! JavaScript thread that has just written.
//!
//! Every call of quinn wakes the driver while holding the connection's lock, so that the network thread
//! contends for that lock with the next call. Therefore wake-ups are held back while JavaScript writes.
//! Afterwards the driver is woken once, or, after a short message, run at once without a wake-up.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, TryLockError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};
use tokio::runtime::Handle;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

thread_local! {
    /// The driver that `spawn()` last made on this thread.
    static SPAWNED: RefCell<Option<Arc<Driver>>> = const { RefCell::new(None) };
    /// Wake-ups that are held on this thread.
    static HELD: RefCell<Option<Vec<Waker>>> = const { RefCell::new(None) };
}

/// quinn's `TokioRuntime` with a `spawn()` that keeps the driver accessible.
#[derive(Debug)]
pub struct DrivingRuntime;

impl Runtime for DrivingRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Work) {
        let driver = Arc::new(Driver {
            work: Mutex::new(Some(future)),
            waker: OnceLock::new(),
        });
        SPAWNED.set(Some(Arc::clone(&driver)));
        tokio::spawn(Task(driver));
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

/// A connection's driver: quinn's future that sends, receives and keeps its timers.
pub struct Driver {
    /// `None` once it has ended.
    work: Mutex<Option<Work>>,
    /// Wakes the task that does the work on the network thread; set when that has started.
    waker: OnceLock<Waker>,
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

impl Driver {
    /// The driver of the connection that this thread has just started.
    pub fn last_spawned() -> Option<Arc<Self>> {
        SPAWNED.take()
    }

    /// Does what there is to do, on this thread. False if another thread is doing it, or the task has not
    /// started. After a panic, which is passed on, the work has ended.
    pub fn run(&self, runtime: &Handle) -> bool {
        let Some(waker) = self.waker.get() else {
            return false;
        };
        let mut work = match self.work.try_lock() {
            Ok(work) => work,
            Err(TryLockError::WouldBlock) => return false,
            // The task will find out, too.
            Err(TryLockError::Poisoned(_)) => return false,
        };
        let Some(future) = work.as_mut() else {
            return true;
        };
        // Its timers belong to the runtime.
        let _within = runtime.enter();
        if future
            .as_mut()
            .poll(&mut Context::from_waker(waker))
            .is_ready()
        {
            *work = None;
            drop(work);
            waker.wake_by_ref();
        }
        true
    }
}

/// Runs the driver on the network thread.
struct Task(Arc<Driver>);

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let waker = self
            .0
            .waker
            .get_or_init(|| Waker::from(Arc::new(HoldableWaker(cx.waker().clone()))));
        // After a panic elsewhere there is nothing left to do.
        let Ok(mut work) = self.0.work.lock() else {
            return Poll::Ready(());
        };
        let Some(future) = work.as_mut() else {
            return Poll::Ready(());
        };
        let polled = future.as_mut().poll(&mut Context::from_waker(waker));
        if polled.is_ready() {
            *work = None;
        }
        polled
    }
}

impl Drop for Task {
    /// The work needs the runtime, and must not outlive it.
    fn drop(&mut self) {
        let work = match self.0.work.lock() {
            Ok(mut work) => work.take(),
            Err(poisoned) => poisoned.into_inner().take(),
        };
        drop(work);
    }
}

/// Wakes a task at once, or later if this thread holds wake-ups.
struct HoldableWaker(Waker);

impl Wake for HoldableWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A thread that is ending holds none.
        let held = HELD.try_with(|held| match &mut *held.borrow_mut() {
            Some(held) => {
                if !held.iter().any(|waker| waker.will_wake(&self.0)) {
                    held.push(self.0.clone());
                }
                true
            }
            None => false,
        });
        if held != Ok(true) {
            self.0.wake_by_ref();
        }
    }
}

/// Wake-ups of drivers that were held back; delivered when dropped.
pub struct HeldWakeups(Vec<Waker>);

impl HeldWakeups {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Drops them undelivered: their work has been done.
    pub fn forget(mut self) {
        self.0.clear();
    }
}

impl Drop for HeldWakeups {
    fn drop(&mut self) {
        for waker in self.0.drain(..) {
            waker.wake();
        }
    }
}

/// Runs `body` and holds back the wake-ups of drivers that it causes.
pub fn holding_wakeups<T>(body: impl FnOnce() -> T) -> (T, HeldWakeups) {
    HELD.set(Some(Vec::new()));
    /// Delivers them after a panic, too.
    struct Release;
    impl Drop for Release {
        fn drop(&mut self) {
            drop(HeldWakeups(HELD.take().unwrap_or_default()));
        }
    }
    let release = Release;
    let outcome = body();
    let held = HeldWakeups(HELD.take().unwrap_or_default());
    drop(release);
    (outcome, held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counted() -> (Arc<Counter>, Waker) {
        let counter = Arc::<Counter>::default();
        let waker = Waker::from(Arc::new(HoldableWaker(Waker::from(Arc::clone(&counter)))));
        (counter, waker)
    }

    #[test]
    fn held_wakeups_come_once() {
        let (counter, waker) = counted();
        let ((), held) = holding_wakeups(|| {
            waker.wake_by_ref();
            waker.wake_by_ref();
        });
        assert_eq!(counter.0.load(Ordering::Relaxed), 0);
        assert!(!held.is_empty());
        drop(held);
        assert_eq!(counter.0.load(Ordering::Relaxed), 1);
        waker.wake_by_ref();
        assert_eq!(
            counter.0.load(Ordering::Relaxed),
            2,
            "nothing is held any more"
        );
    }

    #[test]
    fn forgotten_wakeups_do_not_come() {
        let (counter, waker) = counted();
        let ((), held) = holding_wakeups(|| waker.wake_by_ref());
        held.forget();
        assert_eq!(counter.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_panic_releases_them() {
        let (counter, waker) = counted();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            holding_wakeups(|| {
                waker.wake_by_ref();
                panic!("for a test");
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(counter.0.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn whoever_comes_first_does_the_work() {
        let steps = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&steps);
        DrivingRuntime.spawn(Box::pin(std::future::poll_fn(move |_| {
            match count.fetch_add(1, Ordering::Relaxed) {
                0 => Poll::Pending,
                _ => Poll::Ready(()),
            }
        })));
        let driver = Driver::last_spawned().unwrap();
        assert!(Driver::last_spawned().is_none());
        assert!(!driver.run(&Handle::current()), "it has not begun");
        tokio::task::yield_now().await;
        assert_eq!(steps.load(Ordering::Relaxed), 1);
        assert!(driver.run(&Handle::current()));
        assert_eq!(steps.load(Ordering::Relaxed), 2);
        assert!(driver.run(&Handle::current()), "it has ended");
        tokio::task::yield_now().await;
        assert_eq!(steps.load(Ordering::Relaxed), 2, "the task sees the end");
    }
}
