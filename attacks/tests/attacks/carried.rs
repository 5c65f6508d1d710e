//! A server that takes descriptors and blobs, and what an attacker writes by hand to bring it some.

use memring::blob::Blob;
use memring::{End, Fd, ListenerBuilder, Protocol, Reason};

use crate::attacker::Attacker;
use crate::lane::assert_fault;
use crate::payloads::{client_of, hex};
use crate::scene::Scene;
use crate::service::{Service, receive};
use crate::support::soon;

/// A message with any number of each.
#[memring::message(attachments)]
pub struct Delivery {
    blobs: Vec<Blob<[u8]>>,
    fds: Vec<Fd>,
}

/// They go to the server, which says what it saw.
pub struct Deliveries;

impl Protocol for Deliveries {
    const NAME: &'static str = "deliveries";
    type ToClient = [u8];
    type ToServer = Delivery;
}

/// What such a server takes: descriptors, blobs, and bytes of those.
pub const FDS: u16 = 8;
pub const BLOBS: u16 = 4;
pub const BYTES: u64 = 1 << 20;

/// A server under attack that takes so much.
#[track_caller]
pub fn set(name: &'static str) -> Option<Scene> {
    with(name, |builder| builder.fds(FDS).blobs(BLOBS, BYTES))
}

/// The same with other settings.
#[track_caller]
pub fn with(
    name: &'static str,
    settings: impl FnOnce(ListenerBuilder) -> ListenerBuilder,
) -> Option<Scene> {
    Scene::with(name, settings, SEES)
}

/// Says of each message how many descriptors came and what the blobs that it names are; takes none of them out.
const SEES: Service<Deliveries> = Service::of(|channel, how| {
    let delivery = receive::<Deliveries>(channel, how)?;
    Ok(delivery.map(|delivery| {
        let blobs = delivery.blobs.iter().map(|blob| {
            let blob = delivery.blob(blob).expect("any bytes will do");
            let sum: u64 = blob.iter().map(|byte| u64::from(*byte)).sum();
            format!("{}:{sum}", blob.len())
        });
        let mut blobs = blobs.collect::<Vec<_>>();
        if blobs.len() > 1000 {
            blobs = vec![format!("{} in all", blobs.len())];
        }
        let blobs = blobs.join(",");
        format!("fds={} blobs={blobs}", delivery.fds.len()).into_bytes()
    }))
});

/// The archive of a message that names these blobs and these descriptors.
pub fn delivery(blobs: &[u64], fds: &[u32]) -> Vec<u8> {
    let mut bytes: Vec<u8> = blobs.iter().flat_map(|number| number.to_le_bytes()).collect();
    let second = bytes.len();
    bytes.extend(fds.iter().flat_map(|index| index.to_le_bytes()));
    // Two vectors: where the elements are, from here, and how many.
    let root = bytes.len();
    for (place, elements, count) in [(root, 0, blobs.len()), (root + 8, second, fds.len())] {
        bytes.extend((elements as i32 - place as i32).to_le_bytes());
        bytes.extend((count as u32).to_le_bytes());
    }
    bytes
}

/// That, in digits.
pub fn archive(blobs: &[u64], fds: &[u32]) -> String {
    hex(&delivery(blobs, fds))
}

/// A frame that is all good but for what is said of it here, as a command.
pub fn frame(fds: usize, archive: &str) -> String {
    format!("frame kind=1 fds={fds} payload={archive}")
}

/// So many times the same, with commas.
pub fn times(name: &str, count: usize) -> String {
    vec![name; count].join(",")
}

/// A clean client, with a pipe called `p` and a good blob of a page called `b`.
#[track_caller]
pub fn client(scene: &mut Scene) -> Attacker {
    let mut attacker = client_of(scene, Deliveries::NAME);
    attacker.run("make p pipe");
    attacker.run("make b memfd size=4096 label=memring-theirs");
    attacker.run("write b 7 0a0b");
    attacker.run("seal b 0xf");
    attacker
}

/// What the server saw of the last message.
#[track_caller]
pub fn saw(attacker: &mut Attacker) -> String {
    let said = attacker.run("recvmsg");
    let bytes = said.get("hex").as_bytes();
    let digit = |pair: &[u8]| {
        u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("digits")
    };
    String::from_utf8(bytes.chunks(2).map(digit).collect()).expect("text")
}

/// Sends a message with these blobs and descriptors in one good frame, after such an Attachments; what came of it.
#[track_caller]
pub fn send(attacker: &mut Attacker, with: &str, blobs: &[u64], fds: &[u32]) -> String {
    attacker.run(format!("send {} {with}", archive(blobs, fds)));
    saw(attacker)
}

/// Sees that these commands of a clean client are a fault of this reason.
#[track_caller]
pub fn broken(scene: &mut Scene, commands: &[&str], reason: Reason) {
    println!("{}: {reason} is due", commands.join("; ")); // for whoever reads of a failure
    let mut attacker = client(scene);
    for command in commands {
        attacker.run(command);
    }
    breaks(scene, reason);
}

/// Sees that the attacker's session ends by its fault of this reason.
#[track_caller]
pub fn breaks(scene: &mut Scene, reason: Reason) {
    scene.counted(reason);
    assert_fault(Some(scene.ended()), reason.name());
}

/// The attacker goes without a word, after a session without a fault.
#[track_caller]
pub fn leaves(scene: &Scene, attacker: Attacker) {
    drop(attacker);
    let end = scene.ended();
    assert!(matches!(end, End::PeerDied(_)), "{end}");
}

#[test]
fn archives_made_by_hand_are_those_of_an_honest_sender() {
    use memring::blob::BlobBuilder;
    let (mut server, mut client) =
        memring::Connector::new().fds(FDS).blobs(BLOBS, BYTES).pair::<Deliveries>().expect("two");
    let (mut numbered, null) = (0, std::fs::File::open("/dev/null").expect("a file"));
    for (blobs, fds) in [(0, 0), (0, 1), (1, 0), (2, 3)] {
        let blob = || BlobBuilder::new().with_size(1).expect("memory").seal().expect("sealed");
        let fd = || Fd::from(null.try_clone().expect("another"));
        let message = Delivery {
            blobs: (0..blobs).map(|_| blob()).collect(),
            fds: (0..fds).map(|_| fd()).collect(),
        };
        client.send(&message).expect("sends");
        let came = server.recv_deadline(soon()).expect("a message").bytes().to_vec();
        let numbers: Vec<u64> = (numbered + 1..=numbered + blobs).collect();
        numbered += blobs;
        assert_eq!(came, delivery(&numbers, &(0..fds).collect::<Vec<_>>()), "{blobs} {fds}");
    }
}
