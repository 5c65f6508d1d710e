//! Servers that break the rules of calls, packet by packet, and what is only an error of a call.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use memring::End;
use memring::rpc::fuzzing::Raw;
use memring::rpc::{
    Call, CallError, Calls, Client, DescribeError, JsonError, Link, OpenError, Options, Server,
    Stream,
};

use super::hostile::*;
use super::raw::{call, kind, open, opened, packet, recv, send};
use super::support::{PATIENCE, Scratch, eventually, eventually_asleep, soon, tid};

#[test]
fn a_server_that_takes_no_calls_at_once_takes_one() {
    let (server, client) = pair();
    let (mut raw, link) = (Raw::over(server), Link::over(client));
    let asks = |raw: &mut Raw, tag: u64, answer: &[u8]| {
        assert_eq!(recv(raw).tag, tag);
        send(raw, &packet(2, 0, 0, 0, answer), tag);
    };
    let opening = {
        let link = link.clone();
        thread::spawn(move || link.open::<AllClient>())
    };
    asks(&mut raw, 1, &[7, 0, 1, 1, 1, 1, 1, 1, 1]);
    opening.join().expect("no panic").expect("opened");
    let describing = {
        let link = link.clone();
        thread::spawn(move || link.describe("all", "1", soon()))
    };
    asks(&mut raw, 2, &[0; 4]);
    describing.join().expect("no panic").expect("described");
    let listing = thread::spawn(move || link.offered(soon()));
    asks(&mut raw, 3, &[0; 2]);
    assert_eq!(listing.join().expect("no panic").expect("listed"), []);
}

/// A client, whose server is raw, and has opened `all` as if it were the same.
fn raw_server() -> (Raw, AllClient) {
    let (raw, client) = raw_server_of::<AllClient>();
    (raw, client.with(patient()))
}

/// Calls that are answered, or it is known why not.
fn patient() -> Options {
    Options::new().timeout(PATIENCE)
}

/// The same with any client of it.
fn raw_server_of<C: Client + Send + 'static>() -> (Raw, C) {
    let (server, client) = pair();
    let mut raw = Raw::over(server);
    let opening = thread::spawn(move || Link::over(client).open::<C>());
    opened::<C>(&mut raw);
    (raw, opening.join().expect("no panic").expect("opened"))
}

#[test]
fn a_client_ends_the_session_of_a_server_that_breaks_a_rule() {
    let item = || packet(10, 0, 0, 0, &[0; 4]);
    let done = || packet(6, 0, 0, 0, &[0; 4]);
    let calls: Cases<'_> = &[
        ("an answer", vec![(item(), 2)]), // that was not made, or of the wrong kind, as the caller waits
        ("was not made", vec![(done(), 3)]),
        ("shorter than its header", vec![(packet(0x16, 0, 0, 0, &[]), 2)]),
        ("not zero", vec![(packet(6, 0, 0, 1, &[0; 4]), 2)]),
        ("not zero", vec![(packet(7, 1, 0, 0, &[0; 4]), 2)]),
        ("not zero", vec![(packet(0x46, 0, 0, 0, &[0; 4]), 2)]),
        ("not zero", vec![(packet(0x86, 0, 0, 0, &[0; 4]), 2)]),
        ("was not made", vec![(done(), 1)]),
        ("was not made", vec![(packet(12, 0, NEWS, 0, &[0; 4]), 0)]),
        ("was not made", vec![(packet(12, 1, TWICE, 0, &[0; 4]), 2)]),
        ("was not opened", vec![(packet(4, 0, 0, 0, &[]), 2)]),
        ("was not opened", vec![(packet(13, 0, 0, 0, &[]), 0)]),
        ("unknown kind", vec![(packet(15, 0, 0, 0, &[]), 2)]),
        ("ends before", vec![(packet(1, 0, 0, 0, &[1]), 2)]),
        ("asks for the unknown 3", vec![(asks(3, 0, "all"), 2)]),
    ];
    let check = |rule: &str, called: Result<u32, CallError>| match called {
        Err(CallError::Ended(end)) => is_broken(&end, rule),
        other => panic!("{rule}: {other:?}"),
    };
    for (rule, packets) in calls {
        println!("{rule}");
        let (mut raw, client) = raw_server();
        let calling = thread::spawn(move || client.twice(1));
        assert_eq!(recv(&mut raw).tag, 2);
        packets.iter().for_each(|(packet, tag)| send(&mut raw, packet, *tag));
        check(rule, calling.join().expect("no panic"));
        // Where they lie there before the caller looks, who looks less closely first: one that waits at once, and one that does later.
        let (mut raw, client) = raw_server();
        packets.iter().for_each(|(packet, tag)| send(&mut raw, packet, *tag));
        check(rule, client.twice(1));
        let (mut raw, client) = raw_server_of::<AllAsyncClient>();
        let pending = client.with(patient()).twice(1);
        packets.iter().for_each(|(packet, tag)| send(&mut raw, packet, *tag));
        check(rule, pending.wait());
    }
    let streams: Cases<'_> = &[
        ("without credit", vec![(item(), 2); 33]),
        ("that was answered", vec![(done(), 2), (item(), 2)]),
        ("that was answered", vec![(done(), 2), (done(), 2)]),
        ("was not made", vec![(item(), 9)]),
    ];
    for (rule, packets) in streams {
        println!("{rule}");
        let (mut raw, client) = raw_server();
        let stream: Stream<u32> = client.count(9).expect("room");
        assert_eq!(recv(&mut raw).tag, 2);
        packets.iter().for_each(|(packet, tag)| send(&mut raw, packet, *tag));
        // Another call reads them, and takes none.
        check(rule, client.twice(1));
        assert!(stream.count() <= 33, "it ends");
    }
    // Two answers to one call that is not waited for yet; another call reads them.
    for packet in [done(), item(), packet(3, 0, 1, 0, &[])] {
        let (mut raw, client) = raw_server_of::<AllAsyncClient>();
        let (first, second) = (client.twice(1), client.with(patient()).twice(1));
        send(&mut raw, &done(), 2);
        send(&mut raw, &packet, 2);
        check("that was answered", second.wait());
        assert_eq!(first.wait().expect("what came before"), 0);
    }
    // An answer of a wrong kind to one that is listed, for others ask too.
    let (mut raw, client) = raw_server();
    let calls: Vec<_> = (0..2)
        .map(|_| {
            let client = client.clone();
            thread::spawn(move || client.twice(1))
        })
        .collect();
    assert_eq!((recv(&mut raw).tag, recv(&mut raw).tag), (2, 3));
    send(&mut raw, &item(), 3);
    for call in calls {
        assert!(matches!(call.join().expect("no panic"), Err(CallError::Ended(End::Fault(_)))));
    }
}

