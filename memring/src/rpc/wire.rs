//! The packets of calls: bytes to values and back. Pure; every rule has a name, and a peer that breaks one is named by it.
//!
//! A packet is a message of a lane: a header of 16 bytes, and a body that begins aligned, as archives have to. Which call
//! it is about says the message's tag. Section 15 of `docs/PROTOCOL.md` has every byte.

pub(crate) mod described;

use std::fmt;

use memring_codec::Fingerprint;
use memring_transport::observe::is_unseen;

use described::{put_member, take_member};

/// Bytes of a header.
pub(crate) const HEADER: usize = 16;
/// Bytes that may lie between a header and what follows, to make a frame of whole cache lines.
pub(crate) const MOST_PADDING: usize = 48;
/// Bytes of a name, of an interface or of what it has.
pub(crate) const MAX_NAME: usize = 128;
/// Bytes of a version.
pub(crate) const MAX_VERSION: usize = 64;
/// Bytes of a signature, which is for people: longer ones are cut.
pub(crate) const MAX_SIGNATURE: usize = 1024;
/// Methods and signals of one interface.
pub(crate) const MAX_MEMBERS: usize = 1024;
/// Versions that a refusal names.
pub(crate) const MAX_VERSIONS: usize = 64;

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Asks for an interface, or what there is.
    Open = 1,
    /// It is there: how much of it is as the asker knows it.
    Opened = 2,
    /// It is not.
    Refused = 3,
    /// Calls a method.
    Call = 4,
    /// Calls a method that answers nothing.
    Tell = 5,
    /// A call's result; of a stream, that it ended well.
    Done = 6,
    /// The error that the method itself gave.
    Failed = 7,
    /// Why there is no answer of the method's.
    Ended = 8,
    /// Nobody waits for the answer any more.
    Cancel = 9,
    /// One reply of a stream.
    Item = 10,
    /// So many more replies may come.
    Credit = 11,
    /// A signal.
    Signal = 12,
    /// A signal is wanted.
    Subscribe = 13,
    /// It is not any more.
    Unsubscribe = 14,
}

impl Kind {
    fn of(byte: u8) -> Result<Self, Broken> {
        const KINDS: [Kind; 14] = [
            Kind::Open,
            Kind::Opened,
            Kind::Refused,
            Kind::Call,
            Kind::Tell,
            Kind::Done,
            Kind::Failed,
            Kind::Ended,
            Kind::Cancel,
            Kind::Item,
            Kind::Credit,
            Kind::Signal,
            Kind::Subscribe,
            Kind::Unsubscribe,
        ];
        let place = usize::from(byte).wrapping_sub(1);
        KINDS.get(place).copied().ok_or(Broken::Kind(byte))
    }

    /// Whether descriptors and blobs may come with it.
    pub(crate) fn may_carry(self) -> bool {
        matches!(self, Self::Call | Self::Tell | Self::Done | Self::Failed | Self::Item)
    }
}

/// Of the first word of a packet, what says how much is padded.
const PADDING: u64 = 0x30;
/// Of the first byte, what says that the arguments are JSON.
const JSON: u8 = 0x80;
const DONE: u64 = Kind::Done as u64;
const FAILED: u64 = Kind::Failed as u64;

/// The rule of calls that a peer broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    #[error("a packet of {0} bytes is shorter than its header")]
    Short(usize),
    #[error("a packet of unknown kind {0}")]
    Kind(u8),
    #[error("a field is not zero that its kind of packet does not use")]
    Reserved,
    #[error("a packet's body ends before what it says it has, or goes on behind it")]
    Body,
    #[error("a name, version or signature is too long, empty, or no text")]
    Text,
    #[error("a list of more entries than are allowed")]
    Many,
    #[error("unknown shape of a method {0}")]
    Shape(u8),
    #[error("an opening that asks for the unknown {0}")]
    Asks(u32),
    #[error("a method's state or a code is unknown")]
    Code,
    #[error("a call's number does not follow the one before")]
    Order,
    #[error("more calls at once than were agreed")]
    Overrun,
    #[error("an answer to a call that was not made, or that was answered")]
    Unasked,
    #[error("a reply of a stream without credit")]
    Credit,
    #[error("a blob that is not known")]
    Blob,
    #[error("an interface that was not opened")]
    NotOpened,
    #[error("a method that the interface does not have, or a signal where a method has to be")]
    Method,
    #[error("an answer of the wrong kind")]
    Answer,
}

/// The header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub kind: Kind,
    /// Units of 16 bytes, at most 3, between the header and what follows; nobody reads them.
    pub padding: u8,
    /// The arguments are JSON, and so is what comes back.
    pub json: bool,
    /// How many blobs the body names. Their numbers are between the header and the body.
    pub blobs: u8,
    /// The number of an opened interface.
    pub interface: u16,
    /// The member of the interface, the code, or the credit.
    pub number: u32,
    /// The call's deadline; or, in an opening, the sender's clock. Nanoseconds of the sender's monotonic clock, 0 for none.
    pub time: u64,
}

