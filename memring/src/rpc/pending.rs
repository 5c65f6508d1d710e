//! A call under way, to be waited for later: by a thread, or in a task.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::carrier::Came;
use super::error::CallError;
use super::options::{Hears, Until};
use super::session::not_sent;
use super::shared::Shared;
use super::table::Packet;
use super::tasks::departing::Departing;
use super::wire::{Header, Kind};

/// How an answer is read.
pub(crate) type ReadAnswer<R, E> = fn(Header, &[u8], Option<Came>) -> Result<R, CallError<E>>;

/// How far a question is.
pub(crate) enum Question {
    /// It waits for room.
    Departing(Box<Departing>),
    /// It was sent under this number.
    Asked(u64),
    /// It was sent, and nothing is answered.
    Told,
    /// It has its answer, or never will.
    Over,
}

impl Question {
    /// Sends it in a task, if that is not done.
    pub(crate) fn poll(
        &mut self,
        shared: &Arc<Shared>,
        context: &Context<'_>,
    ) -> Poll<Result<(), CallError>> {
        let Self::Departing(departing) = self else { return Poll::Ready(Ok(())) };
        let Poll::Ready(sent) = departing.poll(shared, context) else {
            shared.drive().map_err(|error| CallError::Thread(error.into()))?;
            return Poll::Pending;
        };
        Poll::Ready(self.went(sent.map_err(not_sent)))
    }

    /// The same in a thread, which waits.
    pub(crate) fn send(&mut self, shared: &Arc<Shared>, until: &Until) -> Result<(), CallError> {
        let Self::Departing(departing) = self else { return Ok(()) };
        let sent = departing.send(shared, until);
        departing.leave(shared);
        self.went(sent)
    }

    fn went(&mut self, sent: Result<u64, CallError>) -> Result<(), CallError> {
        *self = match (&*self, &sent) {
            (Self::Departing(departing), Ok(_)) if !departing.is_question() => Self::Told,
            (_, Ok(call)) => Self::Asked(*call),
            (_, Err(_)) => Self::Over,
        };
        sent.map(drop)
    }

    /// Nobody waits for an answer any more.
    #[inline]
    pub(crate) fn cancel(&mut self, shared: &Shared) {
        if !matches!(self, Self::Over) {
            self.cancel_on(shared);
        }
    }

    #[inline(never)]
    fn cancel_on(&mut self, shared: &Shared) {
        match std::mem::replace(self, Self::Over) {
            Self::Departing(mut departing) => departing.leave(shared),
            Self::Asked(call) => shared.cancel(call),
            Self::Told | Self::Over => {}
        }
    }
}

/// A call that was begun and whose answer was not taken. Dropping it cancels the call.
///
/// Many may be under way; they are answered in any order. Asynchronous clients give it. A thread [waits](Self::wait) for the answer,
/// and a task awaits it, under any executor: then somebody reads for all tasks of the session, which is a task of tokio's where
/// the first of them runs under tokio (and the feature `tokio` is on), and a thread of memring's own elsewhere. A runtime in
/// which somebody reads has to be polled for as long as tasks elsewhere wait in the session; threads need nobody.
///
/// What is begun is sent in order: one that found no room when it was polled, and is neither polled again nor dropped, keeps those
/// behind it waiting.
///
/// ```
/// # use memring::rpc::{Call, Calls, Link};
/// #[memring::interface(name = "adder", version = "1")]
/// trait Adder {
///     fn add(a: u32, b: u32) -> u32;
/// }
/// # struct Adds;
/// # impl AdderServer for Adds {
/// #     fn add(&self, _: &Call<'_>, a: u32, b: u32) -> u32 { a + b }
/// # }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (server, client) = memring::pair::<Calls>()?;
/// # let server = Link::serving(server, [Adder::serve(Adds)]);
/// # std::thread::spawn(move || server.run());
/// # let link = Link::over(client);
/// let adder = link.open::<AdderAsyncClient>()?;
/// let pending: Vec<_> = (0..10).map(|number| adder.add(number, 1)).collect(); // ten at once
/// for (number, pending) in (0..).zip(pending) {
///     assert_eq!(pending.wait()?, number + 1);
/// }
/// // Or in a task:
/// # pollster::block_on(async {
/// assert_eq!(adder.add(1, 2).await?, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok(())
/// # }
/// ```
///
/// # Panics
///
/// When it is awaited first in a runtime of tokio's that has no I/O.
#[must_use = "dropping it cancels the call"]
pub struct Pending<R, E = super::Never> {
    shared: Arc<Shared>,
    /// Why it was not begun, if it was not.
    failed: Option<Box<CallError>>,
    question: Question,
    until: Until,
    hears: Hears,
    /// Until the answer was read.
    read: Option<ReadAnswer<R, E>>,
}

