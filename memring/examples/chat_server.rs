//! A chat: who says something is named by the kernel, and not by himself. Its clients are `chat_client`s.
//!
//! Everybody may listen who reaches the socket, and users of the given uids may speak; without any, those of the server's own.
//!
//! `cargo run --example chat_server -- [PATH [UID]...]`

mod chat;
mod told;

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use chat::{Chat, ChatServer, ChatSignals, LONGEST, Line, NotSaid, Speaker};
use memring::fanout::Slow;
use memring::rpc::{Call, Server};
use memring::{Listener, Policy};
use told::Told;

/// Lines that those who come later are told.
const REMEMBERED: usize = 100;

fn main() -> Result<(), Told> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("chat".to_owned());
    let mut speakers = Policy::same_uid();
    for (number, uid) in arguments.enumerate() {
        let uid = uid.parse().map_err(|error| format!("{uid} is no uid: {error}"))?;
        speakers = if number == 0 { Policy::nobody() } else { speakers }.allow_uid(uid);
    }
    // Nobody waits for a client who does not read. It is put out, sees that, and may come again.
    let said = ChatSignals::new(Slow::Disconnect);
    let room = Room { lines: Mutex::default(), said: said.clone() };
    let server = Server::new()
        // The listener's policy says who may have a session, and the method's who may call it.
        .listener(Listener::builder().mode(0o666).policy(Policy::any_uid()))
        .serve(Chat::serve(room).signals(&said).method("say", speakers))
        .bind(address)?;
    println!("listening at {}", server.listener().address());
    server.run()?;
    Ok(())
}

struct Room {
    lines: Mutex<VecDeque<Line>>,
    said: ChatSignals,
}

impl ChatServer for Room {
    fn history(&self, _: &Call<'_>) -> Vec<Line> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect()
    }

    fn say(&self, call: &Call<'_>, text: &str) -> Result<(), NotSaid> {
        if text.len() > LONGEST {
            return Err(NotSaid::TooLong);
        }
        let who = Speaker {
            name: call.peer_name().to_owned(),
            pid: call.peer().pid(),
            uid: call.peer().uid(),
        };
        // Clients have a thread each. Numbers rise in the order in which the lines go out, so one lock holds for both.
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let number = lines.back().map_or(1, |line| line.number + 1);
        let line = Line { number, who, text: text.to_owned() };
        if let Err(error) = self.said.said(&line) {
            eprintln!("line {number}: {error}");
        }
        lines.push_back(line);
        if lines.len() > REMEMBERED {
            lines.pop_front();
        }
        Ok(())
    }
}
