//! The driver: a task that reads for all tasks of a session.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use memring_ring::halves::{Kept, Which};
use memring_transport::Session;

use super::super::background::{self, Alarm};
use super::super::shared::{HeldHalves, SLICE, Shared};
use super::super::waiter::Waiter;
use super::super::waiting::Lies;
use crate::polled::sealed::Sealed as Waits;
use crate::polled::{Arm, Half, Wants, arm_these};
use crate::task::{self, STREAK, TURNS, Watched};

/// Reads for a session until that is over, or nobody uses it any more.
pub(crate) struct Driver<D> {
    shared: Weak<Shared>,
    bell: D,
    /// The receiving half, between turns.
    kept: Option<Kept>,
    /// The number of its sleep, while a thread has the half.
    sleep: Option<u64>,
    armed: bool,
    /// Those that were told had their turn since it was woken.
    yielded: bool,
    /// For what nothing rings.
    soon: Option<Alarm>,
}

impl<D: task::Driver> Driver<D> {
    pub(super) fn new(shared: &Arc<Shared>) -> io::Result<Self> {
        Ok(Self {
            shared: Arc::downgrade(shared),
            bell: D::of(shared.session())?,
            kept: None,
            sleep: None,
            armed: false,
            yielded: false,
            soon: None,
        })
    }

    fn turn(&mut self, shared: &Arc<Shared>, context: &mut Context<'_>) -> Poll<()> {
        if shared.is_forked() {
            return Poll::Ready(());
        }
        shared.tasks.set_driver(context.waker().clone());
        self.soon = None;
        let Some(mut held) = self.take(shared, context) else { return Poll::Pending };
        // ORDERING: Relaxed; see `has_reader`.
        shared.tasks.reading.store(true, Ordering::Relaxed);
        for _ in 0..TURNS {
            if std::mem::take(&mut self.armed) {
                Reading { held: &mut held, session: shared.session() }.take_back(Wants::Messages);
            }
            let lies = shared.read_some(&mut held, STREAK);
            if lies == Lies::Over {
                return Poll::Ready(()); // and the half is given back
            }
            #[cfg(feature = "tokio")]
            shared.begin_jobs();
            if lies == Lies::More {
                break;
            }
            // To arm takes some system calls. First those have their turn that what came was for.
            if !std::mem::replace(&mut self.yielded, true) {
                break;
            }
            if lies == Lies::Crowded || shared.owes() {
                Alarm::set(&mut self.soon, Instant::now() + SLICE, context);
            }
            if lies != Lies::Crowded {
                let mut reading = Reading { held: &mut held, session: shared.session() };
                if arm_these(&mut reading, self.bell.notifier(), Wants::Messages) == Arm::Ready {
                    continue;
                }
                self.armed = true;
            }
            // What has just been read of the control socket may have been for one who waits for room.
            shared.tasks.next_in_line();
            if self.bell.poll(context).is_pending() {
                self.kept = Some(held.keep());
                return Poll::Pending;
            }
            self.yielded = false;
        }
        self.yielded = true;
        self.kept = Some(held.keep());
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// The receiving half; `None` if a thread has it, and this is woken when it gives it back.
    fn take<'a>(&mut self, shared: &'a Shared, context: &Context<'_>) -> Option<HeldHalves<'a>> {
        if let Some(kept) = self.kept.take() {
            return Some(shared.held_again(kept));
        }
        loop {
            if let Some(number) = self.sleep.take() {
                let slept = shared.table().woke(number);
                drop(slept);
            }
            if let Some(held) = shared.try_take(Which::RECEIVING) {
                return Some(held);
            }
            let waiter = Waiter::Task(context.waker().clone());
            self.sleep = Some(shared.table().sleeps(waiter, Which::RECEIVING, false));
            if shared.halves.want(Which::RECEIVING) {
                return None;
            }
        }
    }
}

impl<D: task::Driver + Unpin> Future for Driver<D> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let Some(shared) = this.shared.upgrade() else { return Poll::Ready(()) };
        this.turn(&shared, context)
    }
}

impl<D> Drop for Driver<D> {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        if shared.is_forked() {
            return;
        }
        shared.tasks.reading.store(false, Ordering::Relaxed);
        // ORDERING: Release; pairs with the AcqRel in `drive`: whoever starts another one does so after this.
        shared.tasks.driven.store(false, Ordering::Release);
        if let Some(number) = self.sleep.take() {
            let slept = shared.table().woke(number);
            if slept.is_none() {
                shared.hand_on(Which::RECEIVING); // it was chosen
            }
        }
        if let Some(kept) = self.kept.take() {
            drop(shared.held_again(kept));
        }
        // Whoever waits finds that nobody reads for it, and has another driver start.
        shared.wake_tasks();
    }
}

/// The receiving half in a task, which waits for messages.
struct Reading<'a, 'b> {
    held: &'a mut HeldHalves<'b>,
    session: &'a Arc<Session>,
}

impl Half for Reading<'_, '_> {}

impl Waits for Reading<'_, '_> {
    fn session(&self) -> &Arc<Session> {
        self.session
    }

    fn ask(&mut self, _: Wants) {
        self.held.receiving().consumer.ask_doorbell();
    }

    fn look(&mut self, _: Wants) -> bool {
        self.held.receiving().consumer.has_something()
    }

    fn spin(&mut self, _: Wants, _: Duration) -> bool {
        false
    }

    fn take_back(&mut self, wants: Wants) {
        if wants.messages() {
            self.held.receiving().consumer.take_back_doorbell();
        }
    }
}

impl Shared {
    /// Has somebody read for tasks, if nobody does: under tokio a task of the runtime's that this is called in, elsewhere memring's own
    /// thread.
    pub(crate) fn drive(self: &Arc<Self>) -> io::Result<()> {
        // ORDERING: AcqRel; see the drop of `Driver`.
        if self.tasks.driven.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        #[cfg(feature = "tokio")]
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && let Ok(driver) = Driver::<task::Tokio>::new(self)
        {
            runtime.spawn(driver);
            return Ok(());
        }
        let driver =
            Driver::<Watched>::new(self).and_then(|driver| background::spawn(Box::pin(driver)));
        if driver.is_err() {
            self.tasks.driven.store(false, Ordering::Release);
        }
        driver
    }

    /// Has all tasks look again.
    fn wake_tasks(&self) {
        let tasks = self.table().take_tasks();
        tasks.into_iter().for_each(Waiter::wake);
        self.tasks.wake_line();
    }
}
