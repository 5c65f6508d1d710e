//! The mirror, the bounds, the kernel's refusals, and what a forked child does not have.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use rustix::mm::MprotectFlags;

use super::*;
use crate::fork::testing::{Way, alone, in_child, segment_maps};

const CONTROL: u32 = 1 << 16;
const CAPACITY: u64 = 1 << 16;

fn pair() -> (Arc<Mapping>, Arc<Mapping>) {
    Mapping::anonymous_pair(CONTROL, CAPACITY).expect("memory for a pair")
}

#[test]
fn what_one_side_writes_the_other_reads() {
    let (writer, reader) = pair();
    assert!(writer.is_writable() && !reader.is_writable());
    assert_eq!((writer.capacity(), reader.capacity()), (CAPACITY, CAPACITY));
    let (ours, theirs) = (writer.control(), reader.control());
    ours.store64(128, u64::MAX - 1, Release);
    assert_eq!(theirs.load64(128, Acquire), u64::MAX - 1);
    ours.store32(260, 7, Relaxed);
    assert_eq!((theirs.load32(256, Relaxed), theirs.load32(260, Relaxed)), (0, 7));
    assert_eq!(theirs.futex_word(260) as usize % 4, 0);
    writer.data().store64(0, 3 << 32 | 5, Release);
    let data = reader.data();
    // SAFETY: nobody writes it now.
    assert_eq!(unsafe { *data.futex_word(0) }, 5, "the low half");
    // SAFETY: as above.
    assert_eq!(unsafe { data.slice(0, 8) }, [5, 0, 0, 0, 3, 0, 0, 0]);
}

#[test]
fn the_data_area_follows_itself() {
    let (writer, reader) = pair();
    let (ours, theirs) = (writer.data(), reader.data());
    let capacity = CAPACITY as usize;
    let check = |at: usize, len: usize| {
        let bytes: Vec<u8> = (0..len).map(|i| (at + i) as u8 | 1).collect();
        ours.copy_in(at, &bytes);
        for start in [at, (at + capacity) % (2 * capacity)] {
            let mut seen = vec![0; len.min(2 * capacity - start)];
            theirs.copy_out(start, &mut seen);
            assert_eq!(seen, bytes[..seen.len()], "written at {at}, read at {start}");
        }
        ours.zero(at, len);
        let mut seen = vec![1; len];
        theirs.copy_out(at, &mut seen);
        assert!(seen.iter().all(|&byte| byte == 0));
    };
    check(0, 64);
    check(capacity - 16, 16);
    check(capacity - 16, 17); // over the seam
    check(capacity - 1000, 2000);
    check(capacity, 64);
    check(2 * capacity - 64, 64); // the last bytes there are
    check(capacity / 2, capacity);
    // The control area is not part of it.
    assert_eq!(reader.control().load64(CONTROL as usize - 8, Relaxed), 0);
}

#[test]
fn a_slip_of_ours_panics_and_touches_nothing() {
    let (writer, reader) = pair();
    let (control, data) = (writer.control(), writer.data());
    let (end, data_end) = (CONTROL as usize, 2 * CAPACITY as usize);
    let refused = |what: &str, access: &dyn Fn()| {
        assert!(catch_unwind(AssertUnwindSafe(access)).is_err(), "{what}");
    };
    control.load64(end - 8, Relaxed);
    control.load32(end - 4, Relaxed);
    control.copy_in(end, &[]);
    data.copy_in(data_end - 1, &[0]);
    refused("u64 at the end", &|| _ = control.load64(end, Relaxed));
    refused("u64 far out", &|| _ = control.load64(usize::MAX & !7, Relaxed));
    refused("u64 not aligned", &|| _ = control.load64(4, Relaxed));
    refused("u32 not aligned", &|| _ = control.load32(2, Relaxed));
    refused("u32 at the end", &|| control.store32(end, 1, Relaxed));
    refused("futex word at the end", &|| _ = control.futex_word(end));
    refused("one byte too many in", &|| data.copy_in(data_end - 1, &[0, 0]));
    refused("one byte too many out", &|| data.copy_out(data_end - 1, &mut [0, 0]));
    refused("start beyond the end", &|| data.copy_in(data_end + 1, &[]));
    refused("end past usize", &|| data.zero(8, usize::MAX - 4));
    let theirs = reader.data();
    refused("u64 into the peer's", &|| theirs.store64(0, 1, Relaxed));
    refused("u32 into the peer's", &|| theirs.store32(0, 1, Relaxed));
    refused("bytes into the peer's", &|| theirs.copy_in(0, &[1]));
    refused("zeros into the peer's", &|| theirs.zero(0, 1));
}

