//! Heads: the release positions of all consumers of this process, and how one is published.
//!
//! A consumer publishes its head rarely, so room may lie unpublished while its thread does something
//! else. If that thread, or any other of this process, is about to wait for another session, the peer
//! that needs the room may be the very one we wait for. So every wait first publishes every head
//! ([`Heads::publish_all`]), from private memory, under a lock of its own.
//!
//! | step | who | what |
//! |---|---|---|
//! | H1 | consumer | stores `released` (Release), after its last read of the bytes |
//! | H2 | publisher | loads `released` (Acquire), stores the shared `head` (Release) |
//! | H3 | publisher | light fence |
//! | H4 | publisher | loads the peer's `tx_asleep`; wakes it, once an epoch |
//! | H5 | peer's producer | loads `head` (Acquire), then writes over the bytes |

use crossbeam_utils::CachePadded;

use crate::asleep::{Asleep, How};
use crate::counters;
use crate::life::Life;
use crate::position::GONE;
use crate::step::{self, Step};
use crate::sync::{self, Arc, AtomicU32, AtomicU64, Mutex, Ordering, Region, mutant};

/// Offset of the published release position in a control area.
pub(crate) const HEAD: usize = 0;
/// Offset of the word that says whether the consumer sleeps.
pub(crate) const RX_ASLEEP: usize = 128;
/// Offset of the word that says whether the producer sleeps.
pub(crate) const TX_ASLEEP: usize = 256;

/// What of released frames was not received yet, for whoever looks at the lane and not at the consumer.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Left {
    Nothing,
    /// Messages that came in one frame with others.
    Messages,
    /// Nothing ever: the producer's end mark was read.
    End,
    /// Nothing ever: the session ended, and the consumer has said so.
    Over,
}

/// One consumer's release position.
pub(crate) struct Head {
    /// How far the consumer has read: owned by the consumer, read by whoever publishes.
    /// On a line of its own: stored at every receive.
    released: CachePadded<AtomicU64>,
    /// A [`Left`].
    left: AtomicU32,
    /// Bytes of the frame that is lent in place: received, and not released.
    lent: AtomicU64,
    /// The epoch of the last doorbell that was asked for.
    bells: AtomicU32,
    /// What `head` was last stored as: written under `publisher`.
    published: AtomicU64,
    publisher: Mutex<Publisher>,
    mine: Region,
    theirs: Region,
    life: Arc<Life>,
}

struct Publisher {
    woken: u32,
    wakes: u64,
    gone: bool,
}

impl Head {
    pub(crate) fn new(start: u64, mine: Region, theirs: Region, life: Arc<Life>) -> Arc<Self> {
        // ORDERING: Relaxed; nothing was read yet. Fresh memory is zero, so it is news to tests only, whose
        // producers are made after it or wait for nothing before.
        mine.store64(HEAD, start, Ordering::Relaxed);
        Arc::new(Self {
            released: CachePadded::new(AtomicU64::new(start)),
            left: AtomicU32::new(Left::Nothing as u32),
            lent: AtomicU64::new(0),
            bells: AtomicU32::new(0),
            published: AtomicU64::new(start),
            publisher: Mutex::new(Publisher { woken: 0, wakes: 0, gone: false }),
            mine,
            theirs,
            life,
        })
    }

    /// The consumer will not read before `position` again.
    #[inline]
    pub(crate) fn release(&self, position: u64) {
        step::at(Step::H1);
        // ORDERING: Release; pairs with the Acquire in `publish`, which may run in another thread. It
        // keeps our reads of the bytes before the store that lets the producer overwrite them.
        let order = sync::order("relaxed-release", Ordering::Release);
        self.released.store(position, order); // H1
    }

    /// Publishes what was released, if that is news, and wakes a producer that sleeps for it.
    pub(crate) fn publish(&self) {
        let unlocked = mutant("head-read-unlocked").then(|| self.released.load(Ordering::Acquire));
        let mut publisher = sync::lock(&self.publisher);
        // ORDERING: Acquire; pairs with H1, for the store below passes it on. Under the lock, so that
        // `head` never goes back.
        let order = sync::order("relaxed-released", Ordering::Acquire);
        let released = unlocked.unwrap_or_else(|| self.released.load(order)); // H2
        // ORDERING: Relaxed; the lock orders it.
        if released != self.published.load(Ordering::Relaxed) && !publisher.gone {
            self.store(&mut publisher, released, released);
        }
    }

