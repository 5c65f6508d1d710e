//! The example of section 15 of `docs/PROTOCOL.md`, made by a client and a server that talk.
//!
//! With `MEMRING_BLESS=1` the test writes it instead of comparing it.

use std::fmt::Write as _;
use std::thread;

use memring::rpc::fuzzing::{Raw, RawPacket};
use memring::rpc::{Call, Calls, Link};

use super::support::soon;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/PROTOCOL.md");
const BEGIN: &str = "<!-- calls: begin -->\n";
const END: &str = "<!-- calls: end -->\n";

#[memring::interface(name = "adder", version = "1")]
trait Adder {
    fn add(a: u32, b: u32) -> u32;
}

struct Adds;

impl AdderServer for Adds {
    fn add(&self, _: &Call<'_>, a: u32, b: u32) -> u32 {
        a + b
    }
}

#[test]
fn the_example_in_the_document_is_what_the_code_does() {
    let Ok(document) = std::fs::read_to_string(DOCUMENT) else {
        return; // a published crate travels without it
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
        "run this test with MEMRING_BLESS=1 and read the difference:\n{example}"
    );
}

/// What goes from one to the other: its own packets, through two of ours between them.
fn example() -> String {
    let (server, to_server) = memring::pair::<Calls>().expect("a pair");
    let (to_client, client) = memring::pair::<Calls>().expect("a pair");
    let server = Link::serving(server, [Adder::serve(Adds)]);
    let serving = thread::spawn(move || server.run());
    let calling = thread::spawn(move || {
        let adder: AdderClient = Link::over(client).open().expect("it is served");
        assert_eq!(adder.add(2, 40).expect("an answer"), 42);
    });
    let (mut to_server, mut to_client) = (Raw::over(to_server), Raw::over(to_client));
    let mut page = String::new();
    let mut pass = |from: &mut Raw, to: &mut Raw, name: &str, fields: &[(usize, &str)]| {
        let packet = from.recv(soon()).expect("a packet");
        to.send(&packet.bytes, packet.tag, soon()).expect("room");
        show(&mut page, packet, name, fields);
    };
    let header = |kind, padding: usize, interface, number, time| {
        [(1, kind), (1, "blobs"), (2, interface), (4, number), (8, time), (16 * padding, "padding")]
    };
    let (asks, answers) = ("asker to server", "server to asker");
    let open = [
        (2, "length"),
        (5, "name: \"adder\""),
        (2, "length"),
        (1, "version: \"1\""),
        (2, "members: one"),
        (1, "shape: a call"),
        (2, "length"),
        (3, "name: \"add\""),
        (2, "length"),
        (23, "signature: \"(a: u32, b: u32) -> u32\""),
        (16, "fingerprint of struct arguments { a: u32, b: u32 }"),
        (16, "fingerprint of u32"),
        (16, "fingerprint of never"),
    ];
    let kind = header("kind: Open; padding: none", 0, "interface", "number", "clock: 5 s");
    pass(
        &mut to_client,
        &mut to_server,
        &format!("**Open**, {asks}, tag 1."),
        &[&kind[..], &open].concat(),
    );
    let kind =
        header("kind: Opened; padding", 1, "interface: 0", "questions at once: 1024", "clock: 5 s");
    let opened = [(2, "members: one"), (1, "same"), (4, "its number: 0")];
    pass(
        &mut to_server,
        &mut to_client,
        &format!("**Opened**, {answers}, tag 1."),
        &[&kind[..], &opened].concat(),
    );
    let kind = header("kind: Call; padding", 1, "interface: 0", "method: 0", "deadline: none");
    let call = [(4, "a: 2"), (4, "b: 40")];
    pass(
        &mut to_client,
        &mut to_server,
        &format!("**Call**, {asks}, tag 2."),
        &[&kind[..], &call].concat(),
    );
    let kind = header("kind: Done; padding", 1, "interface", "number", "time");
    pass(
        &mut to_server,
        &mut to_client,
        &format!("**Done**, {answers}, tag 2."),
        &[&kind[..], &[(4, "42")]].concat(),
    );
    calling.join().expect("no panic");
    drop((to_server, to_client));
    serving.join().expect("no panic");
    page
}

/// Shows a packet, which `fields` cut up from first to last.
fn show(page: &mut String, packet: RawPacket, name: &str, fields: &[(usize, &str)]) {
    let RawPacket { tag, mut bytes } = packet;
    assert!(name.ends_with(&format!("tag {tag}.")), "{name}");
    if matches!(bytes[0] & 15, 1 | 2) {
        bytes[8..16].copy_from_slice(&5_000_000_000_u64.to_le_bytes());
    }
    let _ = write!(page, "\n{name}\n\n```text\n");
    let mut at = 0;
    for (len, name) in fields.iter().filter(|(len, _)| *len != 0) {
        for (row, chunk) in bytes[at..at + len].chunks(16).enumerate() {
            let hex: Vec<_> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
            let name = if row == 0 { name } else { "" };
            let line = format!("{:5}  {:<47}  {name}", at + 16 * row, hex.join(" "));
            let _ = writeln!(page, "{}", line.trim_end());
        }
        at += len;
    }
    assert_eq!(at, bytes.len(), "the fields cover the bytes");
    *page += "```\n";
}
