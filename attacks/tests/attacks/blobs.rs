//! Blobs of an attacker's: of section C of the list what their memory may be, and what can be said of them.

use memring::blob::{Blob, ReadError, Table};
use memring::{ListenerBuilder, Protocol, Reason};

use crate::attacker::Attacker;
use crate::carried::{self, archive, breaks, broken, client, frame, leaves, saw, send};
use crate::payloads::{Chain, Crowd, client_of, hex};
use crate::scene::Scene;
use crate::segments::no_memfds;
use crate::service::{Service, receive};
use crate::support::eventually;

/// The bytes of a clean client's blob `b`, and their sum.
const PAGE: &str = "4096:21";

/// The numbers of blobs, each of so many bytes, as `entries=`.
fn entries(numbers: impl IntoIterator<Item = u64>, bytes: u64) -> String {
    let each: Vec<_> = numbers.into_iter().map(|number| format!("{number}:{bytes}")).collect();
    each.join(",")
}

/// A descriptor made like this comes as blob 1 of so many bytes, and is a fault of this reason.
#[track_caller]
fn unfit(scene: &mut Scene, prepare: &[&str], bytes: u64, reason: Reason) {
    let ahead = format!("attachments fds=x entries=1:{bytes}");
    let frame = frame(1, &archive(&[1], &[]));
    let commands = [prepare, &[&ahead, &frame]].concat();
    broken(scene, &commands, reason);
}

#[test]
fn attack_37_what_is_no_memfd_is_no_blob() {
    let Some(mut scene) = carried::set(name!()) else { return };
    for how in no_memfds(&scene, "4096").into_iter().chain(["opath of=b".to_owned()]) {
        let mut attacker = client(&mut scene);
        attacker.tell(format!("make x {how}"));
        let said = attacker.hear();
        if said.starts_with("err ") {
            println!("skipped: {how} cannot be had here: {said}");
            leaves(&scene, attacker);
            continue;
        }
        attacker.run("attachments fds=x entries=1:4096");
        attacker.run(frame(1, &archive(&[1], &[])));
        // A file on tmpfs has seals, and only the one that forbids more of them.
        let sealed = how.starts_with("tmpfs");
        breaks(&mut scene, if sealed { Reason::BlobSeals } else { Reason::BlobForeign });
    }
    scene.finish();
}

#[test]
fn attack_38_huge_pages_are_no_blob() {
    let settings = |builder: ListenerBuilder| builder.blobs(1, 4 << 20);
    let Some(mut scene) = carried::with(name!(), settings) else { return };
    let Some(page) = crate::segments::HugePage::reserve() else {
        println!("skipped: no huge page is free here");
        return scene.finish();
    };
    let prepare = ["make x hugetlb size=0x200000", "allocate x 0 0x200000", "seal x 0xf"];
    let ahead = "attachments fds=x entries=1:0x200000";
    let frame = frame(1, &archive(&[1], &[]));
    let commands = [&prepare[..], &[ahead, &frame]].concat();
    broken(&mut scene, &commands, Reason::BlobNotTmpfs);
    drop(page);
    scene.finish();
}

#[test]
fn attack_39_a_blob_has_all_its_seals_and_no_other() {
    let Some(mut scene) = carried::set(name!()) else { return };
    // None; each missing; as a segment has them; with the seal against writing later on top.
    for seals in [0x0, 0x1, 0x8, 0xe, 0xd, 0xb, 0x7, 0x17, 0x1f] {
        let make = format!("make x memfd size=4096 seals={seals}");
        unfit(&mut scene, &[&make], 4096, Reason::BlobSeals);
    }
    // Whether anybody may execute it is its maker's own business.
    let mut attacker = client(&mut scene);
    for (number, exec) in [(1, "no"), (2, "yes")] {
        attacker.run(format!("make x memfd size=4096 seals=0xf exec={exec}"));
        let with = format!("fds=x entries={number}:4096");
        assert_eq!(send(&mut attacker, &with, &[number], &[]), "fds=0 blobs=4096:0");
    }
    leaves(&scene, attacker);
    scene.finish();
}

