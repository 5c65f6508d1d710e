//! Calls whose other end is the fuzzer: it asks, answers and breaks rules packet by packet, while we serve an interface and have
//! two calls, a stream and a subscription under way.
//!
//! Whatever comes, nothing panics or hangs, what we asked ends, no question gets two answers, none gets one that was not
//! asked, and no stream sends more than it has credit for. A peer that broke no rule has an answer to each question.
//!
//! All of it is one thread: what the peer sends lies in the lane before we read, and the last of it ends the session. A first
//! byte of 0 has the decoders read the rest instead.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use memring::rpc::fuzzing::{self, Raw};
use memring::rpc::{Call, Calls, Link, Replies, Stream};
use memring::{Connector, End, Lanes};

use crate::Seed;
use crate::input::{Input, Script};

/// What both sides serve and use.
#[memring::interface(name = "fuzzed", version = "1")]
trait Fuzzed {
    fn texts(texts: Vec<String>, number: u32) -> u32;
    fn lent(text: &str) -> Result<String, u8>;
    fn count(to: u8) -> Stream<u8>;
    #[oneway]
    fn told(number: u32);
    #[signal]
    fn news(text: &str);
    #[json]
    fn worded(text: &str, numbers: Vec<Option<u8>>) -> Result<String, u8>;
}

const MEMBERS: u16 = 6;
const COUNT: u32 = 2;
const WORDED: u32 = 5;

struct Serves;

impl FuzzedServer for Serves {
    fn texts(&self, _: &Call<'_>, texts: Vec<String>, number: u32) -> u32 {
        number.wrapping_add(texts.len() as u32)
    }

    fn lent(&self, call: &Call<'_>, text: &str) -> Result<String, u8> {
        let _deadline = call.deadline();
        if text.len() < 5 { Ok(text.repeat(2)) } else { Err(text.len() as u8) }
    }

    fn count(&self, _: &Call<'_>, to: u8, mut replies: Replies<u8>) {
        for number in 0..to % MOST {
            if replies.send(&number).is_err() {
                return;
            }
        }
        replies.end(Ok(()));
    }

    fn told(&self, _: &Call<'_>, _: u32) {}

    fn worded(&self, _: &Call<'_>, text: &str, numbers: Vec<Option<u8>>) -> Result<String, u8> {
        numbers.into_iter().flatten().next().map_or_else(|| Ok(text.into()), Err)
    }
}

/// Replies of a stream are fewer; the first 32 need no credit.
const MOST: u8 = 48;
const FIRST_CREDIT: u64 = 32;
/// Packets of a script, whose answers have room.
const STEPS: usize = 100;

/// One session.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let how = input.u8();
    if how == 0 {
        return fuzzing::decode(input.rest());
    }
    let lanes = Lanes::Bytes(512 << 10);
    let (ours, peers) = Connector::new().lanes(lanes, lanes).pair::<Calls>().expect("a pair");
    let mut peer = Peer::new(Raw::over(peers));
    let link = Link::serving(ours, [Fuzzed::serve(Serves)]);

    // What we open lies there answered.
    peer.send(&opened(), 1);
    let client: FuzzedClient = link.open().expect("opened");
    let calling = client_of(&link, &mut peer);
    let pending = [calling.texts(vec!["a".into()], 7), calling.texts(vec![], 1)];
    let pending_lent = calling.lent("text");
    let stream: Stream<u8> = client.count(5).expect("room");
    let mut news = client.news().expect("room");

    for _ in 0..STEPS {
        if input.is_over() {
            break;
        }
        peer.step(&mut input);
    }
    let ended = if how & 1 == 0 { None } else { Some(peer.raw.take()) };
    if ended.is_none() {
        peer.send(&[0; 16], 0); // a kind that there is not
    }
    drop(ended);

    let end = link.run();
    for call in pending {
        drop(call.wait());
    }
    drop(pending_lent.wait());
    assert!(stream.count() <= FIRST_CREDIT as usize + STEPS);
    while let Ok(Some(text)) = news.try_recv() {
        assert!(text.len() <= data.len());
    }
    assert!(client.lent("late").is_err(), "the session is over");
    peer.judge(&end);
}

/// A client for calls that are not waited for, opened by an answer that lies there.
fn client_of(link: &Link, peer: &mut Peer) -> FuzzedAsyncClient {
    peer.send(&opened(), 2);
    link.open().expect("opened")
}

/// That all of it is there, as far as that goes.
fn opened() -> Vec<u8> {
    let mut body = MEMBERS.to_le_bytes().to_vec();
    for member in 0..u32::from(MEMBERS) {
        body.push(0);
        body.extend(member.to_le_bytes());
    }
    packet(2, 0, 0, 16, 0, &body)
}

