//! Control messages: what the two sides of a session say on the control socket.
//!
//! One `SOCK_SEQPACKET` packet is one message: a header, a body of fixed layout, then the parts of
//! variable length that the body announced. Everything here is a pure function from bytes to values
//! or back, so that tests and fuzzers reach every rule without a socket. There is exactly one
//! encoding of each message: whatever [`decode`] accepts, [`Control::encode`] gives back byte for
//! byte. `docs/PROTOCOL.md` holds the same tables for other languages.
//!
//! What it does not do: say when a message is due or how many file descriptors belong to it (the
//! [`handshake`](crate::handshake) does), send, receive, or own a file descriptor.

mod attached;
mod channel;
mod field;
mod further;
mod layout;
mod malformed;
mod session;
mod text;
mod value;

use zerocopy::{FromBytes, IntoBytes};

pub use attached::{Attached, Attachments, Forget, MAX_BLOBS, MAX_FDS, Takes};
pub use channel::{
    Granted, MAX_CAPACITY, MAX_CONTROL_BYTES, MIN_CAPACITY, MIN_CONTROL_BYTES, Open, Refused,
};
pub use further::{Answer, Ask, DeclineCode};
pub use malformed::Malformed;
pub use session::{Hello, MAX_PAGE, MIN_PAGE, Reject, Welcome};
pub use text::{
    MAX_METADATA, MAX_NAME, MAX_SENTENCE, MAX_TYPE_NAME, Metadata, Name, Sentence, Text, TextError,
    TypeName,
};
pub use value::{
    ArchiveFormat, Endian, Features, FenceBits, Fingerprint, PointerWidth, RefuseCode, RejectCode,
    SealBits, Signature, TypeId, Versions,
};

use layout::Header;

/// The longest control message in bytes, header included.
pub const MAX_PACKET: usize = 8192;

/// The first four bytes of every control message.
pub const MAGIC: [u8; 4] = *b"MRNG";

/// Which message a packet holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum Kind {
    /// Opens a session; connecting side to accepting side.
    Hello = 1,
    /// Takes the session; accepting side to connecting side.
    Welcome = 2,
    /// Turns the session down, instead of Welcome.
    Reject = 3,
    /// Asks for a channel.
    Open = 4,
    /// States the channel's two segments and carries them as two file descriptors.
    Granted = 5,
    /// Both segments are mapped and the writable one is sealed.
    Sealed = 6,
    /// The channel may be used.
    Ready = 7,
    /// Turns the channel down, instead of Granted or Ready.
    Refused = 8,
    /// From now on publish with full fences, please.
    Fence = 9,
    /// From here on the sender publishes with full fences.
    FenceAck = 10,
    /// Something was published that the other side's event loop waits for.
    Doorbell = 11,
    /// File descriptors, for a message that follows in the lane.
    Attachments = 12,
    /// A blob will not be named again.
    Forget = 14,
    /// Asks for a further channel.
    Ask = 15,
    /// What becomes of an Ask.
    Answer = 16,
}

