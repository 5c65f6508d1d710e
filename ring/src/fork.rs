//! Knowing that this process is a forked child, and keeping forks out of short critical sections.
//!
//! A child of `fork` inherits every object of its parent and none of its threads, and lane memory is
//! not there at all (`MADV_DONTFORK`): touching it would be a SIGSEGV, or worse, a touch of whatever
//! was mapped in its place. So whoever owns such a thing keeps the [`Generation`] it was made in and
//! asks [`Generation::is_current`], two relaxed loads, before each use, or keeps its state in a [`Word`]. The kernel does the counting:
//! a page with `MADV_WIPEONFORK` reads zero in a child, however it was forked, raw `clone` included.
//!
//! It does not restore anything in the child, and it does not follow `vfork` or threads, which share
//! their parent's memory and may go on using it.
//!
//! Atomics here are the plain ones: this file is no part of the models, which have no processes.
#![allow(unsafe_code)]

use std::convert::Infallible;
use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags};
use rustix::thread::futex;

mod word;
pub use word::Word;

/// Which process an object was made in: equal in one process, never equal to an ancestor's.
///
/// Siblings may carry the same number. Nothing made in one ever reaches the other, so that is no matter.
#[derive(Clone, Copy)]
pub struct Generation {
    number: u32,
    /// Holds the number in the process it was taken in, and never again: in the page that a fork wipes. Where
    /// there is no such page, a word that is always zero.
    word: &'static AtomicU32,
}

impl Generation {
    /// Whether the calling process is still the one this generation was taken in.
    #[inline]
    pub fn is_current(self) -> bool {
        // ORDERING: Relaxed; the word says which process this is and guards no other memory.
        self.word.load(Ordering::Relaxed) == self.number || self.is_current_by_pid()
    }

    #[cold]
    fn is_current_by_pid(self) -> bool {
        ptr::eq(self.word, &raw const UNDECIDED) && FALLBACK.is_current(self.number)
    }

    /// The number: never zero, and larger than that of any process this one descends from.
    pub fn number(self) -> u32 {
        self.number
    }
}

impl PartialEq for Generation {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Generation {}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Generation").field(&self.number).finish()
    }
}

/// The generation of the calling process.
///
/// The first call of a program maps one page. Where the kernel has no `MADV_WIPEONFORK` (or a sandbox
/// denies it) the process id stands in, at the price of a system call a check.
pub fn generation() -> Generation {
    // ORDERING: Relaxed; as in `is_current`. The page's only content is an atomic.
    let mut page = PAGE.load(Ordering::Relaxed);
    if ptr::eq(page, &raw const UNDECIDED) {
        page = decide();
    }
    if page.is_null() {
        return Generation { number: FALLBACK.number(), word: &UNDECIDED };
    }
    // SAFETY: `decide` stored a live page that is never unmapped.
    let word: &'static AtomicU32 = unsafe { &*page };
    // ORDERING: Relaxed throughout; threads of a fresh process only have to agree on one number, and
    // the compare-exchange on one word gives them that.
    match word.load(Ordering::Relaxed) {
        0 => {
            let fresh = next_number();
            match word.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => Generation { number: fresh, word },
                Err(theirs) => Generation { number: theirs, word },
            }
        }
        number => Generation { number, word },
    }
}

/// Runs `f` while no thread of this process can be in `fork`.
///
/// For the moment between mapping memory and marking it `MADV_DONTFORK`: a fork in between would give
/// the child a mapping of a lane. The lock is also taken by a `pthread_atfork` handler, so forks wait
/// for `f` and `f` waits for forks. A raw `clone` does not ask it; nothing but the mapping leaks then.
///
/// `f` must neither fork nor call `guarded` again: both wait for themselves.
pub fn guarded<R>(f: impl FnOnce() -> R) -> R {
    hook_fork();
    let _held = FORK_LOCK.lock();
    f()
}

/// A static value that a forked child makes anew.
///
/// What the parent made is left alone in the child, never dropped and never touched: its locks may be
/// held by threads that do not exist there.
///
/// ```
/// use memring_ring::fork::PerProcess;
/// use std::sync::Mutex;
///
/// static NAMES: PerProcess<Mutex<Vec<String>>> = PerProcess::new();
/// NAMES.get_or_init(Default::default).lock().unwrap().push("mine".to_owned());
/// assert_eq!(NAMES.get_or_init(Default::default).lock().unwrap().len(), 1);
/// ```
pub struct PerProcess<T: 'static> {
    made: AtomicPtr<Made<T>>,
    making: ForkLock,
}

/// A value and the process it belongs to. Never freed.
struct Made<T> {
    generation: Generation,
    value: T,
}

