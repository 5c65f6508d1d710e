//! What a handshake agrees on, and which terms it rejects.
//!
//! What it does not do: order, see `handshake_orders.rs`; turning a channel down, see
//! `handshake_refusals.rs`.

mod machines;

use machines::{KIB, client_local, granted, server_local, welcome, wish};
use memring_transport::control::{
    ArchiveFormat, Control, Endian, Features, FenceBits, Granted, PointerWidth, RefuseCode,
    RejectCode, Versions, Welcome,
};
use memring_transport::handshake::{
    CapacityLimits, ChannelWish, ClientHandshake, ClientStep, HandshakeFault, Local, Refusal,
    Rejection, ServerHandshake, ServerStep,
};

/// Says Hello to a server, and how each side takes the answer.
fn greet(server: Local, client: Local) -> (ServerStep, ClientStep) {
    let mut server = ServerHandshake::new(server, CapacityLimits::PROTOCOL).unwrap();
    let mut client = ClientHandshake::new(client, wish(), CapacityLimits::PROTOCOL).unwrap();
    let [hello, open] = client.start();
    let step = server.on_packet(&hello, 0).unwrap();
    let answer = match &step {
        ServerStep::Send(packet) => packet,
        ServerStep::Reject { packet, .. } => {
            // The pipelined Open finds nobody.
            assert!(server.on_packet(&open, 0).is_err());
            packet
        }
        other => panic!("{other:?}"),
    };
    let taken = client.on_packet(answer, 0).unwrap();
    (step, taken)
}

#[track_caller]
fn rejects(server: Local, client: Local, code: RejectCode, sentence: &str) {
    let (step, taken) = greet(server, client);
    let ServerStep::Reject { code: said, sentence: words, .. } = step else { panic!("{step:?}") };
    assert_eq!((said, words.as_str()), (code, sentence));
    assert_eq!(taken, ClientStep::Rejected(Rejection { code, sentence: words }));
}

fn versions(local: Local, min: u16, max: u16) -> Local {
    Local { versions: Versions { min, max }, ..local }
}

#[test]
fn the_newest_common_version_is_spoken() {
    for (server, client, expected) in [
        ((1, 1), (1, 1), Some(1)),
        ((1, 3), (1, 2), Some(2)),
        ((2, 3), (1, 9), Some(3)),
        ((3, 3), (3, 4), Some(3)),
        ((2, 3), (1, 1), None),
        ((1, 1), (2, 3), None),
        ((1, u16::MAX), (u16::MAX, u16::MAX), Some(u16::MAX)),
    ] {
        let theirs = Versions { min: client.0, max: client.1 };
        assert_eq!(Versions { min: server.0, max: server.1 }.common(theirs), expected);
        let (step, taken) = greet(
            versions(server_local(), server.0, server.1),
            versions(client_local(), client.0, client.1),
        );
        match expected {
            Some(_) => assert_eq!(taken, ClientStep::Wait),
            None => assert!(matches!(step, ServerStep::Reject { code: RejectCode::Version, .. })),
        }
    }
}

#[test]
fn attack_19_without_a_common_version_both_are_named() {
    rejects(
        versions(server_local(), 2, 3),
        versions(client_local(), 1, 1),
        RejectCode::Version,
        "server speaks protocol versions 2..3, this client 1..1: upgrade the client",
    );
    rejects(
        versions(server_local(), 1, 1),
        versions(client_local(), 2, 2),
        RejectCode::Version,
        "server speaks protocol versions 1..1, this client 2..2: upgrade the server",
    );
}

fn features(local: Local, offered: u64, required: u64) -> Local {
    Local { offered: Features(offered), required: Features(required), ..local }
}

#[test]
fn features_offered_by_both_are_used_and_unknown_ones_ignored() {
    for (server, client, chosen) in
        [(0, 0, 0), (0, u64::MAX, 0), (0b110, 0b011, 0b010), (u64::MAX, 1 << 63, 1 << 63)]
    {
        let (step, taken) =
            greet(features(server_local(), server, 0), features(client_local(), client, 0));
        let ServerStep::Send(packet) = step else { panic!("{step:?}") };
        let Ok(Control::Welcome(welcome)) = memring_transport::control::decode(&packet) else {
            panic!("Welcome")
        };
        assert_eq!(welcome.features, Features(chosen));
        assert_eq!(taken, ClientStep::Wait);
    }
}

#[test]
fn attack_22_an_unknown_mandatory_feature_is_rejected() {
    rejects(
        features(server_local(), 0, 0),
        features(client_local(), 0b101, 0b100),
        RejectCode::Feature,
        "this client requires features 0x4, which the server lacks: upgrade the server",
    );
    rejects(
        features(server_local(), 0b11, 0b10),
        features(client_local(), 0b01, 0),
        RejectCode::Feature,
        "server requires features 0x2, which this client lacks: upgrade the client",
    );
}

