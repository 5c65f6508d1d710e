//! Descriptors and blobs as arguments and results.

use std::fs::File;
use std::io::{Read, Write, pipe};
use std::thread;

use memring::blob::{Blob, BlobBuilder};
use memring::rpc::{Call, CallError, Calls, Link, Replies};
use memring::{Connector, Fd};

#[memring::message(attachments)]
pub struct Named {
    name: String,
    file: Fd,
}

#[memring::interface(name = "files", version = "1")]
trait Files {
    /// Writes a line, and gives back what reads what was written to it.
    fn write(line: &str, to: Fd) -> Result<Fd, String>;
    fn sum(bytes: Blob<[u8]>) -> u64;
    fn again() -> Blob<[u8]>;
    #[attachments]
    fn name(file: Named) -> String;
    fn pipes(count: u32) -> Stream<Fd>;
    fn plain(number: u32) -> u32;
}

struct Filing(Blob<[u8]>);

impl FilesServer for Filing {
    fn write(&self, _: &Call<'_>, line: &str, to: Fd) -> Result<Fd, String> {
        let mut to = File::from(to.into_owned().map_err(|error| error.to_string())?);
        writeln!(to, "{line}").map_err(|error| error.to_string())?;
        let (reads, mut writes) = pipe().map_err(|error| error.to_string())?;
        writeln!(writes, "wrote {line}").map_err(|error| error.to_string())?;
        Ok(reads.into())
    }

    fn sum(&self, _: &Call<'_>, bytes: Blob<[u8]>) -> u64 {
        bytes.iter().map(|byte| u64::from(*byte)).sum()
    }

    fn again(&self, _: &Call<'_>) -> Blob<[u8]> {
        self.0.clone()
    }

    fn name(&self, _: &Call<'_>, file: Named) -> String {
        let mut to = File::from(file.file.into_owned().expect("nobody else has it"));
        to.write_all(b"seen").expect("a reader");
        file.name
    }

    fn pipes(&self, _: &Call<'_>, count: u32, mut replies: Replies<Fd>) {
        for number in 0..count {
            let (reads, mut writes) = pipe().expect("descriptors");
            write!(writes, "{number}").expect("room");
            replies.send(&reads.into()).expect("a reader");
        }
        replies.end(Ok(()));
    }

    fn plain(&self, _: &Call<'_>, number: u32) -> u32 {
        number
    }
}

fn blob(bytes: &[u8]) -> Blob<[u8]> {
    let mut blob = BlobBuilder::new().with_size(bytes.len() as u64).expect("memory");
    blob.copy_from_slice(bytes);
    blob.seal().expect("sealed")
}

fn files(connector: Connector) -> FilesClient {
    let (server, client) = connector.pair::<Calls>().expect("a pair");
    let server = Link::serving(server, [Files::serve(Filing(blob(&[3; 1000])))]);
    thread::spawn(move || server.run());
    Link::over(client).open().expect("it is served")
}

fn text(fd: Fd) -> String {
    let mut text = String::new();
    File::from(fd.into_owned().expect("ours")).read_to_string(&mut text).expect("what was written");
    text
}

#[test]
fn descriptors_go_both_ways_and_in_streams() {
    let files = files(Connector::new().fds(16).blobs(4, 1 << 20));
    let (mut reads, writes) = pipe().expect("descriptors");
    let reply = files.write("hello", writes.into()).expect("an answer");
    assert_eq!(text(reply), "wrote hello\n");
    let mut line = String::new();
    reads.read_to_string(&mut line).expect("what was written");
    assert_eq!(line, "hello\n");
    // One that cannot be written to.
    match files.write("hello", File::open("/dev/null").expect("it is there").into()) {
        Err(CallError::Failed(why)) => assert!(why.contains("Bad file"), "{why}"),
        other => panic!("{other:?}"),
    }
    let (mut reads, writes) = pipe().expect("descriptors");
    let named = Named { name: "pipe".into(), file: writes.into() };
    assert_eq!(files.name(named).expect("an answer"), "pipe");
    let mut seen = String::new();
    reads.read_to_string(&mut seen).expect("what was written");
    assert_eq!(seen, "seen");
    let pipes: Vec<_> = files.pipes(100).expect("room").map(|pipe| text(pipe.unwrap())).collect();
    assert_eq!(pipes, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn blobs_are_read_in_place_and_known_the_next_time() {
    let files = files(Connector::new().blobs(2, 1 << 20));
    let ours = blob(&[2; 5000]);
    for _ in 0..5 {
        assert_eq!(files.sum(ours.clone()).expect("an answer"), 10_000);
        assert_eq!(files.again().expect("an answer").len(), 1000);
    }
    // More of them than are kept at once, and calls without any between them.
    for number in 0..20_u8 {
        let sum = files.sum(blob(&[number; 100])).expect("an answer");
        assert_eq!(sum, u64::from(number) * 100);
        assert_eq!(files.plain(7).expect("an answer"), 7);
    }
    let threads: Vec<_> = (0..4_u8)
        .map(|number| {
            let files = files.clone();
            thread::spawn(move || {
                for _ in 0..50 {
                    let sum = files.sum(blob(&[number; 64])).expect("an answer");
                    assert_eq!(sum, u64::from(number) * 64);
                    assert_eq!(files.again().expect("an answer")[999], 3);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
}

#[test]
fn a_side_that_takes_no_descriptors_gets_none_and_the_caller_is_told() {
    let files = files(Connector::new());
    let null = || File::open("/dev/null").expect("it is there").into();
    assert!(matches!(files.write("hello", null()), Err(CallError::Send(_))));
    assert!(matches!(files.sum(blob(&[1; 10])), Err(CallError::Send(_))));
    assert!(matches!(files.again(), Err(CallError::Unanswered(_))), "it cannot be sent back");
    assert_eq!(files.plain(8).expect("an answer"), 8);
}
