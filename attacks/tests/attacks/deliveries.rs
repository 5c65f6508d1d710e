//! Section C of the list: descriptors that come with messages, or should have.

use memring::{Bytes, End, Limits, ListenerBuilder, Reason, RecvError};

use crate::attacker::{Attacker, is_stranger};
use crate::carried::{
    self, BLOBS, BYTES, FDS, archive, breaks, broken, client, frame, leaves, saw, send, times,
};
use crate::closing::{held_up, let_them_go, lingering};
use crate::descriptors::open_of;
use crate::fuse::SilentFile;
use crate::kernel::{Third, has_passrights, refuse, without_passrights};
use crate::scene::{PROTOCOL, Scene};
use crate::service::{ECHO, Service, receive_with_fds};
use crate::support::{eventually, soon};
use crate::victim::Victim;

/// Descriptors that a session takes beside those with messages, and that a handshake takes.
const SESSION_DESCRIPTORS: u64 = 2;
const HANDSHAKE_DESCRIPTORS: u64 = 5;

#[test]
fn attack_28_another_number_of_descriptors_than_the_packet_or_the_frame_says_is_a_fault() {
    let Some(mut scene) = carried::set(name!()) else { return };
    let (none, one, two) = (archive(&[], &[]), archive(&[], &[0]), archive(&[], &[0, 1]));
    let [of_one, of_two] = [frame(1, &one), frame(2, &two)];
    let cases: &[(&[&str], Reason)] = &[
        // The frame claims what did not come, more or less of it.
        (&[&of_one], Reason::LaneDescriptors),
        (&[&frame(0xffff, &none)], Reason::LaneDescriptors),
        (&["attachments fds=p", &of_two], Reason::LaneDescriptors),
        (&["attachments fds=p,p", &of_one], Reason::LaneDescriptors),
        // So the packet.
        (&["attachments entries=fd"], Reason::Descriptors),
        (&["attachments fds=p entries=fd,fd"], Reason::Descriptors),
        (&["attachments fds=p,p entries=fd"], Reason::Descriptors),
        (&["attachments fds=p,p entries=fd split"], Reason::Descriptors),
        (&["attachments fds=p,p,p entries=fd,1:4096 split"], Reason::Descriptors),
        (&["forget fds=p"], Reason::Descriptors),
        (&["fence fds=p"], Reason::Descriptors),
        (&["fenceack fds=p,p split"], Reason::Descriptors),
        // And the packet itself.
        (&["attachments fds=p entries="], Reason::PacketValue),
        (&["attachments fds=p entries_length=254"], Reason::PacketValue),
        (&["attachments fds=p entries_length=0x10000001"], Reason::PacketValue),
        (&["attachments fds=p entries_length=2"], Reason::PacketTruncated),
        (&["attachments fds=p,p entries_length=1"], Reason::PacketLength),
        (&["attachments fds=p entries=0:1"], Reason::PacketReserved),
        (&["attachments fds=p channel=1"], Reason::Channel),
    ];
    for (commands, reason) in cases {
        broken(&mut scene, commands, *reason);
    }
    // Two in two control messages are two.
    let mut attacker = client(&mut scene);
    attacker.run("attachments fds=p,p.other split");
    attacker.run(&of_two);
    assert_eq!(saw(&mut attacker), "fds=2 blobs=");
    assert_eq!(
        send(&mut attacker, &format!("fds={}", times("p", 8)), &[], &all(8)),
        "fds=8 blobs="
    );
    leaves(&scene, attacker);
    scene.finish();
}

/// The numbers of so many descriptors.
fn all(count: u32) -> Vec<u32> {
    (0..count).collect()
}

/// Says how many descriptors came with each message.
const COUNT: Service<Bytes> = Service::of(|channel, how| {
    let came = receive_with_fds(channel, how)?;
    Ok(came.map(|(bytes, fds)| format!("{} bytes, {} fds", bytes.len(), fds.len()).into_bytes()))
});

