//! What cannot be an interface is a compile error that points at the place and says what to do.
//!
//! `ui/` holds errors in our own words. Those in `ui/compiler/` are rustc's, which every release words anew: they are compared on
//! the release named below. To renew them: `TRYBUILD=overwrite cargo test -p renamed-user --test ui`.

use std::process::Command;

/// The release whose words `ui/compiler/` repeats.
const RELEASE: &str = "rustc 1.95.";

#[test]
fn what_is_no_interface_does_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/*.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().expect("rustc runs").stdout;
    if String::from_utf8_lossy(&version).starts_with(RELEASE) {
        cases.compile_fail("tests/ui/compiler/*.rs");
    }
}
