//! What a blob of 1 GiB costs, for docs/decisions/0091-blobs.md. Asserts no time.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::*;

const LEN: usize = 1 << 30;
const STEP: usize = 64 << 10;

fn timed<T>(f: impl FnOnce() -> T) -> (Duration, T) {
    let begun = Instant::now();
    let result = f();
    (begun.elapsed(), result)
}

/// Every word of it.
fn read(memory: &SealedMemory) -> u64 {
    let words = memory.bytes().chunks_exact(8);
    words.fold(0, |sum, word| sum ^ u64::from_ne_bytes(word.try_into().expect("eight")))
}

/// Bytes here and there.
fn read_at_random(memory: &SealedMemory) -> u64 {
    let mut at = 12_345_u64;
    (0..5_000_000).fold(0, |sum, _| {
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        sum + u64::from(memory.bytes()[(at >> 33) as usize % LEN])
    })
}

#[test]
#[ignore = "measures; takes 2 GiB of memory and some seconds"]
fn a_blob_of_1_gib() {
    let part = pattern(STEP);
    for pages in [Pages::Usual, Pages::Huge] {
        let builder = MemoryBuilder::new().pages(pages);
        let (grow, growing) = timed(|| {
            let mut growing = builder.growing().expect("memory");
            (0..LEN / STEP).for_each(|_| growing.append(&part).expect("room"));
            growing
        });
        let (seal, grown) = timed(|| growing.seal().expect("sealed"));
        let (receive, memory) = timed(|| received(&grown).expect("a blob"));
        let (first, _) = timed(|| black_box(read(&memory)));
        let (again, _) = timed(|| black_box(read(&memory)));
        let (random, _) = timed(|| black_box(read_at_random(&memory)));
        println!(
            "{pages:?}: appended {grow:.3?}, sealed {seal:.3?}, verified and mapped {receive:.1?}"
        );
        println!("  read {first:.3?}, again {again:.3?}, 5 million bytes at random {random:.3?}");
        let (copied, copy) = timed(|| {
            copy(grown.as_fd(), builder, |_, _| std::ops::ControlFlow::Continue(()))
                .expect("copied")
        });
        assert_eq!(copy.len(), grown.len());
        drop((copy, memory, grown));
        let (zeros, mut sized) = timed(|| builder.with_size(LEN as u64).expect("memory"));
        let (fill, ()) = timed(|| {
            sized.bytes_mut().chunks_exact_mut(STEP).for_each(|to| to.copy_from_slice(&part));
        });
        let (seal, sized) = timed(|| sized.seal().expect("sealed"));
        drop(sized);
        println!(
            "  of known size: had {zeros:.3?}, filled {fill:.3?}, sealed {seal:.3?}; copied {copied:.3?}"
        );
    }
}