#[test]
fn answers_that_are_none_are_errors_of_their_callers() {
    let (mut raw, client) = raw_server();
    let long = [b'x'; 5000];
    let mut tag = 1;
    let mut check = |answer: Vec<u8>, fits: fn(&CallError) -> bool| {
        let calling = {
            let client = client.clone();
            thread::spawn(move || client.twice(1))
        };
        tag += 1;
        assert_eq!(recv(&mut raw).tag, tag);
        send(&mut raw, &answer, tag);
        let error = calling.join().expect("no panic").expect_err("no answer");
        assert!(fits(&error), "{error:?}");
    };
    check(packet(6, 0, 0, 0, &[]), |error| matches!(error, CallError::Answer(_)));
    check(packet(6, 0, 0, 0, &[0; 5]), |error| matches!(error, CallError::Answer(_)));
    check(packet(7, 0, 0, 0, &[]), |error| matches!(error, CallError::Answer(_)));
    check(packet(8, 0, 99, 0, &[]), |error| matches!(error, CallError::Answer(_)));
    check(packet(2, 0, 0, 0, &[]), |error| matches!(error, CallError::Answer(_)));
    check(packet(3, 0, 1, 0, &[]), |error| matches!(error, CallError::Answer(_)));
    check(
        packet(8, 0, 9, 0, &long),
        |error| matches!(error, CallError::Arguments(why) if why.len() == 1024),
    );
    check(
        packet(8, 0, 10, 0, b"\x1b]0;title\x07"),
        |error| matches!(error, CallError::Unanswered(why) if !why.contains('\x1b')),
    );
}

#[test]
fn openings_are_answered_by_openings_alone() {
    for answer in [
        packet(6, 0, 0, 0, &[]),
        packet(2, 0, 16, 0, &[]),
        packet(2, 0, 16, 0, &[0, 0]),
        packet(2, 0, 16, 0, &[7, 0, 1, 1, 1, 1, 1, 1, 9]),
        packet(2, 0, 16, 0, &[255, 255]),
        packet(3, 0, 99, 0, &[]),
        packet(3, 0, 6, 0, &[]), // why a call has no answer
        packet(3, 0, 2, 0, &[255, 255]),
    ] {
        let (server, client) = memring::pair::<Calls>().expect("a pair");
        let mut raw = Raw::over(server);
        let opening = thread::spawn(move || Link::over(client).open::<AllClient>());
        recv(&mut raw);
        send(&mut raw, &answer, 1);
        let error = opening.join().expect("no panic").expect_err("not opened");
        assert!(matches!(error, OpenError::Answer(_)), "{error:?}");
    }
}

