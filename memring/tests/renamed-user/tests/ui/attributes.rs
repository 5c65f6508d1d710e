//! What is said of a method.

#[other::interface(crate = other, name = "n", version = "1")]
trait Attributes {
    #[oneway]
    #[signal]
    fn both();
    #[oneway]
    #[oneway]
    fn twice();
    #[onewya]
    fn misspelt();
    #[oneway(always)]
    fn more();
    #[cfg(all())]
    fn sometimes();
    #[must_use]
    fn strange() -> u8;
}

fn main() {}