#[test]
fn attack_28_bytes_have_as_many_descriptors_beside_them_as_came() {
    let Some(mut scene) = Scene::with(name!(), |builder| builder.fds(FDS), COUNT) else { return };
    let mut attacker = scene.attacker_at("ready");
    attacker.run("make p pipe");
    for (with, due) in [("", 0), ("fds=p", 1), ("fds=p,p.other,p", 3)] {
        for size in [0, 5, 40_000] {
            attacker.run(format!("send size={size} {with}"));
            assert_eq!(saw(&mut attacker), format!("{size} bytes, {due} fds"));
        }
    }
    leaves(&scene, attacker);
    for (commands, reason) in [
        (&["frame kind=1 fds=1"][..], Reason::LaneDescriptors),
        (&["attachments fds=p", "frame kind=1 fds=2"], Reason::LaneDescriptors),
        // It keeps no blobs.
        (&["attachments fds=p entries=1:4096"], Reason::DescriptorsFlood),
        (&["forget"], Reason::Order),
    ] {
        poisons(&mut scene, commands, reason);
    }
    scene.finish();
}

/// A client with a pipe `p` does so, and its session is over for this.
#[track_caller]
fn poisons(scene: &mut Scene, commands: &[&str], reason: Reason) {
    let mut attacker = scene.attacker_at("ready");
    attacker.run("make p pipe");
    for command in commands {
        attacker.run(command);
    }
    scene.poisoned(reason);
}

/// What a server that takes nothing has to say to these, which need no descriptor to get to it.
#[track_caller]
fn nothing_is_taken(scene: &mut Scene, command: &str, reason: Reason) {
    let mut attacker = scene.attacker_at("ready");
    attacker.run("make p pipe");
    attacker.run(command);
    scene.poisoned(reason);
}

#[test]
fn attack_31_messages_bring_nothing_to_a_side_that_takes_nothing() {
    let Some(mut scene) = Scene::set(name!()) else { return };
    for (command, reason) in [
        ("attachments entries=fd", Reason::Order),
        ("attachments entries=1:4096", Reason::Order),
        ("forget", Reason::Order),
        ("frame kind=1 fds=1", Reason::LaneDescriptors),
    ] {
        nothing_is_taken(&mut scene, command, reason);
    }
    if has_passrights() {
        let mut attacker = scene.attacker_at("ready");
        attacker.run("make p pipe");
        for message in ["attachments fds=p", "attachments fds=p entries=1:4096"] {
            assert_eq!(attacker.fails(message), "EPERM");
        }
        leaves(&scene, attacker);
    }
    scene.finish();
}

#[test]
fn attack_31_where_the_kernel_cannot_keep_them_off_they_end_the_session() {
    let Some(mut scene) = Scene::with(name!(), without_passrights, ECHO) else { return };
    for command in ["attachments fds=p", "attachments fds=p entries=1:4096"] {
        nothing_is_taken(&mut scene, command, Reason::Order);
    }
    scene.finish();
}

#[test]
fn attack_31_a_side_that_takes_blobs_takes_no_descriptors_by_that() {
    let Some(mut scene) = Scene::with(name!(), |b| b.blobs(BLOBS, BYTES), ECHO) else {
        return;
    };
    for (commands, reason) in [
        (&["attachments fds=p"][..], Reason::DescriptorsFlood),
        (&["frame kind=1 fds=1"], Reason::LaneDescriptors),
        // Nor blobs with bytes, whose receiver can name none.
        (&["attachments fds=p entries=1:4096", "frame kind=1 fds=1"], Reason::LaneDescriptors),
    ] {
        poisons(&mut scene, commands, reason);
    }
    scene.finish();
}

#[test]
fn attack_31_before_the_channel_is_ready_nothing_gets_in() {
    let Some(mut scene) = carried::set(name!()) else { return };
    // It takes some later; in the handshake nobody does.
    for step in ["connect", "hello", "granted"] {
        let mut attacker = scene.attacker_at(step);
        attacker.run("make p pipe");
        if has_passrights() {
            assert_eq!(attacker.fails("attachments fds=p"), "EPERM", "after {step}");
            drop(attacker);
            scene.counted(Reason::Gone);
        } else {
            attacker.run("attachments fds=p");
            scene.counted(Reason::Order);
        }
    }
    scene.finish();
}

