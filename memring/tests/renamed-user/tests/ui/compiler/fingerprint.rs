//! Every type has a fingerprint.

use other::rkyv;

// rkyv knows it, memring does not.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(crate = other::rkyv)]
struct Stranger {
    field: u8,
}

#[other::interface(crate = other, name = "n", version = "1")]
trait Takes {
    fn fine(a: u8);
    fn takes(a: u8, stranger: Stranger);
    fn gives() -> Stranger;
}

fn main() {}
