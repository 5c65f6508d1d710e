//! Section B of the list, rows 25 to 27: sizes, layouts and numbers, at a server and at a client.

use memring::{End, HandshakeError, Lanes, ListenerBuilder, Reason, Resource, cause};

use crate::scene::{PROTOCOL, Scene};
use crate::service::ECHO;
use crate::tries::{at_a_client, at_a_server, come, turned_away};
use crate::victim::served_up_to;

#[test]
fn attack_25_sizes_out_of_range_are_refused_before_anything_is_made() {
    const SIZES: [&str; 11] = [
        "0",
        "1",
        "4095",
        "4097",
        "12288",
        "0x40000001",
        "0x80000000",
        "0x100000000",
        "0x8000000000000000",
        "0x8000000000001000",
        "-1",
    ];
    let limits = |builder: ListenerBuilder| builder.lanes_between(Lanes::Bytes(4096), Lanes::Small);
    let Some(mut scene) = Scene::with(name!(), limits, ECHO) else { return };
    let mut attacker = scene.attacker();
    let bytes = scene.listener().quotas().held(Resource::Bytes, None);
    for size in SIZES {
        for field in ["to_accepting", "to_connecting"] {
            let open = format!("open protocol=bytes {field}={size}");
            at_a_server(&mut scene, &mut attacker, &[("hello", &open, Reason::PacketValue)]);
        }
    }
    for page in ["0", "1", "2048", "4095", "12288", "131072", "0x80000000"] {
        let hello = format!("hello page={page}");
        at_a_server(&mut scene, &mut attacker, &[("connect", &hello, Reason::PacketValue)]);
    }
    at_a_server(&mut scene, &mut attacker, &[("connect", "hello largest=0", Reason::PacketValue)]);
    // A page that no lane of this server holds.
    attacker.run(format!("connect {}", scene.path()));
    attacker.run(format!("client until=open page=65536 {PROTOCOL}"));
    let told = attacker.hung_up_on().expect("a word");
    assert_eq!((told.get("kind"), told.get("code")), ("refused", "5"));
    scene.counted(Reason::PacketValue);
    assert_eq!(scene.listener().quotas().held(Resource::Bytes, None), bytes, "nothing was made");
    // The most that can be wished for is what this server grants.
    attacker.run(format!("connect {}", scene.path()));
    let wish = "to_accepting=0x40000000 to_connecting=0x40000000";
    let granted = attacker.run(format!("client until=ready {wish} {PROTOCOL}"));
    assert_eq!((granted.number("s_capacity"), granted.number("c_capacity")), (16384, 16384));
    drop(attacker);
    assert!(matches!(scene.ended(), End::PeerDied(_)));
    scene.finish();
}

#[test]
fn attack_25_a_client_checks_the_sizes_it_is_granted_before_it_maps() {
    use Reason::{Grant, PacketValue};
    let Some(mut scene) = Scene::set(name!()) else { return };
    at_a_client(
        &mut scene,
        &[
            ("open", "granted control=0", PacketValue),
            ("open", "granted control=767", PacketValue),
            ("open", "granted control=0x100001", PacketValue),
            ("open", "granted control=0xfffff000", PacketValue),
            ("open", "granted s_capacity=0", PacketValue),
            ("open", "granted s_capacity=12288", PacketValue),
            ("open", "granted c_capacity=2048", PacketValue),
            ("open", "granted s_capacity=0x80000000", PacketValue),
            ("open", "granted c_capacity=0x8000000000000000", PacketValue),
            ("open", "granted c_capacity=-4096", PacketValue),
            ("open", "granted control=768", Grant),
            ("open", "granted control=4097", Grant),
            ("open", "granted control=6144", Grant),
            ("hello", "welcome page=0", PacketValue),
            ("hello", "welcome page=12288", PacketValue),
            ("hello", "welcome page=131072", PacketValue),
            ("hello", "welcome largest=0", PacketValue),
        ],
    );
    // By the larger page of both.
    for granted in ["control=4096", "control=65536 s_capacity=4096"] {
        let (mut attacker, victim) = served_up_to("hello", &scene);
        attacker.run("welcome page=65536");
        attacker.run(format!("granted {granted}"));
        let error = victim.handshake_error();
        let rule = matches!(error, HandshakeError::Fault(cause::HandshakeFault::Grant { .. }));
        assert!(rule, "{granted}: {error}");
        scene.counted(Grant);
    }
    scene.finish();
}

