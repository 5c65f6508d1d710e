//! Names that are taken.

#[other::interface(crate = other, name = "n", version = "1")]
trait Taken {
    fn with();
    fn r#link();
    fn connect();
    fn options();
    fn a012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678();
    #[signal]
    fn new();
    #[signal]
    fn flush();
    fn one(call: u8);
    fn other(r#call: u8);
    fn stream(replies: u8) -> Stream<u8>;
}

#[other::interface(crate = other, name = "n", version = "1")]
trait Twice {
    fn one();
    fn two();
    fn one(a: u8);
    #[signal]
    fn r#two();
    #[signal]
    fn welcome();
    #[signal]
    fn welcome_to();
}

fn main() {}
