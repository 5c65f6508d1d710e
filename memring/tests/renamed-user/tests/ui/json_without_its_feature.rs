//! Whether there is JSON is memring's to say: this crate asks for it and has no feature for it.

#[other::interface(crate = other, name = "a", version = "1", json)]
trait AllOfIt {
    fn method(text: &str, many: &[u8]) -> Result<u8, u8>;
    fn other() -> Stream<u8>;
}

#[other::interface(crate = other, name = "b", version = "1")]
trait SomeOfIt {
    fn method();
    #[json]
    fn other(of: u8) -> u8;
}

fn main() {}
