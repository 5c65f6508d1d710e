//! Packets there and back, and every refusal.

use super::described::{
    Asks, Described, DescribedSpec, MAX_LISTED, MAX_TYPES, decode_list, encode_list,
};
use super::*;

const PRINTS: Prints = Prints {
    arguments: Fingerprint::from_le_bytes([0xa1; 16]),
    result: Fingerprint::from_le_bytes([0xb2; 16]),
    error: Fingerprint::from_le_bytes([0xc3; 16]),
};

fn header(kind: u8, interface: u16, number: u32, time: u64) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[0] = kind;
    bytes[2..4].copy_from_slice(&interface.to_le_bytes());
    bytes[4..8].copy_from_slice(&number.to_le_bytes());
    bytes[8..].copy_from_slice(&time.to_le_bytes());
    bytes
}

/// What the kinds use: interface, number, time, blobs.
const USES: [(Kind, [bool; 4]); 14] = [
    (Kind::Open, [true, true, true, false]),
    (Kind::Opened, [true, true, true, false]),
    (Kind::Refused, [false, true, false, false]),
    (Kind::Call, [true, true, true, true]),
    (Kind::Tell, [true, true, true, true]),
    (Kind::Done, [false, false, false, true]),
    (Kind::Failed, [false, false, false, true]),
    (Kind::Ended, [false, true, false, false]),
    (Kind::Cancel, [false, false, false, false]),
    (Kind::Item, [false, false, false, true]),
    (Kind::Credit, [false, true, false, false]),
    (Kind::Signal, [true, true, false, false]),
    (Kind::Subscribe, [true, true, false, false]),
    (Kind::Unsubscribe, [true, true, false, false]),
];

#[test]
fn headers_go_there_and_back_and_have_no_field_that_their_kind_does_not_use() {
    for (place, (kind, [interface, number, time, blobs])) in USES.into_iter().enumerate() {
        let full = Header {
            kind,
            padding: 0,
            json: false,
            blobs: 0,
            interface: if interface { u16::MAX } else { 0 },
            number: if number { u32::MAX } else { 0 },
            time: if time { u64::MAX } else { 0 },
        };
        for sent in [Header::new(kind), full] {
            let bytes = sent.encode();
            assert_eq!(usize::from(bytes[0]), place + 1);
            assert_eq!(Header::decode(&bytes), Ok(sent));
            assert_eq!(Header::decode(&bytes[..15]), Err(Broken::Short(15)));
        }
        let byte = kind as u8;
        let check = |used: bool, bytes: [u8; HEADER]| {
            let expected = if used { Ok(kind) } else { Err(Broken::Reserved) };
            assert_eq!(Header::decode(&bytes).map(|header| header.kind), expected, "{bytes:?}");
        };
        for bit in 0..16 {
            check(interface, header(byte, 1 << bit, 0, 0));
        }
        for bit in 0..32 {
            check(number, header(byte, 0, 1 << bit, 0));
        }
        for bit in 0..64 {
            check(time, header(byte, 0, 0, 1 << bit));
        }
        let mut listed = [&header(byte, 0, 0, 0)[..], &[0; 16]].concat();
        listed[1] = 1;
        let decoded = Header::decode(&listed);
        assert_eq!(decoded.is_ok(), blobs, "{kind:?}");
        if !blobs {
            assert_eq!(decoded, Err(Broken::Reserved));
        }
    }
    for byte in 0..=255_u8 {
        let packet = [&header(byte, 0, 0, 0)[..], &[0; 48]].concat();
        let expected = match (byte & 15, byte >> 4) {
            (kind @ (0 | 15), _) => Err(Broken::Kind(kind)),
            (_, padding @ 0..=3) => Ok((padding, false)),
            (4 | 5, padding @ 8..=11) => Ok((padding - 8, true)), // with arguments in JSON
            _ => Err(Broken::Reserved),
        };
        let decoded = Header::decode(&packet).map(|header| (header.padding, header.json));
        assert_eq!(decoded, expected, "{byte:#x}");
        if let Ok((padding, json)) = expected {
            assert_eq!(Header::decode(&packet).map(Header::encode), Ok(header(byte, 0, 0, 0)));
            assert_eq!(Header::plain_call(&packet).is_some(), byte & 15 == 4 && !json);
            let all = HEADER + 16 * usize::from(padding);
            assert!(Header::decode(&packet[..all]).is_ok());
            assert_eq!(Header::decode(&packet[..all - 1]), Err(Broken::Short(all - 1)));
        }
    }
    assert_eq!(Header::decode(&[]), Err(Broken::Short(0)));
}

