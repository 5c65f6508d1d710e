//! Copies between memory of our own and memory that another process may be changing.
//!
//! `copy_nonoverlapping` would tell the compiler that the bytes hold still, and it could then read them
//! twice, or read the source instead of the copy; loops of volatile words are 3 to 6 times slower than
//! a memcpy. Assembly is opaque: what it loaded into our buffer is what every later look sees.
//! `docs/decisions/0030-copy.md` has the measurements behind the thresholds.
//!
//! No copy here is atomic, orders anything, or checks a bound: [`super::Region`] does the last.
#![allow(unsafe_code)]

#[cfg(all(target_arch = "x86_64", not(miri)))]
use x86_64 as machine;

#[cfg(all(target_arch = "aarch64", not(miri)))]
use aarch64 as machine;

#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
use portable as machine;

/// Copies `len` bytes from `from` to `to`.
///
/// # Safety
///
/// 1. `from` is valid for reads and `to` for writes of `len` bytes, in any alignment.
/// 2. The two do not overlap.
/// 3. At most one of them is shared; the other is ours alone during the call.
///
/// That somebody writes the shared one meanwhile is expected, and yields a mix of old and new bytes.
#[inline(always)]
pub(crate) unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: passed on unchanged.
    unsafe { machine::copy(to, from, len) }
}

/// As [`copy`], of bytes that this process wrote just now, and the first line of `to` is written last.
///
/// # Safety
///
/// As for `copy`.
#[inline(always)]
pub(crate) unsafe fn copy_backwards(to: *mut u8, from: *const u8, len: usize) {
    const LINE: usize = 64;
    // SAFETY: the pieces of the whole: `first` is less than a line, and `len` more than one where it is taken away.
    unsafe {
        if len <= LINE {
            return machine::copy_fresh(to, from, len);
        }
        let first = to.addr().wrapping_neg() & (LINE - 1);
        machine::copy(to.add(first), from.add(first), len - first);
        if first != 0 {
            machine::copy(to, from, first);
        }
    }
}

/// Stores `len` zero bytes at `to`.
///
/// # Safety
///
/// `to` is valid for writes of `len` bytes.
#[inline(always)]
pub(crate) unsafe fn zero(to: *mut u8, len: usize) {
    // SAFETY: passed on unchanged.
    unsafe { machine::zero(to, len) }
}

/// Asks the processor to fetch a line for writing. A hint: it cannot fault, whatever the address.
#[inline(always)]
pub(super) fn prefetch_for_writing(line: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch changes nothing that a program can see, and raises no fault.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
    }
    let _ = line;
}

