//! What cannot be a message is a compile error that points at the field and says what to do.
//!
//! `ui/` holds errors in our own words. Those in `ui/compiler/` are rustc's, which every release words anew:
//! they are compared on the release named below, and what they prove is proven again without words.
//! To renew them: `TRYBUILD=overwrite cargo test -p memring-codec --test ui`.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;

use memring_codec::{Archivable, Fingerprinted};

/// The release whose words `ui/compiler/` repeats.
const RELEASE: &str = "rustc 1.95.";

#[test]
fn attack_73_and_others_do_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/*.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().expect("rustc runs").stdout;
    if String::from_utf8_lossy(&version).starts_with(RELEASE) && !cfg!(feature = "maps") {
        cases.compile_fail("tests/ui/compiler/*.rs");
    }
}

/// Answers at compile time whether a type has a trait: the method of a type is found before a trait's.
struct Has<T>(PhantomData<T>);

trait No {
    fn archivable(&self) -> bool {
        false
    }
    fn fingerprinted(&self) -> bool {
        false
    }
}
impl<T> No for &Has<T> {}

trait Archives {
    fn archivable(&self) -> bool {
        true
    }
}
impl<T: Archivable> Archives for Has<T> {}

trait Describes {
    fn fingerprinted(&self) -> bool {
        true
    }
}
impl<T: Fingerprinted> Describes for Has<T> {}

macro_rules! has {
    ($type:ty, $question:ident) => {
        (&Has::<$type>(PhantomData)).$question()
    };
}

#[test]
fn attack_73_shared_pointers_cannot_be_archived() {
    assert!(has!(Box<u8>, archivable));
    assert!(!has!(Rc<u8>, archivable));
    assert!(!has!(Arc<u8>, archivable));
    assert!(!has!(Arc<str>, archivable));
    assert!(!has!(std::sync::Weak<u8>, archivable));
    assert!(!has!(Vec<Option<Rc<u8>>>, archivable));
    assert!(has!(Box<u8>, fingerprinted));
    assert!(!has!(Arc<u8>, fingerprinted));
}

#[test]
fn attack_74_maps_need_their_feature() {
    let maps = cfg!(feature = "maps");
    assert_eq!(has!(HashMap<u8, u8>, fingerprinted), maps);
    assert_eq!(has!(std::collections::BTreeSet<u8>, fingerprinted), maps);
}
