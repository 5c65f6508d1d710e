//! Replies: what a handler answers a call with that has many answers.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Instant;

use super::background::Alarm;
use super::carrier::{Carries, Value};
use super::error::{CallError, ReplyError};
use super::pending::Question;
use super::running::{Place, Running};
use super::sending::{NotSent, Number};
use super::session::not_sent;
use super::shared::Shared;
use super::table::Table;
use super::tasks::answering::Answering;
use super::waiter::Waiter;
use super::waiting::Stopped;
use super::wire::{Code, Header, Kind, packet};
use crate::error::SendError;
use crate::receiver::full_text;

/// Where a handler sends the replies of a stream.
///
/// It may go to another thread and outlive the handler. It ends with [`end`](Self::end); if it is dropped before, the caller
/// is told that nothing more comes.
///
/// ```
/// use memring::rpc::{Call, Replies};
///
/// #[memring::interface(name = "clock", version = "1")]
/// trait Clock {
///     /// The time, again and again.
///     fn ticks(period_ms: u64) -> Stream<u64>;
/// }
///
/// struct Ticking;
/// impl ClockServer for Ticking {
///     fn ticks(&self, _: &Call<'_>, period_ms: u64, mut replies: Replies<u64>) {
///         // In a thread of its own, the client's other calls do not wait for it.
///         std::thread::spawn(move || {
///             for tick in 0.. {
///                 std::thread::sleep(std::time::Duration::from_millis(period_ms));
///                 if replies.send(&tick).is_err() {
///                     return; // the reader has enough, or has gone
///                 }
///             }
///         });
///     }
/// }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use memring::rpc::{Calls, Link};
/// # let (server, client) = memring::pair::<Calls>()?;
/// # let server = Link::serving(server, [Clock::serve(Ticking)]);
/// # std::thread::spawn(move || server.run());
/// # let clock: ClockClient = Link::over(client).open()?;
/// # let ticks: Result<Vec<_>, _> = clock.ticks(1)?.take(3).collect();
/// # assert_eq!(ticks?, [0, 1, 2]);
/// # Ok(())
/// # }
/// ```
#[must_use = "the stream ends when it is dropped"]
pub struct Replies<T, E = super::Never> {
    shared: Arc<Shared>,
    call: u64,
    place: Place,
    time: u64,
    item: fn(&Shared, u64, &T) -> Result<(), SendError>,
    fail: fn(&Shared, u64, &E) -> Result<(), SendError>,
    item_in_task: BeginInTask<T>,
    fail_in_task: BeginInTask<E>,
    ended: bool,
}

/// Begins to send a value, which may have to wait for room.
type BeginInTask<T> = fn(&Shared, u64, &T) -> Result<Question, NotSent>;

fn begin_in_task<T, C: Carries<T>>(
    shared: &Shared,
    kind: Kind,
    call: u64,
    value: &T,
) -> Result<Question, NotSent> {
    let value = Value::<T, C>::new(value);
    if C::MORE {
        return Ok(shared.send(Header::new(kind), call, &value, None).map(|()| Question::Told)?);
    }
    shared.begin_in_task(Header::new(kind), &value, Number::Of(call))
}

/// Credit that was taken for a reply. Dropping it gives it back: the reply was not sent.
struct Credit<'a>(Option<&'a Running>);

impl Credit<'_> {
    /// The reply was sent.
    fn spend(mut self) {
        self.0 = None;
    }
}

impl Drop for Credit<'_> {
    fn drop(&mut self) {
        if let Some(running) = self.0 {
            running.give_back_credit();
        }
    }
}

impl<T, E> Replies<T, E> {
    pub(crate) fn new<C: Carries<T>, F: Carries<E>>(
        shared: Arc<Shared>,
        call: u64,
        place: Place,
        time: u64,
    ) -> Self {
        Self {
            shared,
            call,
            place,
            time,
            item: |shared, call, item| {
                shared.send(Header::new(Kind::Item), call, &Value::<T, C>::new(item), None)
            },
            fail: |shared, call, error| {
                shared.send(Header::new(Kind::Failed), call, &Value::<E, F>::new(error), None)
            },
            item_in_task: |shared, call, item| {
                begin_in_task::<T, C>(shared, Kind::Item, call, item)
            },
            fail_in_task: |shared, call, error| {
                begin_in_task::<E, F>(shared, Kind::Failed, call, error)
            },
            ended: false,
        }
    }

