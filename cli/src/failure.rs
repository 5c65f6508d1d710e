//! Why a command failed: one line for people, one status for scripts.
//!
//! Errors of the library are sorted here, by what somebody can do about them. The statuses are part of the
//! interface and listed in every `--help`.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use memring::observe::is_unseen;
use memring::{AcceptFailed, BindError, ConnectError, RecvError, SendError};
use serde::Serialize;

use crate::output::fit_json;

/// The statuses, as `--help` lists them.
pub(crate) const HELP: &str = "\
Exit status:
  0    done
  1    this side failed: a file, a full disk, a kernel without what is needed; or the method that was called
  2    the command line is wrong
  3    no session: no such path, nobody listens, no permission, wrong owner, refused, other messages
       meant, or no answer in time
  4    the session was cut: the peer died, gave up, broke the protocol or fell silent
  5    what came is not what was sent
  130  interrupted before there was anything to report
  141  whoever read our standard output has gone";

/// What the exit status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// A file, the kernel: our side. Or a method that was called.
    Local = 1,
    /// The command line.
    Usage = 2,
    /// No session came about.
    NoSession = 3,
    /// A session ended before its time.
    Cut = 4,
    /// The data are wrong.
    Corrupt = 5,
    /// Ctrl-C.
    Interrupted = 130,
    /// Nobody reads our standard output. Not worth a word.
    OutputGone = 141,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    status: Status,
    line: String,
}

#[derive(Serialize)]
pub(crate) struct FailureJson<'a> {
    error: &'a str,
    status: u8,
}

impl Failure {
    /// A failure with a sentence of ours.
    pub(crate) fn new(status: Status, line: impl AsRef<str>) -> Self {
        Self { status, line: one_line(line.as_ref()) }
    }

    /// A failure with an error and all its causes.
    pub(crate) fn because(status: Status, error: &(dyn Error + 'static)) -> Self {
        Self::new(status, causes(error))
    }

    /// A failure with JSON in its line, of which every character counts.
    pub(crate) fn with_json(status: Status, what: &str, json: &str) -> Self {
        Self { status, line: format!("{what}: {}", fit_json(json).trim_end()) }
    }

    /// A failure that needs no line, for everything has been said on standard output.
    pub(crate) fn quiet(status: Status) -> Self {
        Self::new(status, "")
    }

    /// Reading or writing something of ours failed.
    pub(crate) fn io(doing: &str, error: &io::Error) -> Self {
        Self::new(Status::Local, format!("{doing}: {}", without_number(error)))
    }

    /// Writing to standard output failed; quiet if it was a pipe that nobody reads any more.
    pub(crate) fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::quiet(Status::OutputGone),
            _ => Self::io("writing to standard output", error),
        }
    }

    pub(crate) fn status(&self) -> Status {
        self.status
    }

    /// What to say; nothing if nothing is to be said.
    pub(crate) fn line(&self) -> Option<&str> {
        (!self.line.is_empty()).then_some(&self.line)
    }

    pub(crate) fn as_json(&self) -> FailureJson<'_> {
        FailureJson { error: &self.line, status: self.status as u8 }
    }

    /// The same with words after it.
    #[must_use]
    pub(crate) fn and_also(self, more: &str) -> Self {
        Self::new(self.status, format!("{}; {more}", self.line))
    }

    /// The same with words before it.
    #[must_use]
    pub(crate) fn within(mut self, doing: &str) -> Self {
        self.line = format!("{doing}: {}", self.line);
        self
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::because(Status::NoSession, &error)
    }
}

impl From<BindError> for Failure {
    fn from(error: BindError) -> Self {
        Self::because(Status::NoSession, &error)
    }
}

impl From<AcceptFailed> for Failure {
    fn from(error: AcceptFailed) -> Self {
        Self::because(Status::NoSession, &error)
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        let status = match error {
            SendError::TooLarge { .. } | SendError::Encode(_) => Status::Local,
            _ => Status::Cut,
        };
        Self::because(status, &error)
    }
}

impl From<RecvError> for Failure {
    fn from(error: RecvError) -> Self {
        Self::because(Status::Cut, &error)
    }
}

/// The error and its causes, each said once.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = words(error);
    let mut next = error.source();
    while let Some(cause) = next {
        let said =
            cause.downcast_ref::<io::Error>().map_or_else(|| cause.to_string(), without_number);
        // Some errors put their cause into their own words.
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}

fn words(error: &(dyn Error + 'static)) -> String {
    error.downcast_ref::<io::Error>().map_or_else(|| error.to_string(), without_number)
}

/// `No space left on device`, without `(os error 28)`.
fn without_number(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// Names and sentences of strangers end up in lines: none may break out of it, command a terminal or hide what is beside it.
pub(crate) fn one_line(text: &str) -> String {
    let shown: String = text.chars().map(|c| if is_unseen(c) { ' ' } else { c }).collect();
    shown.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_an_error_says_becomes_one_line_of_characters_that_are_seen() {
        for (text, line) in [
            ("plain", "plain"),
            ("two\nlines", "two lines"),
            ("\x1b[31mred\x07", "[31mred"),
            ("  spread   out ", "spread out"),
            ("turned\u{202e}dnuora\u{2028}\u{feff}\u{e0041}\u{fe0f}", "turned dnuora"),
        ] {
            assert_eq!(Failure::new(Status::Local, text).line(), Some(line));
        }
        assert_eq!(Failure::quiet(Status::Local).line(), None);
    }

    #[test]
    fn causes_are_said_once_and_without_numbers() {
        #[derive(Debug)]
        struct Outer(&'static str, io::Error);
        impl std::fmt::Display for Outer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.0)
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.1)
            }
        }
        let full = || io::Error::from_raw_os_error(libc::ENOSPC);
        for (outer, line) in [
            ("saving", "saving: No space left on device"),
            ("saving: No space left on device", "saving: No space left on device"),
        ] {
            let failure = Failure::because(Status::Local, &Outer(outer, full()));
            assert_eq!(failure.line(), Some(line));
        }
    }

    #[test]
    fn a_broken_pipe_on_standard_output_is_quiet_and_a_full_disk_is_not() {
        let pipe = Failure::output(&io::ErrorKind::BrokenPipe.into());
        assert_eq!((pipe.status(), pipe.line()), (Status::OutputGone, None));
        let full = Failure::output(&io::Error::from_raw_os_error(libc::ENOSPC));
        assert_eq!(full.line(), Some("writing to standard output: No space left on device"));
    }
}