#[test]
fn attack_40_a_blob_has_the_bytes_that_were_said_and_seals_are_asked_for_first() {
    let Some(mut scene) = carried::set(name!()) else { return };
    for size in [0, 1, 4095, 4097, 8192, 1 << 20] {
        let make = format!("make x memfd size={size} seals=0xf");
        unfit(&mut scene, &[&make], 4096, Reason::BlobSize);
    }
    unfit(&mut scene, &["make x memfd size=4096 seals=0xf"], 0, Reason::BlobSize);
    // A size that nobody has the memory for: said, or not said; unsealed, it is not looked at.
    let vast = format!("make x memfd alloc=no size={}", 1_u64 << 60);
    unfit(&mut scene, &[&format!("{vast} seals=0xf")], 4096, Reason::BlobSize);
    unfit(&mut scene, &[&format!("{vast} seals=0xf")], 1 << 60, Reason::BlobFlood);
    unfit(&mut scene, &[&vast], 4096, Reason::BlobSeals);
    // Any number of bytes that is its own, also none.
    let mut attacker = client(&mut scene);
    for (number, size) in [(1, 0), (2, 1), (3, 4097)] {
        attacker.run(format!("make x memfd size={size} seals=0xf"));
        let with = format!("fds=x entries={number}:{size}");
        let due = format!("fds=0 blobs={size}:0");
        assert_eq!(send(&mut attacker, &with, &[number], &[]), due);
    }
    leaves(&scene, attacker);
    scene.finish();
}

#[test]
fn attack_41_nobody_shrinks_or_grows_a_blob_that_passed() {
    let Some(mut scene) = carried::set(name!()) else { return };
    for seals in ["0xd", "0xb"] {
        let make = format!("make x memfd size=8192 seals={seals}");
        unfit(&mut scene, &[&make], 8192, Reason::BlobSeals);
    }
    let mut attacker = client(&mut scene);
    assert_eq!(
        send(&mut attacker, "fds=b entries=1:4096", &[1], &[]),
        format!("fds=0 blobs={PAGE}")
    );
    for command in ["truncate b 0", "truncate b 8192", "punch b 0 4096", "allocate b 4096 4096"] {
        assert_eq!(attacker.fails(command), "EPERM", "{command}");
    }
    assert_eq!(send(&mut attacker, "", &[1], &[]), format!("fds=0 blobs={PAGE}"));
    leaves(&scene, attacker);
    scene.finish();
}

#[test]
fn attack_42_a_blob_with_holes_is_a_fault() {
    let Some(mut scene) = carried::set(name!()) else { return };
    let bytes = 64 << 10;
    let sparse = format!("make x memfd size={bytes} alloc=no");
    unfit(&mut scene, &[&sparse, "seal x 0xf"], bytes, Reason::BlobHoles);
    // All pages but one, and only the last.
    let full = format!("make x memfd size={bytes}");
    unfit(&mut scene, &[&full, "punch x 4096 4096", "seal x 0xf"], bytes, Reason::BlobHoles);
    unfit(&mut scene, &[&sparse, "write x 65535 0a", "seal x 0xf"], bytes, Reason::BlobHoles);
    scene.finish();
}

