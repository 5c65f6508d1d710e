//! Every rule of the wire format, broken one at a time.
//!
//! What it does not do: order, see `handshake_orders.rs`; arbitrary values, see `control_round_trip.rs`.

mod machines;

use machines::{attachments, every_message, granted, hello, open, refused, reject, welcome};
use memring_transport::control::{
    Control, Forget, MAX_METADATA, MAX_NAME, MAX_PACKET, MAX_SENTENCE, MAX_TYPE_NAME, Malformed,
    Metadata, Reject, RejectCode, Text, TextError, decode,
};

const FORGET: Forget = Forget { channel: 0, blob: 1, mentions: 1 };

/// Writes `bytes` over a good packet and says how it is refused.
#[track_caller]
fn broken(packet: &[u8], at: usize, bytes: &[u8]) -> Malformed {
    let mut packet = packet.to_vec();
    packet[at..at + bytes.len()].copy_from_slice(bytes);
    decode(&packet).expect_err("a broken rule")
}

/// Asserts that the number at `at` is refused by the rule on `field`.
#[track_caller]
fn check(packet: &[u8], at: usize, bytes: &[u8], field: &str) {
    match broken(packet, at, bytes) {
        Malformed::Value { field: got, .. }
        | Malformed::Reserved { field: got }
        | Malformed::NotUtf8 { field: got }
        | Malformed::ControlCharacter { field: got }
        | Malformed::TooLong { field: got, .. }
        | Malformed::TailTruncated { field: got, .. } => assert_eq!(got, field),
        other => panic!("{other:?} is not about {field}"),
    }
}

#[test]
fn attack_19_what_is_not_ours_is_refused() {
    let packet = Control::Fence.encode();
    assert_eq!(broken(&packet, 0, b"RRNG"), Malformed::Magic(*b"RRNG"));
    for kind in [0_u16, 13, 17, 256, u16::MAX] {
        assert_eq!(broken(&packet, 4, &kind.to_le_bytes()), Malformed::Kind(kind));
    }
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], &[0; 16]] {
        assert!(matches!(decode(garbage), Err(Malformed::Magic(_))));
    }
    let hello = Control::Hello(hello()).encode();
    check(&hello, 16, &0_u16.to_le_bytes(), "oldest version");
    check(&hello, 18, &0_u16.to_le_bytes(), "newest version");
    let ask = Control::Ask(machines::ask()).encode();
    check(&ask, 16, &0_u32.to_le_bytes(), "number of an ask");
    check(&ask, 20, &65_u16.to_le_bytes(), "name of a channel");
    check(&ask, 22, &4097_u16.to_le_bytes(), "metadata of a channel");
    let answer = Control::Answer(machines::answer()).encode();
    check(&answer, 16, &0_u32.to_le_bytes(), "number of an ask");
    check(&answer, 22, &513_u16.to_le_bytes(), "sentence");
    check(&Control::Welcome(welcome()).encode(), 16, &0_u16.to_le_bytes(), "version");
}

#[test]
fn attack_20_an_empty_packet_is_refused() {
    assert_eq!(decode(&[]), Err(Malformed::Empty));
}

#[test]
fn attack_21_an_oversized_packet_is_refused() {
    let mut packet = vec![0; MAX_PACKET + 1];
    packet[..16].copy_from_slice(&Control::Fence.encode());
    packet[8..12].copy_from_slice(&(MAX_PACKET as u32 + 1).to_le_bytes());
    assert_eq!(decode(&packet), Err(Malformed::Oversized));
}

#[test]
fn attack_22_every_truncation_and_every_surplus_is_refused() {
    for message in every_message() {
        let packet = message.encode();
        for len in 0..packet.len() {
            let mut short = packet[..len].to_vec();
            assert!(decode(&short).is_err(), "{} cut to {len}", message.kind());
            // And when the header agrees with the cut.
            if len >= 16 {
                short[8..12].copy_from_slice(&(len as u32).to_le_bytes());
                let error = decode(&short).expect_err("cut");
                assert!(
                    matches!(error, Malformed::Truncated { .. } | Malformed::TailTruncated { .. }),
                    "{} cut to {len}: {error:?}",
                    message.kind()
                );
            }
        }
        for surplus in [1, 4, 16] {
            let mut long = packet.clone();
            long.resize(packet.len() + surplus, 0);
            assert!(matches!(decode(&long), Err(Malformed::Length { .. })));
            let len = long.len() as u32;
            long[8..12].copy_from_slice(&len.to_le_bytes());
            assert_eq!(decode(&long), Err(Malformed::Trailing(surplus)));
        }
    }
}

