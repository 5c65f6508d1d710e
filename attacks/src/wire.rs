//! The control messages as tables: any field can be set by its name, to any value.
//!
//! [`build`] makes a good message unless told otherwise; [`parse`] takes good ones only. Nothing
//! here knows which message comes when.

use crate::answer::{Failure, Fields, hex, text};
use crate::line;

/// The largest packet in bytes.
pub const MAX_PACKET: usize = 8192;
const HEADER: usize = 16;
const MAGIC: [u8; 4] = *b"MRNG";

/// What a good field holds.
enum Rule {
    Any,
    From(u64, u64),
    OneOf(&'static [u64]),
    Power(u64, u64),
}

/// A number at a fixed offset; `size` is 1, 2, 4, 8 or 16 bytes.
struct Field {
    name: &'static str,
    at: usize,
    size: usize,
    rule: Rule,
}

/// A variable part; how long it is stands at `length_at`.
struct Part {
    name: &'static str,
    length_at: usize,
    most: usize,
    sort: Sort,
}

/// What a variable part is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// UTF-8; its bytes are counted by a u16.
    Text,
    /// Any bytes, likewise.
    Bytes,
    /// Entries of 16 bytes, at least one, counted by a u32.
    Entries,
}

/// A kind of message.
pub struct Layout {
    /// Its name in lower case.
    pub name: &'static str,
    kind: u16,
    body: usize,
    fields: &'static [Field],
    parts: &'static [Part],
}

const fn field(name: &'static str, at: usize, size: usize, rule: Rule) -> Field {
    Field { name, at, size, rule }
}

const fn part(name: &'static str, length_at: usize, most: usize) -> Part {
    Part { name, length_at, most, sort: Sort::Text }
}

const fn metadata(length_at: usize) -> Part {
    Part { name: "metadata", length_at, most: 4096, sort: Sort::Bytes }
}

const U16: u64 = u16::MAX as u64;
const U64: u64 = u64::MAX;
const ZERO: Rule = Rule::From(0, 0);
const CAPACITY: Rule = Rule::Power(4096, 1 << 30);
const SEALS: Rule = Rule::OneOf(&[0x17, 0x37]);
const PAGE: Rule = Rule::Power(4096, 65_536);
const MOST_FDS: Rule = Rule::From(0, 253);
const MOST_BLOBS: Rule = Rule::From(0, 1024);

const HEADER_FIELDS: &[Field] = &[
    field("magic", 0, 4, Rule::Any),
    field("kind", 4, 2, Rule::Any),
    field("flags", 6, 2, ZERO),
    field("length", 8, 4, Rule::Any),
    field("header_reserved", 12, 4, ZERO),
];