// SAFETY: `&PerProcess` hands `&T` to any thread (`T: Sync`) and may store a `T` made on one thread
// where others see it (`T: Send`). The pointer itself is an atomic.
unsafe impl<T: Send + Sync> Sync for PerProcess<T> {}
// SAFETY: the cell owns what it points to in the way `&'static T` does; see `Sync`.
unsafe impl<T: Send + Sync> Send for PerProcess<T> {}

impl<T> PerProcess<T> {
    /// An empty cell.
    pub const fn new() -> Self {
        Self { made: AtomicPtr::new(ptr::null_mut()), making: ForkLock::new() }
    }

    /// The value of this process, made by `f` if there is none yet.
    ///
    /// `f` runs once a process however many threads come at once; if it panics, the next caller tries
    /// again.
    ///
    /// `f` must not ask for the same cell: it would wait for itself.
    pub fn get_or_init(&self, f: fn() -> T) -> &'static T {
        let made: Result<_, Infallible> = self.get_or_try_init(|| Ok(f()));
        match made {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// The value of this process, made by `f` if there is none yet. If `f` fails, the next caller tries again.
    ///
    /// `f` must not ask for the same cell: it would wait for itself.
    ///
    /// # Errors
    ///
    /// Those of `f`.
    pub fn get_or_try_init<E>(&self, f: impl FnOnce() -> Result<T, E>) -> Result<&'static T, E> {
        match self.get() {
            Some(value) => Ok(value),
            None => self.init(f),
        }
    }

    /// The value of this process, if some thread has made it.
    pub fn get(&self) -> Option<&'static T> {
        // ORDERING: Acquire; pairs with the Release in `init`, and makes the value's bytes visible.
        let made = self.made.load(Ordering::Acquire);
        // SAFETY: null, or a leaked box that nobody frees or changes, here or in the parent we have
        // it from. Only the plain number in it is read until it proves to be ours.
        let made = unsafe { made.as_ref() }?;
        made.generation.is_current().then_some(&made.value)
    }

    #[cold]
    fn init<E>(&self, f: impl FnOnce() -> Result<T, E>) -> Result<&'static T, E> {
        let _held = self.making.lock();
        if let Some(value) = self.get() {
            return Ok(value);
        }
        let made: &'static Made<T> =
            Box::leak(Box::new(Made { generation: generation(), value: f()? }));
        // ORDERING: Release; pairs with the Acquire in `get`.
        self.made.store(ptr::from_ref(made).cast_mut(), Ordering::Release);
        Ok(&made.value)
    }
}

impl<T> Default for PerProcess<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for PerProcess<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PerProcess").field(&self.get()).finish()
    }
}

/// The page the kernel wipes in a child, null if it will not; [`UNDECIDED`] until the first call.
static PAGE: AtomicPtr<AtomicU32> = AtomicPtr::new((&raw const UNDECIDED).cast_mut());
/// Zero, and so nobody's generation.
static UNDECIDED: AtomicU32 = AtomicU32::new(0);
/// Stands in for the page.
static FALLBACK: PidWord = PidWord::new();
/// The largest number given. Ordinary memory, so that a child counts on from its parent.
static NUMBERS: AtomicU32 = AtomicU32::new(0);
/// Held in `guarded`, and across every `fork`.
static FORK_LOCK: ForkLock = ForkLock::new();
/// 1 once the `pthread_atfork` handlers are in place; a child inherits both them and this.
static HOOKED: AtomicU32 = AtomicU32::new(0);
/// Held while they are put there.
static HOOKING: ForkLock = ForkLock::new();

fn next_number() -> u32 {
    // ORDERING: Relaxed; only distinctness matters. One number a process along a line of descent, so
    // 2^31 of them (the top bit is `ForkLock`'s) cannot be used up.
    NUMBERS.fetch_add(1, Ordering::Relaxed) + 1
}

/// Page or process id: once for all threads, and for their forks. The kernel may refuse one thread and not
/// the next, and objects of one process must not carry numbers of both kinds.
#[cold]
fn decide() -> *mut AtomicU32 {
    let page = map_page();
    let undecided = (&raw const UNDECIDED).cast_mut();
    // ORDERING: AcqRel on the pointer for good measure; the page holds one atomic word and is zero.
    match PAGE.compare_exchange(undecided, page, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => page,
        Err(theirs) => {
            if !page.is_null() {
                // SAFETY: mapped above and shown to nobody.
                let _ = unsafe { rustix::mm::munmap(page.cast(), rustix::param::page_size()) };
            }
            theirs
        }
    }
}

