//! Drops one check of memring's at a time, and sees that the attack it stands against is noticed.
//!
//! `attacks/mutants.txt` lists lines of the sources and what becomes of them. All are put into one copy of
//! the repository, each behind a switch that the environment turns, so one build serves for all; then the
//! tests of a mutant's row run with its switch turned, and one of them must fail. With no switch turned all
//! must pass.
//!
//! It changes nothing but its copy, in the target folder. See `ci/mutants.sh`.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The environment variable that names the mutant to run.
const SWITCH: &str = "MEMRING_MUTANT";

/// Tests run side by side: most wait for other processes.
const SIDE_BY_SIDE: usize = 3;

/// How often a mutant is run before it counts as not noticed: some are races, which a busy machine can hide.
const TRIES: u32 = 3;

const USAGE: &str = "usage: mutants [--list | --all | --some N | --only NAME]";

/// The name of what is changed for the mutants' sake and for all of them.
const PREPARE: &str = "prepare";

/// A check that is dropped, and the tests that have to notice.
struct Mutant {
    name: String,
    file: PathBuf,
    /// Tests of the package's `attacks` whose names begin so.
    tests: String,
    from: String,
    to: String,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mutants: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no repository")?;
    let edits = read(&std::fs::read_to_string(root.join("attacks/mutants.txt"))?)?;
    let mutants: Vec<&Mutant> = edits.iter().filter(|edit| edit.name != PREPARE).collect();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let chosen: Vec<&Mutant> = match words[..] {
        ["--list"] => {
            mutants.iter().for_each(|mutant| println!("{} {}", mutant.tests, mutant.name));
            return Ok(true);
        }
        ["--all"] => mutants.clone(),
        ["--some", count] => rotate(&mutants, count.parse()?),
        ["--only", name] => mutants.iter().filter(|mutant| mutant.name == name).copied().collect(),
        _ => return Err(USAGE.into()),
    };
    if chosen.is_empty() {
        return Err("no such mutant: see --list".into());
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let copy = copy(root, &target.join("mutants"), &edits)?;
    let program = build(&copy)?;
    // Without a switch the copy is the original.
    let fates = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some(mutant) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let fate = fate(&program, &copy, mutant);
                    println!("{} {}: {}", mutant.tests, mutant.name, describe(&fate));
                    fates.lock().expect("nobody panicked").push(fate);
                }
            });
        }
    });
    let fates = fates.into_inner()?;
    let count = |fate| fates.iter().filter(|known| **known == Ok(fate)).count();
    let (noticed, untried) = (count(Fate::Noticed), count(Fate::NotTried));
    println!("{noticed} of {} mutants noticed, of {} there are", fates.len(), mutants.len());
    if untried > 0 {
        println!("skipped: {untried} mutants, whose tests this machine skips");
    }
    Ok(noticed + untried == fates.len())
}

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// A test of its row failed under it.
    Noticed,
    /// None did.
    NotNoticed,
    /// All of them are skipped here.
    NotTried,
}

/// Whether a test of the mutant's row fails under it, having passed without.
fn fate(program: &Path, copy: &Path, mutant: &Mutant) -> Result<Fate, String> {
    let healthy = tests(program, copy, mutant, None)?;
    if !healthy.status.success() {
        return Err(format!("its tests fail without it:\n{}", said(&healthy)));
    }
    if said(&healthy).contains("running 0 tests") {
        return Err("it has no test".to_owned());
    }
    for _ in 0..TRIES {
        if !tests(program, copy, mutant, Some(&mutant.name))?.status.success() {
            return Ok(Fate::Noticed);
        }
    }
    // One that ran has to notice: that another was skipped is no excuse.
    let said = said(&healthy);
    let ran = said.matches(" ... ok").count();
    Ok(if said.matches("skipped: ").count() >= ran { Fate::NotTried } else { Fate::NotNoticed })
}

fn describe(fate: &Result<Fate, String>) -> &str {
    match fate {
        Ok(Fate::Noticed) => "noticed",
        Ok(Fate::NotNoticed) => "NOT NOTICED",
        Ok(Fate::NotTried) => "not tried here: its test is skipped",
        Err(why) => why,
    }
}

