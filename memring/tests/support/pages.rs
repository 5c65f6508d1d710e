//! Blobs one way, bytes the other: each new blob takes a packet of the control socket.

use memring::blob::{Blob, BlobBuilder};
use memring::{Protocol, message};

pub struct Pages;

#[message(attachments)]
pub struct Page {
    page: Blob<[u8]>,
}

impl Protocol for Pages {
    const NAME: &'static str = "pages";
    type ToClient = Page;
    type ToServer = [u8];
}

/// A page that nobody has seen.
pub fn page() -> Page {
    Page { page: BlobBuilder::new().with_size(1).expect("memory").seal().expect("sealed") }
}
