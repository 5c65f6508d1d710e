//! The messages that open a session: Hello, Welcome, Reject.
//!
//! Reading checks every rule that holds whatever was said before: ranges, reserved bytes, text.
//! What it does not do: rules about order, or about what the other side had offered; the handshake
//! knows those.

use zerocopy::IntoBytes;

use super::field::{body, metadata_len, reserved, text_len, value};
use super::{
    ArchiveFormat, Endian, Features, FenceBits, Malformed, Metadata, Name, PointerWidth,
    RejectCode, Sentence, Takes, Versions, layout,
};

/// The smallest page in bytes.
pub const MIN_PAGE: u32 = 4096;
/// The largest page in bytes.
pub const MAX_PAGE: u32 = 1 << 16;

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
    /// What it takes beside the bytes of messages.
    pub takes: Takes,
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
    /// What it takes beside the bytes of messages.
    pub takes: Takes,
}

/// How the accepting side turns a session down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject<'a> {
    /// Why, for programs.
    pub code: RejectCode,
    /// Why, for people.
    pub sentence: Sentence<'a>,
}

impl<'a> Hello<'a> {
    pub(super) fn read(rest: &'a [u8]) -> Result<Self, Malformed> {
        let (body, mut tails) = body::<layout::Hello>("body of Hello", rest)?;
        let hello = Self {
            versions: Versions { min: body.min_version.get(), max: body.max_version.get() },
            offered: Features(body.features_offered.get()),
            required: Features(body.features_required.get()),
            fence: fence(body.fence)?,
            archive: archive(&body.archive)?,
            page_size: body.page_size.get(),
            largest_message: body.largest_message.get(),
            name: tails.text("application name", body.name_len.get())?,
            metadata: tails.metadata("metadata", body.metadata_len.get())?,
            takes: takes(&body.takes)?,
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
            return Err(value("newest version", max, "the newest is not below the oldest"));
        }
        if !self.required.without(self.offered).is_empty() {
            let rule = "a required feature is also offered";
            return Err(value("required features", self.required.0, rule));
        }
        page_size(self.page_size)?;
        largest_message(self.largest_message)?;
        self.takes.check()
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
            takes: takes_to_wire(self.takes),
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
            takes: takes(&body.takes)?,
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
            takes: takes_to_wire(self.takes),
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

fn page_size(bytes: u32) -> Result<(), Malformed> {
    if bytes.is_power_of_two() && (MIN_PAGE..=MAX_PAGE).contains(&bytes) {
        return Ok(());
    }
    Err(value("page size", bytes, "pages are a power of two from 4 KiB to 64 KiB"))
}

fn largest_message(bytes: u64) -> Result<(), Malformed> {
    if bytes == 0 {
        return Err(value("largest message", bytes, "at least one byte must fit"));
    }
    Ok(())
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
            return Err(value("archive alignment", other, "0 is unaligned, 1 is aligned"));
        }
    };
    let pointer_width = match wire.pointer_width {
        16 => PointerWidth::W16,
        32 => PointerWidth::W32,
        64 => PointerWidth::W64,
        other => return Err(value("archive pointer width", other, "it is 16, 32 or 64")),
    };
    Ok(ArchiveFormat { endian, aligned, pointer_width })
}

fn takes(wire: &layout::Takes) -> Result<Takes, Malformed> {
    reserved("what a side takes", wire.reserved.get())?;
    let takes =
        Takes { fds: wire.fds.get(), blobs: wire.blobs.get(), blob_bytes: wire.blob_bytes.get() };
    takes.check()?;
    Ok(takes)
}

fn takes_to_wire(takes: Takes) -> layout::Takes {
    layout::Takes {
        fds: takes.fds.into(),
        blobs: takes.blobs.into(),
        reserved: 0.into(),
        blob_bytes: takes.blob_bytes.into(),
    }
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
