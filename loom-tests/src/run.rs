//! Runs models and mutants, each in a process of its own, and says what came of it.

use std::io::Write;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use memring_ring::model::choose_mutant;

use crate::models::{self, Model, Mutant};

const HELP: &str = "\
Explores the models of the ring, and its mutants, which must fail.

  --list        what there is, and stop
  --only NAME   this model and its mutants
  --models      no mutants
  --bound N     explore up to N preemptions (default 3)
  --jobs N      runs side by side (default: processors)";

/// Branches of one run; a model that needs more runs in circles.
const MAX_BRANCHES: usize = 100_000;

struct Options {
    list: bool,
    only: Option<String>,
    mutants: bool,
    bound: usize,
    jobs: usize,
    /// Explore here, in this process: the model, and the mutant, if any.
    here: Option<(String, Option<String>)>,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            list: false,
            only: None,
            mutants: true,
            bound: 3,
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            here: None,
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            match arg.as_str() {
                "--list" => options.list = true,
                "--models" => options.mutants = false,
                "--only" => options.only = Some(value()?),
                "--bound" => options.bound = number(&value()?)?,
                "--jobs" => options.jobs = number(&value()?)?.max(1),
                "--here" => options.here = Some((value()?, None)),
                "--mutant" => match &mut options.here {
                    Some((_, mutant)) => *mutant = Some(value()?),
                    None => return Err("--mutant follows --here MODEL".into()),
                },
                _ => return Err(HELP.into()),
            }
        }
        Ok(options)
    }
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

pub fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    if let Some((model, mutant)) = &options.here {
        return explore(model, mutant.as_deref(), options.bound);
    }
    let chosen: Vec<&Model> = models::all()
        .filter(|model| options.only.as_deref().is_none_or(|name| name == model.name))
        .collect();
    if chosen.is_empty() {
        eprintln!("there is no such model; --list says which there are");
        return ExitCode::from(2);
    }
    if options.list {
        for model in chosen {
            println!("{}: {}", model.name, model.property);
            for mutant in model.mutants {
                println!("    {} must fail: {}", mutant.name, mutant.fails);
            }
        }
        return ExitCode::SUCCESS;
    }
    run_all(&chosen, &options)
}

/// One run: a model, or a mutant of it.
type Job = (&'static Model, Option<&'static Mutant>);

fn run_all(chosen: &[&'static Model], options: &Options) -> ExitCode {
    let began = Instant::now();
    let models = chosen.iter().map(|model| (*model, None));
    let mutants = chosen
        .iter()
        .flat_map(|model| model.mutants.iter().map(|mutant| (*model, Some(mutant))))
        .filter(|_| options.mutants);
    let jobs: Vec<Job> = models.chain(mutants).collect();
    let (next, wrong, out) =
        (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(std::io::stdout()));
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.min(jobs.len()) {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (line, good) = run(job, options.bound);
                    wrong.fetch_add(usize::from(!good), Ordering::Relaxed);
                    if let Ok(mut out) = out.lock() {
                        // Nobody to tell if standard output is gone; the exit status still says it.
                        let _ = writeln!(out, "{line}");
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner();
    let verdict = match wrong {
        0 => "all models hold, all mutants fail as they must".into(),
        some => format!("{some} WRONG"),
    };
    let _ = writeln!(
        std::io::stdout(),
        "{} models and {} mutants at bound {} in {:.1} s: {verdict}",
        chosen.len(),
        jobs.len() - chosen.len(),
        options.bound,
        began.elapsed().as_secs_f64(),
    );
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one job in a child; one line about it, and whether it is as it must be.
fn run((model, mutant): &Job, bound: usize) -> (String, bool) {
    let mut command = match std::env::current_exe() {
        Ok(exe) => Command::new(exe),
        Err(error) => return (format!("WRONG {}: {error}", model.name), false),
    };
    command.args(["--bound", &bound.to_string(), "--here", model.name]);
    if let Some(mutant) = mutant {
        command.args(["--mutant", mutant.name]);
    }
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) => return (format!("WRONG {}: {error}", model.name), false),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let said = said.trim();
    let (good, name) = match mutant {
        None => (output.status.success(), model.name.to_owned()),
        Some(mutant) => (
            output.status.code() == Some(i32::from(FAILED)) && said.contains(mutant.fails),
            format!("{} / {}", model.name, mutant.name),
        ),
    };
    // A mutant that passed, or failed otherwise; a model that failed.
    if !good {
        let noise = String::from_utf8_lossy(&output.stderr);
        return (format!("WRONG {name} ({}): {said}\n{noise}", output.status), false);
    }
    let said: String = said.chars().take(120).collect();
    (format!("ok    {name:<56} {said}"), true)
}

/// The exit status of an exploration that found a failure.
const FAILED: u8 = 3;

static ITERATIONS: AtomicU64 = AtomicU64::new(0);

/// Explores here. Says how much it explored, or where and how it failed.
fn explore(name: &str, mutant: Option<&str>, bound: usize) -> ExitCode {
    let Some(model) = models::all().find(|model| model.name == name) else {
        return ExitCode::from(2);
    };
    choose_mutant(mutant);
    // The first panic is the failure. What unwinding would run into after it is not.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or("?", |place| place.file());
        let place = place.rsplit_once("src/").map_or(place, |(_, file)| file);
        let payload = panic.payload();
        let said = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("a panic without words");
        let iterations = ITERATIONS.load(Ordering::Relaxed);
        println!("fails in iteration {iterations} ({place}): {}", said.replace('\n', " "));
        std::process::exit(FAILED.into());
    }));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.max_branches = MAX_BRANCHES;
    builder.max_duration = None;
    builder.max_permutations = None;
    let began = Instant::now();
    builder.check(|| {
        ITERATIONS.fetch_add(1, Ordering::Relaxed);
        (model.body)();
    });
    let took: Duration = began.elapsed();
    println!("{:>9} iterations {:>8.2} s", ITERATIONS.load(Ordering::Relaxed), took.as_secs_f64());
    ExitCode::SUCCESS
}
