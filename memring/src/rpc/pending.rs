//! A call under way, to be waited for later.

use std::fmt;
use std::sync::Arc;

use super::carrier::Came;
use super::error::CallError;
use super::options::Until;
use super::shared::Shared;
use super::wire::Header;

/// How an answer is read.
pub(crate) type ReadAnswer<R, E> = fn(Header, &[u8], Option<Came>) -> Result<R, CallError<E>>;

/// A call that was sent and whose answer was not taken. Dropping it cancels the call.
///
/// Many may be under way; they are answered in any order. Asynchronous clients, which [`Link::open`](super::Link::open) opens as
/// others, give it.
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
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping it cancels the call"]
pub struct Pending<R, E = super::Never> {
    shared: Arc<Shared>,
    /// Its number, or why it was not sent; until it is waited for.
    asked: Option<Result<u64, CallError>>,
    until: Until,
    read: ReadAnswer<R, E>,
}

impl<R, E> fmt::Debug for Pending<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("peer", self.shared.peer()).finish_non_exhaustive()
    }
}

impl<R, E> Pending<R, E> {
    pub(crate) fn new(
        shared: Arc<Shared>,
        asked: Result<u64, CallError>,
        until: Until,
        read: ReadAnswer<R, E>,
    ) -> Self {
        Self { shared, asked: Some(asked), until, read }
    }

    /// Waits for the answer in this thread, reading for others meanwhile.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn wait(mut self) -> Result<R, CallError<E>> {
        let asked = self.asked.take().unwrap_or(Err(CallError::Cancelled)); // it is there until now
        let call = asked.map_err(CallError::widen)?;
        let answered = self.until.wait(|until| self.shared.answer(call, until, self.read));
        answered.unwrap_or_else(|why| {
            self.shared.cancel(call);
            Err(why.widen())
        })
    }
}

impl<R, E> Drop for Pending<R, E> {
    fn drop(&mut self) {
        if let Some(Ok(call)) = self.asked {
            self.shared.cancel(call);
        }
    }
}
