//! Every message there and back, and arbitrary bytes.
//!
//! What it does not do: name the rule that a bad packet breaks, see `control_decode.rs`.

use std::num::NonZeroU16;

use memring_transport::control::{
    Answer, ArchiveFormat, Ask, Attached, Attachments, Control, DeclineCode, Endian, Features,
    FenceBits, Fingerprint, Forget, Granted, Hello, MAX_BLOBS, MAX_FDS, MAX_METADATA, MAX_PACKET,
    Metadata, Open, PointerWidth, RefuseCode, Refused, Reject, RejectCode, SealBits, Signature,
    Takes, Text, TypeId, Versions, Welcome, decode,
};
use proptest::prelude::*;

fn text<const MAX: usize>() -> impl Strategy<Value = Text<'static, MAX>> {
    ".{0,140}".prop_map(|text| Text::fit(&text))
}

fn metadata() -> impl Strategy<Value = Metadata<'static>> {
    prop::collection::vec(any::<u8>(), 0..=MAX_METADATA)
        .prop_map(|bytes| Metadata::new(bytes).unwrap())
}

fn fence() -> impl Strategy<Value = FenceBits> {
    any::<(bool, bool)>().prop_map(|(registered, can_call)| FenceBits { registered, can_call })
}

fn archive() -> impl Strategy<Value = ArchiveFormat> {
    let widths = [PointerWidth::W16, PointerWidth::W32, PointerWidth::W64];
    (any::<(bool, bool)>(), prop::sample::select(widths.to_vec())).prop_map(
        |((little, aligned), pointer_width)| ArchiveFormat {
            endian: if little { Endian::Little } else { Endian::Big },
            aligned,
            pointer_width,
        },
    )
}

fn signature() -> impl Strategy<Value = Signature<'static>> {
    (text(), any::<[u8; 16]>(), text(), any::<[u8; 16]>(), text()).prop_map(
        |(protocol, a, a_name, c, c_name)| Signature {
            protocol,
            to_accepting: TypeId { fingerprint: Fingerprint(a), name: a_name },
            to_connecting: TypeId { fingerprint: Fingerprint(c), name: c_name },
        },
    )
}

fn capacity() -> impl Strategy<Value = u64> {
    (12_u32..=30).prop_map(|shift| 1 << shift)
}

fn seals() -> impl Strategy<Value = SealBits> {
    any::<bool>().prop_map(|exec| if exec { SealBits::WITH_EXEC } else { SealBits::PLAIN })
}

fn takes() -> impl Strategy<Value = Takes> {
    let nothing_or_some =
        prop_oneof![Just((0, 0)), (1..=MAX_BLOBS, any::<u64>()).prop_map(|some| some)];
    (0..=MAX_FDS, nothing_or_some).prop_map(|(fds, (blobs, blob_bytes))| Takes {
        fds,
        blobs,
        blob_bytes,
    })
}

fn any_attachments() -> impl Strategy<Value = Control<'static>> {
    let one = prop_oneof![
        Just(Attached::FD),
        (1..=u64::MAX, any::<u64>()).prop_map(|(number, bytes)| Attached::blob(number, bytes)),
    ];
    let list = prop::collection::vec(one, 1..=MAX_FDS.into());
    (any::<u32>(), any::<u64>(), list).prop_map(|(channel, position, list)| {
        Control::Attachments(Attachments { channel, position, list: list.into() })
    })
}

fn any_forget() -> impl Strategy<Value = Control<'static>> {
    (any::<u32>(), 1..=u64::MAX, 1..=u64::MAX)
        .prop_map(|(channel, blob, mentions)| Control::Forget(Forget { channel, blob, mentions }))
}

fn any_ask() -> impl Strategy<Value = Control<'static>> {
    (1..=u32::MAX, text(), metadata())
        .prop_map(|(number, name, metadata)| Control::Ask(Ask { number, name, metadata }))
}

fn any_answer() -> impl Strategy<Value = Control<'static>> {
    let declined = prop_oneof![
        Just(None),
        Just(Some(DeclineCode::Application)),
        Just(Some(DeclineCode::TooMany)),
        Just(Some(DeclineCode::Resources)),
        (4..=u16::MAX).prop_map(|code| NonZeroU16::new(code).map(DeclineCode::Other)),
    ];
    (1..=u32::MAX, declined, text()).prop_map(|(number, declined, sentence)| {
        Control::Answer(Answer { number, declined, sentence })
    })
}

