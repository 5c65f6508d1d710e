//! What is measured: a link between two ends, the terms it is opened on, and whoever opens it.

use std::error::Error;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Why a link failed.
pub type Failed = Box<dyn Error + Send + Sync>;

/// One end of something that carries messages to the other end, in order.
///
/// A message is known by its number, which its payload is made of: see [`crate::payload`].
pub trait Link {
    /// Sends message `number`, every byte of it.
    ///
    /// # Errors
    ///
    /// If the link broke.
    fn send(&mut self, number: u64) -> Result<(), Failed>;

    /// Waits for message `number`, and reads every byte of it.
    ///
    /// # Errors
    ///
    /// If the link broke, or another message came.
    fn receive(&mut self, number: u64) -> Result<(), Failed>;

    /// Sends what is waiting for company: called at the end of a batch, and of a turn.
    ///
    /// # Errors
    ///
    /// If the link broke.
    fn flush(&mut self) -> Result<(), Failed> {
        Ok(())
    }

    /// Sends each of these and takes the answer to it. Never overridden: a loop that the compiler sees whole.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send) and [`receive`](Self::receive).
    fn call_each(&mut self, numbers: Range<u64>) -> Result<(), Failed> {
        for number in numbers {
            self.send(number)?;
            self.receive(number)?;
        }
        Ok(())
    }

    /// The other end of [`call_each`](Self::call_each).
    ///
    /// # Errors
    ///
    /// As [`call_each`](Self::call_each).
    fn answer_each(&mut self, numbers: Range<u64>) -> Result<(), Failed> {
        for number in numbers {
            self.receive(number)?;
            self.send(number)?;
        }
        Ok(())
    }

    /// Sends each of these, and flushes after every `batch`.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    fn send_each(&mut self, numbers: Range<u64>, batch: u64) -> Result<(), Failed> {
        let mut until_flush = batch;
        for number in numbers {
            self.send(number)?;
            until_flush -= 1;
            if until_flush == 0 {
                self.flush()?;
                until_flush = batch;
            }
        }
        self.flush()
    }

    /// Receives each of these.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    fn receive_each(&mut self, numbers: Range<u64>) -> Result<(), Failed> {
        for number in numbers {
            self.receive(number)?;
        }
        Ok(())
    }

    /// As [`call_each`](Self::call_each), telling how long each call took.
    ///
    /// # Errors
    ///
    /// As [`call_each`](Self::call_each).
    fn time_each(
        &mut self,
        numbers: Range<u64>,
        took: &mut dyn FnMut(Duration),
    ) -> Result<(), Failed> {
        time_each(numbers, took, |number| {
            self.send(number)?;
            self.receive(number)
        })
    }
}

/// Makes each of these calls when the one before it is through, and tells how long each took.
///
/// # Errors
///
/// What the first call says that fails.
#[inline]
pub fn time_each(
    numbers: Range<u64>,
    took: &mut dyn FnMut(Duration),
    mut call: impl FnMut(u64) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let mut began = Instant::now();
    for number in numbers {
        call(number)?;
        let now = Instant::now();
        took(now - began);
        began = now;
    }
    Ok(())
}

/// Which end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// Calls, and sends.
    Near,
    /// Answers, and receives.
    Far,
}

/// How a link waits for the other end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Waiting {
    /// Looks again and again.
    #[default]
    Spin,
    /// Spins for a while, then sleeps.
    Adaptive,
    /// Sleeps at once, in the kernel.
    Park,
}

impl Waiting {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Spin => "spin",
            Self::Adaptive => "adaptive",
            Self::Park => "park",
        }
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// A message there and its answer back.
    RoundTrip,
    /// Messages one way, one after the other.
    OneWay,
    /// A link set up and closed: a call is one.
    SetUp,
    /// Processor time of an end that waits for a message that does not come.
    Idle,
}

/// How much memory a link may have for messages on their way, each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Room {
    /// 64 KiB.
    Small,
    /// 256 KiB: memring's default.
    Normal,
    /// 4 MiB.
    Bulk,
    /// 8 MiB: a quarter of it, which is as much as one frame of memring's holds, is more than 1 MiB.
    Large,
}

impl Room {
    /// The same in bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Small => 64 << 10,
            Self::Normal => 256 << 10,
            Self::Bulk => 4 << 20,
            Self::Large => 8 << 20,
        }
    }

    /// How many messages of `size` bytes it holds, at least two.
    #[must_use]
    pub fn messages(self, size: usize) -> usize {
        (self.bytes() / size).max(2)
    }
}

/// What a link is opened on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// What will be measured.
    pub measure: Measure,
    /// Bytes of a message: a multiple of 8, not zero.
    pub size: usize,
    /// How to wait.
    pub wait: Waiting,
    /// Memory for messages on their way.
    pub room: Room,
    /// Messages between two flushes; 1 is none together.
    pub batch: u64,
    /// Whether both ends share one processor.
    pub together: bool,
}

/// Something to measure.
#[derive(Clone, Copy)]
pub struct Contender {
    /// What it is called in tables.
    pub name: &'static str,
    /// Which version of what.
    pub version: &'static str,
    /// Whether it can be measured so.
    pub can: fn(&Terms) -> bool,
    /// How it is opened.
    pub open: Open,
}

/// How a link is opened.
#[derive(Clone, Copy)]
pub enum Open {
    /// Each of two processes opens its end; they meet in a directory that is theirs alone.
    Processes(OpenEnd),
    /// Both ends, for two threads of one process.
    Threads(fn(&Terms) -> Result<Ends, Failed>),
}

/// Opens one end.
pub type OpenEnd = fn(&Terms, Side, PathBuf) -> Result<Box<dyn Link>, Failed>;

/// Both ends of a link: the near one and the far one.
pub type Ends = (Box<dyn Link + Send>, Box<dyn Link + Send>);

/// Whether the message is the one that is due.
///
/// # Errors
///
/// It is not.
#[inline]
pub fn expect(got: u64, due: u64) -> Result<(), Failed> {
    if got == due { Ok(()) } else { Err(unexpected(got, due)) }
}

#[cold]
fn unexpected(got: u64, due: u64) -> Failed {
    format!("message {got} came where {due} was due").into()
}
