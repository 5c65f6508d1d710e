//! What an interface is: a name, a version, and members, which are methods and signals; and how two sides' views of it compare.

use std::borrow::Cow;
use std::fmt;

use memring_codec::Outlines;

use super::wire::{MemberSpec, Opening, Prints, Shape, Standing, shown};

/// An interface, as its declaration has it. Written by `#[memring::interface]`.
#[derive(Debug)]
pub struct Interface {
    /// Its name, at most 128 bytes.
    pub name: &'static str,
    /// Its version, at most 64 bytes. Versions are the same or they are not: none is less than another.
    pub version: &'static str,
    /// Methods and signals, in the order of their declaration.
    pub members: &'static [Member],
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// A method or a signal of an interface.
pub struct Member {
    /// How it is used.
    pub shape: Shape,
    /// Its name, at most 128 bytes.
    pub name: &'static str,
    /// Its arguments and its result as they are written, for people.
    pub signature: &'static str,
    /// Its types. Computed by each call.
    pub prints: fn() -> Prints,
    /// Whether its arguments may carry descriptors or blobs, and whether its result may.
    pub carries: [bool; 2],
    /// Whether it also takes JSON, and answers it.
    pub json: bool,
    /// Takes down what its types are made of, for people.
    pub types: fn(&mut Outlines),
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.shape, self.name, self.signature)
    }
}

impl Interface {
    /// What is sent to ask for it.
    pub(crate) fn opening(&self) -> Opening<'static> {
        Opening {
            name: self.name,
            version: self.version,
            members: self.members.iter().map(|member| member.spec((member.prints)())).collect(),
        }
    }
}

impl Member {
    /// It, as it is told, with its types.
    pub(crate) fn spec(&'static self, prints: Prints) -> MemberSpec<'static> {
        let Self { shape, name, signature, .. } = *self;
        MemberSpec { shape, name, signature, prints }
    }
}

/// What became of a member that we know, at the peer we opened the interface at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AtPeer {
    Same(u32),
    Unknown,
    Changed(Cow<'static, str>),
    Denied,
}

impl From<Standing<'_>> for AtPeer {
    fn from(standing: Standing<'_>) -> Self {
        match standing {
            Standing::Same(number) => Self::Same(number),
            Standing::Unknown => Self::Unknown,
            Standing::Changed(signature) => Self::Changed(shown(signature).into()),
            Standing::Denied => Self::Denied,
        }
    }
}
