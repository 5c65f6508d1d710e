//! The arguments of a call in JSON: an object of them by name, or an array of them in order.
//!
//! Why not serde's derive: then whoever declares an interface would need serde, under the name that the macro writes. Here the
//! macro says what the arguments are called, and how each is read.
//!
//! It does not call anything: what it makes of JSON is the archive that the same call has otherwise.

use std::fmt;

use rkyv::rancor::Source;
use serde_core::de::value::Error as Unsaid;
use serde_core::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_core::forward_to_deserialize_any;

use super::{Json, read};
use crate::{DecodeError, EncodeError, Encoder, Reason};

/// Arguments that are gathered one by one. Written by `#[interface]`, for methods that are declared `json`.
pub trait Arguments: Default {
    /// What they are called, in order.
    const NAMES: &'static [&'static str];

    /// Reads the one of this place.
    #[doc(hidden)]
    fn take<'de, N: Next<'de>>(&mut self, place: usize, next: N) -> Result<(), N::Error>;

    /// Writes the archive of all of them.
    #[doc(hidden)]
    fn archive(self, into: &mut Encoder<'_>) -> Result<(), EncodeError>;
}

/// The value that comes next.
pub trait Next<'de> {
    /// What the library says if it is none.
    type Error;

    #[doc(hidden)]
    fn next<T: Deserialize<'de>>(self) -> Result<T, Self::Error>;
}

/// Turns the JSON arguments `A` into their archive.
///
/// # Errors
///
/// [`DecodeError::Invalid`], with what is wrong: they are not JSON, one is missing or of another type, or the archive is larger
/// than there is room.
pub fn archive_json<A: Arguments>(json: &[u8], into: &mut Encoder<'_>) -> Result<(), DecodeError> {
    let Given(arguments) = read::<Json, Given<A>>(json)?;
    let archived = arguments.archive(into);
    archived.map_err(|error| DecodeError::Invalid { source: Reason::new(error) })
}

/// One is missing. Never: who is missing is found before.
#[doc(hidden)]
#[cold]
pub fn incomplete() -> EncodeError {
    #[derive(Debug, thiserror::Error)]
    #[error("an argument is missing")]
    struct Missing;
    EncodeError::Unencodable { source: Reason::new(Missing) }
}

/// Arguments that were read.
struct Given<A>(A);

impl<'de, A: Arguments> Deserialize<'de> for Given<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let gathering = Gathering { arguments: A::default(), given: vec![false; A::NAMES.len()] };
        deserializer.deserialize_struct("arguments", A::NAMES, gathering)
    }
}

/// Some that were read, and which.
struct Gathering<A> {
    arguments: A,
    given: Vec<bool>,
}

impl<A: Arguments> Gathering<A> {
    /// All of them, if only such are missing as need not be there.
    fn finish<E: Error>(mut self) -> Result<Given<A>, E> {
        let missing =
            self.given.iter().zip(A::NAMES).enumerate().filter(|(_, (given, _))| !**given);
        for (place, (_, name)) in missing {
            if self.arguments.take(place, Missing).is_err() {
                return Err(E::missing_field(name));
            }
        }
        Ok(Given(self.arguments))
    }
}

impl<'de, A: Arguments> Visitor<'de> for Gathering<A> {
    type Value = Given<A>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of arguments by name, or an array of them in order")
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<Given<A>, M::Error> {
        while let Some(place) = map.next_key_seed(Place(A::NAMES))? {
            if std::mem::replace(&mut self.given[place], true) {
                return Err(M::Error::duplicate_field(A::NAMES[place]));
            }
            self.arguments.take(place, OfMap(&mut map))?;
        }
        self.finish()
    }

    fn visit_seq<S: SeqAccess<'de>>(mut self, mut sequence: S) -> Result<Given<A>, S::Error> {
        for place in 0..A::NAMES.len() {
            match self.arguments.take(place, OfSequence(&mut sequence)) {
                Ok(()) => self.given[place] = true,
                Err(Ended::Over) => break,
                Err(Ended::Error(error)) => return Err(error),
            }
        }
        match sequence.next_element::<IgnoredAny>()? {
            Some(_) => Err(S::Error::invalid_length(A::NAMES.len() + 1, &"fewer arguments")),
            None => self.finish(),
        }
    }
}

/// Reads a name as the place of what is called so.
struct Place(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Place {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Place {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an argument")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<usize, E> {
        let place = self.0.iter().position(|known| *known == name);
        place.ok_or_else(|| E::unknown_field(name, self.0))
    }
}

/// A value of an object.
struct OfMap<'a, M>(&'a mut M);

impl<'de, M: MapAccess<'de>> Next<'de> for OfMap<'_, M> {
    type Error = M::Error;

    fn next<T: Deserialize<'de>>(self) -> Result<T, M::Error> {
        self.0.next_value()
    }
}

/// An element of an array.
struct OfSequence<'a, S>(&'a mut S);

/// Why there is none.
enum Ended<E> {
    /// That was all.
    Over,
    Error(E),
}

impl<'de, S: SeqAccess<'de>> Next<'de> for OfSequence<'_, S> {
    type Error = Ended<S::Error>;

    fn next<T: Deserialize<'de>>(self) -> Result<T, Self::Error> {
        self.0.next_element().map_err(Ended::Error)?.ok_or(Ended::Over)
    }
}

/// What was not given. An option is nothing then, as serde has it.
struct Missing;

impl<'de> Next<'de> for Missing {
    type Error = Unsaid;

    fn next<T: Deserialize<'de>>(self) -> Result<T, Unsaid> {
        T::deserialize(self)
    }
}

impl<'de> Deserializer<'de> for Missing {
    type Error = Unsaid;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Unsaid> {
        Err(Unsaid::custom("missing"))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unsaid> {
        visitor.visit_none()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
