//! What an argument is.

#[other::interface(crate = other, name = "n", version = "1")]
trait Arguments {
    fn changes(a: &mut Vec<u8>);
    fn lives(a: &'static str);
    fn nested(a: Option<&str>);
    fn twice(a: &&str);
    fn pointer(a: *const u8);
    fn inside(a: std::borrow::Cow<'_, str>);
    fn any(a: impl Clone);
    fn object(a: Box<dyn Clone>, b: fn());
    fn guessed(a: Vec<_>);
    fn itself(a: Self, b: Vec<Self::Item>);
    fn nameless(_: u8);
    fn pattern((a, b): (u8, u8));
    fn mutable(mut a: u8);
    fn attribute(#[cfg(all())] a: u8);
    fn all(mut a: u8, b: &mut u8, c: Option<&u8>);
}

fn main() {}
