//! One thread of memring's own, for what no executor of the application's does: it polls the drivers that none was given, and
//! wakes whoever waits for an instant. It starts with the first of these, and sleeps between them.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use memring_ring::fork::PerProcess;
use memring_transport::thread;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

static BACKGROUND: PerProcess<Arc<Background>> = PerProcess::new();

#[derive(Default)]
struct Background {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Arc<Task>>,
    alarms: BTreeMap<(Instant, u64), Waker>,
    /// The number of the last alarm: several may be for one instant.
    last: u64,
    /// Until when it sleeps at most; `None` for as long as nothing changes.
    until: Option<Instant>,
}

/// Work that it polls when that is woken.
struct Task {
    work: Mutex<Option<Work>>,
    /// Among those to be polled.
    ready: AtomicBool,
}

/// The thread, if it is there or can be had.
fn background() -> io::Result<&'static Arc<Background>> {
    BACKGROUND.get_or_try_init(|| {
        let background = Arc::new(Background::default());
        let body = Arc::clone(&background);
        thread::start(c"memring-tasks", move || body.run())?;
        Ok(background)
    })
}

/// Has this done, in turns with others.
///
/// # Errors
///
/// What the kernel says of one more thread.
pub(super) fn spawn(work: Work) -> io::Result<()> {
    background()?;
    let work = Mutex::new(Some(work));
    Arc::new(Task { work, ready: AtomicBool::new(false) }).wake();
    Ok(())
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        // ORDERING: AcqRel; pairs with the swap in `poll`: what was done before this wake is seen by the turn that follows.
        if !self.ready.swap(true, Ordering::AcqRel)
            && let Ok(background) = background()
        {
            background.lock().ready.push_back(self);
            background.changed.notify_one();
        }
    }
}

impl Task {
    fn poll(self: &Arc<Self>) {
        // ORDERING: AcqRel; see `wake`.
        self.ready.swap(false, Ordering::AcqRel);
        let waker = Waker::from(Arc::clone(self));
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(going) = work.as_mut() else { return };
        let turn = || going.as_mut().poll(&mut Context::from_waker(&waker));
        // What panics is over, and nobody else's turn with it.
        if catch_unwind(AssertUnwindSafe(turn)).unwrap_or(Poll::Ready(())).is_ready() {
            *work = None;
        }
    }
}

impl Background {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            state.until = Some(Instant::now()); // awake
            let now = Instant::now();
            if let Some(first) = state.alarms.first_entry().filter(|first| first.key().0 <= now) {
                let waker = first.remove();
                drop(state);
                let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
                state = self.lock();
            }
            if let Some(task) = state.ready.pop_front() {
                drop(state);
                task.poll();
                drop(task); // perhaps the last of it: not under the lock
                state = self.lock();
                continue;
            }
            let due = state.alarms.first_key_value().map(|((due, _), _)| *due);
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            state.until = due;
            state = match left {
                Some(left) if left.is_zero() => state,
                Some(left) => {
                    let woken = self.changed.wait_timeout(state, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

/// Does this in a thread of its own; what comes of it.
///
/// # Errors
///
/// What the kernel says of one more thread; and if it panicked there.
pub(super) async fn elsewhere<T: Send + 'static>(
    what: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    struct Outcome<T> {
        done: Option<T>,
        over: bool,
        waker: Option<Waker>,
    }
    struct Says<T>(Arc<Mutex<Outcome<T>>>);
    impl<T> Drop for Says<T> {
        fn drop(&mut self) {
            let mut outcome = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            outcome.over = true;
            let waker = outcome.waker.take();
            drop(outcome);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
    let outcome = Arc::new(Mutex::new(Outcome { done: None, over: false, waker: None }));
    let says = Says(Arc::clone(&outcome));
    thread::start(c"memring-connect", move || {
        let done = what();
        says.0.lock().unwrap_or_else(PoisonError::into_inner).done = Some(done);
        drop(says);
    })?;
    poll_fn(|context| {
        let waker = context.waker().clone();
        let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
        if outcome.over {
            let panicked = || io::Error::other("it panicked");
            return Poll::Ready(outcome.done.take().ok_or_else(panicked));
        }
        let other = outcome.waker.replace(waker);
        drop(outcome);
        drop(other); // a waker may do anything
        Poll::Pending
    })
    .await
}

/// Waits until then, in a task.
#[cfg(feature = "tokio")]
pub(super) async fn sleep_until(due: Instant) {
    let mut alarm = None;
    poll_fn(|context| {
        if Instant::now() >= due {
            return Poll::Ready(());
        }
        Alarm::set(&mut alarm, due, context);
        Poll::Pending
    })
    .await;
}

/// Wakes a task at an instant. Dropping it forgets that.
#[derive(Debug)]
pub(super) struct Alarm {
    due: Instant,
    number: u64,
}

impl Alarm {
    /// Has the task woken then; by this one alone from now on, if there is another.
    pub(super) fn set(slot: &mut Option<Self>, due: Instant, context: &Context<'_>) {
        let Ok(background) = background() else {
            // No thread can be had: better to look again and again than never.
            context.waker().wake_by_ref();
            return;
        };
        let waker = context.waker().clone();
        let mut state = background.lock();
        let same = slot.as_ref().filter(|alarm| alarm.due == due).map(|alarm| alarm.number);
        let number = same.unwrap_or_else(|| {
            state.last += 1;
            state.last
        });
        let other = state.alarms.insert((due, number), waker);
        // It sleeps for too long: it is to see this one.
        if state.until.is_none_or(|until| until > due) {
            state.until = Some(due);
            background.changed.notify_one();
        }
        drop(state);
        drop(other); // a waker may do anything
        if same.is_none() {
            *slot = Some(Self { due, number });
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(background) = BACKGROUND.get() {
            let waker = background.lock().alarms.remove(&(self.due, self.number));
            drop(waker);
        }
    }
}
