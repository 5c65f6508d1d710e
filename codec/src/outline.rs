//! Types as people write them: what the structs and enums of a program are made of, for whoever asks what is served.
//!
//! Why from what a [`Schema`](crate::Schema) is told, and not from the source: there an alias, or a type of another crate, is
//! what it is, and a type that is met twice is written once.
//!
//! It compares nothing: two types that are written alike may differ in what only fingerprints show, such as their wrappers.

use std::fmt::{self, Write as _};

use crate::{Fingerprinted, Schema};

/// Takes down the structs and enums that some types are made of, each once, in the order in which they are met.
pub struct Outlines {
    schema: Schema,
}

impl Outlines {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self { schema: Schema::outlining() }
    }

    /// `T`, if a program defines it, and what it is made of.
    pub fn add<T: Fingerprinted + ?Sized>(&mut self) {
        self.schema.mention_again::<T>();
    }

    /// The types of the fields of `T`, and not `T` itself: it is a list of arguments.
    pub fn add_arguments<T: Fingerprinted + ?Sized>(&mut self) {
        T::fingerprint(&mut self.schema);
    }

    /// Each as it would be declared, on one line.
    #[must_use]
    pub fn finish(self) -> Vec<String> {
        self.schema.into_outlines()
    }
}

impl Default for Outlines {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Outlines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outlines")
    }
}

/// A struct or enum, as far as its description has come.
pub(crate) struct Outline {
    /// The schema's number of the type.
    pub(crate) number: u32,
    enumeration: bool,
    /// A struct is its only one.
    variants: Vec<Variant>,
}

#[derive(Default)]
struct Variant {
    name: String,
    discriminant: Option<i128>,
    fields: Vec<(String, Of)>,
}

/// What a field is.
pub(crate) enum Of {
    /// The schema's number of its type, whose name is known once all of it was described.
    Type(u32),
    /// Named by hand.
    Foreign(String),
}

impl Of {
    fn written<'a>(&self, name: &impl Fn(u32) -> &'a str) -> String {
        match self {
            Self::Type(number) => as_written(name(*number)),
            Self::Foreign(name) => name.clone(),
        }
    }
}

impl Outline {
    pub(crate) fn new(number: u32, enumeration: bool) -> Self {
        let variants = if enumeration { Vec::new() } else { vec![Variant::default()] };
        Self { number, enumeration, variants }
    }

    pub(crate) fn variant(&mut self, name: &str) {
        self.variants.push(Variant { name: name.to_owned(), ..Variant::default() });
    }

    pub(crate) fn discriminant(&mut self, value: i128) {
        if let Some(variant) = self.variants.last_mut() {
            variant.discriminant = Some(value);
        }
    }

    pub(crate) fn field(&mut self, name: &str, of: Of) {
        if let Some(variant) = self.variants.last_mut() {
            variant.fields.push((name.to_owned(), of));
        }
    }

    /// The declaration of the type, where types of these numbers are called so.
    pub(crate) fn declaration<'a>(&self, name: &impl Fn(u32) -> &'a str) -> String {
        let of_this = as_written(name(self.number));
        let variants: Vec<_> = self.variants.iter().map(|one| one.declaration(name)).collect();
        match (self.enumeration, variants.is_empty()) {
            (false, _) => format!("struct {of_this}{}", variants.concat()),
            (true, true) => format!("enum {of_this} {{}}"),
            (true, false) => format!("enum {of_this} {{ {} }}", variants.join(", ")),
        }
    }
}

impl Variant {
    fn declaration<'a>(&self, name: &impl Fn(u32) -> &'a str) -> String {
        let mut text = self.name.clone();
        let fields = self.fields.iter().map(|(field, of)| (field, of.written(name)));
        // Those without a name are called by their position.
        let unnamed = |(name, _): &(String, Of)| name.starts_with(|c: char| c.is_ascii_digit());
        if !self.fields.is_empty() && self.fields.iter().all(unnamed) {
            let fields: Vec<_> = fields.map(|(_, ty)| ty).collect();
            text.extend(["(", &fields.join(", "), ")"]);
        } else if !self.fields.is_empty() {
            let fields: Vec<_> = fields.map(|(field, ty)| format!("{field}: {ty}")).collect();
            text.extend([" { ", &fields.join(", "), " }"]);
        }
        if let Some(value) = self.discriminant {
            // A string takes whatever is written to it.
            let _ = write!(text, " = {value}");
        }
        text
    }
}

/// The name of a type, with those that Rust has signs for written in these: `tuple<u8, array<u8, 4>>` is `(u8, [u8; 4])`.
fn as_written(name: &str) -> String {
    let mut rest = name;
    let mut text = String::with_capacity(name.len());
    write_type(&mut rest, &mut text);
    text.push_str(rest); // nothing, unless a name was given by hand
    text
}

/// Writes the type that `rest` begins with, and takes it off.
fn write_type(rest: &mut &str, into: &mut String) {
    let end = rest.find(['<', '>', ',']).unwrap_or(rest.len());
    let (name, behind) = rest.split_at(end);
    let mut arguments = Vec::new();
    *rest = behind;
    if let Some(behind) = rest.strip_prefix('<') {
        *rest = behind;
        loop {
            let mut argument = String::new();
            write_type(rest, &mut argument);
            arguments.push(argument);
            match rest.strip_prefix(", ") {
                Some(behind) => *rest = behind,
                None => break,
            }
        }
        *rest = rest.strip_prefix('>').unwrap_or(rest);
    }
    match (name, &arguments[..]) {
        ("tuple", [one]) => into.extend(["(", one, ",)"]),
        ("tuple", many) => into.extend(["(", &many.join(", "), ")"]),
        ("array", [element, length]) => into.extend(["[", element, "; ", length, "]"]),
        ("slice", [element]) => into.extend(["[", element, "]"]),
        (name, []) => into.push_str(name),
        (name, many) => into.extend([name, "<", &many.join(", "), ">"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_in_rust_and_none_makes_it_stumble() {
        for (name, written) in [
            ("u8", "u8"),
            ("tuple", "()"),
            ("tuple<u8>", "(u8,)"),
            ("tuple<u8, array<slice<u8>, 4>>", "(u8, [[u8]; 4])"),
            ("HashMap<String, Vec<tuple<u8, u8>>>", "HashMap<String, Vec<(u8, u8)>>"),
            ("with::Map<u8>", "with::Map<u8>"),
            ("", ""),
            ("<", "<>"),
            ("a<b", "a<b>"),
            ("a>b, c", "a>b, c"),
        ] {
            assert_eq!(as_written(name), written, "{name}");
        }
    }
}
