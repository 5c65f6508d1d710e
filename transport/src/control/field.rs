//! Reading a body and its variable parts, and the rules that more than one message shares.
//!
//! What it does not do: know any message.

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::{Fingerprint, MAX_METADATA, Malformed, Metadata, Signature, Text, TextError, TypeId};

/// What follows a fixed body: variable parts, taken in order.
pub(super) struct Tails<'a>(pub(super) &'a [u8]);

impl<'a> Tails<'a> {
    pub(super) fn take(
        &mut self,
        field: &'static str,
        len: u16,
        limit: usize,
    ) -> Result<&'a [u8], Malformed> {
        let len = usize::from(len);
        if len > limit {
            return Err(Malformed::TooLong { field, len, limit });
        }
        let Some((taken, rest)) = self.0.split_at_checked(len) else {
            return Err(Malformed::TailTruncated { field, len, have: self.0.len() });
        };
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn text<const MAX: usize>(
        &mut self,
        field: &'static str,
        len: u16,
    ) -> Result<Text<'a, MAX>, Malformed> {
        let bytes = self.take(field, len, MAX)?;
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed::NotUtf8 { field })?;
        Text::new(text).map_err(|error| match error {
            TextError::TooLong { len, limit } => Malformed::TooLong { field, len, limit },
            TextError::ControlCharacter { .. } => Malformed::ControlCharacter { field },
        })
    }

    pub(super) fn metadata(
        &mut self,
        field: &'static str,
        len: u16,
    ) -> Result<Metadata<'a>, Malformed> {
        let bytes = self.take(field, len, MAX_METADATA)?;
        Metadata::new(bytes).map_err(|_| Malformed::TooLong {
            field,
            len: bytes.len(),
            limit: MAX_METADATA,
        })
    }

    /// The three names of a signature, which always follow each other.
    pub(super) fn signature(
        &mut self,
        [to_accepting, to_connecting]: [[u8; 16]; 2],
        [protocol_len, accepting_len, connecting_len]: [U16; 3],
    ) -> Result<Signature<'a>, Malformed> {
        Ok(Signature {
            protocol: self.text("protocol name", protocol_len.get())?,
            to_accepting: TypeId {
                fingerprint: Fingerprint(to_accepting),
                name: self.text("name of the type to accepting", accepting_len.get())?,
            },
            to_connecting: TypeId {
                fingerprint: Fingerprint(to_connecting),
                name: self.text("name of the type to connecting", connecting_len.get())?,
            },
        })
    }

    pub(super) fn end(self) -> Result<(), Malformed> {
        match self.0.len() {
            0 => Ok(()),
            more => Err(Malformed::Trailing(more)),
        }
    }
}

pub(super) fn body<'a, T>(
    what: &'static str,
    rest: &'a [u8],
) -> Result<(&'a T, Tails<'a>), Malformed>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    match T::ref_from_prefix(rest) {
        Ok((body, tails)) => Ok((body, Tails(tails))),
        Err(_) => Err(Malformed::Truncated { what, have: rest.len() }),
    }
}

pub(super) fn value(field: &'static str, value: impl Into<u64>, rule: &'static str) -> Malformed {
    Malformed::Value { field, value: value.into(), rule }
}

pub(super) fn reserved(field: &'static str, bits: u32) -> Result<(), Malformed> {
    if bits == 0 { Ok(()) } else { Err(Malformed::Reserved { field }) }
}

// The limits of the types keep these lengths far below 2^16.
pub(super) fn text_len<const MAX: usize>(text: &Text<'_, MAX>) -> U16 {
    const { assert!(MAX <= u16::MAX as usize) };
    (text.as_str().len() as u16).into()
}

pub(super) fn metadata_len(metadata: &Metadata<'_>) -> U16 {
    (metadata.as_bytes().len() as u16).into()
}