fn packet(kind: u8, blobs: u8, interface: u16, number: u32, time: u64, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind, blobs];
    packet.extend(interface.to_le_bytes());
    packet.extend(number.to_le_bytes());
    packet.extend(time.to_le_bytes());
    packet.extend(body);
    packet
}

/// The fuzzer's side, and what it has to expect.
struct Peer {
    raw: Option<Raw>,
    /// Its questions, with the kinds of their answers; and of streams, the credit.
    asked: BTreeMap<u64, (&'static [u8], u64)>,
    last: u64,
    /// A stream of it may wait for credit for ever.
    stuck: bool,
}

impl Peer {
    fn new(raw: Raw) -> Self {
        Self { raw: Some(raw), asked: BTreeMap::new(), last: 0, stuck: false }
    }

    fn send(&mut self, packet: &[u8], tag: u64) {
        let soon = Instant::now() + Duration::from_secs(5);
        self.raw.as_mut().expect("it has not gone").send(packet, tag, soon).expect("room");
    }

    /// One packet.
    fn step(&mut self, input: &mut Input<'_>) {
        let (what, number, tag) = (input.u8(), u32::from(input.u8()), input.u8());
        // The last packet alone is of kind 0.
        let kind = if what & 0x0f == 0 { 15 } else { what & 0x0f };
        let tag = match tag {
            0..=15 => u64::from(tag),
            16..=0xbf => self.last.wrapping_add(u64::from(tag & 1)),
            0xc0..=0xef => self.last.wrapping_add(1),
            _ => input.u64(),
        };
        let (interface, time, padding) =
            if what & 0x40 == 0 { (0, 0, 0) } else { (input.u16(), input.u64(), input.u8()) };
        let blobs = if what & 0x80 == 0 { 0 } else { input.u8() };
        let body = match (what & 0x30) >> 4 {
            0 => good(kind, number),
            1 => Vec::new(),
            _ => {
                let len = input.u8();
                input.bytes(len.into()).to_vec()
            }
        };
        let short = body.len() == 1 && u64::from(body[0] % MOST) <= FIRST_CREDIT;
        let body = [&vec![0xaa; usize::from(padding & 3) * 16][..], &body].concat();
        match kind {
            1 => self.asks(tag, &[2, 3], 0),
            4 if number == COUNT => {
                self.stuck |= !short;
                self.asks(tag, &[6, 7, 8], FIRST_CREDIT);
            }
            4 => self.asks(tag, &[6, 7, 8], 0),
            11 => {
                if let Some((_, credit)) = self.asked.get_mut(&tag) {
                    *credit += u64::from(number);
                }
            }
            _ => {}
        }
        self.send(&packet(kind | padding << 4, blobs, interface, number, time, &body), tag);
    }

    fn asks(&mut self, tag: u64, answers: &'static [u8], credit: u64) {
        if tag > self.last {
            self.last = tag;
            self.asked.insert(tag, (answers, credit));
        }
    }

    /// Whether what came was due.
    fn judge(self, end: &End) {
        let Some(mut raw) = self.raw else { return };
        let mut asked = self.asked;
        let mut last = 0;
        while let Ok(packet) = raw.recv(Instant::now()) {
            let (kind, tag) = (packet.bytes[0] & 15, packet.tag);
            match kind {
                1 | 4 => {
                    assert!(tag > last, "our own numbers rise");
                    last = tag;
                }
                2 | 3 | 6 | 7 | 8 => {
                    let (answers, _) = asked.remove(&tag).expect("asked, and not answered");
                    assert!(answers.contains(&kind), "{kind} to a question of {answers:?}");
                }
                9 | 11 => assert!(tag != 0 && tag <= last, "of a call of ours"),
                10 => {
                    let (_, credit) = asked.get_mut(&tag).expect("asked, and not answered");
                    *credit = credit.checked_sub(1).expect("credit");
                }
                5 | 12..=14 => assert_eq!(tag, 0),
                other => panic!("a packet of kind {other}"),
            }
        }
        let ours = matches!(end, End::Fault(fault) if fault.to_string().contains("unknown kind 0"));
        assert!(!ours || self.stuck || asked.is_empty(), "{asked:?} without an answer");
    }
}

/// A body that is one, where its kind has some.
fn good(kind: u8, number: u32) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u16).to_le_bytes(), text.as_bytes()].concat();
    match kind {
        1 => [text("fuzzed"), text("1"), vec![0, 0]].concat(),
        2 => opened()[16..].to_vec(),
        3 => [&[1, 0][..], &text("2")].concat(),
        // Lists and texts are inline where they are short, or empty.
        4 | 5 if number == WORDED => br#"{"text": "four", "numbers": [null, 4]}"#.to_vec(),
        4 | 5 if number == 0 => vec![0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0],
        4 if number == COUNT => vec![40],
        4 | 12 => [&b"four"[..], &[0xff; 4]].concat(),
        5 | 6 => vec![1, 2, 3, 4],
        7 => vec![3],
        8 => b"why".to_vec(),
        10 => vec![9],
        _ => Vec::new(),
    }
}

