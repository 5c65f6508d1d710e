//! Each control message's fields, and its way to bytes and back.
//!
//! Reading checks every rule that holds whatever was said before: ranges, reserved bytes, text.
//! What it does not do: rules about order, or about what the other side had offered; the handshake
//! knows those.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::text::{MAX_METADATA, MAX_SENTENCE, MAX_TYPE_NAME};
use super::{
    ArchiveFormat, Endian, Features, FenceBits, Fingerprint, MAX_PACKET, Malformed, Metadata, Name,
    PointerWidth, RefuseCode, RejectCode, SealBits, Sentence, Signature, Text, TextError, TypeId,
    Versions, layout,
};

/// The smallest page in bytes.
pub const MIN_PAGE: u32 = 4096;
/// The largest page in bytes.
pub const MAX_PAGE: u32 = 1 << 16;
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

/// What the connecting side says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello<'a> {
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
    /// The application's name.
    pub name: Name<'a>,
    /// The application's own bytes.
    pub metadata: Metadata<'a>,
}

/// How the accepting side takes a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome<'a> {
    /// The version both will speak.
    pub version: u16,
    /// The features both will use.
    pub features: Features,
    /// The accepting side's part in the fence pair.
    pub fence: FenceBits,
    /// The archive format it was built with.
    pub archive: ArchiveFormat,
    /// Its page size in bytes.
    pub page_size: u32,
    /// The largest message in bytes either way: the smaller of both sides'.
    pub largest_message: u64,
    /// The application's name.
    pub name: Name<'a>,
    /// The application's own bytes.
    pub metadata: Metadata<'a>,
}

/// How the accepting side turns a session down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject<'a> {
    /// Why, for programs.
    pub code: RejectCode,
    /// Why, for people.
    pub sentence: Sentence<'a>,
}

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

impl<'a> Hello<'a> {
    pub(super) fn read(rest: &'a [u8]) -> Result<Self, Malformed> {
        let (body, mut tails) = body::<layout::Hello>("body of Hello", rest)?;
        let hello = Self {
            versions: Versions {
                min: body.min_version.get(),
                max: body.max_version.get(),
            },
            offered: Features(body.features_offered.get()),
            required: Features(body.features_required.get()),
            fence: fence(body.fence)?,
            archive: archive(&body.archive)?,
            page_size: body.page_size.get(),
            largest_message: body.largest_message.get(),
            name: tails.text("application name", body.name_len.get())?,
            metadata: tails.metadata("metadata", body.metadata_len.get())?,
        };
        tails.end()?;
        hello.check()?;
        Ok(hello)
    }

    /// Checks the numbers, which have no types of their own.
    pub(crate) fn check(&self) -> Result<(), Malformed> {
        let Versions { min, max } = self.versions;
        if min == 0 {
            return Err(value("oldest version", min, "versions begin at 1"));
        }
        if max < min {
            return Err(value(
                "newest version",
                max,
                "the newest is not below the oldest",
            ));
        }
        if !self.required.without(self.offered).is_empty() {
            let rule = "a required feature is also offered";
            return Err(value("required features", self.required.0, rule));
        }
        page_size(self.page_size)?;
        largest_message(self.largest_message)
    }

    pub(super) fn write(&self, packet: &mut Vec<u8>) {
        let body = layout::Hello {
            min_version: self.versions.min.into(),
            max_version: self.versions.max.into(),
            fence: self.fence.to_wire(),
            archive: archive_to_wire(self.archive),
            features_offered: self.offered.0.into(),
            features_required: self.required.0.into(),
            largest_message: self.largest_message.into(),
            page_size: self.page_size.into(),
            name_len: text_len(&self.name),
            metadata_len: metadata_len(&self.metadata),
        };
        packet.extend_from_slice(body.as_bytes());
        packet.extend_from_slice(self.name.as_str().as_bytes());
        packet.extend_from_slice(self.metadata.as_bytes());
    }
}

impl<'a> Welcome<'a> {
    pub(super) fn read(rest: &'a [u8]) -> Result<Self, Malformed> {
        let (body, mut tails) = body::<layout::Welcome>("body of Welcome", rest)?;
        reserved("body of Welcome", body.reserved.get().into())?;
        let welcome = Self {
            version: body.version.get(),
            features: Features(body.features.get()),
            fence: fence(body.fence)?,
            archive: archive(&body.archive)?,
            page_size: body.page_size.get(),
            largest_message: body.largest_message.get(),
            name: tails.text("application name", body.name_len.get())?,
            metadata: tails.metadata("metadata", body.metadata_len.get())?,
        };
        tails.end()?;
        if welcome.version == 0 {
            return Err(value("version", 0_u16, "versions begin at 1"));
        }
        page_size(welcome.page_size)?;
        largest_message(welcome.largest_message)?;
        Ok(welcome)
    }

