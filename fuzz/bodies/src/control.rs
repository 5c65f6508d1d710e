//! Control messages: any packet is refused, or is exactly what its message encodes to.

use std::error::Error;
use std::sync::LazyLock;

use memring_transport::control::{
    Answer, ArchiveFormat, Ask, Attached, Attachments, Control, DeclineCode, Features, FenceBits,
    Fingerprint, Forget, Granted, Hello, MAX_BLOBS, MAX_FDS, Metadata, Name, Open, RefuseCode,
    Refused, Reject, RejectCode, SealBits, Sentence, Signature, Takes, TypeId, TypeName, Versions,
    Welcome, decode,
};
use memring_transport::handshake::{Came, Heard, Hears, Role, after_ready};

use crate::Seed;

/// One packet.
pub fn run(data: &[u8]) {
    match decode(data) {
        Ok(message) => {
            assert_eq!(message.encode(), data, "two encodings of {message:?}");
            assert!(!format!("{message:?} {}", message.kind()).is_empty());
            further(data, &message);
            let fds = match &message {
                Control::Attachments(attachments) => attachments.list.len(),
                _ => 0,
            };
            for takes in [Takes::NOTHING, ALL] {
                match after_ready(data, Came::All(fds), takes) {
                    Ok(heard) => {
                        assert!(is_due(&message, takes), "{heard:?} is no {message:?}");
                        let said = match heard {
                            Heard::Notice(notice) => notice.encode(),
                            Heard::Attachments(attachments) => {
                                Control::Attachments(attachments).encode()
                            }
                            other => panic!("nobody says {other:?}"),
                        };
                        assert_eq!(said, data);
                    }
                    Err(_) => assert!(!is_due(&message, takes), "{message:?} is due after Ready"),
                }
                // Never more or fewer than it says; fewer if the kernel lost some.
                assert!(after_ready(data, Came::All(fds + 1), takes).is_err());
                assert!(after_ready(data, Came::Fewer(fds), takes).is_err());
                if let Some(fewer) = fds.checked_sub(1) {
                    assert!(after_ready(data, Came::All(fewer), takes).is_err());
                    let lost = after_ready(data, Came::Fewer(fewer), takes).is_ok();
                    assert_eq!(lost, is_due(&message, takes));
                }
            }
        }
        Err(malformed) => {
            assert!(!malformed.to_string().is_empty() && malformed.source().is_none());
            assert!(after_ready(data, Came::All(0), ALL).is_err());
        }
    }
}

/// What a side may hear of further channels, if there may be some.
fn further(data: &[u8], message: &Control<'_>) {
    for role in [Role::Accepting, Role::Connecting] {
        let hears = Hears { takes: Takes::NOTHING, further: Some(role) };
        let connecting = role == Role::Connecting;
        let due = match message {
            Control::Ask(_) => Some(usize::from(connecting)),
            Control::Answer(answer) if answer.declined.is_some() => Some(0),
            Control::Answer(_) => connecting.then_some(1),
            _ => continue,
        };
        for fds in 0..3 {
            let heard = after_ready(data, Came::All(fds), hears);
            assert_eq!(heard.is_ok(), due == Some(fds), "{message:?} to {role:?}");
            match heard {
                Ok(Heard::Ask(ask)) => assert_eq!(Control::Ask(ask.into_owned()).encode(), data),
                Ok(Heard::Answer(it)) => {
                    assert_eq!(Control::Answer(it.into_owned()).encode(), data)
                }
                Ok(other) => panic!("nobody says {other:?}"),
                Err(_) => {}
            }
        }
    }
}

/// What a side takes that takes everything.
const ALL: Takes = Takes { fds: MAX_FDS, blobs: MAX_BLOBS, blob_bytes: u64::MAX };

/// Whether a side that takes these may hear it after Ready.
fn is_due(message: &Control<'_>, takes: Takes) -> bool {
    match message {
        Control::Fence | Control::FenceAck | Control::Doorbell => true,
        Control::Attachments(attachments) => takes.any() && attachments.channel == 0,
        Control::Forget(forget) => takes.blobs != 0 && forget.channel == 0,
        _ => false,
    }
}

