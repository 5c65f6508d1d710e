//! Walks a type's structure and hashes what it finds: the computation behind a [`Fingerprint`].
//!
//! Why at run time and not in a `const`: a type that contains itself has to find out that it was described
//! before, which needs a table of types; and a macro sees tokens where this sees types: an alias, a
//! generic argument and a type of the same name elsewhere all look right to a macro. It runs once for each
//! channel opening.
//!
//! Why a number for a type that was met before, and not its digest: types that mention each other have no
//! digest of their own, and written out at every mention twenty of them would take for ever.
//!
//! It does not know `std::any::type_name` nor module paths: a type that moves stays the same type.
//! Every byte is laid down in `docs/PROTOCOL.md`, so that another language can do it.

use std::any::TypeId;
use std::collections::HashMap;

use crate::fingerprint::Fnv;
use crate::outline::{Of, Outline};
use crate::{Fingerprint, Wrapped};

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
const FORMAT: u8 = 0x0b;
const SIZE: u8 = 0x0c;
const ATTRIBUTE: u8 = 0x0d;
// How an event mentions another type: written out, by number, or by a name given by hand.
const BEGIN: u8 = 0x10;
const AGAIN: u8 = 0x11;
const FOREIGN: u8 = 0x12;
const END: u8 = 0x13;

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
    /// Whether the encoded form takes no bytes at all, whatever the value.
    ///
    /// A sequence of such elements can claim any length for free (four thousand million in 8 bytes), so
    /// sequences of them are refused when the program is built:
    ///
    /// ```compile_fail
    /// let _ = memring_codec::fingerprint_of::<Vec<[(); 8]>>();
    /// ```
    ///
    /// It is seen for sequences without a wrapper.
    const HOLLOW: bool = false;

    /// Describes this type: first its kind and name, then generic arguments, then variants and fields in
    /// the order of their declaration.
    fn fingerprint(into: &mut Schema);
}

/// The fingerprint of `T`, never [`Fingerprint::UNTYPED`].
#[must_use]
pub fn fingerprint_of<T: Fingerprinted + ?Sized>() -> Fingerprint {
    let mut schema = Schema::new();
    schema.mention::<T>();
    schema.hash.finish()
}

/// The fingerprint of `T` in another format than rkyv's, which is called so.
#[must_use]
pub fn fingerprint_in<T: Fingerprinted + ?Sized>(format: &str) -> Fingerprint {
    let mut schema = Schema::new();
    schema.tag(FORMAT);
    schema.string(format);
    schema.mention::<T>();
    schema.hash.finish()
}

/// A short name of `T` for people, such as `Quote` or `Vec<Quote>`: never a path.
#[must_use]
pub fn name_of<T: Fingerprinted + ?Sized>() -> String {
    Schema::new().mention::<T>()
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

/// The name of a type, as far as its description has come.
#[derive(Default)]
struct Label {
    text: String,
    arguments: usize,
}

/// Takes down a type's structure. See [`Fingerprinted`].
pub struct Schema {
    hash: Fnv,
    /// Every type met so far, in the order of the first mention.
    met: HashMap<TypeId, u32>,
    labels: Vec<Label>,
    /// Numbers of the types being described, innermost last.
    open: Vec<u32>,
    carries: Carries,
    /// What structs and enums are made of, if that is asked for.
    outlines: Option<Vec<Outline>>,
}

/// What a type has fields of that are no bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Carries {
    /// File descriptors.
    pub fds: bool,
    /// Blobs.
    pub blobs: bool,
}

/// What values of `T` may carry beside bytes.
#[must_use]
pub fn carried_by<T: Fingerprinted + ?Sized>() -> Carries {
    let mut schema = Schema::new();
    schema.mention::<T>();
    schema.carries
}

impl Schema {
    fn new() -> Self {
        Self {
            hash: Fnv::new(),
            met: HashMap::new(),
            labels: Vec::new(),
            open: Vec::new(),
            carries: Carries::default(),
            outlines: None,
        }
    }

    /// One that also takes down what structs and enums are made of.
    pub(crate) fn outlining() -> Self {
        Self { outlines: Some(Vec::new()), ..Self::new() }
    }

    /// Describes `T`, unless it was described before.
    pub(crate) fn mention_again<T: Fingerprinted + ?Sized>(&mut self) {
        self.mention::<T>();
    }

    /// The declarations of the structs and enums that were met.
    pub(crate) fn into_outlines(self) -> Vec<String> {
        let name = |number: u32| self.labels[number as usize].text.as_str();
        self.outlines.iter().flatten().map(|outline| outline.declaration(&name)).collect()
    }

    /// Begins a type that the language or a library defines: a leaf such as `u32`, or a constructor such
    /// as `Vec`, whose arguments follow.
    pub fn built_in(&mut self, name: &str) {
        self.begin(BUILT_IN, name);
    }

    /// The type being described is a file descriptor.
    pub(crate) fn carries_fds(&mut self) {
        self.carries.fds = true;
    }

    /// The type being described is a blob.
    pub fn carries_blobs(&mut self) {
        self.carries.blobs = true;
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
        self.tag(ARGUMENT);
        let label = self.mention::<T>();
        self.label_argument(&label);
    }

