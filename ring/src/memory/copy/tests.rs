//! Every size, every alignment, both ways, and not one byte beside them.

use super::*;

const CANARY: u8 = 0xAA;
/// Room on each side of what is copied.
const MARGIN: usize = 64;
/// Past the last size at which the code takes another path, and some.
const LARGEST: usize = 1700;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8 | 1).collect()
}

/// Copies with `copy` between all pairs of the given alignments.
fn check_copy(copy: unsafe fn(*mut u8, *const u8, usize), sizes: &[usize], alignments: &[usize]) {
    let largest = sizes.iter().max().expect("some sizes") + 2 * MARGIN;
    let from = pattern(largest);
    let mut to = vec![CANARY; largest];
    for &len in sizes {
        for &from_at in alignments {
            for &to_at in alignments {
                let end = MARGIN + to_at + len;
                // SAFETY: both buffers hold `largest`, more than `MARGIN + alignment + len`.
                unsafe {
                    let source = from.as_ptr().add(from_at);
                    copy(to.as_mut_ptr().add(MARGIN + to_at), source, len);
                }
                assert_eq!(to[MARGIN + to_at..end], from[from_at..from_at + len], "{len} bytes");
                assert!(to[..MARGIN + to_at].iter().all(|&b| b == CANARY), "{len}: before");
                assert!(to[end..].iter().all(|&b| b == CANARY), "{len}: behind");
                to[MARGIN + to_at..end].fill(CANARY);
            }
        }
    }
}

fn check_zero(zero: unsafe fn(*mut u8, usize), sizes: &[usize], alignments: &[usize]) {
    let largest = sizes.iter().max().expect("some sizes") + 2 * MARGIN;
    let mut to = vec![CANARY; largest];
    for &len in sizes {
        for &at in alignments {
            let span = MARGIN + at..MARGIN + at + len;
            // SAFETY: the buffer holds `largest`, more than `MARGIN + alignment + len`.
            unsafe { zero(to.as_mut_ptr().add(span.start), len) };
            assert!(to[span.clone()].iter().all(|&b| b == 0), "{len} bytes");
            assert!(to[..span.start].iter().all(|&b| b == CANARY), "{len}: before");
            assert!(to[span.end..].iter().all(|&b| b == CANARY), "{len}: behind");
            to[span].fill(CANARY);
        }
    }
}

unsafe fn copy_of_this_machine(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: passed on.
    unsafe { copy(to, from, len) }
}

unsafe fn zero_of_this_machine(to: *mut u8, len: usize) {
    // SAFETY: passed on.
    unsafe { zero(to, len) }
}

#[test]
fn copies_are_exact_in_every_size_and_alignment() {
    let sizes: Vec<usize> =
        if cfg!(miri) { vec![0, 1, 7, 8, 9, 63, 64, 65, 200] } else { (0..=LARGEST).collect() };
    check_copy(copy_of_this_machine, &sizes, &[0, 1, 8, 13]);
    check_zero(zero_of_this_machine, &sizes, &[0, 1, 8, 13]);
    let small: Vec<usize> = (0..=if cfg!(miri) { 9 } else { 130 }).collect();
    let alignments: Vec<usize> = (0..17).collect();
    check_copy(copy_of_this_machine, &small, &alignments);
    check_zero(zero_of_this_machine, &small, &alignments);
}

#[test]
#[cfg_attr(miri, ignore = "slow, and nothing new there")]
fn large_copies_are_exact() {
    let sizes = [4095, 4096, 4097, 65_536 + 3, (1 << 20) + 1];
    check_copy(copy_of_this_machine, &sizes, &[0, 3]);
    check_zero(zero_of_this_machine, &sizes, &[0, 3]);
}

/// The form for other machines is tested on this one too.
#[test]
#[cfg_attr(miri, ignore = "it is the machine's form there")]
fn portable_copies_are_exact() {
    let sizes: Vec<usize> = (0..=130).chain([511, 512, 1024]).collect();
    check_copy(portable::copy, &sizes, &[0, 1, 7, 8]);
    check_zero(portable::zero, &sizes, &[0, 1, 7, 8]);
}