#[test]
fn attack_44_one_memory_twice_and_our_own_are_blobs_like_any() {
    let Some(mut scene) = carried::set(name!()) else { return };
    let mut attacker = client(&mut scene);
    // Each counts, and each has its own number.
    let with = "fds=b,b entries=1:4096,2:4096";
    assert_eq!(send(&mut attacker, with, &[1, 2], &[]), format!("fds=0 blobs={PAGE},{PAGE}"));
    attacker.run("make r readonly of=b");
    let with = "fds=r,b entries=3:4096,4:4096";
    assert_eq!(
        send(&mut attacker, with, &[4, 1, 4, 3, 2, 1], &[]),
        format!("fds=0 blobs={}", [PAGE; 6].join(","))
    );
    attacker.run("attachments fds=b entries=5:4096");
    attacker.run(frame(1, &archive(&[5], &[])));
    breaks(&mut scene, Reason::BlobFlood);
    drop(attacker);
    // The segments of this very session are none: their writer can write them.
    for segment in ["fd0", "fd1"] {
        let ahead = format!("attachments fds={segment} entries=1:69632");
        broken(&mut scene, &[&ahead, &frame(1, &archive(&[1], &[]))], Reason::BlobSeals);
    }
    scene.finish();
}

#[test]
fn attack_50_a_mapping_that_can_write_keeps_memory_from_being_a_blob() {
    let Some(mut scene) = carried::set(name!()) else { return };
    let mut attacker = client(&mut scene);
    attacker.run("make x memfd size=4096");
    attacker.run("mapw x");
    for seals in ["0x8", "0xf"] {
        assert_eq!(attacker.fails(format!("seal x {seals}")), "EBUSY");
    }
    leaves(&scene, attacker);
    // What can be sealed beside it is not enough.
    for seals in ["seal x 0x7", "seal x 0x17"] {
        let make = ["make x memfd size=4096", "mapw x", seals];
        unfit(&mut scene, &make, 4096, Reason::BlobSeals);
    }
    // Once nobody can write any more, nobody ever can.
    let mut attacker = client(&mut scene);
    for command in ["make x memfd size=4096", "mapw x", "poke 0 0 1", "unmap", "seal x 0xf"] {
        attacker.run(command);
    }
    let first = "fds=0 blobs=4096:1";
    assert_eq!(send(&mut attacker, "fds=x entries=1:4096", &[1], &[]), first);
    for command in ["mapw x", "write x 0 ff", "punch x 0 4096", "seal x 0x10"] {
        assert_eq!(attacker.fails(command), "EPERM", "{command}");
    }
    assert_eq!(send(&mut attacker, "", &[1], &[]), first);
    leaves(&scene, attacker);
    scene.finish();
}

/// A clean client that made so many blobs known, from 1 on.
#[track_caller]
fn knowing(scene: &mut Scene, count: u64) -> Attacker {
    let mut attacker = client(scene);
    for number in 1..=count {
        let with = format!("fds=b entries={number}:4096");
        assert_eq!(send(&mut attacker, &with, &[number], &[]), format!("fds=0 blobs={PAGE}"));
    }
    attacker
}

/// The same, and then it says this, which is a fault.
#[track_caller]
fn knowing_breaks(scene: &mut Scene, count: u64, commands: &[&str], reason: Reason) {
    println!("{count} blobs; {}: {reason} is due", commands.join("; "));
    let mut attacker = knowing(scene, count);
    for command in commands {
        attacker.run(command);
    }
    breaks(scene, reason);
}

#[test]
fn attack_27_a_blob_number_is_new_and_above_all_before() {
    let Some(mut scene) = carried::set(name!()) else { return };
    for number in [1, 2] {
        let ahead = format!("attachments fds=b entries={number}:4096");
        let commands = [&*ahead, &frame(1, &archive(&[number], &[]))];
        knowing_breaks(&mut scene, 2, &commands, Reason::BlobNumber);
    }
    // In one message, and after the largest there is.
    for numbers in [[1, 1], [2, 1], [u64::MAX, 1], [u64::MAX, u64::MAX]] {
        let ahead = format!("attachments fds=b,b entries={}", entries(numbers, 4096));
        broken(&mut scene, &[&ahead, &frame(2, &archive(&numbers, &[]))], Reason::BlobNumber);
    }
    // A number that was given up is not new either.
    let named = frame(1, &archive(&[2], &[]));
    let again = ["forget blob=2 mentions=1", "attachments fds=b entries=2:4096", &named];
    knowing_breaks(&mut scene, 2, &again, Reason::BlobNumber);
    scene.finish();
}

