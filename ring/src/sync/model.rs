//! loom's stand-ins: the same names as `native`, on memory and futexes that the model checker can see.
//!
//! A futex is a mutex, a condvar and a list of who waits for what; a region is a list of atomics. Both
//! fences of the asymmetric pair are full fences here: that the pair is as good as two full fences is an
//! argument (`docs/decisions/0001-asymmetric-fence.md`) and a stress test, not a model. (loom weakens
//! SeqCst accesses to AcqRel, so ordering between words is always written as a fence.)

use std::time::Duration;

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
pub(crate) use loom::sync::{Arc, Mutex, MutexGuard};
pub(crate) use std::time::Instant;

use loom::sync::Condvar;

use super::Bed;

use crate::consumer::Consumer;
use crate::fence::{FenceBits, Fences, Heavy};
use crate::heads::Heads;
use crate::lane::{Side, Terms, halves};
use crate::life::Life;
use crate::position::Capacity;
use crate::producer::Producer;

pub(crate) use super::frame::{Frame, FrameMut};

static MUTANT: std::sync::RwLock<Option<String>> = std::sync::RwLock::new(None);

/// Chooses the mutant to run, by name, for the whole process; `None` for the real code.
pub fn choose_mutant(name: Option<&str>) {
    if let Ok(mut mutant) = MUTANT.write() {
        *mutant = name.map(str::to_owned);
    }
}

/// Whether the named mutant is being run.
pub(crate) fn mutant(name: &str) -> bool {
    MUTANT.read().is_ok_and(|mutant| mutant.as_deref() == Some(name))
}

/// The ordering, or none if the named mutant is being run.
pub(crate) fn order(name: &str, order: Ordering) -> Ordering {
    if mutant(name) { Ordering::Relaxed } else { order }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

pub(crate) fn pause() {
    loom::thread::yield_now();
}

pub(crate) fn moment() {}

pub(crate) fn copy_fresh(to: &mut [u8], from: &[u8]) {
    to.copy_from_slice(from);
}

pub(crate) fn light_fence() {
    fence(Ordering::SeqCst);
}

pub(crate) fn heavy_fence() -> bool {
    fence(Ordering::SeqCst);
    // ORDERING: Relaxed; a number for the model, unseen by loom.
    HEAVY_FENCES.fetch_add(1, Ordering::Relaxed);
    true
}

/// Does what a waiter does between saying that it sleeps and its last look. True if a publish that carries
/// a light fence will wake it, or else it sleeps in slices. For models in which one thread sleeps.
pub fn is_covered(fences: &Fences) -> bool {
    let before = HEAVY_FENCES.load(Ordering::Relaxed);
    let sliced = matches!(fences.heavy(), Heavy::Sliced { .. });
    sliced || HEAVY_FENCES.load(Ordering::Relaxed) != before
}

pub(crate) fn full_fence() {
    fence(Ordering::SeqCst);
}

pub(crate) fn shortest_spin() -> Duration {
    Duration::ZERO
}

/// A model never forks.
#[derive(Clone, Copy, Debug)]
pub struct Generation;

impl Generation {
    pub(crate) fn is_current(self) -> bool {
        true
    }
}

/// A word of a process that never forks.
pub(crate) struct Word(Arc<AtomicU32>);

pub(crate) type WordRef = Arc<AtomicU32>;

impl Word {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU32::new(0)))
    }

    pub(crate) fn is_wiped(&self) -> bool {
        true
    }

    pub(crate) fn get(&self) -> WordRef {
        Arc::clone(&self.0)
    }
}

/// Shared memory as the model sees it: one atomic for every `grain` bytes, round and round.
#[derive(Clone)]
pub struct Region {
    cells: Arc<Vec<AtomicU64>>,
    grain: usize,
}

/// A model's halves only write what is theirs.
pub(crate) type WritableRegion = Region;

impl Region {
    fn new(cells: usize, grain: usize) -> Self {
        Self { cells: Arc::new((0..cells).map(|_| AtomicU64::new(0)).collect()), grain }
    }

    /// A data area; beyond its end it begins anew, as the mirror does.
    fn data(capacity: Capacity) -> Self {
        Self::new(capacity.bytes() as usize / 8, 8)
    }

