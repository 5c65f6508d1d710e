//! The driver: a task that reads for all tasks of a session.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use memring_ring::halves::Which;
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
        let Some(mut held) = self.take(shared, context) else {
            // A thread reads, and files calls; and it may do so for long.
            if shared.owes()
                && let Some(mut held) = shared.try_take(Which::SENDING)
            {
                shared.pay(&mut held);
            }
            if shared.owes() {
                Alarm::set(&mut self.soon, Instant::now() + SLICE, context);
            }
            shared.begin_jobs();
            return Poll::Pending;
        };
        // ORDERING: Relaxed; see `has_reader`.
        shared.tasks.reading.store(true, Ordering::Relaxed);
        for _ in 0..TURNS {
            if std::mem::take(&mut self.armed) {
                Reading { held: &mut held, session: shared.session() }.take_back(Wants::Messages);
            }
            let lies = shared.read_some(&mut held, STREAK);
            shared.begin_jobs();
            if lies == Lies::Over {
                return Poll::Ready(()); // and the half is given back
            }
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
                self.park(shared, held, context);
                return Poll::Pending;
            }
            self.yielded = false;
        }
        self.yielded = true;
        self.park(shared, held, context);
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Leaves the half to whoever waits, until the next turn.
    fn park(&mut self, shared: &Shared, held: HeldHalves<'_>, context: &Context<'_>) {
        *shared.tasks.parked() = Some(held.keep());
        // A thread that came while this read sleeps for the half. If it comes after this look, it finds the half parked.
        if !shared.halves.is_wanted(Which::RECEIVING) {
            return;
        }
        let Some(kept) = shared.tasks.parked().take() else { return };
        drop(shared.held_again(kept)); // and one of them is woken
        if let Some(held) = self.take(shared, context) {
            *shared.tasks.parked() = Some(held.keep());
            context.waker().wake_by_ref(); // it may have been read with meanwhile, and is not armed then
        }
    }

    /// The receiving half; `None` if a thread has it, and this is woken when it gives it back.
    fn take<'a>(&mut self, shared: &'a Shared, context: &Context<'_>) -> Option<HeldHalves<'a>> {
        loop {
            let kept = shared.tasks.parked().take();
            if let Some(kept) = kept {
                return Some(shared.held_again(kept));
            }
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
        if let Some(number) = self.sleep.take() {
            let slept = shared.table().woke(number);
            if slept.is_none() {
                shared.hand_on(Which::RECEIVING); // it was chosen
            }
        }
        let kept = shared.tasks.parked().take();
        if let Some(kept) = kept {
            drop(shared.held_again(kept));
        }
        // ORDERING: Release; pairs with the AcqRel in `drive`: whoever starts another one does so after this.
        shared.tasks.driven.store(false, Ordering::Release);
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

impl Driver<Watched> {
    /// The session's, to be polled by whoever asks; `None` if it has one.
    pub(super) fn own(shared: &Arc<Shared>) -> io::Result<Option<Self>> {
        // ORDERING: AcqRel; see the drop.
        if shared.tasks.driven.swap(true, Ordering::AcqRel) {
            return Ok(None);
        }
        let starting = Starting(&shared.tasks.driven);
        let driver = Self::new(shared)?;
        starting.done();
        Ok(Some(driver))
    }
}

/// A driver that is on its way. If that fails, or panics as a runtime without I/O does, there is none.
struct Starting<'a>(&'a AtomicBool);

impl Starting<'_> {
    fn done(self) {
        std::mem::forget(self);
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        // ORDERING: Release; as in the drop of `Driver`.
        self.0.store(false, Ordering::Release);
    }
}

impl Shared {
    /// Has somebody read for tasks, if nobody does: under tokio a task of the runtime's that this is called in, elsewhere memring's own
    /// thread.
    pub(crate) fn drive(self: &Arc<Self>) -> io::Result<()> {
        // ORDERING: AcqRel; see the drop of `Driver`.
        #[cfg(feature = "tokio")]
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && !self.tasks.driven.swap(true, Ordering::AcqRel)
        {
            let starting = Starting(&self.tasks.driven);
            // Without more descriptors our own thread does it.
            if let Ok(driver) = Driver::<task::Tokio>::new(self) {
                starting.done();
                runtime.spawn(driver);
                return Ok(());
            }
        }
        match Driver::own(self)? {
            Some(driver) => background::spawn(Box::pin(driver)),
            None => Ok(()),
        }
    }

    /// The receiving half, if the driver has it and is not reading: for a thread that waits, and reads in its place. Who wants it only
    /// `for_news` gets it if there is something to read.
    pub(in super::super) fn take_parked(&self, for_news: bool) -> Option<HeldHalves<'_>> {
        let mut parked = self.tasks.parked();
        let mut held = self.held_again(parked.take()?);
        if for_news && !held.receiving().consumer.has_something() {
            *parked = Some(held.keep());
            return None;
        }
        drop(parked);
        held.receiving().consumer.take_back_doorbell();
        // ORDERING: Relaxed; see `has_reader`.
        self.tasks.reading.store(false, Ordering::Relaxed);
        self.tasks.next_in_line();
        // It is to ask for the half, and to arm again once it has it.
        self.tasks.wake_driver();
        Some(held)
    }

    /// Has all tasks look again.
    fn wake_tasks(&self) {
        let tasks = self.table().take_tasks();
        tasks.into_iter().for_each(Waiter::wake);
        self.tasks.wake_line();
    }
}