#[test]
fn attack_27_a_blob_that_is_not_known_here_is_named_by_no_message() {
    let Some(mut scene) = carried::set(name!()) else { return };
    // Somebody else's, which stays.
    let mut other = knowing(&mut scene, 3);
    for number in [0, 1, 2, 3, u64::MAX] {
        broken(&mut scene, &[&frame(0, &archive(&[number], &[]))], Reason::LaneDecode);
    }
    // It goes with another message.
    let ahead = "attachments fds=b entries=1:4096 position=4096";
    broken(&mut scene, &[ahead, &frame(0, &archive(&[1], &[]))], Reason::LaneDecode);
    // Given up: at once, and after the message that was said to be the last. That is heard before the answer to a fence.
    let named = frame(0, &archive(&[2, 2], &[]));
    let given_up = ["forget blob=2 mentions=1", "fence", "recv", &named];
    knowing_breaks(&mut scene, 3, &given_up, Reason::LaneDecode);
    let given_up = ["forget blob=2 mentions=2", "fence", "recv", &named, &named];
    knowing_breaks(&mut scene, 3, &given_up, Reason::LaneDecode);
    // And if it is heard after the message that must not be any more.
    let given_up = [&*named, "recvmsg", "forget blob=2 mentions=1"];
    knowing_breaks(&mut scene, 3, &given_up, Reason::BlobUnknown);
    assert_eq!(send(&mut other, "", &[3, 1], &[]), format!("fds=0 blobs={PAGE},{PAGE}"));
    leaves(&scene, other);
    scene.finish();
}

/// Maps of blobs in this process.
fn mapped() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc/self/maps");
    maps.lines().filter(|line| line.contains("memring-theirs")).count()
}

#[test]
fn attack_27_what_is_forgotten_was_known_and_is_gone_in_time() {
    let Some(mut scene) = carried::set(name!()) else { return };
    for (known, command, reason) in [
        (0, "forget blob=1", Reason::BlobUnknown),
        (2, "forget blob=3", Reason::BlobUnknown),
        (2, "forget blob=-1", Reason::BlobUnknown),
        (2, "forget blob=0", Reason::PacketValue),
        (2, "forget blob=1 mentions=0", Reason::PacketValue),
        (2, "forget blob=1 channel=1", Reason::Channel),
        (2, "forget blob=1 reserved=1", Reason::PacketReserved),
        (2, "forget blob=1 append=00", Reason::PacketLength),
    ] {
        knowing_breaks(&mut scene, known, &[command], reason);
    }
    // Once it is gone.
    let twice = ["forget blob=1 mentions=1", "forget blob=1 mentions=1"];
    knowing_breaks(&mut scene, 2, &twice, Reason::BlobUnknown);
    // Of one that waits for its message so often, and of any other never.
    let waiting = "attachments fds=b entries=1:4096 position=4096";
    let forget = "forget blob=1 mentions=9";
    broken(&mut scene, &[waiting, forget, forget], Reason::BlobUnknown);
    broken(&mut scene, &[waiting, "forget blob=2"], Reason::BlobUnknown);
    // Said with its message under way, it goes with its last; said of more than come, it stays until the end.
    let before = mapped();
    let mut attacker = client(&mut scene);
    let (ahead, named) = ("attachments fds=b entries=1:4096", frame(1, &archive(&[1], &[])));
    for command in [ahead, "forget blob=1 mentions=2", &*named] {
        attacker.run(command);
    }
    assert_eq!(saw(&mut attacker), format!("fds=0 blobs={PAGE}"));
    assert_eq!(mapped(), before + 1);
    assert_eq!(send(&mut attacker, "", &[1], &[]), format!("fds=0 blobs={PAGE}"));
    eventually("it is gone", || mapped() == before);
    let with = "fds=b entries=2:4096";
    assert_eq!(send(&mut attacker, with, &[2], &[]), format!("fds=0 blobs={PAGE}"));
    for mentions in [7, u64::MAX, 8] {
        attacker.run(format!("forget blob=2 mentions={mentions}"));
    }
    assert_eq!(send(&mut attacker, "", &[2], &[]), format!("fds=0 blobs={PAGE}"));
    assert_eq!(mapped(), before + 1);
    leaves(&scene, attacker);
    eventually("it is gone with the session", || mapped() == before);
    scene.finish();
}

