//! How a channel is turned down, and what both sides learn from it.
//!
//! What it does not do: rejecting a session's terms, see `handshake_terms.rs`.

mod machines;

use machines::{ClientAt, ServerAt, client_at, server_at, signature};
use memring_transport::control::{
    Fingerprint, RefuseCode, RejectCode, Signature, TypeId, TypeName,
};
use memring_transport::handshake::{ClientStep, Mismatch, ServerHandshake};

fn id(byte: u8, name: &str) -> TypeId<'static> {
    TypeId { fingerprint: Fingerprint([byte; 16]), name: TypeName::fit(name) }
}

#[test]
fn attack_26_mismatch_is_by_protocol_and_fingerprints_alone() {
    let ours = signature();
    let renamed = Signature { to_accepting: id(0xa1, "other::Order"), ..signature() };
    let cases = [
        (signature(), None),
        (renamed, None),
        (Signature { to_accepting: id(1, "Order"), ..signature() }, Some(RefuseCode::Fingerprint)),
        (Signature { to_connecting: id(0, ""), ..signature() }, Some(RefuseCode::Fingerprint)),
        (
            Signature { protocol: TypeName::fit("trades"), ..signature() },
            Some(RefuseCode::Protocol),
        ),
    ];
    for (theirs, expected) in cases {
        let code = Mismatch::between(&ours, &theirs).map(|mismatch| mismatch.code());
        assert_eq!(code, expected, "{theirs:?}");
    }
}

#[test]
fn attack_26_a_mismatch_reaches_the_client_with_both_sides_types() {
    let mut server = server_at(ServerAt::Offered);
    let ours = Signature { to_accepting: id(0xa2, "OrderV2"), ..signature() };
    let mismatch = Mismatch::between(&ours, &server.opened().unwrap().signature).unwrap();
    let packet = server.refuse_mismatch(&mismatch);

    let step = client_at(ClientAt::Ready).on_packet(&packet, 0);
    let Ok(ClientStep::Refused(refusal)) = step else { panic!("{step:?}") };
    assert_eq!(refusal.code, RefuseCode::Fingerprint);
    let told = refusal.mismatch.as_deref().unwrap();
    assert_eq!((&told.ours, &told.theirs), (&mismatch.theirs, &mismatch.ours));
    let (a1, a2) = ("a1".repeat(16), "a2".repeat(16));
    assert_eq!(
        refusal.to_string(),
        format!(
            "the channel was turned down (other message types): protocol \"quotes\": the message \
             to the accepting side is Order ({a1}) on this side and OrderV2 ({a2}) on the other; \
             build both from the same version of the api crate"
        )
    );
}

#[test]
fn a_refusal_is_said_wherever_a_decision_is_due() {
    let cases = [
        (ServerAt::Granting, ClientAt::Granted, RefuseCode::Quota),
        (ServerAt::Checking, ClientAt::Ready, RefuseCode::Seals),
        (ServerAt::Offered, ClientAt::Ready, RefuseCode::Application),
    ];
    for (at, client, code) in cases {
        let mut server = server_at(at);
        let packet = server.refuse(code, "why\nnot", &Signature::default());
        let Ok(ClientStep::Refused(refusal)) = client_at(client).on_packet(&packet, 0) else {
            panic!("{code}")
        };
        assert_eq!((refusal.code, refusal.sentence.as_str()), (code, "why\u{fffd}not"));
        assert_eq!(refusal.mismatch, None);
        assert!(server.opened().is_none());
    }
}

#[test]
fn a_server_can_reject_before_hello() {
    let packet = ServerHandshake::reject(RejectCode::Denied, "uid 1000 may not connect");
    let step = client_at(ClientAt::Welcome).on_packet(&packet, 0);
    let Ok(ClientStep::Rejected(rejection)) = step else { panic!("{step:?}") };
    assert_eq!(
        rejection.to_string(),
        "the session was turned down (not admitted): uid 1000 may not connect"
    );
}
