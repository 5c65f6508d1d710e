//! Descriptors: what went ahead of a message is found by whoever finds the message, and no more of it is under way than
//! was agreed.

use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, PoisonError};

use memring_ring::{End, Fault, Host, Life};

use super::{Model, SMALLEST, both, channel, mutant};

const NOT_AHEAD: &str = "a message was found before what goes ahead of it";
const TOO_MANY: &str = "more was under way than was agreed";

/// Messages, each with one thing that goes ahead of it.
const MESSAGES: u64 = 2;

pub const MODELS: &[Model] = &[Model {
    name: "ahead",
    property: "What goes ahead of a message is there when it is found, and gone from the way before it is released.",
    body: ahead,
    mutants: &[
        mutant("ahead-behind", NOT_AHEAD),
        mutant("released-before-fetched", TOO_MANY),
        mutant("head-without-look", super::LOST_WAKE),
    ],
}];

/// The control socket: positions of what is under way. (Not modelled: the kernel orders it.)
#[derive(Default)]
struct Socket(Mutex<Vec<u64>>);

impl Socket {
    fn send(&self, position: u64) {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.push(position);
        assert!(under_way.len() <= 1, "{TOO_MANY}");
    }
}

impl Host for Socket {
    fn attend(&self) {}
    fn heavy_fence_failed(&self) {}
    fn over(&self) {}

    fn fetch_fds(&self, position: u64, count: u16) -> Result<(), End> {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if count == 1 && under_way.first() == Some(&position) {
            under_way.remove(0);
            return Ok(());
        }
        Err(End::Fault(Fault::Fds))
    }
}

fn host(life: &Life) -> Arc<Socket> {
    let socket = Arc::new(Socket::default());
    let host: Arc<dyn Host> = socket.clone();
    life.set_host(Arc::downgrade(&host));
    socket
}

fn ahead() {
    let [mut near, mut far] = channel(SMALLEST);
    let socket = host(&far.life);
    far.consumer.take_fds();
    let one = NonZeroU16::MIN;
    let sends = socket.clone();
    both(
        move || {
            for _ in 0..MESSAGES {
                // One is under way at a time: the one before has to be received.
                let position = near.producer.position();
                near.producer.wait_until_read(position, None).expect("a reader");
                let ahead = |position| {
                    sends.send(position);
                    Ok::<(), ()>(())
                };
                near.producer.send_with_fds(&[], 0, one, None, ahead).expect("sent");
            }
            near
        },
        move || {
            for _ in 0..MESSAGES {
                let item = far.consumer.recv(None);
                assert!(item.is_ok_and(|item| item.has_fds()), "{NOT_AHEAD}");
            }
            // The last one is published by this look, for a producer that waits for it.
            let _ = far.consumer.try_recv();
            drop(socket);
            far
        },
    );
}