#[test]
fn attack_32_no_more_blobs_are_kept_than_are_taken() {
    let Some(mut scene) = carried::set(name!()) else { return };
    let before = mapped();
    // Too many with one message, with several that do not come, and with several that do.
    let five = format!("attachments fds=b,b,b,b,b entries={}", entries(1..=5, 4096));
    broken(&mut scene, &[&five], Reason::DescriptorsFlood);
    let three = format!("attachments fds=b,b,b entries={}", entries(1..=3, 4096));
    broken(&mut scene, &[&three, &three], Reason::DescriptorsFlood);
    let fifth = ["attachments fds=b entries=5:4096", &frame(1, &archive(&[5], &[]))];
    knowing_breaks(&mut scene, 4, &fifth, Reason::BlobFlood);
    // Too many bytes: of one, of two, and around the end of 64 bits.
    for (first, second) in [(1 << 20 | 1, 0), (1 << 20, 1), (4096, u64::MAX - 4095), (u64::MAX, 1)]
    {
        let make = format!("make x memfd size={} seals=0xf", first.min(1 << 20));
        let ahead = format!("attachments fds=x,b entries=1:{first},2:{second}");
        let commands = [&*make, &ahead, &frame(2, &archive(&[1, 2], &[]))];
        broken(&mut scene, &commands, Reason::BlobFlood);
    }
    eventually("nothing of them is left", || mapped() == before);
    // Each that is given up makes room for another, however often.
    let mut attacker = knowing(&mut scene, 4);
    for number in 5..=60 {
        attacker.run(format!("forget blob={} mentions=1", number - 4));
        let with = format!("fds=b entries={number}:4096");
        assert_eq!(send(&mut attacker, &with, &[number], &[]), format!("fds=0 blobs={PAGE}"));
        assert!(mapped() <= before + 4);
    }
    leaves(&scene, attacker);
    scene.finish();
}

#[test]
fn attack_32_a_flood_of_forgets_costs_a_packet_each() {
    let Some(mut scene) = carried::set(name!()) else { return };
    let mut attacker = knowing(&mut scene, 4);
    // It is named more often than so, each time.
    let forget = "4d524e470e00000028000000000000000000000000000000\
                  0100000000000000ffffffffffffffff";
    attacker.run(format!("packetstorm {forget}"));
    eventually("10,000 of them", || attacker.run("rounds").number("packetstorm0") > 10_000);
    for _ in 0..20 {
        assert_eq!(send(&mut attacker, "", &[1], &[]), format!("fds=0 blobs={PAGE}"));
    }
    leaves(&scene, attacker);
    scene.finish();
}

/// Blobs to be read.
#[memring::message(attachments)]
struct Reading {
    chain: Option<Blob<Chain>>,
    crowd: Option<Blob<Crowd>>,
    table: Option<Blob<Table<Chain>>>,
}

struct Readings;
impl Protocol for Readings {
    const NAME: &'static str = "readings";
    type ToClient = [u8];
    type ToServer = Reading;
}

/// Reads all there is and says of each whether it is what it should be.
const READS: Service<Readings> = Service::of(|channel, how| {
    Ok(receive::<Readings>(channel, how)?.map(|reading| look(&reading).into_bytes()))
});