#[test]
fn blobs_are_listed_before_a_body_that_begins_aligned() {
    for (padding, blobs, body_at) in
        [(0, 0, 16), (0, 1, 32), (0, 2, 32), (2, 3, 80), (0, 255, 16 + 2048), (3, 1, 80)]
    {
        let header = Header { blobs, padding, ..Header::new(Kind::Call) };
        assert_eq!(header.body_at(), body_at);
        let mut packet = header.encode().to_vec();
        packet.resize(header.list_at(), 0xaa);
        (0..u64::from(blobs)).for_each(|blob| packet.extend(blob.to_le_bytes()));
        packet.resize(body_at, 0);
        assert_eq!(Header::decode(&packet), Ok(header));
        assert!(header.blobs_of(&packet).eq(0..u64::from(blobs)));
        if blobs != 0 {
            packet.pop();
            assert_eq!(Header::decode(&packet), Err(Broken::Short(body_at - 1)));
        }
    }
}

fn member<'a>(shape: Shape, name: &'a str, signature: &'a str) -> MemberSpec<'a> {
    MemberSpec { shape, name, signature, prints: PRINTS }
}

#[test]
fn openings_go_there_and_back() {
    let long = "é".repeat(600); // cut between two of its letters
    for members in [
        vec![],
        vec![member(Shape::Call, "add", "(a: u32) -> u32")],
        vec![
            member(Shape::Stream, "a", &long),
            member(Shape::OneWay, &long[..128], "()"),
            member(Shape::Signal, "ünï", "()"),
        ],
        vec![member(Shape::Call, "m", "()"); MAX_MEMBERS],
    ] {
        let mut opening = Opening { name: "n", version: "1.0", members };
        let mut body = Vec::new();
        opening.encode(&mut body);
        for member in &mut opening.members {
            member.signature = fit(member.signature);
            assert!(member.signature.len() <= MAX_SIGNATURE);
        }
        assert_eq!(Opening::decode(&body), Ok(opening));
        for len in 0..body.len().min(300) {
            assert_eq!(Opening::decode(&body[..len]), Err(Broken::Body), "{len}");
        }
        body.push(0);
        assert_eq!(Opening::decode(&body), Err(Broken::Body));
    }
}

