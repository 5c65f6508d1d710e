//! What is seen of sessions with other processes, and who may look.

mod support;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use memring::observe::{self, SessionSnapshot, State};
use memring::{Address, Bytes, Connector, Listener};
use support::{Forked, Helper, PATIENCE, Scratch, Stage, alone, eventually, play, soon};

/// Another user, who owns nothing here.
const OTHER: u32 = 54_321;

#[test]
fn role() {
    play(&[("client", client), ("asker", asker)]);
}

/// Calls itself something, says ten messages, hears one and stays.
fn client(stage: &Stage) {
    let mut channel = Connector::new()
        .name("the \"client\"")
        .timeout(PATIENCE)
        .connect::<Bytes>(stage.path())
        .expect("connects");
    for _ in 0..10 {
        channel.send(&[1; 50]).expect("sends");
    }
    assert_eq!(&*channel.recv_deadline(soon()).expect("an answer"), b"enough");
    assert!(channel.try_recv().is_err()); // and gives all room back
    stage.say("answered");
    stage.linger();
}

/// Asks at an abstract name, and says what it heard.
fn asker(stage: &Stage) {
    let address = SocketAddr::from_abstract_name(stage.get("name")).expect("a name");
    let mut stream = UnixStream::connect_addr(&address).expect("connects");
    let _it_may_have_closed = stream.write_all(b"json\n");
    let mut answer = String::new();
    let _nor_may_it_be_read_to_its_end = stream.read_to_string(&mut answer);
    stage.say(answer.trim_end());
}

/// The only session of this process.
#[track_caller]
fn only() -> SessionSnapshot {
    let sessions = observe::snapshot().sessions;
    let [session] = <[_; 1]>::try_from(sessions).expect("one session");
    session
}

