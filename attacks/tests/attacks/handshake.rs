//! Section B of the list, rows 19 to 24: packets, their form and their order, at a server and at a client.

use memring::{End, HandshakeError, Reason};

use crate::scene::{PROTOCOL, Scene};
use crate::tries::{at_a_client, at_a_server, come, poisons, turned_away};
use crate::victim::served_up_to;

#[test]
fn attack_19_what_is_not_the_protocol_is_a_fault_at_either_side() {
    use Reason::{Order, PacketKind, PacketMagic, PacketTruncated, PacketValue};
    let Some(mut scene) = Scene::set(name!()) else { return };
    let mut attacker = scene.attacker();
    at_a_server(
        &mut scene,
        &mut attacker,
        &[
            ("connect", "hello magic=00000000", PacketMagic),
            ("connect", "hello magic=474e524d", PacketMagic),
            ("connect", "hello magic=4d524e48", PacketMagic),
            ("hello", "open magic=00000000", PacketMagic),
            ("granted", "sealed magic=6d726e67", PacketMagic),
            ("connect", "hello kind=0", PacketKind),
            ("connect", "hello kind=13", PacketKind),
            ("connect", "hello kind=17", PacketKind),
            ("hello", "open kind=13", PacketKind),
            ("granted", "sealed kind=65535", PacketKind),
            // The other side's part.
            ("connect", "welcome", Order),
            ("connect", "reject", Order),
            ("connect", "granted", Order),
            ("connect", "ready", Order),
            ("connect", "attachments entries=fd", Order),
            ("granted", "forget", Order),
            ("hello", "welcome", Order),
            ("hello", "granted", Order),
            ("granted", "ready", Order),
            ("granted", "refused", Order),
            ("connect", "hello oldest=0", PacketValue),
            ("connect", "hello oldest=2 newest=1", PacketValue),
            ("connect", "hello fence=4", PacketValue),
        ],
    );
    for hello in ["hello oldest=2 newest=7", "hello oldest=65535 newest=65535"] {
        let due = ("reject", "1", Reason::Version);
        let told = turned_away(&mut scene, &mut attacker, "connect", hello, due);
        assert!(told.get("sentence").contains("upgrade_the_server"), "{told:?}");
    }
    // Noise. What does not begin with the magic number is nothing, and what is no header is cut off.
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    for length in (1..200).step_by(5) {
        let mut bytes = String::new();
        for _ in 0..length {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bytes.push_str(&format!("{:02x}", word >> 56));
        }
        let reason = if length < 16 { PacketTruncated } else { PacketMagic };
        let noise = format!("packet {bytes}");
        at_a_server(&mut scene, &mut attacker, &[("connect", &noise, reason)]);
    }
    at_a_client(
        &mut scene,
        &[
            ("hello", "welcome magic=00000000", PacketMagic),
            ("hello", "welcome kind=13", PacketKind),
            ("hello", "hello", Order),
            ("welcome", "open", Order),
            ("granted", "sealed", Order),
            ("hello", "welcome version=0", PacketValue),
            ("hello", "welcome version=2", Reason::Choice),
            ("hello", "welcome features=1", Reason::Choice),
            ("hello", "welcome largest=-1", Reason::Choice),
            ("hello", "reject code=0", PacketValue),
        ],
    );
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_20_an_empty_packet_is_the_end_at_every_step_and_at_either_side() {
    let Some(mut scene) = Scene::set(name!()) else { return };
    let mut attacker = scene.attacker();
    for step in ["connect", "hello", "granted"] {
        at_a_server(&mut scene, &mut attacker, &[(step, r#"packet """#, Reason::Gone)]);
    }
    come(&mut attacker, &scene, "connect");
    assert!(attacker.run(r#"burst 100 "" "#).number("sent") > 0);
    scene.counted(Reason::Gone);
    attacker.hung_up_on();
    come(&mut attacker, &scene, "ready");
    attacker.run(r#"packet """#);
    assert!(matches!(scene.ended(), End::PeerDied(_)), "no fault, and no end in order");
    attacker.hung_up_on();
    for step in ["accept", "welcome", "granted"] {
        let (mut server, victim) = served_up_to(step, &scene);
        server.run(r#"packet """#);
        let error = victim.handshake_error();
        assert!(matches!(error, HandshakeError::PeerGone), "{step}: {error}");
        scene.counted(Reason::Gone);
    }
    drop(attacker);
    scene.finish();
}

/// A packet of this many bytes that begins as a message of this kind and length would.
fn packet(kind: u16, length: u32) -> String {
    let mut packet = b"MRNG".to_vec();
    packet.extend(kind.to_le_bytes());
    packet.extend([0; 2]);
    packet.extend(length.to_le_bytes());
    packet.resize(length as usize, 0);
    let digits: String = packet.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("packet {digits}")
}

#[test]
fn attack_21_a_packet_longer_than_any_is_a_fault_at_every_step_and_at_either_side() {
    const HELLO: u16 = 1;
    const WELCOME: u16 = 2;
    const FENCE: u16 = 9;
    let Some(mut scene) = Scene::set(name!()) else { return };
    let mut attacker = scene.attacker();
    for step in ["connect", "hello", "granted"] {
        for length in [8193, 8194, 60_000] {
            let oversized = packet(HELLO, length);
            let case = (step, oversized.as_str(), Reason::PacketOversized);
            at_a_server(&mut scene, &mut attacker, &[case]);
        }
    }
    // The longest there may be is read as far as its first mistake.
    let longest = packet(HELLO, 8192);
    at_a_server(&mut scene, &mut attacker, &[("connect", &longest, Reason::PacketValue)]);
    for length in [8193, 60_000] {
        poisons(&mut scene, &mut attacker, &packet(FENCE, length), Reason::PacketOversized);
    }
    poisons(&mut scene, &mut attacker, &packet(FENCE, 8192), Reason::PacketLength);
    let oversized = packet(WELCOME, 8193);
    at_a_client(&mut scene, &[("hello", &oversized, Reason::PacketOversized)]);
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_22_every_truncation_is_a_fault() {
    let Some(mut scene) = Scene::set(name!()) else { return };
    let mut attacker = scene.attacker();
    // Message, the step it belongs to, its bytes, and how many are cut at a time.
    for (message, step, length, by) in [
        ("hello", "connect", 80, 1),
        ("open protocol=bytes", "hello", 85, 3),
        ("sealed", "granted", 24, 3),
    ] {
        for left in (1..length).step_by(by) {
            let cut = format!("{message} cut={}", length - left);
            let honest = format!("{cut} length={left}");
            let reason = if left < 16 { Reason::PacketTruncated } else { Reason::PacketLength };
            at_a_server(&mut scene, &mut attacker, &[(step, &cut, reason)]);
            at_a_server(&mut scene, &mut attacker, &[(step, &honest, Reason::PacketTruncated)]);
        }
    }
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_22_surplus_reserved_bits_bad_text_and_features_are_refused_at_either_side() {
    use Reason::{PacketLength, PacketReserved, PacketText, PacketTooLong, PacketTruncated};
    let Some(mut scene) = Scene::set(name!()) else { return };
    let mut attacker = scene.attacker();
    at_a_server(
        &mut scene,
        &mut attacker,
        &[
            ("connect", "hello append=00", PacketLength),
            ("connect", "hello append=00 length=81", PacketLength),
            ("hello", "open append=0011 length=82", PacketLength),
            ("granted", "sealed append=00 length=25", PacketLength),
            ("connect", "hello length=0", PacketLength),
            ("connect", "hello length=0xffffffff", PacketLength),
            ("connect", "hello flags=1", PacketReserved),
            ("connect", "hello flags=0x8000", PacketReserved),
            ("connect", "hello header_reserved=1", PacketReserved),
            ("hello", "open header_reserved=0x80000000", PacketReserved),
            ("hello", "open reserved=1", PacketReserved),
            ("granted", "sealed reserved=0x100", PacketReserved),
            ("connect", "hello application=hex:ff", PacketText),
            ("connect", "hello application=hex:c0af", PacketText),
            ("connect", "hello application=hex:1b5b324a", PacketText),
            ("hello", "open protocol=hex:610a62", PacketText),
            ("hello", "open type_accepting=hex:c285", PacketText),
            ("connect", "hello application_length=65", PacketTooLong),
            ("connect", "hello metadata_length=4097", PacketTooLong),
            ("hello", "open type_connecting_length=65535", PacketTooLong),
            ("connect", "hello application_length=64", PacketTruncated),
            ("hello", "open metadata_length=4096", PacketTruncated),
            ("connect", "hello required=1", Reason::PacketValue),
            ("connect", "hello takes_fds=254", Reason::PacketValue),
            ("connect", "hello takes_blobs=1025", Reason::PacketValue),
            ("connect", "hello takes_bytes=1", Reason::PacketValue),
            ("connect", "hello reserved=1", PacketReserved),
        ],
    );
    for feature in ["0x8000000000000000", "1"] {
        let hello = format!("hello offered={feature} required={feature}");
        let due = ("reject", "2", Reason::Feature);
        let told = turned_away(&mut scene, &mut attacker, "connect", &hello, due);
        assert!(told.get("sentence").contains("which_the_server_lacks"), "{told:?}");
    }
    // Offered and not required, it is left out.
    attacker.run(format!("connect {}", scene.path()));
    attacker.run(format!("client until=ready offered=-1 {PROTOCOL}"));
    attacker.run("close");
    assert!(matches!(scene.ended(), End::PeerDied(_)));
    for (command, reason) in [
        ("fence flags=1", PacketReserved),
        ("fence append=00 length=17", PacketLength),
        ("fenceack cut=1", PacketTruncated),
    ] {
        poisons(&mut scene, &mut attacker, command, reason);
    }
    at_a_client(
        &mut scene,
        &[
            ("hello", "welcome reserved=1", PacketReserved),
            ("hello", "welcome append=00 length=73", PacketLength),
            ("hello", "welcome takes_fds=254", Reason::PacketValue),
            ("hello", "welcome takes_blobs=1025", Reason::PacketValue),
            ("hello", "welcome takes_bytes=1", Reason::PacketValue),
            ("hello", "welcome reserved2=1", PacketReserved),
            ("hello", "welcome application=hex:07", PacketText),
            ("hello", "reject reserved=1", PacketReserved),
            ("open", "granted cut=1 length=47", PacketTruncated),
            ("open", "refused reserved=1", PacketReserved),
            ("sealed", "ready reserved=1", PacketReserved),
        ],
    );
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_23_a_message_out_of_its_order_is_a_fault_before_and_after_ready() {
    use Reason::Order;
    const ALL: [&str; 8] =
        ["hello", "open", "welcome", "reject", "granted", "sealed", "ready", "refused"];
    let Some(mut scene) = Scene::set(name!()) else { return };
    let mut attacker = scene.attacker();
    for (step, due) in [("connect", "hello"), ("hello", "open"), ("granted", "sealed")] {
        for command in ALL.into_iter().chain(["fence", "fenceack"]).filter(|c| *c != due) {
            at_a_server(&mut scene, &mut attacker, &[(step, command, Order)]);
        }
    }
    for command in ALL {
        poisons(&mut scene, &mut attacker, command, Order);
    }
    at_a_client(
        &mut scene,
        &[
            ("hello", "granted", Order),
            ("hello", "ready", Order),
            ("hello", "refused", Order),
            ("welcome", "welcome", Order),
            ("welcome", "reject", Order),
            ("welcome", "ready", Order),
            ("granted", "granted", Order),
            ("granted", "welcome", Order),
            ("granted", "fence", Order),
        ],
    );
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_23_what_is_said_ahead_of_time_is_judged_when_its_turn_comes() {
    let Some(mut scene) = Scene::set(name!()) else { return };
    let mut attacker = scene.attacker();
    // Sealed before there was anything to seal.
    attacker.run(format!("connect {}", scene.path()));
    for command in ["hello", "open protocol=bytes", "sealed"] {
        attacker.run(command);
    }
    let told = attacker.hung_up_on().expect("a word");
    assert_eq!((told.get("kind"), told.get("code")), ("refused", "6"));
    scene.counted(Reason::SegmentSeals);
    // A message in the lane before the channel is Ready lies there until it is.
    come(&mut attacker, &scene, "granted");
    attacker.run("attach");
    attacker.run("send 6561726c79");
    attacker.run(format!("client until=ready {PROTOCOL}"));
    assert_eq!(attacker.run("recvmsg").get("hex"), "6561726c79");
    drop(attacker);
    assert!(matches!(scene.ended(), End::PeerDied(_)));
    scene.finish();
}

/// A good Fence, as bytes.
const FENCE: &str = "4d524e47090000001000000000000000";

#[test]
fn attack_24_a_packet_is_one_message_and_a_stream_does_not_connect() {
    let Some(mut scene) = Scene::set(name!()) else { return };
    let mut attacker = scene.attacker();
    attacker.run(format!("connect {}", scene.path()));
    assert_eq!(attacker.fails(format!("send-fd-to {}", scene.path())), "EPROTOTYPE");
    attacker.run("close");
    scene.counted(Reason::Gone);
    let two = format!("hello append={FENCE}");
    let sealed = format!("sealed append={FENCE}");
    at_a_server(
        &mut scene,
        &mut attacker,
        &[
            ("connect", &two, Reason::PacketLength),
            ("granted", &sealed, Reason::PacketLength),
            // The first half of one; nobody waits for the other.
            ("connect", "hello cut=32", Reason::PacketLength),
            ("hello", "open cut=60", Reason::PacketLength),
        ],
    );
    let fences = format!("packet {FENCE}{FENCE}");
    poisons(&mut scene, &mut attacker, &fences, Reason::PacketLength);
    let welcome = format!("welcome append={FENCE}");
    at_a_client(&mut scene, &[("hello", &welcome, Reason::PacketLength)]);
    drop(attacker);
    scene.finish();
}
