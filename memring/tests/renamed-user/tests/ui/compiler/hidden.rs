//! A descriptor that does not show in the types is told of.

use other::Fd;

#[other::message(crate = other, attachments)]
struct Hides {
    log: Fd,
}

#[other::interface(crate = other, name = "n", version = "1")]
trait Takes {
    fn fine(a: u8);
    fn takes(a: u8, hides: Hides);
}

#[other::interface(crate = other, name = "n", version = "1")]
trait Gives {
    fn gives() -> Hides;
}

fn main() {}
