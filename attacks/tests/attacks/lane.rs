//! Section D of the list: the words of the lanes and their frames (51 to 58); and of section F the lane that is
//! not read-only after all (84). What changes between two looks is in `changes.rs`.

use std::thread;

use memring::{Bytes, Connector, End, Lanes, Policy, Reason, SendError, TrySendError};

use crate::attacker::{Attacker, is_stranger};
use crate::in_hand::InHand;
use crate::scene::Scene;
use crate::session::{LARGEST, SMALL, drain, fill, in_time};
use crate::support::{PATIENCE, eventually, soon};

/// How a session ended by the peer's fault.
#[track_caller]
pub fn assert_fault(outcome: Option<End>, case: &str) {
    assert!(matches!(outcome, Some(End::Fault(_))), "{case}: a fault was due, not {outcome:?}");
}

/// A u64 as the attacker writes it down.
pub fn hex(number: u64) -> String {
    number.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A header word.
pub fn word(kind: u64, len: u64) -> u64 {
    len << 32 | kind
}

/// Sees that these commands, after a good message, are a fault of this reason, and that the message came.
fn broken(scene: &mut Scene, asking: &str, commands: &[&str], reason: Reason) {
    let case = commands.join("; ");
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, asking);
    attacker.run("send 0a0b0c");
    for command in commands {
        attacker.run(command);
    }
    let (messages, end) = drain(&mut victim);
    assert_fault(end, &case);
    assert_eq!(messages[0], [0x0a, 0x0b, 0x0c], "{case}: what came before it");
    // It stays so, and the other half is told the same.
    assert_fault(drain(&mut victim).1, &case);
    match victim.send_deadline(b"too late", soon()) {
        Err(SendError::Ended(End::Fault(_))) => {}
        other => panic!("{case}: {other:?}"),
    }
    scene.counted(reason);
}

#[test]
fn attack_51_a_head_outside_what_was_sent_is_a_fault() {
    let Some(mut scene) = Scene::in_hand(name!()) else { return };
    let bad: [(&str, u64); 8] = [
        ("past our tail", 4096 + 16),
        ("a lane past our tail", 8192),
        ("backwards", 1024 - 16),
        ("back to 0", 0),
        ("to the last", u64::MAX - 15),
        ("between two frames", 2048 + 8),
        ("the high half", 1024 + (1 << 32)),
        ("half around", 1024 + (1 << 63)),
    ];
    for (case, head) in bad {
        let mut attacker = scene.attacker();
        let mut victim = scene.session(&mut attacker, SMALL);
        assert_eq!(fill(&mut victim, &[1; LARGEST]), 3);
        attacker.run("head 1024");
        assert_eq!(fill(&mut victim, &[2; LARGEST]), 1, "{case}: a good head makes room");
        attacker.run(format!("head {head}"));
        match victim.try_send(&[3; LARGEST]) {
            Err(TrySendError::Ended(end)) => assert_fault(Some(end), case),
            other => panic!("{case}: {other:?}"),
        }
        assert_fault(drain(&mut victim).1, case);
        scene.counted(Reason::LaneHead);
    }
    scene.finish();
}

#[test]
fn attack_51_a_head_that_is_one_too_many_says_that_nobody_reads() {
    let Some(scene) = Scene::in_hand(name!()) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, SMALL);
    assert_eq!(fill(&mut victim, &[1; LARGEST]), 3);
    attacker.run("head 1025");
    match victim.try_send(&[2; LARGEST]) {
        Err(TrySendError::Ended(End::Closed)) => {}
        other => panic!("{other:?}"),
    }
    // The other direction is not touched.
    attacker.run("send 0a0b0c");
    assert_eq!(*victim.recv_deadline(soon()).expect("a message"), [0x0a, 0x0b, 0x0c]);
    drop((attacker, victim));
    scene.finish();
}

#[test]
fn attack_51_a_head_is_checked_while_we_sleep_and_with_room_left_too() {
    let Some(mut scene) = Scene::in_hand(name!()) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, SMALL);
    fill(&mut victim, &[1; LARGEST]);
    let sleeper = thread::spawn(move || victim.send_deadline(&[2; LARGEST], soon()));
    eventually("it sleeps for room", || attacker.run("where").number("tx_asleep") != 0);
    attacker.run("head 4096 wake");
    match sleeper.join().expect("no panic") {
        Err(SendError::Ended(end)) => assert_fault(Some(end), "asleep"),
        other => panic!("asleep: {other:?}"),
    }
    scene.counted(Reason::LaneHead);
    // `how` 3: nobody reads, says the peer. The head must bear it out, and is looked at for that.
    let mut victim = scene.session(&mut attacker, SMALL);
    victim.send(b"one").expect("room");
    attacker.run("head 4096");
    attacker.run("asleep rx 3");
    victim.send(b"two").expect("what was sent before the look is sent");
    match victim.try_send(b"three") {
        Err(TrySendError::Ended(end)) => assert_fault(Some(end), "a hint"),
        other => panic!("a hint: {other:?}"),
    }
    scene.counted(Reason::LaneHead);
    drop((attacker, victim));
    scene.finish();
}

