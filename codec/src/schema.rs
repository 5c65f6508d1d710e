//! Walks a type's structure and hashes what it finds: the computation behind a [`Fingerprint`].
//!
//! Why at run time and not in a `const`: a recursive type has to find out that it is inside itself, which
//! needs a stack of the types being described, and a macro sees tokens where this sees types: an alias,
//! a generic argument and a type of the same name elsewhere all look right to a macro. It runs once for
//! each channel opening.
//!
//! It does not know `std::any::type_name` nor module paths: a type that moves stays the same type.
//! Every byte is laid down in `docs/PROTOCOL.md`, so that another language can do it.

use std::any::TypeId;
use std::collections::HashMap;

use crate::Fingerprint;
use crate::fingerprint::Fnv;

// What is hashed is a sequence of events, each a tag and its contents. Never renumber.
const BUILT_IN: u8 = 0x01;
const STRUCT: u8 = 0x02;
const ENUM: u8 = 0x03;
const ARGUMENT: u8 = 0x04;
const CONSTANT: u8 = 0x05;
const VARIANT: u8 = 0x06;
const DISCRIMINANT: u8 = 0x07;
const FIELD: u8 = 0x08;
const WRAPPER: u8 = 0x09;
const NICHE: u8 = 0x0a;
// References, the part of an event that stands for another type.
const DIGEST: u8 = 0x10;
const ENCLOSING: u8 = 0x11;
const FOREIGN: u8 = 0x12;

/// A type whose structure can be described, and so compared between two programs.
///
/// `#[message]` implements it. By hand it is for a type whose archived form you define yourself; describe
/// whatever decides the archived bytes:
///
/// ```
/// use memring_codec::{Fingerprinted, Schema, fingerprint_of};
///
/// struct Uuid([u8; 16]);
/// impl Fingerprinted for Uuid {
///     fn fingerprint(into: &mut Schema) {
///         into.structure("Uuid");
///         into.field::<[u8; 16]>("0");
///     }
/// }
/// assert_ne!(fingerprint_of::<Uuid>(), fingerprint_of::<[u8; 16]>());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no fingerprint, so it cannot be part of a message",
    label = "no fingerprint",
    note = "put `#[memring::message]` on `{Self}`, or name it by hand at the field: \
            `#[memring(foreign = \"name and version\")]`"
)]
pub trait Fingerprinted: 'static {
    /// Whether the archived form takes no bytes at all, whatever the value.
    ///
    /// A sequence of such elements can claim any length for free (four thousand million in 8 bytes), so
    /// sequences of them are refused at compile time.
    const HOLLOW: bool = false;

    /// Describes this type: first its kind and name, then generic arguments, then variants and fields in
    /// the order of their declaration.
    fn fingerprint(into: &mut Schema);
}

/// The fingerprint of `T`, never [`Fingerprint::UNTYPED`].
#[must_use]
pub fn fingerprint_of<T: Fingerprinted + ?Sized>() -> Fingerprint {
    Schema::new().describe::<T>().0
}

/// A short name of `T` for people, such as `Quote` or `Vec<Quote>`: never a path.
#[must_use]
pub fn name_of<T: Fingerprinted + ?Sized>() -> String {
    Schema::new().describe::<T>().1
}

/// A constant that can be a generic argument.
pub trait Constant: Copy {
    /// The name of the constant's type.
    const TYPE: &'static str;
    /// The value, sign-extended to 128 bits.
    fn value(self) -> i128;
}

macro_rules! constants {
    ($($type:ident)*) => {$(
        impl Constant for $type {
            const TYPE: &'static str = stringify!($type);
            #[allow(clippy::cast_possible_wrap, clippy::cast_lossless)]
            fn value(self) -> i128 { self as i128 }
        }
    )*};
}
constants!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize bool);

impl Constant for char {
    const TYPE: &'static str = "char";
    fn value(self) -> i128 {
        i128::from(u32::from(self))
    }
}

/// A type on its way to being described.
struct Open {
    type_id: TypeId,
    hash: Fnv,
    label: String,
    arguments: usize,
    /// The outermost open type that was referred to from in here, as an index into the stack.
    outermost: usize,
}

/// Takes down a type's structure. See [`Fingerprinted`].
pub struct Schema {
    open: Vec<Open>,
    /// Types that were described and refer to nothing that encloses them. Without this, a chain of types
    /// that each mention the next one twice takes time exponential in its length.
    done: HashMap<TypeId, (Fingerprint, String)>,
}

impl Schema {
    fn new() -> Self {
        Self {
            open: Vec::new(),
            done: HashMap::new(),
        }
    }

    /// Begins a type that the language or a library defines: a leaf such as `u32`, or a constructor such
    /// as `Vec`, whose arguments follow.
    pub fn built_in(&mut self, name: &str) {
        self.begin(BUILT_IN, name);
    }

    /// Begins a struct that a program defines.
    pub fn structure(&mut self, name: &str) {
        self.begin(STRUCT, name);
    }

    /// Begins an enum that a program defines.
    pub fn enumeration(&mut self, name: &str) {
        self.begin(ENUM, name);
    }

    /// A generic argument that is a type.
    pub fn argument<T: Fingerprinted + ?Sized>(&mut self) {
        let (reference, label) = self.refer::<T>();
        self.tag(ARGUMENT);
        self.reference(reference);
        self.label_argument(&label);
    }

