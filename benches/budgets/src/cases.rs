//! What is counted: each case sets a pair up in this process, warms it, and has its operation counted.
//!
//! Warming passes the lane several times, so that pages are there, buffers have grown, and what is done once
//! is done. One thread plays both sides, which therefore never wait. Every message is looked at.

use std::error::Error;
use std::hint::black_box;
use std::marker::PhantomData;
use std::mem::size_of;
use std::thread;
use std::time::Duration;

use memring::blob::{Blob, BlobBuilder};
use memring::{Message, Protocol, Receiver, Sender, message};
use memring_codec::{Encoder, Format, Scratch};
use memring_ring::consumer::Consumer;
use memring_ring::fence::{self, Fences};
use memring_ring::memory::Mapping;
use memring_ring::producer::Producer;
use memring_ring::{Life, Terms, channel, fork};

/// Operations that are counted together. They fit a lane of the default size.
pub const OPERATIONS: u64 = 1000;

/// How often as many are passed before: 16 bytes of header and as many of payload a message make two laps.
const ROUNDS: u32 = 16;

type Outcome = Result<(), Box<dyn Error>>;

/// Something that is counted, and its name in the table.
pub struct Case {
    pub name: &'static str,
    pub run: fn() -> Outcome,
}

/// All cases, in the order of the table.
pub const ALL: &[Case] = &[
    Case { name: "send-8", run: || send(&Tick::SAMPLE) },
    Case { name: "recv-8", run: || recv(&Tick::SAMPLE) },
    Case { name: "exchange-8", run: || exchange(&Tick::SAMPLE) },
    Case { name: "send-64", run: || send(&Trade::SAMPLE) },
    Case { name: "recv-64", run: || recv(&Trade::SAMPLE) },
    Case { name: "exchange-64", run: || exchange(&Trade::SAMPLE) },
    Case { name: "send-text", run: || send(&Report::sample()) },
    Case { name: "recv-text", run: || recv(&Report::sample()) },
    Case { name: "exchange-text", run: || exchange(&Report::sample()) },
    Case { name: "send-bytes-64", run: || send::<[u8]>(&[7; 64]) },
    Case { name: "recv-bytes-64", run: || recv::<[u8]>(&[7; 64]) },
    Case { name: "exchange-bytes-64", run: || exchange::<[u8]>(&[7; 64]) },
    Case { name: "send-blob", run: || send(&Named::sample()) },
    Case { name: "recv-blob", run: || recv(&Named::sample()) },
    Case { name: "push-8", run: || push(&Tick::SAMPLE) },
    Case { name: "recv-pushed-8", run: || recv_pushed(&Tick::SAMPLE) },
    Case { name: "validate-64", run: || validate(&Trade::SAMPLE) },
    Case { name: "validate-text", run: || validate(&Report::sample()) },
    Case { name: "ring-send-64", run: ring_send },
    Case { name: "ring-recv-64", run: ring_recv },
];

/// A message of 8 bytes.
#[message]
struct Tick {
    number: u64,
}

impl Tick {
    const SAMPLE: Self = Self { number: 7 };
}

/// A message of 64 bytes, all of them numbers: any bytes are valid.
#[message]
struct Trade {
    id: u64,
    price: f64,
    quantity: u32,
    venue: u32,
    times: [u64; 5],
}

impl Trade {
    const SAMPLE: Self =
        Self { id: 7, price: 12.5, quantity: 100, venue: 3, times: [1, 2, 3, 4, 5] };
}

const _: () = assert!(size_of::<Trade>() == 64);

/// A message with pointers: checking it means following them.
#[message]
struct Report {
    symbol: String,
    levels: Vec<u64>,
}

impl Report {
    fn sample() -> Self {
        Self { symbol: "a name beyond eight bytes".to_owned(), levels: (0..8).collect() }
    }
}

/// A message that names a blob, which the receiver has known since the pair was warmed.
#[message(attachments)]
struct Named {
    number: u64,
    blob: Blob<[u8]>,
}

impl Named {
    fn sample() -> Self {
        let blob = BlobBuilder::new().with_size(1 << 20).expect("memory for a blob");
        Self { number: 7, blob: blob.seal().expect("a seal") }
    }
}

/// Does it so many times, and counts, once memring's own threads have come to rest: what they end meanwhile is blamed on it.
#[inline(always)]
fn count<S>(subject: &mut S, operation: impl FnMut(&mut S)) {
    thread::sleep(REST);
    memring_counted(subject, operation);
}

/// More than it takes a thread, under valgrind and on a busy machine, to look at what it was woken for and sleep again.
const REST: Duration = Duration::from_millis(200);

/// callgrind counts while this runs, which it knows by the name.
#[inline(never)]
fn memring_counted<S>(subject: &mut S, mut operation: impl FnMut(&mut S)) {
    repeat(subject, &mut operation);
}

#[inline(always)]
fn repeat<S>(subject: &mut S, operation: &mut impl FnMut(&mut S)) {
    for _ in 0..OPERATIONS {
        operation(subject);
    }
}

/// Messages of one type to the client.
struct Carries<T: ?Sized>(PhantomData<T>);

impl<T: Message + ?Sized> Protocol for Carries<T> {
    const NAME: &'static str = "budgets";
    type ToClient = T;
    type ToServer = [u8];
}

