//! `memring bench`: memring beside the bare machine and its rivals, as tables, pictures and JSON.
//!
//! What is measured and how is the bench library's business. Its workers are this very program, started again.

mod canvas;
mod pictures;
mod tables;

use std::cell::Cell;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use indicatif::ProgressBar;
use memring_benches::conductor::{Conductor, list};
use memring_benches::machine::Machine;
use memring_benches::outcome::Outcome;
use memring_benches::plan::{self, FOOTPRINT, Group};
use memring_benches::{Failed, built_in, goals, pin, worker};
use serde::Serialize;

use crate::args::{Bench as Options, BenchWorker};
use crate::failure::{Failure, Status};
use crate::{output, signals};
use tables::Pages;

/// Ctrl-C reaches the workers as well: how long after one's death to look whether that was why.
const SOON: Duration = Duration::from_millis(100);

/// What a run consists of.
struct Plan {
    groups: Vec<Group>,
    footprint: bool,
}

impl Plan {
    /// All whose names have all of the words.
    fn with(words: &[String]) -> Self {
        let has = |name: &str| words.iter().all(|word| name.contains(word.as_str()));
        Self {
            groups: plan::groups().into_iter().filter(|group| has(&group.name)).collect(),
            footprint: has(FOOTPRINT),
        }
    }

    fn is_empty(&self) -> bool {
        self.groups.is_empty() && !self.footprint
    }

    fn names(&self) -> Vec<&str> {
        let groups = self.groups.iter().map(|group| group.name.as_str());
        groups.chain(self.footprint.then_some(FOOTPRINT)).collect()
    }
}

#[derive(Serialize)]
struct List<'a> {
    groups: Vec<&'a str>,
}

/// One end of what is measured; it speaks the worker's protocol on standard output, and nothing else.
pub(crate) fn work(options: &BenchWorker) -> Result<(), Failure> {
    let contenders: Vec<_> = built_in().copied().collect();
    worker::work(&contenders, &options.job)
        .map_err(|error| Failure::because(Status::Usage, &*error).within("the job of a worker"))
}

pub(crate) fn run(options: &Options, json: bool) -> Result<(), Failure> {
    let mut plan = Plan::with(&options.words);
    if plan.is_empty() {
        let words = options.words.join(" ");
        let line = format!("no group's name has all of {words:?}: see `memring bench --list`");
        return Err(Failure::new(Status::Usage, line));
    }
    if options.list {
        let groups = plan.names();
        return match json {
            true => output::print_json(&List { groups }),
            false => output::print(&(groups.join("\n") + "\n")),
        };
    }
    let pages = Pages::new(json, options.markdown);
    let outcome = match &options.from {
        Some(file) => saved(file, &plan, &pages)?,
        None => measured(options, &mut plan, &pages)?,
    };
    match json {
        true => output::print_json(&outcome)?,
        false => pages.end(&outcome)?,
    }
    match &options.plot {
        Some(directory) => pictures::draw(&outcome, directory),
        None => Ok(()),
    }
}

/// Shows what was measured once.
fn saved(file: &Path, plan: &Plan, pages: &Pages) -> Result<Outcome, Failure> {
    let doing = || format!("reading {}", file.display());
    let text = std::fs::read(file).map_err(|error| Failure::io(&doing(), &error))?;
    let mut outcome: Outcome = serde_json::from_slice(&text)
        .map_err(|error| Failure::because(Status::Local, &error).within(&doing()))?;
    let names = plan.names();
    outcome.groups.retain(|group| names.contains(&group.name.as_str()));
    outcome.footprint = outcome.footprint.filter(|_| plan.footprint);
    outcome.goals.retain(|goal| names.contains(&goal.group.as_str()));
    pages.begin(&outcome.machine, outcome.rounds)?;
    for group in &outcome.groups {
        pages.group(group)?;
    }
    Ok(outcome)
}

