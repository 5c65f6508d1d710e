//! Trips: the news that the control socket wants to be read finds exactly one reader.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use memring_ring::producer::Producer;
use memring_ring::{Host, Life};

use super::{LOST_WAKE, Model, SMALLEST, both, channel, expect_bytes, mutant};

const TWICE: &str = "two attended to one trip";
const LOST: &str = "a trip that a waiter was to see to was seen to by nobody";

pub const MODELS: &[Model] = &[
    Model {
        name: "trip-wakes",
        property: "A trip that finds a waiter makes it attend, asleep or about to be.",
        body: trip_wakes,
        mutants: &[
            mutant("end-without-trip", LOST_WAKE),
            mutant("private-word-late", LOST_WAKE),
            mutant("wait-without-attending", LOST_WAKE),
        ],
    },
    Model {
        name: "trip-against-leaving",
        property: "A trip that finds a waiter is attended to, by one, though that waiter may be leaving.",
        body: trip_against_leaving,
        mutants: &[
            mutant("trip-without-fence", LOST),
            mutant("leave-without-fence", LOST),
            mutant("leave-without-attending", LOST),
            mutant("attention-shared", TWICE),
        ],
    },
];

/// Counts how often it is asked to attend. What it sends, if anything, it sends the first time. (Nothing
/// of it is modelled, but what the producer does.)
#[derive(Default)]
struct Reader {
    attended: AtomicU32,
    sends: Mutex<Option<Producer>>,
}

impl Host for Reader {
    fn attend(&self) {
        self.attended.fetch_add(1, Ordering::Relaxed);
        let producer = self.sends.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut producer) = producer {
            producer.try_send(&[], 1).expect("room");
        }
    }

    fn heavy_fence_failed(&self) {}

    fn over(&self) {}
}

impl Reader {
    fn of(life: &Life, sends: Option<Producer>) -> Arc<Self> {
        let reader = Arc::new(Self { attended: AtomicU32::new(0), sends: Mutex::new(sends) });
        let host: Arc<dyn Host> = reader.clone();
        life.set_host(Arc::downgrade(&host));
        reader
    }

    /// What the watcher does: trips, and does itself what no waiter will.
    fn watch(&self, life: &Life) {
        let promised = life.trip();
        if !promised && life.take_attention() {
            self.attend();
        }
    }
}

fn trip_wakes() {
    let [near, mut far] = channel(SMALLEST);
    // The message comes of the attending and of nothing else.
    let reader = Reader::of(&far.life, Some(near.producer));
    let life = far.life.clone();
    let _near = (near.consumer, near.life);
    let watcher = reader.clone();
    both(
        move || watcher.watch(&life),
        move || {
            expect_bytes(&mut far.consumer, 1, &[]);
            far
        },
    );
    drop(reader);
}

fn trip_against_leaving() {
    let [mut near, mut far] = channel(SMALLEST);
    let reader = Reader::of(&far.life, None);
    let life = far.life.clone();
    let watcher = reader.clone();
    both(
        move || {
            near.producer.try_send(&[], 1).expect("room");
            watcher.watch(&life);
            near
        },
        move || {
            expect_bytes(&mut far.consumer, 1, &[]);
            far
        },
    );
    let attended = reader.attended.load(Ordering::Relaxed);
    assert!(attended > 0, "{LOST}");
    assert!(attended < 2, "{TWICE}");
}
