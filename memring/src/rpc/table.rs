//! What is under way in a session: the calls that this side made, those that it runs for the peer, and who sleeps meanwhile.
//! It is kept under one short lock and never waits itself.
//!
//! A question has one answer. So an answer to what was not asked, or was answered before, is a fault of the peer's; and a
//! call that nobody waits for any more stays here until its answer has come.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;
use std::thread::Thread;

use memring_ring::buffer::Buffer;

use super::wire::{Broken, Header, Kind};
use crate::arrived::Arrived;
use crate::error::End;

/// Numbers of calls, which are hashed by one multiplication: each side gives its own in order, and a peer that chooses
/// others to have them collide slows down its own session, within the bound on calls at once.
#[derive(Default)]
pub(crate) struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }

    fn write_u64(&mut self, number: u64) {
        // 2^64 divided by the golden ratio: neighbours end up far apart.
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

pub(crate) type ByNumber<T> = HashMap<u64, T, BuildHasherDefault<Fold>>;

/// A packet out of the lane, in memory of its own.
pub(crate) struct Packet {
    pub header: Header,
    /// The call that it is about.
    pub call: u64,
    /// Header and body.
    pub memory: Buffer,
    /// What came with it.
    pub arrived: Option<Arc<Arrived>>,
}

impl Packet {
    pub(crate) fn body(&self) -> &[u8] {
        self.memory.bytes().get(self.header.body_at()..).unwrap_or_default()
    }
}

/// Who is to be told.
pub(crate) enum Waiter {
    Thread(Thread),
    Task(Waker),
}

impl Waiter {
    pub(crate) fn wake(self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            Self::Task(waker) => waker.wake(),
        }
    }
}

/// A call that this side made.
pub(crate) enum Asked {
    /// Its answer has not come.
    Waiting(Option<Waiter>),
    /// It came, and whoever waits has not seen it.
    Answered(Packet),
    /// Nobody waits, and it has not come.
    Abandoned,
    /// A stream.
    Stream(Replies),
}

/// What came of a stream and was not taken.
pub(crate) struct Replies {
    pub items: VecDeque<Packet>,
    pub answer: Option<Packet>,
    /// How many may still come.
    pub credit: u32,
    pub waiter: Option<Waiter>,
}

/// A call of the peer's that runs here.
#[derive(Default)]
pub(crate) struct Running {
    cancelled: AtomicBool,
    credit: AtomicU32,
    waiter: Mutex<Option<Waiter>>,
}

impl Running {
    pub(crate) fn new(credit: u32) -> Self {
        Self { credit: credit.into(), ..Self::default() }
    }

    /// Whether nobody waits for its answer.
    pub(crate) fn is_cancelled(&self) -> bool {
        // ORDERING: Acquire; pairs with the Release in `cancel`: whoever sees it sees what the session ended with.
        self.cancelled.load(Ordering::Acquire)
    }

