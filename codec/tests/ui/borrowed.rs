#[memring_macros::message(crate = memring_codec)]
struct Field {
    fine: u8,
    text: &'static str,
    deep: Option<Vec<&'static [u8]>>,
    pointer: *const u8,
}

#[memring_macros::message(crate = memring_codec)]
struct Lifetime<'a, T> {
    text: std::borrow::Cow<'a, T>,
}

fn main() {}