/// All kinds of version 1.
pub const LAYOUTS: &[Layout] = &[
    Layout {
        name: "hello",
        kind: 1,
        body: 56,
        fields: &[
            field("oldest", 16, 2, Rule::From(1, U16)),
            field("newest", 18, 2, Rule::From(1, U16)),
            field("fence", 20, 1, Rule::From(0, 3)),
            field("order", 21, 1, Rule::From(1, 2)),
            field("alignment", 22, 1, Rule::From(0, 1)),
            field("width", 23, 1, Rule::OneOf(&[16, 32, 64])),
            field("offered", 24, 8, Rule::Any),
            field("required", 32, 8, Rule::Any),
            field("largest", 40, 8, Rule::From(1, U64)),
            field("page", 48, 4, PAGE),
            field("takes_fds", 56, 2, MOST_FDS),
            field("takes_blobs", 58, 2, MOST_BLOBS),
            field("reserved", 60, 4, ZERO),
            field("takes_bytes", 64, 8, Rule::Any),
        ],
        parts: &[part("application", 52, 64), metadata(54)],
    },
    Layout {
        name: "welcome",
        kind: 2,
        body: 48,
        fields: &[
            field("version", 16, 2, Rule::From(1, U16)),
            field("reserved", 18, 2, ZERO),
            field("fence", 20, 1, Rule::From(0, 3)),
            field("order", 21, 1, Rule::From(1, 2)),
            field("alignment", 22, 1, Rule::From(0, 1)),
            field("width", 23, 1, Rule::OneOf(&[16, 32, 64])),
            field("features", 24, 8, Rule::Any),
            field("largest", 32, 8, Rule::From(1, U64)),
            field("page", 40, 4, PAGE),
            field("takes_fds", 48, 2, MOST_FDS),
            field("takes_blobs", 50, 2, MOST_BLOBS),
            field("reserved2", 52, 4, ZERO),
            field("takes_bytes", 56, 8, Rule::Any),
        ],
        parts: &[part("application", 44, 64), metadata(46)],
    },
    Layout {
        name: "reject",
        kind: 3,
        body: 8,
        fields: &[field("code", 16, 2, Rule::From(1, U16)), field("reserved", 20, 4, ZERO)],
        parts: &[part("sentence", 18, 512)],
    },
    Layout {
        name: "open",
        kind: 4,
        body: 64,
        fields: &[
            field("channel", 16, 4, ZERO),
            field("reserved", 20, 4, ZERO),
            field("fp_accepting", 24, 16, Rule::Any),
            field("fp_connecting", 40, 16, Rule::Any),
            field("to_accepting", 56, 8, CAPACITY),
            field("to_connecting", 64, 8, CAPACITY),
        ],
        parts: &[
            part("protocol", 72, 128),
            part("type_accepting", 74, 128),
            part("type_connecting", 76, 128),
            metadata(78),
        ],
    },
    Layout {
        name: "granted",
        kind: 5,
        body: 32,
        fields: &[
            field("channel", 16, 4, ZERO),
            field("control", 20, 4, Rule::From(768, 1 << 20)),
            field("s_capacity", 24, 8, CAPACITY),
            field("c_capacity", 32, 8, CAPACITY),
            field("s_seals", 40, 4, SEALS),
            field("c_seals", 44, 4, SEALS),
        ],
        parts: &[],
    },
    Layout { name: "sealed", kind: 6, body: 8, fields: CHANNEL, parts: &[] },
    Layout { name: "ready", kind: 7, body: 8, fields: CHANNEL, parts: &[] },
    Layout {
        name: "refused",
        kind: 8,
        body: 48,
        fields: &[
            field("channel", 16, 4, ZERO),
            field("code", 20, 2, Rule::From(1, U16)),
            field("fp_accepting", 24, 16, Rule::Any),
            field("fp_connecting", 40, 16, Rule::Any),
            field("reserved", 62, 2, ZERO),
        ],
        parts: &[
            part("sentence", 22, 512),
            part("protocol", 56, 128),
            part("type_accepting", 58, 128),
            part("type_connecting", 60, 128),
        ],
    },
    Layout { name: "fence", kind: 9, body: 0, fields: &[], parts: &[] },
    Layout { name: "fenceack", kind: 10, body: 0, fields: &[], parts: &[] },
    Layout { name: "doorbell", kind: 11, body: 0, fields: &[], parts: &[] },
    Layout {
        name: "attachments",
        kind: 12,
        body: 16,
        fields: &[field("channel", 16, 4, ZERO), field("position", 24, 8, Rule::Any)],
        parts: &[Part { name: "entries", length_at: 20, most: 253, sort: Sort::Entries }],
    },
    Layout {
        name: "forget",
        kind: 14,
        body: 24,
        fields: &[
            field("channel", 16, 4, ZERO),
            field("reserved", 20, 4, ZERO),
            field("blob", 24, 8, Rule::From(1, U64)),
            field("mentions", 32, 8, Rule::From(1, U64)),
        ],
        parts: &[],
    },
    Layout {
        name: "ask",
        kind: 15,
        body: 8,
        fields: &[field("number", 16, 4, Rule::From(1, u32::MAX as u64))],
        parts: &[part("channel", 20, 64), metadata(22)],
    },
    Layout {
        name: "answer",
        kind: 16,
        body: 8,
        fields: &[
            field("number", 16, 4, Rule::From(1, u32::MAX as u64)),
            field("code", 20, 2, Rule::Any),
        ],
        parts: &[part("sentence", 22, 512)],
    },
];

const CHANNEL: &[Field] = &[field("channel", 16, 4, ZERO), field("reserved", 20, 4, ZERO)];

/// The layout of that name.
pub fn layout(name: &str) -> Option<&'static Layout> {
    LAYOUTS.iter().find(|layout| layout.name == name)
}

