//! The fixed parts of control messages, byte for byte.
//!
//! All numbers are little-endian and every type is readable at any address, so a body is a view of
//! the packet and nothing is copied. The tables of `docs/PROTOCOL.md` are these structs.
//!
//! What it does not do: judge a value.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    pub magic: [u8; 4],
    pub kind: U16,
    pub flags: U16,
    pub length: U32,
    pub reserved: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Archive {
    pub endian: u8,
    pub aligned: u8,
    pub pointer_width: u8,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Hello {
    pub min_version: U16,
    pub max_version: U16,
    pub fence: u8,
    pub archive: Archive,
    pub features_offered: U64,
    pub features_required: U64,
    pub largest_message: U64,
    pub page_size: U32,
    pub name_len: U16,
    pub metadata_len: U16,
    pub takes: Takes,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Takes {
    pub fds: U16,
    pub blobs: U16,
    pub reserved: U32,
    pub blob_bytes: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Welcome {
    pub version: U16,
    pub reserved: U16,
    pub fence: u8,
    pub archive: Archive,
    pub features: U64,
    pub largest_message: U64,
    pub page_size: U32,
    pub name_len: U16,
    pub metadata_len: U16,
    pub takes: Takes,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Reject {
    pub code: U16,
    pub sentence_len: U16,
    pub reserved: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Open {
    pub channel: U32,
    pub reserved: U32,
    pub fingerprint_to_accepting: [u8; 16],
    pub fingerprint_to_connecting: [u8; 16],
    pub capacity_to_accepting: U64,
    pub capacity_to_connecting: U64,
    pub protocol_len: U16,
    pub type_to_accepting_len: U16,
    pub type_to_connecting_len: U16,
    pub metadata_len: U16,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Granted {
    pub channel: U32,
    pub control_bytes: U32,
    pub capacity_s: U64,
    pub capacity_c: U64,
    pub seals_s: U32,
    pub seals_c: U32,
}

/// The body of Sealed and of Ready.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Channel {
    pub channel: U32,
    pub reserved: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Refused {
    pub channel: U32,
    pub code: U16,
    pub sentence_len: U16,
    pub fingerprint_to_accepting: [u8; 16],
    pub fingerprint_to_connecting: [u8; 16],
    pub protocol_len: U16,
    pub type_to_accepting_len: U16,
    pub type_to_connecting_len: U16,
    pub reserved: U16,
}

/// Before the list of Attachments, which has as many [`Attached`](super::Attached) as it counts.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Attachments {
    pub channel: U32,
    pub count: U32,
    pub position: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Forget {
    pub channel: U32,
    pub reserved: U32,
    pub blob: U64,
    pub mentions: U64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Ask {
    pub number: U32,
    pub name_len: U16,
    pub metadata_len: U16,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Answer {
    pub number: U32,
    pub code: U16,
    pub sentence_len: U16,
}

// The sizes PROTOCOL.md states.
const _: () = assert!(size_of::<Header>() == 16);
const _: () = assert!(size_of::<Hello>() == 56);
const _: () = assert!(size_of::<Welcome>() == 48);
const _: () = assert!(size_of::<Reject>() == 8);
const _: () = assert!(size_of::<Open>() == 64);
const _: () = assert!(size_of::<Granted>() == 32);
const _: () = assert!(size_of::<Channel>() == 8);
const _: () = assert!(size_of::<Refused>() == 48);
const _: () = assert!(size_of::<Attachments>() == 16);
const _: () = assert!(size_of::<super::Attached>() == 16);
const _: () = assert!(size_of::<Forget>() == 24);
const _: () = assert!(size_of::<Ask>() == 8);
const _: () = assert!(size_of::<Answer>() == 8);