/// Each kind as it should be and not, long streams, many calls, and bodies for the decoders.
pub fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut seed = |name: &str, script: Script| seeds.push((name.to_owned(), script.0));
    let script = |how: u8| Script::default().u8(how);
    // Kind and number of each packet, and its tag: next, or one of ours.
    let (next, none) = (0xc0, 0);
    let open = |how: u8| script(how).u8(1).u8(0).u8(next);
    for (name, kind, number, tag) in [
        ("open", 1, 0, next),
        ("list", 1, 1, next),
        ("describe", 1, 2, next),
        ("asks-for-what-is-unknown", 1, 3, next),
        ("opened-twice", 2, 0, 1),
        ("refused", 3, 1, 3),
        ("call", 4, 0, next),
        ("call-lent", 4, 1, next),
        ("call-stream", 4, 2, next),
        ("call-one-way", 4, 3, next),
        ("call-signal", 4, 4, next),
        ("tell", 5, 3, none),
        ("done", 6, 0, 3),
        ("done-stream", 6, 0, 6),
        ("failed", 7, 0, 5),
        ("ended", 8, 9, 4),
        ("cancel", 9, 0, 2),
        ("item", 10, 0, 6),
        ("item-of-none", 10, 0, 3),
        ("signal", 12, 4, none),
        ("subscribe", 13, 4, none),
        ("unsubscribe", 14, 4, none),
        ("kind", 15, 0, next),
    ] {
        seed(name, open(2).u8(kind).u8(number).u8(tag));
    }
    let stream = open(2).u8(4).u8(2).u8(next);
    seed("stream-credit", stream.clone().u8(11).u8(16).u8(2));
    seed("stream-cancelled", stream.clone().u8(9).u8(0).u8(2));
    seed("stream-left", open(3).u8(4).u8(2).u8(next));
    seed("late", open(2).u8(0x44).u8(0).u8(next).u16(0).u64(1).u8(2));
    // The highest bit of the padding says that arguments are JSON.
    let json = |kind: u8, number: u8, tag: u8| {
        open(2).u8(0x40 | kind).u8(number).u8(tag).u16(0).u64(0).u8(8)
    };
    seed("json", json(4, WORDED as u8, next));
    seed("json-to-who-takes-none", json(4, 0, next));
    seed("json-in-what-is-no-call", json(6, 0, 3));
    seed("json-told", json(5, 3, none));
    seed("list-from", open(2).u8(0x41).u8(1).u8(next).u16(7).u64(0).u8(0));
    seed("blobs", open(2).u8(0x84).u8(0).u8(next).u8(1));
    seed("not-opened", script(2).u8(4).u8(0).u8(next));
    seed("falling", open(2).u8(4).u8(0).u8(0xff).u64(9).u8(4).u8(0).u8(9));
    let items = (0..33).fold(open(2), |script, _| script.u8(10).u8(0).u8(6));
    seed("items-without-credit", items);
    let calls = (0..20).fold(open(2), |script, _| script.u8(4).u8(0).u8(next));
    seed("calls", calls);
    seed("bytes-empty", script(0));
    let text = |text: &str| [&(text.len() as u16).to_le_bytes(), text.as_bytes()].concat();
    let list = [vec![1, 0], text("fuzzed"), text("1")].concat();
    seed("bytes-list", script(0).bytes(&list));
    let member = [vec![0xc3], text("news"), text("()"), vec![7; 48]].concat();
    let description = [vec![1, 0], member, vec![1, 0], text("struct A")].concat();
    seed("bytes-description", script(0).bytes(&description));
    for kind in [1, 2, 3, 8] {
        let packet = packet(kind, 0, 0, 0, 0, &[]);
        seed(&format!("bytes-header-{kind}"), script(0).bytes(&packet));
        seed(&format!("bytes-body-{kind}"), script(0).bytes(&good(kind, 0)));
    }
    seeds
}