#[test]
fn attack_32_more_descriptors_than_are_taken_end_the_session_and_are_closed() {
    let Some(mut scene) = carried::set(name!()) else { return };
    for fds in [9, 100, 253] {
        broken(&mut scene, &[&format!("attachments fds={}", times("p", fds))], FLOOD);
    }
    // Not all at once, for one message or for many, and with blobs among them, which count for themselves.
    let four = format!("attachments fds={}", times("p", 4));
    let mixed = format!("attachments fds={},b entries={},1:4096", times("p", 4), times("fd", 4));
    for packets in [
        [&*four, &*four, "attachments fds=p"],
        [&*mixed, "attachments fds=p,p,p,p position=4096", "attachments fds=p position=32"],
    ] {
        let mut attacker = client(&mut scene);
        let before = open_of("pipe");
        attacker.run(packets[0]);
        attacker.run(packets[1]);
        eventually("all that is taken waits here", || open_of("pipe") == before + 8);
        attacker.run(packets[2]);
        breaks(&mut scene, FLOOD);
        eventually("they are closed", || open_of("pipe") == before);
    }
    // Each that was received makes room for another.
    let mut attacker = client(&mut scene);
    for _ in 0..50 {
        let with = format!("fds={}", times("p", 8));
        assert_eq!(send(&mut attacker, &with, &[], &all(8)), "fds=8 blobs=");
    }
    leaves(&scene, attacker);
    scene.finish();
}

const FLOOD: Reason = Reason::DescriptorsFlood;

#[test]
fn attack_32_a_flood_of_attachments_is_cut_off_and_leaves_nothing() {
    let Some(mut scene) = carried::set(name!()) else { return };
    // Attachments of eight for a frame that never comes.
    let entries = "00".repeat(16 * 8);
    let packet =
        format!("4d524e470c000000a0000000000000000000000008000000{}{entries}", "00".repeat(8));
    let before = open_of("pipe");
    for _ in 0..5 {
        let mut attacker = client(&mut scene);
        let flood = attacker.run(format!("burst 1000 {packet} fds={}", times("p", 8)));
        assert!(flood.number("sent") > 1, "{flood:?}");
        breaks(&mut scene, FLOOD);
        drop(attacker);
        eventually("they are closed", || open_of("pipe") == before);
    }
    scene.finish();
}

/// Fence, as a packet.
const FENCE: &str = "4d524e47090000001000000000000000";

#[test]
fn attack_32_packets_without_end_hold_nobody_who_looks_for_descriptors() {
    let Some(mut scene) = carried::set(name!()) else { return };
    for _ in 0..5 {
        let mut attacker = client(&mut scene);
        for _ in 0..3 {
            attacker.run(format!("packetstorm {FENCE}"));
        }
        let sent = |attacker: &mut Attacker| {
            let rounds = attacker.run("rounds");
            (0..3).map(|storm| rounds.number(&format!("packetstorm{storm}"))).sum::<u64>()
        };
        eventually("the socket has been full", || sent(&mut attacker) > 1000);
        // They are none of this frame's, nor does anything else come for it.
        let before = sent(&mut attacker);
        attacker.run(frame(1, &archive(&[], &[0])));
        breaks(&mut scene, Reason::LaneDescriptors);
        // 4096 are looked through, beside those that were read before.
        let meanwhile = sent(&mut attacker) - before;
        assert!(meanwhile < 40_000, "{meanwhile} packets were read");
    }
    scene.finish();
}

#[test]
fn attack_52_descriptors_of_another_frame_are_a_fault() {
    let Some(mut scene) = carried::set(name!()) else { return };
    let one = archive(&[], &[0]);
    let of_one = frame(1, &one);
    for position in ["16", "-16", "8", "0x100000000", "0x10000"] {
        let ahead = format!("attachments fds=p position={position}");
        broken(&mut scene, &[&ahead, &of_one], Reason::LaneDescriptors);
    }
    let behind = 16 + one.len().next_multiple_of(32) / 2;
    let [first, second] = [0, behind].map(|at| format!("attachments fds=p position={at}"));
    // Twice for one frame, and the other way round.
    broken(&mut scene, &[&first, &first, &of_one, &of_one], Reason::LaneDescriptors);
    broken(&mut scene, &[&second, &first, &of_one], Reason::LaneDescriptors);
    let mut attacker = client(&mut scene);
    for command in [&*first, &*second, &*of_one, &*of_one] {
        attacker.run(command);
    }
    for _ in 0..2 {
        assert_eq!(saw(&mut attacker), "fds=1 blobs=");
    }
    leaves(&scene, attacker);
    // With frames that have none, whatever came.
    for kind in [2, 3, 4, 6, 7, 8] {
        let frame = format!("frame kind={kind} fds=1 len=16");
        let reason = if kind == 8 { Reason::LaneKind } else { Reason::LaneDescriptors };
        broken(&mut scene, &["attachments fds=p", &frame], reason);
    }
    scene.finish();
}

