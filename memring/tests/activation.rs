//! Started by a service manager: sockets that were there before, readiness, and what is left to the next process.

mod support;

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::thread;

use memring::cause::{ListenError, NotActivated};
use memring::{BindError, Bytes, Listener};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use support::{Helper, Scratch, Stage, play, role_command, soon};

#[test]
fn role() {
    play(&[("service", service), ("wrong", wrong), ("says", says)]);
}

/// A socket that listens, as a manager opens it.
fn open(scratch: &Scratch, name: &str, kind: SocketType) -> OwnedFd {
    let socket = rustix::net::socket(AddressFamily::UNIX, kind, None).expect("a socket");
    let address = SocketAddrUnix::new(scratch.path().join(name)).expect("an address");
    rustix::net::bind(&socket, &address).expect("binds");
    rustix::net::listen(&socket, 16).expect("listens");
    socket
}

/// Starts a role with these two sockets as descriptors 3 and 4, as a manager would.
fn start(role: &str, first: &OwnedFd, second: &OwnedFd, names: &str) -> Helper {
    let role = role_command(role, &[]);
    let mut command = Command::new("sh");
    // The number of the process is its own, which is known in it only.
    command.args([
        "-c",
        "exec 3<&0 4<&2 0</dev/null 2>&1; export LISTEN_PID=$$; exec \"$@\"",
        "sh",
    ]);
    command.arg(role.get_program()).args(role.get_args());
    for (key, value) in role.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    command.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", names);
    command.stdin(Stdio::from(first.try_clone().expect("one more")));
    command.stderr(Stdio::from(second.try_clone().expect("one more")));
    Helper::of(command.stdout(Stdio::piped()).spawn().expect("starts"))
}

/// Serves one client of each socket, and ends.
fn service(stage: &Stage) {
    let which = Listener::builder().activated().expect_err("there are two");
    assert!(which.to_string().contains("which one? there are quotes, orders"), "{which}");
    let other = Listener::builder().activated_as("others").expect_err("there is none");
    assert!(other.to_string().contains("\"others\""), "{other}");
    for name in ["orders", "quotes"] {
        let listener = Listener::builder().activated_as(name).expect("was handed over");
        assert!(listener.address().to_string().ends_with(name), "{}", listener.address());
        stage.say(name);
        let incoming = listener.accept_deadline(soon()).expect("somebody is there");
        let mut channel = incoming.open::<Bytes>().expect("opens");
        channel.send(name.as_bytes()).expect("sent");
        assert_eq!(*channel.recv_deadline(soon()).expect("thanks"), *b"thanks");
        // Shut down for this process alone.
        listener.shut_down();
        assert!(listener.accept_deadline(soon()).is_err());
    }
    let none = Listener::builder().activated().expect_err("all were taken");
    assert!(none.to_string().contains("there is none"), "{none}");
}

#[test]
fn what_was_opened_before_is_served_by_one_process_after_another() {
    let scratch = Scratch::new();
    let quotes = open(&scratch, "quotes", SocketType::SEQPACKET);
    let orders = open(&scratch, "orders", SocketType::SEQPACKET);
    for _ in 0..2 {
        // They come before anybody serves them.
        let clients: Vec<_> = ["quotes", "orders"]
            .map(|name| {
                let path = scratch.path().join(name);
                thread::spawn(move || {
                    let mut channel = memring::connect::<Bytes>(&path).expect("connects");
                    let said = channel.recv_deadline(soon()).expect("a name").to_vec();
                    channel.send(b"thanks").expect("sent");
                    assert!(channel.recv_deadline(soon()).is_err());
                    said
                })
            })
            .into();
        let mut service = start("service", &quotes, &orders, "quotes:orders");
        service.expect("orders");
        service.expect("quotes");
        let said: Vec<_> = clients.into_iter().map(|it| it.join().expect("served")).collect();
        assert_eq!(said, [b"quotes", b"orders"]);
        service.finish();
    }
}

/// Is given what it cannot serve.
fn wrong(stage: &Stage) {
    for name in ["stream", "listens-not"] {
        let refused = Listener::builder().activated_as(name);
        assert!(
            matches!(
                refused,
                Err(BindError::Listen(ListenError::Bind(memring::cause::BindError::NotListening)))
            ),
            "{refused:?}"
        );
        stage.say(name);
    }
}

#[test]
fn what_is_no_socket_for_it_is_refused() {
    let scratch = Scratch::new();
    let stream = open(&scratch, "stream", SocketType::STREAM);
    let idle = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("one");
    let mut helper = start("wrong", &stream, &idle, "stream:listens-not");
    helper.expect("stream");
    helper.expect("listens-not");
    helper.finish();
}

#[test]
fn who_was_started_by_hand_is_told_so() {
    let by_hand = Listener::builder().activated();
    assert!(
        matches!(
            by_hand,
            Err(BindError::Listen(ListenError::Bind(memring::cause::BindError::NotActivated(
                NotActivated::Nothing
            ))))
        ),
        "{by_hand:?}"
    );
}

/// Says how it is doing.
fn says(_: &Stage) {
    memring::service::ready().expect("said");
    memring::service::status("serving 3").expect("said");
    memring::service::stopping().expect("said");
}

#[test]
fn the_manager_hears_how_a_service_is_doing() {
    let scratch = Scratch::new();
    let path = scratch.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).expect("binds");
    manager.set_read_timeout(Some(support::PATIENCE)).expect("a timeout");
    let mut helper = Helper::run(role_command("says", &[]).env("NOTIFY_SOCKET", &path));
    for said in ["READY=1", "STATUS=serving 3", "STOPPING=1"] {
        let mut packet = [0; 256];
        let len = manager.recv(&mut packet).expect("a packet");
        assert_eq!(std::str::from_utf8(&packet[..len]).expect("text").trim_end(), said);
    }
    helper.finish();
    memring::service::ready().expect("nobody wants to know");
}
