//! Fingerprints as another implementation computed them: the computation laid down in
//! `docs/PROTOCOL.md`, section 11, and never to change within a version of it.

mod zoo;

use memring_codec::{Message, fingerprint_of};
use zoo::*;

/// A niche and a type named by hand.
#[memring_macros::message(crate = memring_codec)]
struct Marked {
    #[rkyv(niche)]
    first: Box<str>,
    #[memring(foreign = "chrono::DateTime<Utc> 0.4")]
    second: u64,
}

#[test]
fn fingerprints_are_those_of_the_protocol() {
    macro_rules! check {
        ($($type:ty => $expected:literal)*) => {
            $(assert_eq!(fingerprint_of::<$type>().to_string(), $expected, stringify!($type));)*
        };
    }
    check! {
        u32 => "512ce10e870dd8755819f929100f8b42"
        String => "2c0a5da5a792b650a27def54159b410a"
        Vec<u32> => "529d698eeee8012861ba64883fe88655"
        () => "7668968a3baf7f0b71de84c8cc9f9e6c"
        (u8, u8) => "e1fcaa4177e2e8295d8bfe1f09b5164d"
        [u8; 4] => "75488c54f9d2c388f3b6399895603a3a"
        Empty => "7209450a8c95bae913a1f7474dcc4bd4"
        Quote => "47bc112bfebad855545bdaeff4466f4c"
        Side => "30187b636304d07446d6a8dd769a5058"
        Expression => "cae8d07fdfa84676ee00423ef01bf5c4"
        Matrix<u8, 2> => "04b4c4d11fda6b4edefb594274fed45c"
        Wrapped => "ab2045d24907c5db71054e062ce85da0"
        Marked => "d85ed1189070ccb2269344b1dca25096"
    }
}

/// What serde can be told: about the type, about a variant, about a field.
#[memring_macros::message(crate = memring_codec, format = json)]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Told {
    #[serde(rename = "b")]
    Bid,
    Text(#[serde(default)] u64),
}

/// The zoo's quote in the other formats.
mod quotes {
    macro_rules! quotes {
        ($($module:ident)*) => {$(
            pub mod $module {
                #[memring_macros::message(crate = memring_codec, format = $module)]
                #[derive(serde::Serialize, serde::Deserialize)]
                #[derive(zerocopy::FromBytes, zerocopy::IntoBytes)]
                #[derive(zerocopy::Immutable, zerocopy::KnownLayout)]
                #[repr(C)]
                pub struct Quote {
                    pub id: u64,
                    pub price: i64,
                    pub size: u64,
                    pub venue: u32,
                    pub flags: u32,
                }
            }
        )*};
    }
    quotes!(json cbor postcard plain);
}

#[test]
fn fingerprints_in_other_formats_are_those_of_the_protocol() {
    fn check<T: Message>(expected: &str) {
        assert_eq!(T::fingerprint().to_string(), expected, "{}", std::any::type_name::<T>());
    }
    check::<Quote>("47bc112bfebad855545bdaeff4466f4c");
    check::<quotes::json::Quote>("bcf845d1717423d727ecae923da4a315");
    check::<quotes::cbor::Quote>("8885748dad919649f410ab2a1cc192d3");
    check::<quotes::postcard::Quote>("78c7a8886a3b11fad2a95d862dc6b987");
    check::<quotes::plain::Quote>("b2ff1250d706f78644031cd3647132ad");
    check::<Told>("359c92599bc6c95b9a42549d8f1a8d68");
}