#[test]
fn attack_22_reserved_bytes_are_zero() {
    for message in every_message() {
        let packet = message.encode();
        for at in [6, 7] {
            check(&packet, at, &[1], "header flags");
        }
        for at in 12..16 {
            check(&packet, at, &[0x80], "header");
        }
    }
    let reserved: [(Control<'_>, std::ops::Range<usize>, &str); 10] = [
        (Control::Hello(hello()), 60..64, "what a side takes"),
        (Control::Welcome(welcome()), 52..56, "what a side takes"),
        (Control::Attachments(attachments()), 40..48, "descriptor in Attachments"),
        (Control::Forget(FORGET), 20..24, "body of Forget"),
        (Control::Welcome(welcome()), 18..20, "body of Welcome"),
        (Control::Reject(reject()), 20..24, "body of Reject"),
        (Control::Open(open()), 20..24, "body of Open"),
        (Control::Sealed { channel: 0 }, 20..24, "Sealed"),
        (Control::Ready { channel: 0 }, 20..24, "Ready"),
        (Control::Refused(refused()), 62..64, "body of Refused"),
    ];
    for (message, range, field) in reserved {
        let packet = message.encode();
        for at in range {
            check(&packet, at, &[1], field);
        }
    }
}

#[test]
fn the_stated_length_is_the_packets() {
    let packet = Control::Hello(hello()).encode();
    for stated in [0, 16, packet.len() as u32 - 1, packet.len() as u32 + 1, u32::MAX] {
        assert_eq!(
            broken(&packet, 8, &stated.to_le_bytes()),
            Malformed::Length { stated, got: packet.len() }
        );
    }
}

#[test]
fn every_number_has_its_range() {
    let hello = Control::Hello(hello()).encode();
    let welcome = Control::Welcome(welcome()).encode();
    let granted = Control::Granted(granted()).encode();
    for (packet, fence, largest, page) in [(&hello, 20, 40, 48), (&welcome, 20, 32, 40)] {
        for bits in [0b100_u8, 0x80, 0xff] {
            check(packet, fence, &[bits], "fence bits");
        }
        for endian in [0_u8, 3, 255] {
            check(packet, fence + 1, &[endian], "archive byte order");
        }
        for aligned in [2_u8, 255] {
            check(packet, fence + 2, &[aligned], "archive alignment");
        }
        for width in [0_u8, 8, 31, 33, 128] {
            check(packet, fence + 3, &[width], "archive pointer width");
        }
        check(packet, largest, &0_u64.to_le_bytes(), "largest message");
        for size in [0_u32, 1, 2048, 4095, 4097, 12288, 1 << 17, 1 << 31, u32::MAX] {
            check(packet, page, &size.to_le_bytes(), "page size");
        }
    }
    for (packet, takes) in [(&hello, 56), (&welcome, 48)] {
        for fds in [254_u16, u16::MAX] {
            check(packet, takes, &fds.to_le_bytes(), "descriptors taken");
        }
        for blobs in [1025_u16, u16::MAX] {
            check(packet, takes + 2, &blobs.to_le_bytes(), "blobs taken");
        }
        check(packet, takes + 8, &1_u64.to_le_bytes(), "bytes of blobs taken");
    }
    let attachments = Control::Attachments(attachments()).encode();
    for count in [0_u32, 254, u32::MAX] {
        check(&attachments, 20, &count.to_le_bytes(), "count of Attachments");
    }
    assert!(matches!(broken(&attachments, 20, &[1]), Malformed::Trailing(16)));
    assert!(matches!(broken(&attachments, 20, &[3]), Malformed::Truncated { .. }));
    let forget = Control::Forget(FORGET).encode();
    check(&forget, 24, &0_u64.to_le_bytes(), "blob to forget");
    check(&forget, 32, &0_u64.to_le_bytes(), "mentions of a blob");
    // Required, and not offered.
    check(&hello, 32, &1_u64.to_le_bytes(), "required features");
    check(&hello, 32, &(1_u64 << 63).to_le_bytes(), "required features");
    for seals in [0_u32, 0x7, 0x0f, 0x16, 0x1f, 0x27, 0x57, u32::MAX] {
        check(&granted, 40, &seals.to_le_bytes(), "seals of S");
        check(&granted, 44, &seals.to_le_bytes(), "seals of C");
    }
    for bytes in [0_u32, 1, 767, (1 << 20) + 1, u32::MAX] {
        check(&granted, 20, &bytes.to_le_bytes(), "control bytes");
    }
    check(&Control::Reject(reject()).encode(), 16, &0_u16.to_le_bytes(), "reject code");
    check(&Control::Refused(refused()).encode(), 20, &0_u16.to_le_bytes(), "refuse code");
}

#[test]
fn attack_25_capacities_out_of_range_are_refused() {
    let open = Control::Open(open()).encode();
    let granted = Control::Granted(granted()).encode();
    let sizes = [0, 1, 2048, 4095, 4097, 3 << 12, 1 << 31, 1 << 62, 1 << 63, u64::MAX];
    for size in sizes {
        check(&open, 56, &size.to_le_bytes(), "capacity to accepting");
        check(&open, 64, &size.to_le_bytes(), "capacity to connecting");
        check(&granted, 24, &size.to_le_bytes(), "capacity of S");
        check(&granted, 32, &size.to_le_bytes(), "capacity of C");
    }
}

#[test]
fn every_variable_part_has_its_limit() {
    let limits: [(Control<'_>, usize, usize, &str); 11] = [
        (Control::Hello(hello()), 52, MAX_NAME, "application name"),
        (Control::Hello(hello()), 54, MAX_METADATA, "metadata"),
        (Control::Welcome(welcome()), 44, MAX_NAME, "application name"),
        (Control::Welcome(welcome()), 46, MAX_METADATA, "metadata"),
        (Control::Reject(reject()), 18, MAX_SENTENCE, "sentence"),
        (Control::Open(open()), 72, MAX_TYPE_NAME, "protocol name"),
        (Control::Open(open()), 74, MAX_TYPE_NAME, "name of the type to accepting"),
        (Control::Open(open()), 76, MAX_TYPE_NAME, "name of the type to connecting"),
        (Control::Open(open()), 78, MAX_METADATA, "channel metadata"),
        (Control::Refused(refused()), 22, MAX_SENTENCE, "sentence"),
        (Control::Refused(refused()), 60, MAX_TYPE_NAME, "name of the type to connecting"),
    ];
    for (message, at, limit, field) in limits {
        let packet = message.encode();
        for len in [limit + 1, usize::from(u16::MAX)] {
            let error = broken(&packet, at, &(len as u16).to_le_bytes());
            assert_eq!(error, Malformed::TooLong { field, len, limit });
        }
    }
}

#[test]
fn text_is_utf8_without_control_characters() {
    let texts: [(Control<'_>, usize, &str); 9] = [
        (Control::Hello(hello()), 72, "application name"),
        (Control::Welcome(welcome()), 64, "application name"),
        (Control::Reject(reject()), 24, "sentence"),
        (Control::Open(open()), 80, "protocol name"),
        (Control::Open(open()), 86, "name of the type to accepting"),
        (Control::Open(open()), 91, "name of the type to connecting"),
        (Control::Refused(refused()), 64, "sentence"),
        (Control::Refused(refused()), 78, "protocol name"),
        (Control::Refused(refused()), 84, "name of the type to accepting"),
    ];
    for (message, at, field) in texts {
        let packet = message.encode();
        for (bytes, utf8) in [
            (&[0xff][..], false),
            (&[0xc0, 0x80], false),
            (&[0xed, 0xa0, 0x80], false), // a surrogate
            (&[0x00], true),
            (&[0x1b], true),
            (&[0x7f], true),
            (b"\n", true),
            (&[0xc2, 0x9b], true), // U+009B, an 8-bit escape
        ] {
            let error = broken(&packet, at, bytes);
            let expected = if utf8 {
                Malformed::ControlCharacter { field }
            } else {
                Malformed::NotUtf8 { field }
            };
            assert_eq!(error, expected, "{}", message.kind());
        }
    }
}

#[test]
fn text_of_ours_is_checked_or_made_to_fit() {
    assert_eq!(Text::<4>::new("abcde"), Err(TextError::TooLong { len: 5, limit: 4 }));
    assert_eq!(Text::<4>::new("ab\n"), Err(TextError::ControlCharacter { at: 2 }));
    assert_eq!(Text::<4>::fit("abcde").as_str(), "abcd");
    assert_eq!(Text::<4>::fit("abcé").as_str(), "abc"); // never half a character
    assert_eq!(Text::<4>::fit("a\u{7}b").as_str(), "a\u{fffd}"); // the replacement takes 3 bytes
    assert!(Metadata::new(vec![0; MAX_METADATA]).is_ok());
    assert!(Metadata::new(vec![0; MAX_METADATA + 1]).is_err());
}

#[test]
fn codes_of_a_newer_version_keep_their_number() {
    for code in 1..=40_u16 {
        let mut packet = Control::Reject(reject()).encode();
        packet[16..18].copy_from_slice(&code.to_le_bytes());
        let Ok(Control::Reject(Reject { code: read, .. })) = decode(&packet) else {
            panic!("code {code}")
        };
        assert_eq!(read.to_wire(), code);
        assert_eq!(matches!(read, RejectCode::Other(_)), code > 6);
    }
}

#[test]
fn every_single_byte_change_is_refused_or_reads_as_what_it_says() {
    for message in every_message() {
        let packet = message.encode();
        for at in 0..packet.len() {
            for bit in 0..8 {
                let mut changed = packet.clone();
                changed[at] ^= 1 << bit;
                if let Ok(read) = decode(&changed) {
                    assert_eq!(read.encode(), changed, "byte {at} of {}", message.kind());
                }
            }
        }
    }
}
