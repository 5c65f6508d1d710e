//! Only a message with attachments can hold a descriptor, and it is rkyv's.

use memring_codec::Fd;

#[memring_macros::message(crate = memring_codec)]
struct Plain {
    log: Fd,
}

fn main() {}
