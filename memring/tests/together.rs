//! Messages that are sent and received together.

use std::panic::{AssertUnwindSafe, catch_unwind};

use memring::{Bytes, End, Protocol, RecvError};

/// Plain: its bytes are its archive's.
#[memring::message]
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
struct Tick {
    number: u64,
    size: u64,
}

/// Plain, and not a whole number of words.
#[memring::message]
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
struct Odd {
    number: u32,
    rest: [u8; 9],
}

/// Not plain.
#[memring::message]
#[derive(Clone, Debug, PartialEq)]
struct Line {
    text: String,
}

/// As long as its root if it is empty, which then asks for more alignment than a batch gives.
#[memring::message]
#[derive(Clone, Debug, PartialEq)]
struct Wide {
    wide: Vec<u128>,
}

/// Nothing at all.
#[memring::message]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ping;

/// Messages of one type, both ways.
struct Both<T>(std::marker::PhantomData<T>);

impl<T: memring::Message> Protocol for Both<T> {
    const NAME: &'static str = "both";
    type ToClient = T;
    type ToServer = T;
}

fn ticks(numbers: std::ops::Range<u64>) -> Vec<Tick> {
    numbers.map(|number| Tick { number, size: !number }).collect()
}

/// Sends all together, several times over, and receives them in turns of both ways.
fn come_and_go<T>(messages: &[T])
where
    T: ToValue + Clone + PartialEq + std::fmt::Debug,
{
    let (mut server, mut client) = memring::pair::<Both<T>>().expect("a pair");
    for _ in 0..5 {
        server.send_all(messages).expect("room");
    }
    let mut received = Vec::new();
    while received.len() < 5 * messages.len() {
        received.push(T::value(&client.recv().expect("what was sent")));
        if received.len() == 5 * messages.len() {
            break;
        }
        let before = received.len();
        let count =
            client.recv_each(|message| received.push(T::value(&message))).expect("what was sent");
        assert_eq!(received.len(), before + count);
    }
    for some in received.chunks(messages.len()) {
        assert_eq!(some, messages);
    }
    let (sender, _) = server.split();
    let (_, receiver) = client.split();
    let (sent, received) = (sender.stats(), receiver.stats());
    assert_eq!(sent.messages, 5 * messages.len() as u64);
    assert_eq!((sent.messages, sent.bytes), (received.messages, received.bytes));
}

/// A received message as a value.
trait ToValue: memring::Message + Sized {
    fn value(view: &memring::View<'_, Self>) -> Self;
}

macro_rules! to_value {
    ($($message:ty),*) => {$(
        impl ToValue for $message {
            fn value(view: &memring::View<'_, Self>) -> Self {
                view.to_value().expect("a value")
            }
        }
    )*};
}
to_value!(Tick, Odd, Line, Wide, Ping);

#[test]
fn whatever_is_sent_together_comes_in_order_however_it_is_received() {
    come_and_go(&ticks(0..1));
    come_and_go(&ticks(0..2));
    come_and_go(&ticks(0..100));
    let odd = |number| Odd { number, rest: [number as u8; 9] };
    come_and_go(&(0..50).map(odd).collect::<Vec<_>>());
    let line = |len| Line { text: "x".repeat(len) };
    come_and_go(&(0..60).map(line).collect::<Vec<_>>());
    come_and_go(&[Ping; 5]);
    come_and_go(&[const { Wide { wide: Vec::new() } }; 7]);
    let wide = |len: usize| Wide { wide: vec![len as u128; len % 3] };
    come_and_go(&(0..40).map(wide).collect::<Vec<_>>());
}

#[test]
fn more_than_a_frame_or_a_lane_holds_goes_in_several() {
    const COUNT: u64 = 100_000;
    let (mut server, mut client) = memring::pair::<Both<Tick>>().expect("a pair");
    let receiving = std::thread::spawn(move || {
        let mut due = 0;
        let mut most = 0;
        while due < COUNT {
            let count = client.recv_each(|tick| {
                assert_eq!((tick.number.to_native(), tick.size.to_native()), (due, !due));
                due += 1;
            });
            most = most.max(count.expect("what was sent"));
        }
        most
    });
    server.send_all(&ticks(0..COUNT)).expect("somebody receives");
    let most = receiving.join().expect("no panic");
    assert_eq!(most, ((256 << 10) / 4 - 16) / 16, "as many as a quarter of the lane holds");
}

#[test]
fn nothing_is_sent_of_nothing() {
    let (mut server, mut client) = memring::pair::<Both<Tick>>().expect("a pair");
    server.send_all(&[]).expect("nothing to do");
    server.send_all(&ticks(7..8)).expect("room");
    assert_eq!(client.recv().expect("what was sent").number, 7);
    assert!(client.try_recv().is_err());
}

#[test]
fn what_a_panic_left_behind_is_received_next() {
    let (mut server, mut client) = memring::pair::<Both<Tick>>().expect("a pair");
    server.send_all(&ticks(0..6)).expect("room");
    for first in [0, 3] {
        let mut seen = Vec::new();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            client.recv_each(|tick| {
                seen.push(tick.number.to_native());
                assert!(seen.len() < 3, "the third is too much");
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(seen, [first, first + 1, first + 2]);
    }
    assert!(client.try_recv().is_err(), "nothing is received twice");
}

#[test]
fn an_end_comes_after_what_was_sent_together() {
    let (mut server, mut client) = memring::pair::<Both<Tick>>().expect("a pair");
    server.send_all(&ticks(0..3)).expect("room");
    drop(server);
    assert_eq!(client.recv_each(|_| {}).expect("what was sent"), 3);
    assert!(matches!(client.recv_each(|_| {}), Err(RecvError::Ended(End::Closed))));
    // As with `send`: who has room finds out by sending.
    let _ = client.send_all(&ticks(0..3));
    assert!(client.send_all(&ticks(0..3)).is_err(), "nobody is there to read");
}

#[test]
fn a_batch_of_bytes_is_taken_together() {
    let (mut server, mut client) = memring::pair::<Bytes>().expect("a pair");
    let mut batch = server.batch();
    for len in [3, 3, 3, 0, 70, 3] {
        batch.push(&vec![len as u8; len]).expect("room");
    }
    drop(batch);
    server.send(b"alone").expect("room");
    let mut lens = Vec::new();
    assert_eq!(client.recv_each(|bytes| lens.push(bytes.len())).expect("a batch"), 3);
    assert_eq!(client.recv_each(|bytes| lens.push(bytes.len())).expect("a batch"), 3);
    assert_eq!(client.recv_each(|bytes| lens.push(bytes.len())).expect("a message"), 1);
    assert_eq!(lens, [3, 3, 3, 0, 70, 3, 5]);
}
