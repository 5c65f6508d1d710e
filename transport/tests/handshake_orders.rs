//! Both machines against each other, and every message at every moment it is not due.
//!
//! What it does not do: what is agreed on, see `handshake_terms.rs`.

mod machines;

use machines::{
    CLIENT_STATES, ClientAt, SERVER_STATES, ServerAt, client, client_at, every_message, granted,
    hello, open, reject, server, server_at, signature, welcome,
};
use memring_transport::control::{
    Answer, Control, Kind, MAX_BLOBS, MAX_FDS, MAX_PACKET, Malformed, RefuseCode, SealBits, Takes,
};
use memring_transport::handshake::{
    Came, ClientStep, GRANTED_FDS, HandshakeFault, Heard, Hears, Notice, Role, ServerStep,
    after_ready,
};
use proptest::prelude::*;

#[test]
fn a_handshake_ends_with_both_sides_agreeing() {
    let mut server = server();
    let mut client = client();
    let [hello, open] = client.start();

    let Ok(ServerStep::Send(welcome)) = server.on_packet(&hello, 0) else { panic!("Hello") };
    let Ok(ServerStep::Grant(geometry)) = server.on_packet(&open, 0) else { panic!("Open") };
    let granted = server.granted(SealBits::WITH_EXEC, SealBits::PLAIN);

    assert_eq!(client.on_packet(&welcome, 0), Ok(ClientStep::Wait));
    let Ok(ClientStep::MapSegments(map)) = client.on_packet(&granted, GRANTED_FDS) else {
        panic!("Granted")
    };
    assert_eq!(map.geometry, geometry);
    assert_eq!((map.seals_s, map.seals_c), (SealBits::WITH_EXEC, SealBits::PLAIN));

    let sealed = client.mapped();
    assert_eq!(server.on_packet(&sealed, 0), Ok(ServerStep::CheckSealed));
    let opened = server.sealed_ok();
    assert_eq!(opened.signature, signature());
    let ready = server.accept();
    assert!(server.is_established());

    let Ok(ClientStep::Done(theirs)) = client.on_packet(&ready, 0) else { panic!("Ready") };
    assert!(client.is_established());
    let ours = opened.negotiated;
    assert_eq!(
        (ours.version, ours.features, ours.page_size, ours.largest_message),
        (theirs.version, theirs.features, theirs.page_size, theirs.largest_message)
    );
    assert_eq!((ours.peer_name.as_str(), theirs.peer_name.as_str()), ("ticker", "quotes-server"));
    assert_eq!(ours.peer_metadata.as_bytes(), [1, 2, 3]);
    assert!(ours.peer_fence.can_call && !theirs.peer_fence.can_call);
}

/// What a server takes in each state; everything else is a fault.
fn server_takes(at: ServerAt, kind: Kind) -> bool {
    matches!(
        (at, kind),
        (ServerAt::Hello, Kind::Hello)
            | (ServerAt::Open, Kind::Open)
            | (ServerAt::Sealed, Kind::Sealed)
    )
}

/// What a client takes in each state; everything else is a fault.
fn client_takes(at: ClientAt, kind: Kind) -> bool {
    matches!(
        (at, kind),
        (ClientAt::Welcome, Kind::Welcome | Kind::Reject)
            | (ClientAt::Granted, Kind::Granted | Kind::Refused)
            | (ClientAt::Ready, Kind::Ready | Kind::Refused)
    )
}

const fn fds_due(kind: Kind) -> usize {
    if matches!(kind, Kind::Granted) { GRANTED_FDS } else { 0 }
}

#[test]
fn attack_23_a_server_takes_only_what_is_due() {
    for at in SERVER_STATES {
        for message in every_message() {
            let kind = message.kind();
            let mut server = server_at(at);
            let step = server.on_packet(&message.encode(), fds_due(kind));
            if server_takes(at, kind) {
                assert!(step.is_ok(), "{kind} at {at:?}: {step:?}");
                continue;
            }
            let Err(HandshakeFault::OutOfOrder { got, .. }) = step else {
                panic!("{kind} at {at:?}: {step:?}")
            };
            assert_eq!(got, kind);
            assert!(server.opened().is_none() && server.negotiated().is_none());
        }
    }
}

