//! What serves an interface in tasks: a call of the peer's comes in as a request, and is answered by a future.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use memring_codec::attached::Carried;
use memring_codec::{Attached, DecodeError, Format, Message};

use super::carrier::{Carries, Value};
use super::error::CallError;
use super::interface::{Interface, Member};
use super::pending::Question;
use super::replies::Replies;
use super::running::Place;
use super::sending::{Body, Number};
use super::service::{Call, Refused, look};
use super::shared::Shared;
use super::table::Job;
use super::tasks::answering::Answering;
use super::wire::{Code, Header, Kind};
use super::worker::Due;
use crate::arrived::Arrived;
use crate::receiver::full_text;
use crate::view::Lasting;

/// What a handler in a task comes to.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Serves an interface in tasks. `#[memring::interface]` makes one of whoever implements the asynchronous server's trait.
pub trait AsyncService: Send + Sync + 'static {
    /// What it serves.
    fn interface(&self) -> &'static Interface;

    /// Runs a member, whose number is its place in the interface, and answers.
    fn call(self: Arc<Self>, member: u32, request: TaskRequest) -> Work;

    /// The same, where the arguments are JSON, and what comes back is to be.
    fn call_json(self: Arc<Self>, member: u32, request: TaskRequest) -> Work {
        let _ = member;
        request.no_json()
    }
}

/// A call that is to be answered, in a task. If it is dropped before, the caller is told so.
pub struct TaskRequest {
    shared: Arc<Shared>,
    header: Header,
    number: u64,
    place: Option<Place>,
    arguments: Lasting,
    arrived: Option<Arc<Arrived>>,
    interface: &'static Interface,
    member: &'static Member,
    /// It runs in a task, where nothing may wait in the thread.
    in_tasks: bool,
    /// It was answered, or is by somebody else.
    answered: AtomicBool,
}

impl fmt::Debug for TaskRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.call().fmt(f)
    }
}

impl TaskRequest {
    /// A call that was read; `None` if there is no such member.
    pub(crate) fn of(
        shared: &Arc<Shared>,
        job: Job,
        interface: &'static Interface,
        in_tasks: bool,
    ) -> Option<Self> {
        let Job { packet, place } = job;
        let member = interface.members.get(packet.header.number as usize)?;
        Some(Self {
            shared: Arc::clone(shared),
            header: packet.header,
            number: packet.call,
            place,
            arguments: Lasting::came(packet.memory, packet.header.body_at()),
            arrived: packet.arrived,
            interface,
            member,
            in_tasks,
            answered: AtomicBool::new(false),
        })
    }

    /// The same, of one that lies elsewhere, for a thread that waits for the answer.
    pub(crate) fn copied(
        shared: &Arc<Shared>,
        due: &Due<'_>,
        interface: &'static Interface,
    ) -> Option<Self> {
        let member = interface.members.get(due.header.number as usize)?;
        Some(Self {
            shared: Arc::clone(shared),
            header: due.header,
            number: due.number,
            place: due.place,
            arguments: Lasting::copy(due.body),
            arrived: due.arrived.cloned(),
            interface,
            member,
            in_tasks: false,
            answered: AtomicBool::new(false),
        })
    }

    /// Runs it, unless nobody waits or it comes too late.
    pub(crate) async fn run(self, service: Arc<dyn AsyncService>) {
        if self.shared.is_stopping() {
            self.end(Code::ShuttingDown, "");
        } else if self.place.is_some_and(|place| self.shared.running.at(place).is_cancelled()) {
            self.end(Code::Cancelled, "");
        } else {
            let Header { number: member, json, .. } = self.header;
            let work =
                if json { service.call_json(member, self) } else { service.call(member, self) };
            work.await;
        }
    }