    /// A control area: `head`, `rx_asleep`, `tx_asleep`.
    fn control() -> Self {
        Self::new(3, 128)
    }

    fn cell(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(self.grain), "a word is reached through one address");
        &self.cells[offset / self.grain % self.cells.len()]
    }

    pub(crate) fn load64(&self, offset: usize, order: Ordering) -> u64 {
        self.cell(offset).load(order)
    }

    pub(crate) fn store64(&self, offset: usize, value: u64, order: Ordering) {
        self.cell(offset).store(value, order);
    }

    pub(crate) fn load32(&self, offset: usize, order: Ordering) -> u32 {
        self.cell(offset).load(order) as u32
    }

    pub(crate) fn store32(&self, offset: usize, value: u32, order: Ordering) {
        self.cell(offset).store(value.into(), order);
    }

    pub(crate) fn copy_in(&self, offset: usize, bytes: &[u8]) {
        for (index, chunk) in bytes.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.store64(offset + 8 * index, u64::from_le_bytes(word), Ordering::Relaxed);
        }
    }

    /// Fails the model unless every store to these bytes happens before, or not until all that this
    /// thread did so far happened before it: no read of a payload may race with a write.
    #[allow(unsafe_code)]
    pub(crate) fn copy_out(&self, offset: usize, into: &mut [u8]) {
        for (index, chunk) in into.chunks_mut(8).enumerate() {
            // SAFETY: loom itself checks that no store races with this load, and fails the model.
            let word = unsafe { self.cell(offset + 8 * index).unsync_load() }.to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    pub(crate) fn load32_at<const OFFSET: usize>(&self, order: Ordering) -> u32 {
        self.load32(OFFSET, order)
    }

    pub(crate) fn frame(&self, position: u64) -> Frame<'_> {
        Frame { region: self, at: (position as usize) % (8 * self.cells.len()) }
    }

    pub(crate) fn frame_mut(&self, position: u64) -> Frame<'_> {
        self.frame(position)
    }

    pub(crate) fn zero(&self, offset: usize, len: usize) {
        // A partial word was padded by `copy_in`.
        for at in (offset.next_multiple_of(8)..offset + len).step_by(8) {
            self.store64(at, 0, Ordering::Relaxed);
        }
    }

    #[allow(unsafe_code)]
    pub(crate) unsafe fn slice(&self, _offset: usize, _len: usize) -> &[u8] {
        unreachable!("models do not trust their peer")
    }

    #[allow(unsafe_code, clippy::mut_from_ref)]
    pub(crate) unsafe fn slice_mut(&self, _offset: usize, _len: usize) -> &mut [u8] {
        unreachable!("nor is it where this half writes in place")
    }

    /// What tells this memory from other memory.
    fn identity(&self) -> usize {
        std::ptr::from_ref(&*self.cells) as usize
    }

    /// What identifies the word to the futex.
    fn key(&self, offset: usize) -> usize {
        std::ptr::from_ref(self.cell(offset)) as usize
    }
}

/// How to sleep; a model knows no time.
#[expect(dead_code, reason = "the native sleep reads them")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sleep {
    pub shared: bool,
    pub until: Option<Instant>,
}

struct Sleeping {
    keys: Vec<usize>,
    /// The shared memory it sleeps on.
    regions: Vec<usize>,
    woken: bool,
    number: usize,
}

#[derive(Default)]
struct Sleepers {
    list: Vec<Sleeping>,
    /// Sleeps so far.
    number: usize,
    /// Wakes of somebody who had been woken and had not risen yet.
    redundant: usize,
}

/// The kernel's side of the futexes: who sleeps on which words.
struct Futexes {
    sleepers: Mutex<Sleepers>,
    changed: Condvar,
}

loom::lazy_static! {
    // Made anew for each run that is explored.
    /// The futexes.
    static ref FUTEXES: Futexes =
        Futexes { sleepers: Mutex::new(Sleepers::default()), changed: Condvar::new() };
    static ref HEAVY_FENCES: std::sync::atomic::AtomicUsize =
        std::sync::atomic::AtomicUsize::new(0);
}

pub(crate) fn sleep(
    region: &Region,
    offset: usize,
    seen: u32,
    private: &AtomicU32,
    private_seen: u32,
    _how: Sleep,
) -> bool {
    sleep_any(&[Bed { region, offset, seen, shared: true, private, private_seen }], None);
    true
}