/// SSE2, which every x86_64 has.
///
/// Sizes between two powers are covered by a piece from the front and a piece from the back that may
/// overlap; a byte read twice so is written twice, and only the last counts.
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86_64 {
    use std::arch::asm;

    /// From here `rep stosb`: about 12 ns to start, then faster than any loop of 16-byte moves.
    const REP_FROM: usize = 1536;

    /// See [`super::copy`].
    #[inline(always)]
    pub(super) unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
        // SAFETY: each piece lies within `len`, by the branch that leads to it.
        unsafe {
            if len <= 16 {
                copy_small(to, from, len);
            } else if len <= 32 {
                ends_16(to, from, len);
            } else if len <= 64 {
                ends_32(to, from, len);
            } else {
                copy_vectors(to, from, len);
            }
        }
    }

    /// Up to 64 bytes, the last first, by words: what was stored as a word a moment ago can be loaded as one at once,
    /// while a load of two waits until both are in the cache.
    #[inline(always)]
    pub(super) unsafe fn copy_fresh(to: *mut u8, from: *const u8, len: usize) {
        // SAFETY: each piece lies within `len`, by the branch that leads to it.
        unsafe {
            if len <= 16 {
                copy_small(to, from, len);
            } else if len <= 32 {
                asm!(
                    "mov {a}, [{from} + {len} - 8]",
                    "mov {b}, [{from} + {len} - 16]",
                    "mov [{to} + {len} - 8], {a}",
                    "mov [{to} + {len} - 16], {b}",
                    "mov {a}, [{from} + 8]",
                    "mov {b}, [{from}]",
                    "mov [{to} + 8], {a}",
                    "mov [{to}], {b}",
                    a = out(reg) _, b = out(reg) _,
                    from = in(reg) from, to = in(reg) to, len = in(reg) len,
                    options(nostack, preserves_flags),
                );
            } else {
                asm!(
                    "mov {a}, [{from} + {len} - 8]",
                    "mov {b}, [{from} + {len} - 16]",
                    "mov [{to} + {len} - 8], {a}",
                    "mov [{to} + {len} - 16], {b}",
                    "mov {a}, [{from} + {len} - 24]",
                    "mov {b}, [{from} + {len} - 32]",
                    "mov [{to} + {len} - 24], {a}",
                    "mov [{to} + {len} - 32], {b}",
                    "mov {a}, [{from} + 24]",
                    "mov {b}, [{from} + 16]",
                    "mov [{to} + 24], {a}",
                    "mov [{to} + 16], {b}",
                    "mov {a}, [{from} + 8]",
                    "mov {b}, [{from}]",
                    "mov [{to} + 8], {a}",
                    "mov [{to}], {b}",
                    a = out(reg) _, b = out(reg) _,
                    from = in(reg) from, to = in(reg) to, len = in(reg) len,
                    options(nostack, preserves_flags),
                );
            }
        }
    }

    /// 0 to 16 bytes.
    #[inline(always)]
    unsafe fn copy_small(to: *mut u8, from: *const u8, len: usize) {
        // SAFETY: the two pieces start at 0 and end at `len`, and are no longer than it.
        unsafe {
            if len >= 8 {
                asm!(
                    "mov {a}, [{from}]",
                    "mov {b}, [{from} + {len} - 8]",
                    "mov [{to}], {a}",
                    "mov [{to} + {len} - 8], {b}",
                    a = out(reg) _, b = out(reg) _,
                    from = in(reg) from, to = in(reg) to, len = in(reg) len,
                    options(nostack, preserves_flags),
                );
            } else if len >= 4 {
                asm!(
                    "mov {a:e}, [{from}]",
                    "mov {b:e}, [{from} + {len} - 4]",
                    "mov [{to}], {a:e}",
                    "mov [{to} + {len} - 4], {b:e}",
                    a = out(reg) _, b = out(reg) _,
                    from = in(reg) from, to = in(reg) to, len = in(reg) len,
                    options(nostack, preserves_flags),
                );
            } else if len > 0 {
                // First, middle and last are all of 1, 2 or 3 bytes.
                asm!(
                    "movzx {a:e}, byte ptr [{from}]",
                    "movzx {b:e}, byte ptr [{from} + {half}]",
                    "movzx {c:e}, byte ptr [{from} + {len} - 1]",
                    "mov [{to}], {a:l}",
                    "mov [{to} + {half}], {b:l}",
                    "mov [{to} + {len} - 1], {c:l}",
                    a = out(reg) _, b = out(reg) _, c = out(reg) _,
                    from = in(reg) from, to = in(reg) to, len = in(reg) len, half = in(reg) len / 2,
                    options(nostack, preserves_flags),
                );
            }
        }
    }

    /// 16 to 32 bytes, the last first.
    #[inline(always)]
    unsafe fn ends_16(to: *mut u8, from: *const u8, len: usize) {
        // SAFETY: 16 bytes from each end of at least 16.
        unsafe {
            asm!(
                "movdqu {a}, [{from}]",
                "movdqu {b}, [{from} + {len} - 16]",
                "movdqu [{to} + {len} - 16], {b}",
                "movdqu [{to}], {a}",
                a = out(xmm_reg) _, b = out(xmm_reg) _,
                from = in(reg) from, to = in(reg) to, len = in(reg) len,
                options(nostack, preserves_flags),
            );
        }
    }

    /// 32 to 64 bytes, the last first.
    #[inline(always)]
    unsafe fn ends_32(to: *mut u8, from: *const u8, len: usize) {
        // SAFETY: 32 bytes from each end of at least 32.
        unsafe {
            asm!(
                "movdqu {a}, [{from}]",
                "movdqu {b}, [{from} + 16]",
                "movdqu {c}, [{from} + {len} - 32]",
                "movdqu {d}, [{from} + {len} - 16]",
                "movdqu [{to} + {len} - 16], {d}",
                "movdqu [{to} + {len} - 32], {c}",
                "movdqu [{to} + 16], {b}",
                "movdqu [{to}], {a}",
                a = out(xmm_reg) _, b = out(xmm_reg) _, c = out(xmm_reg) _, d = out(xmm_reg) _,
                from = in(reg) from, to = in(reg) to, len = in(reg) len,
                options(nostack, preserves_flags),
            );
        }
    }

    /// 64 bytes or more: a loop over whole 64s, then the last 64, whatever of them is done already. Out of line, so that
    /// the small cases stay small where they are inlined.
    #[inline(never)]
    pub(super) unsafe fn copy_vectors(to: *mut u8, from: *const u8, len: usize) {
        // SAFETY: the loop ends before the last 64 bytes begin, which the tail then covers.
        unsafe {
            asm!(
                "2:",
                "movdqu {a}, [{from}]",
                "movdqu {b}, [{from} + 16]",
                "movdqu {c}, [{from} + 32]",
                "movdqu {d}, [{from} + 48]",
                "movdqu [{to}], {a}",
                "movdqu [{to} + 16], {b}",
                "movdqu [{to} + 32], {c}",
                "movdqu [{to} + 48], {d}",
                "add {from}, 64",
                "add {to}, 64",
                "cmp {from}, {last}",
                "jb 2b",
                "movdqu {a}, [{last}]",
                "movdqu {b}, [{last} + 16]",
                "movdqu {c}, [{last} + 32]",
                "movdqu {d}, [{last} + 48]",
                "movdqu [{to_last}], {a}",
                "movdqu [{to_last} + 16], {b}",
                "movdqu [{to_last} + 32], {c}",
                "movdqu [{to_last} + 48], {d}",
                a = out(xmm_reg) _, b = out(xmm_reg) _, c = out(xmm_reg) _, d = out(xmm_reg) _,
                from = inout(reg) from => _, to = inout(reg) to => _,
                last = in(reg) from.add(len - 64), to_last = in(reg) to.add(len - 64),
                options(nostack),
            );
        }
    }

    /// See [`super::zero`].
    #[inline(always)]
    pub(super) unsafe fn zero(to: *mut u8, len: usize) {
        // SAFETY: stores at the front and at the back, no longer than `len` by the branch; then, for
        // larger sizes, `zero_large`.
        unsafe {
            if len > 64 {
                zero_large(to, len);
            } else if len > 32 {
                asm!(
                    "pxor {z}, {z}",
                    "movdqu [{to}], {z}",
                    "movdqu [{to} + 16], {z}",
                    "movdqu [{to} + {len} - 32], {z}",
                    "movdqu [{to} + {len} - 16], {z}",
                    z = out(xmm_reg) _, to = in(reg) to, len = in(reg) len,
                    options(nostack, preserves_flags),
                );
            } else if len >= 16 {
                asm!(
                    "pxor {z}, {z}",
                    "movdqu [{to}], {z}",
                    "movdqu [{to} + {len} - 16], {z}",
                    z = out(xmm_reg) _, to = in(reg) to, len = in(reg) len,
                    options(nostack, preserves_flags),
                );
            } else if len >= 8 {
                asm!(
                    "mov [{to}], {z}",
                    "mov [{to} + {len} - 8], {z}",
                    z = in(reg) 0_u64, to = in(reg) to, len = in(reg) len,
                    options(nostack, preserves_flags),
                );
            } else if len >= 4 {
                asm!(
                    "mov [{to}], {z:e}",
                    "mov [{to} + {len} - 4], {z:e}",
                    z = in(reg) 0_u32, to = in(reg) to, len = in(reg) len,
                    options(nostack, preserves_flags),
                );
            } else if len > 0 {
                asm!(
                    "mov byte ptr [{to}], 0",
                    "mov byte ptr [{to} + {half}], 0",
                    "mov byte ptr [{to} + {len} - 1], 0",
                    to = in(reg) to, len = in(reg) len, half = in(reg) len / 2,
                    options(nostack, preserves_flags),
                );
            }
        }
    }

    /// 64 bytes or more.
    #[inline(never)]
    unsafe fn zero_large(to: *mut u8, len: usize) {
        // SAFETY: the loop ends before the last 64 bytes begin, which the tail then covers; the other
        // form is exactly `len` bytes.
        unsafe {
            if len >= REP_FROM {
                asm!(
                    "rep stosb",
                    inout("rcx") len => _, inout("rdi") to => _, in("al") 0_u8,
                    options(nostack, preserves_flags),
                );
                return;
            }
            asm!(
                "pxor {z}, {z}",
                "2:",
                "movdqu [{to}], {z}",
                "movdqu [{to} + 16], {z}",
                "movdqu [{to} + 32], {z}",
                "movdqu [{to} + 48], {z}",
                "add {to}, 64",
                "cmp {to}, {last}",
                "jb 2b",
                "movdqu [{last}], {z}",
                "movdqu [{last} + 16], {z}",
                "movdqu [{last} + 32], {z}",
                "movdqu [{last} + 48], {z}",
                z = out(xmm_reg) _, to = inout(reg) to => _, last = in(reg) to.add(len - 64),
                options(nostack),
            );
        }
    }
}

