use std::sync::Arc;

// Row 73: named by hand it has a fingerprint, but there is still no way to check it.
#[memring_macros::message(crate = memring_codec)]
struct Message {
    #[memring(foreign = "shared text")]
    text: Arc<str>,
}

fn main() {}
