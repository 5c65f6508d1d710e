//! What carries descriptors is an archive.

#[memring_macros::message(crate = memring_codec, attachments, format = json)]
struct Twice {
    number: u32,
}

fn main() {}
