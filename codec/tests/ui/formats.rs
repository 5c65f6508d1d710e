
#[memring_macros::message(crate = memring_codec, format = xml)]
struct Unknown;

#[memring_macros::message(crate = memring_codec, format = json)]
#[derive(serde::Serialize, serde::Deserialize)]
struct Archived {
    #[rkyv(with = memring_codec::rkyv::with::AsBox)]
    field: u8,
}

#[memring_macros::message(crate = memring_codec, format = cbor)]
#[derive(serde::Serialize, serde::Deserialize)]
enum Conditional {
    #[cfg_attr(all(), serde(rename = "b"))]
    A,
}

#[memring_macros::message(crate = memring_codec, format = postcard)]
#[derive(serde::Serialize, serde::Deserialize)]
struct Borrowed {
    text: &'static str,
}

fn main() {}