impl Layout {
    /// Whether [`build`] knows the name.
    pub fn knows(&self, name: &str) -> bool {
        let all = HEADER_FIELDS.iter().chain(self.fields);
        let part = |p: &Part| p.name == name || name.strip_suffix("_length") == Some(p.name);
        all.into_iter().any(|f| f.name == name) || self.parts.iter().any(part)
    }

    /// The names it knows beside those of the header, as `help` shows them.
    pub fn names(&self) -> String {
        let fields = self.fields.iter().map(|f| f.name.to_owned());
        let parts =
            self.parts.iter().flat_map(|p| [p.name.to_owned(), format!("{}_length", p.name)]);
        fields.chain(parts).collect::<Vec<_>>().join(",")
    }
}

/// Makes a message. `values` are fields and parts by name, the later one counting; what they leave
/// out is zero or empty, lengths and header are those of a good message.
pub fn build(layout: &Layout, values: &[(String, String)]) -> Result<Vec<u8>, Failure> {
    let mut packet = vec![0; HEADER + layout.body];
    for part in layout.parts {
        let value = values.iter().rev().find(|(name, _)| name == part.name);
        let bytes = value.map_or_else(|| Ok(Vec::new()), |(_, value)| part_value(part, value))?;
        let length = (bytes.len() / part.unit()) as u64;
        if part.length_size() == 2 && length > U16 {
            return Err(Failure::usage(format!("{} is too long", part.name)));
        }
        let place = &mut packet[part.length_at..part.length_at + part.length_size()];
        place.copy_from_slice(&length.to_le_bytes()[..part.length_size()]);
        packet.extend(bytes);
    }
    let length = u32::try_from(packet.len()).map_err(Failure::usage)?;
    packet[0..4].copy_from_slice(&MAGIC);
    packet[4..6].copy_from_slice(&layout.kind.to_le_bytes());
    packet[8..12].copy_from_slice(&length.to_le_bytes());
    for (name, value) in values {
        let length_of = layout.parts.iter().find(|p| name.strip_suffix("_length") == Some(p.name));
        if let Some(part) = length_of {
            put(&mut packet, &field("", part.length_at, part.length_size(), Rule::Any), value)?;
        } else if let Some(field) =
            HEADER_FIELDS.iter().chain(layout.fields).find(|f| f.name == name)
        {
            put(&mut packet, field, value)?;
        }
    }
    Ok(packet)
}

impl Part {
    /// Bytes of what its length counts.
    fn unit(&self) -> usize {
        if self.sort == Sort::Entries { 16 } else { 1 }
    }

    /// Bytes of its length.
    fn length_size(&self) -> usize {
        if self.sort == Sort::Entries { 4 } else { 2 }
    }

    fn least(&self) -> usize {
        usize::from(self.sort == Sort::Entries)
    }
}

/// The bytes of a part: text as it stands, or `hex:` and digits; metadata is always digits, and entries are parted by
/// commas.
fn part_value(part: &Part, value: &str) -> Result<Vec<u8>, Failure> {
    match (value.strip_prefix("hex:"), part.sort) {
        (Some(digits), _) => line::bytes(digits),
        (None, Sort::Text) => Ok(value.as_bytes().to_vec()),
        (None, Sort::Bytes) => line::bytes(value),
        (None, Sort::Entries) => {
            let each = value.split(',').filter(|entry| !entry.is_empty()).map(entry);
            Ok(each.collect::<Result<Vec<_>, _>>()?.concat())
        }
    }
}

/// `fd`, or the number of a blob, a colon and its bytes.
fn entry(text: &str) -> Result<Vec<u8>, Failure> {
    let (number, bytes) = match text {
        "fd" => ("0", "0"),
        blob => blob.split_once(':').ok_or_else(|| Failure::usage("fd, or NUMBER:BYTES"))?,
    };
    Ok([line::number(number)?, line::number(bytes)?].map(u64::to_le_bytes).concat())
}

fn put(packet: &mut [u8], field: &Field, value: &str) -> Result<(), Failure> {
    let place = &mut packet[field.at..field.at + field.size];
    if field.size == 16 || field.name == "magic" {
        let bytes = line::bytes(value)?;
        if bytes.len() != field.size {
            return Err(Failure::usage(format!("{} has {} bytes", field.name, field.size)));
        }
        place.copy_from_slice(&bytes);
        return Ok(());
    }
    let value = line::number(value)?;
    if field.size < 8 && value >> (8 * field.size) != 0 {
        return Err(Failure::usage(format!("{value:#x} does not fit into {}", field.name)));
    }
    place.copy_from_slice(&value.to_le_bytes()[..field.size]);
    Ok(())
}

