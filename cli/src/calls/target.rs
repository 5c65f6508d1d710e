//! What is to be called, as it is written: `interface.method`, `interface@1.0.method`; and the newest of some versions. Pure.

use std::cmp::Ordering;

/// A method by its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) interface: String,
    pub(crate) version: Option<String>,
    pub(crate) method: String,
}

/// `interface.method` or `interface@version.method`. Methods have no points in their names; interfaces and versions may.
pub(crate) fn target(text: &str) -> Result<Target, String> {
    let wrong = || "not a method, as calculator.add or calculator@1.0.add".to_owned();
    let (of, method) = text.rsplit_once('.').ok_or_else(wrong)?;
    let (interface, version) = match of.rsplit_once('@') {
        Some((interface, version)) => (interface, Some(version)),
        None => (of, None),
    };
    if interface.is_empty() || method.is_empty() || version.is_some_and(str::is_empty) {
        return Err(wrong());
    }
    Ok(Target {
        interface: interface.to_owned(),
        version: version.map(ToOwned::to_owned),
        method: method.to_owned(),
    })
}

/// The newest version, by the numbers in it: `1.10` is newer than `1.9`. memring itself takes none for newer than another.
pub(crate) fn newest<'a>(versions: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    versions.into_iter().max_by(|one, other| compare(one, other))
}

/// By parts between points: numbers by their size, and anything else before numbers, by its letters.
fn compare(one: &str, other: &str) -> Ordering {
    let part = |text: &str| {
        let number = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty();
        // Without leading zeros the longer number is the larger one, however long they are.
        let digits = if number { text.trim_start_matches('0') } else { text };
        (number, if number { digits.len() } else { 0 }, digits.to_owned())
    };
    one.split('.').map(part).cmp(other.split('.').map(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_interface_perhaps_a_version_and_a_method() {
        let check = |text: &str, interface: &str, version: Option<&str>, method: &str| {
            let expected = Target {
                interface: interface.to_owned(),
                version: version.map(ToOwned::to_owned),
                method: method.to_owned(),
            };
            assert_eq!(target(text), Ok(expected));
        };
        check("calculator.add", "calculator", None, "add");
        check("calculator@1.0.add", "calculator", Some("1.0"), "add");
        check("org.example.calc.add", "org.example.calc", None, "add");
        check("a@b@2-rc.1.add", "a@b", Some("2-rc.1"), "add");
        for text in ["", "add", ".add", "calculator.", "@1.add", "calculator@.add", "."] {
            assert!(target(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_newest_version_is_found_by_its_numbers() {
        let check = |versions: &[&str], found| assert_eq!(newest(versions.iter().copied()), found);
        check(&[], None);
        check(&["1.0"], Some("1.0"));
        check(&["1.10", "1.9", "1.2.3"], Some("1.10"));
        check(&["2", "1.9"], Some("2"));
        check(&["1", "1.0"], Some("1.0"));
        check(&["1.rc", "1.0"], Some("1.0"));
        check(&["beta", "alpha"], Some("beta"));
        check(
            &["99999999999999999999999", "100000000000000000000000"],
            Some("100000000000000000000000"),
        );
        check(&["007", "8"], Some("8"));
    }
}
