//! The 128 bits that stand for a type's structure.
//!
//! Why: two programs compiled apart must find out at the handshake, and not at the first odd price, that
//! they mean different things by one name. What is hashed is [`Schema`](crate::Schema)'s business; here
//! are only the number and the hash.
//!
//! Not a secret and not a signature: anyone can claim any fingerprint.

use std::fmt;

/// A digest of a type's structure, or [`UNTYPED`](Self::UNTYPED).
///
/// ```
/// use memring_codec::{Fingerprint, fingerprint_of};
///
/// let of = fingerprint_of::<Vec<u32>>();
/// assert_ne!(of, fingerprint_of::<Vec<u64>>());
/// assert_eq!(Fingerprint::from_le_bytes(of.to_le_bytes()), of);
/// assert_eq!(Fingerprint::UNTYPED.to_string(), "0".repeat(32));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(u128);

impl Fingerprint {
    /// Raw bytes: whoever receives them gives them meaning. No typed message has this fingerprint.
    pub const UNTYPED: Self = Self(0);

    /// The 16 bytes that travel in a handshake.
    #[must_use]
    pub const fn to_le_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    /// Reads what [`to_le_bytes`](Self::to_le_bytes) wrote.
    #[must_use]
    pub const fn from_le_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_le_bytes(bytes))
    }

    /// Whether this stands for raw bytes.
    #[must_use]
    pub const fn is_untyped(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// FNV-1a with 128 bits: ten lines in any language, and nobody is kept out by it.
#[derive(Clone, Copy)]
pub(crate) struct Fnv(u128);

impl Fnv {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = (1 << 88) + 0x13b;

    pub(crate) const fn new() -> Self {
        Self(Self::BASIS)
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(Self::PRIME);
        }
    }

    /// Zero is taken: it means untyped.
    pub(crate) fn finish(self) -> Fingerprint {
        Fingerprint(self.0.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_fnv1a_128() {
        let check = |text: &str, expected: &str| {
            let mut fnv = Fnv::new();
            fnv.update(text.as_bytes());
            assert_eq!(fnv.finish().to_string(), expected, "of {text:?}");
        };
        check("", "6c62272e07bb014262b821756295c58d");
        check("a", "d228cb696f1a8caf78912b704e4a8964");
        check("foobar", "343e1662793c64bf6f0d3597ba446f18");
    }

    #[test]
    fn a_typed_fingerprint_is_never_zero() {
        assert_eq!(Fnv(0).finish(), Fingerprint(1));
    }
}
