//! Puts a message through its format and back.

#![allow(dead_code, unsafe_code)]

use memring_codec::rkyv::rancor::Strategy;
use memring_codec::rkyv::util::AlignedVec;
use memring_codec::rkyv::{Archive, Deserialize};
use memring_codec::{
    Archivable, DecodeError, EncodeError, Encoder, Format, Message, Owner, Reason, Rkyv, Scratch,
    Sink, SinkFull, deserialize,
};

/// A message that can be taken out of its archive again.
pub trait Owned:
    Message<Format = Rkyv>
    + Archivable
    + Archive<Archived: Deserialize<Self, Strategy<Owner, Reason>>>
    + Sized
{
}
impl<T> Owned for T where
    T: Message<Format = Rkyv>
        + Archivable
        + Archive<Archived: Deserialize<T, Strategy<Owner, Reason>>>
{
}

pub fn encode<T: Message + ?Sized>(value: &T) -> AlignedVec<16> {
    let mut scratch = Scratch::new(1 << 24);
    T::Format::encode(value, &mut Encoder::new(&mut scratch)).expect("a value of the zoo encodes");
    aligned(&scratch)
}

pub fn aligned(bytes: &[u8]) -> AlignedVec<16> {
    let mut copy = AlignedVec::new();
    copy.extend_from_slice(bytes);
    copy
}

/// Validates, looks, and takes an owned value.
pub fn decode<T: Owned>(bytes: &AlignedVec<16>) -> Result<T, DecodeError> {
    Rkyv::decode_as::<T>(bytes)?;
    // SAFETY: (1) checked in the line above, (2) borrowed for as long as the view lives.
    deserialize::<T>(unsafe { <Rkyv as Format<T>>::view(&(), bytes) })
}

trait DecodeAs {
    fn decode_as<T: Archivable>(bytes: &[u8]) -> Result<(), DecodeError>;
}
impl DecodeAs for Rkyv {
    fn decode_as<T: Archivable>(bytes: &[u8]) -> Result<(), DecodeError> {
        <Rkyv as Format<T>>::decode(bytes)
    }
}

/// A frame: so much room and no more.
pub struct Frame {
    pub bytes: Vec<u8>,
    pub room: usize,
}

impl Sink for Frame {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkFull> {
        if self.bytes.len() + bytes.len() > self.room {
            return Err(SinkFull::Room);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

pub fn encode_into_frame<T: Message>(value: &T, room: usize) -> Result<Vec<u8>, EncodeError> {
    let mut frame = Frame { bytes: Vec::new(), room };
    let mut encoder = Encoder::new(&mut frame);
    T::Format::encode(value, &mut encoder)?;
    assert_eq!(encoder.position(), frame.bytes.len());
    Ok(frame.bytes)
}

/// An error and what it stems from, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

/// Changes every byte in several ways. A change may go unnoticed (it is another value then), but what is
/// accepted can be looked at, and nothing panics.
pub fn mutate<T: Owned + std::fmt::Debug>(bytes: &[u8]) -> (u32, u32) {
    let (mut accepted, mut rejected) = (0, 0);
    let mut bytes = aligned(bytes);
    for at in 0..bytes.len() {
        for mask in [0x01, 0x80, 0xff, 0x10, bytes[at]] {
            bytes[at] ^= mask;
            match decode::<T>(&bytes) {
                Ok(value) => {
                    let _ = format!("{value:?}");
                    accepted += 1;
                }
                Err(DecodeError::Invalid { source }) => {
                    assert!(!source.to_string().is_empty());
                    rejected += 1;
                }
                Err(_) => rejected += 1,
            }
            bytes[at] ^= mask;
        }
    }
    for len in 0..bytes.len() {
        // What is left of a value that contains its own kind can be whole in itself.
        let _ = decode::<T>(&aligned(&bytes[..len]));
    }
    for more in 1..=33 {
        let longer = [&bytes[..], &vec![0; more]].concat();
        assert!(decode::<T>(&aligned(&longer)).is_err(), "{more} bytes more");
    }
    (accepted, rejected)
}

/// A thread with the stack that a careful embedder gives it.
pub fn on_a_small_stack(run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new()
        .stack_size(256 * 1024)
        .spawn(run)
        .expect("a thread")
        .join()
        .expect("neither a panic nor an overflow");
}
