//! Streams: calls with many replies. Credit keeps a fast writer from running away from a slow reader: it says how many
//! replies may still come, and whoever reads gives more as it takes some.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::client::ended;
use super::error::CallError;
use super::options::{Hears, Until};
use super::pending::{Question, ReadAnswer};
use super::shared::Shared;
use super::table::{Asked, Packet, Table};
use super::wire::{Header, Kind, packet};

/// Replies that may come before the reader gives credit.
pub(crate) const FIRST_CREDIT: u32 = 32;

/// The replies of a stream, as they come. Dropping it cancels the call.
///
/// As an iterator it ends when the handler ended it well; any other end is its last item. In a task,
/// [`recv_async`](Self::recv_async) awaits the next.
///
/// Of one that is not read as many as 32 replies lie here, each as long as the session's largest message may be.
///
/// ```
/// # use memring::rpc::{Call, Calls, Link, Replies};
/// #[memring::interface(name = "counter", version = "1")]
/// trait Counter {
///     fn count_to(last: u32) -> Stream<u32>;
/// }
/// # struct Counting;
/// # impl CounterServer for Counting {
/// #     fn count_to(&self, _: &Call<'_>, last: u32, mut replies: Replies<u32>) {
/// #         for number in 1..=last {
/// #             if replies.send(&number).is_err() {
/// #                 return;
/// #             }
/// #         }
/// #         replies.end(Ok(()));
/// #     }
/// # }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (server, client) = memring::pair::<Calls>()?;
/// # let server = Link::serving(server, [Counter::serve(Counting)]);
/// # std::thread::spawn(move || server.run());
/// # let counter: CounterClient = Link::over(client).open()?;
/// let three: Result<Vec<_>, _> = counter.count_to(3)?.collect();
/// assert_eq!(three?, [1, 2, 3]);
///
/// let mut numbers = counter.count_to(u32::MAX)?;
/// while let Some(number) = numbers.recv()? {
///     if number == 100 {
///         break;
///     }
/// }
/// drop(numbers); // the handler's next reply is an error there
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping it cancels the call"]
pub struct Stream<T, E = super::Never> {
    shared: Arc<Shared>,
    question: Question,
    until: Until,
    hears: Hears,
    read: ReadAnswer<T, E>,
    /// Replies that were taken and not given credit for.
    taken: u32,
}

/// What a stream's reader finds.
enum Next {
    Item(Packet),
    Answer(Packet),
}

/// Takes what came next.
fn take(table: &mut Table, call: u64) -> Option<Next> {
    match table.asked(call) {
        Some(Asked::Stream(filed)) => match filed.items.pop_front() {
            Some(item) => Some(Next::Item(item)),
            None => filed.answer.take().map(Next::Answer),
        },
        _ => None,
    }
}

impl<T, E> Stream<T, E> {
    pub(crate) fn new(
        shared: Arc<Shared>,
        question: Question,
        until: Until,
        read: ReadAnswer<T, E>,
    ) -> Self {
        Self { shared, question, until, hears: Hears::default(), read, taken: 0 }
    }

    /// Waits for the next reply; `None` once the handler has ended it well.
    ///
    /// # Errors
    ///
    /// [`CallError`]; nothing comes after one.
    pub fn recv(&mut self) -> Result<Option<T>, CallError<E>> {
        let next = self.question.send(&self.shared, &self.until).and_then(|()| {
            let Question::Asked(call) = self.question else { return Ok(None) };
            let ready = |table: &mut Table| take(table, call);
            let waiter = |table: &mut Table, waiter| table.set_waiter(call, waiter);
            let next = self.until.wait(|until| self.shared.wait_filed(until, ready, waiter));
            next.map(|next| Some((call, next)))
        });
        self.deliver(next)
    }

    /// As [`recv`](Self::recv), in a task.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn recv_async(&mut self) -> Result<Option<T>, CallError<E>> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// The next reply, or the task is woken when there is one.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn poll_recv(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<T>, CallError<E>>> {
        let next = ready!(self.poll_next_packet(context));
        Poll::Ready(self.deliver(next))
    }

    /// As a stream of the crate `futures`.
    #[cfg(feature = "tokio")]
    pub fn into_stream(self) -> Streamed<Self> {
        Streamed(self)
    }

    fn poll_next_packet(
        &mut self,
        context: &Context<'_>,
    ) -> Poll<Result<Option<(u64, Next)>, CallError>> {
        let ended = self.until.poll(&mut self.hears, context);
        if ended.is_ok() {
            ready!(self.question.poll(&self.shared, context))?;
        }
        let Question::Asked(call) = self.question else {
            let over = matches!(self.question, Question::Over);
            return Poll::Ready(if over { Ok(None) } else { ended.map(|()| None) });
        };
        let found = self.shared.poll_filed(
            context,
            ended.is_err(),
            |table| take(table, call),
            |table, waiter| table.set_waiter(call, waiter),
        );
        let found = ready!(found)?;
        Poll::Ready(match found {
            Some(next) => Ok(Some((call, next))),
            None => ended.map(|()| None),
        })
    }

    /// What was found, or why nothing will be; nothing once it is over.
    fn deliver(
        &mut self,
        next: Result<Option<(u64, Next)>, CallError>,
    ) -> Result<Option<T>, CallError<E>> {
        let (call, next) = match next {
            Ok(Some(next)) => next,
            Ok(None) => return Ok(None),
            Err(why) => {
                self.question.cancel(&self.shared);
                return Err(why.widen());
            }
        };
        match next {
            Next::Item(packet) => {
                self.give_credit(call);
                let read = (self.read)(packet.header, packet.body(), packet.came());
                if read.is_err() {
                    self.question.cancel(&self.shared);
                }
                read.map(Some)
            }
            Next::Answer(packet) => {
                self.question = Question::Over;
                self.hears = Hears::default();
                drop(self.shared.forget(call));
                match packet.header.kind {
                    Kind::Done => Ok(None),
                    _ => Err((self.read)(packet.header, packet.body(), packet.came())
                        .err()
                        .unwrap_or_else(|| ended(packet.header, &[]).widen())),
                }
            }
        }
    }

    /// Lets more come, once half of what may come was taken.
    fn give_credit(&mut self, call: u64) {
        self.taken += 1;
        if self.taken < FIRST_CREDIT / 2 {
            return;
        }
        let more = std::mem::take(&mut self.taken);
        if let Some(Asked::Stream(filed)) = self.shared.table().asked(call) {
            filed.credit += more;
        }
        let header = Header { number: more, ..Header::new(Kind::Credit) };
        self.shared.send_sometime(packet(header, &[]), call);
    }
}

impl<T, E> Iterator for Stream<T, E> {
    type Item = Result<T, CallError<E>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.recv().transpose()
    }
}

/// Replies or signals as a `futures` stream: of what gives them, which is an iterator and could not be both.
#[cfg(feature = "tokio")]
#[derive(Debug)]
#[must_use = "streams do nothing unless they are polled"]
pub struct Streamed<S>(pub(crate) S);

#[cfg(feature = "tokio")]
impl<T, E> futures_core::Stream for Streamed<Stream<T, E>> {
    type Item = Result<T, CallError<E>>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Self::Item>> {
        self.get_mut().0.poll_recv(context).map(Result::transpose)
    }
}

impl<T, E> Drop for Stream<T, E> {
    fn drop(&mut self) {
        self.question.cancel(&self.shared);
    }
}

impl<T, E> fmt::Debug for Stream<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("peer", self.shared.peer()).finish_non_exhaustive()
    }
}
