//! The caller's side: an interface that was opened, and calls to it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use memring_codec::DecodeError;

use super::carrier::{Came, Carries, Delivers, Value};
use super::error::CallError;
use super::interface::{Interface, Reached};
use super::pending::Pending;
use super::session::{Link, not_sent, unanswered};
use super::shared::{Shared, now_nanos};
use super::signal::Subscription;
use super::stream::Stream;
use super::table::Asked;
use super::waiting::Stopped;
use super::wire::{Code, Header, Kind, sentence};

/// A client of an interface. `#[memring::interface]` writes them.
pub trait Client: Sized {
    /// The interface, as this program knows it.
    fn interface() -> &'static Interface;

    #[doc(hidden)]
    fn bind(bound: Bound) -> Self;
}

/// What was opened, and what of it is as this program knows it.
#[derive(Debug)]
pub(crate) struct Reaching {
    pub number: u16,
    pub interface: &'static Interface,
    pub members: Box<[Reached]>,
}

/// How long calls may take, and what ends them before.
///
/// ```
/// use std::time::Duration;
/// use memring::rpc::{Cancel, Options};
///
/// let cancel = Cancel::new();
/// let options = Options::new().timeout(Duration::from_millis(50)).cancel(&cancel);
/// # let _ = options;
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

    /// Calls end when this is cancelled.
    pub fn cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    fn end_of_call(&self) -> Option<Instant> {
        let timeout = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        match (timeout, self.deadline) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }
}

/// Ends calls from another thread: those that were made with it and have no answer yet, and those that will be made with it.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    inner: Arc<Cancelling>,
}

#[derive(Debug, Default)]
struct Cancelling {
    cancelled: AtomicBool,
    calls: Mutex<Vec<(Weak<Shared>, u64)>>,
}

impl Cancel {
    /// Not cancelled yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels. Each peer is told, and the callers' threads return within 10 ms.
    pub fn cancel(&self) {
        // ORDERING: Release; pairs with the Acquire in `is_cancelled`.
        self.inner.cancelled.store(true, Ordering::Release);
        let calls = std::mem::take(&mut *self.calls());
        for (shared, call) in calls {
            if let Some(shared) = shared.upgrade() {
                shared.tell_cancelled(call);
            }
        }
    }

    /// Whether it was.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        // ORDERING: Acquire; see `cancel`.
        self.inner.cancelled.load(Ordering::Acquire)
    }

    fn calls(&self) -> std::sync::MutexGuard<'_, Vec<(Weak<Shared>, u64)>> {
        self.inner.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, shared: &Arc<Shared>, call: u64) {
        self.calls().push((Arc::downgrade(shared), call));
    }

    fn remove(&self, call: u64) {
        let mut calls = self.calls();
        if let Some(place) = calls.iter().position(|(_, of)| *of == call) {
            calls.swap_remove(place);
        }
    }
}

/// How long a thread that can be cancelled looks away from that.
const SLICE: Duration = Duration::from_millis(10);

/// An opened interface, and how calls to it are made. What a client is made of.
#[doc(hidden)]
#[derive(Clone)]
pub struct Bound {
    pub(crate) shared: Arc<Shared>,
    reaching: Arc<Reaching>,
    options: Options,
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("interface", &self.reaching.interface.to_string())
            .field("peer", self.shared.peer())
            .finish()
    }
}

impl Bound {
    pub(crate) fn new(shared: Arc<Shared>, reaching: Arc<Reaching>) -> Self {
        Self { shared, reaching, options: Options::default() }
    }

    /// The same, with other options.
    pub fn with(&self, options: Options) -> Self {
        Self { shared: Arc::clone(&self.shared), reaching: Arc::clone(&self.reaching), options }
    }

    /// The session.
    pub fn link(&self) -> Link {
        Link::of(&self.shared)
    }

    /// The number that the peer has for a member.
    #[inline]
    fn reach(&self, member: usize) -> Result<u32, CallError> {
        match &self.reaching.members[member] {
            Reached::Same(number) => Ok(*number),
            other => Err(self.out_of_reach(member, other)),
        }
    }

    #[cold]
    fn out_of_reach(&self, member: usize, reached: &Reached) -> CallError {
        let interface = self.reaching.interface;
        let ours = &interface.members[member];
        match reached {
            Reached::Changed(theirs) => CallError::MethodChanged {
                interface: interface.to_string(),
                method: ours.name,
                ours: ours.signature,
                theirs: theirs.to_string(),
            },
            Reached::Denied => CallError::Denied { method: ours.name },
            Reached::Unknown | Reached::Same(_) => {
                CallError::UnknownMethod { interface: interface.to_string(), method: ours.name }
            }
        }
    }