    /// The consumer's last word: nothing will be read any more.
    pub(crate) fn leave(&self) {
        step::at(Step::Leave);
        let mut publisher = sync::lock(&self.publisher);
        let released = self.released.load(Ordering::Acquire);
        if !publisher.gone {
            publisher.gone = true;
            // The flag changes the word's low half, so a producer that sleeps on it cannot sleep on.
            let gone = if mutant("gone-unsaid") { 0 } else { GONE };
            self.store(&mut publisher, released, released | gone);
            // And where every publish looks, so that a producer with room finds out at its next one.
            // ORDERING: Relaxed; a hint. The head says it for good.
            self.mine.store32(RX_ASLEEP, Asleep::GONE, Ordering::Relaxed);
        }
    }

    fn store(&self, publisher: &mut Publisher, released: u64, word: u64) {
        self.published.store(released, Ordering::Relaxed);
        step::at(Step::H2);
        // ORDERING: Release; pairs with the Acquire of H5 in the peer's `Producer::room`.
        let order = sync::order("relaxed-head", Ordering::Release);
        self.mine.store64(HEAD, word, order); // H2
        if mutant("head-without-look") {
            return;
        }
        step::at(Step::H3);
        self.life.fences().light(); // H3
        step::at(Step::H4);
        // ORDERING: Relaxed; ordered by H3 and by the sleeper's heavy fence.
        let asleep = Asleep(self.theirs.load32_at::<TX_ASLEEP>(Ordering::Relaxed)); // H4
        if asleep.is_new(publisher.woken) {
            self.wake(publisher, asleep);
        }
    }

    #[cold]
    fn wake(&self, publisher: &mut Publisher, asleep: Asleep) {
        let settled = match asleep.how() {
            Some(How::Futex) => {
                step::at(Step::H4Wake);
                let somebody = sync::wake(&self.mine, HEAD);
                (somebody || mutant("head-epoch-settled-by-any-wake"))
                    && !mutant("head-epoch-never-settled")
            }
            Some(How::Doorbell) => {
                step::at(Step::H4Bell);
                self.life.ring_doorbell() && !mutant("doorbell-each-time")
            }
            // A producer that has gone waits for nothing.
            Some(How::Gone) | None => return,
        };
        if settled {
            publisher.woken = asleep.0;
        }
        publisher.wakes += 1;
        counters::put_wakes(&self.mine, counters::RX, publisher.wakes);
    }

    /// So many bytes are lent in place. Only for the thread that receives, as the next four are.
    pub(crate) fn lends(&self, frame: u64) {
        self.lent.store(frame, Ordering::Relaxed);
    }

    /// Says what is left.
    pub(crate) fn leaves(&self, left: Left) {
        self.left.store(left as u32, Ordering::Relaxed);
    }

    /// Whether that is left.
    pub(crate) fn has_left(&self, left: Left) -> bool {
        self.left.load(Ordering::Relaxed) == left as u32
    }

    /// Where the next frame is that was not received.
    pub(crate) fn next(&self) -> u64 {
        self.released.load(Ordering::Relaxed).wrapping_add(self.lent.load(Ordering::Relaxed))
    }

    /// The epoch of a doorbell that is about to be asked for.
    pub(crate) fn next_bell(&self) -> u32 {
        let epoch = self.bells.load(Ordering::Relaxed).wrapping_add(1);
        self.bells.store(epoch, Ordering::Relaxed);
        epoch
    }

    /// How often a sleeping producer was woken.
    pub(crate) fn wakes(&self) -> u64 {
        sync::lock(&self.publisher).wakes
    }

    fn is_behind(&self) -> bool {
        // ORDERING: Relaxed; a thread sees its own releases, which are those it may be waiting on; what
        // another thread released meanwhile, that thread publishes before its own wait.
        self.released.load(Ordering::Relaxed) != self.published.load(Ordering::Relaxed)
    }
}

/// Every head of this process.
pub struct Heads {
    list: Mutex<Vec<Arc<Head>>>,
}

impl Heads {
    /// None yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { list: Mutex::new(Vec::new()) })
    }

    /// The heads of this process.
    #[cfg(not(memring_loom))]
    pub fn of_process() -> Arc<Self> {
        static HEADS: crate::fork::PerProcess<Arc<Heads>> = crate::fork::PerProcess::new();
        HEADS.get_or_init(Heads::new).clone()
    }

    /// Publishes every head that is behind: before any wait.
    pub fn publish_all(&self) {
        if mutant("wait-without-heads") {
            return;
        }
        for head in sync::lock(&self.list).iter().filter(|head| head.is_behind()) {
            head.publish();
        }
    }

    pub(crate) fn add(&self, head: &Arc<Head>) {
        sync::lock(&self.list).push(Arc::clone(head));
    }

    pub(crate) fn remove(&self, head: &Arc<Head>) {
        let mut list = sync::lock(&self.list);
        if let Some(at) = list.iter().position(|other| Arc::ptr_eq(other, head)) {
            list.swap_remove(at);
        }
    }
}

impl std::fmt::Debug for Heads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heads").finish_non_exhaustive()
    }
}
