//! Further channels: asking for one, and what becomes of it.
//!
//! What it does not do: own the socket that goes with one of them from the accepting side, or say when that is due; the session
//! knows.

use std::num::NonZeroU16;

use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use super::field::{body, metadata_len, text_len, value};
use super::text::{Metadata, Name, Sentence};
use super::{Malformed, layout};

/// Asks for a further channel. From the accepting side its socket comes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask<'a> {
    /// Which of its asks this is: 1 is the first.
    pub number: u32,
    /// What the channel is called.
    pub name: Name<'a>,
    /// The asking application's own bytes.
    pub metadata: Metadata<'a>,
}

/// What becomes of an ask of the other side's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Which.
    pub number: u32,
    /// Why not. `None` is from the accepting side, and the socket comes with it.
    pub declined: Option<DeclineCode>,
    /// The same for people.
    pub sentence: Sentence<'a>,
}

/// Why there is no further channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeclineCode {
    /// The application does not want it.
    Application,
    /// There are as many as this side allows.
    TooMany,
    /// This side lacks what it takes.
    Resources,
    /// A reason of a later day.
    Other(NonZeroU16),
}

impl DeclineCode {
    fn from_wire(code: u16) -> Option<Self> {
        Some(match code {
            1 => Self::Application,
            2 => Self::TooMany,
            3 => Self::Resources,
            other => Self::Other(NonZeroU16::new(other)?),
        })
    }

    const fn to_wire(self) -> u16 {
        match self {
            Self::Application => 1,
            Self::TooMany => 2,
            Self::Resources => 3,
            Self::Other(code) => code.get(),
        }
    }
}

impl<'a> Ask<'a> {
    pub(super) fn read(rest: &'a [u8]) -> Result<Self, Malformed> {
        let (body, mut tails) = body::<layout::Ask>("body of Ask", rest)?;
        let ask = Self {
            number: numbered(body.number)?,
            name: tails.text("name of a channel", body.name_len.get())?,
            metadata: tails.metadata("metadata of a channel", body.metadata_len.get())?,
        };
        tails.end()?;
        Ok(ask)
    }

    /// The same, of its own.
    #[must_use]
    pub fn into_owned(self) -> Ask<'static> {
        let Self { number, name, metadata } = self;
        Ask { number, name: name.into_owned(), metadata: metadata.into_owned() }
    }

    pub(super) fn write(&self, packet: &mut Vec<u8>) {
        let body = layout::Ask {
            number: self.number.into(),
            name_len: text_len(&self.name),
            metadata_len: metadata_len(&self.metadata),
        };
        packet.extend_from_slice(body.as_bytes());
        packet.extend_from_slice(self.name.as_str().as_bytes());
        packet.extend_from_slice(self.metadata.as_bytes());
    }
}

impl<'a> Answer<'a> {
    pub(super) fn read(rest: &'a [u8]) -> Result<Self, Malformed> {
        let (body, mut tails) = body::<layout::Answer>("body of Answer", rest)?;
        let answer = Self {
            number: numbered(body.number)?,
            declined: DeclineCode::from_wire(body.code.get()),
            sentence: tails.text("sentence", body.sentence_len.get())?,
        };
        tails.end()?;
        Ok(answer)
    }

    /// The same, of its own.
    #[must_use]
    pub fn into_owned(self) -> Answer<'static> {
        let Self { number, declined, sentence } = self;
        Answer { number, declined, sentence: sentence.into_owned() }
    }

    pub(super) fn write(&self, packet: &mut Vec<u8>) {
        let body = layout::Answer {
            number: self.number.into(),
            code: self.declined.map_or(0, DeclineCode::to_wire).into(),
            sentence_len: text_len(&self.sentence),
        };
        packet.extend_from_slice(body.as_bytes());
        packet.extend_from_slice(self.sentence.as_str().as_bytes());
    }
}

fn numbered(number: U32) -> Result<u32, Malformed> {
    match number.get() {
        0 => Err(value("number of an ask", 0_u32, "asks are numbered from 1")),
        number => Ok(number),
    }
}
