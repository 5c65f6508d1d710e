//! The handshake: what each side says, in which order, and what it may believe afterwards.
//!
//! Two pure state machines, [`ServerHandshake`] for the accepting side and [`ClientHandshake`] for
//! the connecting side. A packet goes in, a step comes out that says what the caller does next:
//! send this, make segments, map segments, show the application. So every order can be tried
//! without a socket, and a peer's bytes meet nothing but values.
//!
//! ```text
//! connecting                                 accepting
//! Hello            ----------------------->
//! Open             ----------------------->  (may follow Hello at once)
//!                  <-----------------------  Welcome, or Reject
//!                  <-----------------------  Granted + 2 fds, or Refused (no resources)
//! maps S and C, seals C
//! Sealed           ----------------------->  checks the seals, maps C; the application decides
//!                  <-----------------------  Ready, or Refused
//! ```
//!
//! What it does not do: read a clock, touch a file descriptor, or ask who the peer is. Deadlines,
//! credentials and seals are the caller's. A file descriptor that came where none was due is the
//! caller's to close, on a thread that may block.

mod carries;
mod client;
mod fault;
mod mismatch;
mod server;

pub use carries::Carries;
pub use client::{ChannelWish, ClientHandshake, ClientStep, MapSegments, Refusal, Rejection};
pub use fault::{HandshakeFault, SettingsError};
pub use mismatch::Mismatch;
pub use server::{Opened, ServerHandshake, ServerStep};

use crate::control::{
    self, Answer, ArchiveFormat, Ask, Attachments, Control, Features, FenceBits, Forget, Hello,
    MAX_CAPACITY, MAX_CONTROL_BYTES, MIN_CAPACITY, Metadata, Name, Takes, Versions,
};

/// How many file descriptors travel with Granted: S, then C.
pub const GRANTED_FDS: usize = 2;

/// The number of a session's only channel in protocol version 1.
pub const FIRST_CHANNEL: u32 = 0;

/// The largest message in bytes unless the application says otherwise.
pub const DEFAULT_LARGEST_MESSAGE: u64 = 16 << 20;

/// Which side of a session a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Makes the segments and answers: exactly one side does.
    Accepting,
    /// Speaks first.
    Connecting,
}

/// What this side brings into a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// The protocol versions it speaks.
    pub versions: Versions,
    /// The features it can do.
    pub offered: Features,
    /// Those of them it cannot do without.
    pub required: Features,
    /// Its part in the fence pair.
    pub fence: FenceBits,
    /// The archive format it was built with.
    pub archive: ArchiveFormat,
    /// Its page size in bytes.
    pub page_size: u32,
    /// The largest message in bytes it takes.
    pub largest_message: u64,
    /// What it takes beside the bytes of messages.
    pub takes: Takes,
    /// The application's name, shown to the other side.
    pub name: Name<'static>,
    /// The application's own bytes, shown to the other side.
    pub metadata: Metadata<'static>,
}

impl Local {
    /// This implementation on a machine with pages of `page_size` bytes; nameless, without metadata.
    #[must_use]
    pub fn new(page_size: u32, fence: FenceBits, archive: ArchiveFormat) -> Self {
        Self {
            versions: Versions::OURS,
            offered: Features::NONE,
            required: Features::NONE,
            fence,
            archive,
            page_size,
            largest_message: DEFAULT_LARGEST_MESSAGE,
            takes: Takes::NOTHING,
            name: Name::default(),
            metadata: Metadata::default(),
        }
    }

    fn hello(&self) -> Hello<'_> {
        Hello {
            versions: self.versions,
            offered: self.offered,
            required: self.required,
            fence: self.fence,
            archive: self.archive,
            page_size: self.page_size,
            largest_message: self.largest_message,
            name: self.name.borrow(),
            metadata: self.metadata.borrow(),
            takes: self.takes,
        }
    }

    fn check(&self) -> Result<(), SettingsError> {
        self.hello().check().map_err(SettingsError)
    }
}