    pub(super) fn write(&self, packet: &mut Vec<u8>) {
        let body = layout::Welcome {
            version: self.version.into(),
            reserved: 0.into(),
            fence: self.fence.to_wire(),
            archive: archive_to_wire(self.archive),
            features: self.features.0.into(),
            largest_message: self.largest_message.into(),
            page_size: self.page_size.into(),
            name_len: text_len(&self.name),
            metadata_len: metadata_len(&self.metadata),
        };
        packet.extend_from_slice(body.as_bytes());
        packet.extend_from_slice(self.name.as_str().as_bytes());
        packet.extend_from_slice(self.metadata.as_bytes());
    }
}

impl<'a> Reject<'a> {
    pub(super) fn read(rest: &'a [u8]) -> Result<Self, Malformed> {
        let (body, mut tails) = body::<layout::Reject>("body of Reject", rest)?;
        reserved("body of Reject", body.reserved.get())?;
        let code = RejectCode::from_wire(body.code.get())
            .ok_or_else(|| value("reject code", body.code.get(), "codes begin at 1"))?;
        let sentence = tails.text("sentence", body.sentence_len.get())?;
        tails.end()?;
        Ok(Self { code, sentence })
    }

    pub(super) fn write(&self, packet: &mut Vec<u8>) {
        let body = layout::Reject {
            code: self.code.to_wire().into(),
            sentence_len: text_len(&self.sentence),
            reserved: 0.into(),
        };
        packet.extend_from_slice(body.as_bytes());
        packet.extend_from_slice(self.sentence.as_str().as_bytes());
    }
}

impl<'a> Open<'a> {
    pub(super) fn read(rest: &'a [u8]) -> Result<Self, Malformed> {
        let (body, mut tails) = body::<layout::Open>("body of Open", rest)?;
        reserved("body of Open", body.reserved.get())?;
        let open = Self {
            channel: body.channel.get(),
            signature: Signature {
                protocol: tails.text("protocol name", body.protocol_len.get())?,
                to_accepting: TypeId {
                    fingerprint: Fingerprint(body.fingerprint_to_accepting),
                    name: tails.text(
                        "name of the type to accepting",
                        body.type_to_accepting_len.get(),
                    )?,
                },
                to_connecting: TypeId {
                    fingerprint: Fingerprint(body.fingerprint_to_connecting),
                    name: tails.text(
                        "name of the type to connecting",
                        body.type_to_connecting_len.get(),
                    )?,
                },
            },
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
        let Signature {
            protocol,
            to_accepting,
            to_connecting,
        } = &self.signature;
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
            ours: Signature {
                protocol: tails.text("protocol name", body.protocol_len.get())?,
                to_accepting: TypeId {
                    fingerprint: Fingerprint(body.fingerprint_to_accepting),
                    name: tails.text(
                        "name of the type to accepting",
                        body.type_to_accepting_len.get(),
                    )?,
                },
                to_connecting: TypeId {
                    fingerprint: Fingerprint(body.fingerprint_to_connecting),
                    name: tails.text(
                        "name of the type to connecting",
                        body.type_to_connecting_len.get(),
                    )?,
                },
            },
        };
        tails.end()?;
        Ok(refused)
    }

