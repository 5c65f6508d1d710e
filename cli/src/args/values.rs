//! Values on the command line: times, sizes, processors, and how to wait.

use std::time::Duration;

use clap::ValueEnum;
use memring::Wait;

/// How blocking calls wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Waiting {
    /// Spin until there is something to do: the lowest latency, one processor burnt.
    Spin,
    /// Spin for a time learnt from recent waits, then sleep.
    #[default]
    Adaptive,
    /// Sleep at once: no processor time while there is nothing to do.
    Park,
}

impl Waiting {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Spin => "spin",
            Self::Adaptive => "adaptive",
            Self::Park => "park",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Spin, Self::Adaptive, Self::Park].into_iter().find(|waiting| waiting.name() == name)
    }
}

impl From<Waiting> for Wait {
    fn from(waiting: Waiting) -> Self {
        match waiting {
            Waiting::Spin => Self::Spin,
            Waiting::Adaptive => Self::Adaptive,
            Waiting::Park => Self::Park,
        }
    }
}

/// `1s`, `200ms`, `50us`, or seconds without a unit.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let number: f64 = number.parse().map_err(|_| "not a time, as 1s or 200ms".to_owned())?;
    let scale = match unit {
        "s" | "" => 1.0,
        "ms" => 1e-3,
        "us" => 1e-6,
        "m" => 60.0,
        _ => return Err(format!("{unit:?} is no unit of time: s, ms, us or m")),
    };
    let seconds = number * scale;
    // The clock is added to it, so centuries would overflow.
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if time <= Duration::from_secs(365 * 24 * 3600) => Ok(time),
        _ => Err("from 0 to a year".to_owned()),
    }
}

/// The same, of which there are not too many a second.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let time = time(text)?;
    Some(time).filter(|time| time.as_millis() >= 10).ok_or_else(|| "at least 10ms".to_owned())
}

/// `32`, `4k`, `1M`: bytes, in powers of 1024.
pub(super) fn size(text: &str) -> Result<u64, String> {
    Some(bytes(text)?).filter(|bytes| *bytes <= 1 << 30).ok_or_else(|| "at most 1G".to_owned())
}

/// The same, without a limit.
fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let number: u64 = number.parse().map_err(|_| "not a size, as 32, 4k or 1M".to_owned())?;
    let scale: u64 = match unit {
        "" | "B" => 1,
        "k" | "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => return Err(format!("{unit:?} is no unit of size: k, M or G")),
    };
    number.checked_mul(scale).ok_or_else(|| "that is more than there is".to_owned())
}

fn split_unit(text: &str) -> (&str, &str) {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    text.split_at(digits)
}

/// Bytes of a file in memory, as `100K`.
pub(super) fn file_size(text: &str) -> Result<u64, String> {
    let bytes = bytes(text)?;
    let fits = (1..=1 << 40).contains(&bytes);
    fits.then_some(bytes).ok_or_else(|| "from 1 to 1024G".to_owned())
}

pub(super) fn two_processors(text: &str) -> Result<(usize, usize), String> {
    let two = text
        .split_once(',')
        .and_then(|(ours, childs)| Some((ours.parse().ok()?, childs.parse().ok()?)));
    two.ok_or_else(|| "two processors, as 0,1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_parsed_or_refused() {
        for (text, nanos) in [
            ("1s", Some(1_000_000_000)),
            ("0", Some(0)),
            ("0.25", Some(250_000_000)),
            ("200ms", Some(200_000_000)),
            ("50us", Some(50_000)),
            ("2m", Some(120_000_000_000)),
            ("", None),
            ("-1", None),
            ("1h", None),
            ("1e400", None),
            ("99999999999999", None),
            ("inf", None),
            ("1.2.3", None),
        ] {
            assert_eq!(time(text).ok().map(|time| time.as_nanos()), nanos, "{text:?}");
        }
        for (text, bytes) in [
            ("0", Some(0)),
            ("32", Some(32)),
            ("4k", Some(4096)),
            ("1M", Some(1 << 20)),
            ("1G", Some(1 << 30)),
            ("2G", None),
            ("99999999999999999999", None),
            ("18014398509481984k", None),
            ("1.5k", None),
            ("k", None),
            ("3x", None),
        ] {
            assert_eq!(size(text).ok(), bytes, "{text:?}");
        }
        for (text, two) in [("0,1", Some((0, 1))), ("3", None), ("a,b", None), ("1,", None)] {
            assert_eq!(two_processors(text).ok(), two, "{text:?}");
        }
    }

    #[test]
    fn ways_to_wait_have_the_names_that_the_command_line_knows() {
        for waiting in Waiting::value_variants() {
            let name = waiting.to_possible_value().unwrap();
            assert_eq!(name.get_name(), waiting.name());
            assert_eq!(Waiting::parse(waiting.name()), Some(*waiting));
        }
        assert_eq!(Waiting::parse("dance"), None);
    }
}
