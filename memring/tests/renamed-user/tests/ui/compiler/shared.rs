//! What is shared within a process stays there.

use std::rc::Rc;

#[other::interface(crate = other, name = "n", version = "1")]
trait Takes {
    fn fine(a: u8);
    fn takes(a: u8, shared: Rc<u8>);
}

fn main() {}
