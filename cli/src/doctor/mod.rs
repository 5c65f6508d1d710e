//! `memring doctor`: what this machine and sandbox have, and what is lost without it.
//!
//! It finds out by trying, since a version says nothing about a container's filters. Nothing it tries outlives
//! it, and none of it is felt by other processes.

mod features;
mod limits;
mod probe;

use std::fmt::Write as _;

use serde::Serialize;

use crate::args::Doctor as Options;
use crate::failure::{Failure, Status};
use crate::output;

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// It is there.
    Ok,
    /// It is not, and memring does without.
    Lost,
    /// It is not, and memring cannot do without.
    Fatal,
}

/// One thing looked at.
#[derive(Clone, Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    /// What was found.
    found: String,
    /// What is lost without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<&'static str>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Ok, found: found.into(), lost: None }
    }

    fn lost(name: &'static str, found: impl Into<String>, lost: &'static str) -> Self {
        Self { name, state: State::Lost, found: found.into(), lost: Some(lost) }
    }

    fn fatal(name: &'static str, found: impl Into<String>, lost: &'static str) -> Self {
        Self { name, state: State::Fatal, found: found.into(), lost: Some(lost) }
    }
}

#[derive(Serialize)]
struct Report {
    kernel: String,
    machine: String,
    processors: usize,
    works: bool,
    lost: usize,
    checks: Vec<Check>,
}

pub(crate) fn run(options: &Options, json: bool) -> Result<(), Failure> {
    let uname = rustix::system::uname();
    let mut checks = features::checks();
    checks.extend(limits::checks());
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    let report = Report {
        kernel: uname.release().to_string_lossy().into_owned(),
        machine: uname.machine().to_string_lossy().into_owned(),
        processors: limits::processors(),
        works: count(State::Fatal) == 0,
        lost: count(State::Lost),
        checks,
    };
    if json {
        output::print_json(&report)?;
    } else {
        output::print(&report.text())?;
    }
    // What is wrong has been printed; scripts go by the status.
    match (report.works, report.lost) {
        (false, _) => Err(Failure::quiet(Status::Local)),
        (true, 1..) if options.strict => Err(Failure::quiet(Status::Local)),
        _ => Ok(()),
    }
}

impl Report {
    fn text(&self) -> String {
        let mut text = format!(
            "Linux {} on {}, {} processors for this process\n\n",
            self.kernel, self.machine, self.processors
        );
        let name = self.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
        for check in &self.checks {
            let state = match check.state {
                State::Ok => "ok",
                State::Lost => "lost",
                State::Fatal => "FATAL",
            };
            let _ = writeln!(text, "  {state:<5}  {:<name$}  {}", check.name, check.found);
            if let Some(lost) = check.lost {
                let _ = writeln!(text, "  {:<5}  {:<name$}  -> {lost}", "", "");
            }
        }
        let _ = match (self.works, self.lost) {
            (true, 0) => writeln!(text, "\nmemring works here, and nothing is lost."),
            (true, lost) => writeln!(text, "\nmemring works here, without what is lost ({lost})."),
            (false, _) => writeln!(text, "\nmemring cannot run here: see what is FATAL."),
        };
        text
    }
}
