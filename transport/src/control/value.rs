//! The values inside control messages, each of its own type.
//!
//! They are plain numbers with names: two meanings are never two integers side by side. What it
//! does not do: ask this machine for its page size, its fences or its archive format; the caller
//! knows those.

use std::fmt;

use super::TypeName;

/// The protocol versions a side speaks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Versions {
    /// The oldest.
    pub min: u16,
    /// The newest.
    pub max: u16,
}

impl Versions {
    /// What this implementation speaks.
    pub const OURS: Self = Self { min: 1, max: 1 };

    /// The newest version both speak.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.max.min(other.max);
        (newest >= self.min.max(other.min)).then_some(newest)
    }

    /// Whether `version` lies in the range.
    #[must_use]
    pub const fn contains(self, version: u16) -> bool {
        self.min <= version && version <= self.max
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.min, self.max)
    }
}

/// A set of optional parts of the protocol, one bit each.
///
/// The registry: bits 2 and 3 are reserved under the names below and not offered by this version;
/// all others are free. A bit is offered by who can do it, chosen by the accepting side if both
/// can, and required by who cannot do without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Features(pub u64);

impl Features {
    /// No feature.
    pub const NONE: Self = Self(0);
    /// Further channels, at either side's asking.
    pub const CHANNELS: Self = Self(1 << 2);

    /// The features in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The features of `self` that `other` lacks.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// What a side can do for the asymmetric fence pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FenceBits {
    /// It is registered: a global expedited membarrier of others covers its threads.
    pub registered: bool,
    /// It can call a global expedited membarrier before it sleeps.
    pub can_call: bool,
}

impl FenceBits {
    pub(super) const fn from_wire(bits: u8) -> Option<Self> {
        if bits & !0b11 != 0 {
            return None;
        }
        Some(Self { registered: bits & 1 != 0, can_call: bits & 2 != 0 })
    }

    pub(super) const fn to_wire(self) -> u8 {
        self.registered as u8 | (self.can_call as u8) << 1
    }
}

/// Byte order inside archived messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endian {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

/// Width of relative pointers inside archived messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PointerWidth {
    /// 16 bits.
    W16,
    /// 32 bits.
    W32,
    /// 64 bits.
    W64,
}

/// The options of the archive format, which both sides must have been built with alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ArchiveFormat {
    /// Byte order of primitives.
    pub endian: Endian,
    /// Whether primitives are aligned.
    pub aligned: bool,
    /// Width of relative pointers.
    pub pointer_width: PointerWidth,
}

impl ArchiveFormat {
    /// What rkyv does unless told otherwise.
    pub const DEFAULT: Self =
        Self { endian: Endian::Little, aligned: true, pointer_width: PointerWidth::W32 };

    /// The format of these options; `None` unless `pointer_bits` is 16, 32 or 64.
    #[must_use]
    pub const fn new(little_endian: bool, aligned: bool, pointer_bits: u8) -> Option<Self> {
        let pointer_width = match pointer_bits {
            16 => PointerWidth::W16,
            32 => PointerWidth::W32,
            64 => PointerWidth::W64,
            _ => return None,
        };
        let endian = if little_endian { Endian::Little } else { Endian::Big };
        Some(Self { endian, aligned, pointer_width })
    }
}

impl fmt::Display for ArchiveFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endian = match self.endian {
            Endian::Little => "little-endian",
            Endian::Big => "big-endian",
        };
        let aligned = if self.aligned { "aligned" } else { "unaligned" };
        let width = match self.pointer_width {
            PointerWidth::W16 => 16,
            PointerWidth::W32 => 32,
            PointerWidth::W64 => 64,
        };
        write!(f, "{endian}, {aligned}, {width}-bit pointers")
    }
}

/// A message type's structure in 16 bytes; all zero means untyped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Fingerprint(pub [u8; 16]);

impl Fingerprint {
    /// Of messages without a type.
    pub const UNTYPED: Self = Self([0; 16]);
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::UNTYPED {
            return f.write_str("untyped");
        }
        write!(f, "{:032x}", u128::from_le_bytes(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A message type as the other side gets to know it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TypeId<'a> {
    /// What is compared.
    pub fingerprint: Fingerprint,
    /// What people read; never compared.
    pub name: TypeName<'a>,
}

impl fmt::Display for TypeId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_str() {
            "" => write!(f, "an unnamed type ({})", self.fingerprint),
            name => write!(f, "{name} ({})", self.fingerprint),
        }
    }
}

