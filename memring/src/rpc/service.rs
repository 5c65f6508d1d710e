//! What serves an interface: a call of the peer's comes in as a request, and is answered.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::mem::needs_drop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use memring_codec::{DecodeError, Message};
use memring_transport::Peer;

use super::background::Alarm;
use super::carrier::{Carries, Value};
use super::error::CallError;
use super::interface::{Interface, Member};
use super::replies::Replies;
use super::running::Place;
use super::sending::{Body, Number, Outgoing};
use super::session::{Link, not_sent};
use super::shared::{Shared, instant_of, now_nanos};
use super::tasks::answering::Answering;
use super::waiter::Waiter;
use super::wire::{Code, Header, Kind};
use super::worker::Due;
use crate::arrived::Arrived;
use crate::receiver::full_text;
use crate::view::View;

/// Serves an interface. `#[memring::interface]` makes one of whoever implements the server's trait.
pub trait Service: Send + Sync + 'static {
    /// What it serves.
    fn interface(&self) -> &'static Interface;

    /// Runs a member, whose number is its place in the interface, and answers.
    fn call(&self, member: u32, request: Request<'_>);

    /// The same, where the arguments are JSON, and what comes back is to be.
    fn call_json(&self, member: u32, request: Request<'_>) {
        let _ = member;
        request.no_json();
    }
}

/// A call of the peer's, for as long as its handler runs: who makes it, and until when the caller waits.
///
/// ```
/// use memring::rpc::Call;
///
/// #[memring::interface(name = "search", version = "1")]
/// trait Search {
///     /// Where it is.
///     fn find(word: &str) -> Option<u64>;
/// }
///
/// struct Library(Vec<String>);
/// impl SearchServer for Library {
///     fn find(&self, call: &Call<'_>, word: &str) -> Option<u64> {
///         println!("{} looks for {word}", call.peer()); // in the kernel's words
///         for (place, page) in (0..).zip(&self.0) {
///             // What follows is work for nobody, if the caller cancelled it, waits no longer, or has gone.
///             if call.is_cancelled() {
///                 return None;
///             }
///             if page.contains(word) {
///                 return Some(place);
///             }
///         }
///         None
///     }
/// }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use memring::rpc::{Calls, Link};
/// # let (server, client) = memring::pair::<Calls>()?;
/// # let library = Library(vec!["a b".into(), "b c".into()]);
/// # let server = Link::serving(server, [Search::serve(library)]);
/// # std::thread::spawn(move || server.run());
/// # let search: SearchClient = Link::over(client).open()?;
/// # assert_eq!((search.find("c")?, search.find("d")?), (Some(1), None));
/// # Ok(())
/// # }
/// ```
pub struct Call<'a> {
    shared: &'a Arc<Shared>,
    number: u64,
    time: u64,
    interface: &'static Interface,
    member: &'static Member,
    place: Option<Place>,
}

impl<'a> Call<'a> {
    #[inline(always)]
    pub(crate) fn new(
        shared: &'a Arc<Shared>,
        header: &Header,
        number: u64,
        place: Option<Place>,
        interface: &'static Interface,
        member: &'static Member,
    ) -> Self {
        Self { shared, number, time: header.time, interface, member, place }
    }

    #[cfg(feature = "json")]
    fn again(&self) -> Self {
        let Self { shared, number, time, interface, member, place } = *self;
        Self { shared, number, time, interface, member, place }
    }

    /// Who calls, as the kernel says: uid, gid, pid, pidfd, security label.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        self.shared.peer()
    }

    /// What the caller's application calls itself. Only a claim.
    #[must_use]
    pub fn peer_name(&self) -> &str {
        self.shared.session().negotiated().peer_name.as_str()
    }

    /// The session that it came in: to call the peer in turn.
    #[must_use]
    pub fn link(&self) -> Link {
        Link::of(self.shared)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.shared
    }

    /// The interface that is called.
    #[must_use]
    pub fn interface(&self) -> &'static Interface {
        self.interface
    }

    /// The method that is called.
    #[must_use]
    pub fn method(&self) -> &'static str {
        self.member.name
    }

    /// When the caller stops waiting, if it said so. It travelled with the call, so time in the lane counts.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.time == 0 {
            return None;
        }
        Some(instant_of(self.time))
    }

    /// Whether nobody waits for the answer any more: the caller cancelled it, its deadline has passed, or it has gone; or a
    /// stream's [`Replies`] have ended.
    ///
    /// It looks into the lane, so it is also seen by a handler that has the session's only thread. A handler that works for
    /// long asks now and then.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        let Some(place) = self.place else { return false };
        let running = self.shared.running.at(place);
        if !running.is_over(self.number) {
            self.shared.look();
        }
        running.is_over(self.number) || (self.time != 0 && now_nanos() >= self.time)
    }

    /// Waits, in a task, until nobody waits for the answer any more; for ever, if the call is of those that are not answered.
    pub async fn cancelled(&self) {
        let mut alarm = None;
        poll_fn(|context| {
            let Some(place) = self.place else { return Poll::Pending };
            let running = self.shared.running.at(place);
            let waiter = Waiter::Task(context.waker().clone());
            let other = running.set_cut_waiter(self.number, waiter);
            drop(other); // not under the lock: a waker may do anything
            if running.is_over(self.number) {
                return Poll::Ready(());
            }
            if let Some(deadline) = self.deadline() {
                if Instant::now() >= deadline {
                    return Poll::Ready(());
                }
                Alarm::set(&mut alarm, deadline, context);
            }
            // If nobody can be had to read, whoever serves does.
            let _ = self.shared.drive();
            Poll::Pending
        })
        .await;
    }
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("interface", &self.interface.name)
            .field("method", &self.member.name)
            .field("number", &self.number)
            .field("peer", self.peer())
            .finish()
    }
}

