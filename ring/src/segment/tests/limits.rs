//! Limits, signals, sandboxes and older kernels.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicU32;

use rustix::process::Rlimit;

use super::hostile::plain_mask;
use super::*;
use crate::fork::generation;
use crate::fork::testing::{Argument, Denial, Way, deny, in_child, open_fds, segment_maps};

/// Sets a soft limit and gives back what it was.
fn limit(resource: Resource, value: Option<u64>) -> Option<u64> {
    let before = getrlimit(resource);
    let now = Rlimit { current: value, maximum: before.maximum };
    rustix::process::setrlimit(resource, now).expect("a soft limit can be set");
    before.current
}

#[test]
fn attack_79_a_file_size_limit_is_an_error_and_not_a_signal() {
    alone(
        "segment::tests::limits::attack_79_a_file_size_limit_is_an_error_and_not_a_signal",
        || {
            let len = geometry().file_len();
            limit(Resource::Fsize, Some(len - 1));
            let refused = Segment::create(geometry());
            assert!(
                matches!(refused, Err(SegmentError::FileSizeLimit { needed, limit })
                if needed == len && limit == len - 1),
                "{refused:?}"
            );
            limit(Resource::Fsize, Some(len));
            Segment::create(geometry()).expect("exactly enough");
        },
    );
}

/// Makes both segments of a channel, and everything between.
fn a_whole_channel() -> Result<(), SegmentError> {
    let refused = |rejected: Rejected| SegmentError::Refused(rejected.why);
    let s = Segment::create(geometry())?;
    let mask = s.seal_mask();
    let (_writer, send, _) = s.into_writer()?;
    let checked = Candidate::new(send).check(expect(Stage::Sealed, mask)).map_err(refused)?;
    let _reader = checked.map_reader()?;
    let c = Segment::create(geometry())?;
    let offered = c.offer_writer()?;
    let checked = Candidate::new(offered).check(expect(Stage::Open, mask)).map_err(refused)?;
    let _writer = checked.map_writer_and_seal()?;
    let _reader = c.into_reader()?;
    Ok(())
}

#[test]
fn attack_79_nothing_is_left_behind_whichever_fd_or_map_is_refused() {
    alone(
        "segment::tests::limits::attack_79_nothing_is_left_behind_whichever_fd_or_map_is_refused",
        || {
            a_whole_channel().expect("without limits it works");
            let before = (open_fds(), segment_maps());
            // New fds take the lowest free number, and the limit is on the number.
            let lowest = File::open("/dev/null").expect("an fd").as_raw_fd() as u64;
            // One more fd allowed each time, until it works.
            let mut failures = 0;
            for spare in 0.. {
                let unlimited = limit(Resource::Nofile, Some(lowest + spare));
                let result = a_whole_channel();
                limit(Resource::Nofile, unlimited);
                assert_eq!((open_fds(), segment_maps()), before, "with {spare} fds to spare");
                match result {
                    Ok(()) => break,
                    Err(SegmentError::NoDescriptors { .. }) => failures += 1,
                    Err(other) => panic!("with {spare} fds to spare: {other:?}"),
                }
            }
            assert!(failures > 1, "the limit was felt {failures} times");
            // The same with address space, in steps of half a mapping.
            let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
            let pages: u64 = statm.split(' ').next().and_then(|n| n.parse().ok()).expect("pages");
            let used = pages * rustix::param::page_size() as u64;
            let mut failures = 0;
            for half in 0..32 {
                let unlimited = limit(Resource::As, Some(used + half * CAPACITY));
                let result = a_whole_channel();
                limit(Resource::As, unlimited);
                assert_eq!((open_fds(), segment_maps()), before, "after {half} halves");
                match result {
                    Ok(()) => break,
                    Err(SegmentError::NoMemory { .. }) => failures += 1,
                    Err(other) => panic!("after {half} halves: {other:?}"),
                }
            }
            assert!(failures > 1, "the limit was felt {failures} times");
        },
    );
}

