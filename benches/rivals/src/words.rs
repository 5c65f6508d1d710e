//! Payload for the libraries whose messages have a type: arrays and slices of words.
//!
//! The same words as in `memring_benches::payload`, for whoever lends words and not bytes.

use std::mem::MaybeUninit;

use memring_benches::Failed;
use memring_benches::link::expect;
use memring_benches::payload::{WORD, sum, word};

/// Writes message `number`.
#[inline]
pub fn write(words: &mut [MaybeUninit<u64>], number: u64) {
    for (index, place) in words.iter_mut().enumerate() {
        place.write(word(number, index as u64));
    }
}

/// Reads all of a message and checks that it is `number`.
#[inline]
pub fn read(words: &[u64], number: u64) -> Result<(), Failed> {
    let total = words.iter().fold(0_u64, |sum, word| sum.wrapping_add(*word));
    expect(total, sum(number, words.len() as u64))
}

/// Evaluates `$made` with `$words` a constant: as many as a message of `$size` bytes has.
macro_rules! by_size {
    ($size:expr, $words:ident => $made:expr) => {
        $crate::words::by_size!($size, $words => $made; 1 4 8 32 128 512 2048 8192 32768 131072)
    };
    ($size:expr, $words:ident => $made:expr; $($count:literal)*) => {
        match $size / memring_benches::payload::WORD {
            $($count => {
                const $words: usize = $count;
                $made
            })*
            _ => Err(format!("no code for messages of {} bytes", $size).into()),
        }
    };
}
pub(crate) use by_size;

/// Whether [`by_size`] has code for messages of `size` bytes.
pub fn has_size(size: usize) -> bool {
    let is: Result<bool, Failed> = by_size!(size, WORDS => Ok(size == WORDS * WORD));
    is.unwrap_or(false)
}
