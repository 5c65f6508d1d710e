//! Section E of the list: bytes that are to be messages of an agreed type.

use std::hint::black_box;
use std::num::NonZeroU32;

use memring::rkyv::bytecheck;
use memring::{Connector, End, Lanes, Protocol, Reason};

use crate::attacker::Attacker;
use crate::scene::Scene;
use crate::service::{ECHO, Service, receive};
use crate::support::soon;

/// A message with something of everything that can be forged: lengths, pointers, text, tags, a bool, a char.
#[memring::message]
#[derive(Clone, Debug, PartialEq)]
struct Order {
    symbol: String,
    lots: Vec<u32>,
    note: Option<Box<str>>,
    side: Side,
    urgent: bool,
    letter: char,
    account: NonZeroU32,
}

#[memring::message]
#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Bid = 1,
    Ask = 7,
}

fn order() -> Order {
    Order {
        symbol: "a symbol that is not inline".into(),
        lots: vec![1, 2, 3],
        note: Some("a note that is not inline either".into()),
        side: Side::Ask,
        urgent: true,
        letter: 'x',
        account: NonZeroU32::MIN,
    }
}

/// A message as deep as its sender likes.
#[memring::message]
pub struct Chain {
    pub next: Option<Box<Chain>>,
}

/// A message of many small ones.
#[memring::message]
pub struct Crowd {
    pub words: Vec<String>,
}

/// A message with a check of the application's own, which panics.
#[memring::message]
#[rkyv(bytecheck(verify))]
struct Checked {
    divisor: u32,
}

// SAFETY: it accepts only what the derived check has accepted.
#[allow(unsafe_code)]
unsafe impl<C> bytecheck::Verify<C> for ArchivedChecked
where
    C: memring::rkyv::rancor::Fallible + ?Sized,
{
    fn verify(&self, _: &mut C) -> Result<(), C::Error> {
        assert_ne!(self.divisor.to_native(), 0, "the application's own mistake");
        Ok(())
    }
}

macro_rules! protocols {
    ($($protocol:ident $name:literal $message:ty;)*) => {$(
        struct $protocol;
        impl Protocol for $protocol {
            const NAME: &'static str = $name;
            type ToClient = [u8];
            type ToServer = $message;
        }
    )*};
}
protocols! {
    Orders "orders" Order;
    Chains "chains" Chain;
    Crowds "crowds" Crowd;
    Checks "checks" Checked;
}

/// Serves one protocol: takes each message, has `look` see all of it, and acknowledges it.
macro_rules! serve {
    ($protocol:ty, $look:expr) => {
        Service::<$protocol>::of(|channel, how| {
            Ok(receive::<$protocol>(channel, how)?.map(|message| {
                $look(&message);
                b"seen".to_vec()
            }))
        })
    };
}