/// A channel's protocol: its name and the message type of each direction.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Signature<'a> {
    /// The protocol's name; compared.
    pub protocol: TypeName<'a>,
    /// What flows from the connecting to the accepting side.
    pub to_accepting: TypeId<'a>,
    /// What flows from the accepting to the connecting side.
    pub to_connecting: TypeId<'a>,
}

impl Signature<'_> {
    /// The same, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Signature<'static> {
        let own =
            |id: TypeId<'_>| TypeId { fingerprint: id.fingerprint, name: id.name.into_owned() };
        Signature {
            protocol: self.protocol.into_owned(),
            to_accepting: own(self.to_accepting),
            to_connecting: own(self.to_connecting),
        }
    }

    /// The same, borrowed from this one.
    #[must_use]
    pub fn borrow(&self) -> Signature<'_> {
        Signature {
            protocol: self.protocol.borrow(),
            to_accepting: TypeId {
                fingerprint: self.to_accepting.fingerprint,
                name: self.to_accepting.name.borrow(),
            },
            to_connecting: TypeId {
                fingerprint: self.to_connecting.fingerprint,
                name: self.to_connecting.name.borrow(),
            },
        }
    }
}

/// The final seals of a segment, as `F_GET_SEALS` shows them.
///
/// One of two masks: `SEAL|SHRINK|GROW|FUTURE_WRITE`, with or without `EXEC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SealBits(u32);

impl SealBits {
    /// `F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE`.
    pub const PLAIN: Self = Self(0x17);
    /// The same and `F_SEAL_EXEC`.
    pub const WITH_EXEC: Self = Self(0x37);

    /// Takes a mask if it is one of the two.
    #[must_use]
    pub const fn new(mask: u32) -> Option<Self> {
        match mask {
            0x17 | 0x37 => Some(Self(mask)),
            _ => None,
        }
    }

    /// The mask.
    #[must_use]
    pub const fn mask(self) -> u32 {
        self.0
    }
}

macro_rules! codes {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $code:literal, $says:literal;)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* $variant,)*
            /// A code of a newer version; its sentence still says why.
            Other(u16),
        }

        impl $name {
            /// The code as it is sent.
            #[must_use]
            pub const fn to_wire(self) -> u16 {
                match self {
                    $(Self::$variant => $code,)*
                    Self::Other(code) => code,
                }
            }

            pub(super) const fn from_wire(code: u16) -> Option<Self> {
                Some(match code {
                    0 => return None,
                    $($code => Self::$variant,)*
                    code => Self::Other(code),
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant => f.write_str($says),)*
                    Self::Other(code) => write!(f, "code {code}"),
                }
            }
        }
    };
}

codes! {
    /// Why a session was turned down.
    RejectCode {
        /// No protocol version in common.
        Version = 1, "no protocol version in common";
        /// A required feature is missing.
        Feature = 2, "a required feature is missing";
        /// Built with another archive format.
        ArchiveFormat = 3, "another archive format";
        /// The accepting side's policy does not admit this peer.
        Denied = 4, "not admitted";
        /// A limit on sessions or handshakes is reached; trying later can help.
        Busy = 5, "too many sessions";
        /// The accepting side is going away.
        ShuttingDown = 6, "shutting down";
    }
}

codes! {
    /// Why a channel was turned down.
    RefuseCode {
        /// The protocols' names differ.
        Protocol = 1, "another protocol";
        /// The message types' fingerprints differ.
        Fingerprint = 2, "other message types";
        /// The application does not want it.
        Application = 3, "refused by the application";
        /// A quota on bytes is reached; trying later can help.
        Quota = 4, "over quota";
        /// The accepting side could not make the segments.
        Resources = 5, "out of resources";
        /// The segment was not sealed as Sealed claims.
        Seals = 6, "not sealed as due";
        /// The accepting side is going away.
        ShuttingDown = 7, "shutting down";
        /// Its messages carry what the connecting side does not take.
        NotTaken = 8, "not taken along";
    }
}
