//! What messages are made of: words that follow from the message's number.
//!
//! The first word is the number, each further one is one more. Writing them takes an addition and a store a
//! word, reading them a load and an addition: as little as is possible when every byte counts, and the same for
//! everybody. Nobody gets away with a payload that was written once and is sent again and again.

use crate::link::{Failed, expect};

/// Bytes of a word.
pub const WORD: usize = 8;

/// The word at `index` of message `number`.
#[inline]
#[must_use]
pub const fn word(number: u64, index: u64) -> u64 {
    number.wrapping_add(index)
}

/// The sum of all words of message `number`, wrapping.
#[inline]
#[must_use]
pub const fn sum(number: u64, words: u64) -> u64 {
    // The product of two neighbours is even.
    let indices = words.wrapping_mul(words.wrapping_sub(1)) / 2;
    number.wrapping_mul(words).wrapping_add(indices)
}

/// Writes message `number`.
#[inline]
pub fn write(bytes: &mut [u8], number: u64) {
    for (index, chunk) in bytes.as_chunks_mut::<WORD>().0.iter_mut().enumerate() {
        *chunk = word(number, index as u64).to_le_bytes();
    }
}

/// Reads all of a message and checks that it is `number`.
///
/// # Errors
///
/// It is another one.
#[inline]
pub fn read(bytes: &[u8], number: u64) -> Result<(), Failed> {
    let words = bytes.as_chunks::<WORD>().0;
    let total = words.iter().fold(0_u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    expect(total, sum(number, words.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_told_from_its_neighbours_and_from_a_torn_one() {
        let mut bytes = [0; 64];
        write(&mut bytes, 7);
        read(&bytes, 7).unwrap();
        assert!(read(&bytes, 6).is_err());
        write(&mut bytes[..32], 8);
        assert!(read(&bytes, 7).is_err());
    }
}
