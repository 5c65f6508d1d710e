// Three bytes of it would be whatever lay there.

#[memring_macros::message(crate = memring_codec, format = plain)]
#[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
#[repr(C)]
struct Padded {
    small: u8,
    large: u32,
}

fn main() {}