fn tests(program: &Path, copy: &Path, mutant: &Mutant, on: Option<&str>) -> Result<Output, String> {
    let filter = &mutant.tests;
    // Most checks are the same with a hub, for which some tests are skipped.
    let way = if mutant.file.starts_with("memring/src/hub") { "hub" } else { "threads" };
    let mut command = Command::new(program);
    command.args([filter, "--test-threads=1", "--show-output"]).current_dir(copy.join("attacks"));
    command.env("MEMRING_SCENE", way);
    if let Some(name) = on {
        command.env(SWITCH, name);
    }
    command.output().map_err(|error| error.to_string())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A copy of what git tracks, with every mutant in it. Files that stay as they are keep their times, so that a second run
/// builds little.
fn copy(root: &Path, copy: &Path, mutants: &[Mutant]) -> Result<PathBuf, Box<dyn Error>> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output()?;
    let listed = String::from_utf8(listed.stdout)?;
    let mut changed: HashMap<&Path, String> = HashMap::new();
    for mutant in mutants {
        let text = match changed.remove(mutant.file.as_path()) {
            Some(text) => text,
            None => std::fs::read_to_string(root.join(&mutant.file))?,
        };
        let times = text.matches(&mutant.from).count();
        if times != 1 {
            let (name, file) = (&mutant.name, mutant.file.display());
            return Err(format!("{name}: its lines stand {times} times in {file}").into());
        }
        let switch = format!(
            "{{ static ON: std::sync::OnceLock<bool> = std::sync::OnceLock::new(); *ON.get_or_init(|| \
             std::env::var_os(\"{SWITCH}\").is_some_and(|name| name == \"{}\")) }}",
            mutant.name
        );
        let to = mutant.to.replace("MUTANT", &switch);
        changed.insert(&mutant.file, text.replace(&mutant.from, &to));
    }
    for path in listed.split('\0').filter(|path| !path.is_empty()) {
        let (from, to) = (root.join(path), copy.join(path));
        let Ok(original) = std::fs::read(&from) else { continue }; // removed, and not committed yet
        let wanted = changed.get(Path::new(path)).map_or(original, |text| text.as_bytes().to_vec());
        if std::fs::read(&to).is_ok_and(|there| there == wanted) {
            continue;
        }
        std::fs::create_dir_all(to.parent().ok_or("no folder")?)?;
        std::fs::write(&to, wanted)?;
    }
    let tracked: HashSet<PathBuf> = listed.split('\0').map(|path| copy.join(path)).collect();
    prune(copy, &copy.join("target"), &tracked)?;
    Ok(copy.to_owned())
}

/// Removes what is not tracked any more from a folder, but for `spared`: a module that has moved must not be
/// there twice.
fn prune(folder: &Path, spared: &Path, tracked: &HashSet<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && path != spared {
            prune(&path, spared, tracked)?;
        } else if !path.is_dir() && !tracked.contains(&path) {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Builds the tests of the copy; where they are. In a target folder of its own: cargo takes the crates of a
/// copy for those of the original.
fn build(copy: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let arguments = ["test", "--no-run", "--locked", "-p", "memring-attacks", "--test", "attacks"];
    let output = Command::new("cargo")
        .args(arguments)
        .env("CARGO_TERM_COLOR", "never")
        .env("CARGO_TARGET_DIR", copy.join("target"))
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env_remove("RUSTFLAGS")
        .current_dir(copy)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("the mutants do not build:\n{said}").into());
    }
    let line = said.lines().find(|line| line.contains("Executable")).ok_or("no test was built")?;
    let path = line.rsplit_once('(').and_then(|(_, path)| path.strip_suffix(')'));
    Ok(copy.join(path.ok_or("no test was built")?))
}

/// So many of them, others each day.
fn rotate<'a>(mutants: &[&'a Mutant], count: usize) -> Vec<&'a Mutant> {
    let day = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs() / 86_400);
    let first = usize::try_from(day).unwrap_or(0).wrapping_mul(count);
    (0..count.min(mutants.len())).map(|at| mutants[(first + at) % mutants.len()]).collect()
}

/// Reads the list. An entry is a line `ROW NAME FILE`, then lines that begin with `-`, which stand once in the
/// file, and lines that begin with `+`, which take their place; in them `MUTANT` is true while the switch is
/// turned. An entry `- prepare FILE` is no mutant: it makes room for some (a `const fn` cannot ask its
/// environment). What begins with `#` is for people.
fn read(list: &str) -> Result<Vec<Mutant>, Box<dyn Error>> {
    let mut mutants: Vec<Mutant> = Vec::new();
    for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(file) = line.strip_prefix("- prepare ") {
            mutants.push(Mutant::new("", PREPARE, file));
        } else if let Some(from) = line.strip_prefix('-') {
            add(&mut last(&mut mutants)?.from, from);
        } else if let Some(to) = line.strip_prefix('+') {
            add(&mut last(&mut mutants)?.to, to);
        } else {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [row, name, file] = words[..] else {
                return Err(format!("not `ROW NAME FILE`: {line}").into());
            };
            if mutants.iter().any(|mutant| mutant.name == name) {
                return Err(format!("two mutants are called {name}").into());
            }
            mutants.push(Mutant::new(row, name, file));
        }
    }
    Ok(mutants)
}

impl Mutant {
    fn new(row: &str, name: &str, file: &str) -> Self {
        Self {
            name: name.to_owned(),
            file: file.into(),
            tests: format!("attack_{row}_"),
            from: String::new(),
            to: String::new(),
        }
    }
}

fn last(mutants: &mut [Mutant]) -> Result<&mut Mutant, &'static str> {
    mutants.last_mut().ok_or("the list begins with `ROW NAME FILE`")
}

fn add(text: &mut String, line: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(line);
}