fn look(reading: &memring::View<'_, Reading>) -> String {
    let mut saw = Vec::new();
    let mut say = |result: Result<u64, ReadError>| {
        saw.push(result.map_or_else(|_| "bad".to_owned(), |count| count.to_string()));
    };
    if let Some(chain) = reading.chain.as_ref() {
        say(reading.blob(chain).and_then(|chain| chain.get().map(|_| 1)));
    }
    if let Some(crowd) = reading.crowd.as_ref() {
        say(reading.blob(crowd).and_then(|crowd| Ok(crowd.get()?.words.len() as u64)));
    }
    if let Some(table) = reading.table.as_ref() {
        say(reading.blob(table).map(|table| {
            let good = (0..table.len()).take(1000).filter(|place| table.get(*place).is_ok());
            good.count() as u64
        }));
    }
    saw.join(" ")
}

/// What the server saw of a blob of these bytes, sent as one of the three by a message that ends so.
#[track_caller]
fn read_as(attacker: &mut Attacker, number: u64, bytes: &[u8], field: &str) -> String {
    attacker.run(format!("make x memfd size={} label=memring-theirs", bytes.len()));
    for (chunk, at) in bytes.chunks(1 << 15).zip((0..).step_by(1 << 15)) {
        attacker.run(format!("write x {at} {}", hex(chunk)));
    }
    attacker.run("seal x 0xf");
    let message = message(number, field);
    attacker.run(format!("send {message} fds=x entries={number}:{}", bytes.len()));
    let saw = saw(attacker);
    attacker.run(format!("forget blob={number} mentions=1"));
    saw
}

/// The archive of a message that names a blob in one field.
fn message(number: u64, field: &str) -> String {
    let some = |name: &str| {
        let number = if name == field { number } else { 0 };
        [u64::from(name == field).to_le_bytes(), number.to_le_bytes()].concat()
    };
    hex(&["chain", "crowd", "table"].map(some).concat())
}

#[test]
fn attack_70_a_chain_of_any_depth_in_a_blob_is_an_error_of_its_reader() {
    let Some(mut scene) = Scene::with(name!(), |b| b.blobs(4, 4 << 20), READS) else { return };
    let link = archive_of::<Chains>(&Chain { next: None });
    let two = archive_of::<Chains>(&Chain { next: Some(Box::new(Chain { next: None })) });
    let outer = &two[link.len()..];
    let mut attacker = client_of(&mut scene, Readings::NAME);
    for (number, depth) in (1..).zip([61, 63, 1000, 50_000]) {
        let bytes = [&link[..], &outer.repeat(depth)].concat();
        let due = if depth == 61 { "1" } else { "bad" };
        assert_eq!(read_as(&mut attacker, number, &bytes, "chain"), due, "{depth} links");
    }
    leaves(&scene, attacker);
    scene.finish();
}

#[test]
fn attack_71_lengths_beyond_a_blob_are_an_error_of_its_reader() {
    let Some(mut scene) = Scene::with(name!(), |b| b.blobs(4, 4 << 20), READS) else { return };
    let good = archive_of::<Crowds>(&Crowd { words: vec![] });
    let mut attacker = client_of(&mut scene, Readings::NAME);
    assert_eq!(read_as(&mut attacker, 1, &good, "crowd"), "0");
    for (number, length) in (2..).zip([1_u32, 1 << 16, u32::MAX]) {
        let mut bytes = good.clone();
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&length.to_le_bytes());
        assert_eq!(read_as(&mut attacker, number, &bytes, "crowd"), "bad", "{length} words");
    }
    // A blob of no bytes, and of some that are none.
    assert_eq!(read_as(&mut attacker, 10, &[], "crowd"), "bad");
    assert_eq!(read_as(&mut attacker, 11, &[0xff; 100], "crowd"), "bad");
    leaves(&scene, attacker);
    scene.finish();
}

