//! Aeron: logs in shared memory, kept by a media driver.
//!
//! An exclusive publication each way on `aeron:ipc`. A message that fits in a frame is claimed, written where it
//! will lie, and read there; a larger one is offered and put together again, which copies it twice. Both ends look
//! again and again: Aeron's waits are loops too, and none of them ends when a message comes.
//!
//! The media driver grants room and clears what was read, so a stream is no faster than its driver. There are two
//! contenders for where it runs, and the better one counts: on a thread of its own, which backs off to sleeps of a
//! millisecond when there is nothing to do, and wants a third processor; or invoked by the near end while that
//! waits. So that the driver is needed seldom, a log has at least its [`WINDOW`], whatever room the terms say: half
//! of what Aeron takes by default.

use std::ffi::CString;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memring_benches::link::{Contender, Open, Side, Terms};
use memring_benches::{Failed, Link, payload};
use rusteron_media_driver::bindings::aeron_threading_mode_t::{
    AERON_THREADING_MODE_INVOKER, AERON_THREADING_MODE_SHARED,
};
use rusteron_media_driver::testing::EmbeddedDriver;
use rusteron_media_driver::{
    Aeron, AeronContext, AeronDriver, AeronDriverContext, AeronErrorHandlerLogger,
    AeronExclusivePublication, AeronFragmentClosureAssembler, AeronHeader, AeronIdleStrategyKind,
    AeronImage, AeronOfferError, AeronSubscription, Handlers,
};

use crate::helpers;
use crate::meet::{find, leave, until};

/// Both places for the driver.
pub const ALL: &[Contender] = &[
    contender("Aeron", |terms, side, at| open(terms, side, &at, Place::Thread)),
    contender("Aeron, invoker", |terms, side, at| open(terms, side, &at, Place::NearEnd)),
];

type OpenEnd = fn(&Terms, Side, PathBuf) -> Result<Box<dyn Link>, Failed>;

const fn contender(name: &'static str, open: OpenEnd) -> Contender {
    let version = "rusteron-media-driver 0.2.16, Aeron 1.54.0";
    Contender { name, version, can: crate::spins, open: Open::Processes(open) }
}

fn open(terms: &Terms, side: Side, at: &Path, place: Place) -> Result<Box<dyn Link>, Failed> {
    let end = End::meet(terms, side, at, place)?;
    Ok(if terms.size <= LARGEST_CLAIM {
        Box::new(Claiming { size: terms.size, end })
    } else {
        let (message, assembler) = (vec![0; terms.size], AeronFragmentClosureAssembler::new()?);
        Box::new(Offering { message, assembler, end })
    })
}

/// Bytes that may be on their way, at least.
const WINDOW: usize = 16 << 20;
/// Bytes of a frame: the most Aeron allows.
const FRAME: usize = 65504;
/// Bytes of a message that needs one frame only.
const LARGEST_CLAIM: usize = FRAME - 32;
/// Messages taken at once, where many are wanted.
const TAKEN: u64 = 256;
/// Looks between two invocations of the driver, for an end that waits for a message.
const LOOKS: u32 = 1024;
/// How long a client believes in a driver that does nothing: a near end that has no turn invokes nobody.
const DRIVER_TIMEOUT_MS: u64 = 24 * 60 * 60 * 1000;

/// Where the driver runs.
#[derive(Clone, Copy)]
enum Place {
    Thread,
    NearEnd,
}

/// An end's share in the driver: kilobytes of it, so in a box.
enum Driver {
    Threaded { _until_dropped: Box<EmbeddedDriver> },
    Invoked(Box<AeronDriver>),
    Elsewhere,
}

impl Driver {
    /// Starts one in a directory of its own, in shared memory, and tells which.
    fn launch(terms: &Terms, place: Place) -> Result<(Self, String), Failed> {
        match place {
            Place::Thread => {
                let driver = helpers::start(terms, || {
                    Ok(EmbeddedDriver::launch_with(|context| {
                        context.set_threading_mode(AERON_THREADING_MODE_SHARED)?;
                        context.set_shared_idle_strategy_kind(AeronIdleStrategyKind::Backoff)?;
                        Ok(())
                    })?)
                })?;
                let directory = driver.dir().to_owned();
                Ok((Self::Threaded { _until_dropped: driver.into() }, directory))
            }
            Place::NearEnd => {
                let context = AeronDriverContext::new()?;
                let directory = format!("{}-{}", context.get_dir(), Aeron::nano_clock());
                context.set_dir(&CString::new(directory.clone())?)?;
                context.set_dir_delete_on_start(true)?;
                context.set_dir_delete_on_shutdown(true)?;
                context.set_threading_mode(AERON_THREADING_MODE_INVOKER)?;
                let driver = AeronDriver::new(&context)?;
                driver.start(true)?;
                Ok((Self::Invoked(driver.into()), directory))
            }
        }
    }

    /// Looks again and again, and lets the driver work between.
    fn until<T>(&self, mut look: impl FnMut() -> Result<Option<T>, Failed>) -> Result<T, Failed> {
        until(|| {
            self.invoke()?;
            look()
        })
    }

    /// Lets it work, if that is this end's part.
    fn invoke(&self) -> Result<(), Failed> {
        if let Self::Invoked(driver) = self {
            driver.main_do_work()?;
        }
        Ok(())
    }
}

