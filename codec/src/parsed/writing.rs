//! A serializer that stays within bounds: put around a library's, and around all that it hands out.
//!
//! Why a sender counts too: the value that a receiver would refuse is a mistake of this program's, and to be told
//! so here is better than a session that ends there. It also refuses what a notation would say wrongly.
//!
//! It writes nothing itself.

use std::fmt;

use serde_core::Serializer;
use serde_core::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant,
};

use super::Says;
use super::bounds::{Bounds, Broken};

/// Where in a value we are.
#[derive(Clone, Copy)]
struct Place<'b> {
    level: usize,
    says: Says,
    bounds: &'b Bounds,
}

impl<'b> Place<'b> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let level = self.bounds.deeper(self.level).map_err(|broken| broken.writing::<E>())?;
        Ok(Self { level, ..self })
    }

    fn element<E: Error>(self) -> Result<(), E> {
        self.bounds.take(1).map_err(|broken| broken.writing())
    }

    fn refuse<E: Error>(self, broken: Broken) -> E {
        self.bounds.break_by(broken).writing()
    }

    fn finite<E: Error>(self, finite: bool) -> Result<(), E> {
        if finite || self.says.not_finite { Ok(()) } else { Err(self.refuse(Broken::NotFinite)) }
    }

    fn with<X>(self, inner: X) -> Bounded<'b, X> {
        Bounded { inner, place: self }
    }
}

/// A value that is written within bounds.
pub(super) struct Watched<'b, T: ?Sized> {
    value: &'b T,
    place: Place<'b>,
}

impl<'b, T: ?Sized> Watched<'b, T> {
    pub(super) fn new(value: &'b T, bounds: &'b Bounds, says: Says) -> Self {
        Self { value, place: Place { level: 0, says, bounds } }
    }
}

impl<T: Serialize + ?Sized> Serialize for Watched<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(self.place.with(serializer))
    }
}

/// A library's serializer, or a part of one, within bounds.
struct Bounded<'b, X> {
    inner: X,
    place: Place<'b>,
}

macro_rules! plain {
    ($($method:ident $type:ty)*) => {$(
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.inner.$method(value)
        }
    )*};
}

impl<'b, S: Serializer> Serializer for Bounded<'b, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Bounded<'b, S::SerializeSeq>;
    type SerializeTuple = Bounded<'b, S::SerializeTuple>;
    type SerializeTupleStruct = Bounded<'b, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Bounded<'b, S::SerializeTupleVariant>;
    type SerializeMap = Bounded<'b, S::SerializeMap>;
    type SerializeStruct = Bounded<'b, S::SerializeStruct>;
    type SerializeStructVariant = Bounded<'b, S::SerializeStructVariant>;

    plain! {
        serialize_bool bool
        serialize_i8 i8
        serialize_i16 i16
        serialize_i32 i32
        serialize_i64 i64
        serialize_i128 i128
        serialize_u8 u8
        serialize_u16 u16
        serialize_u32 u32
        serialize_u64 u64
        serialize_u128 u128
        serialize_char char
        serialize_str &str
        serialize_bytes &[u8]
        serialize_unit_struct &'static str
    }

    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        self.place.finite(value.is_finite())?;
        self.inner.serialize_f32(value)
    }

    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        self.place.finite(value.is_finite())?;
        self.inner.serialize_f64(value)
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_none()
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let place = self.place.deeper()?;
        self.inner.serialize_some(&Watched { value, place })
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let place = self.place.deeper()?;
        self.inner.serialize_newtype_struct(name, &Watched { value, place })
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.place.deeper::<S::Error>()?;
        self.inner.serialize_unit_variant(name, index, variant)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let place = self.place.deeper()?;
        self.inner.serialize_newtype_variant(name, index, variant, &Watched { value, place })
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        Ok(self.place.deeper()?.with(self.inner.serialize_seq(len)?))
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        Ok(self.place.deeper()?.with(self.inner.serialize_tuple(len)?))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        Ok(self.place.deeper()?.with(self.inner.serialize_tuple_struct(name, len)?))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        // The variant, and the tuple in it.
        let place = self.place.deeper()?.deeper()?;
        Ok(place.with(self.inner.serialize_tuple_variant(name, index, variant, len)?))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        Ok(self.place.deeper()?.with(self.inner.serialize_map(len)?))
    }

    fn serialize_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStruct, S::Error> {
        Ok(self.place.deeper()?.with(self.inner.serialize_struct(name, len)?))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        // The variant, and the struct in it.
        let place = self.place.deeper()?.deeper()?;
        Ok(place.with(self.inner.serialize_struct_variant(name, index, variant, len)?))
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

impl<S: SerializeSeq> SerializeSeq for Bounded<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.place.element()?;
        self.inner.serialize_element(&Watched { value, place: self.place })
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.inner.end()
    }
}

impl<S: SerializeMap> SerializeMap for Bounded<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.place.element()?;
        self.inner.serialize_key(&Watched { value, place: self.place })
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.inner.serialize_value(&Watched { value, place: self.place })
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.inner.end()
    }
}

macro_rules! positions {
    ($($trait:ident $method:ident)*) => {$(
        impl<S: $trait> $trait for Bounded<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                self.inner.$method(&Watched { value, place: self.place })
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        }
    )*};
}
positions! {
    SerializeTuple serialize_element
    SerializeTupleStruct serialize_field
    SerializeTupleVariant serialize_field
}

macro_rules! fields {
    ($($trait:ident)*) => {$(
        impl<S: $trait> $trait for Bounded<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), S::Error> {
                self.inner.serialize_field(name, &Watched { value, place: self.place })
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), S::Error> {
                if !self.place.says.left_out {
                    return Err(self.place.refuse(Broken::LeftOut));
                }
                self.inner.skip_field(name)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        }
    )*};
}
fields!(SerializeStruct SerializeStructVariant);