/// A table over `values` bytes of zeros, whose index says this and whose footer counts so many.
fn table(values: usize, ends: &[u64], count: u64, index: u64) -> Vec<u8> {
    let mut bytes = vec![0; values];
    bytes.extend(ends.iter().flat_map(|end| end.to_le_bytes()));
    bytes.extend(b"MRNGTABL\x01\0\0\0\0\0\0\0");
    bytes.extend([count, index].map(u64::to_le_bytes).concat());
    bytes
}

#[test]
fn attack_71_a_table_whose_index_lies_is_an_error_of_its_reader() {
    let Some(mut scene) = Scene::with(name!(), |b| b.blobs(4, 4 << 20), READS) else { return };
    let mut attacker = client_of(&mut scene, Readings::NAME);
    let link = archive_of::<Chains>(&Chain { next: None }).len() as u64;
    for (number, (bytes, due)) in (1..).zip([
        (table(0, &[], 0, 0), "0"),
        (table(32, &[link, 16 + link], 2, 32), "2"),
        // Footers that lie: more values than there is index, one that wraps, one that lies elsewhere.
        (table(32, &[link, 16 + link], 3, 32), "bad"),
        (table(32, &[link, 16 + link], u64::MAX, 32), "bad"),
        (table(32, &[link, 16 + link], 1 << 61, 32), "bad"),
        (table(32, &[link, 16 + link], 2, 16), "bad"),
        (table(32, &[link, 16 + link], 2, u64::MAX - 15), "bad"),
        (table(32, &[link, 16 + link], 2, 33), "bad"),
        (table(0, &[], 1, 0), "bad"),
        // Values that begin behind their end, or reach into the index, beyond the blob, around the end.
        (table(32, &[link, 8], 2, 32), "1"),
        (table(32, &[link, 33], 2, 32), "1"),
        (table(32, &[u64::MAX, 16 + link], 2, 32), "0"),
        (table(32, &[1 << 40, u64::MAX - 20], 2, 32), "0"),
        (vec![0; 31], "bad"),
    ]) {
        assert_eq!(read_as(&mut attacker, number, &bytes, "table"), due, "table {number}");
    }
    leaves(&scene, attacker);
    scene.finish();
}

#[test]
fn attack_75_a_message_that_names_a_blob_without_end_is_checked_in_time() {
    let settings = |builder: ListenerBuilder| builder.blobs(1024, 1 << 20);
    let Some(mut scene) = carried::with(name!(), settings) else { return };
    let mut attacker = client(&mut scene);
    attacker.run("make x memfd size=1 seals=0xf");
    let numbers: Vec<u64> = (1..=1000).collect();
    for some in numbers.chunks(250) {
        let fds = carried::times("x", some.len());
        let with = format!("fds={fds} entries={}", entries(some.iter().copied(), 1));
        attacker.run(format!("send {} {with}", archive(&[], &[])));
        assert_eq!(saw(&mut attacker), "fds=0 blobs=");
    }
    // All of them, and then the last, as often as a message holds it.
    let mut names = numbers;
    names.resize(130_000, 1000);
    let began = std::time::Instant::now();
    attacker.run(format!("send {}", archive(&names, &[])));
    assert_eq!(saw(&mut attacker), "fds=0 blobs=130000 in all");
    println!("recorded: {} mentions in {:?}", names.len(), began.elapsed());
    leaves(&scene, attacker);
    scene.finish();
}

/// Blobs of these are made as messages are.
macro_rules! protocols {
    ($($protocol:ident $message:ty;)*) => {$(
        struct $protocol;
        impl Protocol for $protocol {
            const NAME: &'static str = "archives";
            type ToClient = [u8];
            type ToServer = $message;
        }
    )*};
}
protocols! {
    Chains Chain;
    Crowds Crowd;
}

/// The archive of a value, as an honest sender makes it.
fn archive_of<P: Protocol>(message: &P::ToServer) -> Vec<u8> {
    let (mut server, mut client) = memring::pair::<P>().expect("a pair");
    client.send(message).expect("sends");
    server.recv_deadline(crate::support::soon()).expect("a message").bytes().to_vec()
}
