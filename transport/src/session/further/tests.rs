use std::thread;
use std::time::Duration;

use rustix::fs::{Gid, Uid};
use rustix::process::geteuid;

use super::*;
use crate::closer::ForeignFd;
use crate::connection::Connection;
use crate::control::{Name, Signature};
use crate::pair;
use crate::testing::{alone, eventually};

/// A session of which either side may have one further channel of the other.
fn session() -> (Connection, Connection) {
    let mut settings = Settings::new();
    settings.channels = 1;
    pair(&settings, &Signature::default()).unwrap()
}

/// Done as this user, in a thread that is nobody else afterwards.
fn as_user<T: Send>(uid: u32, what: impl FnOnce() -> T + Send) -> T {
    let as_them = || {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(uid));
        rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        what()
    };
    thread::scope(|scope| scope.spawn(as_them).join().unwrap())
}

#[test]
fn a_socket_of_another_user_is_not_greeted_over_and_users_without_a_number_are_one() {
    const US: u32 = 0;
    const OTHER: u32 = 54_321;
    /// What the kernel calls all whom it has no number for.
    const UNKNOWN: u32 = 65_534;
    if !alone(concat!(
        "session::further::tests::",
        "a_socket_of_another_user_is_not_greeted_over_and_users_without_a_number_are_one"
    )) {
        return;
    }
    if !geteuid().is_root() {
        println!("skipped: becoming another user takes root");
        return;
    }
    let settings = Settings { handshake_timeout: Duration::from_millis(20), ..Settings::default() };
    for (of_session, of_socket, same) in [
        (US, US, true),
        (US, OTHER, false),
        (OTHER, OTHER, true),
        (OTHER, US, false),
        (US, UNKNOWN, false),
        (UNKNOWN, US, false),
        (UNKNOWN, OTHER, false),
        (UNKNOWN, UNKNOWN, true),
    ] {
        let (_server, client) = as_user(of_session, session);
        let known = Some(of_session).filter(|uid| *uid != UNKNOWN);
        assert_eq!(client.session.peer().uid(), known);
        let (_theirs, ours) = as_user(of_socket, || ControlSocket::pair().unwrap());
        let socket = ForeignFd::new(ours.into());
        let greeted = client.session.greet_over(socket, &settings, &Signature::default());
        let error = greeted.expect_err("nobody is at the other end");
        match &error {
            // It was good enough to wait for an answer over.
            FurtherError::Handshake(HandshakeError::TimedOut) if same => {}
            FurtherError::NotUsable(why) if !same => {
                assert_eq!(why.to_string(), "it was made by another user");
            }
            _ => panic!("a socket of {of_socket} in a session of {of_session}: {error:?}"),
        }
    }
}

#[test]
fn what_its_asker_gave_up_is_swept_where_it_accepts_and_all_of_it_when_the_session_ends() {
    for accepts in [true, false] {
        let (server, client) = session();
        let (serves, asks) = if accepts { (&server, &client) } else { (&client, &server) };
        let offered = || serves.session.further.as_ref().unwrap().lock().offered.len();
        // Asks, and gives up once the other side has heard it.
        let ask = || {
            let session = &asks.session;
            let asking = || {
                let (name, metadata) = (Name::default(), Metadata::default());
                let until = Instant::now() + Duration::from_millis(300);
                let signature = Signature::default();
                session.open_further(name, metadata, &signature, [Carries::NOTHING; 2], until)
            };
            thread::scope(|scope| {
                let asking = scope.spawn(asking);
                eventually("it is offered", || offered() == 1);
                asking.join().unwrap().map(drop).unwrap_err()
            })
        };
        assert!(matches!(ask(), FurtherError::TimedOut | FurtherError::Handshake(_)));
        assert_eq!(offered(), 1, "nobody has looked");
        let next = ask();
        // A client cannot see that its server has given up.
        assert_eq!(matches!(next, FurtherError::TooMany(_)), !accepts, "{next:?}");
        assert_eq!(offered(), 1);
        asks.session.close();
        eventually("it is cleared", || offered() == 0);
    }
}