#[test]
fn attack_52_a_header_that_breaks_a_rule_is_that_rule_s_fault() {
    let Some(mut scene) = Scene::in_hand(name!()) else { return };
    // The lane takes frames of 1008 bytes, both sides messages of 2000.
    let asking = format!("{SMALL} largest=2000");
    let first = |total: u64| format!("frame kind=3 len=16 tag=7 payload={}", hex(total));
    let [of_8, of_32, of_2000, of_2001, of_all] = [8, 32, 2000, 2001, u64::MAX].map(first);
    let cases: &[(&[&str], Reason)] = &[
        (&["frame kind=8"], Reason::LaneKind),
        (&["frame kind=255 len=16"], Reason::LaneKind),
        (&["frame kind=1 fds=1"], Reason::LaneDescriptors),
        (&["frame kind=7 fds=0xffff"], Reason::LaneDescriptors),
        (&["frame kind=1 len=1009"], Reason::LaneLength),
        (&["frame kind=2 len=15"], Reason::LaneLength),
        // A pack of messages that are alike: the tag is their length.
        (&["frame kind=2 tag=8 len=20"], Reason::LanePack),
        (&["frame kind=2 tag=5 len=23"], Reason::LanePack),
        (&["frame kind=2 tag=24 len=16"], Reason::LanePack),
        (&["frame kind=2 tag=1009 len=16"], Reason::LaneTooLarge),
        (&["frame kind=2 tag=0xffffffffffffffff len=16"], Reason::LaneTooLarge),
        (&["frame kind=3 len=8"], Reason::LaneLength),
        (&[&of_32, "frame kind=4 tag=7 len=0"], Reason::LaneLength),
        (&[&of_32, "frame kind=5 tag=7 len=0"], Reason::LaneLength),
        (&["frame kind=6 len=1"], Reason::LaneLength),
        (&["frame kind=7 len=16"], Reason::LaneLength),
        // Parts that do not belong together.
        (&["frame kind=4 len=16"], Reason::LaneParts),
        (&["frame kind=5 len=16"], Reason::LaneParts),
        (&["frame kind=6"], Reason::LaneParts),
        (&[&of_32, "frame kind=1 len=8"], Reason::LaneParts),
        (&[&of_32, "frame kind=2 len=16"], Reason::LaneParts),
        (&[&of_32, &of_32], Reason::LaneParts),
        (&[&of_32, "frame kind=5 tag=8 len=24"], Reason::LaneParts),
        // Totals and sums.
        (&[&of_8], Reason::LaneParts),
        (&[&of_32, "frame kind=5 tag=7 len=23"], Reason::LaneParts),
        (&[&of_32, "frame kind=5 tag=7 len=25"], Reason::LaneParts),
        (&[&of_32, "frame kind=4 tag=7 len=24"], Reason::LaneParts),
        (&[&of_2001], Reason::LaneTooLarge),
        (&[&of_all], Reason::LaneTooLarge),
        // Without end: not beyond the total, whatever follows.
        (
            &[
                &of_2000,
                "frame kind=4 tag=7 len=992",
                "frame kind=4 tag=7 len=992",
                "frame kind=4 tag=7 len=992",
            ],
            Reason::LaneParts,
        ),
        // Whatever stood where the next header belongs.
        (&["frame kind=1 len=16 next=0xffffffffffffffff"], Reason::LaneReserved),
        (&["frame kind=1 len=16 next=0x6868686800000068"], Reason::LaneKind),
    ];
    for (commands, reason) in cases {
        broken(&mut scene, &asking, commands, *reason);
    }
    scene.finish();
}