/// Pairs of vector registers, then the rest by a piece from the back.
#[cfg(all(target_arch = "aarch64", not(miri)))]
mod aarch64 {
    use std::arch::asm;

    pub(super) use copy as copy_fresh;

    /// See [`super::copy`].
    #[inline(always)]
    pub(super) unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
        // SAFETY: each piece lies within `len`, by the branch that leads to it.
        unsafe {
            if len > 64 {
                copy_vectors(to, from, len);
            } else if len >= 32 {
                asm!(
                    "ldp {a:q}, {b:q}, [{from}]",
                    "ldp {c:q}, {d:q}, [{from_end}, #-32]",
                    "stp {a:q}, {b:q}, [{to}]",
                    "stp {c:q}, {d:q}, [{to_end}, #-32]",
                    a = out(vreg) _, b = out(vreg) _, c = out(vreg) _, d = out(vreg) _,
                    from = in(reg) from, to = in(reg) to,
                    from_end = in(reg) from.add(len), to_end = in(reg) to.add(len),
                    options(nostack, preserves_flags),
                );
            } else if len >= 16 {
                asm!(
                    "ldr {a:q}, [{from}]",
                    "ldur {b:q}, [{from_end}, #-16]",
                    "str {a:q}, [{to}]",
                    "stur {b:q}, [{to_end}, #-16]",
                    a = out(vreg) _, b = out(vreg) _,
                    from = in(reg) from, to = in(reg) to,
                    from_end = in(reg) from.add(len), to_end = in(reg) to.add(len),
                    options(nostack, preserves_flags),
                );
            } else if len >= 8 {
                asm!(
                    "ldr {a}, [{from}]",
                    "ldur {b}, [{from_end}, #-8]",
                    "str {a}, [{to}]",
                    "stur {b}, [{to_end}, #-8]",
                    a = out(reg) _, b = out(reg) _,
                    from = in(reg) from, to = in(reg) to,
                    from_end = in(reg) from.add(len), to_end = in(reg) to.add(len),
                    options(nostack, preserves_flags),
                );
            } else if len >= 4 {
                asm!(
                    "ldr {a:w}, [{from}]",
                    "ldur {b:w}, [{from_end}, #-4]",
                    "str {a:w}, [{to}]",
                    "stur {b:w}, [{to_end}, #-4]",
                    a = out(reg) _, b = out(reg) _,
                    from = in(reg) from, to = in(reg) to,
                    from_end = in(reg) from.add(len), to_end = in(reg) to.add(len),
                    options(nostack, preserves_flags),
                );
            } else if len > 0 {
                // First, middle and last are all of 1, 2 or 3 bytes.
                asm!(
                    "ldrb {a:w}, [{from}]",
                    "ldrb {b:w}, [{from}, {half}]",
                    "ldrb {c:w}, [{from}, {last}]",
                    "strb {a:w}, [{to}]",
                    "strb {b:w}, [{to}, {half}]",
                    "strb {c:w}, [{to}, {last}]",
                    a = out(reg) _, b = out(reg) _, c = out(reg) _,
                    from = in(reg) from, to = in(reg) to,
                    half = in(reg) len / 2, last = in(reg) len - 1,
                    options(nostack, preserves_flags),
                );
            }
        }
    }

    /// 64 bytes or more: a loop over whole 64s, then the last 64, whatever of them is done already.
    #[inline(never)]
    unsafe fn copy_vectors(to: *mut u8, from: *const u8, len: usize) {
        // SAFETY: the loop ends before the last 64 bytes begin, which the tail then covers.
        unsafe {
            asm!(
                "2:",
                "ldp {a:q}, {b:q}, [{from}]",
                "ldp {c:q}, {d:q}, [{from}, #32]",
                "add {from}, {from}, #64",
                "stp {a:q}, {b:q}, [{to}]",
                "stp {c:q}, {d:q}, [{to}, #32]",
                "add {to}, {to}, #64",
                "cmp {from}, {last}",
                "b.lo 2b",
                "ldp {a:q}, {b:q}, [{last}]",
                "ldp {c:q}, {d:q}, [{last}, #32]",
                "stp {a:q}, {b:q}, [{to_last}]",
                "stp {c:q}, {d:q}, [{to_last}, #32]",
                a = out(vreg) _, b = out(vreg) _, c = out(vreg) _, d = out(vreg) _,
                from = inout(reg) from => _, to = inout(reg) to => _,
                last = in(reg) from.add(len - 64), to_last = in(reg) to.add(len - 64),
                options(nostack),
            );
        }
    }

    /// See [`super::zero`].
    #[inline(always)]
    pub(super) unsafe fn zero(to: *mut u8, len: usize) {
        let mut at = to;
        let mut left = len;
        // SAFETY: `left` bytes remain at `at`, and each store is no longer than that.
        unsafe {
            while left >= 32 {
                asm!("stp xzr, xzr, [{at}]", "stp xzr, xzr, [{at}, #16]", at = in(reg) at,
                    options(nostack, preserves_flags));
                at = at.add(32);
                left -= 32;
            }
            while left >= 8 {
                asm!("str xzr, [{at}]", at = in(reg) at, options(nostack, preserves_flags));
                at = at.add(8);
                left -= 8;
            }
            while left > 0 {
                asm!("strb wzr, [{at}]", at = in(reg) at, options(nostack, preserves_flags));
                at = at.add(1);
                left -= 1;
            }
        }
    }
}

