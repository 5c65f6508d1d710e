//! The messages that open a channel: Open, Granted, Refused, and the body of Sealed and Ready.
//!
//! Reading checks every rule that holds whatever was said before: ranges, reserved bytes, text.
//! What it does not do: rules about order, page sizes or limits; the handshake knows those.

use zerocopy::IntoBytes;

use super::field::{Tails, body, metadata_len, reserved, text_len, value};
use super::{
    MAX_METADATA, MAX_PACKET, MAX_SENTENCE, MAX_TYPE_NAME, Malformed, Metadata, RefuseCode,
    SealBits, Sentence, Signature, layout,
};

/// The smallest data area of a segment in bytes.
pub const MIN_CAPACITY: u64 = 4096;
/// The largest data area of a segment in bytes.
pub const MAX_CAPACITY: u64 = 1 << 30;
/// The smallest control area of a segment in bytes: up to and with its last word's 128 bytes.
pub const MIN_CONTROL_BYTES: u32 = 768;
/// The largest control area of a segment in bytes.
pub const MAX_CONTROL_BYTES: u32 = 1 << 20;

// The longest Open and the longest Refused fit, so no message can outgrow a packet.
const _: () = assert!(16 + 64 + 3 * MAX_TYPE_NAME + MAX_METADATA <= MAX_PACKET);
const _: () = assert!(16 + 48 + 3 * MAX_TYPE_NAME + MAX_SENTENCE <= MAX_PACKET);

/// Asks for a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open<'a> {
    /// The channel's number.
    pub channel: u32,
    /// The protocol and types it is to carry.
    pub signature: Signature<'a>,
    /// The wished size in bytes of the lane to the accepting side.
    pub capacity_to_accepting: u64,
    /// The wished size in bytes of the lane to the connecting side.
    pub capacity_to_connecting: u64,
    /// The application's own bytes about this channel.
    pub metadata: Metadata<'a>,
}

/// States a channel's segments; two file descriptors travel with it, S first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// The channel's number.
    pub channel: u32,
    /// The control area of each segment in bytes.
    pub control_bytes: u32,
    /// The data area in bytes of S, the lane to the connecting side.
    pub capacity_s: u64,
    /// The data area in bytes of C, the lane to the accepting side.
    pub capacity_c: u64,
    /// The seals S has.
    pub seals_s: SealBits,
    /// The seals C is to have once the connecting side has sealed it.
    pub seals_c: SealBits,
}

/// How the accepting side turns a channel down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused<'a> {
    /// The channel's number.
    pub channel: u32,
    /// Why, for programs.
    pub code: RefuseCode,
    /// Why, for people.
    pub sentence: Sentence<'a>,
    /// What the refuser would have taken; empty where that is not why.
    pub ours: Signature<'a>,
}

impl<'a> Open<'a> {
    pub(super) fn read(rest: &'a [u8]) -> Result<Self, Malformed> {
        let (body, mut tails) = body::<layout::Open>("body of Open", rest)?;
        reserved("body of Open", body.reserved.get())?;
        let open = Self {
            channel: body.channel.get(),
            signature: tails.signature(
                [body.fingerprint_to_accepting, body.fingerprint_to_connecting],
                [body.protocol_len, body.type_to_accepting_len, body.type_to_connecting_len],
            )?,
            capacity_to_accepting: body.capacity_to_accepting.get(),
            capacity_to_connecting: body.capacity_to_connecting.get(),
            metadata: tails.metadata("channel metadata", body.metadata_len.get())?,
        };
        tails.end()?;
        open.check()?;
        Ok(open)
    }

    /// Checks the numbers, which have no types of their own.
    pub(crate) fn check(&self) -> Result<(), Malformed> {
        capacity("capacity to accepting", self.capacity_to_accepting)?;
        capacity("capacity to connecting", self.capacity_to_connecting)
    }

    pub(super) fn write(&self, packet: &mut Vec<u8>) {
        let Signature { protocol, to_accepting, to_connecting } = &self.signature;
        let body = layout::Open {
            channel: self.channel.into(),
            reserved: 0.into(),
            fingerprint_to_accepting: to_accepting.fingerprint.0,
            fingerprint_to_connecting: to_connecting.fingerprint.0,
            capacity_to_accepting: self.capacity_to_accepting.into(),
            capacity_to_connecting: self.capacity_to_connecting.into(),
            protocol_len: text_len(protocol),
            type_to_accepting_len: text_len(&to_accepting.name),
            type_to_connecting_len: text_len(&to_connecting.name),
            metadata_len: metadata_len(&self.metadata),
        };
        packet.extend_from_slice(body.as_bytes());
        write_names(&self.signature, packet);
        packet.extend_from_slice(self.metadata.as_bytes());
    }
}

