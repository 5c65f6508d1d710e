//! What comes back.

#[other::interface(crate = other, name = "n", version = "1")]
trait Results {
    fn reference() -> &'static str;
    fn nested() -> Option<&'static [u8]>;
    fn in_error() -> Result<u8, &'static str>;
    fn in_stream() -> Stream<&'static str>;
    fn aliased() -> std::io::Result<u8>;
    fn two() -> Stream<u8, u16>;
    fn itself() -> Self;
    fn any() -> impl Clone;
    #[oneway]
    fn told() -> u8;
    #[oneway]
    fn told_many() -> Stream<u8>;
    #[signal]
    fn happened() -> u8;
    #[signal]
    fn brought(a: other::Fd);
    #[signal]
    #[attachments]
    fn hid(a: u8);
}

fn main() {}
