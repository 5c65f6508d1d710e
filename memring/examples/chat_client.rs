//! Says in the chat what is typed, and shows what is said. `chat_server` is the other half.
//!
//! The server is one of this user, unless its user is given.
//!
//! `cargo run --example chat_client -- NAME [PATH [UID]]`

mod chat;

use std::error::Error;
use std::io::stdin;
use std::process::ExitCode;
use std::thread;

use chat::{ChatClient, Line};
use memring::rpc::{CallError, Calls, Link};
use memring::{Connector, Policy};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("-- {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("how are you called? chat_client NAME [PATH]")?;
    let address = arguments.next().unwrap_or("chat".to_owned());
    // Settings of one's own: a connector makes the channel, and calls go over it.
    let mut connector = Connector::new().name(&name);
    if let Some(uid) = arguments.next() {
        let uid = uid.parse().map_err(|error| format!("{uid} is no uid: {error}"))?;
        connector = connector.policy(Policy::nobody().allow_uid(uid));
    }
    let link = Link::over(connector.connect::<Calls>(address)?);
    let chat: ChatClient = link.open()?;

    // First to listen, then to ask for what was said before: so nothing falls between the two, and what is in both is known by
    // its number.
    let said = chat.said()?;
    let history = chat.history()?;
    history.iter().for_each(show);
    let seen = history.last().map_or(0, |line| line.number);
    println!("-- welcome, {name}");

    thread::spawn(move || {
        for line in stdin().lines().map_while(Result::ok) {
            match chat.say(&line) {
                Ok(()) => {}
                Err(CallError::Denied { .. }) => eprintln!("-- you may only listen here"),
                Err(error) => eprintln!("-- that was not said: {error}"),
            }
        }
        link.close(); // ends the signals, and with them the program
    });
    for line in said {
        let line = match line {
            Ok(line) => line,
            // Also who reads too slowly is put out.
            Err(CallError::Ended(end)) => return Err(format!("out of the chat: {end}").into()),
            Err(error) => return Err(error.into()),
        };
        if line.number > seen {
            show(&line);
        }
    }
    Ok(())
}

fn show(Line { who, text, .. }: &Line) {
    let number = |id: Option<u32>| id.map_or("unknown".to_owned(), |id| id.to_string());
    // Others wrote these: what would steer the terminal is shown, and not done.
    let (name, text) = (who.name.escape_debug(), text.escape_debug());
    println!("{name} (uid {}, process {}): {text}", number(who.uid), number(who.pid));
}