/// A call that is to be answered. Only a reference, for what it consists of would be moved by pairs of words just written.
pub struct Request<'a>(&'a Incoming<'a>);

/// A call that came in, and how its answer leaves.
pub(crate) struct Incoming<'a> {
    call: Call<'a>,
    body: &'a [u8],
    arrived: Option<&'a Arc<Arrived>>,
    answers: &'a dyn Answers,
}

/// What a service does after it has answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Anything: it may call its caller.
    More,
    /// Nothing.
    Nothing,
}

/// How answers leave the thread that runs calls.
pub(crate) trait Answers {
    /// Sends one that is small.
    fn send(&self, packet: Outgoing<'_>, call: u64, then: Then);

    /// Where one goes that is not small, or has to wait, if this thread must not wait for room.
    fn later(&self) -> Option<&Cell<Option<Answering>>>;
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.call.fmt(f)
    }
}

impl Then {
    /// The same, and a value is dropped: that runs code of the user's, if anything.
    #[inline]
    fn and_drop<T>(self) -> Self {
        if const { needs_drop::<T>() } { Self::More } else { self }
    }
}

impl<'a> Incoming<'a> {
    #[inline(always)]
    pub(crate) fn new(
        shared: &'a Arc<Shared>,
        due: &Due<'a>,
        interface: &'static Interface,
        member: &'static Member,
        answers: &'a dyn Answers,
    ) -> Self {
        let call = Call::new(shared, &due.header, due.number, due.place, interface, member);
        Self { call, body: due.body, arrived: due.arrived, answers }
    }
}

impl<'a> Request<'a> {
    #[inline]
    pub(crate) fn of(incoming: &'a Incoming<'a>) -> Self {
        Self(incoming)
    }

