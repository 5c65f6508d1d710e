//! Numbers, text, sequences, tuples, options, ranges, addresses and times.

use std::collections::VecDeque;
use std::ffi::CString;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::num::{
    NonZeroI8, NonZeroI16, NonZeroI32, NonZeroI64, NonZeroI128, NonZeroIsize, NonZeroU8,
    NonZeroU16, NonZeroU32, NonZeroU64, NonZeroU128, NonZeroUsize,
};
use std::ops::{Bound, Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};
use std::time::Duration;

use crate::{Fingerprinted, Schema};

macro_rules! leaves {
    ($($type:ident)*) => {$(
        impl Fingerprinted for $type {
            fn fingerprint(into: &mut Schema) {
                into.built_in(stringify!($type));
            }
        }
    )*};
}
leaves!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 bool char str String CString);
leaves!(NonZeroU8 NonZeroU16 NonZeroU32 NonZeroU64 NonZeroU128 NonZeroUsize);
leaves!(NonZeroI8 NonZeroI16 NonZeroI32 NonZeroI64 NonZeroI128 NonZeroIsize);
leaves!(Ipv4Addr Ipv6Addr IpAddr SocketAddrV4 SocketAddrV6 SocketAddr Duration);

impl Fingerprinted for RangeFull {
    const HOLLOW: bool = true;
    fn fingerprint(into: &mut Schema) {
        into.built_in("RangeFull");
    }
}

impl Fingerprinted for () {
    const HOLLOW: bool = true;
    fn fingerprint(into: &mut Schema) {
        into.built_in("tuple");
    }
}

impl<T: Fingerprinted + ?Sized> Fingerprinted for PhantomData<T> {
    const HOLLOW: bool = true;
    fn fingerprint(into: &mut Schema) {
        into.built_in("PhantomData");
        into.argument::<T>();
    }
}

macro_rules! of_one {
    ($($type:ident)*) => {$(
        impl<T: Fingerprinted> Fingerprinted for $type<T> {
            fn fingerprint(into: &mut Schema) {
                into.built_in(stringify!($type));
                into.argument::<T>();
            }
        }
    )*};
}
of_one!(Option Bound);

macro_rules! ranges {
    ($($type:ident)*) => {$(
        impl<T: Fingerprinted> Fingerprinted for $type<T> {
            const HOLLOW: bool = T::HOLLOW;
            fn fingerprint(into: &mut Schema) {
                into.built_in(stringify!($type));
                into.argument::<T>();
            }
        }
    )*};
}
ranges!(Range RangeFrom RangeTo RangeToInclusive);

impl<T: Fingerprinted> Fingerprinted for RangeInclusive<T> {
    fn fingerprint(into: &mut Schema) {
        into.built_in("RangeInclusive");
        into.argument::<T>();
    }
}

impl<T: Fingerprinted + ?Sized> Fingerprinted for Box<T> {
    fn fingerprint(into: &mut Schema) {
        into.built_in("Box");
        into.argument::<T>();
    }
}

impl<T: Fingerprinted, E: Fingerprinted> Fingerprinted for Result<T, E> {
    fn fingerprint(into: &mut Schema) {
        into.built_in("Result");
        into.argument::<T>();
        into.argument::<E>();
    }
}

/// An element that takes no bytes lets eight bytes claim four thousand million of them.
macro_rules! refuse_hollow {
    ($element:ty) => {
        const {
            assert!(
                !<$element>::HOLLOW,
                "a sequence in a message needs elements that take bytes: a peer could claim any length"
            );
        }
    };
}

impl<T: Fingerprinted> Fingerprinted for [T] {
    fn fingerprint(into: &mut Schema) {
        refuse_hollow!(T);
        into.built_in("slice");
        into.argument::<T>();
    }
}

impl<T: Fingerprinted> Fingerprinted for Vec<T> {
    fn fingerprint(into: &mut Schema) {
        refuse_hollow!(T);
        into.built_in("Vec");
        into.argument::<T>();
    }
}

impl<T: Fingerprinted> Fingerprinted for VecDeque<T> {
    fn fingerprint(into: &mut Schema) {
        refuse_hollow!(T);
        into.built_in("VecDeque");
        into.argument::<T>();
    }
}

impl<T: Fingerprinted, const N: usize> Fingerprinted for [T; N] {
    const HOLLOW: bool = N == 0 || T::HOLLOW;
    fn fingerprint(into: &mut Schema) {
        into.built_in("array");
        into.argument::<T>();
        into.constant(N);
    }
}

macro_rules! tuples {
    ($(($($type:ident)*))*) => {$(
        impl<$($type: Fingerprinted),*> Fingerprinted for ($($type,)*) {
            const HOLLOW: bool = $($type::HOLLOW)&&*;
            fn fingerprint(into: &mut Schema) {
                into.built_in("tuple");
                $(into.argument::<$type>();)*
            }
        }
    )*};
}
tuples! {
    (A)
    (A B)
    (A B C)
    (A B C D)
    (A B C D E)
    (A B C D E F)
    (A B C D E F G)
    (A B C D E F G H)
    (A B C D E F G H I)
    (A B C D E F G H I J)
    (A B C D E F G H I J K)
    (A B C D E F G H I J K L)
}
