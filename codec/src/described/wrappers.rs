//! rkyv's `with` wrappers, and the types that only a wrapper can put into a message.

use std::borrow::Cow;
use std::cell::{Cell, UnsafeCell};
use std::ffi::{CStr, OsString};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{
    AtomicBool, AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16,
    AtomicU32, AtomicU64, AtomicUsize,
};
use std::sync::{Arc, Mutex, RwLock};
use std::time::SystemTime;

use rkyv::niche::niching::{Bool, DefaultNiche, NaN, Null, Zero};
use rkyv::with::{
    Acquire, AsBox, AsOwned, AsString, AsUnixTime, AsVec, AtomicLoad, Identity, Inline,
    InlineAsBox, Lock, Map, MapKV, MapNiche, Niche, NicheInto, Relaxed, SeqCst, Skip, Unsafe,
    Unshare,
};

use crate::{Fingerprinted, Schema};

macro_rules! wrappers {
    ($($type:ident)*) => {$(
        impl Fingerprinted for $type {
            fn fingerprint(into: &mut Schema) {
                into.built_in(concat!("with::", stringify!($type)));
            }
        }
    )*};
}
wrappers!(AsBox AsOwned AsString AsUnixTime AsVec Identity Inline InlineAsBox Lock Niche Skip);
wrappers!(Unsafe Unshare Acquire Relaxed SeqCst Bool DefaultNiche NaN Null Zero);

macro_rules! wrappers_of {
    ($($type:ident<$($argument:ident),*>)*) => {$(
        impl<$($argument: Fingerprinted),*> Fingerprinted for $type<$($argument),*> {
            fn fingerprint(into: &mut Schema) {
                into.built_in(concat!("with::", stringify!($type)));
                $(into.argument::<$argument>();)*
            }
        }
    )*};
}
wrappers_of!(AtomicLoad<O> Map<W> MapKV<K, V> NicheInto<N> MapNiche<W, N>);

/// The type of a field that has a wrapper: anything with a fingerprint, and what only a wrapper can archive,
/// such as `PathBuf` with `AsString`, `Arc` with `Unshare` or a map with `AsVec`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no fingerprint, so it cannot be part of a message",
    label = "no fingerprint",
    note = "name the field by hand: `#[memring(foreign = \"name and version\")]`"
)]
pub trait Wrapped: 'static {
    /// Describes the type, as [`Fingerprinted::fingerprint`] does.
    fn fingerprint_wrapped(into: &mut Schema);
}

impl<T: Fingerprinted + ?Sized> Wrapped for T {
    fn fingerprint_wrapped(into: &mut Schema) {
        T::fingerprint(into);
    }
}

macro_rules! wrapped {
    ($($type:ident)*) => {$(
        impl Wrapped for $type {
            fn fingerprint_wrapped(into: &mut Schema) {
                into.built_in(stringify!($type));
            }
        }
    )*};
}
wrapped!(OsString PathBuf SystemTime AtomicBool AtomicU8 AtomicU16 AtomicU32 AtomicU64 AtomicUsize);
wrapped!(AtomicI8 AtomicI16 AtomicI32 AtomicI64 AtomicIsize CStr);

macro_rules! wrapped_of {
    ($($type:ident)*) => {$(
        impl<T: Fingerprinted> Wrapped for $type<T> {
            fn fingerprint_wrapped(into: &mut Schema) {
                into.built_in(stringify!($type));
                into.argument::<T>();
            }
        }
    )*};
}
wrapped_of!(Rc Arc Mutex RwLock Cell UnsafeCell);

impl<T: Fingerprinted + ToOwned + ?Sized> Wrapped for Cow<'static, T> {
    fn fingerprint_wrapped(into: &mut Schema) {
        into.built_in("Cow");
        into.argument::<T>();
    }
}
