//! The system calls of sleeping: futexes and membarrier, one small file over libc.
//!
//! rustix has neither `futex_waitv` on words that are no `AtomicU32` of ours nor `membarrier`. A lane's
//! word lies in memory that the peer shares, so these calls take an address and never a reference.

#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::memory::Region;
use crate::sync::Bed;

const FUTEX_WAKE: libc::c_int = 1;
const FUTEX_WAIT_BITSET: libc::c_int = 9;
const FUTEX_PRIVATE_FLAG: libc::c_int = 128;
const FUTEX_BITSET_MATCH_ANY: u32 = u32::MAX;
const FUTEX_32: u32 = 2;
const SYS_FUTEX_WAITV: libc::c_long = 449; // the same on every architecture; Linux 5.16

/// Longest sleep on the shared word alone, where two words cannot be waited on at once.
const SLICE: Duration = Duration::from_millis(50);

/// One word of `futex_waitv`, as the kernel lays it out.
#[repr(C)]
struct Waiter {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

/// How to sleep: what may wake us, and until when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sleep {
    /// Sleep on the shared word too. A waiter that is woken without reason again and again leaves it out.
    pub shared: bool,
    /// Not beyond this.
    pub until: Option<Instant>,
}

/// Sleeps until the shared word differs from `seen`, the private word from `private_seen`, somebody
/// wakes either, or the time is over. May return for no reason; the caller looks again. False if the time
/// was over or a signal came: nobody else had a part in that.
pub(crate) fn sleep(
    region: &Region,
    offset: usize,
    seen: u32,
    private: &AtomicU32,
    private_seen: u32,
    how: Sleep,
) -> bool {
    if !how.shared {
        return wait_one(private.as_ptr(), private_seen, FUTEX_PRIVATE_FLAG, how.until);
    }
    let shared = region.futex_word(offset);
    if !waitv_works() {
        let slice = Instant::now() + SLICE;
        let until = how.until.map_or(slice, |until| until.min(slice));
        return wait_one(shared, seen, 0, Some(until));
    }
    let waiters = [on_shared(shared, seen), on_private(private, private_seen)];
    wait_many(&waiters, how.until) >= 0 || !undisturbed()
}

/// As [`sleep`], on the words of several, at most 64; which one's shared word ended it, if one did. For where [`waitv_works`];
/// elsewhere it returns at once.
pub(crate) fn sleep_any(beds: &[Bed<'_, Region>], until: Option<Instant>) -> Option<usize> {
    let shared = beds.iter().enumerate().filter(|(_, bed)| bed.shared);
    let places: Vec<usize> = shared.clone().map(|(place, _)| place).collect();
    let on_shared = shared.map(|(_, bed)| on_shared(bed.region.futex_word(bed.offset), bed.seen));
    let on_private = beds.iter().map(|bed| on_private(bed.private, bed.private_seen));
    let waiters: Vec<_> = on_shared.chain(on_private).collect();
    match usize::try_from(wait_many(&waiters, until)) {
        Ok(woken) => places.get(woken).copied(),
        // Nobody slept, if a word had changed already.
        Err(_) if undisturbed() => None,
        Err(_) => places.into_iter().find(|place| {
            let bed = &beds[*place];
            bed.region.load32(bed.offset, Ordering::Relaxed) != bed.seen
        }),
    }
}

fn on_shared(word: *const u32, seen: u32) -> Waiter {
    Waiter { value: seen.into(), address: word as u64, flags: FUTEX_32, reserved: 0 }
}

fn on_private(word: &AtomicU32, seen: u32) -> Waiter {
    let flags = FUTEX_32 | FUTEX_PRIVATE_FLAG as u32;
    Waiter { value: seen.into(), address: word.as_ptr() as u64, flags, reserved: 0 }
}

/// The place of the word that was woken, or negative.
fn wait_many(waiters: &[Waiter], until: Option<Instant>) -> libc::c_long {
    let until = until.map(timespec);
    // SAFETY: the kernel reads `waiters` and `until` during the call only. It reads the words at
    // their addresses: those who made the waiters keep mappings and references alive. Anything it finds
    // amiss it reports, and a sleep that did not happen is a spurious wake.
    unsafe {
        libc::syscall(
            SYS_FUTEX_WAITV,
            waiters.as_ptr(),
            waiters.len(),
            0,
            until.as_ref().map_or(std::ptr::null(), std::ptr::from_ref),
            libc::CLOCK_MONOTONIC,
        )
    }
}

fn undisturbed() -> bool {
    let errno = std::io::Error::last_os_error().raw_os_error();
    matches!(errno, Some(libc::ETIMEDOUT | libc::EINTR))
}

fn wait_one(word: *const u32, seen: u32, flags: libc::c_int, until: Option<Instant>) -> bool {
    let until = until.map(timespec);
    // SAFETY: as in `sleep`: `word` lies in a mapping or a reference that outlives the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word,
            FUTEX_WAIT_BITSET | flags,
            seen,
            until.as_ref().map_or(std::ptr::null(), std::ptr::from_ref),
            std::ptr::null::<u32>(),
            FUTEX_BITSET_MATCH_ANY,
        )
    };
    answer >= 0 || !undisturbed()
}

