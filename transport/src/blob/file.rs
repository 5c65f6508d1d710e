//! The memfd under a blob, until it is sealed.
//!
//! Nobody else has it: its descriptor leaves this process only once [`seal`](Unsealed::seal) has made it one that
//! nobody can write. So what is said about its size and its bytes here is true without asking.
//!
//! It maps nothing; see `map`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use memring_ring::fork::{self, Generation};
use rustix::fs::{FallocateFlags, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Resource, getrlimit};

use super::{BlobError, MemoryId, SEALS};

/// Shown in `/proc/PID/maps`. Never read by anyone of ours.
const NAME: &str = "memring-blob";

/// So often the kernel may find pages in use before it is believed.
const BUSY: u32 = 8;

/// A memfd that is ours alone.
#[derive(Debug)]
pub(super) struct Unsealed {
    fd: OwnedFd,
    generation: Generation,
}

impl Unsealed {
    /// An empty one.
    pub(super) fn create() -> Result<Self, BlobError> {
        let generation = fork::generation();
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = match rustix::fs::memfd_create(NAME, flags | MemfdFlags::NOEXEC_SEAL) {
            // Linux before 6.3. The other two flags stay.
            Err(Errno::INVAL) => rustix::fs::memfd_create(NAME, flags),
            other => other,
        }
        .map_err(BlobError::of("memfd_create", 0))?;
        // Others who come to hold it may not open it for writing, nor hang extended attributes on it.
        rustix::fs::fchmod(&fd, Mode::RUSR).map_err(BlobError::of("fchmod", 0))?;
        Ok(Self { fd, generation })
    }

    /// An error in a forked child: its parent goes on writing this very file.
    pub(super) fn check_process(&self) -> Result<(), BlobError> {
        if self.generation.is_current() { Ok(()) } else { Err(BlobError::Forked) }
    }

    /// Gives it `len` bytes of zeros. None of them is there yet.
    pub(super) fn resize(&self, len: u64) -> Result<(), BlobError> {
        may_have(len)?;
        retry_on_intr(|| rustix::fs::ftruncate(&self.fd, len))
            .map_err(BlobError::of("ftruncate", len))
    }

    /// Sees to it that each of its `len` bytes is there.
    ///
    /// On older kernels a signal undoes the whole call it arrives in, so the steps get smaller until one fits
    /// between two signals.
    pub(super) fn allocate(&self, len: u64) -> Result<(), BlobError> {
        may_have(len)?;
        let page = rustix::param::page_size() as u64;
        let mut step = len;
        let mut done = 0;
        while done < len {
            let now = step.min(len - done);
            match rustix::fs::fallocate(&self.fd, FallocateFlags::empty(), done, now) {
                Ok(()) => done += now,
                Err(Errno::INTR) => step = (step / 2).next_multiple_of(page).max(page),
                Err(other) => return Err(BlobError::of("fallocate", len)(other)),
            }
        }
        Ok(())
    }

    /// Writes `bytes` at `offset`, where the file ends or before it.
    pub(super) fn write_at(&self, mut bytes: &[u8], mut offset: u64) -> Result<(), BlobError> {
        let end = offset.saturating_add(bytes.len() as u64);
        may_have(end)?;
        while !bytes.is_empty() {
            let written = retry_on_intr(|| rustix::io::pwrite(&self.fd, bytes, offset))
                .map_err(BlobError::of("pwrite", end))?;
            if written == 0 {
                return Err(BlobError::of("pwrite", end)(Errno::NOSPC));
            }
            bytes = &bytes[written..];
            offset += written as u64;
        }
        Ok(())
    }

    /// Seals it for good. What it gives back is open for reading only, except where there is no `/proc` or a sandbox
    /// lets nothing be opened; there the seals alone keep it.
    ///
    /// No mapping that can write may be left, or the kernel refuses (EBUSY). It does so too where it still has a hand on a
    /// page of its own accord: one that was just written waits in a list of the processor it was written on, and on a busy
    /// machine the kernel may not get it out of there in the 150 ms that one call takes.
    pub(super) fn seal(self, len: u64) -> Result<(OwnedFd, MemoryId), BlobError> {
        self.check_process()?;
        let mut left = BUSY;
        while let Err(refused) = rustix::fs::fcntl_add_seals(&self.fd, SEALS) {
            left -= 1;
            if refused != Errno::BUSY || left == 0 {
                return Err(BlobError::of("fcntl(F_ADD_SEALS)", len)(refused));
            }
        }
        // Whoever is to receive it looks at the same, and would say that we broke a rule.
        let seals = rustix::fs::fcntl_get_seals(&self.fd)
            .map_err(BlobError::of("fcntl(F_GET_SEALS)", len))?;
        if seals - SealFlags::EXEC != SEALS {
            return Err(BlobError::of("fcntl(F_ADD_SEALS)", len)(Errno::INVAL));
        }
        let id = MemoryId::of(&self.stat(len)?);
        match self.reopen(id, len)? {
            Some(read_only) => Ok((read_only, id)),
            None => Ok((self.fd, id)),
        }
    }

    /// Another open file of the same memory that cannot write; `None` if there is none to be had.
    fn reopen(&self, id: MemoryId, len: u64) -> Result<Option<OwnedFd>, BlobError> {
        let path = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = retry_on_intr(|| rustix::fs::open(path.as_str(), flags, Mode::empty()));
        let fd = match opened {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::ACCESS | Errno::PERM | Errno::NOSYS) => return Ok(None),
            Err(other) => return Err(BlobError::of("open of /proc/self/fd", len)(other)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(BlobError::of("fstat", len))?;
        // A thread that has left its process's fd table sees the wrong one there.
        Ok((MemoryId::of(&stat) == id).then_some(fd))
    }

    fn stat(&self, len: u64) -> Result<rustix::fs::Stat, BlobError> {
        rustix::fs::fstat(&self.fd).map_err(BlobError::of("fstat", len))
    }
}

impl AsFd for Unsealed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Past this limit the kernel does not return an error, it sends SIGXFSZ.
pub(super) fn may_have(needed: u64) -> Result<(), BlobError> {
    match getrlimit(Resource::Fsize).current {
        Some(limit) if limit < needed => Err(BlobError::FileSizeLimit { needed, limit }),
        _ => Ok(()),
    }
}
