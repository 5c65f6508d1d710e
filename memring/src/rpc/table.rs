//! What is under way in a session: the calls that this side made, those of the peer's that wait to be begun, and who sleeps.
//! It is kept under one short lock and never waits itself.
//!
//! A question has one answer. So an answer to what was not asked, or was answered before, is a fault of the peer's; and a
//! call that nobody waits for any more stays here until its answer has come.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use memring_ring::buffer::Buffer;
use memring_ring::halves::Which;

use super::carrier::Came;
use super::noted::Noted;
use super::running::Place;
use super::signal::Queue;
use super::stream::FIRST_CREDIT;
use super::waiter::Waiter;
use super::wire::{Broken, Header, Kind};
use crate::arrived::Arrived;
use crate::error::End;

/// Calls that may be under way before the peer has said how many it takes.
pub(crate) const FIRST_ASKED: u32 = 16;

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

    /// What came with it.
    pub(crate) fn came(&self) -> Option<Came> {
        self.arrived.as_ref().map(|arrived| Came(Arc::clone(arrived)))
    }
}

/// What a question is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expects {
    /// One answer.
    Answer,
    /// Replies, and then an answer.
    Replies,
}

impl Expects {
    /// How it begins.
    fn begin(self) -> Asked {
        match self {
            Self::Answer => Asked::Waiting(None),
            Self::Replies => Asked::Stream(Filed::default()),
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
    Stream(Filed),
}

/// What came of a stream and was not taken.
pub(crate) struct Filed {
    pub items: VecDeque<Packet>,
    pub answer: Option<Packet>,
    /// How many may still come.
    pub credit: u32,
    pub waiter: Option<Waiter>,
}

/// A thread or a task that sleeps until a half is free, or until there is something for it.
struct Sleeper {
    number: u64,
    waiter: Waiter,
    needs: Which,
    /// It runs calls of the peer's.
    serves: bool,
}

/// A call of the peer's that waits to be begun.
pub(crate) struct Job {
    pub packet: Packet,
    /// Where it runs, unless it is one that is not answered.
    pub place: Option<Place>,
}

/// What is under way.
pub(crate) struct Table {
    /// Questions of which there is nothing to be known here.
    noted: Arc<Noted>,
    asked: ByNumber<Asked>,
    jobs: VecDeque<Job>,
    job_bytes: usize,
    subscriptions: Vec<Queue>,
    /// Signals that were subscribed to at any time: what comes of others was not asked for.
    wanted: BTreeSet<(u16, u32)>,
    sleepers: VecDeque<Sleeper>,
    /// The number of the last sleep, or subscription.
    sleeps: u64,
    end: Option<End>,
}

/// Bytes of calls that lie read and not begun, beyond which nothing is read but by whoever begins them.
const MOST_JOB_BYTES: usize = 64 << 20;
/// The same in packets.
const MOST_JOBS: usize = 1 << 16;

impl Default for Filed {
    fn default() -> Self {
        Self { items: VecDeque::new(), answer: None, credit: FIRST_CREDIT, waiter: None }
    }
}

impl Table {
    pub(crate) fn new(noted: Arc<Noted>) -> Self {
        Self {
            noted,
            asked: HashMap::default(),
            jobs: VecDeque::new(),
            job_bytes: 0,
            subscriptions: Vec::new(),
            wanted: BTreeSet::new(),
            sleepers: VecDeque::new(),
            sleeps: 0,
            end: None,
        }
    }

    /// Takes note of a question before it is sent, if there are fewer than `most`, here and noted. Whether there are. For whoever
    /// has the sending half.
    pub(crate) fn ask(&mut self, call: u64, expects: Expects, most: u32) -> bool {
        // None is counted twice: none moves here while this is locked.
        let few = self.asked.len() + (self.noted.placed() as usize) < most as usize;
        if few {
            self.asked.insert(call, expects.begin());
            self.count();
        }
        few
    }

    /// Says how many are here.
    fn count(&self) {
        self.noted.set_listed(self.asked.len());
    }

    /// Forgets a question that was not sent, or whose answer was taken.
    #[inline]
    pub(crate) fn forget(&mut self, call: u64) -> Option<Asked> {
        if self.noted.take_locked(call) {
            return None;
        }
        let asked = self.asked.remove(&call);
        self.count();
        asked
    }

    /// The question of this number, which is here from now on if it was only noted.
    pub(crate) fn asked(&mut self, call: u64) -> Option<&mut Asked> {
        if self.noted.has(call) {
            self.asked.insert(call, Expects::Answer.begin());
            self.count();
            self.noted.take_locked(call);
        }
        self.asked.get_mut(&call)
    }

    /// Has this one told when the answer comes, or a reply. Who was to be told before.
    #[must_use = "a waker is not dropped under the lock"]
    pub(crate) fn set_waiter(&mut self, call: u64, waiter: Waiter) -> Option<Waiter> {
        match self.asked(call) {
            Some(Asked::Waiting(slot) | Asked::Stream(Filed { waiter: slot, .. })) => {
                slot.replace(waiter)
            }
            _ => None,
        }
    }

    /// Takes the answer, if it came.
    pub(crate) fn take_answer(&mut self, call: u64) -> Option<Packet> {
        if !matches!(self.asked.get(&call), Some(Asked::Answered(_))) {
            return None;
        }
        match self.forget(call) {
            Some(Asked::Answered(packet)) => Some(packet),
            _ => None,
        }
    }

    /// Nobody waits for the answer any more. Whether it has not come yet; and what was kept for it.
    pub(crate) fn abandon(&mut self, call: u64) -> (bool, Option<Asked>) {
        let over = self.end.is_some();
        match self.asked(call) {
            Some(Asked::Answered(_) | Asked::Stream(Filed { answer: Some(_), .. })) | None => {
                (false, self.forget(call))
            }
            Some(asked) => (!over, Some(std::mem::replace(asked, Asked::Abandoned))),
        }
    }

    /// Files an answer or a reply for whoever waits for it, who is returned.
    pub(crate) fn file(&mut self, packet: Packet) -> Result<Option<Waiter>, Broken> {
        let call = packet.call;
        let asked = self.asked(call).ok_or(Broken::Unasked)?;
        match (asked, packet.header.kind) {
            (Asked::Abandoned, Kind::Item) => Ok(None),
            (Asked::Abandoned, _) => {
                self.forget(call);
                Ok(None)
            }
            (Asked::Stream(Filed { answer: Some(_), .. }) | Asked::Answered(_), _) => {
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

    /// Takes note of a question that was sent, and that nobody waits for any more.
    pub(crate) fn add_abandoned(&mut self, call: u64) {
        self.asked.insert(call, Asked::Abandoned);
        self.count();
    }

    /// How many calls wait to be begun.
    pub(crate) fn jobs(&self) -> u32 {
        self.jobs.len() as u32
    }

    /// Has a serving thread begin this; the thread to wake, if one sleeps.
    pub(crate) fn queue(&mut self, job: Job) -> Option<Waiter> {
        self.job_bytes += job.packet.memory.len();
        self.jobs.push_back(job);
        let place = self.sleepers.iter().position(|sleeper| sleeper.serves)?;
        self.sleepers.remove(place).map(|sleeper| sleeper.waiter)
    }

    /// Whether so much waits to be begun that no more is to be read.
    pub(crate) fn is_crowded(&self) -> bool {
        self.jobs.len() >= MOST_JOBS || self.job_bytes >= MOST_JOB_BYTES
    }

    pub(crate) fn next_job(&mut self) -> Option<Job> {
        let job = self.jobs.pop_front()?;
        self.job_bytes -= job.packet.memory.len();
        Some(job)
    }

    /// Begins a subscription. Its number, and whether it is the first to this signal.
    pub(crate) fn subscribe(&mut self, place: u16, member: u32) -> (u64, bool) {
        self.sleeps += 1;
        let number = self.sleeps;
        let first =
            !self.subscriptions.iter().any(|one| (one.place, one.member) == (place, member));
        self.wanted.insert((place, member));
        let packets = VecDeque::new();
        let queue = Queue { number, place, member, packets, bytes: 0, missed: 0, waiter: None };
        self.subscriptions.push(queue);
        (number, first)
    }

    /// Ends a subscription. What it was, and whether it was the last to its signal.
    pub(crate) fn unsubscribe(&mut self, number: u64) -> Option<(Queue, bool)> {
        let at = self.subscriptions.iter().position(|one| one.number == number)?;
        let ended = self.subscriptions.swap_remove(at);
        let same = |one: &Queue| (one.place, one.member) == (ended.place, ended.member);
        let last = !self.subscriptions.iter().any(same);
        Some((ended, last))
    }

    pub(crate) fn subscription(&mut self, number: u64) -> Option<&mut Queue> {
        self.subscriptions.iter_mut().find(|one| one.number == number)
    }

    /// Has this one told of the next signal. Who was to be told before.
    #[must_use = "a waker is not dropped under the lock"]
    pub(crate) fn set_subscriber(&mut self, number: u64, waiter: Waiter) -> Option<Waiter> {
        self.subscription(number)?.waiter.replace(waiter)
    }

    /// Files a signal for whoever subscribed, who are returned.
    pub(crate) fn signal(&mut self, packet: Packet) -> Result<Vec<Waiter>, Broken> {
        let of = (packet.header.interface, packet.header.number);
        if !self.wanted.contains(&of) {
            return Err(Broken::Unasked);
        }
        let packet = Arc::new(packet);
        let mut told = Vec::new();
        for queue in self.subscriptions.iter_mut().filter(|one| (one.place, one.member) == of) {
            queue.push(Arc::clone(&packet));
            told.extend(queue.waiter.take());
        }
        Ok(told)
    }

    /// Takes note that this thread will sleep. A number, for [`woke`](Self::woke).
    pub(crate) fn sleeps(&mut self, waiter: Waiter, needs: Which, serves: bool) -> u64 {
        self.sleeps += 1;
        self.sleepers.push_back(Sleeper { number: self.sleeps, waiter, needs, serves });
        self.sleeps
    }

    /// It sleeps no more. `None` if somebody has chosen it, for a half or to serve.
    pub(crate) fn woke(&mut self, number: u64) -> Option<Waiter> {
        let place = self.sleepers.iter().position(|sleeper| sleeper.number == number)?;
        self.sleepers.remove(place).map(|sleeper| sleeper.waiter)
    }

    /// Chooses who gets a half that is free, of those that sleep; and whether others want it too.
    pub(crate) fn choose(&mut self, half: Which) -> (Option<Waiter>, bool) {
        let wants = |sleeper: &Sleeper| sleeper.needs.any_of(half);
        let Some(place) = self.sleepers.iter().position(wants) else { return (None, false) };
        let chosen = self.sleepers.remove(place).map(|sleeper| sleeper.waiter);
        (chosen, self.sleepers.iter().skip(place).any(wants))
    }

    /// The tasks that wait for answers, replies, signals or calls.
    pub(crate) fn take_tasks(&mut self) -> Vec<Waiter> {
        let is_task = |waiter: &mut Waiter| matches!(waiter, Waiter::Task(_));
        let asked = self.asked.values_mut().filter_map(|asked| match asked {
            Asked::Waiting(waiter) | Asked::Stream(Filed { waiter, .. }) => waiter.take_if(is_task),
            Asked::Answered(_) | Asked::Abandoned => None,
        });
        let mut tasks: Vec<_> = asked.collect();
        let subscribed = self.subscriptions.iter_mut();
        tasks.extend(subscribed.filter_map(|queue| queue.waiter.take_if(is_task)));
        // Those that sleep for a half get it from whoever gives it back.
        let (serve, others) = std::mem::take(&mut self.sleepers)
            .into_iter()
            .partition::<VecDeque<_>, _>(|sleeper| sleeper.needs == Which::NONE);
        self.sleepers = others;
        tasks.extend(serve.into_iter().map(|sleeper| sleeper.waiter));
        tasks
    }

    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// The session is over. Who is to be told.
    #[must_use]
    pub(crate) fn finish_all(&mut self, end: End) -> Vec<Waiter> {
        self.end.get_or_insert(end);
        let sleepers = self.sleepers.drain(..).map(|sleeper| sleeper.waiter);
        let mut told: Vec<_> = sleepers.collect();
        self.asked.retain(|_, asked| match asked {
            Asked::Waiting(waiter) | Asked::Stream(Filed { waiter, .. }) => {
                told.extend(waiter.take());
                true
            }
            Asked::Answered(_) => true,
            Asked::Abandoned => false,
        });
        self.count();
        told.extend(self.subscriptions.iter_mut().filter_map(|queue| queue.waiter.take()));
        told
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::session::Calls;
    use super::*;

    /// So many packets of so many bytes, as they come out of a lane.
    pub(in super::super) fn packets(len: usize, count: usize) -> Vec<Packet> {
        let large = crate::Connector::new().largest_message(32 << 20);
        let (ours, theirs) = large.pair::<Calls>().expect("a pair");
        let ((mut sender, _ours), (_theirs, receiver)) = (ours.split(), theirs.split());
        let mut consumer = receiver.into_consumer();
        std::thread::scope(|scope| {
            let message = vec![0; len];
            scope.spawn(move || (0..count).for_each(|_| sender.send(&message).expect("room")));
            let take = |_| {
                let item = consumer.recv(None).expect("it comes");
                let memory = consumer.take(&item, Buffer::new());
                Packet { header: Header::new(Kind::Tell), call: 0, memory, arrived: None }
            };
            (0..count).map(take).collect()
        })
    }

    #[test]
    fn calls_that_wait_to_be_begun_have_a_bound_by_number_and_by_length() {
        let mut table = Table::new(Arc::default());
        for (len, most) in [(16, MOST_JOBS), (8 << 20, 8)] {
            for packet in packets(len, most) {
                assert!(!table.is_crowded(), "{len}");
                assert!(table.queue(Job { packet, place: None }).is_none());
            }
            assert!(table.is_crowded(), "{len}");
            assert!(table.next_job().is_some() && !table.is_crowded(), "{len}");
            while table.next_job().is_some() {}
        }
    }
}