#[test]
fn a_read_only_mapping_cannot_be_made_writable() {
    let segment =
        crate::segment::Segment::create(Geometry::new(CONTROL, CAPACITY).expect("valid sizes"))
            .expect("a segment");
    // Even the creator's own, once the writer has sealed: it was mapped through a writable fd.
    let open = segment.offer_writer().expect("a writable fd");
    let writer =
        Mapping::map(std::os::fd::AsFd::as_fd(&open), segment.geometry(), Access::ReadWrite)
            .expect("mapped");
    use rustix::fs::SealFlags;
    rustix::fs::fcntl_add_seals(&open, SealFlags::FUTURE_WRITE | SealFlags::SEAL).expect("sealed");
    let reader = segment.into_reader().expect("mapped");
    let raise = |mapping: &Mapping| {
        // SAFETY: adds a right to memory that is only used through `Region`.
        unsafe {
            rustix::mm::mprotect(
                mapping.base.as_ptr().cast(),
                mapping.total(),
                MprotectFlags::READ | MprotectFlags::WRITE,
            )
        }
    };
    assert_eq!(raise(&reader), Err(Errno::ACCESS));
    assert_eq!(raise(&writer), Ok(()));
}

#[test]
fn pages_are_touched_where_the_kernel_cannot_populate() {
    let (writer, reader) = pair();
    writer.data().store64(0, 9, Relaxed);
    writer.touch_pages();
    reader.touch_pages();
    assert_eq!(reader.data().load64(0, Relaxed), 9);
}

#[test]
fn a_mapping_can_be_kept_out_of_dumps() {
    alone("memory::tests::a_mapping_can_be_kept_out_of_dumps", || {
        let (writer, reader) = pair();
        let flagged = |flag: &str| {
            let smaps = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
            let mut ours = false;
            let mut count = 0;
            for line in smaps.lines() {
                if let Some(flags) = line.strip_prefix("VmFlags:") {
                    count += usize::from(ours && flags.split(' ').any(|f| f == flag));
                    ours = false;
                } else if line.contains("/memfd:memring") {
                    ours = true;
                }
            }
            count
        };
        assert_eq!((flagged("dd"), flagged("dc")), (0, 4), "dumped, but not given to children");
        writer.exclude_from_dumps().expect("the advice is taken");
        reader.exclude_from_dumps().expect("the advice is taken");
        assert_eq!(flagged("dd"), 4);
    });
}

#[test]
fn dropping_the_last_region_unmaps() {
    alone("memory::tests::dropping_the_last_region_unmaps", || {
        let (writer, reader) = pair();
        assert_eq!(segment_maps(), 4);
        drop(reader);
        let region = writer.control();
        let other = region.clone();
        drop((writer, region));
        assert_eq!(segment_maps(), 2);
        other.store64(0, 1, Relaxed);
        drop(other);
        assert_eq!(segment_maps(), 0);
    });
}

#[test]
fn attack_78_a_child_that_drops_leaves_the_range_alone() {
    alone("memory::tests::attack_78_a_child_that_drops_leaves_the_range_alone", || {
        let (writer, _reader) = pair();
        for way in [Way::Fork, Way::RawClone] {
            let inherited = Arc::clone(&writer);
            let base = writer.base.as_ptr();
            assert!(in_child(way, move || {
                assert_eq!(segment_maps(), 0);
                // Something else of the child's, at the very same place.
                // SAFETY: refuses to replace anything.
                let reused = unsafe {
                    rustix::mm::mmap_anonymous(
                        base.cast(),
                        4096,
                        ProtFlags::READ | ProtFlags::WRITE,
                        MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE,
                    )
                }
                .expect("the range is free in the child");
                assert_eq!(reused.cast(), base);
                // One count of it is the parent's `writer`, copied by the fork.
                // SAFETY: the child never uses `writer` again.
                unsafe { Arc::decrement_strong_count(Arc::as_ptr(&inherited)) };
                assert_eq!(Arc::strong_count(&inherited), 1);
                drop(inherited);
                // SAFETY: mapped above and still there, or this test ends by a signal.
                unsafe { base.write_volatile(1) };
                true
            }));
        }
        assert_eq!(segment_maps(), 4);
    });
}