pub(crate) fn sleep_any(beds: &[Bed<'_, Region>], _until: Option<Instant>) -> Option<usize> {
    let futexes = &*FUTEXES;
    let mut sleepers = lock(&futexes.sleepers);
    // ORDERING: Relaxed under the lock that a waker takes after its store: it comes before us and we see
    // the store, or after us and finds us.
    let changed = |bed: &Bed<'_, Region>| {
        bed.region.load64(bed.offset, Ordering::Relaxed) as u32 != bed.seen
            || bed.private.load(Ordering::Relaxed) != bed.private_seen
    };
    if beds.iter().any(changed) {
        return None;
    }
    sleepers.number += 1;
    let number = sleepers.number;
    let keys = |bed: &Bed<'_, Region>| {
        [bed.region.key(bed.offset), std::ptr::from_ref(bed.private) as usize]
    };
    let keys = beds.iter().flat_map(keys).collect();
    let regions = beds.iter().map(|bed| bed.region.identity()).collect();
    sleepers.list.push(Sleeping { keys, regions, woken: false, number });
    loop {
        let at = sleepers.list.iter().position(|other| other.number == number);
        match at {
            Some(at) if !sleepers.list[at].woken => {
                sleepers = futexes
                    .changed
                    .wait(sleepers)
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
            }
            Some(at) => {
                sleepers.list.swap_remove(at);
                return None;
            }
            None => return None,
        }
    }
}

fn wake_key(key: usize, region: Option<&Region>) -> bool {
    let futexes = &*FUTEXES;
    let mut sleepers = lock(&futexes.sleepers);
    let region = region.map(Region::identity);
    if sleepers
        .list
        .iter()
        .any(|sleeper| sleeper.woken && region.is_some_and(|it| sleeper.regions.contains(&it)))
    {
        sleepers.redundant += 1;
    }
    let mut any = false;
    for sleeper in sleepers.list.iter_mut().filter(|sleeper| sleeper.keys.contains(&key)) {
        any |= !std::mem::replace(&mut sleeper.woken, true);
        if mutant("wake-one-of-many") {
            break;
        }
    }
    if any {
        futexes.changed.notify_all();
    }
    any
}

pub(crate) fn wake(region: &Region, offset: usize) -> bool {
    wake_key(region.key(offset), Some(region))
}

pub(crate) fn wake_private(word: &AtomicU32) {
    wake_key(std::ptr::from_ref(word) as usize, None);
}

/// How often somebody was woken who had been woken already and had not risen yet, in this run.
#[must_use]
pub fn redundant_wakes() -> usize {
    lock(&FUTEXES.sleepers).redundant
}

/// One end of a modelled channel.
pub struct ModelEnd {
    /// Sends.
    pub producer: Producer,
    /// Receives.
    pub consumer: Consumer,
    /// What a session would share with both.
    pub life: Arc<Life>,
}

/// The heads of one modelled process.
#[must_use]
pub fn heads() -> Arc<Heads> {
    Heads::new()
}

/// Both ends of a channel whose lanes hold `capacity` bytes each; `heads` are those of the two processes.
#[must_use]
pub fn channel(
    capacity: u64,
    start: u64,
    max_message: u64,
    heads: [&Arc<Heads>; 2],
) -> [ModelEnd; 2] {
    let capacity = Capacity::new(capacity).expect("a model's lane has a lane's capacity");
    let controls = [Region::control(), Region::control()];
    let data = [Region::data(capacity), Region::data(capacity)];
    let bits = FenceBits { registered: true, can_call: true };
    let terms = Terms::new(max_message).wait(crate::Wait::Park).start(start);
    [0, 1].map(|me: usize| {
        let peer = 1 - me;
        let life = Life::new(Fences::negotiate(bits, bits), Generation);
        let side = Side {
            mine: controls[me].clone(),
            theirs: controls[peer].clone(),
            data_out: data[me].clone(),
            data_in: data[peer].clone(),
            capacity_out: capacity,
            capacity_in: capacity,
            life: Arc::clone(&life),
        };
        let (producer, consumer) = halves(&side, &terms, heads[me]);
        ModelEnd { producer, consumer, life }
    })
}