impl<R, E> fmt::Debug for Pending<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("peer", self.shared.peer()).finish_non_exhaustive()
    }
}

impl<R, E> Pending<R, E> {
    #[inline]
    pub(crate) fn new(
        shared: Arc<Shared>,
        question: Result<Question, CallError>,
        until: Until,
        read: ReadAnswer<R, E>,
    ) -> Self {
        let (question, failed) = match question {
            Ok(question) => (question, None),
            Err(error) => (Question::Over, Some(Box::new(error))),
        };
        Self { shared, failed, question, until, hears: Hears::default(), read: Some(read) }
    }

    /// Waits for the answer in this thread, reading for others meanwhile.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn wait(mut self) -> Result<R, CallError<E>> {
        // Of many that were asked, the one that was asked first is answered by now, most often.
        if let (Question::Asked(call), Some(read)) = (&self.question, self.read)
            && !self.until.may_be_cancelled()
            && let Some(answer) = self.shared.answer_at_once(*call, read)
        {
            self.question = Question::Over;
            return answer;
        }
        self.wait_on()
    }

    #[inline(never)]
    fn wait_on(mut self) -> Result<R, CallError<E>> {
        if let Some(error) = self.failed.take() {
            return Err((*error).widen());
        }
        let Some(read) = self.read.take() else { return Err(CallError::Cancelled) };
        self.question.send(&self.shared, &self.until).map_err(CallError::widen)?;
        let call = match self.question {
            Question::Asked(call) => call,
            Question::Told => return read(Header::new(Kind::Done), &[], None),
            Question::Departing(_) | Question::Over => return Err(CallError::Cancelled),
        };
        let answered = self.until.wait(|until| self.shared.answer(call, until, read));
        match answered {
            Ok(answer) => {
                self.question = Question::Over;
                answer
            }
            Err(why) => Err(why.widen()), // and dropping it cancels
        }
    }

    /// The answer, or nothing if nothing is answered.
    fn poll_answer(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Packet>, CallError>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(*error));
        }
        let Self { shared, question, until, hears, .. } = self;
        let mut ended = until.poll(hears, context);
        if let Question::Departing(_) = question
            && ended.is_ok()
        {
            ended = match question.poll(shared, context) {
                Poll::Ready(sent) => sent,
                Poll::Pending => return Poll::Pending,
            };
        }
        let call = match question {
            Question::Asked(call) => *call,
            Question::Told => return Poll::Ready(Ok(None)),
            _ => return Poll::Ready(Err(ended.err().unwrap_or(CallError::Cancelled))),
        };
        // An answer that is there counts, though it is late.
        let answer = ready!(shared.poll_filed(
            context,
            ended.is_err(),
            |table| table.take_answer(call),
            |table, waiter| table.set_waiter(call, waiter),
        ))?;
        if answer.is_some() {
            *question = Question::Over;
            return Poll::Ready(Ok(answer));
        }
        Poll::Ready(Err(ended.err().unwrap_or(CallError::Cancelled)))
    }
}

impl<R, E> Future for Pending<R, E> {
    type Output = Result<R, CallError<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let answered = ready!(this.poll_answer(context));
        this.hears = Hears::default();
        this.question.cancel(&this.shared); // if it was not answered
        let Some(read) = this.read.take() else { return Poll::Ready(Err(CallError::Cancelled)) };
        Poll::Ready(match answered {
            Ok(Some(packet)) => read(packet.header, packet.body(), packet.came()),
            Ok(None) => read(Header::new(Kind::Done), &[], None),
            Err(why) => Err(why.widen()),
        })
    }
}

impl<R, E> Drop for Pending<R, E> {
    fn drop(&mut self) {
        self.question.cancel(&self.shared);
    }
}