    #[inline]
    fn header(&self, kind: Kind, number: u32, deadline: Option<Instant>) -> Header {
        let time = deadline.map_or(0, |deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            now_nanos().saturating_add(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)).max(1)
        });
        Header { interface: self.reaching.number, number, time, ..Header::new(kind) }
    }

    /// Calls a member and waits for its answer.
    #[inline(always)]
    pub fn call<A, CA, R, CR, E, CE>(&self, member: usize, arguments: &A) -> Result<R, CallError<E>>
    where
        CA: Carries<A>,
        CR: Delivers<R>,
        CE: Delivers<E>,
    {
        let number = self.reach(member).map_err(CallError::widen)?;
        let deadline = self.options.end_of_call();
        if self.options.cancel.as_ref().is_some_and(Cancel::is_cancelled) {
            return Err(CallError::Cancelled);
        }
        let header = self.header(Kind::Call, number, deadline);
        let arguments = Value::<A, CA>::new(arguments);
        if let Some(cancel) = &self.options.cancel {
            let call = self.shared.ask(header, &arguments, Asked::Waiting(None), deadline);
            let call = call.map_err(|error| not_sent(error).widen())?;
            return self.answer_unless::<R, CR, E, CE>(call, deadline, cancel);
        }
        match self.shared.call(header, &arguments, deadline, read::<R, CR, E, CE>) {
            Ok(answer) => answer,
            Err(why) => Err(unanswered(why).widen()),
        }
    }

    /// Waits for an answer, unless it is cancelled.
    fn answer_unless<R, CR, E, CE>(
        &self,
        call: u64,
        deadline: Option<Instant>,
        cancel: &Cancel,
    ) -> Result<R, CallError<E>>
    where
        CR: Delivers<R>,
        CE: Delivers<E>,
    {
        cancel.add(&self.shared, call);
        let answer = loop {
            let soon = Instant::now() + SLICE;
            let until = deadline.map_or(soon, |deadline| deadline.min(soon));
            match self.shared.answer(call, Some(until), read::<R, CR, E, CE>) {
                Err(Stopped::TimedOut) if cancel.is_cancelled() => {
                    self.shared.cancel(call);
                    break Err(CallError::Cancelled);
                }
                Err(Stopped::TimedOut) if Some(until) != deadline => {}
                Err(stopped) => {
                    self.shared.cancel(call);
                    break Err(CallError::from(stopped).widen());
                }
                Ok(answer) => break answer,
            }
        };
        cancel.remove(call);
        answer
    }

    /// Begins a call of a member.
    pub fn start<A, CA, R, CR, E, CE>(&self, member: usize, arguments: &A) -> Pending<R, E>
    where
        CA: Carries<A>,
        CR: Delivers<R>,
        CE: Delivers<E>,
    {
        let deadline = self.options.end_of_call();
        let asked = self.reach(member).and_then(|number| {
            let header = self.header(Kind::Call, number, deadline);
            let arguments = Value::<A, CA>::new(arguments);
            self.shared.ask(header, &arguments, Asked::Waiting(None), deadline).map_err(not_sent)
        });
        Pending::new(Arc::clone(&self.shared), asked, deadline, read::<R, CR, E, CE>)
    }

    /// Begins a call with many replies.
    pub fn stream<A, CA, T, CT, E, CE>(
        &self,
        member: usize,
        arguments: &A,
    ) -> Result<Stream<T, E>, CallError>
    where
        CA: Carries<A>,
        CT: Delivers<T>,
        CE: Delivers<E>,
    {
        let deadline = self.options.end_of_call();
        let header = self.header(Kind::Call, self.reach(member)?, deadline);
        let arguments = Value::<A, CA>::new(arguments);
        let asked = Stream::<T, E>::asked();
        let call = self.shared.ask(header, &arguments, asked, deadline).map_err(not_sent)?;
        Ok(Stream::new(Arc::clone(&self.shared), call, deadline, read::<T, CT, E, CE>))
    }

    /// Subscribes to a signal.
    pub fn subscribe<T>(
        &self,
        member: usize,
        read: fn(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<Subscription<T>, CallError> {
        let number = self.reach(member)?;
        Subscription::new(self.clone(), self.reaching.number, number, read)
    }

    /// Calls a member that answers nothing.
    pub fn tell<A, CA: Carries<A>>(&self, member: usize, arguments: &A) -> Result<(), CallError> {
        let number = self.reach(member)?;
        let deadline = self.options.end_of_call();
        let header = self.header(Kind::Tell, number, deadline);
        let sent = self.shared.send(header, 0, &Value::<A, CA>::new(arguments), deadline);
        sent.map_err(|error| not_sent(error.into()))
    }
}

/// What an answer says.
#[inline(always)]
pub(crate) fn read<R, CR, E, CE>(
    header: Header,
    body: &[u8],
    arrived: Option<Came>,
) -> Result<R, CallError<E>>
where
    CR: Delivers<R>,
    CE: Delivers<E>,
{
    match header.kind {
        Kind::Done | Kind::Item => CR::decode(body, arrived).map_err(CallError::Answer),
        Kind::Failed => match CE::decode(body, arrived) {
            Ok(error) => Err(CallError::Failed(error)),
            Err(error) => Err(CallError::Answer(error)),
        },
        _ => Err(ended(header, body).widen()),
    }
}

/// Why there is no answer of the method's.
#[cold]
pub(crate) fn ended(header: Header, body: &[u8]) -> CallError {
    let why = || sentence(body).into();
    match Code::of(header.number) {
        Ok(Code::Panicked) => CallError::Panicked,
        Ok(Code::DeadlinePassed) => CallError::DeadlinePassed,
        Ok(Code::Cancelled) => CallError::Cancelled,
        Ok(Code::ShuttingDown) => CallError::ShuttingDown,
        Ok(Code::Arguments) => CallError::Arguments(why()),
        Ok(Code::Answer) => CallError::Unanswered(why()),
        Ok(Code::Dropped) => CallError::Dropped,
        _ => CallError::Unanswered("the peer's answer is of no kind that a call has".into()),
    }
}