#[test]
fn attack_52_a_client_of_a_hostile_server_is_as_safe() {
    let Some(mut scene) = Scene::in_hand(name!()) else { return };
    let path = scene.attackers_directory().join("socket");
    // It sends descriptors, of which the kernel lets one uid have so many on their way: the strangers of a test
    // beside this one may have used them up.
    let mut attacker = scene.accomplice();
    attacker.run(format!("bind {}", path.display()));
    let cases = [
        ("frame kind=8", Reason::LaneKind),
        ("frame kind=1 len=4096", Reason::LaneLength),
        ("frame kind=4 len=16", Reason::LaneParts),
    ];
    for (frame, reason) in cases {
        let path = path.clone();
        let client = thread::spawn(move || {
            let connector = Connector::new().policy(Policy::any_uid()).timeout(PATIENCE);
            let small = Lanes::Bytes(4096);
            connector.lanes(small, small).connect::<Bytes>(path).expect("connects")
        });
        attacker.run("accept");
        attacker.run("server until=ready");
        let mut client = InHand::new(in_time(client), None);
        attacker.run("send 0a0b0c");
        attacker.run(frame);
        let (messages, end) = drain(&mut client);
        assert_eq!(messages, [[0x0a, 0x0b, 0x0c]], "{frame}");
        assert_fault(end, frame);
        scene.counted(reason);
    }
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_54_a_length_beyond_any_limit_is_a_fault() {
    let Some(mut scene) = Scene::in_hand(name!()) else { return };
    // A quarter of the lane, and then around the end of 32 bits, where adding and rounding up come to little.
    for len in [1009, 1024, 4096, 4112, 0x8000_0000, 0xffff_ffef, 0xffff_fff0, u64::from(u32::MAX)]
    {
        let frame = format!("frame kind=1 len={len}");
        broken(&mut scene, SMALL, &[&frame], Reason::LaneLength);
    }
    // What the two sides agreed on, which is less than the lane takes.
    let agreed = format!("{SMALL} largest=500");
    let entry = format!("frame kind=2 len=520 payload={}", hex(501));
    broken(&mut scene, &agreed, &["frame kind=1 len=501"], Reason::LaneTooLarge);
    broken(&mut scene, &agreed, &[&entry], Reason::LaneTooLarge);
    // Messages that lie in a pack.
    for payload in [hex(9), hex(1), hex(u32::MAX.into()), hex(1) + &hex(0) + &hex(7)] {
        let pack = format!("frame kind=2 len=16 payload={payload}");
        let pack = pack.replace("len=16", if payload.len() > 16 { "len=32" } else { "len=16" });
        broken(&mut scene, SMALL, &[&pack], Reason::LanePack);
    }
    scene.finish();
}

#[test]
fn attack_54_frames_that_overlap_are_bytes_of_the_first() {
    let Some(scene) = Scene::in_hand(name!()) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, &format!("{SMALL} largest=500"));
    attacker.run(format!("frame kind=1 len=64 payload={}", "00".repeat(64)));
    attacker.run("frame at=32 kind=1 len=8 payload=1111111111111111 advance=no next=keep");
    attacker.run("frame kind=1 len=500");
    let mut inner = [0; 64];
    inner[16..24].copy_from_slice(&word(1, 8).to_le_bytes());
    inner[32..40].copy_from_slice(&[0x11; 8]);
    assert_eq!(*victim.recv_deadline(soon()).expect("a message"), inner);
    assert_eq!(victim.recv_deadline(soon()).expect("the largest").len(), 500);
    drop((attacker, victim));
    scene.finish();
}

#[test]
fn attack_57_a_frame_of_unknown_kind_is_a_fault() {
    let Some(mut scene) = Scene::set(name!()) else { return };
    let mut attacker = scene.attacker_at("ready");
    attacker.run("frame kind=9 len=8 payload=0011223344556677");
    scene.poisoned(Reason::LaneKind);
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_57_reserved_bits_that_are_set_are_a_fault() {
    let Some(mut scene) = Scene::in_hand(name!()) else { return };
    for flags in ["kind=1 flags=1", "kind=1 flags=0x80 len=16", "kind=7 flags=2", "kind=0 flags=1"]
    {
        broken(&mut scene, SMALL, &[&format!("frame {flags}")], Reason::LaneReserved);
    }
    // Of an entry in a pack: the u32 after its length.
    for reserved in [1 << 32, 1 << 63] {
        let pack = format!("frame kind=2 len=24 payload={}", hex(8 | reserved));
        broken(&mut scene, SMALL, &[&pack], Reason::LanePack);
    }
    scene.finish();
}

#[test]
fn attack_58_a_lane_goes_on_when_the_low_half_of_its_positions_comes_round_as_we_receive() {
    let Some(mut scene) = Scene::in_hand(name!()) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, "");
    // Four frames that fill the lane of 64 KiB for good, read until 4 GiB have gone by, but for the last.
    for number in 0..4 {
        attacker.run(format!("frame kind=1 len=16368 payload=0{number} next=keep wake=no"));
    }
    let frames: u64 = (1 << 32) / 16_384;
    victim.look_at(frames as usize - 2, 0_u64, |number, message| {
        assert_eq!(message.first().copied(), Some((*number % 4) as u8), "message {number}");
        *number += 1;
    });
    // From there on in order, to a sleeper, across the end of 32 bits.
    attacker.run(format!("store64 mine data {} 0", 2 * 16_384));
    attacker.run(format!("tail {}", (1_u64 << 32) - 2 * 16_384));
    let receiver = thread::spawn(move || {
        let lens: Vec<usize> =
            (0..4).map(|_| victim.recv_deadline(soon()).expect("a message").len()).collect();
        (victim, lens)
    });
    eventually("it sleeps for a message", || attacker.run("where").number("rx_asleep") != 0);
    for len in [16_368, 1, 16_368, 2] {
        attacker.run(format!("send size={len}"));
    }
    let (mut victim, lens) = receiver.join().expect("no panic");
    assert_eq!(lens, [16_368, 1, 16_368, 2]);
    // It publishes where it stands before it sleeps: beyond 32 bits, and whole.
    assert!(victim.try_recv().is_err());
    let words = attacker.run("where");
    assert_eq!(words.number("their_head"), words.number("tail"));
    assert!(words.number("tail") > 1 << 32);
    attacker.run("frame kind=9");
    assert_fault(drain(&mut victim).1, "rules hold there too");
    scene.counted(Reason::LaneKind);
    drop((attacker, victim));
    scene.finish();
}