fn any_hello() -> impl Strategy<Value = Control<'static>> {
    let numbers = (1..=u16::MAX, any::<u16>(), any::<(u64, u64)>(), 1..=u64::MAX, 12_u32..=16);
    (numbers, fence(), archive(), text(), metadata(), takes()).prop_map(
        |(
            (min, more, (offered, required), largest_message, page),
            fence,
            archive,
            name,
            metadata,
            takes,
        )| {
            Control::Hello(Hello {
                versions: Versions { min, max: min.saturating_add(more) },
                offered: Features(offered),
                required: Features(required & offered),
                fence,
                archive,
                page_size: 1 << page,
                largest_message,
                name,
                metadata,
                takes,
            })
        },
    )
}

fn any_welcome() -> impl Strategy<Value = Control<'static>> {
    let numbers = (1..=u16::MAX, any::<u64>(), 1..=u64::MAX, 12_u32..=16);
    (numbers, fence(), archive(), text(), metadata(), takes()).prop_map(
        |((version, features, largest_message, page), fence, archive, name, metadata, takes)| {
            Control::Welcome(Welcome {
                version,
                features: Features(features),
                fence,
                archive,
                page_size: 1 << page,
                largest_message,
                name,
                metadata,
                takes,
            })
        },
    )
}

fn any_open() -> impl Strategy<Value = Control<'static>> {
    (any::<u32>(), signature(), capacity(), capacity(), metadata()).prop_map(
        |(channel, signature, capacity_to_accepting, capacity_to_connecting, metadata)| {
            Control::Open(Open {
                channel,
                signature,
                capacity_to_accepting,
                capacity_to_connecting,
                metadata,
            })
        },
    )
}

fn any_granted() -> impl Strategy<Value = Control<'static>> {
    (any::<u32>(), 768_u32..=1 << 20, capacity(), capacity(), seals(), seals()).prop_map(
        |(channel, control_bytes, capacity_s, capacity_c, seals_s, seals_c)| {
            Control::Granted(Granted {
                channel,
                control_bytes,
                capacity_s,
                capacity_c,
                seals_s,
                seals_c,
            })
        },
    )
}

fn any_refusal() -> impl Strategy<Value = Control<'static>> {
    let codes = [
        RefuseCode::Protocol,
        RefuseCode::Fingerprint,
        RefuseCode::Application,
        RefuseCode::Quota,
        RefuseCode::Resources,
        RefuseCode::Seals,
        RefuseCode::ShuttingDown,
        RefuseCode::Other(900),
    ];
    (any::<u32>(), prop::sample::select(codes.to_vec()), text(), signature()).prop_map(
        |(channel, code, sentence, ours)| {
            Control::Refused(Refused { channel, code, sentence, ours })
        },
    )
}

fn any_message() -> impl Strategy<Value = Control<'static>> {
    prop_oneof![
        any_hello(),
        any_welcome(),
        text().prop_map(|sentence| Control::Reject(Reject { code: RejectCode::Denied, sentence })),
        any_open(),
        any_granted(),
        any_refusal(),
        any::<u32>().prop_map(|channel| Control::Sealed { channel }),
        any::<u32>().prop_map(|channel| Control::Ready { channel }),
        Just(Control::Fence),
        Just(Control::FenceAck),
        Just(Control::Doorbell),
        any_attachments(),
        any_forget(),
        any_ask(),
        any_answer(),
    ]
}

proptest! {
    #[test]
    fn every_message_comes_back_as_it_was(message in any_message()) {
        let packet = message.encode();
        prop_assert!(packet.len() <= MAX_PACKET);
        prop_assert_eq!(decode(&packet), Ok(message));
    }

    #[test]
    fn attack_19_arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(&bytes).is_err());
    }

    /// A good header before arbitrary bytes, so that the bodies are reached.
    #[test]
    fn attack_22_arbitrary_bodies_never_panic_and_have_one_encoding(
        kind in 0_u16..16,
        body in prop::collection::vec(prop_oneof![Just(0_u8), Just(1), any::<u8>()], 0..120),
    ) {
        let mut packet = b"MRNG".to_vec();
        packet.extend_from_slice(&kind.to_le_bytes());
        packet.extend_from_slice(&[0; 2]);
        packet.extend_from_slice(&(16 + body.len() as u32).to_le_bytes());
        packet.extend_from_slice(&[0; 4]);
        packet.extend_from_slice(&body);
        if let Ok(message) = decode(&packet) {
            prop_assert_eq!(message.encode(), packet);
        }
    }
}
