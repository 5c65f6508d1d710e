//! How rkyv was compiled into this program.
//!
//! Why: byte order, alignment and the width of a length are features of the rkyv crate, which any crate in
//! the program can switch on for all. Two programs that differ read each other's archives as garbage, so
//! the handshake compares them.
//!
//! It does not convert between them.

use std::fmt;
use std::mem::{align_of, size_of};

use rkyv::primitive::{ArchivedU64, ArchivedUsize};
use rkyv::rend;

/// The options that decide what an archive looks like.
///
/// ```
/// use memring_codec::FormatOptions;
///
/// let ours = FormatOptions::compiled();
/// assert_eq!(FormatOptions::from_bits(ours.to_bits()), Some(ours));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FormatOptions {
    /// Numbers are little-endian.
    pub little_endian: bool,
    /// Numbers are aligned to their size.
    pub aligned: bool,
    /// Bits in a length or a relative pointer: 16, 32 or 64.
    pub pointer_width: u8,
}

impl FormatOptions {
    /// Those of this program.
    #[must_use]
    pub const fn compiled() -> Self {
        Self {
            little_endian: LITTLE_ENDIAN,
            aligned: align_of::<ArchivedU64>() > 1,
            // A length has 2, 4 or 8 bytes.
            #[allow(clippy::cast_possible_truncation)]
            pointer_width: (size_of::<ArchivedUsize>() * 8) as u8,
        }
    }

    /// One byte for a handshake: bit 0 little-endian, bit 1 aligned, bits 2 and 3 the width (0 for 16,
    /// 1 for 32, 2 for 64), the others zero.
    #[must_use]
    pub const fn to_bits(self) -> u8 {
        let width = match self.pointer_width {
            16 => 0,
            32 => 1,
            _ => 2,
        };
        self.little_endian as u8 | (self.aligned as u8) << 1 | width << 2
    }

    /// Reads [`to_bits`](Self::to_bits); `None` for a byte that it never writes.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        let pointer_width = match bits >> 2 {
            0 => 16,
            1 => 32,
            2 => 64,
            _ => return None,
        };
        Some(Self { little_endian: bits & 1 != 0, aligned: bits & 2 != 0, pointer_width })
    }
}

impl fmt::Display for FormatOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = if self.little_endian { "little-endian" } else { "big-endian" };
        let alignment = if self.aligned { "aligned" } else { "unaligned" };
        write!(f, "{order}, {alignment}, {}-bit lengths", self.pointer_width)
    }
}

/// Which of rend's types an archived number is. A trait, because types cannot be compared in a `const`.
trait Order {
    const LITTLE: bool;
}

macro_rules! orders {
    ($($type:ty => $little:literal)*) => {
        $(impl Order for $type { const LITTLE: bool = $little; })*
    };
}
orders! {
    rend::u64_le => true
    rend::unaligned::u64_ule => true
    rend::u64_be => false
    rend::unaligned::u64_ube => false
}

const LITTLE_ENDIAN: bool = <ArchivedU64 as Order>::LITTLE;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detected_options_agree_with_a_real_archive() {
        let ours = FormatOptions::compiled();
        let bytes = rkyv::to_bytes::<rkyv::rancor::Error>(&1_u32).unwrap();
        assert_eq!(bytes[0] == 1, ours.little_endian);
        let bytes = rkyv::to_bytes::<rkyv::rancor::Error>(&(1_u8, 1_u64)).unwrap();
        assert_eq!(bytes.len() == 16, ours.aligned);
        let bytes = rkyv::to_bytes::<rkyv::rancor::Error>(&1_usize).unwrap();
        assert_eq!(bytes.len() * 8, usize::from(ours.pointer_width));
    }

    #[test]
    fn bits_are_read_back_and_nothing_else_is() {
        let mut known = 0;
        for bits in 0..=u8::MAX {
            if let Some(options) = FormatOptions::from_bits(bits) {
                assert_eq!(options.to_bits(), bits);
                known += 1;
            }
        }
        assert_eq!(known, 12);
    }
}
