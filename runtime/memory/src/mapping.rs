//! Memory that the host maps for us: anonymous, or a file of memory, which can be mapped a second time.

use rustix::fs::{MemfdFlags, SeekFrom, ftruncate, memfd_create, seek};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use rustix::process::{Resource, getrlimit};
use std::os::fd::OwnedFd;
use std::ptr::{NonNull, null_mut};

/// Zeroed host memory; pages come into being when touched.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
    /// Bytes mapped in front of it, and behind it, that nobody may touch.
    guard: usize,
}

// SAFETY: the mapping is plain memory owned by this value; all access goes through atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Anonymous memory.
    pub fn new(len: usize) -> Result<Mapping, Errno> {
        Mapping::map(len, 0, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// Anonymous memory between two guards.
    pub fn map(len: usize, guard: usize, protection: ProtFlags) -> Result<Mapping, Errno> {
        let whole = guard.checked_mul(2).and_then(|guards| guards.checked_add(len)).ok_or(Errno::NOMEM)?;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice aliases nothing.
        let base = unsafe { mmap_anonymous(null_mut(), whole, protection, MapFlags::PRIVATE | MapFlags::NORESERVE)? };
        NonNull::new(base.cast::<u8>().wrapping_add(guard)).map(|base| Mapping { base, len, guard }).ok_or(Errno::NOMEM)
    }

    /// A file of memory, and all of it mapped: who has the file maps parts of it again.
    pub fn file(name: &str, len: usize) -> Result<(Mapping, OwnedFd), Errno> {
        // The host kills who makes a file larger than this.
        if getrlimit(Resource::Fsize).current.is_some_and(|most| (len as u64) > most) {
            return Err(Errno::FBIG);
        }
        let file = memfd_create(name.split('\0').next().unwrap_or_default(), MemfdFlags::CLOEXEC)?;
        ftruncate(&file, len as u64)?;
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: a fresh mapping of a file of our own at an address of the kernel's choice aliases nothing.
        let base = unsafe { mmap(null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, flags, &file, 0)? };
        let base = NonNull::new(base.cast::<u8>()).ok_or(Errno::NOMEM)?;
        Ok((Mapping { base, len, guard: 0 }, file))
    }

    /// The address of its first byte.
    pub fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: these are start and length of a mapping made in `map`, and nobody holds pointers into it any more.
        let _ = unsafe { munmap(self.base.as_ptr().wrapping_sub(self.guard).cast(), self.len + 2 * self.guard) };
    }
}

/// How many of some bytes of a file were never touched and are zero, and how many behind them were; together at least one.
pub(crate) fn touched(file: &OwnedFd, offset: u64, len: usize) -> (usize, usize) {
    let next = |from, of_what: fn(u64) -> SeekFrom| match seek(file, of_what(from)) {
        Ok(next) => Some(next.saturating_sub(offset).min(len as u64) as usize),
        Err(Errno::NXIO) => Some(len),
        Err(_) => None,
    };
    let Some(zeros) = next(offset, SeekFrom::Data) else { return (0, len) };
    let end = if zeros == len { len } else { next(offset + zeros as u64, SeekFrom::Hole).unwrap_or(len).max(zeros + 1) };
    (zeros, end - zeros)
}
