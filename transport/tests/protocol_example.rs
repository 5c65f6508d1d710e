//! The worked example of `docs/PROTOCOL.md`, made by the code it describes.
//!
//! A document that shows bytes goes stale in silence; this one cannot. With `MEMRING_BLESS=1` the test
//! writes the example instead of comparing it.
//! What it does not do: open a socket; the bytes are those that would travel.

mod machines;

use std::fmt::Write as _;
use std::sync::Arc;

use machines::{client_local, server_local, signature, wish};
use memring_ring::fence::Fences;
use memring_ring::memory::{Mapping, Region};
use memring_ring::{Life, Terms, channel, fork};
use memring_transport::control::{
    Answer, Ask, Attached, Attachments, Control, DeclineCode, Fingerprint, Forget, Metadata, Name,
    RefuseCode, RejectCode, SealBits, Sentence, Signature, Takes, TypeId, TypeName, Versions,
    decode,
};
use memring_transport::handshake::{
    CapacityLimits, ChannelWish, ClientHandshake, ClientStep, Local, Mismatch, Notice,
    ServerHandshake, ServerStep,
};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/PROTOCOL.md");
const BEGIN: &str = "<!-- example: begin -->\n";
const END: &str = "<!-- example: end -->\n";

#[test]
fn the_example_in_the_document_is_what_the_code_does() {
    let Ok(document) = std::fs::read_to_string(DOCUMENT) else {
        // A published crate travels without the repository's documents.
        return;
    };
    let (before, rest) = document.split_once(BEGIN).expect("the begin mark");
    let (shown, after) = rest.split_once(END).expect("the end mark");
    let example = example();
    if std::env::var_os("MEMRING_BLESS").is_some() {
        let blessed = [before, BEGIN, &example, END, after].concat();
        std::fs::write(DOCUMENT, blessed).expect("write the document");
        return;
    }
    assert!(
        shown == example,
        "docs/PROTOCOL.md shows other bytes than the code makes; run this test with \
         MEMRING_BLESS=1 and read the difference:\n{example}"
    );
}

fn example() -> String {
    let mut page = Page(String::new());
    session(&mut page);
    turned_down(&mut page);
    lane(&mut page);
    parts(&mut page);
    page.0
}

/// Bytes with the names of their fields, one field a line.
struct Page(String);

impl Page {
    fn text(&mut self, text: &str) {
        self.0 += "\n";
        self.0 += text;
        self.0 += "\n";
    }

    /// Shows `bytes`, which `fields` cut up from first to last.
    fn bytes(&mut self, first: usize, bytes: &[u8], fields: &[(usize, &str)]) {
        self.0 += "\n```text\n";
        let mut at = 0;
        for (len, name) in fields {
            let field = &bytes[at..at + len];
            for (row, chunk) in field.chunks(16).enumerate() {
                let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
                let name = if row == 0 { name } else { "" };
                let offset = first + at + 16 * row;
                let line = format!("{offset:5}  {:<47}  {name}", hex.join(" "));
                let _ = writeln!(self.0, "{}", line.trim_end());
            }
            at += len;
        }
        assert_eq!(at, bytes.len(), "the fields cover the bytes");
        self.0 += "```\n";
    }

    fn packet(&mut self, packet: &[u8], body: &[(usize, &str)]) {
        let kind = format!("kind: {}", decode(packet).expect("a good packet").kind());
        let header =
            [(4, "\"MRNG\""), (2, kind.as_str()), (2, "flags"), (4, "length"), (4, "reserved")];
        self.bytes(0, packet, &[&header, body].concat());
    }
}

const ARCHIVE: [(usize, &str); 3] =
    [(1, "archive: little-endian"), (1, "archive: aligned"), (1, "archive: 32-bit pointers")];