/// Texts and lists as bytes: `t` and a text, `n` and a number of two bytes, others as they are.
fn bytes(of: &[Part<'_>]) -> Vec<u8> {
    let mut all = Vec::new();
    for part in of {
        match part {
            Part::Text(text) => {
                all.extend((text.len() as u16).to_le_bytes());
                all.extend(*text);
            }
            Part::Count(count) => all.extend(count.to_le_bytes()),
            Part::Bytes(bytes) => all.extend(*bytes),
        }
    }
    all
}

enum Part<'a> {
    Text(&'a [u8]),
    Count(u16),
    Bytes(&'a [u8]),
}
use Part::{Bytes, Count, Text};

#[test]
fn what_is_no_opening_is_refused_by_its_rule() {
    let long = [b'x'; 1025];
    let prints = [7; 48];
    for (broken, body) in [
        (Broken::Body, bytes(&[])),
        (Broken::Body, bytes(&[Count(5), Bytes(b"four")])),
        (Broken::Text, bytes(&[Text(b"")])),
        (Broken::Text, bytes(&[Text(&long[..129])])),
        (Broken::Text, bytes(&[Count(u16::MAX)])),
        (Broken::Text, bytes(&[Text(b"\xff")])),
        (Broken::Text, bytes(&[Text(b"a\nb")])),
        (Broken::Text, bytes(&[Text(b"a\xc2\x85")])),
        (Broken::Text, bytes(&[Text(b"n"), Text(b"")])),
        (Broken::Text, bytes(&[Text(b"n"), Text(&long[..65])])),
        (Broken::Body, bytes(&[Text(b"n"), Text(b"1")])),
        (Broken::Body, bytes(&[Text(b"n"), Text(b"1"), Count(1)])),
        (Broken::Many, bytes(&[Text(b"n"), Text(b"1"), Count(1025)])),
        (Broken::Many, bytes(&[Text(b"n"), Text(b"1"), Count(u16::MAX)])),
        (Broken::Body, bytes(&[Text(b"n"), Text(b"1"), Count(0), Bytes(&[0])])),
    ] {
        assert_eq!(Opening::decode(&body), Err(broken), "{body:?}");
    }
    let with =
        |rest: &[Part<'_>]| [bytes(&[Text(b"n"), Text(b"1"), Count(1)]), bytes(rest)].concat();
    for (broken, body) in [
        (Broken::Shape(4), with(&[Bytes(&[4])])),
        (Broken::Shape(255), with(&[Bytes(&[255])])),
        (Broken::Text, with(&[Bytes(&[0]), Text(b"")])),
        (Broken::Text, with(&[Bytes(&[0]), Text(&long[..129])])),
        (Broken::Text, with(&[Bytes(&[0]), Text(b"m"), Text(b"")])),
        (Broken::Text, with(&[Bytes(&[0]), Text(b"m"), Text(&long)])),
        (Broken::Text, with(&[Bytes(&[0]), Text(b"m"), Text(b"\x1b[2J")])),
        (Broken::Body, with(&[Bytes(&[0]), Text(b"m"), Text(b"()"), Bytes(&prints[1..])])),
    ] {
        assert_eq!(Opening::decode(&body), Err(broken), "{body:?}");
    }
    let good = with(&[Bytes(&[3]), Text(&long[..128]), Text(&long[..1024]), Bytes(&prints)]);
    assert!(Opening::decode(&good).is_ok());
}

#[test]
fn standings_go_there_and_back_and_others_are_refused() {
    let long = "x".repeat(1025);
    let standings = [
        Standing::Same(0),
        Standing::Same(u32::MAX),
        Standing::Unknown,
        Standing::Changed("(a: u8)"),
        Standing::Changed(&long[..1024]),
        Standing::Denied,
    ];
    for standings in [&[][..], &standings[..], &vec![Standing::Denied; MAX_MEMBERS]] {
        let mut body = Vec::new();
        encode_standings(standings, &mut body);
        assert_eq!(decode_standings(&body).as_deref(), Ok(standings));
        for len in 0..body.len() {
            assert_eq!(decode_standings(&body[..len]), Err(Broken::Body), "{len}");
        }
        body.push(0);
        assert_eq!(decode_standings(&body), Err(Broken::Body));
    }
    for (broken, body) in [
        (Broken::Many, bytes(&[Count(1025)])),
        (Broken::Code, bytes(&[Count(1), Bytes(&[4])])),
        (Broken::Text, bytes(&[Count(1), Bytes(&[2]), Text(b"")])),
        (Broken::Text, bytes(&[Count(1), Bytes(&[2]), Text(long.as_bytes())])),
        (Broken::Text, bytes(&[Count(1), Bytes(&[2]), Text(b"\0")])),
    ] {
        assert_eq!(decode_standings(&body), Err(broken), "{body:?}");
    }
}

#[test]
fn versions_go_there_and_back_and_others_are_refused() {
    let many: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    for count in [0, 1, 64, 100] {
        let mut body = Vec::new();
        encode_versions(many[..count].iter().map(String::as_str), &mut body);
        assert_eq!(decode_versions(&body).as_deref(), Ok(&many[..count.min(64)]));
        body.push(0);
        assert_eq!(decode_versions(&body), Err(Broken::Body));
    }
    assert_eq!(decode_versions(&[]), Ok(Vec::new()), "a refusal has none");
    for (broken, body) in [
        (Broken::Body, vec![0]),
        (Broken::Many, bytes(&[Count(65)])),
        (Broken::Body, bytes(&[Count(1)])),
        (Broken::Text, bytes(&[Count(1), Text(b"")])),
        (Broken::Text, bytes(&[Count(1), Text(&[b'x'; 65])])),
    ] {
        assert_eq!(decode_versions(&body), Err(broken), "{body:?}");
    }
}

#[test]
fn codes_have_numbers_and_others_are_none() {
    for number in 1..=11 {
        assert_eq!(Code::of(number).map(|code| code as u32), Ok(number));
    }
    for number in [0, 12, u32::MAX] {
        assert_eq!(Code::of(number), Err(Broken::Code));
    }
}

#[test]
fn what_is_shown_of_the_peers_words_harms_no_terminal_and_has_a_length() {
    assert_eq!(sentence(b"no \x1b[2J\xff"), "no \u{fffd}[2J\u{fffd}");
    assert_eq!(shown("right\u{202e}left\u{ad}"), "right\u{fffd}left\u{fffd}");
    assert_eq!(sentence(&[b'x'; 5000]).len(), 1024);
    let mut body = Vec::new();
    encode_versions(["1\u{202e}"].into_iter(), &mut body);
    assert_eq!(decode_versions(&body), Ok(vec!["1\u{fffd}".to_owned()]));
}

#[test]
fn what_is_plain_is_what_decoding_says() {
    for kind in 0..=255_u8 {
        for (blobs, interface, number, time) in
            [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (0, 7, 9, 0)]
        {
            let mut packet = [&header(kind, interface, number, time)[..], &[0; 64]].concat();
            packet[1] = blobs;
            let decoded = Header::decode(&packet);
            let plain = |kinds: &[Kind]| {
                let is = |it: &Header| kinds.contains(&it.kind) && it.time == 0 && it.blobs == 0;
                decoded.ok().filter(|it| is(it) && !it.json)
            };
            assert_eq!(Header::plain_answer(&packet), plain(&[Kind::Done, Kind::Failed]));
            assert_eq!(Header::plain_call(&packet), plain(&[Kind::Call]));
        }
    }
    assert_eq!(Header::plain_answer(&[6; 15]), None);
    assert_eq!(Header::plain_call(&[4; 15]), None);
}

#[test]
fn packets_are_padded_to_whole_lines() {
    for len in 0..200 {
        let header = Header::new(Kind::Signal);
        let packet = packet(header, &vec![7; len]);
        assert_eq!((16 + packet.len()).next_multiple_of(16) % 64, 0, "{len}");
        let decoded = Header::decode(&packet).expect("a packet");
        assert_eq!(packet[decoded.body_at()..], vec![7; len]);
        assert_eq!(decoded.body_at() % 16, 0);
    }
}

#[test]
fn an_opening_asks_for_one_of_three() {
    for (number, interface, asks) in [
        (0, 0, Ok(Asks::Open)),
        (0, 1, Err(Broken::Reserved)),
        (1, 0, Ok(Asks::List(0))),
        (1, 64, Ok(Asks::List(64))),
        (1, u16::MAX, Ok(Asks::List(u16::MAX))),
        (2, 0, Ok(Asks::Describe)),
        (2, 1, Err(Broken::Reserved)),
        (3, 0, Err(Broken::Asks(3))),
        (u32::MAX, 7, Err(Broken::Asks(u32::MAX))),
    ] {
        let header = Header { interface, number, ..Header::new(Kind::Open) };
        assert_eq!(Asks::of(&header), asks);
        if let Ok(asks) = asks {
            assert_eq!(asks.within(Header::new(Kind::Open)), header);
        }
    }
}

#[test]
fn lists_of_interfaces_go_there_and_back() {
    for listed in [vec![], vec![("a", "1"), ("ü", "2.0")], vec![("n", "v"); MAX_LISTED]] {
        let mut body = Vec::new();
        encode_list(listed.iter().copied(), &mut body);
        assert_eq!(decode_list(&body), Ok(listed));
        for len in 0..body.len() {
            assert_eq!(decode_list(&body[..len]), Err(Broken::Body), "{len}");
        }
        body.push(0);
        assert_eq!(decode_list(&body), Err(Broken::Body));
    }
    assert_eq!(decode_list(&bytes(&[Count(MAX_LISTED as u16 + 1)])), Err(Broken::Many));
    assert_eq!(decode_list(&bytes(&[Count(1), Text(b"a\x1b"), Text(b"1")])), Err(Broken::Text));
    assert_eq!(decode_list(&bytes(&[Count(1), Text(b"a"), Text(b"")])), Err(Broken::Text));
    let long = [b'x'; 129];
    for (name, version) in [(&long[..], &b"1"[..]), (b"a", &long[..65])] {
        let body = bytes(&[Count(1), Text(name), Text(version)]);
        assert_eq!(decode_list(&body), Err(Broken::Text));
    }
    let longest = bytes(&[Count(1), Text(&long[..128]), Text(&long[..64])]);
    assert!(decode_list(&longest).is_ok());
}

#[test]
fn descriptions_go_there_and_back_with_as_many_types_as_there_is_room_for() {
    let described =
        |json, denied| DescribedSpec { spec: member(Shape::Signal, "m", "()"), json, denied };
    let all = [(false, false), (false, true), (true, false), (true, true)];
    let members: Vec<_> = all.iter().map(|&(json, denied)| described(json, denied)).collect();
    let long = "x".repeat(MAX_SIGNATURE);
    let whole = Described { members, types: vec!["struct A", &long, "enum B {}"] };
    let mut body = Vec::new();
    whole.encode(&mut body, usize::MAX);
    assert_eq!(Described::decode(&body), Ok(whole.clone()));
    for len in 0..body.len() {
        assert_eq!(Described::decode(&body[..len]), Err(Broken::Body), "{len}");
    }
    for (room, types) in [(body.len(), 3), (body.len() - 1, 2), (body.len() - 12, 1), (0, 0)] {
        let mut cut = Vec::new();
        whole.encode(&mut cut, room);
        let decoded = Described::decode(&cut).expect("what is left");
        assert_eq!(decoded.types, whole.types[..types], "{room}");
        assert_eq!(decoded.members, whole.members);
        assert!(types == 0 || cut.len() <= room);
    }
    body.push(0);
    assert_eq!(Described::decode(&body), Err(Broken::Body));
    let many = Described { members: vec![], types: vec!["t"; MAX_TYPES + 1] };
    let mut body = Vec::new();
    many.encode(&mut body, usize::MAX);
    assert_eq!(Described::decode(&body).map(|described| described.types.len()), Ok(MAX_TYPES));

    let prints = [7; 48];
    for (broken, body) in [
        (Broken::Many, bytes(&[Count(1025)])),
        (Broken::Shape(4), bytes(&[Count(1), Bytes(&[0xc4])])),
        (Broken::Shape(0x20), bytes(&[Count(1), Bytes(&[0x20])])),
        (Broken::Many, bytes(&[Count(0), Count(1025)])),
        (Broken::Text, bytes(&[Count(0), Count(1), Text(b"a\nb")])),
        (Broken::Text, bytes(&[Count(0), Count(1), Text(b"")])),
        (Broken::Text, bytes(&[Count(0), Count(1), Text(&[b'x'; MAX_SIGNATURE + 1])])),
        (Broken::Body, bytes(&[Count(1), Bytes(&[0x80]), Text(b"m"), Text(b"()"), Bytes(&prints)])),
    ] {
        assert_eq!(Described::decode(&body), Err(broken), "{body:?}");
    }
    // What a description may say beside a shape is none of an opening's.
    let opening = bytes(&[Text(b"n"), Text(b"1"), Count(1), Bytes(&[0x80])]);
    assert_eq!(Opening::decode(&opening), Err(Broken::Shape(0x80)));
}
