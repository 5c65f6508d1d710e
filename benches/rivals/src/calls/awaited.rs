//! Calls by whatever has a future for each.
//!
//! The futures are awaited by one task: one after the other, or in so many lanes at once, each of which goes on to the
//! next call that nobody has made yet. The library's own tasks run beside it. A task of tokio's for each lane came to
//! the same.

use std::cell::RefCell;
use std::ops::Range;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use memring_benches::Failed;
use tokio::runtime::{Builder, Runtime};

use super::{Calls, Threads, Words, argument, check};

/// The service, as an asynchronous client sees it.
pub trait Echo {
    /// Calls it.
    async fn echo(&self, argument: Words) -> Result<Words, Failed>;
}

/// What runs the tasks of a process.
pub trait Runs {
    /// Runs this one until it is done, on this thread, and others meanwhile.
    fn block_on<F: Future>(&self, future: F) -> F::Output;
}

impl Runs for Runtime {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        Runtime::block_on(self, future)
    }
}

/// tokio. Its threads run where the one that makes it may.
pub fn tokio(threads: Threads) -> Result<Runtime, Failed> {
    let mut builder = match threads {
        Threads::One => Builder::new_current_thread(),
        Threads::Many => Builder::new_multi_thread(),
    };
    Ok(builder.enable_all().build()?)
}

/// A client and what runs its tasks.
pub struct Awaited<R, E> {
    client: E,
    runtime: R,
}

impl<R: Runs, E: Echo> Awaited<R, E> {
    /// Connects.
    pub fn connect(
        runtime: R,
        connect: impl AsyncFnOnce() -> Result<E, Failed>,
    ) -> Result<Self, Failed> {
        let client = runtime.block_on(connect())?;
        Ok(Self { client, runtime })
    }
}

impl<R: Runs, E: Echo> Calls for Awaited<R, E> {
    fn round_trips(
        &mut self,
        numbers: Range<u64>,
        took: &mut dyn FnMut(Duration),
    ) -> Result<(), Failed> {
        self.runtime.block_on(one_by_one(&self.client, numbers, took))
    }

    fn pipelined(&mut self, numbers: Range<u64>, outstanding: u64) -> Result<(), Failed> {
        self.runtime.block_on(in_lanes(&self.client, numbers, outstanding))
    }
}

async fn one_by_one(
    client: &impl Echo,
    numbers: Range<u64>,
    took: &mut dyn FnMut(Duration),
) -> Result<(), Failed> {
    let mut began = Instant::now();
    for number in numbers {
        check(number, client.echo(argument(number)).await?)?;
        let now = Instant::now();
        took(now - began);
        began = now;
    }
    Ok(())
}

/// So many calls at once.
pub(super) async fn in_lanes(
    client: &impl Echo,
    numbers: Range<u64>,
    lanes: u64,
) -> Result<(), Failed> {
    let numbers = RefCell::new(numbers);
    let next = || numbers.borrow_mut().next();
    let lane = async || -> Result<(), Failed> {
        while let Some(number) = next() {
            check(number, client.echo(argument(number)).await?)?;
        }
        Ok(())
    };
    try_join_all((0..lanes).map(|_| lane())).await?;
    Ok(())
}
