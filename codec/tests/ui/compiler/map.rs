// Row 74: without the feature `maps`, only as a list of pairs.
#[memring_macros::message(crate = memring_codec)]
struct Message {
    map: std::collections::BTreeMap<u32, u32>,
}

fn main() {}
