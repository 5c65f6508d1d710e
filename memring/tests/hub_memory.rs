//! A message through a hub allocates nothing, whether the hub slept before it or not.

#![allow(unsafe_code)] // an allocator that counts

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::thread;

use memring::hub::{Event, Hub};
use memring::{Bytes, Wait};

use support::soon;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: the system's allocator does it; what is added allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _a_thread_that_ends_counts_no_more =
            ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_message_through_a_hub_allocates_nothing() {
    const ROUNDS: u32 = 3000;
    for wait in [Wait::Park, Wait::Adaptive] {
        let mut hub = Hub::new().expect("a hub");
        hub.set_wait_strategy(wait);
        let (server, mut client) = memring::pair::<Bytes>().expect("a pair");
        let (idle, _other) = memring::pair::<Bytes>().expect("a pair");
        let mut server = hub.add(server).expect("joins");
        let _idle = hub.add(idle).expect("joins");
        let asking = thread::spawn(move || {
            for round in 0..ROUNDS {
                client.send(&round.to_le_bytes()).expect("sent");
                assert_eq!(&*client.recv_deadline(soon()).expect("it"), round.to_le_bytes());
            }
            client
        });
        let deadline = Some(soon());
        let mut before = 0;
        for round in 0..ROUNDS {
            if round == ROUNDS / 10 {
                before = ALLOCATIONS.get();
            }
            match hub.wait(deadline).expect("waits").expect("a question in time") {
                Event::Readable(key) => assert_eq!(key, server.key()),
                other => panic!("{other:?}"),
            }
            let (tx, rx) = server.halves();
            tx.send(&rx.try_recv().expect("it was said")).expect("sent");
        }
        assert_eq!(ALLOCATIONS.get(), before, "{wait:?}");
        asking.join().expect("no panic");
    }
}
