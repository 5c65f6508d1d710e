//! Archives that name what came with them: any bytes are refused, or name every descriptor once and known blobs only.
//!
//! The first byte says how many descriptors came, the second which blobs are known.

#![allow(unsafe_code)]

use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use memring::Fd;
use memring::blob::{ArchivedBlob, Blob, BlobBuilder, Table};
use memring_codec::attached::{Arrivals, Attaches, NoPlace};
use memring_codec::rkyv::util::AlignedVec;
use memring_codec::{ArchivedFd, Attached, Encoder, Format, Scratch};

use crate::Seed;
use crate::input::Input;

/// Blobs that may be known: these numbers.
const NUMBERS: u64 = 8;

/// A message with all that can be carried, beside and among other things.
#[memring_macros::message(crate = memring, attachments)]
struct Parcel {
    name: String,
    first: Option<Fd>,
    fds: Vec<Fd>,
    boxed: Box<Inner>,
    blobs: Vec<Blob<[u8]>>,
    table: Option<Blob<Table<[u8]>>>,
}

#[memring_macros::message(crate = memring, attachments)]
enum Inner {
    Nothing,
    One { fd: Fd, number: u32 },
    Two(Fd, Fd, Blob<[u8]>),
}

/// What came: so many descriptors, and these blobs are known. What was asked for.
struct Came {
    fds: u32,
    known: u8,
    asked: Mutex<Vec<u64>>,
}

impl Arrivals for Came {
    fn fds(&self) -> u32 {
        self.fds
    }

    fn take_fd(&self, _: u32) -> Option<OwnedFd> {
        None
    }

    fn claim_blob(&self, number: u64) -> bool {
        self.asked.lock().expect("one thread").push(number);
        number < NUMBERS && self.known >> number & 1 == 1
    }

    fn blob(&self, _: u64) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }
}

/// One archive.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (fds, known) = (u32::from(input.u8()) % 254, input.u8());
    let mut bytes = AlignedVec::<16>::new();
    bytes.extend_from_slice(input.rest());
    let came = Arc::new(Came { fds, known, asked: Mutex::default() });
    let arrivals: Arc<dyn Arrivals> = came.clone();
    let carried = match <Attached as Format<Parcel>>::decode_with(&bytes, arrivals) {
        Ok(carried) => carried,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    // SAFETY: (1) checked in the lines above, (2) borrowed for as long as the view lives.
    let parcel = unsafe { <Attached as Format<Parcel>>::view(&carried, &bytes) };
    let mut named: Vec<u32> =
        parcel.first.iter().chain(parcel.fds.iter()).map(ArchivedFd::index).collect();
    let mut blobs: Vec<&ArchivedBlob<[u8]>> = parcel.blobs.iter().collect();
    match &*parcel.boxed {
        ArchivedInner::Nothing => {}
        ArchivedInner::One { fd, .. } => named.push(fd.index()),
        ArchivedInner::Two(one, other, blob) => {
            named.extend([one.index(), other.index()]);
            blobs.push(blob);
        }
    }
    named.sort_unstable();
    assert!(named.iter().copied().eq(0..fds), "{named:?} of {fds}");
    let asked = came.asked.lock().expect("one thread");
    assert_eq!(asked.len(), blobs.len() + usize::from(parcel.table.is_some()));
    assert!(asked.iter().all(|number| *number < NUMBERS && known >> number & 1 == 1));
}

/// Takes anything, and numbers it.
#[derive(Default)]
struct All {
    fds: u32,
    blobs: u64,
}

impl Attaches for All {
    fn fd(&mut self, _: &Fd) -> Result<u32, NoPlace> {
        self.fds += 1;
        Ok(self.fds - 1)
    }

    fn blob(&mut self, _: &Arc<dyn Any + Send + Sync>) -> Result<u64, NoPlace> {
        self.blobs += 1;
        Ok(self.blobs - 1)
    }
}

/// Messages with nothing, with a little and with all, each as it should be, with a descriptor too few or too many, and with blobs
/// that are not known.
pub fn seeds() -> Vec<Seed> {
    use std::os::fd::AsFd;
    let stdin: &'static std::io::Stdin = Box::leak(Box::new(std::io::stdin()));
    let fd = || Fd::from(stdin.as_fd());
    let blob = || BlobBuilder::new().with_size(1).expect("memory").seal().expect("a seal");
    let table = || BlobBuilder::new().table::<[u8]>().expect("memory").seal().expect("a seal");
    let parcel = |fds: usize, boxed, blobs: usize, more: bool| Parcel {
        name: "a name that lies out of line".into(),
        first: more.then(fd),
        fds: (0..fds).map(|_| fd()).collect(),
        boxed: Box::new(boxed),
        blobs: (0..blobs).map(|_| blob()).collect(),
        table: more.then(table),
    };
    let all = [
        ("nothing", parcel(0, Inner::Nothing, 0, false)),
        ("descriptors", parcel(3, Inner::One { fd: fd(), number: 7 }, 0, true)),
        ("one-descriptor", parcel(1, Inner::Nothing, 0, false)),
        ("blobs", parcel(0, Inner::Nothing, 5, false)),
        ("all", parcel(2, Inner::Two(fd(), fd(), blob()), 3, true)),
    ];
    let mut seeds = Vec::new();
    for (name, parcel) in all {
        let (mut scratch, mut along) = (Scratch::new(1 << 16), All::default());
        let mut out = Encoder::new(&mut scratch);
        <Attached as Format<Parcel>>::encode_with(&parcel, &mut out, &mut along).expect("encoded");
        let mut seed = |what: &str, fds: u32, known: u8| {
            let bytes = [&[fds as u8, known][..], &scratch].concat();
            seeds.push((format!("{name}{what}"), bytes));
        };
        seed("", along.fds, 0xff);
        seed("-too-few", along.fds.saturating_sub(1), 0xff);
        seed("-too-many", along.fds + 1, 0xff);
        seed("-unknown", along.fds, 0b101);
    }
    seeds
}
