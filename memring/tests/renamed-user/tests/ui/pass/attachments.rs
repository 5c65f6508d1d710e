//! Descriptors and blobs: by their names, and where they are hidden because it is said.
#![deny(warnings)]

use other::Fd;
use other::blob::Blob;

#[other::message(crate = other, attachments)]
pub struct Hides {
    pub log: Fd,
}

#[other::interface(crate = other, name = "n", version = "1")]
pub trait Carries {
    fn fd(text: &str, log: Fd) -> Option<Fd>;
    fn blob(table: Blob<[u8]>, bytes: &[u8], lent: &u8);
    #[attachments]
    fn hidden(hides: Hides) -> Hides;
    #[attachments]
    fn replies() -> Stream<Hides>;
    #[oneway]
    fn told(log: Fd);
}

fn main() {}
