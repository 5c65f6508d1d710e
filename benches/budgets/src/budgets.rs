//! Budgets: how many instructions each operation may take, as text and compared.
//!
//! Why integers: counts are exact, and equal runs print equal text. Nothing here counts or touches a file.

use std::fmt;
use std::str::FromStr;

use crate::cases::OPERATIONS;

/// How far above its budget a count may be, and below without a remark, in percent.
const TOLERANCE: u64 = 5;

const PREAMBLE: &str = "\
# Instructions an operation, and what they were counted with. `ci/budgets.sh` compares, and with --record
# writes this file; docs/decisions/0071-budgets.md says what is counted.
";

/// Instructions of [`OPERATIONS`] operations. Shown as those of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = format!("{}.{:03}", self.0 / OPERATIONS, self.0 % OPERATIONS);
        f.pad(&shown)
    }
}

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("not a number with three decimals: {text}");
        let (whole, decimals) = text.split_once('.').ok_or_else(wrong)?;
        if decimals.len() != 3 {
            return Err(wrong());
        }
        let whole: u64 = whole.parse().map_err(|_| wrong())?;
        let decimals: u64 = decimals.parse().map_err(|_| wrong())?;
        Ok(Self(whole * OPERATIONS + decimals))
    }
}

/// What was counted, and with what. Its text is the file's.
#[derive(Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Compiler, valgrind, C library and processor. Counts taken with others are not compared.
    pub taken_with: Vec<String>,
    pub counts: Vec<(String, Count)>,
}

impl fmt::Display for Budgets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREAMBLE)?;
        for tool in &self.taken_with {
            writeln!(f, "with {tool}")?;
        }
        for (name, count) in &self.counts {
            writeln!(f, "{name:<20} {count:>12}")?;
        }
        Ok(())
    }
}

impl FromStr for Budgets {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut taken_with, mut counts) = (Vec::new(), Vec::new());
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.split_once(' ') {
                Some(("with", tool)) => taken_with.push(tool.to_owned()),
                Some((name, count)) => counts.push((name.to_owned(), count.trim().parse()?)),
                None => return Err(format!("neither a tool nor a count: {line}")),
            }
        }
        Ok(Self { taken_with, counts })
    }
}

/// How a case stands to its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Within,
    Above,
    Below,
    /// A case without a budget.
    Unrecorded,
    /// A budget without a case.
    Gone,
}

impl Standing {
    /// Whether it fails the check.
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Above | Self::Unrecorded | Self::Gone)
    }
}

/// A case, its budget and what it takes now.
#[derive(Debug)]
pub struct Row {
    pub name: String,
    pub budget: Option<Count>,
    pub now: Option<Count>,
}

impl Row {
    /// By how many percent it changed.
    pub fn change(&self) -> Option<f64> {
        let (budget, now) = (self.budget?.0, self.now?.0);
        (budget > 0).then(|| (now as f64 / budget as f64 - 1.0) * 100.0)
    }

    pub fn standing(&self) -> Standing {
        match (self.budget, self.now) {
            (Some(Count(budget)), Some(Count(now))) => {
                if now * 100 > budget * (100 + TOLERANCE) {
                    Standing::Above
                } else if now * 100 < budget * (100 - TOLERANCE) {
                    Standing::Below
                } else {
                    Standing::Within
                }
            }
            (None, _) => Standing::Unrecorded,
            (_, None) => Standing::Gone,
        }
    }
}

/// A row for each case, then one for each budget that has none.
pub fn compare(budgets: &[(String, Count)], now: &[(String, Count)]) -> Vec<Row> {
    let of = |counts: &[(String, Count)], wanted: &str| {
        counts.iter().find(|(name, _)| name == wanted).map(|(_, count)| *count)
    };
    let gone = budgets.iter().filter(|(name, _)| of(now, name).is_none());
    let names = now.iter().chain(gone).map(|(name, _)| name);
    names
        .map(|name| Row { name: name.clone(), budget: of(budgets, name), now: of(now, name) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_stands_by_five_percent() {
        let check = |budget, now, standing| {
            let row = Row { name: "x".to_owned(), budget, now };
            assert_eq!(row.standing(), standing, "{row:?}");
        };
        let some = |count| Some(Count(count));
        check(some(100_000), some(100_000), Standing::Within);
        check(some(100_000), some(105_000), Standing::Within);
        check(some(100_000), some(105_001), Standing::Above);
        check(some(100_000), some(95_000), Standing::Within);
        check(some(100_000), some(94_999), Standing::Below);
        check(None, some(1), Standing::Unrecorded);
        check(some(1), None, Standing::Gone);
    }

    #[test]
    fn every_case_and_every_budget_has_a_row() {
        let of = |names: &[&str]| -> Vec<_> {
            names.iter().map(|name| ((*name).to_owned(), Count(7))).collect()
        };
        let rows = compare(&of(&["a", "b"]), &of(&["b", "c"]));
        let rows: Vec<_> = rows.iter().map(|row| (&*row.name, row.standing())).collect();
        let expected =
            [("b", Standing::Within), ("c", Standing::Unrecorded), ("a", Standing::Gone)];
        assert_eq!(rows, expected);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let budgets = Budgets {
            taken_with: vec!["rustc 1.0".to_owned(), "glibc 2".to_owned()],
            counts: vec![("send".to_owned(), Count(52_007)), ("x".to_owned(), Count(3))],
        };
        let text = budgets.to_string();
        assert!(text.contains(" 52.007\n") && text.contains(" 0.003\n"), "{text}");
        assert_eq!(text.parse(), Ok(budgets));
    }

    #[test]
    fn what_is_no_count_is_refused() {
        for text in ["", "5", "5.0", "5.0000", "-5.000", "a.000", "5.00a"] {
            assert!(text.parse::<Count>().is_err(), "{text}");
        }
        assert!("send".parse::<Budgets>().is_err());
    }
}
