//! The files of the cache, and what its client and server say to each other.
//!
//! A file is a table of parts, each with the hash of its bytes. Its contents are pseudo-random, and different in each part.

use memring::blob::{Blob, BlobBuilder, BuildError, Pages, Table};
use memring::{Fd, Protocol};
use twox_hash::XxHash3_64;

/// Bytes of a part.
pub(super) const PART: usize = 16 << 10;

/// A part of a file.
#[memring::message]
pub(super) struct Part {
    /// XXH3, 64 bits, of its bytes.
    pub(super) hash: u64,
    /// As many as a part has; in the last, what is left.
    pub(super) bytes: Vec<u8>,
}

/// A file in the cache.
pub(super) type File = Blob<Table<Part>>;

/// To the cache.
#[memring::message]
#[derive(Clone, Copy, Debug)]
pub(super) enum Ask {
    /// Have a file of so many bytes; it is the next number's.
    Make {
        /// Its bytes.
        bytes: u64,
        /// What its contents come from.
        seed: u64,
        /// Whether it shall have huge pages.
        huge: bool,
    },
    /// The file of this number.
    File(u32),
    /// All parts of that file, over the socket.
    Stream(u32),
    /// Have another map of that file, which no session knows.
    Renew(u32),
    /// An answer without a file, for scale.
    Nothing,
}

/// From the cache.
#[memring::message(attachments)]
pub(super) enum Answer {
    /// It is there, or there again.
    Made,
    /// This is it.
    File(File),
    /// It cannot be had, and why.
    Failed(String),
    /// What was asked for.
    Nothing,
    /// A socket over which parts come, said before anything is asked.
    Socket(Fd),
}

/// The protocol of the cache.
#[derive(Debug)]
pub(super) struct Cache;

impl Protocol for Cache {
    const NAME: &'static str = "memring-demo-cache";
    type ToClient = Answer;
    type ToServer = Ask;
}

/// The hash of a part.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

/// How many parts a file of so many bytes has.
pub(super) fn parts(bytes: u64) -> u64 {
    bytes.div_ceil(PART as u64)
}

/// A seeded generator: splitmix64, by Sebastiano Vigna (<https://prng.di.unimi.it/splitmix64.c>).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product, by Daniel Lemire (<https://arxiv.org/abs/1805.10941>), without its rejection:
        // the bias is below bound / 2^64.
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// Makes a file.
pub(super) fn make(bytes: u64, seed: u64, huge: bool) -> Result<File, BuildError> {
    let pages = if huge { Pages::Huge } else { Pages::Usual };
    let mut table = BlobBuilder::new().pages(pages).table()?;
    let mut random = Random(seed);
    let mut part = Part { hash: 0, bytes: Vec::with_capacity(PART) };
    for number in 0..parts(bytes) {
        let left = bytes - number * PART as u64;
        let len = left.min(PART as u64) as usize;
        part.bytes.clear();
        part.bytes.extend((0..len.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()));
        part.bytes.truncate(len);
        part.hash = hash(&part.bytes);
        table.push(&part)?;
    }
    table.seal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_all_its_bytes_and_their_hashes() {
        for (bytes, parts) in [(1, 1), (PART as u64, 1), (PART as u64 + 1, 2), (100 << 10, 7)] {
            let file = make(bytes, 1, false).unwrap();
            assert_eq!(file.len(), parts);
            let mut sum = 0;
            for number in 0..parts {
                let part = file.get(number).unwrap().unwrap();
                assert_eq!(part.hash, hash(&part.bytes));
                sum += part.bytes.len() as u64;
            }
            assert_eq!(sum, bytes);
        }
        let (one, other) =
            (make(PART as u64, 1, false).unwrap(), make(PART as u64, 2, false).unwrap());
        assert_ne!(one.get(0).unwrap().unwrap().hash, other.get(0).unwrap().unwrap().hash);
    }

    #[test]
    fn hashes_are_xxh3() {
        // Vectors of the reference implementation, with seed 0.
        assert_eq!(hash(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(hash(b"a"), 0xe6c6_32b6_1e96_4e1f);
    }

    #[test]
    fn draws_stay_below_their_bound_and_reach_all_of_it() {
        let mut random = Random(7);
        let mut seen = [0; 7];
        (0..1000).for_each(|_| seen[random.below(7) as usize] += 1);
        assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
    }
}