#[test]
fn attack_26_another_archive_format_is_rejected_and_both_are_named() {
    let formats = [
        ArchiveFormat { endian: Endian::Big, ..ArchiveFormat::DEFAULT },
        ArchiveFormat { aligned: false, ..ArchiveFormat::DEFAULT },
        ArchiveFormat { pointer_width: PointerWidth::W16, ..ArchiveFormat::DEFAULT },
        ArchiveFormat { pointer_width: PointerWidth::W64, ..ArchiveFormat::DEFAULT },
    ];
    for archive in formats {
        rejects(
            server_local(),
            Local { archive, ..client_local() },
            RejectCode::ArchiveFormat,
            &format!(
                "server archives little-endian, aligned, 32-bit pointers; this client {archive}: \
                 build both with the same features of rkyv"
            ),
        );
    }
}

#[test]
fn the_larger_page_and_the_smaller_message_hold() {
    for (server, client, page) in [(4096, 4096, 4096), (4096, 65536, 65536), (16384, 4096, 16384)] {
        for (ours, theirs, largest) in [(5, 7, 5), (7, 5, 5), (1, u64::MAX, 1)] {
            let local = Local { page_size: server, largest_message: ours, ..server_local() };
            let mut server = ServerHandshake::new(local, CapacityLimits::PROTOCOL).unwrap();
            let local = Local { page_size: client, largest_message: theirs, ..client_local() };
            let mut client = ClientHandshake::new(local, wish(), CapacityLimits::PROTOCOL).unwrap();
            let [hello, _] = client.start();
            let step = server.on_packet(&hello, 0);
            assert!(matches!(step, Ok(ServerStep::Send(_))));
            let negotiated = server.negotiated().unwrap();
            assert_eq!((negotiated.page_size, negotiated.largest_message), (page, largest));
        }
    }
}