    /// Nobody waits for its answer any more. Who is to be told.
    #[must_use]
    pub(crate) fn cut(&self) -> Option<Waiter> {
        // ORDERING: Release; see `is_cancelled`.
        self.cancelled.store(true, Ordering::Release);
        self.waiter.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Lets so many more replies go. `Err` if that is more than anybody counts; otherwise who is to be told.
    pub(crate) fn grant(&self, more: u32) -> Result<Option<Waiter>, Broken> {
        let add = |credit: u32| credit.checked_add(more).filter(|sum| *sum <= i32::MAX as u32);
        // ORDERING: Relaxed; it is a number, and the lock below is passed before whoever waits looks again.
        let added = self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        added.map_err(|_| Broken::Credit)?;
        Ok(self.waiter.lock().unwrap_or_else(PoisonError::into_inner).take())
    }

    /// Takes credit for one reply, if there is some.
    pub(crate) fn take_credit(&self) -> bool {
        // ORDERING: Relaxed; as in `grant`.
        let take = |credit: u32| credit.checked_sub(1);
        self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Has this one told of the next change.
    pub(crate) fn set_waiter(&self, waiter: Waiter) {
        *self.waiter.lock().unwrap_or_else(PoisonError::into_inner) = Some(waiter);
    }
}

/// A thread that sleeps until there is something for it, and would read for all if nobody else does.
struct Sleeper {
    number: u64,
    thread: Thread,
    /// It runs calls of the peer's.
    serves: bool,
}

/// What is under way.
pub(crate) struct Table {
    asked: ByNumber<Asked>,
    running: ByNumber<Arc<Running>>,
    jobs: VecDeque<(Packet, Option<Arc<Running>>)>,
    job_bytes: usize,
    sleepers: VecDeque<Sleeper>,
    sleeps: u64,
    end: Option<End>,
    /// How many calls at once the peer takes, and we take.
    pub most_asked: u32,
    pub most_running: u32,
}

/// Bytes of calls that lie read and not begun, beyond which nothing is read but by whoever begins them.
const MOST_JOB_BYTES: usize = 64 << 20;
/// The same in packets.
const MOST_JOBS: usize = 1 << 16;

impl Table {
    pub(crate) fn new(most_running: u32) -> Self {
        Self {
            asked: HashMap::default(),
            running: HashMap::default(),
            jobs: VecDeque::new(),
            job_bytes: 0,
            sleepers: VecDeque::new(),
            sleeps: 0,
            end: None,
            most_asked: FIRST_ASKED,
            most_running,
        }
    }

    /// Takes note of a question before it is sent. `Err` is how many there may be.
    pub(crate) fn ask(&mut self, call: u64, asked: Asked) -> Result<(), u32> {
        if self.asked.len() >= self.most_asked as usize {
            return Err(self.most_asked);
        }
        self.asked.insert(call, asked);
        Ok(())
    }

    /// Forgets a question that was not sent, or whose answer was taken.
    #[inline]
    pub(crate) fn forget(&mut self, call: u64) -> Option<Asked> {
        self.asked.remove(&call)
    }

    /// The question of this number.
    pub(crate) fn asked(&mut self, call: u64) -> Option<&mut Asked> {
        self.asked.get_mut(&call)
    }

    /// Takes the answer, if it came.
    pub(crate) fn take_answer(&mut self, call: u64) -> Option<Packet> {
        if !matches!(self.asked.get(&call), Some(Asked::Answered(_))) {
            return None;
        }
        match self.asked.remove(&call) {
            Some(Asked::Answered(packet)) => Some(packet),
            _ => None,
        }
    }

    /// Nobody waits for the answer any more. Whether it has not come yet.
    pub(crate) fn abandon(&mut self, call: u64) -> bool {
        match self.asked.get_mut(&call) {
            Some(Asked::Answered(_) | Asked::Stream(Replies { answer: Some(_), .. })) | None => {
                self.asked.remove(&call);
                false
            }
            Some(asked) => {
                *asked = Asked::Abandoned;
                self.end.is_none()
            }
        }
    }

    /// Files an answer or a reply for whoever waits for it, who is returned.
    pub(crate) fn file(&mut self, packet: Packet) -> Result<Option<Waiter>, Broken> {
        let call = packet.call;
        let asked = self.asked.get_mut(&call).ok_or(Broken::Unasked)?;
        match (asked, packet.header.kind) {
            (Asked::Abandoned, Kind::Item) => Ok(None),
            (Asked::Abandoned, _) => {
                self.asked.remove(&call);
                Ok(None)
            }
            (Asked::Stream(Replies { answer: Some(_), .. }) | Asked::Answered(_), _) => {
                Err(Broken::Unasked)
            }
            (Asked::Stream(replies), Kind::Item) => {
                replies.credit = replies.credit.checked_sub(1).ok_or(Broken::Credit)?;
                replies.items.push_back(packet);
                Ok(replies.waiter.take())
            }
            (Asked::Stream(replies), _) => {
                replies.answer = Some(packet);
                Ok(replies.waiter.take())
            }
            (Asked::Waiting(_), Kind::Item) => Err(Broken::Answer),
            (asked @ Asked::Waiting(_), _) => {
                match std::mem::replace(asked, Asked::Answered(packet)) {
                    Asked::Waiting(waiter) => Ok(waiter),
                    _ => Ok(None),
                }
            }
        }
    }

    /// Takes note of a call of the peer's.
    pub(crate) fn begin(&mut self, call: u64, credit: u32) -> Result<Arc<Running>, Broken> {
        if self.running.len() >= self.most_running as usize {
            return Err(Broken::Overrun);
        }
        let running = Arc::new(Running::new(credit));
        self.running.insert(call, Arc::clone(&running));
        Ok(running)
    }

    /// A call of the peer's has its answer. Whether it was the last that ran.
    pub(crate) fn finish(&mut self, call: u64) -> bool {
        self.running.remove(&call).is_some() && self.running.is_empty()
    }

    pub(crate) fn running(&self, call: u64) -> Option<&Arc<Running>> {
        self.running.get(&call)
    }

    /// Whether nothing runs for the peer, and nothing waits to.
    pub(crate) fn is_quiet(&self) -> bool {
        self.running.is_empty() && self.jobs.is_empty()
    }

    /// Has a serving thread begin this; the thread to wake, if one sleeps.
    pub(crate) fn queue(&mut self, packet: Packet, running: Option<Arc<Running>>) -> Option<Thread> {
        self.job_bytes += packet.memory.len();
        self.jobs.push_back((packet, running));
        let place = self.sleepers.iter().position(|sleeper| sleeper.serves)?;
        self.sleepers.remove(place).map(|sleeper| sleeper.thread)
    }

    /// Whether so much waits to be begun that no more is to be read.
    pub(crate) fn is_crowded(&self) -> bool {
        self.jobs.len() >= MOST_JOBS || self.job_bytes >= MOST_JOB_BYTES
    }

    pub(crate) fn next_job(&mut self) -> Option<(Packet, Option<Arc<Running>>)> {
        let job = self.jobs.pop_front()?;
        self.job_bytes -= job.0.memory.len();
        Some(job)
    }

    /// Takes note that this thread will sleep. A number, for [`woke`](Self::woke).
    pub(crate) fn sleeps(&mut self, thread: Thread, serves: bool) -> u64 {
        self.sleeps += 1;
        self.sleepers.push_back(Sleeper { number: self.sleeps, thread, serves });
        self.sleeps
    }

    /// It sleeps no more. False if somebody has chosen it, to read or to serve.
    pub(crate) fn woke(&mut self, number: u64) -> bool {
        match self.sleepers.iter().position(|sleeper| sleeper.number == number) {
            Some(place) => self.sleepers.remove(place).is_some(),
            None => false,
        }
    }

    /// Chooses who reads next, of those that sleep.
    #[inline]
    pub(crate) fn next_reader(&mut self) -> Option<Thread> {
        self.sleepers.pop_front().map(|sleeper| sleeper.thread)
    }

    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// The session is over. Who is to be told.
    #[must_use]
    pub(crate) fn finish_all(&mut self, end: End) -> Vec<Waiter> {
        self.end.get_or_insert(end);
        let sleepers = self.sleepers.drain(..).map(|sleeper| Waiter::Thread(sleeper.thread));
        let mut told: Vec<_> = sleepers.collect();
        self.asked.retain(|_, asked| match asked {
            Asked::Waiting(waiter) | Asked::Stream(Replies { waiter, .. }) => {
                told.extend(waiter.take());
                true
            }
            Asked::Answered(_) => true,
            Asked::Abandoned => false,
        });
        told.extend(self.running.values().filter_map(|running| running.cut()));
        told
    }
}

/// Calls that may be under way before the peer has said how many it takes.
pub(crate) const FIRST_ASKED: u32 = 16;
