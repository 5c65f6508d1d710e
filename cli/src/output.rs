//! Standard output and standard error, without the panics of `println!`.
//!
//! A pipe that nobody reads any more ends the command quietly; a full disk ends it with a line.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use memring::observe::is_unseen;
use serde::Serialize;

use crate::failure::Failure;

/// Writes text to standard output, at once.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
        .map_err(|error| Failure::output(&error))
}

/// Writes one JSON object and a line's end to standard output.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    print(&json_line(value)?)
}

/// One JSON object and a line's end.
pub(crate) fn json_line(value: &impl Serialize) -> Result<String, Failure> {
    let json = serde_json::to_string(value)
        .map_err(|error| Failure::because(crate::failure::Status::Local, &error))?;
    Ok(fit_json(&json))
}

/// The same JSON on one line, and its end. What commands a terminal, or cannot be seen on one, is escaped where it is in a string;
/// outside of those there are only ends of lines and tabs, which mean nothing.
pub(crate) fn fit_json(json: &str) -> String {
    let mut line = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        match c {
            '\n' | '\r' | '\t' => {}
            c if is_unseen(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // A string takes whatever is written to it.
                    let _ = write!(line, "\\u{unit:04x}");
                }
            }
            c => line.push(c),
        }
    }
    line.push('\n');
    line
}

/// One line on standard error. If that is gone there is nobody to tell.
pub(crate) fn complain(line: &str) {
    note(&format!("memring: {line}"));
}

/// One line on standard error, as it is.
pub(crate) fn note(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// A bar on a terminal; nothing elsewhere.
pub(crate) fn progress(length: u64, what: &str) -> ProgressBar {
    let template =
        format!("{{msg:12}} {{wide_bar}} {{percent:>3}}% of {{human_len}} {what}, {{eta}} left");
    styled(ProgressBar::new(length), &template)
}

/// How many bytes have passed, and how fast; on a terminal.
pub(crate) fn byte_spinner() -> ProgressBar {
    styled(ProgressBar::no_length(), "{binary_bytes} in {elapsed}, {binary_bytes_per_sec}")
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// A table whose first column is text and flush left, and whose others are flush right.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) -> &mut Self {
        self.rows.push(cells.into_iter().map(Into::into).collect());
        self
    }
}

impl Table {
    /// The same as Markdown, the first row being the head.
    pub(crate) fn markdown(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut text = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            let cells = row.iter().map(String::as_str).chain(std::iter::repeat(""));
            text.push('|');
            for cell in cells.take(columns) {
                text.extend([" ", cell, " |"]);
            }
            text.push('\n');
            if index == 0 {
                text.extend(["|---|", &"---:|".repeat(columns.saturating_sub(1)), "\n"]);
            }
        }
        text
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                match column {
                    0 => write!(line, "  {cell:<width$}")?,
                    _ => write!(line, "  {cell:>width$}")?,
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// A time, with three digits that count.
pub(crate) fn time(nanos: f64) -> String {
    let (value, unit) = match nanos {
        n if n < 1e3 => (n, "ns"),
        n if n < 1e6 => (n / 1e3, "us"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    format!("{} {unit}", digits(value))
}

/// A [`Duration`], as [`time`].
pub(crate) fn duration(time_: Duration) -> String {
    time(time_.as_secs_f64() * 1e9)
}

/// Bytes, in powers of 1024.
pub(crate) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return match unit {
                "B" => format!("{bytes} B"),
                _ => format!("{} {unit}", digits(value)),
            };
        }
        value /= 1024.0;
    }
    format!("{} TiB", digits(value))
}

/// A rate, in powers of 1000.
pub(crate) fn rate(per_second: f64, what: &str) -> String {
    let (value, prefix) = prefixed(per_second);
    format!("{} {prefix}{what}/s", digits(value))
}

/// A number, in powers of 1000: `2.5M`.
pub(crate) fn scaled(value: f64) -> String {
    let (value, prefix) = prefixed(value);
    format!("{}{prefix}", digits(value))
}

fn prefixed(value: f64) -> (f64, &'static str) {
    match value {
        n if n < 1e3 => (n, ""),
        n if n < 1e6 => (n / 1e3, "k"),
        n if n < 1e9 => (n / 1e6, "M"),
        n => (n / 1e9, "G"),
    }
}

/// Three digits that count, and no more than two behind the point.
fn digits(value: f64) -> String {
    let places = match value {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.places$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_carry_their_unit() {
        for (nanos, text) in [
            (0.0, "0 ns"),
            (12.345, "12.3 ns"),
            (999.0, "999 ns"),
            (1500.0, "1.5 us"),
            (2_340_000.0, "2.34 ms"),
            (3e9, "3 s"),
        ] {
            assert_eq!(time(nanos), text);
        }
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (256 << 10, "256 KiB"),
            (5 << 40, "5 TiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(rate(2_500_000.0, "msg"), "2.5 Mmsg/s");
        assert_eq!(rate(12.0, "B"), "12 B/s");
        assert_eq!(scaled(2_500_000.0), "2.5M");
        assert_eq!(scaled(0.0), "0");
    }

    #[test]
    fn json_is_one_line_that_commands_nothing_and_says_the_same() {
        for text in ["plain", "\"\\/\n\t\0", "\u{7f}\u{9b}31m", "\u{202e}txt.exe", "\u{e0041}🦀ü"]
        {
            let line = json_line(&text).unwrap();
            let within = line.strip_suffix('\n').unwrap();
            assert!(!within.chars().any(is_unseen), "{line:?}");
            assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }
        assert_eq!(fit_json("{\r\n\t\"a\": [1,\n2]\n}\n"), "{\"a\": [1,2]}\n");
        assert_eq!(fit_json("\"\u{e0041}\u{ad}\""), "\"\\udb40\\udc41\\u00ad\"\n");
    }

    #[test]
    fn tables_align_their_columns() {
        let mut table = Table::default();
        table.row(["name", "p50", "max"]).row(["a longer name", "5", "1234"]);
        assert_eq!(table.to_string(), "  name           p50   max\n  a longer name    5  1234\n");
        table.row(["short"]);
        let markdown = "| name | p50 | max |\n|---|---:|---:|\n| a longer name | 5 | 1234 |\n| short |  |  |\n";
        assert_eq!(table.markdown(), markdown);
    }
}
