//! What is said of an interface as a whole.

#[other::interface(crate = other, version = "1")]
trait Nameless {}

#[other::interface(crate = other, name = "n")]
trait Versionless {}

#[other::interface]
trait NothingSaid {}

#[other::interface(crate = other, name = "", version = "1")]
trait EmptyName {}

#[other::interface(crate = other, name = "n", version = "")]
trait EmptyVersion {}

#[other::interface(
    crate = other,
    name = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
    version = "1",
)]
trait LongName {}

#[other::interface(
    crate = other,
    name = "n",
    version = "01234567890123456789012345678901234567890123456789012345678901234",
)]
trait LongVersion {}

#[other::interface(crate = other, name = "a\nb", version = "1")]
trait TwoLines {}

#[other::interface(crate = other, name = "a\u{202e}b", version = "1")]
trait Backwards {}

#[other::interface(crate = other, name = "n", name = "m", version = "1")]
trait TwoNames {}

#[other::interface(crate = other, name = "n", vresion = "1")]
trait Misspelt {}

#[other::interface(crate = other, name = n, version = "1")]
trait NoText {}

#[other::interface(crate = other, name = "n", version = "1")]
trait Generic<T> {
    fn f(a: T);
}

#[other::interface(crate = other, name = "n", version = "1")]
trait Bounded
where
    Self: Sized,
{
}

#[other::interface(crate = other, name = "n", version = "1")]
trait Extends: Clone {}

#[other::interface(crate = other, name = "n", version = "1")]
unsafe trait Unsafe {}

#[other::interface(crate = other, name = "n", version = "1")]
#[allow(dead_code)]
trait Allows {}

#[other::interface(crate = other, name = "n", version = "1")]
trait More {
    type Item;
    const N: u8 = 1;
}

#[other::interface(crate = other, name = "n", version = "1")]
struct NoTrait;

fn main() {}