/// A good message that came.
#[derive(Clone)]
pub struct Message {
    /// The name of its kind.
    pub name: &'static str,
    bytes: Vec<u8>,
}

impl Message {
    fn layout(&self) -> &'static Layout {
        layout(self.name).unwrap_or(&LAYOUTS[0])
    }

    /// The number in the field of that name; 0 if it has none.
    pub fn number(&self, name: &str) -> u64 {
        self.layout()
            .fields
            .iter()
            .find(|f| f.name == name)
            .map_or(0, |f| read(&self.bytes, f.at, f.size))
    }

    /// The entries, as [`build`] takes them; empty if it has none.
    pub fn entries(&self) -> String {
        match self.layout().parts {
            [Part { sort: Sort::Entries, .. }] => {
                entries(&self.bytes[HEADER + self.layout().body..])
            }
            _ => String::new(),
        }
    }

    /// The kind, and all fields and parts, as the answer to `recv` shows them.
    pub fn fields(&self) -> Fields {
        let mut all = Fields::new().with("kind", self.name);
        for field in self.layout().fields {
            let bytes = &self.bytes[field.at..field.at + field.size];
            all = match field.size {
                16 => all.with(field.name, hex(bytes)),
                _ => all.with(field.name, read(&self.bytes, field.at, field.size)),
            };
        }
        let mut at = HEADER + self.layout().body;
        for part in self.layout().parts {
            let bytes = &self.bytes[at..at + length_of(&self.bytes, part)];
            at += bytes.len();
            all = match part.sort {
                Sort::Text => all.with(part.name, text(&String::from_utf8_lossy(bytes))),
                Sort::Bytes => all.with(part.name, hex(bytes)),
                Sort::Entries => all.with(part.name, entries(bytes)),
            };
        }
        all
    }
}

/// Takes a packet as a message, if it breaks no rule that the packet alone can break.
pub fn parse(bytes: &[u8]) -> Result<Message, &'static str> {
    if bytes.len() < HEADER || bytes.len() > MAX_PACKET {
        return Err("size of the packet");
    }
    if bytes[0..4] != MAGIC {
        return Err("magic");
    }
    if read(bytes, 6, 2) != 0 || read(bytes, 12, 4) != 0 {
        return Err("flags or reserved bytes of the header");
    }
    if read(bytes, 8, 4) != bytes.len() as u64 {
        return Err("length");
    }
    let kind = read(bytes, 4, 2);
    let layout = LAYOUTS.iter().find(|l| u64::from(l.kind) == kind).ok_or("kind")?;
    if bytes.len() < HEADER + layout.body {
        return Err("too short");
    }
    if let Some(field) = layout.fields.iter().find(|f| !f.rule.holds(read(bytes, f.at, f.size))) {
        return Err(field.name);
    }
    let mut at = HEADER + layout.body;
    for part in layout.parts {
        let length = length_of(bytes, part);
        let most = part.most * part.unit();
        let value =
            bytes.get(at..at.saturating_add(length)).filter(|_| length <= most).ok_or(part.name)?;
        if length < part.least() {
            return Err(part.name);
        }
        if part.sort == Sort::Text && !is_text(value) {
            return Err(part.name);
        }
        if part.sort == Sort::Entries
            && value.chunks(16).any(|entry| read(entry, 0, 8) == 0 && read(entry, 8, 8) != 0)
        {
            return Err(part.name);
        }
        at += length;
    }
    if at != bytes.len() {
        return Err("bytes left over");
    }
    let number = |at| read(bytes, at, 8);
    if layout.name == "hello"
        && (read(bytes, 18, 2) < read(bytes, 16, 2) || number(32) & !number(24) != 0)
    {
        return Err("newest or required");
    }
    let message = Message { name: layout.name, bytes: bytes.to_vec() };
    if message.number("takes_blobs") == 0 && message.number("takes_bytes") != 0 {
        return Err("takes_bytes");
    }
    Ok(message)
}

impl Rule {
    fn holds(&self, value: u64) -> bool {
        match *self {
            Self::Any => true,
            Self::From(least, most) => (least..=most).contains(&value),
            Self::OneOf(values) => values.contains(&value),
            Self::Power(least, most) => value.is_power_of_two() && (least..=most).contains(&value),
        }
    }
}