#[test]
fn attack_23_a_client_takes_only_what_is_due() {
    for at in CLIENT_STATES {
        for message in every_message() {
            let kind = message.kind();
            let step = client_at(at).on_packet(&message.encode(), fds_due(kind));
            if client_takes(at, kind) {
                assert!(step.is_ok(), "{kind} at {at:?}: {step:?}");
                continue;
            }
            let Err(HandshakeFault::OutOfOrder { got, .. }) = step else {
                panic!("{kind} at {at:?}: {step:?}")
            };
            assert_eq!(got, kind);
        }
    }
}

#[test]
fn attack_23_a_fault_is_the_end() {
    for at in SERVER_STATES {
        let mut server = server_at(at);
        assert!(server.on_packet(&Control::Fence.encode(), 0).is_err());
        for message in every_message() {
            assert!(server.on_packet(&message.encode(), 0).is_err(), "{at:?}");
        }
        assert!(!server.is_established());
    }
    for at in CLIENT_STATES {
        let mut client = client_at(at);
        assert!(client.on_packet(&Control::Fence.encode(), 0).is_err());
        for message in every_message() {
            let fds = fds_due(message.kind());
            assert!(client.on_packet(&message.encode(), fds).is_err(), "{at:?}");
        }
        assert!(!client.is_established());
    }
}

