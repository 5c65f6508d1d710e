//! Running cases under callgrind: this program again, as a child of valgrind.
//!
//! Counting goes on and off as `cases::memring_counted` is entered and left. A system call in between is an
//! error: what the kernel does is not counted, and whether it is asked at all can depend on time. But callgrind
//! also blames it for the end of a call that another thread had begun before, on a busy machine; so a case that
//! seems to call is counted again.

use std::error::Error;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the cases, two at a time, in the order asked for.
pub fn count(names: &[&str]) -> Result<Vec<u64>, String> {
    let next = AtomicUsize::new(0);
    let counts = Mutex::new(vec![Ok(0); names.len()]);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    // ORDERING: Relaxed; it only hands out numbers. The counts are under a lock.
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(name) = names.get(index) else { return };
                    let count = count_one(name).map_err(|error| format!("{name}: {error}"));
                    counts.lock().expect("nobody panicked")[index] = count;
                }
            });
        }
    });
    counts.into_inner().map_err(|error| error.to_string())?.into_iter().collect()
}

/// How often a case that seems to call the kernel is counted.
const TRIES: usize = 3;

fn count_one(name: &str) -> Result<u64, Box<dyn Error>> {
    let mut tries = 0;
    loop {
        tries += 1;
        match run(name) {
            Err(error) if error.is::<Called>() && tries < TRIES => {}
            count => return count,
        }
    }
}

fn run(name: &str) -> Result<u64, Box<dyn Error>> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .args(["--toggle-collect=*memring_counted*", "--collect-systime=yes"])
        .arg(std::env::current_exe()?)
        .args(["case", name])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{}\n{said}", output.status).into());
    }
    collected(&said)
}

/// So many system calls were made.
#[derive(Debug)]
struct Called(u64);

impl std::fmt::Display for Called {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} system calls were made while counting", self.0)
    }
}

impl Error for Called {}

/// The instructions in callgrind's closing line: `==1== Collected : 52007 0 0`.
fn collected(said: &str) -> Result<u64, Box<dyn Error>> {
    let line = said.lines().find_map(|line| line.split_once("Collected :"));
    let numbers: Option<Vec<u64>> =
        line.and_then(|(_, numbers)| numbers.split_whitespace().map(|n| n.parse().ok()).collect());
    match numbers.as_deref() {
        Some([0, ..]) => Err("nothing was counted: is the counted function inlined?".into()),
        Some([instructions, 0, ..] | [instructions]) => Ok(*instructions),
        Some([_, calls, ..]) => Err(Called(*calls).into()),
        _ => Err(format!("callgrind did not say what it collected:\n{said}").into()),
    }
}

/// What a count depends on besides our code.
pub fn taken_with() -> Result<Vec<String>, Box<dyn Error>> {
    Ok(vec![
        first_line("rustc", "--version")?,
        first_line("valgrind", "--version")?,
        first_line("getconf", "GNU_LIBC_VERSION").unwrap_or("another C library".to_owned()),
        processor(),
    ])
}

fn first_line(program: &str, argument: &str) -> Result<String, Box<dyn Error>> {
    let output = Command::new(program).arg(argument).output()?;
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().next().filter(|_| output.status.success());
    Ok(line.ok_or_else(|| format!("{program} {argument}: {}", output.status))?.to_owned())
}

/// What the code was compiled for, and what decides which `memcpy` the C library takes.
fn processor() -> String {
    #[cfg(target_arch = "x86_64")]
    let (built, here) = (cfg!(target_feature = "avx2"), std::is_x86_feature_detected!("avx2"));
    #[cfg(not(target_arch = "x86_64"))]
    let (built, here) = (false, false);
    let with = |has| if has { "with" } else { "without" };
    format!("{} built {} avx2, run {} avx2", std::env::consts::ARCH, with(built), with(here))
}

#[cfg(test)]
mod tests {
    use super::collected;

    #[test]
    fn the_closing_line_is_read() {
        let check =
            |said: &str, count: Option<u64>| assert_eq!(collected(said).ok(), count, "{said}");
        check("==1== Events    : Ir sysCount sysTime\n==1== Collected : 52007 0 0\n", Some(52007));
        check("==1== Collected : 52007\n", Some(52007));
        check("==1== Collected : 52007 1 0\n", None); // a system call
        check("==1== Collected : 0 0 0\n", None); // never toggled
        check("==1== Collected : \n", None);
        check("==1== Collected : many\n", None);
        check("", None);
    }
}
