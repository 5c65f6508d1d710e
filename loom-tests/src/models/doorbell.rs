//! Doorbells: whoever waits in an event loop, for a message or for room, hears of it.

use loom::sync::{Condvar, Mutex};
use memring_ring::consumer::{Consumer, TryRecvError};
use memring_ring::lookout::{Lookout, Sight};
use memring_ring::producer::{Producer, TrySendError};
use memring_ring::{Host, Life};
use std::sync::{Arc, PoisonError};

use super::{LOST_WAKE, Model, NOT_SENT, SMALLEST, both, channel, mutant};

const TOO_OFTEN: &str = "a doorbell was rung more often than it was asked for";

pub const MODELS: &[Model] = &[
    Model {
        name: "doorbell-message",
        property: "Whoever looks, asks, looks again and waits hears of every message, once an epoch at most.",
        body: messages,
        mutants: &[
            mutant("arm-without-look", LOST_WAKE),
            mutant("no-heavy-fence", LOST_WAKE),
            mutant("no-light-fence", LOST_WAKE),
            mutant("one-epoch", LOST_WAKE),
            mutant("doorbell-unrung", LOST_WAKE),
            mutant("doorbell-each-time", TOO_OFTEN),
        ],
    },
    Model {
        name: "doorbell-room",
        property: "Whoever waits so for room hears of it, though its peer waits so for messages.",
        body: room,
        mutants: &[
            mutant("arm-without-look", LOST_WAKE),
            mutant("head-without-look", LOST_WAKE),
            mutant("no-heavy-fence", LOST_WAKE),
        ],
    },
    Model {
        name: "lookout",
        property: "A loop that looks at several from outside, and arms them with one fence, hears of every message.",
        body: from_outside,
        mutants: &[
            mutant("lookout-without-look", LOST_WAKE),
            mutant("no-heavy-fence", LOST_WAKE),
            mutant("no-light-fence", LOST_WAKE),
            mutant("doorbell-unrung", LOST_WAKE),
        ],
    },
];

/// The control socket of one direction, and the event loop at its end.
struct Socket {
    /// Doorbells that lie there unread.
    unread: Mutex<u32>,
    readable: Condvar,
}

impl Socket {
    fn new() -> Arc<Self> {
        Arc::new(Self { unread: Mutex::new(0), readable: Condvar::new() })
    }

    /// Doorbells for the owner of the other half come here.
    fn of(life: &Life) -> Arc<Self> {
        let socket = Self::new();
        socket.hears(life);
        socket
    }

    fn hears(self: &Arc<Self>, life: &Life) {
        let host: Arc<dyn Host> = self.clone();
        life.set_host(Arc::downgrade(&host));
    }

    fn lock(&self) -> loom::sync::MutexGuard<'_, u32> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads it to its end, which comes before asking.
    fn drain(&self) -> u32 {
        std::mem::take(&mut *self.lock())
    }

    /// What an event loop does.
    fn wait(&self) {
        let mut unread = self.lock();
        while *unread == 0 {
            unread = self.readable.wait(unread).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Host for Socket {
    fn attend(&self) {}
    fn heavy_fence_failed(&self) {}
    fn over(&self) {}

    fn ring_doorbell(self: Arc<Self>) -> bool {
        *self.lock() += 1;
        self.readable.notify_one();
        true
    }
}

/// Receives an empty message with this tag in an event loop; how many doorbells were read.
fn expect(consumer: &mut Consumer, life: &Life, socket: &Socket, tag: u64) -> u32 {
    let mut read = 0;
    loop {
        match consumer.try_recv() {
            Ok(item) => {
                assert!(item.tag == tag, "{NOT_SENT}: {} and not {tag}", item.tag);
                return read;
            }
            Err(TryRecvError::Empty) => {}
            Err(other) => panic!("{NOT_SENT}: {other}"),
        }
        read += socket.drain();
        consumer.ask_doorbell();
        life.fence();
        if consumer.has_something() {
            consumer.take_back_doorbell();
        } else {
            socket.wait();
        }
    }
}

/// Sends an empty message in an event loop.
fn send(producer: &mut Producer, life: &Life, socket: &Socket, tag: u64) {
    loop {
        match producer.try_send(&[], tag) {
            Ok(()) => return,
            Err(TrySendError::Full) => {}
            Err(other) => panic!("{NOT_SENT}: {other}"),
        }
        socket.drain();
        producer.ask_doorbell();
        life.fence();
        if producer.has_room() {
            producer.take_back_doorbell();
        } else {
            socket.wait();
        }
    }
}

fn messages() {
    let [mut near, mut far] = channel(SMALLEST);
    let socket = Socket::of(&near.life);
    let rung = socket.clone();
    let (_near, (far, read)) = both(
        move || {
            (1..=2).for_each(|tag| near.producer.try_send(&[], tag).expect("room"));
            near
        },
        move || {
            let read =
                (1..=2).map(|tag| expect(&mut far.consumer, &far.life, &socket, tag)).sum::<u32>();
            (far, read)
        },
    );
    let rang = read + rung.drain();
    assert!(u64::from(rang) <= far.life.doorbells(), "{TOO_OFTEN}");
}

fn room() {
    let [mut near, mut far] = channel(SMALLEST);
    (1..=3).for_each(|tag| near.producer.try_send(&[], tag).expect("room"));
    let to_far = Socket::of(&near.life);
    let to_near = Socket::of(&far.life);
    let ends = (to_far.clone(), to_near.clone());
    both(
        move || {
            send(&mut near.producer, &near.life, &to_near, 4);
            near
        },
        move || {
            for tag in 1..=4 {
                expect(&mut far.consumer, &far.life, &to_far, tag);
            }
            far
        },
    );
    drop(ends);
}

fn from_outside() {
    let [mut near, mut far] = channel(SMALLEST);
    let [mut also_near, mut also_far] = channel(SMALLEST);
    let socket = Socket::of(&near.life);
    socket.hears(&also_near.life);
    let kept = socket.clone();
    both(
        move || {
            near.producer.try_send(&[], 1).expect("room");
            also_near.producer.try_send(&[], 1).expect("room");
            (near, also_near)
        },
        move || {
            let lookouts = [far.consumer.lookout(), also_far.consumer.lookout()];
            let mut left = 2;
            while left > 0 {
                for (lookout, end) in lookouts.iter().zip([&mut far, &mut also_far]) {
                    if lookout.sight() == Sight::Something {
                        lookout.take_back_doorbell();
                        let item = end.consumer.try_recv().expect("what was seen");
                        assert!(item.tag == 1, "{NOT_SENT}: {}", item.tag);
                        left -= 1;
                    }
                }
                if left == 0 {
                    break;
                }
                socket.drain();
                lookouts.iter().for_each(Lookout::ask_doorbell);
                let mut called = false;
                lookouts.iter().for_each(|one| {
                    one.life().fence_once(&mut called);
                });
                if lookouts.iter().all(|one| one.sight() == Sight::Nothing) {
                    socket.wait();
                }
            }
            (far, also_far)
        },
    );
    drop(kept);
}