/// In bytes.
fn length_of(bytes: &[u8], part: &Part) -> usize {
    let length = read(bytes, part.length_at, part.length_size());
    usize::try_from(length).unwrap_or(usize::MAX).saturating_mul(part.unit())
}

fn entries(bytes: &[u8]) -> String {
    let each = bytes.chunks(16).map(|entry| match [0, 8].map(|at| read(entry, at, 8)) {
        [0, 0] => "fd".to_owned(),
        [number, bytes] => format!("{number}:{bytes}"),
    });
    each.collect::<Vec<_>>().join(",")
}

/// The low half of a fingerprint will do: no rule looks at one.
fn read(bytes: &[u8], at: usize, size: usize) -> u64 {
    let mut word = [0; 8];
    let size = size.min(8);
    word[..size].copy_from_slice(&bytes[at..at + size]);
    u64::from_le_bytes(word)
}

fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| !text.chars().any(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../docs/PROTOCOL.md");

    /// The bytes of the example in section 16 that begins in this way.
    fn example(begins: &str) -> Vec<u8> {
        let (_, examples) = PAGE.split_once("<!-- example: begin -->").expect("section 16");
        let (_, rest) = examples.split_once(begins).expect("the example");
        let block = rest.split("```").nth(1).expect("its bytes");
        let digits = block.lines().filter_map(|line| line.get(7..)?.split("  ").next());
        line::bytes(&digits.collect::<String>().replace(' ', "")).expect("hexadecimal digits")
    }

    /// Text with blanks, as a value.
    fn words(sentence: &str) -> String {
        format!("hex:{}", hex(sentence.as_bytes()))
    }

    #[test]
    fn the_examples_of_the_page_are_built_and_taken_byte_by_byte() {
        let [order, newer, quote] = ["a1", "a2", "c1"].map(|byte| byte.repeat(16));
        let reject = "server speaks protocol versions 2..3, this client 1..1: upgrade the client";
        let not_now = words("not now");
        let (reject, refused) = (words(reject), words("the two sides mean different messages"));
        let archive = "order=1 alignment=1 width=32 largest=0x100000 page=4096";
        let names =
            |order: &str| format!("protocol=quotes type_accepting={order} type_connecting=Quote");
        for (begins, line) in [
            (
                "**Hello**,",
                format!(
                    "hello oldest=1 newest=1 fence=3 {archive} application=ticker metadata=010203 \
                     takes_fds=16 takes_blobs=8 takes_bytes=0x40000000"
                ),
            ),
            (
                "**Open**,",
                format!(
                    "open fp_accepting={order} fp_connecting={quote} to_accepting=0x10000 \
                     to_connecting=4096 {} metadata=4555",
                    names("Order")
                ),
            ),
            (
                "**Welcome**,",
                format!("welcome version=1 fence=1 {archive} application=quotes-server"),
            ),
            (
                "**Granted**,",
                "granted control=4096 s_capacity=4096 c_capacity=65536 s_seals=0x17 c_seals=0x17"
                    .to_owned(),
            ),
            ("**Sealed**,", "sealed".to_owned()),
            ("**Ready**,", "ready".to_owned()),
            ("**Fence**,", "fence".to_owned()),
            ("**Attachments**,", "attachments position=144 entries=fd,1:0x100000".to_owned()),
            ("**Forget**:", "forget blob=1 mentions=3".to_owned()),
            ("**Ask**:", "ask number=1 channel=logs metadata=07".to_owned()),
            ("**Answer** of the accepting side", "answer number=1".to_owned()),
            ("**Answer** of either side", format!("answer number=1 code=1 sentence={not_now}")),
            ("**Reject**,", format!("reject code=1 sentence={reject}")),
            (
                "**Refused**,",
                format!(
                    "refused code=2 fp_accepting={newer} fp_connecting={quote} \
                     sentence={refused} {}",
                    names("OrderV2")
                ),
            ),
        ] {
            let line = line::Line::parse(&line).expect("a line");
            let layout = layout(&line.name).expect("a layout");
            let built = build(layout, line.named()).expect("a message");
            assert_eq!(built, example(begins), "{}", line.name);
            assert_eq!(parse(&built).map(|message| message.name), Ok(layout.name));
        }
    }
}
