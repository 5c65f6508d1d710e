//! `memring top`: the sessions of a running server, live, as the server itself shows them.
//!
//! It asks the socket of `memring::observe::serve` again and again, and makes rates of what changed. On a terminal each table is
//! drawn over the one before; no mode of the terminal is left changed in between, so whatever ends it leaves it as it was.
//! Elsewhere the tables follow each other.

mod ask;
mod view;

use std::io::{IsTerminal, stdout};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Instant;

use crate::args;
use crate::failure::{Failure, Status};
use crate::{output, signals};
use ask::Server;
use view::{Seen, View};

/// Lines of a terminal that does not say how many it has.
const USUAL_LINES: usize = 24;

pub(crate) fn run(options: &args::Top, json: bool) -> Result<(), Failure> {
    let interrupted =
        signals::interrupts().map_err(|error| Failure::io("watching for signals", &error))?;
    let server = Server::at(&options.path)?;
    let mut screen = Screen::default();
    let mut before: Option<Seen> = None;
    let mut due = Instant::now();
    loop {
        let (seen, object) = match server.ask(options.timeout) {
            // It was there.
            Err(failure) if before.is_some() => {
                return Err(Failure::new(Status::Cut, failure.line().unwrap_or_default()));
            }
            answered => answered?,
        };
        if json {
            output::print(&output::fit_json(&object))?;
        } else if before.is_some() || !options.once {
            let view = View { address: &options.path, now: &seen, before: before.as_ref() };
            screen.draw(&view)?;
        }
        // Rates take two looks.
        if options.once && (json || before.is_some()) {
            return Ok(());
        }
        before = Some(seen);
        due = (due + options.interval).max(Instant::now());
        match interrupted.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// Where tables are drawn.
#[derive(Default)]
struct Screen {
    /// Lines of the last one, if it is to be drawn over.
    drawn: usize,
    any: bool,
}

impl Screen {
    fn draw(&mut self, view: &View<'_>) -> Result<(), Failure> {
        if !stdout().is_terminal() {
            let gap = if std::mem::replace(&mut self.any, true) { "\n" } else { "" };
            return output::print(&format!("{gap}{}", view.text(usize::MAX)));
        }
        // One line stays for the cursor.
        let text = view.text(lines_of_terminal().saturating_sub(1));
        output::print(&over(self.drawn, &text))?;
        self.drawn = text.lines().count();
        Ok(())
    }
}

/// The text, drawn over the last so many lines. Long lines are cut by the terminal and not broken, for as long as this takes.
fn over(drawn: usize, text: &str) -> String {
    let mut frame = String::from("\x1b[?7l");
    if drawn > 0 {
        frame.push_str(&format!("\x1b[{drawn}A\r"));
    }
    for line in text.lines() {
        frame.extend([line, "\x1b[K\n"]);
    }
    frame.push_str("\x1b[J\x1b[?7h");
    frame
}

fn lines_of_terminal() -> usize {
    match rustix::termios::tcgetwinsize(stdout()) {
        Ok(size) if size.ws_row > 0 => size.ws_row.into(),
        _ => USUAL_LINES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_drawn_over_the_one_before_and_leaves_no_mode_behind() {
        assert_eq!(over(0, "a\nb\n"), "\x1b[?7la\x1b[K\nb\x1b[K\n\x1b[J\x1b[?7h");
        assert_eq!(over(2, "c\n"), "\x1b[?7l\x1b[2A\rc\x1b[K\n\x1b[J\x1b[?7h");
    }
}