impl Kind {
    fn from_wire(kind: u16) -> Option<Self> {
        Some(match kind {
            1 => Self::Hello,
            2 => Self::Welcome,
            3 => Self::Reject,
            4 => Self::Open,
            5 => Self::Granted,
            6 => Self::Sealed,
            7 => Self::Ready,
            8 => Self::Refused,
            9 => Self::Fence,
            10 => Self::FenceAck,
            11 => Self::Doorbell,
            12 => Self::Attachments,
            14 => Self::Forget,
            15 => Self::Ask,
            16 => Self::Answer,
            // 13 Close: reserved, and a fault until a feature bit admits it.
            _ => return None,
        })
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

/// One control message, borrowed from the packet it was decoded from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Control<'a> {
    /// See [`Kind::Hello`].
    Hello(Hello<'a>),
    /// See [`Kind::Welcome`].
    Welcome(Welcome<'a>),
    /// See [`Kind::Reject`].
    Reject(Reject<'a>),
    /// See [`Kind::Open`].
    Open(Open<'a>),
    /// See [`Kind::Granted`].
    Granted(Granted),
    /// See [`Kind::Sealed`].
    Sealed {
        /// The channel it is about.
        channel: u32,
    },
    /// See [`Kind::Ready`].
    Ready {
        /// The channel it is about.
        channel: u32,
    },
    /// See [`Kind::Refused`].
    Refused(Refused<'a>),
    /// See [`Kind::Fence`].
    Fence,
    /// See [`Kind::FenceAck`].
    FenceAck,
    /// See [`Kind::Doorbell`].
    Doorbell,
    /// See [`Kind::Attachments`].
    Attachments(Attachments<'a>),
    /// See [`Kind::Forget`].
    Forget(Forget),
    /// See [`Kind::Ask`].
    Ask(Ask<'a>),
    /// See [`Kind::Answer`].
    Answer(Answer<'a>),
}

impl Control<'_> {
    /// Which message this is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Kind::Hello,
            Self::Welcome(_) => Kind::Welcome,
            Self::Reject(_) => Kind::Reject,
            Self::Open(_) => Kind::Open,
            Self::Granted(_) => Kind::Granted,
            Self::Sealed { .. } => Kind::Sealed,
            Self::Ready { .. } => Kind::Ready,
            Self::Refused(_) => Kind::Refused,
            Self::Fence => Kind::Fence,
            Self::FenceAck => Kind::FenceAck,
            Self::Doorbell => Kind::Doorbell,
            Self::Attachments(_) => Kind::Attachments,
            Self::Forget(_) => Kind::Forget,
            Self::Ask(_) => Kind::Ask,
            Self::Answer(_) => Kind::Answer,
        }
    }

    /// The packet that says this, at most [`MAX_PACKET`] bytes.
    ///
    /// Numbers are written as they stand: values the protocol forbids make a packet that
    /// [`decode`] refuses.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut packet = vec![0; size_of::<Header>()];
        match self {
            Self::Hello(hello) => hello.write(&mut packet),
            Self::Welcome(welcome) => welcome.write(&mut packet),
            Self::Reject(reject) => reject.write(&mut packet),
            Self::Open(open) => open.write(&mut packet),
            Self::Granted(granted) => granted.write(&mut packet),
            Self::Sealed { channel } | Self::Ready { channel } => {
                channel::write_channel(*channel, &mut packet);
            }
            Self::Refused(refused) => refused.write(&mut packet),
            Self::Fence | Self::FenceAck | Self::Doorbell => {}
            Self::Attachments(attachments) => attachments.write(&mut packet),
            Self::Forget(forget) => forget.write(&mut packet),
            Self::Ask(ask) => ask.write(&mut packet),
            Self::Answer(answer) => answer.write(&mut packet),
        }
        let header = Header {
            magic: MAGIC,
            kind: (self.kind() as u16).into(),
            flags: 0.into(),
            // Every tail is bounded by its type, so the sum is too; see the assertion in `channel`.
            length: (packet.len() as u32).into(),
            reserved: 0.into(),
        };
        packet[..size_of::<Header>()].copy_from_slice(header.as_bytes());
        packet
    }
}

/// Reads one packet as the peer sent it, whole.
///
/// # Errors
///
/// [`Malformed`], which names the first rule the packet breaks. The peer broke it: close.
pub fn decode(packet: &[u8]) -> Result<Control<'_>, Malformed> {
    if packet.is_empty() {
        return Err(Malformed::Empty);
    }
    if packet.len() > MAX_PACKET {
        return Err(Malformed::Oversized);
    }
    let Ok((header, rest)) = Header::ref_from_prefix(packet) else {
        return Err(Malformed::Truncated { what: "header", have: packet.len() });
    };
    if header.magic != MAGIC {
        return Err(Malformed::Magic(header.magic));
    }
    if header.flags.get() != 0 {
        return Err(Malformed::Reserved { field: "header flags" });
    }
    if header.reserved.get() != 0 {
        return Err(Malformed::Reserved { field: "header" });
    }
    if header.length.get() as usize != packet.len() {
        return Err(Malformed::Length { stated: header.length.get(), got: packet.len() });
    }
    let kind = header.kind.get();
    let kind = Kind::from_wire(kind).ok_or(Malformed::Kind(kind))?;
    Ok(match kind {
        Kind::Hello => Control::Hello(Hello::read(rest)?),
        Kind::Welcome => Control::Welcome(Welcome::read(rest)?),
        Kind::Reject => Control::Reject(Reject::read(rest)?),
        Kind::Open => Control::Open(Open::read(rest)?),
        Kind::Granted => Control::Granted(Granted::read(rest)?),
        Kind::Sealed => Control::Sealed { channel: channel::read_channel("Sealed", rest)? },
        Kind::Ready => Control::Ready { channel: channel::read_channel("Ready", rest)? },
        Kind::Refused => Control::Refused(Refused::read(rest)?),
        Kind::Fence => channel::read_nothing(rest).map(|()| Control::Fence)?,
        Kind::FenceAck => channel::read_nothing(rest).map(|()| Control::FenceAck)?,
        Kind::Doorbell => channel::read_nothing(rest).map(|()| Control::Doorbell)?,
        Kind::Attachments => Control::Attachments(Attachments::read(rest)?),
        Kind::Forget => Control::Forget(Forget::read(rest)?),
        Kind::Ask => Control::Ask(Ask::read(rest)?),
        Kind::Answer => Control::Answer(Answer::read(rest)?),
    })
}