impl Header {
    pub(crate) const fn new(kind: Kind) -> Self {
        Self { kind, padding: 0, json: false, blobs: 0, interface: 0, number: 0, time: 0 }
    }

    /// By words, as they will be read again at once.
    #[inline]
    pub(crate) fn encode(self) -> [u8; HEADER] {
        let kind = self.kind as u8 | self.padding << 4 | if self.json { JSON } else { 0 };
        let first = u64::from(kind)
            | u64::from(self.blobs) << 8
            | u64::from(self.interface) << 16
            | u64::from(self.number) << 32;
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&first.to_le_bytes());
        bytes[8..].copy_from_slice(&self.time.to_le_bytes());
        bytes
    }

    #[inline]
    pub(crate) fn decode(packet: &[u8]) -> Result<Self, Broken> {
        let Some(header) = packet.first_chunk::<HEADER>() else {
            return Err(Broken::Short(packet.len()));
        };
        let [kind, blobs, i0, i1, n0, n1, n2, n3, time @ ..] = *header;
        let (kind, json, padding) = (Kind::of(kind & 0xf)?, kind & JSON != 0, kind >> 4 & 7);
        let this = Self {
            kind,
            padding,
            json,
            blobs,
            interface: u16::from_le_bytes([i0, i1]),
            number: u32::from_le_bytes([n0, n1, n2, n3]),
            time: u64::from_le_bytes(time),
        };
        let [interface, number, time] = match kind {
            Kind::Call | Kind::Tell => [true, true, true],
            // Which of them an opening has depends on what it asks.
            Kind::Open | Kind::Opened => [true, true, true],
            Kind::Signal | Kind::Subscribe | Kind::Unsubscribe => [true, true, false],
            Kind::Refused | Kind::Ended | Kind::Credit => [false, true, false],
            Kind::Done | Kind::Failed | Kind::Cancel | Kind::Item => [false, false, false],
        };
        let unused = (!interface && this.interface != 0)
            || (!number && this.number != 0)
            || (!time && this.time != 0)
            || (!kind.may_carry() && blobs != 0)
            || (json && !this.is_call())
            || padding > 3;
        if unused {
            return Err(Broken::Reserved);
        }
        if packet.len() < this.body_at() {
            return Err(Broken::Short(packet.len()));
        }
        Ok(this)
    }

    /// The header of an answer that carries nothing, if it is one. Of any other, `decode` says what is wrong with it, or what
    /// else it is.
    #[inline]
    pub(crate) fn plain_answer(packet: &[u8]) -> Option<Self> {
        let word = u64::from_le_bytes(*packet.first_chunk()?);
        let time = u64::from_le_bytes(*packet.get(8..)?.first_chunk()?);
        let kind = match word & !PADDING {
            DONE => Kind::Done,
            FAILED => Kind::Failed,
            _ => return None,
        };
        let padding = (word >> 4) as u8 & 3;
        (time == 0).then(|| Self { padding, ..Self::new(kind) })
    }

    /// The header of a call that carries nothing and has no deadline, if it is one.
    #[inline]
    pub(crate) fn plain_call(packet: &[u8]) -> Option<Self> {
        let word = u64::from_le_bytes(*packet.first_chunk()?);
        let time = u64::from_le_bytes(*packet.get(8..)?.first_chunk()?);
        if (word & !PADDING) as u16 != Kind::Call as u16 || time != 0 {
            return None;
        }
        let (interface, padding) = ((word >> 16) as u16, (word >> 4) as u8 & 3);
        Some(Self { padding, interface, number: (word >> 32) as u32, ..Self::new(Kind::Call) })
    }

    /// Whether it ends the question whose number it has. (The peer's own questions have numbers too.)
    #[inline]
    pub(crate) fn is_answer(&self) -> bool {
        use Kind::{Done, Ended, Failed, Opened, Refused};
        matches!(self.kind, Opened | Refused | Done | Failed | Ended)
    }

    /// Whether this packet answers an opening.
    pub(crate) fn is_of_opening(packet: &[u8]) -> bool {
        let kind = packet.first().map(|kind| Kind::of(kind & 0xf));
        matches!(kind, Some(Ok(Kind::Opened | Kind::Refused)))
    }

    /// Whether it has something run.
    #[inline]
    pub(crate) fn is_call(&self) -> bool {
        matches!(self.kind, Kind::Call | Kind::Tell)
    }

    /// Where the list of blobs begins, or the body if there is none.
    #[inline]
    pub(crate) fn list_at(self) -> usize {
        HEADER + usize::from(self.padding) * 16
    }

    /// Where the body begins.
    #[inline]
    pub(crate) fn body_at(self) -> usize {
        self.list_at() + (usize::from(self.blobs) * 8).next_multiple_of(16)
    }

    /// The same, padded so that a frame with so many bytes behind the header has whole cache lines: then no frame begins in
    /// the line where another ends, and a small one comes over in one piece.
    #[inline]
    pub(crate) fn padded(self, rest: usize) -> Self {
        /// Bytes of a frame's own header, and of a line.
        const FRAME: usize = 16;
        const LINE: usize = 64;
        let frame = (FRAME + HEADER + rest).next_multiple_of(16);
        let missing = frame.next_multiple_of(LINE) - frame;
        Self { padding: (missing / 16) as u8, ..self }
    }

    /// Bytes of a packet that carries nothing, with a body of so many.
    #[inline]
    pub(crate) fn packet_of(body: usize) -> usize {
        Self::new(Kind::Done).padded(body).body_at() + body
    }

    /// The blobs that a packet with this header lists.
    pub(crate) fn blobs_of(self, packet: &[u8]) -> impl Iterator<Item = u64> + '_ {
        let list = packet.get(self.list_at()..).unwrap_or_default().chunks_exact(8);
        list.take(self.blobs.into())
            .map(|number| number.first_chunk().map_or(0, |number| u64::from_le_bytes(*number)))
    }
}