    /// A generic argument that is a constant.
    pub fn constant<C: Constant>(&mut self, value: C) {
        self.tag(CONSTANT);
        self.string(C::TYPE);
        self.hash.update(&value.value().to_le_bytes());
        self.label_argument(&value.value().to_string());
    }

    /// Begins a variant; the fields that follow are its own.
    pub fn variant(&mut self, name: &str) {
        self.tag(VARIANT);
        self.string(name);
        if let Some(outline) = self.outline() {
            outline.variant(name);
        }
    }

    /// The number the variant was given by hand (`Bid = 7`).
    pub fn discriminant(&mut self, value: i128) {
        self.tag(DISCRIMINANT);
        self.hash.update(&value.to_le_bytes());
        if let Some(outline) = self.outline() {
            outline.discriminant(value);
        }
    }

    /// A field. Those without a name are called by their position, from `0`.
    pub fn field<T: Fingerprinted + ?Sized>(&mut self, name: &str) {
        self.tag(FIELD);
        self.string(name);
        let ty = self.mention_by(TypeId::of::<T>(), T::fingerprint);
        self.outline_field(name, Of::Type(ty));
    }

    /// A field archived through a wrapper, rkyv's `with`.
    pub fn field_with<T: Wrapped + ?Sized, W: Fingerprinted + ?Sized>(&mut self, name: &str) {
        self.tag(FIELD);
        self.string(name);
        let ty = self.mention_by(TypeId::of::<T>(), T::fingerprint_wrapped);
        self.outline_field(name, Of::Type(ty));
        self.tag(WRAPPER);
        self.mention::<W>();
    }

    /// A field whose type, wrapper included, is named by hand.
    pub fn field_foreign(&mut self, name: &str, foreign: &str) {
        self.tag(FIELD);
        self.string(name);
        self.tag(FOREIGN);
        self.string(foreign);
        self.outline_field(name, Of::Foreign(foreign.to_owned()));
    }

    /// The field just described lends its niches to `N` (rkyv's `niche`): it decides how an `Option` of
    /// this type is archived.
    pub fn niche<N: Fingerprinted + ?Sized>(&mut self) {
        self.tag(NICHE);
        self.mention::<N>();
    }

    /// [`niche`](Self::niche) with rkyv's default.
    pub fn default_niche(&mut self) {
        self.niche::<rkyv::niche::niching::DefaultNiche>();
    }

    /// Bytes that a value takes in memory, of a type whose memory is its encoding.
    pub fn size(&mut self, bytes: usize) {
        self.tag(SIZE);
        self.hash.update(&(bytes as u64).to_le_bytes());
    }

    /// What serde was told about the type, the variant or the field just before: the tokens in the parentheses of
    /// one attribute, with a space between each and the next.
    pub fn attribute(&mut self, tokens: &str) {
        self.tag(ATTRIBUTE);
        self.string(tokens);
    }

    /// The type's name, as far as its description has come.
    fn mention<T: Fingerprinted + ?Sized>(&mut self) -> String {
        let number = self.mention_by(TypeId::of::<T>(), T::fingerprint);
        self.labels[number as usize].text.clone()
    }

    /// Writes a type out, or its number if it was met before, which is returned.
    fn mention_by(&mut self, type_id: TypeId, describe: fn(&mut Self)) -> u32 {
        if let Some(&number) = self.met.get(&type_id) {
            self.tag(AGAIN);
            self.hash.update(&number.to_le_bytes());
            return number;
        }
        // A program has fewer than 2^32 types.
        let number = u32::try_from(self.labels.len()).unwrap_or(u32::MAX);
        self.met.insert(type_id, number);
        self.labels.push(Label::default());
        self.open.push(number);
        self.tag(BEGIN);
        describe(self);
        self.tag(END);
        self.open.pop();
        let label = &mut self.labels[number as usize];
        if label.arguments > 0 {
            label.text.push('>');
        }
        number
    }

    fn begin(&mut self, kind: u8, name: &str) {
        if let Some(label) = self.label() {
            label.text.push_str(name);
        }
        if let (STRUCT | ENUM, Some(outlines), Some(&number)) =
            (kind, &mut self.outlines, self.open.last())
        {
            outlines.push(Outline::new(number, kind == ENUM));
        }
        self.tag(kind);
        self.string(name);
    }

    /// What is taken down of the type being described.
    fn outline(&mut self) -> Option<&mut Outline> {
        let number = *self.open.last()?;
        let outlines = self.outlines.as_mut()?;
        outlines.iter_mut().rev().find(|outline| outline.number == number)
    }

    fn outline_field(&mut self, name: &str, of: Of) {
        if let Some(outline) = self.outline() {
            outline.field(name, of);
        }
    }

    fn label_argument(&mut self, argument: &str) {
        if let Some(label) = self.label() {
            label.text.push_str(if label.arguments == 0 { "<" } else { ", " });
            label.text.push_str(argument);
            label.arguments += 1;
        }
    }

    /// The name of the type being described.
    fn label(&mut self) -> Option<&mut Label> {
        let number = *self.open.last()?;
        self.labels.get_mut(number as usize)
    }

    fn tag(&mut self, tag: u8) {
        self.hash.update(&[tag]);
    }

    fn string(&mut self, text: &str) {
        // No identifier comes near 4 GiB; the length keeps two neighbouring strings apart.
        let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
        self.hash.update(&len.to_le_bytes());
        self.hash.update(text.as_bytes());
    }
}
