// Neither serde's derives nor zerocopy's.

#[memring_macros::message(crate = memring_codec, format = json)]
struct Underived {
    field: u8,
}

#[memring_macros::message(crate = memring_codec, format = plain)]
struct Opaque {
    field: u8,
}

fn main() {}