/// Relaxed atomics: for other machines, and for Miri, which has no assembly.
///
/// Words where both sides are aligned alike, else bytes. Also built for the tests of every machine.
#[cfg(any(test, miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
#[cfg_attr(all(test, not(miri)), allow(dead_code, unused_imports))]
mod portable {
    use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

    pub(super) use copy as copy_fresh;

    const WORD: usize = size_of::<usize>();

    /// See [`super::copy`].
    pub(super) unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
        let mut done = 0;
        let alike = (to as usize ^ from as usize).is_multiple_of(WORD);
        while done < len {
            // SAFETY: a word only where both are aligned and one fits, else a byte; both below `len`.
            // ORDERING: Relaxed; the bytes are whatever they are, see the module.
            unsafe {
                let (to, from) = (to.add(done), from.add(done).cast_mut());
                if alike && len - done >= WORD && (to as usize).is_multiple_of(WORD) {
                    let word = AtomicUsize::from_ptr(from.cast()).load(Ordering::Relaxed);
                    AtomicUsize::from_ptr(to.cast()).store(word, Ordering::Relaxed);
                    done += WORD;
                } else {
                    let byte = AtomicU8::from_ptr(from).load(Ordering::Relaxed);
                    AtomicU8::from_ptr(to).store(byte, Ordering::Relaxed);
                    done += 1;
                }
            }
        }
    }

    /// See [`super::zero`].
    pub(super) unsafe fn zero(to: *mut u8, len: usize) {
        for at in 0..len {
            // SAFETY: below `len`. ORDERING: Relaxed; as above.
            unsafe { AtomicU8::from_ptr(to.add(at)) }.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