/// The archive of a message, as an honest client would send it.
macro_rules! archive {
    ($protocol:ty, $message:expr) => {{
        let wide = Connector::new().lanes(Lanes::Bulk, Lanes::Bulk);
        let (mut server, mut client) = wide.pair::<$protocol>().expect("a pair");
        client.send(&$message).expect("sends");
        server.recv_deadline(soon()).expect("a message").bytes().to_vec()
    }};
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A clean client of this protocol, which learns its fingerprints by being refused without them.
#[track_caller]
pub fn client_of(scene: &mut Scene, protocol: &str) -> Attacker {
    let mut attacker = scene.attacker();
    connect(scene, &mut attacker);
    attacker.run(format!("client until=sealed protocol={protocol}"));
    let refused = attacker.run("recv");
    assert_eq!((refused.get("kind"), refused.get("code")), ("refused", "2"));
    scene.counted(Reason::Mismatch);
    let signature = format!(
        "protocol={protocol} fp_accepting={} fp_connecting={}",
        refused.get("fp_accepting"),
        refused.get("fp_connecting")
    );
    attacker.run("close");
    connect(scene, &mut attacker);
    attacker.run(format!("client {signature}"));
    attacker
}

#[track_caller]
fn connect(scene: &Scene, attacker: &mut Attacker) {
    attacker.run(format!("connect {}", scene.path()));
}

/// Sends these bytes, and sees whether they are taken.
#[track_caller]
fn accepted(attacker: &mut Attacker, bytes: &[u8]) {
    attacker.run(format!("send {}", hex(bytes)));
    assert_eq!(attacker.run("recvmsg").get("hex"), hex(b"seen"));
}

/// Ends without a word, after a session without a fault.
#[track_caller]
fn leaves(scene: &Scene, attacker: Attacker) {
    drop(attacker);
    assert!(matches!(scene.ended(), End::PeerDied(_)));
}

#[track_caller]
fn refused(scene: &mut Scene, attacker: &mut Attacker, bytes: &[u8]) {
    attacker.run(format!("send {}", hex(bytes)));
    scene.poisoned(Reason::LaneDecode);
}

#[test]
fn attack_70_a_chain_of_any_depth_is_a_fault_on_a_small_stack() {
    let service = serve!(Chains, |_| ());
    let Some(mut scene) = Scene::with(name!(), |builder| builder, service) else { return };
    // Each further link points back by its own size, so it can be written without end.
    let link = archive!(Chains, Chain { next: None });
    let two = archive!(Chains, Chain { next: Some(Box::new(Chain { next: None })) });
    let outer = &two[link.len()..];
    for depth in [61, 63, 1000, 50_000] {
        let mut attacker = client_of(&mut scene, "chains");
        let bytes = [&link[..], &outer.repeat(depth)].concat();
        match depth {
            61 => {
                accepted(&mut attacker, &bytes);
                leaves(&scene, attacker);
            }
            _ => refused(&mut scene, &mut attacker, &bytes),
        }
    }
    scene.finish();
}

#[test]
fn attack_71_lengths_beyond_the_bytes_are_a_fault() {
    let service = serve!(Crowds, |crowd: &ArchivedCrowd| {
        black_box(crowd.words.iter().map(|word| word.len()).sum::<usize>());
    });
    let Some(mut scene) = Scene::with(name!(), |builder| builder, service) else { return };
    let good = archive!(Crowds, Crowd { words: vec![] });
    // A pointer and a length: the only four bytes that count elements are the last.
    for length in [1, 1 << 16, u32::MAX] {
        let mut attacker = client_of(&mut scene, "crowds");
        accepted(&mut attacker, &good);
        let mut bytes = good.clone();
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&length.to_le_bytes());
        refused(&mut scene, &mut attacker, &bytes);
    }
    scene.finish();
}

#[test]
fn attack_72_each_changed_byte_is_another_message_or_a_fault() {
    let service = serve!(Orders, |order: &ArchivedOrder| {
        black_box(format!("{} {:?}", order.symbol, order.lots));
    });
    let Some(mut scene) = Scene::with(name!(), |builder| builder, service) else { return };
    let good = archive!(Orders, order());
    let mut attacker = client_of(&mut scene, "orders");
    let mut faults = 0;
    // Every eighth byte in one run: each fault costs a session. All of them are tried in codec's tests.
    for at in (0..good.len()).step_by(8).chain(good.len() - 16..good.len()) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x80;
        attacker.run(format!("send {}", hex(&bytes)));
        attacker.tell("recvmsg");
        if !attacker.hear().starts_with("ok") {
            faults += 1;
            scene.poisoned(Reason::LaneDecode);
            attacker = client_of(&mut scene, "orders");
        }
    }
    assert!(faults > 8, "only {faults} changes were faults");
    for bytes in [good[..good.len() - 1].to_vec(), [&[0; 8], &good[..]].concat()] {
        refused(&mut scene, &mut attacker, &bytes);
        attacker = client_of(&mut scene, "orders");
    }
    leaves(&scene, attacker);
    scene.finish();
}

