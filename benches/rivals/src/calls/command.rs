//! `memring-rivals calls`: the command line, and the order of things.

use std::process::ExitCode;

use memring_benches::machine::Machine;
use memring_benches::{Failed, pin};

use super::outcome::Outcome;
use super::turns::{Conductor, OUTSTANDING};
use super::{Contender, Threads, contenders};

/// The first argument.
pub const COMMAND: &str = "calls";

const USAGE: &str = "\
usage: memring-rivals calls [--json] [--turns N] [--threads one|many] [WORD..]
Measures those whose names have one of the words, or all; the first of all is always there.";

/// Turns that each has, if nobody says.
const TURNS: usize = 15;

/// What was asked for.
#[derive(Debug, PartialEq)]
struct Options {
    json: bool,
    turns: usize,
    threads: Threads,
    words: Vec<String>,
}

/// Measures, and shows what came of it.
pub fn run(arguments: &[String]) -> ExitCode {
    let Some(options) = Options::of(arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match measure(&options).and_then(|outcome| show(&outcome, options.json)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

impl Options {
    fn of(arguments: &[String]) -> Option<Self> {
        let mut options =
            Self { json: false, turns: TURNS, threads: Threads::One, words: Vec::new() };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--json" => options.json = true,
                "--turns" => {
                    options.turns = arguments.next()?.parse().ok().filter(|turns| *turns > 0)?;
                }
                "--threads" => {
                    options.threads = match arguments.next()?.as_str() {
                        "one" => Threads::One,
                        "many" => Threads::Many,
                        _ => return None,
                    };
                }
                option if option.starts_with('-') => return None,
                word => options.words.push(word.to_owned()),
            }
        }
        Some(options)
    }

    /// Who is measured.
    fn chosen(&self) -> Vec<Contender> {
        let mut all = contenders().into_iter();
        let first = all.next();
        let asked = |contender: &Contender| {
            self.words.is_empty()
                || self.words.iter().any(|word| contender.name.contains(word.as_str()))
        };
        first.into_iter().chain(all.filter(asked)).collect()
    }
}

fn measure(options: &Options) -> Result<Outcome, Failed> {
    let processors = match pin::allowed()?[..] {
        [near, far, ..] => (near, far),
        [only] => (only, only),
        [] => (0, 0),
    };
    let Options { turns, threads, .. } = *options;
    let program = std::env::current_exe()?;
    let conductor = Conductor { program, threads, processors, turns };
    let chosen = options.chosen();
    let groups = conductor.placements().iter().map(|place| conductor.measure(&chosen, *place));
    Ok(Outcome {
        machine: Machine::this(processors),
        threads,
        turns,
        outstanding: OUTSTANDING,
        groups: groups.collect::<Result<_, _>>()?,
    })
}

fn show(outcome: &Outcome, json: bool) -> Result<(), Failed> {
    match json {
        true => println!("{}", serde_json::to_string(outcome)?),
        false => print!("{outcome}"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_in_any_order_and_nothing_that_is_none() {
        let usual =
            || Options { json: false, turns: TURNS, threads: Threads::One, words: Vec::new() };
        let check = |line: &str, options: Option<Options>| {
            let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            assert_eq!(Options::of(&arguments), options, "{line}");
        };
        check("", Some(usual()));
        check("--json", Some(Options { json: true, ..usual() }));
        let words = vec!["tarpc".to_owned()];
        let some = Options { turns: 3, threads: Threads::Many, words, ..usual() };
        check("--turns 3 tarpc --threads many", Some(some));
        for line in ["--turns", "--turns 0", "--turns x", "--threads", "--threads 2", "--help"] {
            check(line, None);
        }
    }

    #[test]
    fn the_first_is_always_among_the_chosen_and_once() {
        let check = |words: &[&str], names: &[&str]| {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            let options = Options { json: false, turns: 1, threads: Threads::One, words };
            let chosen: Vec<_> = options.chosen().iter().map(|one| one.name).collect();
            assert_eq!(chosen, names);
        };
        check(&["tarpc", "zbus"], &["Unix stream", "tarpc", "zbus"]);
        check(&["Unix"], &["Unix stream"]);
        check(&["nobody"], &["Unix stream"]);
    }
}
