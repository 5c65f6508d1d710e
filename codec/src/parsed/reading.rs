//! A deserializer that stays within bounds: put around a library's, and around all that it hands out.
//!
//! It changes no value and no error of the library's; it only counts, on the way in and on the way out again.
//! Which calls are levels and which lengths are claimed says [`bounds`](super::bounds).

use std::fmt;

use serde_core::Deserializer;
use serde_core::de::{
    DeserializeSeed, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::bounds::Bounds;

/// Whatever a library gives or takes, within bounds.
struct Bounded<'b, X> {
    inner: X,
    level: usize,
    bounds: &'b Bounds,
}

impl<'b, X> Bounded<'b, X> {
    /// Something else, at the same level.
    fn with<Y>(&self, inner: Y) -> Bounded<'b, Y> {
        Bounded { inner, level: self.level, bounds: self.bounds }
    }
}

/// A seed that reads its value within bounds.
pub(super) struct Seed<'b, S>(Bounded<'b, S>);

impl<'b, S> Seed<'b, S> {
    pub(super) fn new(inner: S, bounds: &'b Bounds) -> Self {
        Self(Bounded { inner, level: 0, bounds })
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Seed<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let deserializer = self.0.with(deserializer);
        self.0.inner.deserialize(deserializer)
    }
}

/// Whose the number of elements is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Length {
    /// The message says it.
    Claimed,
    /// The type says it.
    Fixed,
}

/// What is done with what was found, and who says how much there is of it.
struct Watch<'b, V> {
    visitor: Bounded<'b, V>,
    length: Length,
}

impl<'b, X> Bounded<'b, X> {
    fn watch<V>(self, visitor: V, length: Length) -> (X, Watch<'b, V>) {
        let visitor = self.with(visitor);
        (self.inner, Watch { visitor, length })
    }
}

