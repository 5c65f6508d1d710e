use memring_codec::rkyv;

// rkyv knows it, memring does not.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(crate = memring_codec::rkyv)]
struct Stranger {
    field: u8,
}

#[memring_macros::message(crate = memring_codec)]
struct Message {
    fine: u8,
    stranger: Stranger,
}

fn main() {}
