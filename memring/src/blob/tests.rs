//! Blobs of values, tables and bytes.

use std::io::Write;
use std::ops::ControlFlow;
use std::os::fd::AsFd;

use memring_codec::{LARGEST_VALUE, TableWriteError, rkyv};
use memring_transport::socket::ForeignFd;

use super::*;

#[memring_macros::message(crate = crate)]
#[derive(Debug, Clone, PartialEq)]
struct Part {
    name: String,
    data: Vec<u8>,
}

fn part(n: usize) -> Part {
    Part { name: format!("part {n} with a long name"), data: vec![n as u8; n * 1000] }
}

/// What another process has of it.
fn received<T: Content + ?Sized>(blob: &Blob<T>) -> Blob<T> {
    let fd = blob.memory().as_fd().try_clone_to_owned().expect("dup");
    let memory = SealedMemory::from_foreign(ForeignFd::new(fd), blob.memory().len());
    Blob::of(Arc::new(memory.expect("a blob"))).expect("of this kind")
}

#[test]
fn a_value_is_read_in_place_at_both_ends() {
    for n in [0, 1, 500] {
        let blob = BlobBuilder::new().value(&part(n)).expect("memory");
        for blob in [blob.clone(), received(&blob)] {
            let value = blob.get().expect("valid");
            assert_eq!(memring_codec::deserialize::<Part>(value).expect("valid"), part(n));
            assert!(std::ptr::eq(value, blob.clone().get().expect("valid")), "one memory");
            assert!(blob.bytes().as_ptr_range().contains(&std::ptr::from_ref(value).cast()));
        }
    }
}

#[test]
fn a_table_gives_each_value_for_as_long_as_it_is_held() {
    for pages in [Pages::Usual, Pages::Huge] {
        let mut table = BlobBuilder::new().pages(pages).table::<Part>().expect("memory");
        for n in 0..60 {
            assert_eq!(table.push(&part(n)).expect("room"), n as u64);
        }
        let blob = table.seal().expect("sealed");
        for blob in [blob.clone(), received(&blob)] {
            assert_eq!((blob.len(), blob.is_empty()), (60, false));
            let kept: Vec<_> =
                (0..60).map(|n| blob.get(n).expect("valid").expect("there").into_view()).collect();
            assert!(kept.iter().enumerate().all(|(n, kept)| kept.data.len() == n * 1000));
            assert!(blob.get(60).expect("no error").is_none());
        }
    }
    let empty = BlobBuilder::new().table::<Part>().expect("memory").seal().expect("sealed");
    assert!(empty.is_empty() && received(&empty).get(0).expect("no error").is_none());
}

#[test]
fn bytes_are_bytes() {
    let mut sized = BlobBuilder::new().with_size(10).expect("memory");
    sized[3..6].copy_from_slice(b"abc");
    assert_eq!(&sized[..4], b"\0\0\0a");
    let mut growing = BlobBuilder::new().growing().expect("memory");
    assert!(growing.is_empty());
    write!(growing, "\0\0\0abc\0\0\0\0").expect("room");
    assert_eq!(growing.len(), 10);
    let (sized, growing) = (sized.seal().expect("sealed"), growing.seal().expect("sealed"));
    let value = BlobBuilder::new().value(b"\0\0\0abc\0\0\0\0".as_slice()).expect("memory");
    for blob in [&sized, &growing, &value, &received(&sized)] {
        assert_eq!(&**blob, b"\0\0\0abc\0\0\0\0");
        assert_eq!(blob.get().expect("any bytes"), &**blob);
    }
    assert_ne!(sized.id(), growing.id());
    assert_eq!(sized.id(), received(&sized).id());
    assert!(Arc::ptr_eq(sized.memory(), sized.clone().memory()));
    let exe = std::fs::File::open("/proc/self/exe").expect("this program");
    let copy = BlobBuilder::new().copy_of(&exe, |_, _| ControlFlow::Continue(())).expect("copied");
    assert!(
        copy.starts_with(b"\x7fELF") && copy.len() as u64 == exe.metadata().expect("stat").len()
    );
}