    pub(super) fn write(&self, packet: &mut Vec<u8>) {
        let Signature {
            protocol,
            to_accepting,
            to_connecting,
        } = &self.ours;
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
    let body = layout::Channel {
        channel: channel.into(),
        reserved: 0.into(),
    };
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

/// What follows a fixed body: variable parts, taken in order.
struct Tails<'a>(&'a [u8]);

impl<'a> Tails<'a> {
    fn take(&mut self, field: &'static str, len: u16, limit: usize) -> Result<&'a [u8], Malformed> {
        let len = usize::from(len);
        if len > limit {
            return Err(Malformed::TooLong { field, len, limit });
        }
        let Some((taken, rest)) = self.0.split_at_checked(len) else {
            return Err(Malformed::TailTruncated {
                field,
                len,
                have: self.0.len(),
            });
        };
        self.0 = rest;
        Ok(taken)
    }

    fn text<const MAX: usize>(
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

    fn metadata(&mut self, field: &'static str, len: u16) -> Result<Metadata<'a>, Malformed> {
        let bytes = self.take(field, len, MAX_METADATA)?;
        Metadata::new(bytes).map_err(|_| Malformed::TooLong {
            field,
            len: bytes.len(),
            limit: MAX_METADATA,
        })
    }

    fn end(self) -> Result<(), Malformed> {
        match self.0.len() {
            0 => Ok(()),
            more => Err(Malformed::Trailing(more)),
        }
    }
}

fn body<'a, T>(what: &'static str, rest: &'a [u8]) -> Result<(&'a T, Tails<'a>), Malformed>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    match T::ref_from_prefix(rest) {
        Ok((body, tails)) => Ok((body, Tails(tails))),
        Err(_) => Err(Malformed::Truncated {
            what,
            have: rest.len(),
        }),
    }
}

fn value(field: &'static str, value: impl Into<u64>, rule: &'static str) -> Malformed {
    Malformed::Value {
        field,
        value: value.into(),
        rule,
    }
}

fn reserved(field: &'static str, bits: u32) -> Result<(), Malformed> {
    if bits == 0 {
        Ok(())
    } else {
        Err(Malformed::Reserved { field })
    }
}

fn page_size(bytes: u32) -> Result<(), Malformed> {
    if bytes.is_power_of_two() && (MIN_PAGE..=MAX_PAGE).contains(&bytes) {
        return Ok(());
    }
    Err(value(
        "page size",
        bytes,
        "pages are a power of two from 4 KiB to 64 KiB",
    ))
}

fn largest_message(bytes: u64) -> Result<(), Malformed> {
    if bytes == 0 {
        return Err(value(
            "largest message",
            bytes,
            "at least one byte must fit",
        ));
    }
    Ok(())
}

fn capacity(field: &'static str, bytes: u64) -> Result<(), Malformed> {
    if bytes.is_power_of_two() && (MIN_CAPACITY..=MAX_CAPACITY).contains(&bytes) {
        return Ok(());
    }
    Err(value(
        field,
        bytes,
        "a capacity is a power of two from 4 KiB to 1 GiB",
    ))
}

fn seals(field: &'static str, mask: u32) -> Result<SealBits, Malformed> {
    SealBits::new(mask).ok_or_else(|| value(field, mask, "a segment ends with seals 0x17 or 0x37"))
}

fn fence(bits: u8) -> Result<FenceBits, Malformed> {
    FenceBits::from_wire(bits).ok_or_else(|| value("fence bits", bits, "only bits 0 and 1 exist"))
}

fn archive(wire: &layout::Archive) -> Result<ArchiveFormat, Malformed> {
    let endian = match wire.endian {
        1 => Endian::Little,
        2 => Endian::Big,
        other => return Err(value("archive byte order", other, "1 is little, 2 is big")),
    };
    let aligned = match wire.aligned {
        0 => false,
        1 => true,
        other => {
            return Err(value(
                "archive alignment",
                other,
                "0 is unaligned, 1 is aligned",
            ));
        }
    };
    let pointer_width = match wire.pointer_width {
        16 => PointerWidth::W16,
        32 => PointerWidth::W32,
        64 => PointerWidth::W64,
        other => return Err(value("archive pointer width", other, "it is 16, 32 or 64")),
    };
    Ok(ArchiveFormat {
        endian,
        aligned,
        pointer_width,
    })
}

fn archive_to_wire(format: ArchiveFormat) -> layout::Archive {
    layout::Archive {
        endian: match format.endian {
            Endian::Little => 1,
            Endian::Big => 2,
        },
        aligned: format.aligned.into(),
        pointer_width: match format.pointer_width {
            PointerWidth::W16 => 16,
            PointerWidth::W32 => 32,
            PointerWidth::W64 => 64,
        },
    }
}

// The limits of the types keep these lengths far below 2^16.
fn text_len<const MAX: usize>(text: &Text<'_, MAX>) -> zerocopy::little_endian::U16 {
    const { assert!(MAX <= u16::MAX as usize) };
    (text.as_str().len() as u16).into()
}

fn metadata_len(metadata: &Metadata<'_>) -> zerocopy::little_endian::U16 {
    (metadata.as_bytes().len() as u16).into()
}