/// Both ends of the direction that is counted, and the other direction, which stays open.
struct Pair<T: Message + ?Sized> {
    sender: Sender<T>,
    receiver: Receiver<T>,
    _other: (Sender<[u8]>, Receiver<[u8]>),
}

impl<T: Message + ?Sized> Pair<T> {
    /// A pair whose lane was passed several times, by frames or by batches, and is empty.
    fn warm(message: &T, fill: fn(&mut Self, &T)) -> Result<Self, Box<dyn Error>> {
        let (server, client) = memring::pair::<Carries<T>>()?;
        let ((sender, to_server), (from_client, receiver)) = (server.split(), client.split());
        let mut pair = Self { sender, receiver, _other: (from_client, to_server) };
        for _ in 0..ROUNDS {
            fill(&mut pair, message);
            repeat(&mut pair, &mut Self::recv);
            repeat(&mut pair, &mut |pair| pair.exchange(message));
        }
        Ok(pair)
    }

    #[inline(always)]
    fn send(&mut self, message: &T) {
        self.sender.try_send(black_box(message)).expect("the lane has room");
    }

    #[inline(always)]
    fn recv(&mut self) {
        let message = self.receiver.try_recv().expect("it was sent");
        black_box(&*message);
    }

    #[inline(always)]
    fn exchange(&mut self, message: &T) {
        self.sender.send(black_box(message)).expect("the lane has room");
        let message = self.receiver.recv().expect("it was sent");
        black_box(&*message);
    }

    fn fill(&mut self, message: &T) {
        repeat(self, &mut |pair| pair.send(message));
    }

    fn fill_by_batch(&mut self, message: &T) {
        let mut batch = self.sender.batch();
        repeat(&mut batch, &mut |batch| batch.push(message).expect("the lane has room"));
    }
}

fn send<T: Message + ?Sized>(message: &T) -> Outcome {
    let mut pair = Pair::warm(message, Pair::fill)?;
    count(&mut pair, |pair| pair.send(message));
    Ok(())
}

fn recv<T: Message + ?Sized>(message: &T) -> Outcome {
    let mut pair = Pair::warm(message, Pair::fill)?;
    pair.fill(message);
    count(&mut pair, Pair::recv);
    Ok(())
}

fn exchange<T: Message + ?Sized>(message: &T) -> Outcome {
    let mut pair = Pair::warm(message, Pair::fill)?;
    count(&mut pair, |pair| pair.exchange(message));
    Ok(())
}

/// Pushes to one batch; beginning and publishing it are not counted.
fn push<T: Message>(message: &T) -> Outcome {
    let mut pair = Pair::warm(message, Pair::fill_by_batch)?;
    let mut batch = pair.sender.batch();
    count(&mut batch, |batch| {
        batch.push(black_box(message)).expect("the lane has room");
    });
    Ok(())
}

fn recv_pushed<T: Message>(message: &T) -> Outcome {
    let mut pair = Pair::warm(message, Pair::fill_by_batch)?;
    pair.fill_by_batch(message);
    count(&mut pair, Pair::recv);
    Ok(())
}

/// Checks one archive again and again, as a receiver does after the copy.
fn validate<T: Message>(message: &T) -> Outcome {
    let mut archive = Scratch::new(1 << 16);
    T::Format::encode(message, &mut Encoder::new(&mut archive))?;
    T::Format::decode(&archive)?;
    count(&mut archive, |archive| {
        T::Format::decode(black_box(archive)).expect("it was just encoded");
    });
    Ok(())
}

/// A lane of the ring alone, warm and empty: no session, no format.
struct Lane {
    producer: Producer,
    consumer: Consumer,
}

impl Lane {
    const CAPACITY: u64 = 256 << 10;
    /// Bytes of a control area, on machines with pages of up to 64 KiB.
    const CONTROL: u32 = 64 << 10;

    fn warm() -> Result<Self, Box<dyn Error>> {
        let segment = || Mapping::anonymous_pair(Self::CONTROL, Self::CAPACITY);
        let ((ours, ours_read), (theirs, theirs_read)) = (segment()?, segment()?);
        let side = |mine, theirs| {
            let life =
                Life::new(Fences::negotiate(fence::ours(), fence::ours()), fork::generation());
            channel(mine, theirs, &life, &Terms::new(1 << 20))
        };
        let ((producer, _), (_, consumer)) = (side(&ours, &theirs_read), side(&theirs, &ours_read));
        let mut lane = Self { producer, consumer };
        for _ in 0..ROUNDS {
            lane.fill();
            repeat(&mut lane, &mut Self::recv);
        }
        Ok(lane)
    }

    #[inline(always)]
    fn send(&mut self) {
        self.producer.try_send(black_box(&[7; 64]), 0).expect("the lane has room");
    }

    #[inline(always)]
    fn recv(&mut self) {
        let item = self.consumer.try_recv().expect("it was sent");
        black_box(self.consumer.bytes(&item));
    }

    fn fill(&mut self) {
        repeat(self, &mut Self::send);
    }
}

fn ring_send() -> Outcome {
    let mut lane = Lane::warm()?;
    count(&mut lane, Lane::send);
    Ok(())
}

fn ring_recv() -> Outcome {
    let mut lane = Lane::warm()?;
    lane.fill();
    count(&mut lane, Lane::recv);
    Ok(())
}