/// What both sides know once Welcome has been sent and received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// The protocol version spoken.
    pub version: u16,
    /// The features in use.
    pub features: Features,
    /// The peer's part in the fence pair.
    pub peer_fence: FenceBits,
    /// The larger of both sides' page sizes in bytes: segments are made of multiples of it.
    pub page_size: u32,
    /// The largest message in bytes, either way.
    pub largest_message: u64,
    /// What this side takes beside the bytes of messages.
    pub takes: Takes,
    /// What the peer takes.
    pub peer_takes: Takes,
    /// What the peer calls itself. Only a claim.
    pub peer_name: Name<'static>,
    /// The peer application's own bytes about the session.
    pub peer_metadata: Metadata<'static>,
}

/// How large a lane this side lets a channel have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapacityLimits {
    smallest: u64,
    largest: u64,
}

impl CapacityLimits {
    /// All the protocol allows: 4 KiB to 1 GiB.
    pub const PROTOCOL: Self = Self { smallest: MIN_CAPACITY, largest: MAX_CAPACITY };

    /// Limits in bytes: powers of two from 4 KiB to 1 GiB, the smallest first. `None` otherwise.
    #[must_use]
    pub const fn new(smallest: u64, largest: u64) -> Option<Self> {
        let good = smallest.is_power_of_two()
            && largest.is_power_of_two()
            && MIN_CAPACITY <= smallest
            && smallest <= largest
            && largest <= MAX_CAPACITY;
        if good { Some(Self { smallest, largest }) } else { None }
    }

    /// The smallest in bytes.
    #[must_use]
    pub const fn smallest(self) -> u64 {
        self.smallest
    }

    /// The largest in bytes.
    #[must_use]
    pub const fn largest(self) -> u64 {
        self.largest
    }
}

/// The sizes of a channel's two segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelGeometry {
    /// The control area of each segment in bytes.
    pub control_bytes: u32,
    /// The data area in bytes of S, which the accepting side writes.
    pub capacity_s: u64,
    /// The data area in bytes of C, which the connecting side writes.
    pub capacity_c: u64,
}

impl ChannelGeometry {
    /// What both segments take together, in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        // Each term is bounded by the protocol, so the sum stays below 2^32.
        2 * self.control_bytes as u64 + self.capacity_s + self.capacity_c
    }

    /// Grants a wish that was checked when it was decoded: clamped to our limits, then raised to
    /// the page size. `None` if a page is larger than our limit.
    fn grant(
        to_accepting: u64,
        to_connecting: u64,
        page: u32,
        limits: CapacityLimits,
    ) -> Option<Self> {
        if u64::from(page) > limits.largest {
            return None;
        }
        let fit = |wish: u64| wish.clamp(limits.smallest, limits.largest).max(page.into());
        Some(Self {
            // One page holds all the control words there are.
            control_bytes: page,
            capacity_s: fit(to_connecting),
            capacity_c: fit(to_accepting),
        })
    }

    /// Checks what a peer granted against the pages and limits of this side.
    fn check(self, page: u32, limits: CapacityLimits) -> Result<(), HandshakeFault> {
        let fault = |field, value, rule| Err(HandshakeFault::Grant { field, value, rule });
        if !self.control_bytes.is_multiple_of(page) || self.control_bytes > MAX_CONTROL_BYTES {
            let rule = "a control area is a multiple of both sides' pages, at most 1 MiB";
            return fault("control bytes", self.control_bytes.into(), rule);
        }
        for (field, capacity) in
            [("capacity of S", self.capacity_s), ("capacity of C", self.capacity_c)]
        {
            if !capacity.is_multiple_of(page.into()) {
                return fault(field, capacity, "a capacity is a multiple of both sides' pages");
            }
            if capacity > limits.largest {
                return fault(field, capacity, "it is above this side's limit on lanes");
            }
        }
        Ok(())
    }
}

