//! Fingerprints as another implementation computed them: the computation laid down in
//! `docs/PROTOCOL.md`, section 11, and never to change within a version of it.

mod zoo;

use memring_codec::fingerprint_of;
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
