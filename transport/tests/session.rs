//! Whole sessions in one process: opened, used, ended.

use std::io::IoSlice;
use std::num::NonZeroU16;
use std::os::fd::AsFd;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use memring_ring::consumer::RecvError;
use memring_ring::{End, Wait};
use memring_transport::attachments::Named;
use memring_transport::blob::MemoryBuilder;
use memring_transport::control::{Attached, Signature, Takes};
use memring_transport::{Session, Settings, pair};

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(10))
}

#[test]
fn a_pair_carries_messages_both_ways_under_every_wait() {
    for wait in [Wait::Spin, Wait::Adaptive, Wait::Park] {
        let mut settings = Settings::new();
        settings.wait = wait;
        let (mut a, mut b) = pair(&settings, &Signature::default()).unwrap();
        let echo = std::thread::spawn(move || {
            while let Ok(item) = b.consumer.recv(soon()) {
                let bytes = b.consumer.bytes(&item).to_vec();
                b.producer.send(&bytes, item.tag, soon()).unwrap();
            }
        });
        for n in 0..2000_u64 {
            a.producer.send(&n.to_le_bytes(), n, soon()).unwrap();
            let item = a.consumer.recv(soon()).unwrap();
            assert_eq!((item.tag, a.consumer.bytes(&item)), (n, &n.to_le_bytes()[..]));
        }
        let memring_transport::Connection { producer, mut consumer, session } = a;
        drop(producer);
        echo.join().unwrap();
        assert_eq!(
            consumer.recv(soon()).unwrap_err(),
            RecvError::Ended(End::Closed),
            "{session:?}"
        );
    }
}

/// What a reader keeps with a blob, and what asks the session something when it goes.
struct Asks {
    session: Arc<Session>,
    done: mpsc::Sender<()>,
}

impl Drop for Asks {
    fn drop(&mut self) {
        assert!(self.session.take_parcel().is_none());
        self.done.send(()).ok();
    }
}

#[test]
fn a_forgotten_blob_goes_while_nobody_holds_a_lock_of_its_session() {
    let mut settings = Settings::new();
    settings.takes = Takes { fds: 0, blobs: 1, blob_bytes: 10 };
    let (mut a, mut b) = pair(&settings, &Signature::default()).unwrap();
    b.consumer.take_fds();
    let memory = Arc::new(MemoryBuilder::new().with_size(1).unwrap().seal().unwrap());
    let number = a.session.with_shelf(|shelf| shelf.new_number());
    let ahead =
        |position| a.session.send_ahead(position, &[Attached::blob(number, 1)], &[memory.as_fd()]);
    let one = NonZeroU16::MIN;
    a.producer.send_with_fds(&[IoSlice::new(b"x")], 0, one, soon(), ahead).unwrap();
    let end = a.producer.position();
    a.session.with_shelf(|shelf| shelf.sent(end, &[], &[(number, Arc::clone(&memory))]));
    a.session.forget_with(&memory, number);

    let item = b.consumer.recv(soon()).unwrap();
    assert_eq!(b.consumer.bytes(&item), b"x");
    drop(b.session.take_parcel());
    let Some(Named::Here(known)) = b.session.name_blob(number) else { panic!("it came") };
    let (done, heard) = mpsc::channel();
    let session = Arc::clone(&b.session);
    assert!(known.reading().set(Arc::new(Asks { session, done })).is_ok());
    drop((known, memory));
    heard.recv_timeout(Duration::from_secs(10)).expect("it was forgotten, and is gone");
}