/// What may be said on a control socket once the channel is Ready, by either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// Publish with full fences from now on, then say so with FenceAck.
    Fence,
    /// The peer publishes with full fences from now on.
    FenceAck,
    /// The peer published what an event loop here waits for.
    Doorbell,
    /// A blob is not named again.
    Forget(Forget),
}

impl Notice {
    /// The packet that says it.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        match self {
            Self::Fence => Control::Fence.encode(),
            Self::FenceAck => Control::FenceAck.encode(),
            Self::Doorbell => Control::Doorbell.encode(),
            Self::Forget(forget) => Control::Forget(forget).encode(),
        }
    }
}

/// What a packet after Ready says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Heard<'a> {
    /// A notice.
    Notice(Notice),
    /// The file descriptors that came with it are these.
    Attachments(Attachments<'a>),
    /// The peer asks for a further channel.
    Ask(Ask<'a>),
    /// It answers our asking.
    Answer(Answer<'a>),
}

/// What a side hears after Ready beside notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hears {
    /// What it takes beside the bytes of messages.
    pub takes: Takes,
    /// Which side it is, if there may be further channels.
    pub further: Option<Role>,
}

impl From<Takes> for Hears {
    fn from(takes: Takes) -> Self {
        Self { takes, further: None }
    }
}

/// The file descriptors that came with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// So many, which is all of them.
    All(usize),
    /// So many, and the kernel has lost others.
    Fewer(usize),
}

/// Reads a packet that came after Ready to a side that hears these, with what it carried.
///
/// # Errors
///
/// [`HandshakeFault`] for a packet that is not due, or another number of descriptors than it says.
pub fn after_ready(
    packet: &[u8],
    came: Came,
    hears: impl Into<Hears>,
) -> Result<Heard<'_>, HandshakeFault> {
    let Hears { takes, further } = hears.into();
    let control = control::decode(packet)?;
    let kind = control.kind();
    let (heard, due) = match control {
        Control::Fence => (Heard::Notice(Notice::Fence), 0),
        Control::FenceAck => (Heard::Notice(Notice::FenceAck), 0),
        Control::Doorbell => (Heard::Notice(Notice::Doorbell), 0),
        Control::Attachments(attachments) if takes.any() => {
            expect_channel(attachments.channel)?;
            let due = attachments.list.len();
            (Heard::Attachments(attachments), due)
        }
        Control::Forget(forget) if takes.blobs != 0 => {
            expect_channel(forget.channel)?;
            (Heard::Notice(Notice::Forget(forget)), 0)
        }
        // A side that accepts makes every socket and sends it, and is sent none.
        Control::Ask(ask) if further.is_some() => {
            (Heard::Ask(ask), usize::from(further == Some(Role::Connecting)))
        }
        Control::Answer(answer) if further.is_some() => match (further, answer.declined) {
            (Some(Role::Accepting), None) => {
                return Err(HandshakeFault::out_of_order(
                    &Control::Answer(answer),
                    "a handshake over the socket that was sent",
                ));
            }
            (_, declined) => (Heard::Answer(answer), usize::from(declined.is_none())),
        },
        other => {
            let due = if takes.any() { "a notice or Attachments" } else { "a notice" };
            return Err(HandshakeFault::out_of_order(&other, due));
        }
    };
    match came {
        Came::Fewer(got) if got < due => Ok(heard),
        Came::All(got) if got == due => Ok(heard),
        Came::All(got) | Came::Fewer(got) => Err(HandshakeFault::FdCount { kind, due, got }),
    }
}

fn expect_channel(got: u32) -> Result<(), HandshakeFault> {
    if got == FIRST_CHANNEL {
        return Ok(());
    }
    Err(HandshakeFault::Channel { due: FIRST_CHANNEL, got })
}

fn expect_fds(control: &Control<'_>, due: usize, got: usize) -> Result<(), HandshakeFault> {
    if due == got {
        return Ok(());
    }
    Err(HandshakeFault::FdCount { kind: control.kind(), due, got })
}