    /// Sends a reply, waiting until the reader takes more, and for room.
    ///
    /// # Errors
    ///
    /// [`ReplyError`]. After [`ReplyError::Cancelled`] and [`ReplyError::Ended`] nobody reads any more.
    pub fn send(&mut self, item: &T) -> Result<(), ReplyError> {
        let running = self.shared.running.at(self.place);
        // A writer with credit may be the only thread that reads.
        if self.is_cancelled() {
            return Err(self.why());
        }
        while !running.take_credit() {
            let deadline = (self.time != 0).then(|| super::shared::instant_of(self.time));
            let ready =
                |_: &mut Table| (running.has_credit() || running.is_cancelled()).then_some(());
            let waiter = |_: &mut Table, waiter| running.set_waiter(waiter);
            match self.shared.wait_filed(deadline, ready, waiter) {
                Ok(()) if running.is_cancelled() => return Err(self.why()),
                Ok(()) => {}
                Err(Stopped::TimedOut) => return Err(ReplyError::Cancelled),
                Err(Stopped::Ended(end)) => return Err(ReplyError::Ended(end)),
            }
        }
        let credit = Credit(Some(running));
        match (self.item)(&self.shared, self.call, item) {
            Ok(()) => {
                credit.spend();
                Ok(())
            }
            Err(SendError::Ended(end)) => Err(ReplyError::Ended(end)),
            Err(error) => Err(ReplyError::Send(error)),
        }
    }

    /// As [`send`](Self::send), in a task. If it is dropped before, the reply was not sent.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn send_async(&mut self, item: &T) -> Result<(), ReplyError> {
        let mut alarm = None;
        poll_fn(|context| self.poll_credit(&mut alarm, context)).await?;
        let credit = Credit(Some(self.shared.running.at(self.place)));
        let sent = match (self.item_in_task)(&self.shared, self.call, item) {
            Ok(mut question) => poll_fn(|context| question.poll(&self.shared, context)).await,
            Err(why) => Err(not_sent(why)),
        };
        sent.map(|()| credit.spend()).map_err(|error| match error {
            CallError::Ended(end) => ReplyError::Ended(end),
            CallError::Send(error) => ReplyError::Send(error),
            _ => ReplyError::Cancelled,
        })
    }

    /// Takes credit for one reply, or the task is woken when there is some.
    fn poll_credit(
        &self,
        alarm: &mut Option<Alarm>,
        context: &Context<'_>,
    ) -> Poll<Result<(), ReplyError>> {
        let running = self.shared.running.at(self.place);
        let other = running.set_waiter(Waiter::Task(context.waker().clone()));
        drop(other); // not under the lock: a waker may do anything
        if running.is_cancelled() {
            return Poll::Ready(Err(self.why()));
        }
        if self.time != 0 {
            let deadline = super::shared::instant_of(self.time);
            if Instant::now() >= deadline {
                return Poll::Ready(Err(ReplyError::Cancelled));
            }
            Alarm::set(alarm, deadline, context);
        }
        if running.take_credit() {
            return Poll::Ready(Ok(()));
        }
        match self.shared.drive() {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(Err(ReplyError::Send(SendError::Fds(error)))),
        }
    }

    /// Whether nobody reads any more. It looks into the lane.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        let running = self.shared.running.at(self.place);
        if !running.is_cancelled() {
            self.shared.look();
        }
        running.is_cancelled() || (self.time != 0 && super::shared::now_nanos() >= self.time)
    }

    /// Ends the stream: well, or with the method's error.
    pub fn end(mut self, result: Result<(), E>) {
        self.ended = true;
        let _at_work = self.shared.workers.join();
        self.shared.running.at(self.place).finish();
        let sent = match result {
            Ok(()) => self.shared.send(Header::new(Kind::Done), self.call, &&[][..], None),
            Err(error) => (self.fail)(&self.shared, self.call, &error),
        };
        match sent {
            Ok(()) | Err(SendError::Ended(_)) => {}
            Err(error) => self.shared.end_call(self.call, Code::Answer, &full_text(&error)),
        }
    }

    /// As [`end`](Self::end), in a task.
    pub async fn end_async(mut self, result: Result<(), E>) {
        self.ended = true;
        let _at_work = self.shared.workers.join();
        self.shared.running.at(self.place).finish();
        let Err(error) = result else {
            return self.shared.send_sometime(packet(Header::new(Kind::Done), &[]), self.call);
        };
        let begin = || (self.fail_in_task)(&self.shared, self.call, &error);
        let sent = match Answering::begin(&self.shared, self.call, begin) {
            Ok(answer) => answer.send().await,
            Err(why) => Err(why),
        };
        match sent {
            Ok(()) | Err(CallError::Ended(_)) => {}
            Err(error) => {
                self.shared.end_call_sometime(self.call, Code::Answer, &full_text(&error));
            }
        }
    }

    /// Why nobody reads.
    fn why(&self) -> ReplyError {
        match self.shared.table().end() {
            Some(end) => ReplyError::Ended(end.clone()),
            None => ReplyError::Cancelled,
        }
    }
}

impl<T, E> Drop for Replies<T, E> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let running = self.shared.running.at(self.place);
        let code = if thread::panicking() {
            Code::Panicked
        } else if running.is_cancelled() {
            Code::Cancelled
        } else {
            Code::Dropped
        };
        let _at_work = self.shared.workers.join();
        running.finish();
        if self.shared.tasks.serve() {
            self.shared.end_call_sometime(self.call, code, "");
        } else {
            self.shared.end_call(self.call, code, "");
        }
    }
}

impl<T, E> fmt::Debug for Replies<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies").field("call", &self.call).finish_non_exhaustive()
    }
}