    /// A generic argument that is a constant.
    pub fn constant<C: Constant>(&mut self, value: C) {
        self.tag(CONSTANT);
        self.string(C::TYPE);
        self.bytes(&value.value().to_le_bytes());
        self.label_argument(&value.value().to_string());
    }

    /// Begins a variant; the fields that follow are its own.
    pub fn variant(&mut self, name: &str) {
        self.tag(VARIANT);
        self.string(name);
    }

    /// The number the variant was given by hand (`Bid = 7`).
    pub fn discriminant(&mut self, value: i128) {
        self.tag(DISCRIMINANT);
        self.bytes(&value.to_le_bytes());
    }

    /// A field. Those without a name are called by their position, from `0`.
    pub fn field<T: Fingerprinted + ?Sized>(&mut self, name: &str) {
        let (reference, _) = self.refer::<T>();
        self.tag(FIELD);
        self.string(name);
        self.reference(reference);
    }

    /// A field archived through a wrapper, rkyv's `with`.
    pub fn field_with<T: crate::Wrapped + ?Sized, W: Fingerprinted + ?Sized>(
        &mut self,
        name: &str,
    ) {
        let (reference, _) = self.refer_by(TypeId::of::<T>(), T::fingerprint_wrapped);
        self.tag(FIELD);
        self.string(name);
        self.reference(reference);
        let (wrapper, _) = self.refer::<W>();
        self.tag(WRAPPER);
        self.reference(wrapper);
    }

    /// A field whose type, wrapper included, is named by hand.
    pub fn field_foreign(&mut self, name: &str, foreign: &str) {
        self.tag(FIELD);
        self.string(name);
        self.tag(FOREIGN);
        self.string(foreign);
    }

    /// The field just described lends its niches to `N` (rkyv's `niche`): it decides how an `Option` of
    /// this type is archived.
    pub fn niche<N: Fingerprinted + ?Sized>(&mut self) {
        let (reference, _) = self.refer::<N>();
        self.tag(NICHE);
        self.reference(reference);
    }

    /// [`niche`](Self::niche) with rkyv's default.
    pub fn default_niche(&mut self) {
        self.niche::<rkyv::niche::niching::DefaultNiche>();
    }

    fn describe<T: Fingerprinted + ?Sized>(&mut self) -> (Fingerprint, String) {
        match self.refer::<T>() {
            (Reference::Digest(digest), label) => (digest, label),
            // The stack was empty, so nothing encloses the type.
            (Reference::Enclosing(_), _) => unreachable!("a type encloses the root"),
        }
    }

    fn refer<T: Fingerprinted + ?Sized>(&mut self) -> (Reference, String) {
        self.refer_by(TypeId::of::<T>(), T::fingerprint)
    }

    fn refer_by(&mut self, type_id: TypeId, describe: fn(&mut Self)) -> (Reference, String) {
        if let Some(at) = self.open.iter().rposition(|open| open.type_id == type_id) {
            let steps = self.open.len() - 1 - at;
            let label = self.open[at].label.clone();
            self.reach(at);
            return (
                Reference::Enclosing(u32::try_from(steps).unwrap_or(u32::MAX)),
                label,
            );
        }
        if let Some((digest, label)) = self.done.get(&type_id) {
            return (Reference::Digest(*digest), label.clone());
        }
        let index = self.open.len();
        self.open.push(Open {
            type_id,
            hash: Fnv::new(),
            label: String::new(),
            arguments: 0,
            outermost: index,
        });
        describe(self);
        let Some(mut open) = self.open.pop() else {
            unreachable!("describe pops only what it pushed");
        };
        if open.arguments > 0 {
            open.label.push('>');
        }
        let digest = open.hash.finish();
        if open.outermost == index {
            self.done.insert(type_id, (digest, open.label.clone()));
        } else {
            self.reach(open.outermost);
        }
        (Reference::Digest(digest), open.label)
    }

    /// The innermost open type refers to the one at `at`, so its digest is only good in here.
    fn reach(&mut self, at: usize) {
        if let Some(open) = self.open.last_mut() {
            open.outermost = open.outermost.min(at);
        }
    }

    fn begin(&mut self, kind: u8, name: &str) {
        if let Some(open) = self.open.last_mut() {
            open.label.push_str(name);
        }
        self.tag(kind);
        self.string(name);
    }

    fn label_argument(&mut self, argument: &str) {
        if let Some(open) = self.open.last_mut() {
            open.label
                .push_str(if open.arguments == 0 { "<" } else { ", " });
            open.label.push_str(argument);
            open.arguments += 1;
        }
    }

    fn tag(&mut self, tag: u8) {
        self.bytes(&[tag]);
    }

    fn string(&mut self, text: &str) {
        // No identifier comes near 4 GiB; the length keeps two neighbouring strings apart.
        self.bytes(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.bytes(text.as_bytes());
    }

    fn reference(&mut self, reference: Reference) {
        match reference {
            Reference::Digest(digest) => {
                self.tag(DIGEST);
                self.bytes(&digest.to_le_bytes());
            }
            Reference::Enclosing(steps) => {
                self.tag(ENCLOSING);
                self.bytes(&steps.to_le_bytes());
            }
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        if let Some(open) = self.open.last_mut() {
            open.hash.update(bytes);
        }
    }
}

/// How one type is named inside another.
#[derive(Clone, Copy)]
enum Reference {
    /// By its own digest.
    Digest(Fingerprint),
    /// It is being described right now: 0 is the type that mentions it, 1 the one around that.
    Enclosing(u32),
}
