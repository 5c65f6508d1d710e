//! Row 74: tables and trees, which only the feature `maps` lets into a message.

#![cfg(feature = "maps")]

mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use memring_codec::fingerprint_of;
use proptest::prelude::*;
use support::{decode, encode, mutate};

#[memring_macros::message(crate = memring_codec)]
#[derive(Debug, Clone, PartialEq, Default)]
struct Maps {
    table: HashMap<String, u32>,
    set: HashSet<u16>,
    tree: BTreeMap<u32, String>,
    leaves: BTreeSet<String>,
}

fn maps() -> impl Strategy<Value = Maps> {
    use proptest::collection::{btree_map, btree_set, hash_map, hash_set};
    (
        hash_map(".{0,12}", any::<u32>(), 0..30),
        hash_set(any::<u16>(), 0..30),
        btree_map(any::<u32>(), ".{0,12}", 0..60),
        btree_set(".{0,12}", 0..30),
    )
        .prop_map(|(table, set, tree, leaves)| Maps { table, set, tree, leaves })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn attack_74_maps_survive_the_trip(value in maps()) {
        prop_assert_eq!(decode::<Maps>(&encode(&value)).expect("valid"), value);
    }
}

#[test]
fn attack_74_mutated_maps_are_never_a_panic() {
    let mut value = Maps::default();
    for index in 0..20 {
        value.table.insert(format!("key number {index}"), index);
        value.tree.insert(index, format!("value number {index}"));
        value.leaves.insert(format!("leaf number {index}"));
        value.set.insert(index.try_into().expect("small"));
    }
    mutate::<Maps>(&encode(&value));
}

#[test]
fn a_hasher_is_no_part_of_the_message() {
    type Fixed = std::hash::BuildHasherDefault<std::collections::hash_map::DefaultHasher>;
    assert_eq!(fingerprint_of::<HashMap<u8, u8>>(), fingerprint_of::<HashMap<u8, u8, Fixed>>());
    assert_ne!(fingerprint_of::<HashMap<u8, u8>>(), fingerprint_of::<BTreeMap<u8, u8>>());
}
