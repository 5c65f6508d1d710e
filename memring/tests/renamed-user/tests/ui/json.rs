//! What cannot take JSON, and where that is said.

#[other::interface(crate = other, name = "a", version = "1", json)]
trait AllOfIt {
    fn fine(text: &str) -> u8;
    fn takes(file: Fd);
    fn gives(text: &str) -> Result<Vec<Blob<u8>>, u8>;
    #[attachments]
    fn hides(text: &str);
    #[signal]
    fn happened();
}

#[other::interface(crate = other, name = "a", version = "1")]
trait SomeOfIt {
    #[json]
    fn takes(file: &Fd);
    #[json]
    #[attachments]
    fn hides(text: &str);
    #[json]
    #[signal]
    fn happened();
    #[json(true)]
    fn argued();
}

#[other::interface(crate = other, name = "a", version = "1", json, json)]
trait Twice {}

#[other::interface(crate = other, name = "a", version = "1", json = true)]
trait Argued {}

fn main() {}