    /// Who calls.
    #[must_use]
    pub fn call(&self) -> Call<'_> {
        let Self { shared, header, number, place, interface, member, .. } = self;
        Call::new(shared, header, *number, *place, interface, member)
    }

    /// Its arguments, where they lie.
    ///
    /// # Errors
    ///
    /// [`Refused`], if it is not to be run.
    pub fn arguments<A: Message>(&self) -> Result<&memring_codec::View<A>, Refused> {
        let arrived = self.arrived.as_ref();
        look(self.header.time, arrived)?;
        self.arguments.view::<A>(arrived).map_err(|why| DecodeError::from(why).into())
    }

    /// What they carry.
    ///
    /// # Errors
    ///
    /// [`Refused`], if they carry nothing.
    pub fn carried<A: Message<Format = Attached>>(&self) -> Result<&Carried, Refused>
    where
        Attached: Format<A, Checked = Carried>,
    {
        self.arguments.carried::<A>().ok_or_else(Refused::no_answer)
    }

    /// Arguments as they came.
    #[cfg(feature = "json")]
    pub(crate) fn body(&self) -> &[u8] {
        self.arguments.bytes()
    }

    /// The same with other arguments, that nothing came with.
    #[cfg(feature = "json")]
    pub(crate) fn set_body(&mut self, body: &[u8]) {
        self.arguments = Lasting::copy(body);
        self.arrived = None;
    }

    #[cfg(feature = "json")]
    pub(crate) fn largest_message(&self) -> u64 {
        self.shared.session().negotiated().largest_message
    }

    /// Where a stream's replies go, which answer it from then on.
    ///
    /// # Errors
    ///
    /// [`Refused`], if it is no call that is answered.
    pub fn replies<T, C: Carries<T>, E, F: Carries<E>>(&self) -> Result<Replies<T, E>, Refused> {
        let place = self.place.ok_or_else(Refused::no_answer)?;
        // ORDERING: Relaxed; one task has this.
        self.answered.store(true, Ordering::Relaxed);
        let shared = Arc::clone(&self.shared);
        Ok(Replies::new::<C, F>(shared, self.number, place, self.header.time))
    }

    /// Answers with what the handler came to.
    pub fn answer<R, C: Carries<R>, E, F: Carries<E>>(
        self,
        came_to: Result<Result<R, E>, Refused>,
    ) -> impl Future<Output = ()> + Send + use<R, C, E, F> {
        // Encoded here: what a task keeps has to be fit for other threads, and results need not be.
        let begun = match came_to {
            Err(Refused { code, why }) => {
                self.end(code, &why);
                None
            }
            Ok(Ok(result)) => Some(self.begin(Kind::Done, &Value::<R, C>::new(&result))),
            Ok(Err(error)) => Some(self.begin(Kind::Failed, &Value::<E, F>::new(&error))),
        };
        async move {
            let sent = match begun {
                Some(Ok(answer)) => answer.send().await,
                Some(Err(error)) => Err(error),
                None => Ok(()),
            };
            match sent {
                Ok(()) | Err(CallError::Ended(_)) => {}
                Err(error) => self.tell(Code::Answer, &full_text(&error)),
            }
        }
    }

    /// It is not run, or was and came to nothing; unless it was answered before.
    pub fn refuse(self, refused: Refused) {
        self.end(refused.code, &refused.why);
    }

    /// Begins to answer.
    fn begin<B: Body>(&self, kind: Kind, body: &B) -> Result<Answering, CallError> {
        let Self { shared, number, .. } = self;
        self.free();
        let header = Header::new(kind);
        Answering::begin(shared, *number, || {
            if self.in_tasks && !B::CARRIES {
                return shared.begin_in_task(header, body, Number::Of(*number));
            }
            Ok(shared.send(header, *number, body, None).map(|()| Question::Told)?)
        })
    }

    /// Ends it without an answer of the method's.
    pub(crate) fn end(&self, code: Code, why: &str) {
        if self.place.is_some() && !self.free() {
            self.tell(code, why);
        }
    }

    fn tell(&self, code: Code, why: &str) {
        if self.in_tasks {
            self.shared.end_call_sometime(self.number, code, why);
        } else {
            self.shared.end_call(self.number, code, why);
        }
    }

    /// Its place is free: the peer may ask more as soon as it has the answer. Whether it was before.
    fn free(&self) -> bool {
        // ORDERING: Relaxed; one task has this.
        let answered = self.answered.swap(true, Ordering::Relaxed);
        if let Some(place) = self.place.filter(|_| !answered) {
            self.shared.running.at(place).finish();
        }
        answered
    }
}

impl Drop for TaskRequest {
    fn drop(&mut self) {
        self.end(Code::Dropped, "");
    }
}

/// What a handler comes to, if it does not panic.
///
/// # Errors
///
/// [`Refused`]: the handler's argument was none, or it panicked.
#[doc(hidden)]
pub async fn caught<T>(handler: impl Future<Output = Result<T, Refused>>) -> Result<T, Refused> {
    let mut handler = pin!(handler);
    poll_fn(|context| {
        // The handler's own state is its own to mind: it is shared with other calls, as a server's is.
        let polled = catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(context)));
        polled.unwrap_or_else(|_| Poll::Ready(Err(Refused::panicked())))
    })
    .await
}

/// Runs this in the thread that asks, which sleeps while it waits.
pub(crate) fn block_on(mut work: Work) {
    /// A thread, and whether it is to look again: it may have slept for something else meanwhile.
    struct Unparks(Thread, AtomicBool);
    impl Wake for Unparks {
        fn wake(self: Arc<Self>) {
            // ORDERING: Release; pairs with the Acquire below: what was done before the wake is seen by the turn that follows.
            self.1.store(true, Ordering::Release);
            self.0.unpark();
        }
    }
    let unparks = Arc::new(Unparks(thread::current(), AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&unparks));
    while work.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        // ORDERING: Acquire; see `wake`.
        while !unparks.1.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }
}
