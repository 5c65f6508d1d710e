//! Control messages: any packet is refused, or is exactly what its message encodes to.

use std::error::Error;
use std::sync::LazyLock;

use memring_transport::control::{
    ArchiveFormat, Control, Features, FenceBits, Fingerprint, Granted, Hello, Metadata, Name, Open,
    RefuseCode, Refused, Reject, RejectCode, SealBits, Sentence, Signature, TypeId, TypeName,
    Versions, Welcome, decode,
};
use memring_transport::handshake::after_ready;

use crate::Seed;

/// One packet.
pub fn run(data: &[u8]) {
    match decode(data) {
        Ok(message) => {
            assert_eq!(message.encode(), data, "two encodings of {message:?}");
            assert!(!format!("{message:?} {}", message.kind()).is_empty());
            let notice = matches!(message, Control::Fence | Control::FenceAck);
            match after_ready(data, 0) {
                Ok(said) => {
                    assert!(notice, "{said:?} is no {message:?}");
                    assert_eq!(said.encode(), data);
                }
                Err(_) => assert!(!notice, "{message:?} is due after Ready"),
            }
        }
        Err(malformed) => {
            assert!(!malformed.to_string().is_empty() && malformed.source().is_none());
            assert!(after_ready(data, 0).is_err());
        }
    }
    // No packet with file descriptors is due then.
    assert!(after_ready(data, 1).is_err());
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