#[test]
fn attack_72_bytes_that_are_no_such_value_are_an_error_each_time() {
    let bytes = BlobBuilder::new().value([0xff; 100].as_slice()).expect("memory");
    let as_part: Blob<Part> = Blob::of(Arc::clone(bytes.memory())).expect("not looked at");
    for _ in 0..2 {
        assert!(matches!(as_part.get(), Err(ReadError::Invalid(_))));
    }
    assert!(Blob::<Table<Part>>::of(Arc::clone(bytes.memory())).is_err());
    let empty = BlobBuilder::new().value([].as_slice()).expect("memory");
    let as_part = Blob::<Part>::of(Arc::clone(empty.memory())).expect("not looked at");
    assert!(as_part.get().is_err());
    assert!(Blob::<Table<Part>>::of(Arc::clone(empty.memory())).is_err());
}

/// A type whose own check panics.
#[memring_macros::message(crate = crate)]
#[rkyv(bytecheck(verify))]
struct Trap {
    armed: bool,
}

// SAFETY: it accepts what its fields accept, or panics.
unsafe impl<C: rkyv::rancor::Fallible + ?Sized> rkyv::bytecheck::Verify<C> for ArchivedTrap {
    fn verify(&self, _: &mut C) -> Result<(), C::Error> {
        if self.armed { std::panic::panic_any("armed") } else { Ok(()) }
    }
}

#[test]
fn attack_77_a_check_that_panics_has_not_accepted_the_value() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let trap = BlobBuilder::new().value(&Trap { armed: true }).expect("memory");
    let mut table = BlobBuilder::new().table::<Trap>().expect("memory");
    table.push(&Trap { armed: true }).expect("room");
    table.push(&Trap { armed: false }).expect("room");
    let table = table.seal().expect("sealed");
    for _ in 0..2 {
        assert!(matches!(trap.get(), Err(ReadError::Panicked)));
        assert!(matches!(table.get(0), Err(ReadError::Panicked)));
        assert!(table.get(1).expect("valid").is_some());
    }
    std::panic::set_hook(hook);
}

#[test]
fn one_archive_beyond_2_gib_is_refused_with_what_to_do() {
    // Zeros that the kernel has not made yet, and nobody looks at.
    let large = Part { name: String::new(), data: vec![0; LARGEST_VALUE + 1] };
    let error = BlobBuilder::new().value(&large).expect_err("too large");
    assert!(matches!(error, BuildError::ArchiveTooLarge), "{error}");
    assert!(error.to_string().contains("make it a table"), "{error}");
    let mut table = BlobBuilder::new().table::<Part>().expect("memory");
    let error = table.push(&large).expect_err("too large");
    assert!(matches!(error, BuildError::Table(TableWriteError::ValueTooLarge)), "{error}");
    assert!(table.seal().is_err());
}

#[test]
#[ignore = "takes 2.3 GiB of memory and some seconds"]
fn a_table_beyond_2_gib_is_a_blob_like_any_other() {
    let data: Vec<u8> = (0..100 << 20_u32).map(|at: u32| (at >> 8) as u8).collect();
    let mut table = BlobBuilder::new().table::<Part>().expect("memory");
    for n in 0..23 {
        table.push(&Part { name: format!("part {n}"), data: data.clone() }).expect("room");
    }
    let blob = table.seal().expect("sealed");
    assert!(blob.bytes().len() > 23 * data.len() && blob.bytes().len() > LARGEST_VALUE);
    let blob = received(&blob);
    for n in (0..23).rev() {
        let part = blob.get(n).expect("valid").expect("there").into_view();
        assert_eq!(part.name, format!("part {n}"));
        assert!(part.data == data);
    }
}