/// What a server grants for a wish of `(to accepting, to connecting)`.
fn grant(page: u32, limits: CapacityLimits, wish_kib: (u64, u64)) -> Result<(u64, u64), Refusal> {
    let mut server = ServerHandshake::new(server_local(), limits).unwrap();
    let local = Local { page_size: page, ..client_local() };
    let wish = ChannelWish {
        capacity_to_accepting: wish_kib.0 * KIB,
        capacity_to_connecting: wish_kib.1 * KIB,
        ..wish()
    };
    let mut client = ClientHandshake::new(local, wish, CapacityLimits::PROTOCOL).unwrap();
    let [hello, open] = client.start();
    let Ok(ServerStep::Send(welcome)) = server.on_packet(&hello, 0) else { panic!("Hello") };
    assert_eq!(client.on_packet(&welcome, 0), Ok(ClientStep::Wait));
    match server.on_packet(&open, 0).unwrap() {
        ServerStep::Grant(geometry) => {
            assert_eq!(geometry.control_bytes % page, 0);
            let total = 2 * u64::from(page) + geometry.capacity_s + geometry.capacity_c;
            assert_eq!(geometry.bytes(), total);
            Ok((geometry.capacity_c / KIB, geometry.capacity_s / KIB))
        }
        ServerStep::Refuse(packet) => match client.on_packet(&packet, 0).unwrap() {
            ClientStep::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn attack_25_a_wish_is_clamped_to_limits_and_raised_to_the_page() {
    let all = CapacityLimits::PROTOCOL;
    let narrow = CapacityLimits::new(16 * KIB, 256 * KIB).unwrap();
    for (page, limits, wish, granted) in [
        (4096, all, (64, 256), (64, 256)),
        (4096, all, (4, 1 << 20), (4, 1 << 20)),
        (4096, narrow, (4, 1 << 20), (16, 256)),
        (65536, all, (4, 16), (64, 64)),
        (65536, narrow, (4, 128), (64, 128)),
    ] {
        assert_eq!(grant(page, limits, wish), Ok(granted), "{page} {wish:?}");
    }
}

#[test]
fn attack_25_pages_beyond_the_limit_are_refused() {
    let tiny = CapacityLimits::new(4 * KIB, 16 * KIB).unwrap();
    let refusal = grant(65536, tiny, (4, 4)).unwrap_err();
    assert_eq!((refusal.code, refusal.mismatch), (RefuseCode::Resources, None));
    assert_eq!(
        refusal.sentence.as_str(),
        "pages of 65536 bytes do not fit this server's limit of 16384 bytes a lane"
    );
}

#[test]
fn limits_are_powers_of_two_in_range() {
    for (smallest, largest, good) in [
        (4 * KIB, 1 << 30, true),
        (64 * KIB, 64 * KIB, true),
        (2 * KIB, 64 * KIB, false),
        (4 * KIB, 1 << 31, false),
        (64 * KIB, 32 * KIB, false),
        (0, 64 * KIB, false),
        (4 * KIB, 3 * 4 * KIB, false),
    ] {
        assert_eq!(CapacityLimits::new(smallest, largest).is_some(), good, "{smallest} {largest}");
    }
}

#[test]
fn attack_25_a_client_checks_what_it_is_granted() {
    let largest = CapacityLimits::new(4 * KIB, 256 * KIB).unwrap();
    let local = Local { page_size: 16384, ..client_local() };
    let cases = [
        (Granted { control_bytes: 16384, ..granted() }, None),
        (Granted { control_bytes: 49152, ..granted() }, None),
        (granted(), Some("control bytes")), // one page of the server's, a quarter of ours
        (Granted { control_bytes: 16383, ..granted() }, Some("control bytes")),
        (Granted { control_bytes: 16384, capacity_s: 8 * KIB, ..granted() }, Some("capacity of S")),
        (Granted { control_bytes: 16384, capacity_c: 4 * KIB, ..granted() }, Some("capacity of C")),
        (
            Granted { control_bytes: 16384, capacity_s: 512 * KIB, ..granted() },
            Some("capacity of S"),
        ),
        (Granted { control_bytes: 16384, capacity_c: 1 << 30, ..granted() }, Some("capacity of C")),
    ];
    for (granted, broken) in cases {
        let mut client = ClientHandshake::new(local.clone(), wish(), largest).unwrap();
        let _packets = client.start();
        assert_eq!(
            client.on_packet(&Control::Welcome(welcome()).encode(), 0),
            Ok(ClientStep::Wait)
        );
        let step = client.on_packet(&Control::Granted(granted).encode(), 2);
        match (step, broken) {
            (Ok(ClientStep::MapSegments(_)), None) => {}
            (Err(HandshakeFault::Grant { field, .. }), Some(broken)) => assert_eq!(field, broken),
            (step, _) => panic!("{granted:?}: {step:?}"),
        }
    }
}

#[test]
fn a_client_checks_what_welcome_chose() {
    let cases: [(Welcome<'_>, &str); 5] = [
        (Welcome { version: 2, ..welcome() }, "version"),
        (Welcome { features: Features(1 << 9), ..welcome() }, "offered"),
        (Welcome { features: Features::NONE, ..welcome() }, "required"),
        (Welcome { largest_message: (1 << 20) + 1, ..welcome() }, "largest message"),
        (
            Welcome {
                archive: ArchiveFormat { aligned: false, ..ArchiveFormat::DEFAULT },
                ..welcome()
            },
            "archive format",
        ),
    ];
    for (answer, named) in cases {
        let answer = if named == "required" {
            answer
        } else {
            let features = Features(answer.features.0 | 1);
            Welcome { features, ..answer }
        };
        let local = features(client_local(), 0b11, 0b01);
        let mut client = ClientHandshake::new(local, wish(), CapacityLimits::PROTOCOL).unwrap();
        let _packets = client.start();
        let step = client.on_packet(&Control::Welcome(answer).encode(), 0);
        let Err(HandshakeFault::Choice { rule }) = step else { panic!("{named}: {step:?}") };
        assert!(rule.contains(named), "{rule} is not about {named}");
    }
}

#[test]
fn settings_that_break_the_protocol_are_not_sent() {
    let locals = [
        versions(client_local(), 0, 1),
        versions(client_local(), 2, 1),
        features(client_local(), 0b01, 0b10),
        Local { page_size: 5000, ..client_local() },
        Local { largest_message: 0, ..client_local() },
    ];
    for local in locals {
        assert!(ServerHandshake::new(local.clone(), CapacityLimits::PROTOCOL).is_err());
        assert!(ClientHandshake::new(local, wish(), CapacityLimits::PROTOCOL).is_err());
    }
    let wish = ChannelWish { capacity_to_accepting: 5000, ..wish() };
    let error = ClientHandshake::new(client_local(), wish, CapacityLimits::PROTOCOL).unwrap_err();
    assert_eq!(
        error.to_string(),
        "these settings cannot be sent: capacity to accepting is 5000, but a capacity is a power \
         of two from 4 KiB to 1 GiB"
    );
}

#[test]
fn fence_bits_arrive_each_way() {
    for bits in 0..4 {
        let fence = FenceBits { registered: bits & 1 != 0, can_call: bits & 2 != 0 };
        let local = Local { fence, ..client_local() };
        let mut client = ClientHandshake::new(local, wish(), CapacityLimits::PROTOCOL).unwrap();
        let mut server = ServerHandshake::new(server_local(), CapacityLimits::PROTOCOL).unwrap();
        let [hello, _] = client.start();
        assert!(matches!(server.on_packet(&hello, 0), Ok(ServerStep::Send(_))));
        assert_eq!(server.negotiated().unwrap().peer_fence, fence);
    }
}
