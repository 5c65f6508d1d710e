//! Every animal of the zoo survives the trip, and no changed byte is a panic.

mod zoo;

use memring_codec::{Encoder, Format, Message, Scratch};
use zoo::*;

#[test]
fn smoke() {
    let mut scratch = Scratch::new(1 << 20);
    let quote = Quote {
        id: 1,
        price: 2,
        size: 3,
        venue: 4,
        flags: 5,
    };
    <Quote as Message>::Format::encode(&quote, &mut Encoder::new(&mut scratch)).unwrap();
    assert_eq!(scratch.len(), 32);
    <<Quote as Message>::Format as Format<Quote>>::decode(&scratch).unwrap();
}