#[test]
fn attack_52_of_a_message_in_parts_the_last_has_the_descriptors() {
    let Some(mut scene) = carried::set(name!()) else { return };
    let whole = archive(&[], &[0]);
    // The total of 20 bytes, and 10 of them; then the rest.
    let (begin, rest) = whole.split_at(20);
    let first = format!("kind=3 payload={:016x}{begin}", 20_u64.swap_bytes());
    let last = format!("kind=5 payload={rest}");
    let [plain_first, plain_last] = [&first, &last].map(|frame| format!("frame {frame}"));
    let [first_with, last_with] = [first, last].map(|frame| format!("frame fds=1 {frame}"));
    let ahead = "attachments fds=p";
    for (commands, reason) in [
        (&[ahead, &*first_with][..], Reason::LaneDescriptors),
        // Its position is that of the last part.
        (&[ahead, &plain_first, &last_with], Reason::LaneDescriptors),
        (&[&plain_first, &last_with], Reason::LaneDescriptors),
        // A last part without any is a message that names what did not come.
        (&[&plain_first, ahead, &plain_last], Reason::LaneDecode),
        // One that ends nothing, though they came.
        (&[ahead, &last_with], Reason::LaneParts),
    ] {
        broken(&mut scene, commands, reason);
    }
    let mut attacker = client(&mut scene);
    for command in [&*plain_first, ahead, &last_with] {
        attacker.run(command);
    }
    assert_eq!(saw(&mut attacker), "fds=1 blobs=");
    leaves(&scene, attacker);
    scene.finish();
}

#[test]
fn attack_72_a_message_names_each_of_its_descriptors_once_or_is_a_fault() {
    let Some(mut scene) = carried::set(name!()) else { return };
    let before = open_of("pipe");
    for (came, names) in [
        (2, &[0, 2][..]),
        (2, &[0, 63]),
        (2, &[0, 64]),
        (2, &[0, 255]),
        (2, &[0, 256]),
        (2, &[0, u32::MAX]),
        (2, &[0, 0]),
        (2, &[0, 1, 1]),
        (2, &[0, 1, 0]),
        (2, &[0]),
        (2, &[1]),
        (2, &[]),
        (1, &[1]),
    ] {
        let ahead = format!("attachments fds={}", times("p", came));
        broken(&mut scene, &[&ahead, &frame(came, &archive(&[], names))], Reason::LaneDecode);
        eventually("they are closed", || open_of("pipe") == before);
    }
    broken(&mut scene, &[&frame(0, &archive(&[], &[0]))], Reason::LaneDecode);
    // In any order.
    let mut attacker = client(&mut scene);
    assert_eq!(send(&mut attacker, "fds=p,p,p", &[], &[2, 0, 1]), "fds=3 blobs=");
    leaves(&scene, attacker);
    scene.finish();
}

/// The server is told nothing that holds it up, in a session that goes on.
#[track_caller]
fn goes_on(attacker: &mut Attacker) {
    assert_eq!(send(attacker, "", &[], &[]), "fds=0 blobs=");
    assert_eq!(send(attacker, "fds=p", &[], &[0]), "fds=1 blobs=");
}

#[test]
fn attack_34_a_unix_socket_that_was_not_allowed_ends_the_session() {
    let Some(mut scene) = carried::set(name!()) else { return };
    for made in ["make u socket", "make u inflight"] {
        let mut attacker = client(&mut scene);
        attacker.run(made);
        attacker.run("make p pipe");
        attacker.run("attachments fds=p,u");
        breaks(&mut scene, Reason::UnixSocket);
    }
    // One of another family is as any other.
    let mut attacker = client(&mut scene);
    lingering(&mut attacker, 1);
    attacker.run("attachments fds=l0");
    attacker.run("drop l0");
    attacker.run(frame(1, &archive(&[], &[0])));
    assert_eq!(saw(&mut attacker), "fds=1 blobs=");
    eventually("the closer is held up", || held_up() == 1);
    let_them_go(&mut attacker, 1);
    leaves(&scene, attacker);
    scene.finish();
}

