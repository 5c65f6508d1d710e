//! Counts the instructions of each operation and holds them against `benches/budgets/budgets.txt`.
//!
//! Why instructions: they are the same on each run, so a few percent can be asserted where times only drift
//! (docs/decisions/0071-budgets.md). The program starts itself under callgrind, once for each case, each time
//! with nothing else in the process.
//!
//! It knows neither what is counted (`cases.rs`) nor when a count is too high (`budgets.rs`). See
//! `ci/budgets.sh`.

mod budgets;
mod callgrind;
mod cases;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use budgets::{Budgets, Count, Standing};

const USAGE: &str = "usage: memring-budgets [--record | case NAME]";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("memring-budgets: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("budgets.txt");
    match words[..] {
        ["case", name] => {
            let case = cases::ALL.iter().find(|case| case.name == name);
            (case.ok_or("no such case")?.run)()?;
            Ok(true)
        }
        ["--record"] => {
            let now = count_all()?;
            std::fs::write(&file, now.to_string())?;
            print!("{now}");
            Ok(true)
        }
        [] => {
            let text = std::fs::read_to_string(&file)
                .map_err(|error| format!("{}: {error}; record the budgets", file.display()))?;
            Ok(compare(&text.parse()?, &count_all()?))
        }
        _ => Err(USAGE.into()),
    }
}

/// Counts every case, with what it was counted with.
fn count_all() -> Result<Budgets, Box<dyn Error>> {
    let names: Vec<&str> = cases::ALL.iter().map(|case| case.name).collect();
    let counts = callgrind::count(&names)?;
    let counts = names.into_iter().map(str::to_owned).zip(counts.into_iter().map(Count)).collect();
    Ok(Budgets { taken_with: callgrind::taken_with()?, counts })
}

/// Prints how each case stands; false if one is too high, or the lists differ.
fn compare(budgets: &Budgets, now: &Budgets) -> bool {
    println!("{:<20} {:>12} {:>12} {:>8}", "instructions", "budget", "now", "change");
    let rows = budgets::compare(&budgets.counts, &now.counts);
    for row in &rows {
        let shown = |count: Option<Count>| count.map_or("-".to_owned(), |count| count.to_string());
        let change = row.change().map_or("-".to_owned(), |percent| format!("{percent:+.1} %"));
        let remark = match row.standing() {
            Standing::Within => "",
            Standing::Above => "  ABOVE",
            Standing::Below => "  below: record it, so that it stays so",
            Standing::Unrecorded => "  NO BUDGET: record one",
            Standing::Gone => "  NO SUCH CASE: record the rest",
        };
        let (budget, now) = (shown(row.budget), shown(row.now));
        println!("{:<20} {budget:>12} {now:>12} {change:>8}{remark}", row.name);
    }
    let bad = rows.iter().filter(|row| row.standing().is_bad()).count();
    if budgets.taken_with != now.taken_with {
        println!("nothing was judged: the budgets were taken with other tools than these");
        for (then, now) in budgets.taken_with.iter().zip(&now.taken_with).filter(|(a, b)| a != b) {
            println!("  the budgets: {then}; here: {now}");
        }
        return true;
    }
    println!(
        "{} of {} counts are within 5 % of their budgets or below",
        rows.len() - bad,
        rows.len()
    );
    if bad > 0 {
        println!(
            "where more is worth it, `ci/budgets.sh --record` records it; the commit says why"
        );
    }
    bad == 0
}