/// Maps the page that a fork wipes; null if the kernel will not.
fn map_page() -> *mut AtomicU32 {
    let len = rustix::param::page_size();
    // SAFETY: a fresh private mapping at an address of the kernel's choice touches nothing of ours.
    let mapped = unsafe {
        rustix::mm::mmap_anonymous(
            ptr::null_mut(),
            len,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )
    };
    let Ok(page) = mapped else {
        return ptr::null_mut();
    };
    // SAFETY: the page just mapped; the advice changes nothing in this process.
    if unsafe { rustix::mm::madvise(page, len, Advice::LinuxWipeOnFork) }.is_err() {
        // SAFETY: mapped above and shown to nobody.
        let _ = unsafe { rustix::mm::munmap(page, len) };
        return ptr::null_mut();
    }
    page.cast()
}

/// Process id and generation number in one word, for kernels that wipe nothing.
///
/// A descendant that was given its ancestor's process id again would be taken for it; the
/// `pthread_atfork` child handler clears the word and so rules that out for every ordinary fork.
struct PidWord(AtomicU64);

impl PidWord {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn number_if_current(&self) -> Option<u32> {
        // ORDERING: Relaxed, here and below; one word, guarding nothing else.
        let word = self.0.load(Ordering::Relaxed);
        ((word >> 32) as u32 == std::process::id()).then_some(word as u32)
    }

    #[cold]
    fn is_current(&self, number: u32) -> bool {
        self.number_if_current() == Some(number)
    }

    fn number(&self) -> u32 {
        let pid = u64::from(std::process::id());
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            if seen >> 32 == pid {
                return seen as u32;
            }
            let fresh = next_number();
            let word = pid << 32 | u64::from(fresh);
            match self.0.compare_exchange(seen, word, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return fresh,
                Err(now) => seen = now,
            }
        }
    }

    fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Puts the `pthread_atfork` handlers in place, once a program.
fn hook_fork() {
    // ORDERING: Acquire; pairs with the Release below. Who sees 1 knows that forks take the lock.
    if HOOKED.load(Ordering::Acquire) == 1 {
        return;
    }
    let _held = HOOKING.lock();
    if HOOKED.load(Ordering::Acquire) == 1 {
        return;
    }
    // SAFETY: the three handlers are functions of this file that only touch atomics and futexes.
    let failed = unsafe {
        libc::pthread_atfork(Some(before_fork), Some(after_in_parent), Some(after_in_child))
    };
    // On failure (no memory for the entry) forks go unguarded until a later call succeeds: a child
    // could inherit one mapping it has no use for, and its generation still tells it apart.
    if failed == 0 {
        HOOKED.store(1, Ordering::Release);
    }
}

unsafe extern "C" fn before_fork() {
    std::mem::forget(FORK_LOCK.lock());
}

unsafe extern "C" fn after_in_parent() {
    FORK_LOCK.unlock();
}

/// Only for the fallback: in a wiped child the lock already counts as free, see [`ForkLock`].
unsafe extern "C" fn after_in_child() {
    FALLBACK.clear();
    // A thread of the parent may have been between registering us and saying so.
    HOOKED.store(1, Ordering::Release);
}

/// A mutex that a forked child finds free.
///
/// The word is zero, or the generation number of the process that holds it, the top bit set if others
/// wait. A number that is not ours was left by a thread that does not exist here.
struct ForkLock(AtomicU32);

/// Gives the lock back when dropped.
struct Held<'a>(&'a ForkLock);

const CONTENDED: u32 = 1 << 31;

impl ForkLock {
    const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    fn lock(&self) -> Held<'_> {
        let mine = generation().number;
        // After a wait others may be waiting still, so the lock is then taken as contended.
        let mut take = mine;
        loop {
            let seen = self.0.load(Ordering::Relaxed);
            if seen & !CONTENDED != mine {
                // ORDERING: Acquire; pairs with the Release in `unlock`. What the last holder wrote
                // is visible to the next.
                let taken =
                    self.0.compare_exchange(seen, take, Ordering::Acquire, Ordering::Relaxed);
                if taken.is_ok() {
                    return Held(self);
                }
                continue;
            }
            let waiting = mine | CONTENDED;
            if seen != waiting
                && self
                    .0
                    .compare_exchange(seen, waiting, Ordering::Relaxed, Ordering::Relaxed)
                    .is_err()
            {
                continue;
            }
            take = waiting;
            // Any result is a reason to look again.
            let _ = futex::wait(&self.0, futex::Flags::PRIVATE, waiting, None);
        }
    }

    fn unlock(&self) {
        // ORDERING: Release; pairs with the Acquire in `lock`.
        if self.0.swap(0, Ordering::Release) & CONTENDED != 0 {
            let _ = futex::wake(&self.0, futex::Flags::PRIVATE, 1);
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.unlock();
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
