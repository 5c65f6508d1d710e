#[memring_macros::message(crate = memring_codec)]
union Either {
    one: u32,
    other: f32,
}

#[memring_macros::message(crate = memring_codec)]
fn function() {}

fn main() {}