fn session(page: &mut Page) {
    let mut server = ServerHandshake::new(server_local(), CapacityLimits::PROTOCOL).unwrap();
    let wish = ChannelWish {
        capacity_to_connecting: 4096,
        metadata: Metadata::new(&b"EU"[..]).unwrap(),
        ..wish()
    };
    let takes = Takes { fds: 16, blobs: 8, blob_bytes: 1 << 30 };
    let local = Local { takes, ..client_local() };
    let mut client = ClientHandshake::new(local, wish, CapacityLimits::PROTOCOL).unwrap();
    let [hello, open] = client.start();

    page.text("**Hello**, connecting to accepting. The process is registered for membarrier and can call it.");
    let (before, after) = (
        [(2, "oldest version"), (2, "newest version"), (1, "fence bits: registered, can call")],
        [
            (8, "features offered"),
            (8, "features required"),
            (8, "largest message: 1 MiB"),
            (4, "page size"),
            (2, "length of the application name"),
            (2, "length of the metadata"),
            (2, "descriptors taken"),
            (2, "blobs taken"),
            (4, "reserved"),
            (8, "bytes of blobs taken"),
            (6, "application name: \"ticker\""),
            (3, "metadata"),
        ],
    );
    page.packet(&hello, &[&before[..], &ARCHIVE, &after].concat());

    page.text("**Open**, sent without waiting for the answer.");
    let fields = [
        (4, "channel"),
        (4, "reserved"),
        (16, "fingerprint of Order, to accepting"),
        (16, "fingerprint of Quote, to connecting"),
        (8, "capacity to accepting: 64 KiB"),
        (8, "capacity to connecting: 4 KiB"),
        (2, "length of the protocol name"),
        (2, "length of the name of the type to accepting"),
        (2, "length of the name of the type to connecting"),
        (2, "length of the channel metadata"),
        (6, "protocol name: \"quotes\""),
        (5, "type to accepting: \"Order\""),
        (5, "type to connecting: \"Quote\""),
        (2, "channel metadata"),
    ];
    page.packet(&open, &fields);

    let Ok(ServerStep::Send(welcome)) = server.on_packet(&hello, 0) else { panic!("Hello") };
    page.text("**Welcome**, accepting to connecting. This process is registered and cannot call.");
    let (before, after) = (
        [(2, "version"), (2, "reserved"), (1, "fence bits: registered")],
        [
            (8, "features"),
            (8, "largest message: the smaller of both"),
            (4, "page size"),
            (2, "length of the application name"),
            (2, "length of the metadata"),
            (2, "descriptors taken: none"),
            (2, "blobs taken: none"),
            (4, "reserved"),
            (8, "bytes of blobs taken"),
            (13, "application name: \"quotes-server\""),
        ],
    );
    page.packet(&welcome, &[&before[..], &ARCHIVE, &after].concat());

    let Ok(ServerStep::Grant(_)) = server.on_packet(&open, 0) else { panic!("Open") };
    let granted = server.granted(SealBits::PLAIN, SealBits::PLAIN);
    page.text("**Granted**, with two file descriptors: S, read-only, then C, writable.");
    let fields = [
        (4, "channel"),
        (4, "control area: one page"),
        (8, "capacity of S, to connecting"),
        (8, "capacity of C, to accepting"),
        (4, "seals of S"),
        (4, "seals C is to have"),
    ];
    page.packet(&granted, &fields);

    assert_eq!(client.on_packet(&welcome, 0), Ok(ClientStep::Wait));
    let mapped = client.on_packet(&granted, 2);
    assert!(matches!(mapped, Ok(ClientStep::MapSegments(_))));
    let sealed = client.mapped();
    page.text("**Sealed**, once the connecting side has mapped both and sealed C.");
    page.packet(&sealed, &[(4, "channel"), (4, "reserved")]);

    assert_eq!(server.on_packet(&sealed, 0), Ok(ServerStep::CheckSealed));
    let _opened = server.sealed_ok();
    page.text("**Ready**, once the application has taken the channel.");
    page.packet(&server.accept(), &[(4, "channel"), (4, "reserved")]);

    page.text("**Fence**, at any time later; **FenceAck** differs from it in the kind, 10, and **Doorbell** too, 11.");
    page.packet(&Notice::Fence.encode(), &[]);

    page.text(
        "**Attachments**, with two file descriptors, of another session, before the frame at position 144 of S: a descriptor for\n\
         the application, and the memory of blob 1, of 1 MiB.",
    );
    let list = vec![Attached::FD, Attached::blob(1, 1 << 20)].into();
    let packet = Control::Attachments(Attachments { channel: 0, position: 144, list }).encode();
    let fields = [
        (4, "channel"),
        (4, "count"),
        (8, "position"),
        (8, "blob: none, a descriptor of the message's"),
        (8, "bytes"),
        (8, "blob 1"),
        (8, "its bytes"),
    ];
    page.packet(&packet, &fields);

    page.text("**Forget**: blob 1, which three messages named, is named no more.");
    let packet = Control::Forget(Forget { channel: 0, blob: 1, mentions: 3 }).encode();
    page.packet(&packet, &[(4, "channel"), (4, "reserved"), (8, "blob"), (8, "mentions")]);

    page.text("**Ask**: a further channel, the first that this side asks for. From the accepting side its socket comes with it.");
    let metadata = Metadata::new(&[7][..]).unwrap();
    let packet = Control::Ask(Ask { number: 1, name: Name::fit("logs"), metadata }).encode();
    let fields = [
        (4, "number"),
        (2, "length of the name"),
        (2, "length of the metadata"),
        (4, "\"logs\""),
        (1, "metadata"),
    ];
    page.packet(&packet, &fields);

    page.text("**Answer** of the accepting side, with the socket: taken.");
    let taken = Answer { number: 1, declined: None, sentence: Sentence::default() };
    let fields = [(4, "number"), (2, "code: taken"), (2, "length of the sentence")];
    page.packet(&Control::Answer(taken.clone()).encode(), &fields);

    page.text("**Answer** of either side: declined.");
    let declined = Some(DeclineCode::Application);
    let packet = Answer { declined, sentence: Sentence::fit("not now"), ..taken };
    let fields = [
        (4, "number"),
        (2, "code: the application does not want it"),
        (2, "length of the sentence"),
        (7, "\"not now\""),
    ];
    page.packet(&Control::Answer(packet).encode(), &fields);
}

