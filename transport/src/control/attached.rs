//! What goes with messages over the control socket: file descriptors, some of them of blobs.
//!
//! A descriptor belongs to the message whose frame is at the position named, or it is the memory of a blob, which
//! the peer names by number from then on.
//!
//! What it does not do: own a descriptor, or say which were due; the session knows.

use std::borrow::Cow;

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::field::{body, reserved, value};
use super::{MAX_PACKET, Malformed, layout};

/// The most file descriptors that one packet carries, and so the most with one message: the kernel's own limit.
pub const MAX_FDS: u16 = 253;

/// The most blobs that a side may let the other keep known to it at a time.
pub const MAX_BLOBS: u16 = 1024;

// The longest list fits.
const _: () = assert!(16 + 16 + MAX_FDS as usize * size_of::<Attached>() <= MAX_PACKET);

/// What a side takes beside the bytes of messages. All zero: nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Takes {
    /// File descriptors that may be under way to it: sent, and not yet received with their messages. At most
    /// [`MAX_FDS`].
    pub fds: u16,
    /// Blobs that may be known to it at a time. At most [`MAX_BLOBS`].
    pub blobs: u16,
    /// Bytes that those may have together. Zero if no blob may be known.
    pub blob_bytes: u64,
}

impl Takes {
    /// No descriptor and no blob.
    pub const NOTHING: Self = Self { fds: 0, blobs: 0, blob_bytes: 0 };

    /// Whether descriptors of any kind may come.
    #[must_use]
    pub const fn any(self) -> bool {
        self.fds != 0 || self.blobs != 0
    }

    pub(super) fn check(self) -> Result<(), Malformed> {
        if self.fds > MAX_FDS {
            return Err(value("descriptors taken", self.fds, "at most 253 may be under way"));
        }
        if self.blobs > MAX_BLOBS {
            return Err(value("blobs taken", self.blobs, "at most 1024 may be known"));
        }
        if self.blobs == 0 && self.blob_bytes != 0 {
            return Err(value("bytes of blobs taken", self.blob_bytes, "no blobs have no bytes"));
        }
        Ok(())
    }
}

/// What one file descriptor of a packet is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Attached {
    blob: U64,
    bytes: U64,
}

impl Attached {
    /// A descriptor of the message's.
    pub const FD: Self = Self { blob: U64::ZERO, bytes: U64::ZERO };

    /// A blob: its number, which is not zero, and its bytes.
    #[must_use]
    pub fn blob(number: u64, bytes: u64) -> Self {
        Self { blob: number.into(), bytes: bytes.into() }
    }

    /// The number and the bytes, if it is a blob.
    #[must_use]
    pub fn as_blob(self) -> Option<(u64, u64)> {
        (self.blob.get() != 0).then_some((self.blob.get(), self.bytes.get()))
    }
}

/// Which descriptors the packet carries, in their order, and for which message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachments<'a> {
    /// The channel of the message.
    pub channel: u32,
    /// The position of the frame that says how many they are: the message's only one, or its last.
    pub position: u64,
    /// What each is; at least one, at most [`MAX_FDS`].
    pub list: Cow<'a, [Attached]>,
}

impl<'a> Attachments<'a> {
    pub(super) fn read(rest: &'a [u8]) -> Result<Self, Malformed> {
        let (body, tails) = body::<layout::Attachments>("body of Attachments", rest)?;
        let count = body.count.get();
        if count == 0 || count > MAX_FDS.into() {
            return Err(value("count of Attachments", count, "it is 1 to 253"));
        }
        let have = tails.0.len();
        let Ok((list, behind)) = <[Attached]>::ref_from_prefix_with_elems(tails.0, count as usize)
        else {
            return Err(Malformed::Truncated { what: "list of Attachments", have });
        };
        if !behind.is_empty() {
            return Err(Malformed::Trailing(behind.len()));
        }
        if list.iter().any(|one| one.blob.get() == 0 && one.bytes.get() != 0) {
            return Err(Malformed::Reserved { field: "descriptor in Attachments" });
        }
        let list = Cow::Borrowed(list);
        Ok(Self { channel: body.channel.get(), position: body.position.get(), list })
    }

    pub(super) fn write(&self, packet: &mut Vec<u8>) {
        let body = layout::Attachments {
            channel: self.channel.into(),
            count: (self.list.len() as u32).into(),
            position: self.position.into(),
        };
        packet.extend_from_slice(body.as_bytes());
        packet.extend_from_slice(self.list.as_bytes());
    }
}

/// A blob is not named again, after it was named so often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forget {
    /// The channel whose messages named it.
    pub channel: u32,
    /// Its number.
    pub blob: u64,
    /// How many messages named it, over all.
    pub mentions: u64,
}

impl Forget {
    pub(super) fn read(rest: &[u8]) -> Result<Self, Malformed> {
        let (body, tails) = body::<layout::Forget>("body of Forget", rest)?;
        reserved("body of Forget", body.reserved.get())?;
        tails.end()?;
        let forget = Self {
            channel: body.channel.get(),
            blob: body.blob.get(),
            mentions: body.mentions.get(),
        };
        if forget.blob == 0 {
            return Err(value("blob to forget", 0_u64, "blobs are numbered from 1"));
        }
        if forget.mentions == 0 {
            return Err(value("mentions of a blob", 0_u64, "a blob comes with its first"));
        }
        Ok(forget)
    }

    pub(super) fn write(&self, packet: &mut Vec<u8>) {
        let body = layout::Forget {
            channel: self.channel.into(),
            reserved: 0.into(),
            blob: self.blob.into(),
            mentions: self.mentions.into(),
        };
        packet.extend_from_slice(body.as_bytes());
    }
}