fn ask(path: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("asks");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn a_session_with_another_process_is_seen_from_its_beginning_to_its_death() {
    if !alone("a_session_with_another_process_is_seen_from_its_beginning_to_its_death") {
        return;
    }
    let scratch = Scratch::new();
    let observed = scratch.path().join("o");
    let _serving = observe::serve(&observed).expect("serves");
    assert!(ask(&observed, "json\n").contains(r#""begun":0,"#));

    let path = scratch.socket();
    let listener = Listener::bind(&path).expect("binds");
    let client = Helper::start("client", &[("path", &path.display())]);
    let mut channel =
        listener.accept_deadline(soon()).expect("accepts").open::<Bytes>().expect("opens");
    for _ in 0..10 {
        channel.recv_deadline(soon()).expect("a message");
    }
    channel.send(b"enough").expect("sends");
    client.expect("answered");

    let seen = only();
    assert_eq!((seen.number, seen.state), (1, State::Open));
    assert_eq!(seen.protocol, <Bytes as memring::Protocol>::NAME);
    assert_eq!(seen.peer.pid, Some(client.pid()));
    assert_eq!(seen.peer.name, "the \"client\"");
    if let Some(program) = &seen.peer.program {
        assert_eq!(program.as_str(), std::env::current_exe().unwrap().to_str().unwrap());
    }
    let (out, inbound) = (seen.outbound.unwrap(), seen.inbound.unwrap());
    assert_eq!((out.ours.messages, out.ours.bytes), (1, 6));
    assert_eq!((inbound.claimed.messages, inbound.claimed.bytes), (10, 500));
    // We shall have shown what we received when nothing is left; the peer has, for it waits.
    assert!(channel.try_recv().is_err());
    eventually("all is given back", || {
        let seen = only();
        let (out, inbound) = (seen.outbound.unwrap(), seen.inbound.unwrap());
        let received = (out.claimed.messages, inbound.ours.messages);
        received == (1, 10) && (out.used, inbound.used) == (0, 0)
    });
    let json = ask(&observed, "json\n");
    assert!(json.contains(r#""name":"the \"client\"""#), "{json}");
    let text = ask(&observed, "GET /metrics HTTP/1.1\r\n\r\n");
    assert!(text.contains(r#",name="the \"client\"","#), "{text}");
    assert!(text.contains("memring_session_messages_total{session=\"1\",direction=\"in\"} 10\n"));

    client.kill();
    eventually("it has died", || only().state == State::Died);
    assert_eq!(channel.session().observe().state, State::Died);
    drop(channel);
    eventually("it is not there any more", || {
        let json = ask(&observed, "json\n");
        json.contains(r#""begun":1,"#) && json.contains(r#""sessions":[]"#)
    });
}

#[test]
fn attack_05_another_user_is_told_that_it_may_not_look() {
    if !alone("attack_05_another_user_is_told_that_it_may_not_look") {
        return;
    }
    let name = format!("memring-observe-{}", std::process::id());
    // An abstract name has no mode that would keep anybody from connecting.
    let serving = observe::serve(Address::abstract_name(&name).expect("a name")).expect("serves");
    let mut asker = Helper::start("asker", &[("name", &name)]);
    assert!(asker.hear().starts_with(r#"{"format":1,"#));
    asker.finish();
    if std::fs::metadata("/proc/self").map(|me| std::os::unix::fs::MetadataExt::uid(&me)).ok()
        != Some(0)
    {
        println!("skipped: needs root, to be another user");
        return;
    }
    let scratch = Scratch::new();
    let asker = Helper::start_as(OTHER, &scratch, "asker", &[("name", &name)]);
    asker.expect("memring: only processes of uid 0 and root may look");
    drop(serving);
}

#[test]
fn attack_78_a_forked_child_sees_none_of_its_parent_s_sessions_and_takes_nothing_down() {
    if !alone("attack_78_a_forked_child_sees_none_of_its_parent_s_sessions_and_takes_nothing_down")
    {
        return;
    }
    let scratch = Scratch::new();
    let observed = scratch.path().join("o");
    let mut serving = Some(observe::serve(&observed).expect("serves"));
    let (server, _client) = memring::pair::<Bytes>().expect("a pair");
    let session = server.session().clone();
    let child = Forked::start(|| {
        assert!(observe::snapshot().sessions.is_empty());
        let seen = session.observe();
        assert_eq!(seen.state, State::Forked);
        assert!(seen.outbound.is_none() && seen.peer.program.is_none());
        drop(serving.take()); // its copy
        // And its own are seen.
        let _pair = memring::pair::<Bytes>().expect("a pair");
        assert_eq!(observe::snapshot().sessions.len(), 2);
    });
    assert!(child.wait() && serving.is_some());
    assert!(ask(&observed, "json\n").contains(r#""state":"open""#));
}

#[test]
fn an_endpoint_is_served_in_a_loop_of_the_application_s() {
    let scratch = Scratch::new();
    let path = scratch.path().join("o");
    let mut endpoint = observe::endpoint(&path).expect("binds");
    let asking = std::thread::spawn(move || ask(&path, "metrics\n"));
    while !asking.is_finished() {
        let mut fds = [rustix::event::PollFd::new(&endpoint, rustix::event::PollFlags::IN)];
        let moment = rustix::event::Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
        rustix::event::poll(&mut fds, Some(&moment)).expect("polls");
        endpoint.turn().expect("goes on");
    }
    assert!(asking.join().unwrap().starts_with("# HELP memring_sessions "));
}

#[test]
fn snapshots_are_taken_while_sessions_come_and_go() {
    /// Has the others end, whatever became of this test: a scope waits for them.
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Relaxed);
        }
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    let (mut server, mut client) = memring::pair::<Bytes>().expect("a pair");
                    for _ in 0..100 {
                        server.send(b"x").expect("sends");
                        client.recv_deadline(soon()).expect("a message");
                    }
                }
            });
        }
        let _done = Done(&done);
        let (mut looks, mut last) = (0, 0);
        let mut busy = HashSet::new();
        eventually("many are seen at what they do", || {
            let seen = observe::snapshot();
            assert!(seen.begun >= last);
            last = seen.begun;
            assert!(seen.sessions.is_sorted_by(|a, b| a.number < b.number));
            for session in &seen.sessions {
                for lane in [session.outbound, session.inbound].into_iter().flatten() {
                    assert!(lane.used <= lane.capacity);
                    if lane.ours.messages > 0 {
                        busy.insert(session.number);
                    }
                }
            }
            looks += 1;
            looks >= 200 && busy.len() >= 10
        });
    });
}