    /// The arguments as they came.
    #[cfg(feature = "json")]
    pub(crate) fn body(&self) -> &'a [u8] {
        self.0.body
    }

    /// Has the same with other arguments run, that nothing came with.
    #[cfg(feature = "json")]
    pub(crate) fn with_body(self, body: &[u8], run: impl FnOnce(Request<'_>)) {
        let Incoming { call, answers, .. } = self.0;
        run(Request(&Incoming { call: call.again(), body, arrived: None, answers: *answers }));
    }

    #[cfg(feature = "json")]
    pub(crate) fn largest_message(&self) -> u64 {
        self.0.call.shared.session().negotiated().largest_message
    }

    /// Whether nobody waits for the answer, as far as was read.
    #[inline]
    pub(crate) fn is_cut(&self) -> bool {
        self.0.call.place.is_some_and(|place| self.0.call.shared.running.at(place).is_cancelled())
    }

    /// Reads the arguments, runs the handler, and sends what it returns.
    pub fn answer<A, R, C, E, F>(
        self,
        handler: impl FnOnce(&Call<'_>, View<'_, A>) -> Result<Result<R, E>, DecodeError>,
    ) where
        A: Message,
        C: Carries<R>,
        F: Carries<E>,
    {
        self.answer_and::<A, R, C, E, F>(Then::More, handler);
    }

    /// The same, of a service that does nothing after it: what the answer was sent with stays at hand for the next call.
    #[doc(hidden)]
    #[inline]
    pub fn answer_last<A, R, C, E, F>(
        self,
        handler: impl FnOnce(&Call<'_>, View<'_, A>) -> Result<Result<R, E>, DecodeError>,
    ) where
        A: Message,
        C: Carries<R>,
        F: Carries<E>,
    {
        self.answer_and::<A, R, C, E, F>(Then::Nothing, handler);
    }

    #[inline]
    fn answer_and<A, R, C, E, F>(
        self,
        then: Then,
        handler: impl FnOnce(&Call<'_>, View<'_, A>) -> Result<Result<R, E>, DecodeError>,
    ) where
        A: Message,
        C: Carries<R>,
        F: Carries<E>,
    {
        match self.run::<A, _>(handler) {
            Err(Refused { code, why }) => self.end(code, &why),
            Ok(Ok(result)) => {
                self.reply(Kind::Done, &Value::<R, C>::new(&result), then.and_drop::<R>());
            }
            Ok(Err(error)) => {
                self.reply(Kind::Failed, &Value::<E, F>::new(&error), then.and_drop::<E>());
            }
        }
    }

    /// Reads the arguments and runs the handler of a stream, which gets its replies when it is called.
    pub fn stream<A, T, C, E, F>(
        self,
        handler: impl FnOnce(
            &Call<'_>,
            View<'_, A>,
            &dyn Fn() -> Replies<T, E>,
        ) -> Result<(), DecodeError>,
    ) where
        A: Message,
        C: Carries<T>,
        F: Carries<E>,
    {
        let Call { shared, number, time, place, .. } = self.0.call;
        let Some(place) = place else { return }; // a stream is answered
        let begun = Cell::new(false);
        let replies = || {
            begun.set(true);
            Replies::new::<C, F>(Arc::clone(shared), number, place, time)
        };
        let run = self.run::<A, _>(|call, arguments| handler(call, arguments, &replies));
        if let Err(Refused { code, why }) = run
            && !begun.get()
        {
            self.end(code, &why);
        }
    }

    /// Reads the arguments and runs the handler of a method that answers nothing.
    pub fn tell<A: Message>(
        self,
        handler: impl FnOnce(&Call<'_>, View<'_, A>) -> Result<(), DecodeError>,
    ) {
        let _ = self.run::<A, _>(handler);
    }

    /// What the handler returns, or why it does not come to that.
    fn run<A: Message, T>(
        &self,
        handler: impl FnOnce(&Call<'_>, View<'_, A>) -> Result<T, DecodeError>,
    ) -> Result<T, Refused> {
        let Incoming { call, body, arrived, .. } = self.0;
        look(call.time, *arrived)?;
        let view = match *arrived {
            Some(arrived) => View::<A>::carrying(body, Arc::clone(arrived)),
            None => View::<A>::of(body),
        };
        let view = view.map_err(DecodeError::from)?;
        // The handler's own state is its own to mind: it is shared with other calls, as a server's is.
        match catch_unwind(AssertUnwindSafe(|| handler(call, view))) {
            Ok(came_to) => Ok(came_to?),
            Err(_) => Err(Refused::panicked()),
        }
    }

    #[inline]
    fn reply(&self, kind: Kind, body: &impl Body, then: Then) {
        let Call { shared, number, .. } = self.0.call;
        self.free();
        let header = Header::new(kind);
        if let Some(packet) = Outgoing::small(header, body) {
            return self.0.answers.send(packet, number, then);
        }
        let sent = match self.0.answers.later() {
            Some(later) => {
                let begin = || shared.begin_in_task(header, body, Number::Of(number));
                Answering::begin(shared, number, begin).map(|answer| later.set(Some(answer)))
            }
            None => shared.send(header, number, body, None).map_err(|error| not_sent(error.into())),
        };
        match sent {
            Ok(()) | Err(CallError::Ended(_)) => {}
            Err(error) => self.say(Code::Answer, &full_text(&error)),
        }
    }

    /// Ends it without an answer of the method's.
    pub(crate) fn end(&self, code: Code, why: &str) {
        if self.0.call.place.is_some() {
            self.free();
            self.say(code, why);
        }
    }

    fn say(&self, code: Code, why: &str) {
        let Call { shared, number, .. } = self.0.call;
        if self.0.answers.later().is_some() {
            shared.end_call_sometime(number, code, why);
        } else {
            shared.end_call(number, code, why);
        }
    }

    /// Its place is free: the peer may ask more as soon as it has the answer.
    #[inline]
    fn free(&self) {
        if let Some(place) = self.0.call.place {
            self.0.call.shared.running.at(place).finish();
        }
    }
}

/// Why a call comes to nothing.
#[doc(hidden)]
#[derive(Debug)]
pub struct Refused {
    pub(crate) code: Code,
    pub(crate) why: String,
}

impl Refused {
    pub(crate) fn panicked() -> Self {
        Self { code: Code::Panicked, why: String::new() }
    }

    /// It is none that is answered.
    pub(crate) fn no_answer() -> Self {
        Self { code: Code::Dropped, why: String::new() }
    }
}

impl From<DecodeError> for Refused {
    fn from(error: DecodeError) -> Self {
        Self { code: Code::Arguments, why: full_text(&error) }
    }
}

/// Whether a call is to be run: the caller waits still, and what its arguments carry is there.
#[inline]
pub(crate) fn look(time: u64, arrived: Option<&Arc<Arrived>>) -> Result<(), Refused> {
    if time != 0 && now_nanos() >= time {
        return Err(Refused { code: Code::DeadlinePassed, why: String::new() });
    }
    if arrived.is_some_and(|arrived| arrived.is_lost()) {
        let why = "a descriptor or blob that goes with them could not be had".into();
        return Err(Refused { code: Code::Arguments, why });
    }
    Ok(())
}