/// A server to which nothing was said, and what a client says first.
fn strangers() -> (ServerHandshake, [Vec<u8>; 2]) {
    let server = ServerHandshake::new(server_local(), CapacityLimits::PROTOCOL).unwrap();
    let mut client =
        ClientHandshake::new(client_local(), wish(), CapacityLimits::PROTOCOL).unwrap();
    (server, client.start())
}

fn turned_down(page: &mut Page) {
    let local = Local { versions: Versions { min: 2, max: 3 }, ..server_local() };
    let mut server = ServerHandshake::new(local, CapacityLimits::PROTOCOL).unwrap();
    let (_, [hello, open]) = strangers();
    let Ok(ServerStep::Reject { packet, code, sentence }) = server.on_packet(&hello, 0) else {
        panic!("Hello")
    };
    assert_eq!(code, RejectCode::Version);
    page.text("**Reject**, instead of Welcome, by a server of a later day.");
    let says = format!("{:?}", sentence.as_str());
    let fields = [
        (2, "code: no version in common"),
        (2, "length of the sentence"),
        (4, "reserved"),
        (sentence.as_str().len(), says.as_str()),
    ];
    page.packet(&packet, &fields);

    let (mut server, [hello, _]) = strangers();
    assert!(matches!(server.on_packet(&hello, 0), Ok(ServerStep::Send(_))));
    assert!(matches!(server.on_packet(&open, 0), Ok(ServerStep::Grant(_))));
    let ours = Signature {
        to_accepting: TypeId {
            fingerprint: Fingerprint([0xa2; 16]),
            name: TypeName::new("OrderV2").unwrap(),
        },
        ..signature()
    };
    let mismatch = Mismatch::between(&ours, &server.opened().unwrap().signature).unwrap();
    assert_eq!(mismatch.code(), RefuseCode::Fingerprint);
    let packet = server.refuse_mismatch(&mismatch);
    page.text(
        "**Refused**, instead of Ready, by a server built from another version of the types.",
    );
    let fields = [
        (4, "channel"),
        (2, "code: other message types"),
        (2, "length of the sentence"),
        (16, "the refuser's fingerprint to accepting"),
        (16, "the refuser's fingerprint to connecting"),
        (2, "length of the protocol name"),
        (2, "length of the name of the type to accepting"),
        (2, "length of the name of the type to connecting"),
        (2, "reserved"),
        (37, "\"the two sides mean different messages\""),
        (6, "protocol name: \"quotes\""),
        (7, "type to accepting: \"OrderV2\""),
        (5, "type to connecting: \"Quote\""),
    ];
    page.packet(&packet, &fields);
}