macro_rules! ask {
    ($($method:ident ($($name:ident: $type:ty),*) $length:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            let (inner, watch) = self.watch(visitor, Length::$length);
            inner.$method($($name,)* watch)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Bounded<'_, D> {
    type Error = D::Error;

    ask! {
        deserialize_any() Claimed
        deserialize_bool() Claimed
        deserialize_i8() Claimed
        deserialize_i16() Claimed
        deserialize_i32() Claimed
        deserialize_i64() Claimed
        deserialize_i128() Claimed
        deserialize_u8() Claimed
        deserialize_u16() Claimed
        deserialize_u32() Claimed
        deserialize_u64() Claimed
        deserialize_u128() Claimed
        deserialize_f32() Claimed
        deserialize_f64() Claimed
        deserialize_char() Claimed
        deserialize_str() Claimed
        deserialize_string() Claimed
        deserialize_bytes() Claimed
        deserialize_byte_buf() Claimed
        deserialize_option() Claimed
        deserialize_unit() Claimed
        deserialize_unit_struct(name: &'static str) Claimed
        deserialize_newtype_struct(name: &'static str) Claimed
        deserialize_seq() Claimed
        deserialize_tuple(len: usize) Fixed
        deserialize_tuple_struct(name: &'static str, len: usize) Fixed
        deserialize_map() Claimed
        deserialize_struct(name: &'static str, fields: &'static [&'static str]) Fixed
        deserialize_enum(name: &'static str, variants: &'static [&'static str]) Fixed
        deserialize_identifier() Claimed
    }

    /// What nobody asked for is walked like anything else: left to itself, cbor4ii recurses through 256 levels.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_any(visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

impl<'b, V> Watch<'b, V> {
    /// The visitor, and what it was given, one level deeper.
    fn descend<X, E: Error>(self, inner: X) -> Result<(V, Bounded<'b, X>), E> {
        let Bounded { inner: visitor, level, bounds } = self.visitor;
        let level = bounds.deeper(level).map_err(|broken| broken.reading::<E>())?;
        Ok((visitor, Bounded { inner, level, bounds }))
    }

    /// As [`descend`](Self::descend), into so many elements, if that is known.
    fn descend_into<X, E: Error>(
        self,
        elements: X,
        hint: Option<usize>,
    ) -> Result<(V, Elements<'b, X>), E> {
        let length = self.length;
        let (visitor, inner) = self.descend(elements)?;
        let (paid, hint) = match (length, hint) {
            (Length::Fixed, _) => (usize::MAX, None),
            (Length::Claimed, Some(claimed)) => {
                inner.bounds.take(claimed).map_err(|broken| broken.reading::<E>())?;
                (claimed, hint)
            }
            (Length::Claimed, None) => (0, None),
        };
        Ok((visitor, Elements { inner, paid, hint }))
    }
}

macro_rules! found {
    ($($method:ident $type:ty)*) => {$(
        fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.visitor.inner.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Watch<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.inner.expecting(f)
    }

    found! {
        visit_bool bool
        visit_i8 i8
        visit_i16 i16
        visit_i32 i32
        visit_i64 i64
        visit_i128 i128
        visit_u8 u8
        visit_u16 u16
        visit_u32 u32
        visit_u64 u64
        visit_u128 u128
        visit_f32 f32
        visit_f64 f64
        visit_char char
        visit_str &str
        visit_borrowed_str &'de str
        visit_string String
        visit_bytes &[u8]
        visit_borrowed_bytes &'de [u8]
        visit_byte_buf Vec<u8>
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let (visitor, deserializer) = self.descend(deserializer)?;
        visitor.visit_some(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<V::Value, D::Error> {
        let (visitor, deserializer) = self.descend(deserializer)?;
        visitor.visit_newtype_struct(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<V::Value, A::Error> {
        let hint = elements.size_hint();
        let (visitor, elements) = self.descend_into(elements, hint)?;
        visitor.visit_seq(elements)
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        let hint = entries.size_hint();
        let (visitor, entries) = self.descend_into(entries, hint)?;
        visitor.visit_map(entries)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        let (visitor, variant) = self.descend(variant)?;
        visitor.visit_enum(variant)
    }
}

/// Elements of a sequence, or entries of a map.
struct Elements<'b, A> {
    inner: Bounded<'b, A>,
    /// Elements that may come and have been taken from the bounds.
    paid: usize,
    /// How many to allocate for, at first: never more than were taken from the bounds.
    hint: Option<usize>,
}

impl<A> Elements<'_, A> {
    fn pay<E: Error>(&mut self) -> Result<(), E> {
        match self.paid.checked_sub(1) {
            Some(paid) => {
                self.paid = paid;
                Ok(())
            }
            None => self.inner.bounds.take(1).map_err(|broken| broken.reading()),
        }
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Elements<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let seed = Seed(self.inner.with(seed));
        let element = self.inner.inner.next_element_seed(seed)?;
        if element.is_some() {
            self.pay()?;
        }
        Ok(element)
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Elements<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let seed = Seed(self.inner.with(seed));
        let key = self.inner.inner.next_key_seed(seed)?;
        if key.is_some() {
            self.pay()?;
        }
        Ok(key)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let seed = Seed(self.inner.with(seed));
        self.inner.inner.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint
    }
}

impl<'de, 'b, A: EnumAccess<'de>> EnumAccess<'de> for Bounded<'b, A> {
    type Error = A::Error;
    type Variant = Bounded<'b, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let Self { inner, level, bounds } = self;
        let (name, inner) = inner.variant_seed(Seed(Bounded { inner: seed, level, bounds }))?;
        Ok((name, Bounded { inner, level, bounds }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        let seed = Seed(self.with(seed));
        self.inner.newtype_variant_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        let (inner, watch) = self.watch(visitor, Length::Fixed);
        inner.tuple_variant(len, watch)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let (inner, watch) = self.watch(visitor, Length::Fixed);
        inner.struct_variant(fields, watch)
    }
}
