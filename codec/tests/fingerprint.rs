//! A fingerprint changes with everything that changes what a message means, and with nothing else.
//!
//! Each module declares the same names with one difference to `base`.

mod zoo;

use memring_codec::{
    Fingerprint, Fingerprinted, Message, Outlines, Schema, fingerprint_of, name_of,
};

/// What they all start from.
mod base {
    #[memring_macros::message(crate = memring_codec)]
    pub struct Inner {
        pub value: u32,
    }
    #[memring_macros::message(crate = memring_codec)]
    pub struct Generic<T> {
        pub inside: Vec<T>,
    }
    pub type Alias = u64;
    #[memring_macros::message(crate = memring_codec)]
    pub struct Type {
        pub price: u64,
        pub size: u64,
        pub by_alias: Alias,
        pub nested: Inner,
        pub generic: Generic<Inner>,
        pub boxed: Option<Box<str>>,
    }
    #[memring_macros::message(crate = memring_codec)]
    pub enum Enum {
        First,
        Second { value: u32 },
        Third(u8, u8),
    }
}

/// `Type` again, with what a caller gives in place of the base's parts.
macro_rules! changed {
    ($module:ident: $($declaration:item)*) => {
        mod $module {
            #[allow(unused_imports)]
            use super::base::*;
            $(#[memring_macros::message(crate = memring_codec)] $declaration)*
        }
    };
}

changed! { renamed_field:
    pub struct Type { pub cost: u64, pub size: u64, pub by_alias: Alias, pub nested: Inner,
        pub generic: Generic<Inner>, pub boxed: Option<Box<str>> }
}
changed! { reordered:
    pub struct Type { pub size: u64, pub price: u64, pub by_alias: Alias, pub nested: Inner,
        pub generic: Generic<Inner>, pub boxed: Option<Box<str>> }
}
changed! { retyped:
    pub struct Type { pub price: i64, pub size: u64, pub by_alias: Alias, pub nested: Inner,
        pub generic: Generic<Inner>, pub boxed: Option<Box<str>> }
}
mod retyped_alias {
    use super::base::{Generic, Inner};
    pub type Alias = i64;
    #[memring_macros::message(crate = memring_codec)]
    pub struct Type {
        pub price: u64,
        pub size: u64,
        pub by_alias: Alias,
        pub nested: Inner,
        pub generic: Generic<Inner>,
        pub boxed: Option<Box<str>>,
    }
}
mod renamed_alias {
    use super::base::{Generic, Inner};
    pub type Another = u64;
    #[memring_macros::message(crate = memring_codec)]
    pub struct Type {
        pub price: u64,
        pub size: u64,
        pub by_alias: Another,
        pub nested: Inner,
        pub generic: Generic<Inner>,
        pub boxed: Option<Box<str>>,
    }
}
changed! { changed_nested:
    pub struct Inner { pub value: u64 }
    pub struct Type { pub price: u64, pub size: u64, pub by_alias: Alias, pub nested: Inner,
        pub generic: Generic<super::base::Inner>, pub boxed: Option<Box<str>> }
}
changed! { changed_argument:
    pub struct Inner { pub value: u64 }
    pub struct Type { pub price: u64, pub size: u64, pub by_alias: Alias,
        pub nested: super::base::Inner, pub generic: Generic<Inner>, pub boxed: Option<Box<str>> }
}
changed! { changed_generic:
    pub struct Generic<T> { pub inside: Vec<T>, pub more: u8 }
    pub struct Type { pub price: u64, pub size: u64, pub by_alias: Alias, pub nested: Inner,
        pub generic: Generic<Inner>, pub boxed: Option<Box<str>> }
}
changed! { added_field:
    pub struct Type { pub price: u64, pub size: u64, pub by_alias: Alias, pub nested: Inner,
        pub generic: Generic<Inner>, pub boxed: Option<Box<str>>, pub more: () }
}
changed! { wrapper:
    pub struct Type { pub price: u64, pub size: u64, pub by_alias: Alias, pub nested: Inner,
        pub generic: Generic<Inner>,
        #[rkyv(with = memring_codec::rkyv::with::Niche)]
        pub boxed: Option<Box<str>> }
}
changed! { another_wrapper:
    pub struct Type { pub price: u64, pub size: u64, pub by_alias: Alias, pub nested: Inner,
        pub generic: Generic<Inner>,
        #[rkyv(with = memring_codec::rkyv::with::AsBox)]
        pub boxed: Option<Box<str>> }
}
changed! { wrapper_argument:
    pub struct Type { pub price: u64, pub size: u64, pub by_alias: Alias, pub nested: Inner,
        pub generic: Generic<Inner>,
        #[rkyv(with = memring_codec::rkyv::with::Map<memring_codec::rkyv::with::AsBox>)]
        pub boxed: Option<Box<str>> }
}
changed! { foreign:
    pub struct Type { pub price: u64, pub size: u64, pub by_alias: Alias, pub nested: Inner,
        pub generic: Generic<Inner>, #[memring(foreign = "text 1")] pub boxed: Option<Box<str>> }
}
changed! { another_foreign:
    pub struct Type { pub price: u64, pub size: u64, pub by_alias: Alias, pub nested: Inner,
        pub generic: Generic<Inner>, #[memring(foreign = "text 2")] pub boxed: Option<Box<str>> }
}
changed! { no_niche:
    pub struct Pair { pub first: Box<str>, pub second: Box<str> }
}
changed! { niche_in_first:
    pub struct Pair { #[rkyv(niche)] pub first: Box<str>, pub second: Box<str> }
}
changed! { niche_in_second:
    pub struct Pair { pub first: Box<str>, #[rkyv(niche)] pub second: Box<str> }
}
changed! { named_niche_in_second:
    pub struct Pair { pub first: Box<str>,
        #[rkyv(niche = memring_codec::rkyv::niche::niching::Null)] pub second: Box<str> }
}

/// What decides nothing: where it is declared, who may see it, what else is derived, what is compiled out.
mod moved {
    pub mod deep {
        pub mod inside {
            #[memring_macros::message(crate = memring_codec)]
            #[derive(Debug, Clone)]
            pub struct Inner {
                pub(crate) value: u32,
            }
        }
    }
    #[memring_macros::message(crate = memring_codec)]
    #[derive(Debug)]
    pub struct Generic<Renamed> {
        inside: Vec<Renamed>,
    }
    /// Documented.
    #[memring_macros::message(crate = memring_codec)]
    #[derive(Debug)]
    #[rkyv(archived = AnotherName)]
    pub struct Type {
        price: u64,
        size: u64,
        by_alias: super::base::Alias,
        nested: deep::inside::Inner,
        #[cfg(any())]
        gone: u8,
        generic: Generic<deep::inside::Inner>,
        boxed: Option<Box<str>>,
    }
    #[memring_macros::message(crate = memring_codec)]
    #[derive(Debug, Clone)]
    pub enum Enum {
        First,
        #[cfg(any())]
        Gone,
        Second {
            value: u32,
        },
        Third(u8, u8),
    }
}

changed! { added_variant:
    pub enum Enum { First, Second { value: u32 }, Third(u8, u8), Fourth }
}
changed! { renamed_variant:
    pub enum Enum { Erst, Second { value: u32 }, Third(u8, u8) }
}
changed! { reordered_variants:
    pub enum Enum { Second { value: u32 }, First, Third(u8, u8) }
}
changed! { unit_variants:
    pub enum Enum { First, Second, Third }
}
changed! { numbered_variants:
    pub enum Enum { First = 1, Second = 2, Third = 3 }
}
changed! { renumbered_variants:
    pub enum Enum { First = 1, Second = 2, Third = 4 }
}
changed! { retyped_in_variant:
    pub enum Enum { First, Second { value: u64 }, Third(u8, u8) }
}
changed! { field_moved_to_another_variant:
    pub enum Enum { First, Second { value: u32 }, Third(u8), Fourth(u8) }
}

/// That no two of them are equal.
fn all_differ(table: &[(&str, Fingerprint)]) {
    for (index, (name, fingerprint)) in table.iter().enumerate() {
        assert!(!fingerprint.is_untyped());
        for (other, same) in &table[..index] {
            assert_ne!(fingerprint, same, "{name} and {other}");
        }
    }
}

macro_rules! table {
    ($type:ident: $($module:ident)*) => {
        [$((stringify!($module), fingerprint_of::<$module::$type>())),*]
    };
}

#[test]
fn every_change_of_a_struct_changes_it() {
    all_differ(&table!(Type: base renamed_field reordered retyped retyped_alias changed_nested
        changed_argument changed_generic added_field wrapper another_wrapper wrapper_argument
        foreign another_foreign));
    all_differ(&table!(Pair: no_niche niche_in_first niche_in_second named_niche_in_second));
}

#[test]
fn every_change_of_an_enum_changes_it() {
    all_differ(&table!(Enum: base added_variant renamed_variant reordered_variants
        unit_variants numbered_variants renumbered_variants retyped_in_variant field_moved_to_another_variant));
}

#[test]
fn a_type_that_moves_stays_the_same() {
    assert_eq!(fingerprint_of::<base::Type>(), fingerprint_of::<moved::Type>());
    assert_eq!(fingerprint_of::<base::Enum>(), fingerprint_of::<moved::Enum>());
    assert_eq!(fingerprint_of::<base::Type>(), fingerprint_of::<renamed_alias::Type>());
    assert_eq!(<base::Type as Message>::fingerprint(), fingerprint_of::<base::Type>());
}

#[test]
fn a_declared_type_is_no_built_in_one_of_its_name() {
    mod own {
        #[memring_macros::message(crate = memring_codec)]
        pub struct String;
        #[memring_macros::message(crate = memring_codec)]
        pub enum Duration {
            Only,
        }
    }
    mod unit {
        #[memring_macros::message(crate = memring_codec)]
        pub struct Duration {
            pub only: (),
        }
    }
    all_differ(&[
        ("built-in", fingerprint_of::<String>()),
        ("declared", fingerprint_of::<own::String>()),
        ("enum", fingerprint_of::<own::Duration>()),
        ("struct", fingerprint_of::<unit::Duration>()),
        ("built-in time", fingerprint_of::<std::time::Duration>()),
    ]);
}

#[test]
fn types_of_the_library_differ() {
    macro_rules! each {
        ($($type:ty),* $(,)?) => { [$((stringify!($type), fingerprint_of::<$type>())),*] };
    }
    all_differ(&each!(
        u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64, bool, char, str,
        String, (), (u8,), (u8, u8), (u8, (u8,)), ((u8,), u8), [u8], [u8; 1], [u8; 2], [u16; 2],
        Box<u8>, Box<[u8]>, Vec<u8>, Box<str>, Vec<Vec<u8>>, Option<u8>, Option<Option<u8>>,
        Result<u8, u16>, Result<u16, u8>, std::collections::VecDeque<u8>,
        std::num::NonZeroU8, std::num::NonZeroI8, std::ops::Range<u8>, std::ops::RangeInclusive<u8>,
        std::ops::RangeFull, std::ops::Bound<u8>, std::time::Duration, std::net::IpAddr,
        std::net::Ipv4Addr, std::net::Ipv6Addr, std::net::SocketAddr, std::net::SocketAddrV4,
        std::net::SocketAddrV6, std::ffi::CString, std::marker::PhantomData<u8>,
        zoo::Matrix<u8, 1>, zoo::Matrix<u8, 2>, zoo::Matrix<u16, 1>, zoo::Tree<u8>, zoo::Tree<u16>,
        zoo::Expression, zoo::Chain,
    ));
}

#[test]
fn where_a_recursion_leads_counts() {
    mod one {
        #[memring_macros::message(crate = memring_codec)]
        pub struct Outer {
            pub inner: Option<Box<Inner>>,
        }
        #[memring_macros::message(crate = memring_codec)]
        pub struct Inner {
            #[rkyv(omit_bounds)]
            pub back: Option<Box<Outer>>,
        }
    }
    mod two {
        #[memring_macros::message(crate = memring_codec)]
        pub struct Outer {
            pub inner: Option<Box<Inner>>,
        }
        #[memring_macros::message(crate = memring_codec)]
        pub struct Inner {
            pub back: Option<Box<Inner>>,
        }
    }
    all_differ(&[
        ("back to the outer", fingerprint_of::<one::Outer>()),
        ("back to itself", fingerprint_of::<two::Outer>()),
        ("the inner alone", fingerprint_of::<one::Inner>()),
    ]);
}

/// Declares types that each mention all of them.
macro_rules! tangle {
    ($module:ident: $($name:ident)*) => { tangle! { $module [$($name)*] [$($name)*] } };
    ($module:ident [$($name:ident)*] $all:tt) => {
        mod $module {
            use memring_codec::{Fingerprinted, Schema};
            $(pub struct $name; tangle! { describe $name $all })*
        }
    };
    (describe $name:ident [$($other:ident)*]) => {
        impl Fingerprinted for $name {
            fn fingerprint(into: &mut Schema) {
                into.structure(stringify!($name));
                $(into.field::<$other>(stringify!($other));)*
            }
        }
    };
}
tangle!(tangled: A B C D E F G H I J K L M N O P Q R S T U V W X Y Z);
tangle!(tangled_again: A B C D E F G H I J K L M N O P Q R S T U V W X Y Z);
tangle!(less_tangled: A B C D E F G H I J K L M N O P Q R S T U V W X Y);

#[test]
fn a_tangle_of_types_takes_no_exponential_time() {
    // Described at every mention, 26 types that mention each other would take 26! descriptions.
    all_differ(&[
        ("A", fingerprint_of::<tangled::A>()),
        ("Z", fingerprint_of::<tangled::Z>()),
        ("A without Z", fingerprint_of::<less_tangled::A>()),
    ]);
    assert_eq!(fingerprint_of::<tangled::M>(), fingerprint_of::<tangled_again::M>());
}

#[test]
fn a_lattice_of_types_takes_no_exponential_time() {
    struct Node<const DEPTH: u8>;
    macro_rules! lattice {
        ($($depth:literal => $next:literal)*) => {$(
            impl Fingerprinted for Node<$depth> {
                fn fingerprint(into: &mut Schema) {
                    into.structure("Node");
                    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
                        into.field::<Node<$next>>(name);
                    }
                }
            }
        )*};
    }
    lattice!(0 => 1 1 => 2 2 => 3 3 => 4 4 => 5 5 => 6 6 => 7 7 => 8 8 => 9 9 => 10 10 => 11 11 => 12
        12 => 13 13 => 14 14 => 15 15 => 16 16 => 17 17 => 18 18 => 19 19 => 20);
    impl Fingerprinted for Node<20> {
        fn fingerprint(into: &mut Schema) {
            into.structure("Leaf");
        }
    }
    // 8^20 descriptions would not end.
    assert!(!fingerprint_of::<Node<0>>().is_untyped());
}

#[test]
fn names_are_short_and_without_a_path() {
    let check = |name: String, expected: &str| assert_eq!(name, expected);
    check(zoo::Quote::name(), "Quote");
    check(zoo::Tree::<String>::name(), "Tree<String>");
    check(zoo::Matrix::<u8, 3>::name(), "Matrix<u8, 3>");
    check(name_of::<Vec<Option<zoo::Quote>>>(), "Vec<Option<Quote>>");
    check(name_of::<zoo::Tree<zoo::Tree<(u8, u16)>>>(), "Tree<Tree<tuple<u8, u16>>>");
    check(zoo::Chain::name(), "Chain");
}

/// One structure in every format, and what serde can be told about it.
mod formats {
    /// The same name and fields, each in a module of its own.
    macro_rules! declared {
        ($($module:ident $format:tt $(#[$meta:meta])* { $(#[$field:meta])* price })*) => {$(
            pub mod $module {
                use serde::{Deserialize, Serialize};
                use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
                #[memring_macros::message $format]
                #[derive(Serialize, Deserialize, FromBytes, IntoBytes, Immutable, KnownLayout)]
                #[repr(C)]
                $(#[$meta])*
                pub struct Type {
                    $(#[$field])*
                    pub price: u64,
                    pub size: i64,
                }
            }
        )*};
    }
    declared! {
        archived (crate = memring_codec) { price }
        json (crate = memring_codec, format = json) { price }
        cbor (format = cbor, crate = memring_codec) { price }
        postcard (crate = memring_codec, format = postcard,) { price }
        plain (crate = memring_codec, format = plain) { price }
        archived_with_serde (crate = memring_codec) { #[serde(rename = "cost")] price }
        renamed (crate = memring_codec, format = json) { #[serde(rename = "cost")] price }
        renamed_again (crate = memring_codec, format = json) { #[serde(rename = "p")] price }
        renamed_all (crate = memring_codec, format = json) #[serde(rename_all = "UPPERCASE")] { price }
        defaulted (crate = memring_codec, format = json) { #[serde(default)] price }
        documented (crate = memring_codec, format = json)
            #[allow(dead_code)] { #[doc = "What it costs."] price }
        spaced (crate = memring_codec, format = json) { #[serde( rename="cost" , )] price }
        bare (crate = memring_codec, format = json) { #[serde( rename="cost" )] price }
    }
    pub mod number {
        #[memring_macros::message(crate = memring_codec, format = json)]
        #[derive(serde::Serialize, serde::Deserialize)]
        pub struct Type {
            pub price: u64,
            #[serde(with = "super::text")]
            pub size: i64,
        }
    }
    pub mod text {
        use serde::{Deserialize, Deserializer, Serializer};
        pub fn serialize<S: Serializer>(size: &i64, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(size)
        }
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        }
    }
}

#[test]
fn the_format_and_what_serde_is_told_are_part_of_it() {
    macro_rules! digests {
        ($($module:ident)*) => {
            [$((stringify!($module), <formats::$module::Type as Message>::fingerprint())),*]
        };
    }
    all_differ(&digests!(archived json cbor postcard plain renamed renamed_again renamed_all
        defaulted spaced number));
    let alike = digests!(archived_with_serde archived documented json bare renamed);
    for pair in alike.chunks(2) {
        assert_eq!(pair[0].1, pair[1].1, "{} and {}", pair[0].0, pair[1].0);
    }
    assert_eq!(formats::json::Type::name(), "Type");
}

#[test]
fn the_size_of_plain_data_is_part_of_it() {
    macro_rules! sides {
        ($($module:ident $repr:ident)*) => {$(
            mod $module {
                #[memring_macros::message(crate = memring_codec, format = plain)]
                #[derive(zerocopy::TryFromBytes, zerocopy::IntoBytes, zerocopy::Immutable)]
                #[derive(zerocopy::KnownLayout)]
                #[repr($repr)]
                #[allow(dead_code)]
                pub enum Side { Bid, Ask }
            }
        )*};
    }
    sides!(narrow u8 wide u16);
    all_differ(&[
        ("a byte", <narrow::Side as Message>::fingerprint()),
        ("two", <wide::Side as Message>::fingerprint()),
    ]);
}

#[test]
fn a_part_has_one_description_whatever_it_is_part_of() {
    #[memring_macros::message(crate = memring_codec, format = json)]
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Part(u8);
    let part = fingerprint_of::<Part>();
    assert_ne!(
        part,
        <Part as Message>::fingerprint(),
        "what is sent has a format, and a part has none"
    );
    mod archived {
        #[memring_macros::message(crate = memring_codec)]
        pub struct Part(pub u8);
    }
    assert_eq!(part, fingerprint_of::<archived::Part>());
}

#[test]
fn types_are_shown_as_they_are_declared_and_each_once() {
    struct Arguments;
    impl Fingerprinted for Arguments {
        fn fingerprint(into: &mut Schema) {
            into.structure("arguments");
            into.field::<Vec<zoo::Expression>>("first");
            into.field::<(zoo::Tree<u8>, [u8; 4])>("second");
        }
    }
    let mut outlines = Outlines::new();
    outlines.add_arguments::<Arguments>();
    outlines.add::<zoo::Side>();
    outlines.add::<u8>();
    outlines.add::<zoo::Tree<u8>>();
    outlines.add::<zoo::Event>();
    outlines.add::<zoo::Matrix<u8, 3>>();
    let expected = [
        "enum Expression { Number(i64), Negate(Box<Expression>), Sum(Vec<Expression>) }",
        "struct Tree<u8> { value: u8, children: Vec<Tree<u8>> }",
        "enum Side { Bid = 1, Ask = 7 }",
        "enum Event { Nothing, Opened { by: String, at: Duration }, Moved(i32, i32), Failed(Result<u32, String>), Nested(Box<Letter>) }",
        "struct Letter { subject: String, bytes: Vec<u8>, quotes: Vec<Quote>, lines: Vec<String>, boxed: Box<[u16]>, text: Box<str>, queue: VecDeque<(u8, String)>, maybe: Option<Box<Quote>> }",
        "struct Quote { id: u64, price: i64, size: u64, venue: u32, flags: u32 }",
        "struct Matrix<u8, 3> { rows: [Vec<u8>; 3] }",
    ];
    assert_eq!(outlines.finish(), expected);
}
