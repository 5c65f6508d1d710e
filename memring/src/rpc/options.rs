//! How long calls may take, and what ends them before.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use super::background::Alarm;
use super::error::CallError;
use super::waiting::Stopped;

/// How long calls may take, and what ends them before.
///
/// ```
/// use std::time::Duration;
/// use memring::rpc::{CallError, Options};
/// # use memring::rpc::{Call, Calls, Link};
///
/// #[memring::interface(name = "sleeper", version = "1")]
/// trait Sleeper {
///     fn sleep(ms: u64);
/// }
/// # struct Sleeps;
/// # impl SleeperServer for Sleeps {
/// #     fn sleep(&self, call: &Call<'_>, ms: u64) {
/// #         let end = std::time::Instant::now() + Duration::from_millis(ms);
/// #         while std::time::Instant::now() < end {
/// #             std::thread::sleep(Duration::from_millis(1));
/// #             if call.is_cancelled() {
/// #                 // The caller has the same deadline: it sees it before this answer comes.
/// #                 return std::thread::sleep(Duration::from_millis(200));
/// #             }
/// #         }
/// #     }
/// # }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (server, client) = memring::pair::<Calls>()?;
/// # let server = Link::serving(server, [Sleeper::serve(Sleeps)]);
/// # std::thread::spawn(move || server.run());
/// # let sleeper: SleeperClient = Link::over(client).open()?;
/// // Another client of the same session: options are of those who call by it.
/// let impatient = sleeper.with(Options::new().timeout(Duration::from_millis(20)));
/// assert!(matches!(impatient.sleep(1_000_000), Err(CallError::DeadlinePassed)));
/// sleeper.sleep(1)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "options are for a client's `with`"]
pub struct Options {
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    cancel: Option<Cancel>,
}

impl Options {
    /// As long as it takes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Each call may take so long, from when it is made.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Calls end at this instant. The earlier of both counts.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Calls end when this is cancelled, and none is begun any more.
    pub fn cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// What ends a call that is made now.
    #[inline]
    pub(crate) fn until(&self) -> Until {
        let timeout = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let deadline = match (timeout, self.deadline) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Until { deadline, cancel: self.cancel.clone() }
    }
}

/// Ends calls from another thread, or task: those that were made with it and have no answer yet, streams that have not ended, and
/// calls that will be made with it.
///
/// ```
/// use memring::rpc::{CallError, Cancel, Options};
/// # use memring::rpc::{Call, Calls, Link};
///
/// #[memring::interface(name = "oracle", version = "1")]
/// trait Oracle {
///     fn ask(question: &str) -> String;
/// }
/// # struct Thinks;
/// # impl OracleServer for Thinks {
/// #     fn ask(&self, call: &Call<'_>, _: &str) -> String {
/// #         while !call.is_cancelled() {
/// #             std::thread::sleep(std::time::Duration::from_millis(1));
/// #         }
/// #         String::new()
/// #     }
/// # }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (server, client) = memring::pair::<Calls>()?;
/// # let server = Link::serving(server, [Oracle::serve(Thinks)]);
/// # std::thread::spawn(move || server.run());
/// # let oracle: OracleClient = Link::over(client).open()?;
/// let cancel = Cancel::new();
/// let oracle = oracle.with(Options::new().cancel(&cancel));
/// let asking = std::thread::spawn(move || oracle.ask("why?"));
/// cancel.cancel();
/// assert!(matches!(asking.join().unwrap(), Err(CallError::Cancelled)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    cancelled: AtomicBool,
    listening: Mutex<Listening>,
}

/// Tasks that are woken when it is cancelled, by the numbers of what they wait for.
#[derive(Debug, Default)]
struct Listening {
    tasks: BTreeMap<u64, Waker>,
    last: u64,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Listening> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cancel {
    /// Not cancelled yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels: a task that waits for an answer is woken, a thread returns within 10 ms, and the peer is told. What carries
    /// descriptors or blobs and waits for room goes on waiting until its deadline.
    pub fn cancel(&self) {
        // ORDERING: Release; pairs with the Acquire in `is_cancelled`.
        self.inner.cancelled.store(true, Ordering::Release);
        let told = std::mem::take(&mut self.inner.lock().tasks);
        told.into_values().for_each(Waker::wake);
    }

    /// Whether it was.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        // ORDERING: Acquire; see `cancel`.
        self.inner.cancelled.load(Ordering::Acquire)
    }
}

/// How long a thread that can be cancelled looks away from that.
const CANCEL_LOOK: Duration = Duration::from_millis(10);

/// What ends a call before its answer does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Until {
    pub deadline: Option<Instant>,
    cancel: Option<Cancel>,
}

impl Until {
    /// Whether it may be told to end by another thread, which takes looks now and then.
    #[inline]
    pub(crate) fn may_be_cancelled(&self) -> bool {
        self.cancel.is_some()
    }

    /// That it has not been told so yet.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), CallError> {
        match &self.cancel {
            Some(cancel) if cancel.is_cancelled() => Err(CallError::Cancelled),
            _ => Ok(()),
        }
    }

    /// Waits, as `wait` does until the instant that it is given, for as long as nothing ends it.
    pub(crate) fn wait<T>(
        &self,
        mut wait: impl FnMut(Option<Instant>) -> Result<T, Stopped>,
    ) -> Result<T, CallError> {
        if self.cancel.is_none() {
            return wait(self.deadline).map_err(CallError::from);
        }
        loop {
            self.check()?;
            let soon = Instant::now() + CANCEL_LOOK;
            let until = self.deadline.map_or(soon, |deadline| deadline.min(soon));
            match wait(Some(until)) {
                Err(Stopped::TimedOut) if Some(until) != self.deadline => {}
                waited => return waited.map_err(CallError::from),
            }
        }
    }
}

/// How a task hears that its call is to end.
#[derive(Debug, Default)]
pub(crate) struct Hears {
    alarm: Option<Alarm>,
    ear: Option<Ear>,
}

/// A place among those who listen for a cancellation. Dropping it gives it up.
#[derive(Debug)]
struct Ear {
    of: Arc<Inner>,
    number: u64,
}

impl Drop for Ear {
    fn drop(&mut self) {
        let waker = self.of.lock().tasks.remove(&self.number);
        drop(waker); // not under the lock: it may do anything
    }
}

impl Until {
    /// What ended it, in a task; if nothing has, the task is woken when something does.
    pub(crate) fn poll(&self, hears: &mut Hears, context: &Context<'_>) -> Result<(), CallError> {
        if let Some(cancel) = &self.cancel {
            let waker = context.waker().clone();
            let inner = &cancel.inner;
            let mut listening = inner.lock();
            let number = hears.ear.as_ref().map_or_else(
                || {
                    listening.last += 1;
                    listening.last
                },
                |ear| ear.number,
            );
            let other = listening.tasks.insert(number, waker);
            drop(listening);
            drop(other);
            hears.ear.get_or_insert_with(|| Ear { of: Arc::clone(inner), number });
            self.check()?; // it listens by now, so it misses none
        }
        if let Some(deadline) = self.deadline {
            if Instant::now() >= deadline {
                return Err(CallError::DeadlinePassed);
            }
            Alarm::set(&mut hears.alarm, deadline, context);
        }
        Ok(())
    }
}