#[test]
fn attack_26_another_layout_or_schema_is_refused_with_both_in_words() {
    let Some(mut scene) = Scene::set(name!()) else { return };
    let mut attacker = scene.attacker();
    for (field, theirs) in [
        ("order=2", "big-endian,_aligned,_32-bit"),
        ("alignment=0", "little-endian,_unaligned,_32-bit"),
        ("width=16", "little-endian,_aligned,_16-bit"),
        ("width=64", "little-endian,_aligned,_64-bit"),
    ] {
        let hello = format!("hello {field}");
        let due = ("reject", "3", Reason::Archive);
        let told = turned_away(&mut scene, &mut attacker, "connect", &hello, due);
        let both = ["server_archives_little-endian,_aligned,_32-bit", theirs];
        assert!(both.iter().all(|words| told.get("sentence").contains(words)), "{told:?}");
    }
    at_a_server(
        &mut scene,
        &mut attacker,
        &[
            ("connect", "hello order=0", Reason::PacketValue),
            ("connect", "hello order=3", Reason::PacketValue),
            ("connect", "hello alignment=2", Reason::PacketValue),
            ("connect", "hello width=8", Reason::PacketValue),
        ],
    );
    // The server tells what it would have taken; its own error has both.
    const STRANGE: &str = "000102030405060708090a0b0c0d0e0f";
    for (wish, code) in [
        (format!("protocol=bytes fp_accepting={STRANGE}"), "2"),
        (format!("protocol=bytes fp_connecting={STRANGE}"), "2"),
        ("protocol=other".to_owned(), "1"),
    ] {
        attacker.run(format!("connect {}", scene.path()));
        attacker.run(format!("client until=sealed {wish}"));
        let told = attacker.hung_up_on().expect("a word");
        assert_eq!((told.get("kind"), told.get("code")), ("refused", code), "{wish}");
        assert_eq!((told.get("protocol"), told.get("fp_accepting")), ("bytes", &*"0".repeat(32)));
        scene.counted(Reason::Mismatch);
    }
    at_a_client(
        &mut scene,
        &[
            ("hello", "welcome order=2", Reason::Choice),
            ("hello", "welcome alignment=0", Reason::Choice),
            ("hello", "welcome width=64", Reason::Choice),
        ],
    );
    // A client's error names both, the other side's as it was told.
    let (mut server, victim) = served_up_to("sealed", &scene);
    server
        .run(format!("refused code=2 protocol=bytes fp_accepting={STRANGE} type_accepting=Order"));
    let error = victim.handshake_error();
    assert!(matches!(error, HandshakeError::Refused(_)), "{error:?}");
    for words in ["Order (0f0e0d0c0b0a09080706050403020100)", "untyped", "same version"] {
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
    drop((attacker, server));
    scene.finish();
}

#[test]
fn attack_27_numbers_and_packets_of_another_session_lead_nowhere() {
    use Reason::Channel;
    let Some(mut scene) = Scene::set(name!()) else { return };
    let mut attacker = scene.attacker();
    come(&mut attacker, &scene, "ready"); // a session whose numbers and packets it knows
    at_a_server(
        &mut scene,
        &mut attacker,
        &[
            ("hello", "open protocol=bytes channel=1", Channel),
            ("hello", "open protocol=bytes channel=0xffffffff", Channel),
            ("granted", "sealed channel=1", Channel),
            ("granted", "sealed channel=0x80000000", Channel),
        ],
    );
    // That the other session has sealed says nothing about this one.
    let sealed = "packet 4d524e470600000018000000000000000000000000000000";
    let due = ("refused", "6", Reason::SegmentSeals);
    turned_away(&mut scene, &mut attacker, "granted", sealed, due);
    at_a_client(
        &mut scene,
        &[
            ("open", "granted channel=1", Channel),
            ("open", "refused channel=7", Channel),
            ("sealed", "ready channel=0xffffffff", Channel),
        ],
    );
    attacker.run("use 0");
    attacker.run("send 7374696c6c");
    assert_eq!(attacker.run("recvmsg").get("hex"), "7374696c6c");
    drop(attacker);
    assert!(matches!(scene.ended(), End::PeerDied(_)));
    scene.finish();
}
