//! Bytes as they are: the format of untyped channels.
//!
//! Why: byte streams and other people's encodings need the ring and not the archive.
//!
//! It checks nothing, because nothing was promised. The unsafe method is the trait's; it does nothing unsafe.

#![allow(unsafe_code)]

use crate::message::Carriage;
use crate::{DecodeError, EncodeError, Encoder, Fingerprint, Format, Message};

/// The format of raw bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raw;

impl Format<[u8]> for Raw {
    type View = [u8];
    type Checked = ();

    const CARRIAGE: Carriage = Carriage::Beside;

    #[inline]
    fn encode(value: &[u8], out: &mut Encoder<'_>) -> Result<(), EncodeError> {
        Ok(out.write(value)?)
    }

    #[inline]
    fn ready(value: &[u8]) -> Option<&[u8]> {
        Some(value)
    }

    #[inline]
    fn decode(_: &[u8]) -> Result<(), DecodeError> {
        Ok(())
    }

    #[inline]
    unsafe fn view<'a>(_: &'a (), bytes: &'a [u8]) -> &'a [u8] {
        bytes
    }
}

impl Message for [u8] {
    type Format = Raw;

    fn fingerprint() -> Fingerprint {
        Fingerprint::UNTYPED
    }

    fn name() -> String {
        "bytes".to_owned()
    }
}
