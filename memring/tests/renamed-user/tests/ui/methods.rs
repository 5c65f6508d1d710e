//! What a method is.

#[other::interface(crate = other, name = "n", version = "1")]
trait Methods {
    fn by_reference(&self);
    fn by_value(self, a: u8);
    async fn later();
    const fn constant();
    unsafe fn dangerous();
    extern "C" fn foreign();
    fn generic<T>(a: T);
    fn lives<'a>(a: &'a str);
    fn bounded()
    where
        u8: Clone;
    fn does() {
        let _ = 1;
    }
}

fn main() {}