impl Granted {
    pub(super) fn read(rest: &[u8]) -> Result<Self, Malformed> {
        let (body, tails) = body::<layout::Granted>("body of Granted", rest)?;
        tails.end()?;
        let control_bytes = body.control_bytes.get();
        if !(MIN_CONTROL_BYTES..=MAX_CONTROL_BYTES).contains(&control_bytes) {
            let rule = "a control area has 768 bytes to 1 MiB";
            return Err(value("control bytes", control_bytes, rule));
        }
        capacity("capacity of S", body.capacity_s.get())?;
        capacity("capacity of C", body.capacity_c.get())?;
        Ok(Self {
            channel: body.channel.get(),
            control_bytes,
            capacity_s: body.capacity_s.get(),
            capacity_c: body.capacity_c.get(),
            seals_s: seals("seals of S", body.seals_s.get())?,
            seals_c: seals("seals of C", body.seals_c.get())?,
        })
    }

    pub(super) fn write(&self, packet: &mut Vec<u8>) {
        let body = layout::Granted {
            channel: self.channel.into(),
            control_bytes: self.control_bytes.into(),
            capacity_s: self.capacity_s.into(),
            capacity_c: self.capacity_c.into(),
            seals_s: self.seals_s.mask().into(),
            seals_c: self.seals_c.mask().into(),
        };
        packet.extend_from_slice(body.as_bytes());
    }
}

impl<'a> Refused<'a> {
    pub(super) fn read(rest: &'a [u8]) -> Result<Self, Malformed> {
        let (body, mut tails) = body::<layout::Refused>("body of Refused", rest)?;
        reserved("body of Refused", body.reserved.get().into())?;
        let code = RefuseCode::from_wire(body.code.get())
            .ok_or_else(|| value("refuse code", body.code.get(), "codes begin at 1"))?;
        let refused = Self {
            channel: body.channel.get(),
            code,
            sentence: tails.text("sentence", body.sentence_len.get())?,
            ours: tails.signature(
                [body.fingerprint_to_accepting, body.fingerprint_to_connecting],
                [body.protocol_len, body.type_to_accepting_len, body.type_to_connecting_len],
            )?,
        };
        tails.end()?;
        Ok(refused)
    }

    pub(super) fn write(&self, packet: &mut Vec<u8>) {
        let Signature { protocol, to_accepting, to_connecting } = &self.ours;
        let body = layout::Refused {
            channel: self.channel.into(),
            code: self.code.to_wire().into(),
            sentence_len: text_len(&self.sentence),
            fingerprint_to_accepting: to_accepting.fingerprint.0,
            fingerprint_to_connecting: to_connecting.fingerprint.0,
            protocol_len: text_len(protocol),
            type_to_accepting_len: text_len(&to_accepting.name),
            type_to_connecting_len: text_len(&to_connecting.name),
            reserved: 0.into(),
        };
        packet.extend_from_slice(body.as_bytes());
        packet.extend_from_slice(self.sentence.as_str().as_bytes());
        write_names(&self.ours, packet);
    }
}

pub(super) fn read_channel(what: &'static str, rest: &[u8]) -> Result<u32, Malformed> {
    let (body, tails) = body::<layout::Channel>(what, rest)?;
    reserved(what, body.reserved.get())?;
    tails.end()?;
    Ok(body.channel.get())
}

pub(super) fn write_channel(channel: u32, packet: &mut Vec<u8>) {
    let body = layout::Channel { channel: channel.into(), reserved: 0.into() };
    packet.extend_from_slice(body.as_bytes());
}

pub(super) fn read_nothing(rest: &[u8]) -> Result<(), Malformed> {
    Tails(rest).end()
}

fn write_names(signature: &Signature<'_>, packet: &mut Vec<u8>) {
    packet.extend_from_slice(signature.protocol.as_str().as_bytes());
    packet.extend_from_slice(signature.to_accepting.name.as_str().as_bytes());
    packet.extend_from_slice(signature.to_connecting.name.as_str().as_bytes());
}

fn capacity(field: &'static str, bytes: u64) -> Result<(), Malformed> {
    if bytes.is_power_of_two() && (MIN_CAPACITY..=MAX_CAPACITY).contains(&bytes) {
        return Ok(());
    }
    Err(value(field, bytes, "a capacity is a power of two from 4 KiB to 1 GiB"))
}

fn seals(field: &'static str, mask: u32) -> Result<SealBits, Malformed> {
    SealBits::new(mask).ok_or_else(|| value(field, mask, "a segment ends with seals 0x17 or 0x37"))
}
