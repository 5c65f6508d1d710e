//! Whole sessions in one process: opened, used, ended.

use std::time::{Duration, Instant};

use memring_ring::consumer::RecvError;
use memring_ring::{End, Wait};
use memring_transport::control::Signature;
use memring_transport::{Settings, pair};

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
