//! Streams: calls with many replies. Credit keeps a fast writer from running away from a slow reader: it says how many
//! replies may still come, and whoever reads gives more as it takes some.

use std::fmt;
use std::sync::Arc;
use std::thread;

use super::carrier::{Came, Carries, Value};
use super::client::ended;
use super::error::{CallError, ReplyError};
use super::options::Until;
use super::pending::ReadAnswer;
use super::running::Place;
use super::shared::Shared;
use super::table::{Asked, Filed, Packet, Table};
use super::waiting::Stopped;
use super::wire::{Code, Header, Kind};
use crate::error::SendError;
use crate::receiver::full_text;

/// Replies that may come before the reader gives credit.
pub(crate) const FIRST_CREDIT: u32 = 32;

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
    ended: bool,
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
        match (self.item)(&self.shared, self.call, item) {
            Ok(()) => Ok(()),
            Err(SendError::Ended(end)) => Err(ReplyError::Ended(end)),
            Err(error) => Err(ReplyError::Send(error)),
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
        running.finish();
        self.shared.end_call(self.call, code, "");
    }
}

impl<T, E> fmt::Debug for Replies<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies").field("call", &self.call).finish_non_exhaustive()
    }
}

/// The replies of a stream, as they come. Dropping it cancels the call.
///
/// As an iterator it ends when the handler ended it well; any other end is its last item.
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
    call: u64,
    until: Until,
    read: ReadAnswer<T, E>,
    /// Replies that were taken and not given credit for.
    taken: u32,
    over: bool,
}

/// What a stream's reader finds.
enum Next {
    Item(Packet),
    Answer(Packet),
}

impl<T, E> Stream<T, E> {
    pub(crate) fn new(
        shared: Arc<Shared>,
        call: u64,
        until: Until,
        read: ReadAnswer<T, E>,
    ) -> Self {
        Self { shared, call, until, read, taken: 0, over: false }
    }

    /// What a call of a stream is on the table.
    pub(crate) fn asked() -> Asked {
        Asked::Stream(Filed {
            items: std::collections::VecDeque::new(),
            answer: None,
            credit: FIRST_CREDIT,
            waiter: None,
        })
    }

    /// Waits for the next reply; `None` once the handler has ended it well.
    ///
    /// # Errors
    ///
    /// [`CallError`]; nothing comes after one.
    pub fn recv(&mut self) -> Result<Option<T>, CallError<E>> {
        if self.over {
            return Ok(None);
        }
        let call = self.call;
        let ready = |table: &mut Table| match table.asked(call) {
            Some(Asked::Stream(filed)) => match filed.items.pop_front() {
                Some(item) => Some(Next::Item(item)),
                None => filed.answer.take().map(Next::Answer),
            },
            _ => None,
        };
        let waiter = |table: &mut Table, waiter| table.set_waiter(call, waiter);
        let next = self.until.wait(|until| self.shared.wait_filed(until, ready, waiter));
        let next = match next {
            Ok(next) => next,
            Err(why) => {
                self.over = true;
                self.shared.cancel(call);
                return Err(why.widen());
            }
        };
        match next {
            Next::Item(packet) => {
                self.give_credit();
                let read = (self.read)(packet.header, packet.body(), came(&packet));
                self.over |= read.is_err();
                if read.is_err() {
                    self.shared.cancel(call);
                }
                read.map(Some)
            }
            Next::Answer(packet) => {
                self.over = true;
                self.shared.with_asked(|table| table.forget(call));
                match packet.header.kind {
                    Kind::Done => Ok(None),
                    _ => Err((self.read)(packet.header, packet.body(), came(&packet))
                        .err()
                        .unwrap_or_else(|| ended(packet.header, &[]).widen())),
                }
            }
        }
    }

    /// Lets more come, once half of what may come was taken.
    fn give_credit(&mut self) {
        self.taken += 1;
        if self.taken < FIRST_CREDIT / 2 {
            return;
        }
        let more = std::mem::take(&mut self.taken);
        if let Some(Asked::Stream(filed)) = self.shared.table().asked(self.call) {
            filed.credit += more;
        }
        let header = Header { number: more, ..Header::new(Kind::Credit) };
        // If it cannot be told, the session is over, and that is what comes next.
        let _ = self.shared.send(header, self.call, &&[][..], self.until.deadline);
    }
}

fn came(packet: &Packet) -> Option<Came> {
    packet.arrived.as_ref().map(|arrived| Came(Arc::clone(arrived)))
}

impl<T, E> Iterator for Stream<T, E> {
    type Item = Result<T, CallError<E>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.recv().transpose()
    }
}

impl<T, E> Drop for Stream<T, E> {
    fn drop(&mut self) {
        if !self.over {
            self.shared.cancel(self.call);
        }
    }
}

impl<T, E> fmt::Debug for Stream<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("call", &self.call).finish_non_exhaustive()
    }
}