#[test]
fn attack_58_a_lane_goes_on_when_the_low_half_of_its_positions_comes_round_as_we_send() {
    let Some(mut scene) = Scene::in_hand(name!()) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, "to_connecting=1048576");
    let frame = 1 << 18;
    let message = vec![0x5a; frame as usize - 16];
    let mut tail: u64 = 0;
    while tail + 3 * frame < 1 << 32 {
        assert_eq!(fill(&mut victim, &message), 3);
        tail += 3 * frame;
        attacker.run(format!("head {tail}"));
    }
    assert_eq!(fill(&mut victim, &message), 3);
    tail += 3 * frame;
    assert!(tail > 1 << 32, "{tail:#x}");
    // It sleeps on the low half of a head before the end of 32 bits, and is woken by one behind it.
    let sleeper = thread::spawn(move || {
        let outcome = victim.send_deadline(&[0x77; (1 << 18) - 16], soon());
        outcome.map(|()| victim)
    });
    eventually("it sleeps for room", || attacker.run("where").number("tx_asleep") != 0);
    attacker.run(format!("head {tail} wake"));
    let mut victim = sleeper.join().expect("no panic").expect("room");
    let at = tail % (1 << 20);
    let seen = attacker.run(format!("peek theirs data {at} 24"));
    assert_eq!(seen.get("hex"), hex(word(1, (1 << 18) - 16)) + &hex(0) + &"77".repeat(8));
    // The low half alone is no head.
    fill(&mut victim, &message);
    attacker.run(format!("head {}", tail as u32));
    match victim.try_send(&message) {
        Err(TrySendError::Ended(end)) => assert_fault(Some(end), "half a head"),
        other => panic!("{other:?}"),
    }
    scene.counted(Reason::LaneHead);
    drop((attacker, victim));
    scene.finish();
}

#[test]
fn attack_84_a_peer_that_can_write_our_segment_changes_bytes_and_nothing_of_ours() {
    if !is_stranger() {
        println!("skipped: only root can write another process's memory");
        return;
    }
    let Some(scene) = Scene::in_hand(name!()) else { return };
    let mut attacker: Attacker = scene.accomplice();
    let mut victim = scene.session(&mut attacker, SMALL);
    attacker.run(format!("deface {} fd0", std::process::id()));
    // A frame of 48 bytes each, and the attacker's head is honest.
    let (mut tail, mut sent, mut received) = (0, 0, 0);
    for number in 0..200_u64 {
        let batch = fill(&mut victim, &[number as u8; 32]);
        assert!(batch > 0, "there is room for round {number}");
        (tail, sent) = (tail + 48 * batch, sent + batch);
        attacker.run(format!("head {tail}"));
        // What we receive does not lie there. (By hand: it would believe the head that it has made up.)
        attacker.run(format!("frame kind=1 payload={}", hex(number)));
        assert_eq!(*victim.recv_deadline(soon()).expect("a message"), number.to_le_bytes());
        received += 1;
    }
    assert!(attacker.run("stop").number("deface0") > 1000);
    let (sender, receiver) = victim.halves();
    assert_eq!(sender.stats().messages, sent);
    assert_eq!(sender.stats().bytes, 32 * sent);
    assert_eq!(receiver.stats().messages, received);
    // The next frame lies where it belongs and is whole.
    victim.send(b"whole").expect("room");
    let at = tail % 4096;
    let header = attacker.run(format!("load64 theirs data {at}")).number("value");
    assert_eq!(header, word(1, 5));
    let payload = attacker.run(format!("load64 theirs data {}", (at + 16) % 4096)).number("value");
    assert_eq!(payload.to_le_bytes(), *b"whole\0\0\0");
    drop((attacker, victim));
    scene.finish();
}