/// A whole packet.
pub(crate) fn packet(header: Header, body: &[u8]) -> Vec<u8> {
    let header = header.padded(body.len());
    let mut packet = header.encode().to_vec();
    packet.resize(header.body_at(), 0);
    packet.extend_from_slice(body);
    packet
}

/// How a member of an interface is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Shape {
    /// A call with one answer.
    Call = 0,
    /// A call with many replies, and an end.
    Stream = 1,
    /// A call without an answer.
    OneWay = 2,
    /// Sent by whoever serves the interface.
    Signal = 3,
}

impl Shape {
    fn of(byte: u8) -> Result<Self, Broken> {
        match byte {
            0 => Ok(Self::Call),
            1 => Ok(Self::Stream),
            2 => Ok(Self::OneWay),
            3 => Ok(Self::Signal),
            other => Err(Broken::Shape(other)),
        }
    }
}

/// What two sides compare of a method or signal beside its name: its shape, and the types of its arguments, its result and
/// its error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prints {
    /// The arguments, with their names, in order.
    pub arguments: Fingerprint,
    /// The result; of a stream, one reply.
    pub result: Fingerprint,
    /// The method's own error.
    pub error: Fingerprint,
}

/// A method or signal as an opening has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemberSpec<'a> {
    pub shape: Shape,
    pub name: &'a str,
    pub signature: &'a str,
    pub prints: Prints,
}

/// The body of an opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opening<'a> {
    pub name: &'a str,
    pub version: &'a str,
    pub members: Vec<MemberSpec<'a>>,
}

impl<'a> Opening<'a> {
    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        put_text(into, self.name);
        put_text(into, self.version);
        put_u16(into, self.members.len() as u16);
        self.members.iter().for_each(|member| put_member(into, member, 0));
    }

    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, Broken> {
        let mut from = Fields(body);
        let name = from.text(MAX_NAME)?;
        let version = from.text(MAX_VERSION)?;
        let count = from.count(MAX_MEMBERS)?;
        let mut members = Vec::new(); // grows by what is there, not by what is claimed
        for _ in 0..count {
            let (member, _) = take_member(&mut from, 0)?;
            members.push(member);
        }
        from.end()?;
        Ok(Self { name, version, members })
    }
}

/// How the peer's member stands to the one of the same name that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing<'a> {
    /// It is the same, and has this number.
    Same(u32),
    /// There is none.
    Unknown,
    /// It has other types.
    Changed(&'a str),
    /// The asker may not use it.
    Denied,
}

/// The body of an answer to an opening: for each member asked for, in the same order.
pub(crate) fn encode_standings(standings: &[Standing<'_>], into: &mut Vec<u8>) {
    put_u16(into, standings.len() as u16);
    for standing in standings {
        match standing {
            Standing::Same(number) => {
                into.push(0);
                into.extend_from_slice(&number.to_le_bytes());
            }
            Standing::Unknown => into.push(1),
            Standing::Changed(signature) => {
                into.push(2);
                put_text(into, fit(signature));
            }
            Standing::Denied => into.push(3),
        }
    }
}

/// Reads such a body.
pub(crate) fn decode_standings(body: &[u8]) -> Result<Vec<Standing<'_>>, Broken> {
    let mut from = Fields(body);
    let count = from.count(MAX_MEMBERS)?;
    let mut standings = Vec::new();
    for _ in 0..count {
        standings.push(match from.byte()? {
            0 => Standing::Same(from.u32()?),
            1 => Standing::Unknown,
            2 => Standing::Changed(from.text(MAX_SIGNATURE)?),
            3 => Standing::Denied,
            _ => return Err(Broken::Code),
        });
    }
    from.end()?;
    Ok(standings)
}