/// Wakes everybody who sleeps on a shared word. False if nobody did: the wake may still be owed.
pub(crate) fn wake(region: &Region, offset: usize) -> bool {
    wake_word(region.futex_word(offset), 0)
}

/// Wakes everybody of this process who sleeps on a private word.
pub(crate) fn wake_private(word: &AtomicU32) {
    wake_word(word.as_ptr(), FUTEX_PRIVATE_FLAG);
}

fn wake_word(word: *const u32, flags: libc::c_int) -> bool {
    // SAFETY: FUTEX_WAKE reads nothing at `word`; it is only a key.
    unsafe { libc::syscall(libc::SYS_futex, word, FUTEX_WAKE | flags, i32::MAX) > 0 }
}

/// Whether `futex_waitv` is there and allowed: probed once. Podman's default filter refused it until
/// 2026, kernels before 5.16 lack it.
pub fn waitv_works() -> bool {
    const UNKNOWN: u8 = 0;
    const YES: u8 = 1;
    const NO: u8 = 2;
    static PROBE: AtomicU8 = AtomicU8::new(UNKNOWN);
    // ORDERING: Relaxed; each thread may probe for itself, and all find the same.
    match PROBE.load(Ordering::Relaxed) {
        UNKNOWN => {
            // SAFETY: no waiters: the kernel answers EINVAL if it knows the call, and reads nothing.
            let answer = unsafe {
                libc::syscall(SYS_FUTEX_WAITV, std::ptr::null::<Waiter>(), 0, 0, 0_usize, 0)
            };
            let errno = std::io::Error::last_os_error().raw_os_error();
            let works = answer < 0 && errno == Some(libc::EINVAL);
            PROBE.store(if works { YES } else { NO }, Ordering::Relaxed);
            works
        }
        known => known == YES,
    }
}

/// The absolute time of CLOCK_MONOTONIC at which `until` comes.
fn timespec(until: Instant) -> libc::timespec {
    let left = until.saturating_duration_since(Instant::now());
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let nanos = now.tv_nsec as u64 + u64::from(left.subsec_nanos());
    let seconds =
        (now.tv_sec as u64).saturating_add(left.as_secs()).saturating_add(nanos / 1_000_000_000);
    libc::timespec {
        tv_sec: libc::time_t::try_from(seconds).unwrap_or(libc::time_t::MAX),
        tv_nsec: (nanos % 1_000_000_000) as libc::c_long,
    }
}

pub(crate) mod membarrier {
    //! `membarrier(2)`, the three commands that the fence pair needs.

    const QUERY: libc::c_int = 0;
    const GLOBAL_EXPEDITED: libc::c_int = 1 << 1;
    const REGISTER_GLOBAL_EXPEDITED: libc::c_int = 1 << 2;

    fn call(command: libc::c_int) -> libc::c_long {
        // SAFETY: these commands take no pointers.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) }
    }

    /// Whether the kernel has both commands (Linux 4.16) and this sandbox allows the query.
    pub fn supported() -> bool {
        let wanted = libc::c_long::from(GLOBAL_EXPEDITED | REGISTER_GLOBAL_EXPEDITED);
        let found = call(QUERY);
        found >= 0 && found & wanted == wanted
    }

    /// Asks that the running threads of this process be reached by [`all`].
    pub fn register() -> bool {
        call(REGISTER_GLOBAL_EXPEDITED) == 0
    }

    /// A full barrier on every processor that runs a registered process, and on ours.
    pub fn all() -> bool {
        call(GLOBAL_EXPEDITED) == 0
    }
}
