#[memring_macros::message(name = "other")]
struct Argument;

#[memring_macros::message(crate = memring_codec)]
struct Misspelt {
    #[memring(foregin = "text")]
    field: u8,
}

#[memring_macros::message(crate = memring_codec)]
struct Nameless {
    #[memring(foreign = "")]
    field: u8,
}

#[memring_macros::message(crate = memring_codec)]
#[rkyv(as = u8)]
struct Hidden {
    field: u8,
}

#[memring_macros::message(crate = memring_codec)]
#[rkyv(attr(repr(align(16))))]
struct Layout {
    field: u8,
}

#[memring_macros::message(crate = memring_codec)]
#[rkyv(crate = rkyv)]
struct Elsewhere {
    field: u8,
}

#[memring_macros::message(crate = memring_codec)]
struct Conditional {
    #[cfg_attr(all(), rkyv(with = memring_codec::rkyv::with::AsBox))]
    field: u8,
}

fn main() {}