#[test]
fn attack_80_a_storm_of_signals_delays_and_does_not_prevent() {
    alone(
        "segment::tests::limits::attack_80_a_storm_of_signals_delays_and_does_not_prevent",
        || {
            static HEARD: AtomicU32 = AtomicU32::new(0);
            extern "C" fn hear(_: libc::c_int) {
                HEARD.fetch_add(1, Ordering::Relaxed);
            }
            let storm = |microseconds| {
                let every = libc::timeval { tv_sec: 0, tv_usec: microseconds };
                let timer = libc::itimerval { it_interval: every, it_value: every };
                // SAFETY: the struct is read, and the old one is not asked for.
                unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) }
            };
            // SAFETY: all zeroes is a valid sigaction, without SA_RESTART; the handler touches one atomic.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = hear as *const () as usize;
                assert_eq!(libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut()), 0);
            }
            // In a child, whose only thread is the one that all the signals go to.
            assert!(in_child(Way::Fork, || {
                assert_eq!(storm(500), 0);
                // Far more pages than can be allocated between two signals.
                let big = Geometry::new(CONTROL, 1 << 26).expect("valid sizes");
                let made = Segment::create(big).and_then(Segment::into_writer);
                assert_eq!(storm(0), 0);
                made.is_ok() && HEARD.load(Ordering::Relaxed) > 0
            }));
        },
    );
}

/// This kernel finishes a `fallocate` that a signal arrives in; older ones undo it and return EINTR. Here
/// a filter does that to every step of 1 MiB or more.
#[test]
fn attack_80_an_interrupted_allocation_goes_on_in_smaller_steps() {
    let name =
        "segment::tests::limits::attack_80_an_interrupted_allocation_goes_on_in_smaller_steps";
    alone(name, || {
        let long = (libc::SYS_fallocate, Argument::Has(3, !0 << 20));
        deny(&[long], Denial::Errno(libc::EINTR));
        let big = Geometry::new(CONTROL, 1 << 24).expect("valid sizes");
        Segment::create(big).expect("step by step");
    });
}

#[test]
fn attack_80_without_proc_the_file_itself_is_sent_under_its_seals() {
    alone(
        "segment::tests::limits::attack_80_without_proc_the_file_itself_is_sent_under_its_seals",
        || {
            // SAFETY: a mount namespace for this thread alone, with an empty /proc in it.
            let hidden = unsafe {
                libc::unshare(libc::CLONE_NEWNS) == 0
                    && libc::mount(
                        c"none".as_ptr(),
                        c"/".as_ptr(),
                        std::ptr::null(),
                        libc::MS_REC | libc::MS_PRIVATE,
                        std::ptr::null(),
                    ) == 0
                    && libc::mount(
                        c"none".as_ptr(),
                        c"/proc".as_ptr(),
                        c"tmpfs".as_ptr(),
                        0,
                        std::ptr::null(),
                    ) == 0
            };
            if !hidden {
                return println!("skipped: /proc cannot be hidden: {}", io::Error::last_os_error());
            }
            let s = segment();
            assert!(s.reopen(OFlags::RDONLY).expect("no error").is_none());
            let mask = s.seal_mask();
            let (_writer, send, _) = s.into_writer().expect("mapped and sealed");
            assert!(Mapping::map(send.as_fd(), geometry(), Access::ReadWrite).is_err());
            let checked =
                Candidate::new(send).check(expect(Stage::Sealed, mask)).expect("as granted");
            checked.map_reader().expect("mapped");
            a_whole_channel().expect("both ways");
        },
    );
}

#[test]
fn attack_80_an_older_kernel_gets_the_same_segments() {
    alone("segment::tests::limits::attack_80_an_older_kernel_gets_the_same_segments", || {
        let noexec_seal = MemfdFlags::NOEXEC_SEAL.bits();
        let advice = |advice: libc::c_int| (libc::SYS_madvise, Argument::Is(2, advice as u32));
        let unknown = [
            (libc::SYS_memfd_create, Argument::Has(1, noexec_seal)), // before Linux 6.3
            advice(libc::MADV_POPULATE_READ),                        // before 5.14
            advice(libc::MADV_POPULATE_WRITE),
            advice(libc::MADV_WIPEONFORK), // before 4.14, and some sandboxes
        ];
        deny(&unknown, Denial::Errno(libc::EINVAL));
        let made = segment();
        assert_eq!(made.seal_mask().exec, plain_mask().exec);
        assert!(rustix::fs::fcntl_get_seals(made.memfd.as_file()).is_ok());
        let flags = rustix::io::fcntl_getfd(made.memfd.as_file()).expect("F_GETFD");
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        drop(made);
        a_whole_channel().expect("as on a newer one");
        // The process id does what the wiped page would.
        let parents = generation();
        assert!(parents.is_current());
        for way in [Way::Fork, Way::RawClone] {
            assert!(in_child(way, || {
                !parents.is_current() && generation() != parents && generation().is_current()
            }));
        }
        assert_eq!(generation(), parents);
    });
}
