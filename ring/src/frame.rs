//! The frame header: one word that publishes a frame, decoded once into plain data.
//!
//! Pure: values in, values out. The bytes of a frame are `position`'s and `memory`'s business.

use crate::fault::Fault;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// One whole message.
    Data = 1,
    /// Several small messages: each behind an [`Entry`], or all of one length and back to back.
    Pack = 2,
    /// The first part of a large message: its total length (u64), then bytes.
    First = 3,
    /// A part that is neither first nor last.
    Next = 4,
    /// The last part.
    Last = 5,
    /// The message begun with `First` was given up.
    Abort = 6,
    /// The producer has closed; nothing follows.
    End = 7,
}

impl Kind {
    const fn of(byte: u8) -> Result<Self, Fault> {
        Ok(match byte {
            1 => Self::Data,
            2 => Self::Pack,
            3 => Self::First,
            4 => Self::Next,
            5 => Self::Last,
            6 => Self::Abort,
            7 => Self::End,
            other => return Err(Fault::Kind(other)),
        })
    }
}

/// A frame header: its kind, and how many bytes of payload follow the 16 bytes of header and tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: Kind,
    /// File descriptors that went ahead of the message which ends with this frame.
    pub fds: u16,
    /// Bytes of payload.
    pub len: u32,
}

impl Header {
    /// The header of a frame without file descriptors.
    #[inline(always)]
    #[must_use]
    pub const fn new(kind: Kind, len: u32) -> Self {
        Self { kind, fds: 0, len }
    }

    /// The word that publishes the frame. Its low half is never zero, so that it is the word a sleeper
    /// waits on and an empty message is legal.
    #[inline]
    #[must_use]
    pub const fn word(self) -> u64 {
        (self.len as u64) << 32 | (self.fds as u64) << 16 | self.kind as u64
    }

    /// Reads a published word; `largest` is the largest payload of one frame in this lane.
    ///
    /// # Errors
    ///
    /// The [`Fault`] that names the first rule broken.
    #[inline]
    pub const fn decode(word: u64, largest: u64) -> Result<Self, Fault> {
        let len = (word >> 32) as u32;
        if word & 0xff00 != 0 {
            return Err(Fault::Reserved);
        }
        let kind = match Kind::of(word as u8) {
            Ok(kind) => kind,
            Err(fault) => return Err(fault),
        };
        let fds = (word >> 16) as u16;
        if fds != 0 && !matches!(kind, Kind::Data | Kind::Last) {
            return Err(Fault::Fds);
        }
        let fits = match kind {
            Kind::Data => true,
            Kind::Pack => len >= Entry::SIZE,
            Kind::First => len > 8,
            Kind::Next | Kind::Last => len > 0,
            Kind::Abort | Kind::End => len == 0,
        };
        if !fits || len as u64 > largest {
            return Err(Fault::Length(len));
        }
        Ok(Self { kind, fds, len })
    }
}

/// What stands before each message of a pack: its length and its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Bytes of payload, without the padding to 8 that follows it.
    pub len: u32,
    /// The tag a frame of its own would have carried.
    pub tag: u64,
}

impl Entry {
    /// Bytes of an entry's header: len u32, zero u32, tag u64, little-endian.
    pub const SIZE: u32 = 16;

    /// The bytes that an entry with this payload takes in a pack.
    #[inline]
    #[must_use]
    pub const fn size(payload: u64) -> u64 {
        Self::SIZE as u64 + ((payload + 7) & !7)
    }

    /// The header's bytes.
    #[inline]
    #[must_use]
    pub fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.len.to_le_bytes());
        bytes[8..].copy_from_slice(&self.tag.to_le_bytes());
        bytes
    }

    /// Reads a header that [`decode`](Self::decode) has accepted.
    #[inline]
    pub(crate) fn read(header: &[u8; 16]) -> Self {
        let word = u128::from_le_bytes(*header);
        Self { len: word as u32, tag: (word >> 64) as u64 }
    }

    /// Reads the entry at the start of `rest`, the unread bytes of a pack, from memory of our own.
    ///
    /// # Errors
    ///
    /// [`Fault::Pack`] if the entry does not lie wholly within `rest` or sets reserved bits.
    #[inline]
    pub fn decode(rest: &[u8]) -> Result<Self, Fault> {
        let Some((header, rest)) = rest.split_first_chunk::<16>() else {
            return Err(Fault::Pack);
        };
        let low = u64::from_le_bytes(*header.first_chunk().unwrap_or(&[0; 8]));
        let tag = u64::from_le_bytes(*header.last_chunk().unwrap_or(&[0; 8]));
        let Ok(len) = u32::try_from(low) else {
            return Err(Fault::Pack); // the reserved half is set
        };
        if Self::size(u64::from(len)) - u64::from(Self::SIZE) > rest.len() as u64 {
            return Err(Fault::Pack);
        }
        Ok(Self { len, tag })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_their_word() {
        for kind in [Kind::Data, Kind::Pack, Kind::First, Kind::Next, Kind::Last] {
            let header = Header::new(kind, 48);
            assert_eq!(Header::decode(header.word(), 48), Ok(header));
            assert_ne!(header.word() as u32, 0);
        }
        for (kind, fds) in [(Kind::Data, 1), (Kind::Last, u16::MAX)] {
            let header = Header { fds, ..Header::new(kind, 48) };
            assert_eq!(Header::decode(header.word(), 48), Ok(header));
        }
    }

    #[test]
    fn attack_52_every_bad_header_names_its_rule() {
        let largest = 1008;
        for (word, fault) in [
            (8, Fault::Kind(8)),
            (255, Fault::Kind(255)),
            (0x0101, Fault::Reserved),
            (0x0001_0002 | 32 << 32, Fault::Fds),
            (0x8000_0003 | 32 << 32, Fault::Fds),
            (0xffff_0007, Fault::Fds),
            (1 | 1009 << 32, Fault::Length(1009)),
            (1 | 0xffff_ffff << 32, Fault::Length(u32::MAX)),
            (2 | 15 << 32, Fault::Length(15)),
            (3 | 8 << 32, Fault::Length(8)),
            (4, Fault::Length(0)),
            (5, Fault::Length(0)),
            (6 | 1 << 32, Fault::Length(1)),
            (7 | 1 << 32, Fault::Length(1)),
        ] {
            assert_eq!(Header::decode(word, largest), Err(fault), "{word:#x}");
        }
    }

    #[test]
    fn attack_57_reserved_bits_of_an_entry_are_a_fault() {
        let mut bytes = Entry { len: 8, tag: 9 }.bytes().to_vec();
        bytes.extend([0; 8]);
        assert_eq!(Entry::decode(&bytes), Ok(Entry { len: 8, tag: 9 }));
        for (at, value) in [(4, 1), (7, 0x80), (0, 9), (3, 0xff)] {
            let mut bad = bytes.clone();
            bad[at] = value;
            assert_eq!(Entry::decode(&bad), Err(Fault::Pack), "byte {at}");
        }
        assert_eq!(Entry::decode(&bytes[..15]), Err(Fault::Pack));
        assert_eq!(Entry::decode(&bytes[..23]), Err(Fault::Pack));
    }
}