/// Measures, and shows each group as it is done.
fn measured(options: &Options, plan: &mut Plan, pages: &Pages) -> Result<Outcome, Failure> {
    let interrupted =
        signals::interrupts().map_err(|error| Failure::io("watching for signals", &error))?;
    let conductor = conductor(options, plan)?;
    let machine = Machine::this(conductor.processors);
    pages.begin(&machine, conductor.rounds)?;
    let total: usize = plan.groups.iter().map(|group| conductor.rounds(group)).sum();
    let bar = output::progress(total as u64, "rounds");
    let outcome = Run { conductor: &conductor, interrupted, stopped: Cell::new(false), bar: &bar }
        .all(plan, machine, pages);
    bar.finish_and_clear();
    outcome
}

fn conductor(options: &Options, plan: &mut Plan) -> Result<Conductor, Failure> {
    let doing = |doing: &'static str| move |error| Failure::io(doing, &error);
    if let (Some(rivals), Some(group)) = (&options.rivals, plan.groups.first()) {
        list(rivals, &group.terms).map_err(|error| {
            Failure::because(Status::Local, &*error)
                .within(&format!("--rivals {}", rivals.display()))
        })?;
    }
    let processors = match options.pin {
        Some((near, far)) => {
            pin::on(far, || ()).and_then(|()| pin::on(near, || ())).map_err(doing("--pin"))?;
            (near, far)
        }
        None => match pin::allowed().map_err(doing("asking for the processors"))?[..] {
            [near, far, ..] => (near, far),
            [only] => (only, only),
            [] => (0, 0),
        },
    };
    if processors.0 == processors.1 {
        plan.groups.retain(|group| group.terms.together);
        let why = "there is one processor only, so only what shares one can be measured";
        match plan.is_empty() {
            true => return Err(Failure::new(Status::Local, why)),
            false => output::note(&format!("memring bench: {why}")),
        }
    }
    Ok(Conductor {
        program: std::env::current_exe().map_err(doing("finding this program"))?,
        rivals: options.rivals.clone(),
        processors,
        rounds: options.rounds as usize,
    })
}

/// A run under way.
struct Run<'a> {
    conductor: &'a Conductor,
    interrupted: Receiver<()>,
    stopped: Cell<bool>,
    bar: &'a ProgressBar,
}

impl Run<'_> {
    fn all(&self, plan: &Plan, machine: Machine, pages: &Pages) -> Result<Outcome, Failure> {
        let mut groups = Vec::new();
        for group in &plan.groups {
            let before = self.bar.position();
            let (name, rounds) = (&group.name, self.conductor.rounds(group));
            let mut progress = |round: usize| {
                self.bar.set_message(format!("{name}, round {round} of {rounds}"));
                self.bar.set_position(before + round as u64);
                self.stopped.set(self.interrupted.try_recv().is_ok());
                if self.stopped.get() { Err("interrupted".into()) } else { Ok(()) }
            };
            let outcome = self.conductor.measure(group, &mut progress);
            let outcome = outcome.map_err(|error| self.broken(&error, name))?;
            self.bar.suspend(|| pages.group(&outcome))?;
            groups.push(outcome);
        }
        let footprint = match plan.footprint {
            true => {
                self.bar.set_message(FOOTPRINT);
                let footprint = self.conductor.footprint();
                Some(footprint.map_err(|error| self.broken(&error, FOOTPRINT))?)
            }
            false => None,
        };
        let goals = goals::judge(&groups, footprint.as_ref());
        Ok(Outcome { machine, rounds: self.conductor.rounds, groups, footprint, goals })
    }

    fn broken(&self, error: &Failed, name: &str) -> Failure {
        if self.stopped.get() || self.interrupted.recv_timeout(SOON).is_ok() {
            return Failure::new(
                Status::Interrupted,
                format!("interrupted while measuring: {name}"),
            );
        }
        Failure::because(Status::Local, &**error).within(name)
    }
}