/// One packet of each kind, and the same with an end missing.
pub fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (name, packet) in packets() {
        seeds.push((format!("{name}-cut"), packet[..packet.len() - 1].to_vec()));
        seeds.push(((*name).to_owned(), packet.clone()));
    }
    seeds
}

/// A packet of each kind, by name.
pub fn packets() -> &'static [(&'static str, Vec<u8>)] {
    static PACKETS: LazyLock<Vec<(&'static str, Vec<u8>)>> = LazyLock::new(make_packets);
    &PACKETS
}

fn make_packets() -> Vec<(&'static str, Vec<u8>)> {
    let name = |text: &str| Name::fit(text);
    let fence = FenceBits { registered: true, can_call: true };
    let metadata = || Metadata::new(&b"\x01\x02\x03"[..]).expect("three bytes");
    let signature = || signature("quotes", 0xa1, 0xc1);
    let sentence = || Sentence::fit("the two sides mean different messages");
    let packets = [
        (
            "hello",
            Control::Hello(Hello {
                versions: Versions::OURS,
                offered: Features(0xff),
                required: Features(0x0f),
                fence,
                archive: ArchiveFormat::DEFAULT,
                page_size: 4096,
                largest_message: 1 << 20,
                name: name("ticker"),
                metadata: metadata(),
                takes: Takes { fds: 64, blobs: 8, blob_bytes: 1 << 30 },
            }),
        ),
        (
            "welcome",
            Control::Welcome(Welcome {
                version: 1,
                features: Features::NONE,
                fence,
                archive: ArchiveFormat::DEFAULT,
                page_size: 65536,
                largest_message: 1 << 20,
                name: name("quotes-server"),
                metadata: metadata(),
                takes: Takes::NOTHING,
            }),
        ),
        ("reject", Control::Reject(Reject { code: RejectCode::Version, sentence: sentence() })),
        (
            "open",
            Control::Open(Open {
                channel: 0,
                signature: signature(),
                capacity_to_accepting: 1 << 16,
                capacity_to_connecting: 1 << 12,
                metadata: metadata(),
            }),
        ),
        (
            "granted",
            Control::Granted(Granted {
                channel: 0,
                control_bytes: 4096,
                capacity_s: 1 << 12,
                capacity_c: 1 << 16,
                seals_s: SealBits::PLAIN,
                seals_c: SealBits::WITH_EXEC,
            }),
        ),
        ("sealed", Control::Sealed { channel: 0 }),
        ("ready", Control::Ready { channel: 0 }),
        (
            "refused",
            Control::Refused(Refused {
                channel: 0,
                code: RefuseCode::Fingerprint,
                sentence: sentence(),
                ours: signature(),
            }),
        ),
        ("fence", Control::Fence),
        ("fence-ack", Control::FenceAck),
        ("doorbell", Control::Doorbell),
        (
            "attachments",
            Control::Attachments(Attachments {
                channel: 0,
                position: 0x1230,
                list: vec![Attached::FD, Attached::blob(1, 1 << 20)].into(),
            }),
        ),
        ("ask", Control::Ask(Ask { number: 1, name: name("logs"), metadata: metadata() })),
        (
            "answer",
            Control::Answer(Answer { number: 1, declined: None, sentence: Sentence::default() }),
        ),
        (
            "declined",
            Control::Answer(Answer {
                number: 2,
                declined: Some(DeclineCode::TooMany),
                sentence: sentence(),
            }),
        ),
        ("forget", Control::Forget(Forget { channel: 0, blob: 1, mentions: 3 })),
    ];
    packets.map(|(name, control)| (name, control.encode())).into()
}

/// A protocol of this name, its types told apart by one byte each.
pub fn signature(protocol: &str, to_accepting: u8, to_connecting: u8) -> Signature<'static> {
    let id = |byte: u8, name: &str| TypeId {
        fingerprint: Fingerprint([byte; 16]),
        name: TypeName::fit(name),
    };
    Signature {
        protocol: TypeName::fit(protocol),
        to_accepting: id(to_accepting, "Order"),
        to_connecting: id(to_connecting, "Quote"),
    }
}