#[test]
fn attack_34_what_a_filter_lets_nobody_ask_may_be_a_unix_socket() {
    let sandboxed = |builder: ListenerBuilder| {
        refuse(libc::SYS_getsockopt, Third::Is(libc::SO_DOMAIN), libc::EPERM);
        builder.fds(FDS).blobs(BLOBS, BYTES)
    };
    let Some(mut scene) = carried::with(name!(), sandboxed) else { return };
    for made in ["make u socket", "make u pipe"] {
        broken(&mut scene, &[made, "attachments fds=u"], Reason::UnixSocket);
    }
    scene.finish();
}

#[test]
fn attack_34_sockets_in_their_own_queues_come_and_go_where_they_are_allowed() {
    let allowed = |builder: ListenerBuilder| builder.fds(FDS).blobs(BLOBS, BYTES).unix_sockets();
    let Some(mut scene) = carried::with(name!(), allowed) else { return };
    let mut attacker = client(&mut scene);
    for _ in 0..5 {
        attacker.run("make i inflight");
        attacker.run("make u socket");
        attacker.run(format!("send {} fds=i,i.other,u,u.other", archive(&[], &all(4))));
        for name in ["i", "u"] {
            attacker.run(format!("drop {name}"));
        }
        assert_eq!(saw(&mut attacker), "fds=4 blobs=");
        goes_on(&mut attacker);
    }
    leaves(&scene, attacker);
    scene.finish();
}

#[test]
fn attack_36_a_socket_that_lingers_comes_with_a_message_and_holds_nobody_up() {
    let Some(mut scene) = carried::set(name!()) else { return };
    // Received and not taken, received as a blob, and waiting for a frame that never comes.
    let mut attacker = client(&mut scene);
    lingering(&mut attacker, 1);
    attacker.run("attachments fds=l0");
    attacker.run("drop l0");
    attacker.run(frame(1, &archive(&[], &[0])));
    assert_eq!(saw(&mut attacker), "fds=1 blobs=");
    eventually("the closer is held up", || held_up() == 1);
    goes_on(&mut attacker);
    let_them_go(&mut attacker, 1);
    leaves(&scene, attacker);
    for (ahead, then, reason) in [
        ("fds=l0 entries=1:4096", frame(1, &archive(&[1], &[])), Reason::BlobForeign),
        ("fds=l0", frame(2, &archive(&[], &[0, 1])), Reason::LaneDescriptors),
        ("fds=l0 position=16", "fence append=00".to_owned(), Reason::PacketLength),
    ] {
        let mut attacker = client(&mut scene);
        lingering(&mut attacker, 1);
        attacker.run(format!("attachments {ahead}"));
        attacker.run("drop l0");
        attacker.run(then);
        breaks(&mut scene, reason);
        eventually("the closer is held up", || held_up() == 1);
        let mut other = client(&mut scene);
        goes_on(&mut other);
        leaves(&scene, other);
        let_them_go(&mut attacker, 1);
    }
    scene.finish();
}

#[test]
fn attack_36_what_waits_to_be_closed_is_charged_to_whoever_sent_it() {
    let settings = |builder: ListenerBuilder| {
        let mut limits = Limits::default();
        let session = SESSION_DESCRIPTORS + u64::from(FDS);
        // Three sessions, one handshake; and the bystander, which is of another uid unless this is not root.
        let sessions = if is_stranger() { 3 } else { 4 };
        limits.descriptors_per_uid = sessions * session + HANDSHAKE_DESCRIPTORS;
        builder.fds(FDS).limits(limits)
    };
    let Some(mut scene) = Scene::with(name!(), settings, COUNT) else { return };
    let mut attacker = scene.attacker();
    attacker.run("make p pipe");
    lingering(&mut attacker, 4);
    let before = open_of("pipe");
    // Four keep all the closer's threads; what comes later stays open behind them.
    let packets = ["l0,l1,l2,l3".to_owned(), times("p", 8), times("p", 8)];
    for fds in packets {
        attacker.run(format!("connect {}", scene.path()));
        attacker.run(format!("client {PROTOCOL}"));
        attacker.run(format!("attachments fds={fds} position=4096"));
        if fds.starts_with('l') {
            (0..4).for_each(|i| drop(attacker.run(format!("drop l{i}"))));
        }
        attacker.run("close");
        scene.ended();
        if fds.starts_with('l') {
            eventually("all threads are held up", || held_up() == 4);
        }
    }
    eventually("they are open still", || open_of("pipe") == before + 16);
    for _ in 0..5 {
        attacker.run(format!("connect {}", scene.path()));
        assert_eq!(attacker.fails(format!("client {PROTOCOL}")), "reject");
        attacker.run("close");
        scene.counted(Reason::QuotaDescriptors);
    }
    let mut ours = Victim::connect(&scene.path()).session();
    ours.send_deadline(b"us too?", soon()).expect("a question");
    assert_eq!(&*ours.recv_deadline(soon()).expect("an answer"), b"7 bytes, 0 fds");
    drop(ours);
    scene.ended();
    let_them_go(&mut attacker, 4);
    eventually("they are closed", || open_of("pipe") == before);
    attacker.run(format!("connect {}", scene.path()));
    attacker.run(format!("client {PROTOCOL}"));
    attacker.run("send 00 fds=p");
    assert_eq!(saw(&mut attacker), "1 bytes, 1 fds");
    leaves(&scene, attacker);
    scene.finish();
}