#[test]
fn attack_73_two_texts_in_the_same_bytes_are_a_fault() {
    let service = serve!(Crowds, |_| ());
    let Some(mut scene) = Scene::with(name!(), |builder| builder, service) else { return };
    let text = "a text that does not fit inline";
    let good = archive!(Crowds, Crowd { words: vec![text.to_owned(), text.to_owned()] });
    // Two strings, each a length and a pointer relative to itself, stand before the root; the second comes to
    // point at the bytes of the first.
    let strings = good.len() - 8 - 16;
    let mut bytes = good.clone();
    let pointer = strings + 8 + 4;
    let mut distance = i32::from_le_bytes(bytes[pointer..pointer + 4].try_into().unwrap());
    let first = strings + 4;
    let to_first = i32::from_le_bytes(bytes[first..first + 4].try_into().unwrap());
    distance -= 8 + distance - to_first;
    bytes[pointer..pointer + 4].copy_from_slice(&distance.to_le_bytes());
    let mut attacker = client_of(&mut scene, "crowds");
    accepted(&mut attacker, &good);
    refused(&mut scene, &mut attacker, &bytes);
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_75_a_largest_message_of_small_things_is_taken_while_others_are_served() {
    let settings = |builder: memring::ListenerBuilder| builder.largest_message(256 << 10);
    let service = serve!(Crowds, |crowd: &ArchivedCrowd| {
        black_box(crowd.words.len());
    });
    let Some(mut scene) = Scene::with(name!(), settings, service) else { return };
    // Eight bytes each, and nothing out of line.
    let words = vec![String::new(); (256 << 10) / 8 - 2];
    let bytes = archive!(Crowds, Crowd { words });
    assert!(bytes.len() > 255 << 10 && bytes.len() <= 256 << 10, "{}", bytes.len());
    let mut attacker = client_of(&mut scene, "crowds");
    for _ in 0..20 {
        accepted(&mut attacker, &bytes);
    }
    // One byte more than agreed ends it.
    attacker.run(format!("frame kind=3 len=16 payload={}", hex(&[1, 0, 4, 0, 0, 0, 0, 0, 9, 9])));
    scene.poisoned(Reason::LaneTooLarge);
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_76_what_is_sent_is_padded_with_zeros() {
    // Goes round the lane, so that there is something to be seen in it, and then sends one message of each
    // length, all of the same byte.
    const ROUND: usize = 600;
    let service = Service {
        begin: |_| {
            let lens = std::iter::repeat_n(112, ROUND).chain(0..=40);
            lens.map(|len| vec![0x11; len]).collect()
        },
        ..ECHO
    };
    let Some(scene) = Scene::with(name!(), |builder| builder, service) else { return };
    let mut attacker = scene.attacker_at("ready");
    for _ in 0..ROUND {
        assert_eq!(attacker.run("recvmsg").number("len"), 112);
    }
    let start = ROUND * 128 % (64 << 10);
    let mut frames = Vec::new();
    for len in 0..=40_usize {
        assert_eq!(attacker.run("recvmsg").number("len"), len as u64);
        frames.extend([1, 0, 0, 0]);
        frames.extend((len as u32).to_le_bytes());
        frames.extend([0; 8]);
        frames.extend(vec![0x11; len]);
        frames.resize(frames.len().next_multiple_of(16), 0);
    }
    let seen = attacker.run(format!("peek theirs data {start} {}", frames.len()));
    assert_eq!(seen.get("hex"), hex(&frames), "frames, and zeros between them");
    leaves(&scene, attacker);
    scene.finish();
}

#[test]
fn attack_77_a_check_that_panics_ends_its_session_only() {
    let service = serve!(Checks, |_| ());
    let Some(mut scene) = Scene::with(name!(), |builder| builder, service) else { return };
    let mut attacker = client_of(&mut scene, "checks");
    accepted(&mut attacker, &7_u32.to_le_bytes());
    refused(&mut scene, &mut attacker, &0_u32.to_le_bytes());
    drop(attacker);
    scene.finish();
}