/// Every order of the connecting side's three messages, repetitions included, up to four of them.
#[test]
fn attack_23_only_one_order_opens_a_channel() {
    let packets = [
        Control::Hello(hello()).encode(),
        Control::Open(open()).encode(),
        Control::Sealed { channel: 0 }.encode(),
    ];
    let mut opened = Vec::new();
    for code in 0..3_usize.pow(4) {
        let order: Vec<usize> = (0..4).map(|digit| code / 3_usize.pow(digit) % 3).collect();
        let mut server = server();
        for (taken, &packet) in order.iter().enumerate() {
            match server.on_packet(&packets[packet], 0) {
                Ok(ServerStep::Grant(_)) => drop(server.granted(SealBits::PLAIN, SealBits::PLAIN)),
                Ok(ServerStep::CheckSealed) => opened.push(order[..=taken].to_vec()),
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
    opened.dedup();
    opened.sort();
    opened.dedup();
    assert_eq!(opened, [[0, 1, 2]]);
}

#[test]
fn attack_31_fds_where_none_are_due_end_it() {
    let server_due = [
        (ServerAt::Hello, Control::Hello(hello())),
        (ServerAt::Open, Control::Open(open())),
        (ServerAt::Sealed, Control::Sealed { channel: 0 }),
    ];
    for (at, message) in server_due {
        for got in [1, 2, 253] {
            assert_eq!(
                server_at(at).on_packet(&message.encode(), got),
                Err(HandshakeFault::FdCount { kind: message.kind(), due: 0, got })
            );
        }
    }
    for notice in [Notice::Fence, Notice::FenceAck, Notice::Doorbell] {
        for takes in [Takes::NOTHING, ALL] {
            let packet = notice.encode();
            let heard = after_ready(&packet, Came::All(0), takes);
            assert_eq!(heard, Ok(Heard::Notice(notice)));
            for came in [Came::All(1), Came::Fewer(0), Came::Fewer(1)] {
                assert!(matches!(
                    after_ready(&notice.encode(), came, takes),
                    Err(HandshakeFault::FdCount { due: 0, .. })
                ));
            }
        }
    }
    let packet = Control::Attachments(machines::attachments()).encode();
    for (came, good) in [
        (Came::All(2), true),
        (Came::All(0), false),
        (Came::All(1), false),
        (Came::All(3), false),
        (Came::Fewer(0), true),
        (Came::Fewer(1), true),
        (Came::Fewer(2), false),
        (Came::Fewer(3), false),
    ] {
        assert_eq!(after_ready(&packet, came, ALL).is_ok(), good, "{came:?}");
    }
}

const ALL: Takes = Takes { fds: MAX_FDS, blobs: MAX_BLOBS, blob_bytes: u64::MAX };

#[test]
fn attack_28_a_client_counts_the_fds_of_each_packet() {
    let client_due = [
        (ClientAt::Welcome, Control::Welcome(welcome()), 0),
        (ClientAt::Welcome, Control::Reject(reject()), 0),
        (ClientAt::Granted, Control::Granted(granted()), 2),
        (ClientAt::Granted, Control::Refused(machines::refused()), 0),
        (ClientAt::Ready, Control::Ready { channel: 0 }, 0),
        (ClientAt::Ready, Control::Refused(machines::refused()), 0),
    ];
    for (at, message, due) in client_due {
        for got in [0, 1, 2, 3, 4, 253] {
            let step = client_at(at).on_packet(&message.encode(), got);
            if got == due {
                assert!(step.is_ok());
            } else {
                assert_eq!(step, Err(HandshakeFault::FdCount { kind: message.kind(), due, got }));
            }
        }
    }
}

#[test]
fn attack_23_nothing_of_the_handshake_comes_again_after_ready() {
    for message in every_message() {
        let fds = if message.kind() == Kind::Attachments { 2 } else { 0 };
        for takes in [Takes::NOTHING, ALL] {
            let packet = message.encode();
            let heard = after_ready(&packet, Came::All(fds), takes);
            match message.kind() {
                Kind::Fence | Kind::FenceAck | Kind::Doorbell => assert!(heard.is_ok()),
                Kind::Attachments | Kind::Forget if takes.any() => assert!(heard.is_ok()),
                kind => assert!(
                    matches!(heard, Err(HandshakeFault::OutOfOrder { got, .. }) if got == kind)
                ),
            }
        }
    }
}

#[test]
fn attack_23_channels_are_asked_for_where_both_sides_allow_them_with_a_socket_to_who_connected() {
    let taken = Control::Answer(Answer { declined: None, ..machines::answer() });
    let all = [Control::Ask(machines::ask()), Control::Answer(machines::answer()), taken];
    for (message, to_accepting, to_connecting) in [
        (&all[0], Some(0), Some(1)),
        (&all[1], Some(0), Some(0)),
        (&all[2], None, Some(1)), // who accepts makes the socket himself
    ] {
        let packet = message.encode();
        for (further, due) in [
            (None, None),
            (Some(Role::Accepting), to_accepting),
            (Some(Role::Connecting), to_connecting),
        ] {
            for got in 0..3 {
                let hears = Hears { takes: ALL, further };
                let heard = after_ready(&packet, Came::All(got), hears);
                assert_eq!(heard.is_ok(), due == Some(got), "{message:?} to {further:?}: {got}");
                let lost = after_ready(&packet, Came::Fewer(got), hears);
                assert_eq!(lost.is_ok(), due.is_some_and(|due| got < due), "{message:?}");
            }
        }
    }
}

/// Asserts that every state of either side, and what comes after Ready, takes `packet` as malformed.
#[track_caller]
fn malformed_everywhere(packet: &[u8], expected: &Malformed) {
    let fault = HandshakeFault::Malformed(expected.clone());
    for at in SERVER_STATES {
        assert_eq!(server_at(at).on_packet(packet, 0), Err(fault.clone()), "{at:?}");
    }
    for at in CLIENT_STATES {
        assert_eq!(client_at(at).on_packet(packet, 0), Err(fault.clone()), "{at:?}");
    }
    assert_eq!(after_ready(packet, Came::All(0), ALL), Err(fault));
}

#[test]
fn attack_20_an_empty_packet_ends_it_at_every_step() {
    malformed_everywhere(&[], &Malformed::Empty);
}

#[test]
fn attack_21_an_oversized_packet_ends_it_at_every_step() {
    malformed_everywhere(&[0; MAX_PACKET + 1], &Malformed::Oversized);
}

#[test]
fn attack_27_a_channel_of_another_number_is_nobodys() {
    for channel in [1, 2, 1 << 31, u32::MAX] {
        let fault = HandshakeFault::Channel { due: 0, got: channel };
        let open = machines::open();
        let open = Control::Open(memring_transport::control::Open { channel, ..open });
        assert_eq!(server_at(ServerAt::Open).on_packet(&open.encode(), 0), Err(fault.clone()));
        let sealed = Control::Sealed { channel }.encode();
        assert_eq!(server_at(ServerAt::Sealed).on_packet(&sealed, 0), Err(fault.clone()));

        let granted = memring_transport::control::Granted { channel, ..granted() };
        let granted = Control::Granted(granted).encode();
        assert_eq!(client_at(ClientAt::Granted).on_packet(&granted, 2), Err(fault.clone()));
        let ready = Control::Ready { channel }.encode();
        assert_eq!(client_at(ClientAt::Ready).on_packet(&ready, 0), Err(fault.clone()));
        let refused = machines::refused();
        let refused = memring_transport::control::Refused { channel, ..refused };
        let refused = Control::Refused(refused).encode();
        assert_eq!(client_at(ClientAt::Ready).on_packet(&refused, 0), Err(fault));
    }
}

/// One packet of a hostile sequence: of a good kind, or garbage.
#[derive(Debug, Clone)]
enum Shot {
    Good(usize),
    Changed(usize, prop::sample::Index, u8),
    Garbage(Vec<u8>),
}

impl Shot {
    fn packet(&self) -> Vec<u8> {
        let good = |message: usize| every_message()[message].encode();
        match self {
            Self::Good(message) => good(*message),
            Self::Changed(message, at, to) => {
                let mut packet = good(*message);
                let at = at.index(packet.len());
                packet[at] = *to;
                packet
            }
            Self::Garbage(bytes) => bytes.clone(),
        }
    }
}

fn shots() -> impl Strategy<Value = Vec<(Shot, usize)>> {
    let shot = prop_oneof![
        4 => (0..10_usize).prop_map(Shot::Good),
        2 => (0..10_usize, any::<prop::sample::Index>(), any::<u8>())
            .prop_map(|(message, at, to)| Shot::Changed(message, at, to)),
        1 => prop::collection::vec(any::<u8>(), 0..80).prop_map(Shot::Garbage),
    ];
    prop::collection::vec(
        (shot, prop_oneof![3 => Just(0_usize), 2 => Just(2), 1 => 0..4_usize]),
        0..8,
    )
}

proptest! {
    /// The caller answers every step as it should; whatever the peer says, nothing panics and the
    /// application is shown at most one channel.
    #[test]
    fn attack_23_no_sequence_surprises_a_server(start in 0..3_usize, shots in shots()) {
        let mut server = server_at(SERVER_STATES[start]);
        let mut shown = 0;
        for (shot, fds) in shots {
            match server.on_packet(&shot.packet(), fds) {
                Ok(ServerStep::Grant(geometry)) => {
                    prop_assert!(geometry.bytes() <= 2 * (1 << 20) + 2 * (1 << 30));
                    let _packet = server.granted(SealBits::PLAIN, SealBits::PLAIN);
                }
                Ok(ServerStep::CheckSealed) => {
                    let opened = server.sealed_ok();
                    shown += 1;
                    if opened.metadata.as_bytes().len().is_multiple_of(2) {
                        let _packet = server.accept();
                    } else {
                        let _packet = server.refuse(RefuseCode::Application, "no", &signature());
                    }
                }
                Ok(_) | Err(_) => {}
            }
        }
        prop_assert!(shown <= 1);
    }

    #[test]
    fn attack_23_no_sequence_surprises_a_client(shots in shots()) {
        let mut client = client();
        let _packets = client.start();
        let mut ended = 0;
        for (shot, fds) in shots {
            match client.on_packet(&shot.packet(), fds) {
                Ok(ClientStep::MapSegments(_)) => {
                    prop_assert_eq!(fds, GRANTED_FDS);
                    let _packet = client.mapped();
                }
                Ok(ClientStep::Done(_) | ClientStep::Rejected(_) | ClientStep::Refused(_)) => ended += 1,
                Ok(_) | Err(_) => {}
            }
        }
        prop_assert!(ended <= 1);
    }
}
