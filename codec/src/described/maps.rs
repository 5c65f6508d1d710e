//! Hash maps and ordered maps.
//!
//! Why behind a feature: rkyv archives them as tables and trees that a hostile peer can malform (checks of
//! them had to be mended more than once: RUSTSEC-2026-0234), and the hash has a fixed seed, so the peer
//! can make every key collide. Archived as a list of pairs, `#[rkyv(with = AsVec)]`, they need no feature
//! and have neither trouble.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::{Fingerprinted, Schema};

// With the feature a map is like any other type; without it, only a wrapper can put it into a message.
macro_rules! describe {
    (impl<$($param:ident),*> $type:ty, $name:literal, $($argument:ident)*) => {
        #[cfg(feature = "maps")]
        impl<$($param: 'static),*> Fingerprinted for $type
        where $($argument: Fingerprinted),*
        {
            fn fingerprint(into: &mut Schema) {
                into.built_in($name);
                $(into.argument::<$argument>();)*
            }
        }

        #[cfg(not(feature = "maps"))]
        impl<$($param: 'static),*> super::Wrapped for $type
        where $($argument: Fingerprinted),*
        {
            fn fingerprint_wrapped(into: &mut Schema) {
                into.built_in($name);
                $(into.argument::<$argument>();)*
            }
        }
    };
}
describe!(impl<K, V, S> HashMap<K, V, S>, "HashMap", K V);
describe!(impl<K, S> HashSet<K, S>, "HashSet", K);
describe!(impl<K, V> BTreeMap<K, V>, "BTreeMap", K V);
describe!(impl<K> BTreeSet<K>, "BTreeSet", K);
