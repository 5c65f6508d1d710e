//! Segments: memfds that, once set up, one side can write and nobody can resize.
//!
//! A lane is only as trustworthy as the file under it. The kernel's seals make three promises that no
//! peer can take back: the size stays (no SIGBUS), the pages stay (no hole is punched, nothing is
//! charged to the reader), and no new writable mapping appears. [`Segment`] is one we create;
//! [`Candidate`] is one that was sent to us, believed only after its checks. Both end as a
//! [`Mapping`], with the file closed.
//!
//! The seals do not make memory safe to read: the writer writes on while we look. That is the business
//! of [`crate::memory`] and of the lanes. Sending fds is the transport's.
//!
//! | | created, mapped, sealed by | sent | then |
//! |---|---|---|---|
//! | S | accepting side: [`Segment::create`], [`Segment::into_writer`] | read-only | connecting side: [`Candidate::check`] as [`Stage::Sealed`], [`Checked::map_reader`] |
//! | C | accepting side creates: [`Segment::create`] | writable: [`Segment::offer_writer`] | connecting side maps and seals: [`Stage::Open`], [`Checked::map_writer_and_seal`]; then [`Segment::into_reader`] |

mod check;
mod error;
mod geometry;
mod release;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use memfd::{FileSeal, Memfd, MemfdOptions};
use rustix::fs::{FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags, Stat};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Resource, getrlimit};

pub use self::check::{Candidate, Checked, Expect, Rejected, SegmentFault, Stage};
pub use self::error::SegmentError;
pub use self::geometry::{Geometry, GeometryError, MAX_CAPACITY, MAX_CONTROL};
pub use self::release::{Drained, Releases, Watched};
use crate::memory::{Access, Mapping};
use crate::step::{self, Step};

/// Shown in `/proc/PID/maps`. Never read by anyone of ours.
const NAME: &str = "memring";

/// Which file a segment is: equal for two fds exactly if they are the same memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(stat: &Stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}

/// The seals a segment bears when it is done: `SHRINK|GROW|FUTURE_WRITE|SEAL`, and `EXEC` where
/// the kernel that made it sets that at creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealMask {
    exec: bool,
}

impl SealMask {
    const FIRST: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);
    const LAST: SealFlags = Self::FIRST.union(SealFlags::FUTURE_WRITE).union(SealFlags::SEAL);

    /// The mask as it goes over the wire, the bits of `F_GET_SEALS`; `None` if it is not one of the two.
    pub fn from_bits(bits: u32) -> Option<Self> {
        [Self { exec: false }, Self { exec: true }].into_iter().find(|mask| mask.bits() == bits)
    }

    /// The bits that `F_GET_SEALS` shows in the end.
    pub fn bits(self) -> u32 {
        self.last().bits()
    }

    /// After creation: the size is fixed.
    fn first(self) -> SealFlags {
        Self::FIRST | self.exec()
    }

    /// After its writer has mapped it.
    fn last(self) -> SealFlags {
        Self::LAST | self.exec()
    }

    fn exec(self) -> SealFlags {
        if self.exec { SealFlags::EXEC } else { SealFlags::empty() }
    }
}

/// A segment of our making: full size, every page allocated, 0600, its size sealed.
#[derive(Debug)]
pub struct Segment {
    memfd: Memfd,
    geometry: Geometry,
    mask: SealMask,
    identity: Identity,
}

impl Segment {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// [`SegmentError`]; nothing is left behind.
    pub fn create(geometry: Geometry) -> Result<Self, SegmentError> {
        let needed = geometry.file_len();
        // Past this limit the kernel does not return an error, it sends SIGXFSZ.
        if let Some(limit) = getrlimit(Resource::Fsize).current
            && limit < needed
        {
            return Err(SegmentError::FileSizeLimit { needed, limit });
        }
        let memfd = create_memfd()?;
        let fd = memfd.as_file().as_fd();
        retry_on_intr(|| rustix::fs::ftruncate(fd, needed))
            .map_err(SegmentError::sized("ftruncate", needed))?;
        allocate(fd, needed).map_err(SegmentError::sized("fallocate", needed))?;
        // Others who come to hold it may not open it again, nor hang extended attributes on it.
        rustix::fs::fchmod(fd, Mode::RUSR | Mode::WUSR).map_err(SegmentError::of("fchmod"))?;
        memfd
            .add_seals(&[FileSeal::SealShrink, FileSeal::SealGrow])
            .map_err(SegmentError::memfd("fcntl(F_ADD_SEALS)"))?;
        // Not `Memfd::seals`, which drops the bits it does not know, EXEC among them.
        let found = get_seals(fd)?;
        let mask = SealMask { exec: found.contains(SealFlags::EXEC) };
        check::check_seals(fd, mask.first())?;
        let identity = check::check_size(fd, geometry)?;
        step::at(Step::SegmentMade);
        Ok(Self { memfd, geometry, mask, identity })
    }

    /// The mask this segment will bear when it is done.
    pub fn seal_mask(&self) -> SealMask {
        self.mask
    }