#[test]
fn what_a_server_tells_of_itself_is_bounded_and_ends() {
    let text = |text: &str| [&(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat();
    let list = |next: u16, names: &[&str]| {
        let mut body = (names.len() as u16).to_le_bytes().to_vec();
        names.iter().for_each(|name| body.extend([text(name), text("1")].concat()));
        packet(2, next, 16, 0, &body)
    };
    let check = |answers: Vec<Vec<u8>>, names: Option<&[&str]>| {
        let (server, client) = memring::pair::<Calls>().expect("a pair");
        let mut raw = Raw::over(server);
        let asking = thread::spawn(move || Link::over(client).offered(soon()));
        for (answer, tag) in answers.iter().zip(1..) {
            let asked = recv(&mut raw);
            assert_eq!((kind(&asked), asked.bytes[4], asked.tag), (1, 1, tag));
            send(&mut raw, answer, tag);
        }
        match (asking.join().expect("no panic"), names) {
            (Ok(listed), Some(names)) => {
                assert!(listed.iter().map(|offered| &*offered.name).eq(names.iter().copied()));
            }
            (Err(DescribeError::Answer), None) => {}
            (other, names) => panic!("{other:?}, and not {names:?}"),
        }
    };
    check(vec![list(0, &[])], Some(&[]));
    check(vec![list(1, &["a"]), list(5, &[]), list(0, &["b"])], Some(&["a", "b"]));
    check(vec![list(64, &["a"]), list(64, &["b"])], None); // on and on
    check(vec![list(64, &["a"]), list(63, &["b"])], None);
    check(vec![list(1, &["a", "b"])], None); // more than there can be
    check(vec![list(0, &["a\x1b"])], None);
    check(vec![packet(2, 0, 16, 0, &[65, 0])], None);
    check(vec![packet(3, 0, 1, 0, &[])], None);
    check(vec![packet(3, 0, 1, 0, &[0, 0])], None); // a list, if it were one
    check(vec![packet(6, 0, 0, 0, &[])], None);
    check(vec![packet(8, 0, 4, 0, &[])], None); // a refusal's code, which is none

    let describe = |answer: Vec<u8>| {
        let (server, client) = memring::pair::<Calls>().expect("a pair");
        let mut raw = Raw::over(server);
        let asking = thread::spawn(move || Link::over(client).describe("n", "1", soon()));
        let asked = recv(&mut raw);
        assert_eq!((kind(&asked), asked.bytes[4]), (1, 2));
        send(&mut raw, &answer, 1);
        asking.join().expect("no panic")
    };
    let hiding = "a\u{202e}b";
    let member = [vec![0x80], text(hiding), text(hiding), vec![0; 48]].concat();
    let body = [vec![1, 0], member, vec![1, 0], text(hiding)].concat();
    let described = describe(packet(2, 9, 16, 0, &body)).expect("described");
    assert_eq!(described.members[0].name, hiding); // it is asked for by this name
    assert_eq!(described.members[0].signature, "a\u{fffd}b");
    assert_eq!(described.types, ["a\u{fffd}b"]);
    for body in [&[][..], &[1, 4], &[1, 0, 0x84], &[0, 0, 1, 4], &[0, 0, 0, 0, 0]] {
        let error = describe(packet(2, 0, 16, 0, body)).expect_err("none");
        assert!(matches!(error, DescribeError::Answer), "{error:?}");
    }
    let error = describe(packet(3, 0, 5, 0, &[])).expect_err("too long");
    assert!(matches!(error, DescribeError::TooLong), "{error:?}");
}

#[test]
fn results_in_json_are_the_peers_text_and_no_more() {
    let (mut raw, client) = raw_server();
    let link = client.link();
    let describing = thread::spawn(move || link.describe("all", "1", soon()));
    recv(&mut raw);
    let text = |text: &str| [&(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat();
    let member = [vec![0x80], text("worded"), text("()"), vec![0; 48]].concat();
    send(&mut raw, &packet(2, 7, 16, 0, &[vec![1, 0], member, vec![0, 0]].concat()), 2);
    let all = describing.join().expect("no panic").expect("described");
    let mut tag = 2;
    let mut check = |answer: Vec<u8>, fits: fn(&Result<String, CallError<JsonError>>) -> bool| {
        let all = all.clone();
        let calling = thread::spawn(move || {
            let method = all.json("worded").expect("callable");
            method.call("[]", &patient())
        });
        tag += 1;
        let asked = recv(&mut raw);
        assert_eq!((asked.bytes[0] & 0x8f, asked.bytes[2], asked.tag), (0x84, 7, tag));
        send(&mut raw, &answer, tag);
        let answered = calling.join().expect("no panic");
        assert!(fits(&answered), "{answered:?}");
    };
    check(
        packet(6, 0, 0, 0, b"any\x1btext"),
        |answer| matches!(answer, Ok(text) if text == "any\x1btext"),
    );
    check(packet(6, 0, 0, 0, b"\xff"), |answer| matches!(answer, Err(CallError::Answer(_))));
    check(packet(7, 0, 0, 0, b"\xff"), |answer| matches!(answer, Err(CallError::Answer(_))));
    check(
        packet(7, 0, 0, 0, b"7"),
        |answer| matches!(answer, Err(CallError::Failed(JsonError(json))) if json == "7"),
    );
    check(packet(8, 0, 99, 0, &[]), |answer| matches!(answer, Err(CallError::Answer(_))));
    check(packet(2, 0, 16, 0, &[]), |answer| matches!(answer, Err(CallError::Answer(_))));
}

#[test]
fn a_peers_question_with_the_number_of_ours_is_no_answer() {
    let (raw, link) = memring::pair::<Calls>().expect("a pair");
    let (mut raw, link) = (Raw::over(raw), Link::serving(link, [All::serve(Serves)]));
    send(&mut raw, &open("all"), 1);
    let opening = {
        let link = link.clone();
        thread::spawn(move || link.open::<AllClient>())
    };
    let mut came = [recv(&mut raw), recv(&mut raw)];
    came.sort_by_key(kind);
    assert_eq!(came.each_ref().map(kind), [1, 2]);
    send(&mut raw, &packet(2, 0, 16, 0, &[7, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]), 1);
    let client = opening.join().expect("no panic").expect("opened");
    let calling = thread::spawn(move || client.twice(4));
    assert_eq!(recv(&mut raw).tag, 2);
    send(&mut raw, &call(TWICE, &2_u32.to_le_bytes()), 2);
    send(&mut raw, &packet(6, 0, 0, 0, &8_u32.to_le_bytes()), 2);
    assert_eq!(calling.join().expect("no panic").expect("an answer"), 8);
    let serving = {
        let link = link.clone();
        thread::spawn(move || link.run())
    };
    let answer = recv(&mut raw);
    assert_eq!((answer.tag, kind(&answer)), (2, 6));
    assert!(answer.bytes.ends_with(&[4, 0, 0, 0]), "{answer:?}");
    link.close();
    serving.join().expect("no panic");
}

#[test]
fn an_opening_is_not_held_up_by_who_waits_for_room() {
    let (mut raw, client) = raw_server();
    let opening = {
        let link = client.link();
        thread::spawn(move || link.open::<AllClient>())
    };
    assert_eq!(kind(&recv(&mut raw)), 1);
    let (told, tell) = mpsc::channel();
    let stuck = thread::spawn(move || {
        told.send(tid()).expect("it listens");
        client.texts(vec!["x".repeat(1000); 900])
    });
    eventually_asleep(tell.recv().expect("it runs"));
    send(&mut raw, &packet(2, 0, 16, 0, &[7, 0, 1, 1, 1, 1, 1, 1, 1]), 2);
    eventually("it is opened", || opening.is_finished());
    opening.join().expect("no panic").expect("opened");
    drop(raw);
    stuck.join().expect("no panic").expect_err("nobody reads it");
}

#[memring::interface(name = "door", version = "1")]
trait Door {
    fn wait();
    fn open_it();
}

struct Gate {
    waits: mpsc::SyncSender<()>,
    opened: std::sync::Mutex<mpsc::Receiver<()>>,
}

impl DoorServer for Gate {
    fn wait(&self, _: &Call<'_>) {
        self.waits.send(()).expect("the test listens");
        self.opened.lock().expect("no panic").recv().expect("the test says so");
    }

    fn open_it(&self, _: &Call<'_>) {}
}

#[test]
fn threads_together_keep_to_the_bound_that_was_agreed() {
    let place = Scratch::new();
    let ((waits, waited), (opens, opened)) = (mpsc::sync_channel(9), mpsc::channel());
    let gate = Gate { waits, opened: std::sync::Mutex::new(opened) };
    let server = Server::new().serve(Door::serve(gate)).calls_at_once(1).threads_per_client(2);
    let server = std::sync::Arc::new(server.bind(place.socket()).expect("binds"));
    let running = {
        let server = std::sync::Arc::clone(&server);
        thread::spawn(move || server.run())
    };
    let door = DoorClient::connect(place.socket()).expect("connects");
    let waiting = {
        let door = door.clone();
        thread::spawn(move || door.wait())
    };
    waited.recv().expect("it waits");
    let timed = door.with(patient());
    eventually("the thread that waits lets others send", || {
        matches!(timed.open_it(), Err(CallError::TooManyCalls { most: 1 }))
    });
    opens.send(()).expect("it listens");
    waiting.join().expect("no panic").expect("an answer");
    door.open_it().expect("an answer");
    drop((door, timed));
    server.shut_down(Duration::ZERO);
    running.join().expect("no panic").expect("ends in order");
}