/// Fields are dropped in this order: what the driver serves goes before the driver.
struct End {
    outgoing: AeronExclusivePublication,
    image: AeronImage,
    incoming: AeronSubscription,
    _client: Aeron,
    driver: Driver,
}

impl End {
    fn meet(terms: &Terms, side: Side, at: &Path, place: Place) -> Result<Self, Failed> {
        let note = at.join("driver");
        let (driver, directory) = match side {
            Side::Near => Driver::launch(terms, place)?,
            Side::Far => (Driver::Elsewhere, find(&note)?),
        };
        driver.invoke()?;
        if side == Side::Near {
            leave(&note, &directory)?;
        }
        let context = AeronContext::new()?;
        context.set_dir(&CString::new(directory)?)?;
        context.set_driver_timeout_ms(DRIVER_TIMEOUT_MS)?;
        // Or a stream's first round through the log is spent in page faults.
        context.set_pre_touch_mapped_memory(true)?;
        // The one it has without being told ends the process.
        context.set_error_handler(Some(AeronErrorHandlerLogger))?;
        let client = Aeron::new(&context)?;
        client.start()?;

        let term = 2 * WINDOW.max(terms.room.bytes());
        let channel = CString::new(format!("aeron:ipc?mtu={FRAME}|term-length={term}"))?;
        let (there, back) = if side == Side::Near { (1, 2) } else { (2, 1) };
        let adding = client.async_add_exclusive_publication(&channel, there)?;
        let outgoing = driver.until(|| Ok(adding.poll()?))?;
        let adding =
            client.async_add_subscription(&channel, back, Handlers::NONE, Handlers::NONE)?;
        let incoming = driver.until(|| Ok(adding.poll()?))?;
        let image = driver.until(|| Ok(incoming.image_at_index(0)))?;
        driver.until(|| Ok(outgoing.is_connected().then_some(())))?;
        Ok(Self { outgoing, image, incoming, _client: client, driver })
    }

    /// Tries until there is room.
    #[inline]
    fn when_free<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, AeronOfferError>,
    ) -> Result<T, Failed> {
        loop {
            match attempt() {
                Err(AeronOfferError::BackPressured | AeronOfferError::AdminAction) => {
                    self.driver.invoke()?;
                    std::hint::spin_loop();
                }
                outcome => return Ok(outcome?),
            }
        }
    }

    /// Looks until there is a message.
    #[inline]
    fn when_there<T>(
        &self,
        mut look: impl FnMut() -> Result<Option<T>, Failed>,
    ) -> Result<T, Failed> {
        loop {
            for _ in 0..LOOKS {
                if let Some(found) = look()? {
                    return Ok(found);
                }
                std::hint::spin_loop();
            }
            if self.image.is_closed() {
                return Err("the other end of the log has gone".into());
            }
            self.driver.invoke()?;
        }
    }
}

/// For messages of one frame.
struct Claiming {
    size: usize,
    end: End,
}

impl Claiming {
    /// Receives up to `most` messages from `first` on, at least one.
    #[inline]
    fn receive_some(&mut self, first: u64, most: u64) -> Result<u64, Failed> {
        let (mut count, mut outcome) = (0, Ok(()));
        self.end.when_there(|| {
            let read = |message: &[u8], _: AeronHeader| {
                let number = first + count;
                count += 1;
                if outcome.is_ok() {
                    outcome = payload::read(message, number);
                }
            };
            self.end.image.poll_fn(read, most as usize)?;
            Ok((count > 0).then_some(()))
        })?;
        outcome.map(|()| count)
    }
}

impl Link for Claiming {
    #[inline]
    fn send(&mut self, number: u64) -> Result<(), Failed> {
        let mut claim = self.end.when_free(|| self.end.outgoing.try_claim_owned(self.size))?;
        payload::write(claim.data(), number);
        claim.commit()?;
        Ok(())
    }

    #[inline]
    fn receive(&mut self, number: u64) -> Result<(), Failed> {
        self.receive_some(number, 1)?;
        Ok(())
    }

    fn receive_each(&mut self, mut numbers: Range<u64>) -> Result<(), Failed> {
        while !numbers.is_empty() {
            let most = TAKEN.min(numbers.end - numbers.start);
            numbers.start += self.receive_some(numbers.start, most)?;
        }
        Ok(())
    }
}

/// For larger messages.
struct Offering {
    message: Vec<u8>,
    assembler: AeronFragmentClosureAssembler,
    end: End,
}

/// The message that is due, and what came of it.
struct Due {
    number: u64,
    outcome: Option<Result<(), Failed>>,
}

impl Link for Offering {
    fn send(&mut self, number: u64) -> Result<(), Failed> {
        payload::write(&mut self.message, number);
        self.end.when_free(|| self.end.outgoing.offer(&self.message))?;
        Ok(())
    }

    fn receive(&mut self, number: u64) -> Result<(), Failed> {
        let mut due = Due { number, outcome: None };
        let read = |due: &mut Due, message: &[u8], _: AeronHeader| {
            due.outcome = Some(payload::read(message, due.number));
        };
        self.end.when_there(|| {
            // A fragment at a time: not one of the next message.
            self.assembler.poll(&self.end.incoming, &mut due, read, 1)?;
            Ok(due.outcome.take())
        })?
    }
}