/// Why an interface is not there, or a call has no answer of the method's: the number in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Code {
    /// No interface of this name is served.
    UnknownInterface = 1,
    /// It is served, in other versions: the body lists them.
    UnknownVersion = 2,
    /// The policy says no.
    Denied = 3,
    /// What is served ends: what runs is finished, and nothing new is begun.
    ShuttingDown = 4,
    /// The answer is longer than the lane holds at once.
    TooLong = 5,
    /// The method panicked.
    Panicked = 6,
    /// The deadline had passed before the method gave an answer.
    DeadlinePassed = 7,
    /// It was cancelled, and the method ended without an answer.
    Cancelled = 8,
    /// The arguments are none, or what they carry did not arrive: the body says why.
    Arguments = 9,
    /// The method's answer could not be sent: the body says why.
    Answer = 10,
    /// The method was dropped before it gave an answer.
    Dropped = 11,
}

impl Code {
    pub(crate) fn of(number: u32) -> Result<Self, Broken> {
        const CODES: [Code; 11] = [
            Code::UnknownInterface,
            Code::UnknownVersion,
            Code::Denied,
            Code::ShuttingDown,
            Code::TooLong,
            Code::Panicked,
            Code::DeadlinePassed,
            Code::Cancelled,
            Code::Arguments,
            Code::Answer,
            Code::Dropped,
        ];
        let place = (number as usize).wrapping_sub(1);
        CODES.get(place).copied().ok_or(Broken::Code)
    }
}

/// The body of a refusal that names versions.
pub(crate) fn encode_versions<'a>(versions: impl Iterator<Item = &'a str>, into: &mut Vec<u8>) {
    let versions: Vec<_> = versions.take(MAX_VERSIONS).collect();
    put_u16(into, versions.len() as u16);
    versions.iter().for_each(|version| put_text(into, version));
}

/// Reads such a body, for people.
pub(crate) fn decode_versions(body: &[u8]) -> Result<Vec<String>, Broken> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let mut from = Fields(body);
    let count = from.count(MAX_VERSIONS)?;
    let versions: Result<_, _> = (0..count).map(|_| from.text(MAX_VERSION).map(shown)).collect();
    let versions = versions?;
    from.end()?;
    Ok(versions)
}

/// A sentence from the peer, fit to be shown: cut, and without what could harm a terminal.
pub(crate) fn sentence(body: &[u8]) -> String {
    shown(&String::from_utf8_lossy(&body[..body.len().min(MAX_SIGNATURE)]))
}

/// The peer's text as it can be shown.
pub(crate) fn shown(text: &str) -> String {
    text.chars().map(|c| if is_unseen(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// As much of a signature as an opening takes.
fn fit(text: &str) -> &str {
    let most = text.len().min(MAX_SIGNATURE);
    let end = (0..=most).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    &text[..end]
}

fn put_u16(into: &mut Vec<u8>, value: u16) {
    into.extend_from_slice(&value.to_le_bytes());
}

fn put_text(into: &mut Vec<u8>, text: &str) {
    put_u16(into, text.len() as u16);
    into.extend_from_slice(text.as_bytes());
}

/// What is left of a body.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Broken> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Broken::Body)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Broken::Body)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, Broken> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, Broken> {
        self.array().map(u32::from_le_bytes)
    }

    fn print(&mut self) -> Result<Fingerprint, Broken> {
        self.array().map(Fingerprint::from_le_bytes)
    }

    fn count(&mut self, most: usize) -> Result<usize, Broken> {
        let count = self.array().map(u16::from_le_bytes)?.into();
        if count > most { Err(Broken::Many) } else { Ok(count) }
    }

    fn text(&mut self, most: usize) -> Result<&'a str, Broken> {
        let len = self.array().map(u16::from_le_bytes)?.into();
        if len == 0 || len > most {
            return Err(Broken::Text);
        }
        let text = str::from_utf8(self.take(len)?).map_err(|_| Broken::Text)?;
        if text.contains(char::is_control) { Err(Broken::Text) } else { Ok(text) }
    }

    fn end(&self) -> Result<(), Broken> {
        if self.0.is_empty() { Ok(()) } else { Err(Broken::Body) }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Call => "call",
            Self::Stream => "stream",
            Self::OneWay => "one-way call",
            Self::Signal => "signal",
        })
    }
}

#[cfg(test)]
mod tests;