/// Two sides of a channel on memory of this process, and the two segments as their readers see them.
struct Pair {
    accepting: (memring_ring::producer::Producer, memring_ring::consumer::Consumer),
    connecting: (memring_ring::producer::Producer, memring_ring::consumer::Consumer),
    s: Arc<Mapping>,
    c: Arc<Mapping>,
}

fn pair() -> Pair {
    let (s_writer, s) = Mapping::anonymous_pair(65536, 65536).expect("memory for S");
    let (c_writer, c) = Mapping::anonymous_pair(65536, 65536).expect("memory for C");
    let bits = memring_ring::fence::FenceBits::default();
    let life = || Life::new(Fences::negotiate(bits, bits), fork::generation());
    let terms = Terms::new(1 << 20);
    Pair {
        accepting: channel(&s_writer, &c, &life(), &terms),
        connecting: channel(&c_writer, &s, &life(), &terms),
        s,
        c,
    }
}

fn read(region: &Region, at: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    region.copy_out(at, &mut bytes);
    bytes
}

const HEADER: [(usize, &str); 5] =
    [(1, "kind"), (1, "flags"), (2, "fds"), (4, "length of the payload"), (8, "tag")];

fn lane(page: &mut Page) {
    let Pair { accepting: (mut producer, _keep), connecting: (_also, mut consumer), s, c } = pair();
    producer.try_send(b"bid 101", 7).unwrap();
    let mut batch = producer.batch();
    batch.try_push(b"a", 1).unwrap();
    batch.try_push(b"nine byte", 2).unwrap();
    drop(batch);
    producer.try_send(b"", 9).unwrap();
    drop(producer);

    page.text(
        "**The data area of S** after the accepting side sent a message of 7 bytes with tag 7,\n\
         a batch of two, an empty message, and closed. Offsets count from the data area's first byte.",
    );
    let frame = |kind| [&[(1, kind)], &HEADER[1..]].concat();
    let fields = [
        frame("kind: Data"),
        vec![(7, "\"bid 101\""), (9, "padding")],
        frame("kind: Pack"),
        vec![
            (4, "length of the first message"),
            (4, "reserved"),
            (8, "its tag"),
            (1, "\"a\""),
            (7, "padding to 8"),
            (4, "length of the second message"),
            (4, "reserved"),
            (8, "its tag"),
            (9, "\"nine byte\""),
            (7, "padding to 8"),
            (8, "padding to 16"),
        ],
        frame("kind: Data"),
        frame("kind: End"),
    ]
    .concat();
    let len = fields.iter().map(|(len, _)| len).sum();
    page.bytes(0, &read(&s.data(), 0, len), &fields);

    let mut received = 0;
    while consumer.try_recv().is_ok() {
        received += 1;
    }
    assert_eq!(received, 4);
    drop(consumer);
    page.text(
        "**The word `head` of C**, after the connecting side has taken all of that and left:\n\
         the position behind End, with bit 0 set.",
    );
    let word = read(&c.control(), 0, 8);
    assert_eq!(word, (len as u64 | 1).to_le_bytes());
    page.bytes(0, &word, &[(8, "head: 144, and gone")]);
}

fn parts(page: &mut Page) {
    let Pair { accepting: (mut producer, _keep), connecting: _also, s, .. } = pair();
    producer.try_send(&[0x5a; 40_000], 3).unwrap();
    page.text(
        "**A message in parts**: 40,000 bytes with tag 3 in a lane of 64 KiB, whose largest payload\n\
         is 16,368. Only the headers are shown.",
    );
    let data = s.data();
    let total = [&HEADER[..], &[(8, "total")]].concat();
    for (at, kind, len) in
        [(0, "kind: First", 24), (16_384, "kind: Next", 16), (32_768, "kind: Last", 16)]
    {
        let fields = if len == 24 { &total[1..] } else { &HEADER[1..] };
        page.bytes(at, &read(&data, at, len), &[&[(1, kind)], fields].concat());
    }
}