    /// Which file it is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Its sizes.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// S: maps it for us to write, all pages in, and seals it against everybody else.
    ///
    /// The fd is to be sent: a read-only reopening. Without `/proc` it is the file we created, which the
    /// seals alone must protect then.
    ///
    /// # Errors
    ///
    /// [`SegmentError`].
    pub fn into_writer(self) -> Result<(Arc<Mapping>, OwnedFd, Identity), SegmentError> {
        let fd = self.memfd.as_file().as_fd();
        // Before the seal: it forbids new writable mappings and leaves the ones there are.
        let mapping = Mapping::map(fd, self.geometry, Access::ReadWrite)?;
        mapping.prefault()?;
        step::at(Step::SegmentMapped);
        seal(fd, SealFlags::FUTURE_WRITE | SealFlags::SEAL)?;
        check::check_seals(fd, self.mask.last())?;
        step::at(Step::SegmentSealed);
        let send = match self.reopen(OFlags::RDONLY)? {
            Some(reopened) => reopened,
            None => self.memfd.into_file().into(),
        };
        Ok((mapping, send, self.identity))
    }

    /// C: an fd through which the peer can map it for writing and seal it.
    ///
    /// # Errors
    ///
    /// [`SegmentError`].
    pub fn offer_writer(&self) -> Result<OwnedFd, SegmentError> {
        match self.reopen(OFlags::RDWR)? {
            Some(reopened) => Ok(reopened),
            None => rustix::io::fcntl_dupfd_cloexec(self.memfd.as_file(), 0)
                .map_err(SegmentError::of("fcntl(F_DUPFD_CLOEXEC)")),
        }
    }

    /// C: maps it for us to read, once the peer says that it has sealed it.
    ///
    /// # Errors
    ///
    /// [`SegmentError::Refused`] if it has not, or has punched holes first.
    pub fn into_reader(self) -> Result<Arc<Mapping>, SegmentError> {
        let fd = self.memfd.as_file().as_fd();
        check::check_seals(fd, self.mask.last())?;
        check::check_size(fd, self.geometry)?;
        let mapping = Mapping::map(fd, self.geometry, Access::ReadOnly)?;
        mapping.prefault()?;
        step::at(Step::SegmentRead);
        Ok(mapping)
    }

    /// Another open file of the same memory, with its own mode and offset; `None` without `/proc`.
    fn reopen(&self, mode: OFlags) -> Result<Option<OwnedFd>, SegmentError> {
        let path = format!("/proc/self/fd/{}", self.memfd.as_raw_fd());
        let flags = mode | OFlags::CLOEXEC;
        let opened = retry_on_intr(|| rustix::fs::open(path.as_str(), flags, Mode::empty()));
        let fd = match opened {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(other) => return Err(SegmentError::of("open of /proc/self/fd")(other)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(SegmentError::of("fstat"))?;
        // A thread that has left its process's fd table sees the wrong one there.
        if Identity::of(&stat) != self.identity {
            return Ok(None);
        }
        Ok(Some(fd))
    }
}

impl Mapping {
    /// Memory of our own in the shape of a segment, mapped twice: to write, and to read only.
    ///
    /// Two sides in one process, for tests and benchmarks of what runs on segments.
    ///
    /// # Errors
    ///
    /// [`SegmentError`]; sizes as [`Geometry::new`] wants them.
    pub fn anonymous_pair(
        control_bytes: u32,
        capacity: u64,
    ) -> Result<(Arc<Self>, Arc<Self>), SegmentError> {
        let geometry = Geometry::new(control_bytes, capacity)?;
        let segment = Segment::create(geometry)?;
        let fd = segment.memfd.as_file().as_fd();
        let writer = Self::map(fd, geometry, Access::ReadWrite)?;
        writer.prefault()?;
        let reader = Self::map(fd, geometry, Access::ReadOnly)?;
        reader.prefault()?;
        Ok((writer, reader))
    }
}

/// A memfd that can be sealed, and never executed where the kernel knows how to say so.
fn create_memfd() -> Result<Memfd, SegmentError> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::NOEXEC_SEAL;
    match rustix::fs::memfd_create(NAME, flags) {
        Ok(fd) => {
            Memfd::try_from_fd(fd).map_err(|_| SegmentError::of("fcntl(F_GET_SEALS)")(Errno::INVAL))
        }
        // Linux before 6.3. The other two flags stay.
        Err(Errno::INVAL) => MemfdOptions::new()
            .allow_sealing(true)
            .close_on_exec(true)
            .create(NAME)
            .map_err(SegmentError::memfd("memfd_create")),
        Err(other) => Err(SegmentError::of("memfd_create")(other)),
    }
}

/// Allocates all `len` bytes. On older kernels a signal undoes the whole call it arrives in, so the steps
/// get smaller until one fits between two signals.
fn allocate(fd: BorrowedFd<'_>, len: u64) -> rustix::io::Result<()> {
    let page = rustix::param::page_size() as u64;
    let mut step = len;
    let mut done = 0;
    while done < len {
        let now = step.min(len - done);
        match rustix::fs::fallocate(fd, FallocateFlags::empty(), done, now) {
            Ok(()) => done += now,
            Err(Errno::INTR) => step = (step / 2).next_multiple_of(page).max(page),
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

fn seal(fd: BorrowedFd<'_>, seals: SealFlags) -> Result<(), SegmentError> {
    rustix::fs::fcntl_add_seals(fd, seals).map_err(|errno| match errno {
        Errno::INVAL => SegmentError::NoFutureWriteSeal,
        other => SegmentError::of("fcntl(F_ADD_SEALS)")(other),
    })
}

fn get_seals(fd: BorrowedFd<'_>) -> Result<SealFlags, SegmentError> {
    rustix::fs::fcntl_get_seals(fd).map_err(SegmentError::of("fcntl(F_GET_SEALS)"))
}

#[cfg(test)]
mod tests;
