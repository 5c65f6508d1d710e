//! Two signatures compared, and the sentence that tells a person what differs.
//!
//! Fingerprints and the protocol's name decide; type names only explain.
//! What it does not do: compute a fingerprint.

use std::fmt;

use crate::control::{RefuseCode, Signature, TypeId};

/// What each side of a refused channel was built with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Ours.
    pub ours: Signature<'static>,
    /// The other side's.
    pub theirs: Signature<'static>,
}

impl Mismatch {
    /// Compares; `None` if both sides mean the same messages.
    #[must_use]
    pub fn between(ours: &Signature<'_>, theirs: &Signature<'_>) -> Option<Self> {
        let same = ours.protocol == theirs.protocol
            && ours.to_accepting.fingerprint == theirs.to_accepting.fingerprint
            && ours.to_connecting.fingerprint == theirs.to_connecting.fingerprint;
        (!same).then(|| Self::of(ours, theirs))
    }

    pub(super) fn of(ours: &Signature<'_>, theirs: &Signature<'_>) -> Self {
        Self { ours: ours.clone().into_owned(), theirs: theirs.clone().into_owned() }
    }

    /// The code to refuse with.
    #[must_use]
    pub fn code(&self) -> RefuseCode {
        if self.ours.protocol == self.theirs.protocol {
            RefuseCode::Fingerprint
        } else {
            RefuseCode::Protocol
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ours, theirs } = self;
        if ours.protocol != theirs.protocol {
            return write!(
                f,
                "this side speaks protocol {:?}, the other {:?}: connect to the right service",
                ours.protocol, theirs.protocol,
            );
        }
        write!(f, "protocol {:?}: ", ours.protocol)?;
        let mut differ = |way: &str, ours: &TypeId<'_>, theirs: &TypeId<'_>| {
            if ours.fingerprint == theirs.fingerprint {
                return Ok(());
            }
            write!(f, "{way} is {ours} on this side and {theirs} on the other; ")
        };
        differ("the message to the accepting side", &ours.to_accepting, &theirs.to_accepting)?;
        differ("the message to the connecting side", &ours.to_connecting, &theirs.to_connecting)?;
        f.write_str("build both from the same version of the api crate")
    }
}

impl std::error::Error for Mismatch {}
