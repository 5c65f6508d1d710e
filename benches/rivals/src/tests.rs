//! Every contender does what it says it can: messages there, and back, all of them and in order.

use std::path::Path;
use std::sync::Barrier;
use std::thread;

use memring_benches::link::{Contender, Link, Measure, Open, Room, Side, Terms, Waiting};

use crate::contenders;

/// Runs each end in a thread of its own.
fn check(contender: &Contender, terms: &Terms) {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    match contender.open {
        Open::Threads(open) => {
            let (mut near, mut far) = open(terms).unwrap();
            thread::scope(|scope| {
                scope.spawn(|| drive(&mut *near, Side::Near, terms));
                scope.spawn(|| drive(&mut *far, Side::Far, terms));
            });
        }
        Open::Processes(open) => {
            // As in the benchmark, nobody leaves while the other end is still reading.
            let both_done = Barrier::new(2);
            let end = |side, at: &Path| {
                let mut link = open(terms, side, at.to_owned()).unwrap();
                drive(&mut *link, side, terms);
                both_done.wait();
            };
            thread::scope(|scope| {
                scope.spawn(|| end(Side::Near, at));
                scope.spawn(|| end(Side::Far, at));
            });
        }
    }
}

fn drive(link: &mut dyn Link, side: Side, terms: &Terms) {
    let count = ((1 << 20) / terms.size).clamp(8, 1000) as u64;
    for turn in 0..3 {
        let numbers = turn * count..(turn + 1) * count;
        match (terms.measure, side) {
            (Measure::OneWay, Side::Near) => link.send_each(numbers, terms.batch),
            (Measure::OneWay, Side::Far) => link.receive_each(numbers),
            (_, Side::Near) => link.call_each(numbers),
            (_, Side::Far) => link.answer_each(numbers),
        }
        .unwrap();
    }
}

/// Every combination that the contender says it can.
fn check_all(name: &str) {
    let found: Vec<_> = contenders().into_iter().filter(|one| one.name == name).collect();
    let [contender] = &found[..] else { panic!("no contender, or many, called {name}") };
    let mut checked = 0;
    for measure in [Measure::RoundTrip, Measure::OneWay] {
        for wait in [Waiting::Spin, Waiting::Adaptive, Waiting::Park] {
            for size in [8, 64, 4096, 1 << 20] {
                for batch in if measure == Measure::OneWay { vec![1, 64] } else { vec![1] } {
                    let room = if size > 4096 { Room::Bulk } else { Room::Small };
                    let terms = Terms { measure, size, wait, room, batch, together: false };
                    if (contender.can)(&terms) {
                        check(contender, &terms);
                        checked += 1;
                    }
                }
            }
        }
    }
    assert!(checked > 0, "{name} can nothing");
}

macro_rules! every_message_arrives {
    ($($test:ident: $name:literal)*) => {
        $(#[test]
        fn $test() {
            check_all($name);
        })*

        #[test]
        fn every_contender_is_tested() {
            let tested = [$($name),*, "Aeron", "Aeron, invoker"];
            assert!(contenders().iter().all(|one| tested.contains(&one.name)));
        }
    };
}

every_message_arrives! {
    rtrb: "rtrb"
    rtrb_pause: "rtrb, pause"
    rtrb_chunks: "rtrb, chunks"
    iceoryx2: "iceoryx2"
    shmem_ipc: "shmem-ipc"
    ipc_channel: "ipc-channel"
    ipc_channel_bytes: "ipc-channel, bytes"
    zmq: "ZeroMQ"
    postcard: "postcard over Unix stream"
    bincode: "bincode over Unix stream"
}

#[cfg(feature = "aeron")]
#[test]
fn aeron() {
    check_all("Aeron");
    check_all("Aeron, invoker");
}

#[test]
fn every_version_is_the_one_built() {
    let lock = include_str!("../Cargo.lock");
    for contender in contenders() {
        let library = contender.version.split(',').next().unwrap();
        let (name, version) = library.split_once(' ').unwrap();
        let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        assert!(lock.contains(&entry), "{}: not built with {library}", contender.name);
    }
    assert_eq!(zmq::version(), (4, 3, 4));
}