#[test]
fn attack_36_a_file_that_never_answers_comes_with_a_message_and_holds_nobody_up() {
    let Some(mut scene) = carried::set(name!()) else { return };
    let silent = match SilentFile::mount(&scene.attackers_directory()) {
        Ok(silent) => silent,
        Err(why) => {
            println!("skipped: no FUSE file system can be mounted here: {why}");
            return scene.finish();
        }
    };
    // Started within the namespace of the mount.
    let mut attacker = client(&mut scene);
    // Given up before the attacker is, which cannot end while it waits for an answer.
    let silent = silent;
    attacker.run(format!("make f open at={}", silent.path().display()));
    assert_eq!(send(&mut attacker, "fds=f", &[], &[0]), "fds=1 blobs=");
    eventually("the closer is held up", || held_up() == 1);
    goes_on(&mut attacker);
    attacker.run("attachments fds=f entries=1:4096");
    attacker.run(frame(1, &archive(&[1], &[])));
    breaks(&mut scene, Reason::BlobForeign);
    eventually("the closer is held up", || held_up() == 2);
    let mut other = client(&mut scene);
    goes_on(&mut other);
    leaves(&scene, other);
    drop(silent);
    eventually("nobody is held up any more", || held_up() == 0);
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_67_descriptors_whose_sender_was_killed_come_with_whole_messages_or_go() {
    let Some(mut scene) = carried::set(name!()) else { return };
    let before = open_of("pipe");
    // All of one message, and of the next what goes ahead; of a blob likewise.
    for ahead in ["attachments fds=p,p", "attachments fds=p,b entries=fd,2:4096"] {
        let mut attacker = client(&mut scene);
        attacker.run(format!("send {} fds=p,b entries=fd,1:4096", archive(&[1], &[0])));
        attacker.run(ahead);
        attacker.kill();
        drop(attacker);
        // The answer to the first finds nobody, or fits; the end is told either way.
        let end = scene.ended();
        assert!(matches!(end, End::PeerDied(_)), "{end}");
        eventually("they are closed", || open_of("pipe") == before);
    }
    scene.finish();
}

#[test]
fn attack_88_what_was_sent_before_a_kill_is_received_with_its_descriptors() {
    let Some(scene) = Scene::in_hand_with(name!(), |builder| builder.fds(FDS)) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, "");
    attacker.run("make p pipe");
    for (size, fds) in [(3, "p"), (20_000, "p,p.other"), (0, "p,p,p")] {
        attacker.run(format!("send size={size} fds={fds}"));
    }
    attacker.run("attachments fds=p,p");
    attacker.kill();
    eventually("the death is known", || victim.session().life().end().is_some());
    for (size, count) in [(3, 1), (20_000, 2), (0, 3)] {
        let (message, fds) = victim.recv_with_fds_deadline(soon()).expect("a whole message");
        assert_eq!((message.len(), fds.len()), (size, count));
    }
    let end = victim.recv_with_fds_deadline(soon()).map(|_| ()).expect_err("the end");
    assert!(matches!(end, RecvError::Ended(End::PeerDied(_))), "{end}");
    drop((attacker, victim, end));
    scene.finish();
}
