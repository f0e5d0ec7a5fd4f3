//! The address space of one process: which pages are there, and what may be done with them.
//!
//! The host maps what the program maps, at the program's address plus a constant, with the same permissions (but that nothing is executable for the host): an
//! access of generated code is one instruction of the host, and the kernel, given such an address by a system call, finds bad pointers itself. Pages that hold
//! translated code and may be written are write-protected for the host until somebody writes there: then their translations are void, see [`Space::release`].
//!
//! Bytes are touched through [`crate::access`] only, so that a bad pointer of the program is `EFAULT` or a signal of its own, whatever another
//! thread of it unmaps meanwhile.

use crate::elf::Kind;
use crate::{access, host_signal};
use emu_memory::{Access, BusError, GuestPhys, HeldKeepers, PAGE_SIZE, PhysBus, RamBlock, RamSlice};
use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, MremapFlags, ProtFlags, mmap, mmap_anonymous, mprotect, mremap_fixed};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// May be read.
pub const READ: u8 = 1;
/// May be written.
pub const WRITE: u8 = 2;
/// May be executed.
pub const EXEC: u8 = 4;
/// Is mapped, though perhaps with no permission.
pub const MAPPED: u8 = 8;
/// Is write-protected for the host, as it holds translated code.
const CODE: u8 = 16;
/// Shows a file, or is shared: more of it is not zeros.
const OTHER: u8 = 32;

/// Bytes below and above the space where nothing is mapped: an access there wraps around, which the interpreter does.
const GUARD: usize = 1 << 16;

/// An address the process may not use in this way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("bad address {0:#x}")]
pub struct Fault(pub u64);

/// What a mapping shows.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// Zeros; shared with children or not.
    Zeros {
        /// Children see what is written.
        shared: bool,
    },
    /// A file from an offset on; what is written reaches it or not.
    File {
        /// The file.
        file: BorrowedFd<'a>,
        /// Where in it, bytes, a multiple of the page size.
        offset: u64,
        /// What is written reaches the file.
        shared: bool,
    },
}

/// An address space of at most 4 GiB.
pub struct Space {
    ram: Arc<RamBlock>,
    pages: Box<[AtomicU8]>,
    /// Held while mappings change.
    changing: Mutex<()>,
    /// How often pages that may be executed went away.
    version: AtomicU64,
}

impl Space {
    /// An empty space of `size` bytes, a multiple of the page size.
    ///
    /// # Errors
    /// The host has not that much address space.
    pub fn new(size: u64) -> Result<Space, emu_memory::MemoryError> {
        host_signal::install();
        // Zeroed, and so only what is touched is there.
        let pages = vec![0u8; (size / PAGE_SIZE) as usize].into_iter().map(AtomicU8::new).collect();
        Ok(Space { ram: RamBlock::reserve("user", size, GUARD)?, pages, changing: Mutex::new(()), version: AtomicU64::new(1) })
    }

    /// Its size, bytes.
    pub fn size(&self) -> u64 {
        self.ram.size()
    }

    /// The host's address of address 0.
    pub fn base(&self) -> usize {
        self.ram.host() as usize
    }

    /// Keeps others from changing mappings (over a fork, that the child does not inherit a lock nobody will release).
    pub fn hold(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps others from noting anything about code, for the same reason; the child's only engine is then the only one to be told.
    pub fn hold_keepers(&self) -> HeldKeepers<'_> {
        self.ram.hold_keepers()
    }

    /// Permissions of the page at `at`; 0 if nothing is mapped.
    pub fn page(&self, at: u64) -> u8 {
        self.pages.get((at / PAGE_SIZE) as usize).map_or(0, |p| p.load(Relaxed) & (READ | WRITE | EXEC | MAPPED))
    }

    fn range(&self, start: u64, len: u64) -> Option<&[AtomicU8]> {
        let end = start.checked_add(len)?.checked_next_multiple_of(PAGE_SIZE)?;
        self.pages.get((start / PAGE_SIZE) as usize..(end / PAGE_SIZE) as usize)
    }

    fn pointer(&self, at: u64) -> *mut u8 {
        self.ram.host().wrapping_add(at as usize)
    }

    /// The host's address of a range, for the host's kernel, which finds out itself what may be read there. For one that it is to write, call
    /// [`Space::release`] first.
    ///
    /// # Errors
    /// It does not lie inside the space.
    pub fn host(&self, at: u64, len: u64) -> Result<*mut u8, Fault> {
        if at <= self.size() && len <= self.size() - at { Ok(self.pointer(at)) } else { Err(Fault(at)) }
    }

    // ---- mappings

    /// Maps pages, replacing what was there.
    ///
    /// # Errors
    /// They do not lie inside the space (`ENOMEM`), or the host refuses.
    pub fn map(&self, start: u64, len: u64, permissions: u8, source: Source<'_>) -> Result<(), Errno> {
        let pages = self.range(start, len).filter(|_| start.is_multiple_of(PAGE_SIZE)).ok_or(Errno::NOMEM)?;
        let _held = self.hold();
        let (at, bytes) = (self.pointer(start).cast(), pages.len() * PAGE_SIZE as usize);
        let kind = |shared| MapFlags::FIXED | MapFlags::NORESERVE | if shared { MapFlags::SHARED } else { MapFlags::PRIVATE };
        self.forget_code(start, pages);
        // SAFETY: the range lies inside the reservation, which is the program's; whoever holds pointers into it expects it to change.
        unsafe {
            match source {
                Source::Zeros { shared } => mmap_anonymous(at, bytes, protection(permissions), kind(shared)),
                Source::File { file, offset, shared } => mmap(at, bytes, protection(permissions), kind(shared), file, offset),
            }
        }?;
        let other = if matches!(source, Source::Zeros { shared: false }) { 0 } else { OTHER };
        pages.iter().for_each(|p| p.store(permissions | MAPPED | other, Relaxed));
        Ok(())
    }

    /// Maps a segment of System V shared memory, replacing what was there.
    ///
    /// # Errors
    /// The pages do not lie inside the space (`ENOMEM`), or what shmat(2) says.
    pub fn attach(&self, start: u64, len: u64, id: i32, permissions: u8) -> Result<(), Errno> {
        let pages = self.range(start, len).filter(|_| start.is_multiple_of(PAGE_SIZE)).ok_or(Errno::NOMEM)?;
        let _held = self.hold();
        self.forget_code(start, pages);
        let flags = libc::SHM_REMAP | if permissions & WRITE == 0 { libc::SHM_RDONLY } else { 0 };
        // SAFETY: as in `map`.
        let at = unsafe { libc::shmat(id, self.pointer(start).cast(), flags) };
        if at.addr() == usize::MAX {
            return Err(Errno::from_raw_os_error(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)));
        }
        pages.iter().for_each(|p| p.store(permissions | MAPPED | OTHER, Relaxed));
        Ok(())
    }

    /// Maps pages of zeros that may be written by nobody else. False if they do not lie inside the space.
    pub fn map_zeros(&self, start: u64, len: u64, permissions: u8) -> bool {
        self.map(start, len, permissions, Source::Zeros { shared: false }).is_ok()
    }

    /// Unmaps pages. False if they do not lie inside the space.
    pub fn unmap(&self, start: u64, len: u64) -> bool {
        let Some(pages) = self.range(start, len) else { return false };
        let _held = self.hold();
        self.take_away(start, pages)
    }

    fn take_away(&self, start: u64, pages: &[AtomicU8]) -> bool {
        self.forget_code(start, pages);
        pages.iter().for_each(|p| p.store(0, Relaxed));
        let (at, bytes) = (self.pointer(start).cast(), pages.len() * PAGE_SIZE as usize);
        let flags = MapFlags::FIXED | MapFlags::NORESERVE | MapFlags::PRIVATE;
        // SAFETY: as in `map`; the addresses stay reserved.
        unsafe { mmap_anonymous(at, bytes, ProtFlags::empty(), flags) }.is_ok()
    }

    /// Changes permissions, up to the first page that is not mapped.
    ///
    /// # Errors
    /// There is such a page (`ENOMEM`), or the host refuses (a file that is not open for writing).
    pub fn protect(&self, start: u64, len: u64, permissions: u8) -> Result<(), Errno> {
        let pages = self.range(start, len).ok_or(Errno::NOMEM)?;
        let _held = self.hold();
        let hole = pages.iter().position(|p| p.load(Relaxed) == 0);
        let pages = &pages[..hole.unwrap_or(pages.len())];
        if !pages.is_empty() {
            self.forget_code(start, pages);
            self.host_protect(start, pages.len(), permissions)?;
            pages.iter().for_each(|p| p.store(permissions | MAPPED | p.load(Relaxed) & OTHER, Relaxed));
        }
        if hole.is_some() { Err(Errno::NOMEM) } else { Ok(()) }
    }

    fn host_protect(&self, start: u64, pages: usize, permissions: u8) -> Result<(), Errno> {
        let flags = MprotectFlags::from_bits_retain(protection(permissions).bits());
        // SAFETY: the range lies inside the reservation; what the program may not do any more comes back as a fault of its own.
        unsafe { mprotect(self.pointer(start).cast(), pages * PAGE_SIZE as usize, flags) }
    }

    /// Moves a mapping of `old` bytes to another place, where it has `new` bytes, replacing what was there. With `old` 0 the place gets another view of
    /// what is shared.
    ///
    /// # Errors
    /// What mremap(2) says; the places are inside the space or it is `EFAULT`.
    pub fn relocate(&self, from: u64, old: u64, to: u64, new: u64) -> Result<(), Errno> {
        let (source, target) = (self.range(from, old.max(1)).ok_or(Errno::FAULT)?, self.range(to, new).ok_or(Errno::FAULT)?);
        let _held = self.hold();
        let permissions = source.first().map_or(0, |p| p.load(Relaxed)) & (READ | WRITE | EXEC | MAPPED);
        self.forget_code(from, source);
        self.forget_code(to, target);
        self.host_protect(from, source.len(), permissions)?;
        let (here, there) = (self.pointer(from), self.pointer(to));
        let plain = source.iter().all(|p| p.load(Relaxed) & (MAPPED | OTHER) == MAPPED);
        let both = old.min(new) as usize;
        // What the program leaves stays mapped until it is reserved again: in a hole the host might put something of its own.
        let stay = MremapFlags::MAYMOVE | MremapFlags::DONTUNMAP;
        // SAFETY: both ranges lie inside the reservation, and what is there is the program's.
        let moved = unsafe {
            match (plain, new > old) {
                // What is shared may have another view, which is then longer or the only one.
                (false, true) => mremap_fixed(here.cast(), 0, new as usize, MremapFlags::MAYMOVE, there.cast()),
                _ => mremap_fixed(here.cast(), both, both, stay, there.cast()),
            }
        };
        match moved {
            // One mapping of the program may be several of the host, which a call does not move together: it was made longer.
            Err(Errno::FAULT) if plain => {
                self.host_protect(from, source.len(), READ)?;
                self.copy_mapping(here, there, new, both)?;
            }
            Ok(_) if plain && new > old => self.zeros_at(there.wrapping_add(both), new as usize - both, permissions)?,
            other => _ = other?,
        }
        self.host_protect(to, target.len(), permissions)?;
        if old != 0 {
            self.take_away(from, &source[..(old / PAGE_SIZE) as usize]);
        }
        let other = if plain { 0 } else { OTHER };
        target.iter().for_each(|p| p.store(permissions | other, Relaxed));
        Ok(())
    }

    fn zeros_at(&self, at: *mut u8, bytes: usize, permissions: u8) -> Result<(), Errno> {
        let flags = MapFlags::FIXED | MapFlags::NORESERVE | MapFlags::PRIVATE;
        // SAFETY: as in `map`.
        unsafe { mmap_anonymous(at.cast(), bytes, protection(permissions), flags) }.map(|_| ())
    }

    /// Zeros at another place, with what is here in front.
    fn copy_mapping(&self, here: *mut u8, there: *mut u8, new: u64, bytes: usize) -> Result<(), Errno> {
        self.zeros_at(there, new as usize, READ | WRITE)?;
        if access::copy(here, there, bytes) { Ok(()) } else { Err(Errno::FAULT) }
    }

    /// Makes a mapping of zeros longer where it is, into free pages.
    ///
    /// # Errors
    /// There is no room, or it is another kind of mapping (`ENOMEM`).
    pub fn grow(&self, from: u64, old: u64, new: u64) -> Result<(), Errno> {
        let last = self.range(from, old).and_then(|pages| pages.last()).map_or(OTHER, |p| p.load(Relaxed));
        if last & OTHER != 0 || !self.is_free(from + old, new - old) {
            return Err(Errno::NOMEM);
        }
        self.map(from + old, new - old, last & (READ | WRITE | EXEC), Source::Zeros { shared: false })
    }

    /// True if nothing is mapped there.
    pub fn is_free(&self, start: u64, len: u64) -> bool {
        self.range(start, len).is_some_and(|pages| pages.iter().all(|p| p.load(Relaxed) == 0))
    }

    /// The highest free place for `len` bytes that ends at or below `top`, and begins at or above `bottom`.
    pub fn find(&self, bottom: u64, top: u64, len: u64) -> Option<u64> {
        let wanted = len.div_ceil(PAGE_SIZE).max(1);
        let mut run = 0;
        for page in (bottom / PAGE_SIZE..top / PAGE_SIZE).rev() {
            run = if self.pages.get(page as usize)?.load(Relaxed) == 0 { run + 1 } else { 0 };
            if run == wanted {
                return Some(page * PAGE_SIZE);
            }
        }
        None
    }

    // ---- code

    /// Translations of these pages are void; if they could be executed, what is known of where code is, too.
    fn forget_code(&self, start: u64, pages: &[AtomicU8]) {
        if pages.iter().any(|p| p.load(Relaxed) & EXEC != 0) {
            self.version.fetch_add(1, SeqCst);
            self.ram.store_hits_code(start & !(PAGE_SIZE - 1), pages.len() as u64 * PAGE_SIZE);
            pages.iter().for_each(|p| _ = p.fetch_and(!CODE, SeqCst));
        }
    }

    /// Code is about to be read in a page: from now on the host write-protects it.
    pub fn hold_code(&self, at: u64) {
        let Some(page) = self.pages.get((at / PAGE_SIZE) as usize) else { return };
        let needed = |flags: u8| flags & (WRITE | CODE) == WRITE;
        if needed(page.load(SeqCst)) {
            let _held = self.hold();
            let flags = page.load(SeqCst);
            if needed(flags) && self.host_protect(at & !(PAGE_SIZE - 1), 1, flags & !WRITE).is_ok() {
                page.store(flags | CODE, SeqCst);
            }
        }
    }

    /// Somebody is about to write there: pages that the host write-protects, as they hold code, are not protected any more, and the code is void. False if
    /// there is no such page.
    pub fn release(&self, at: u64, len: u64) -> bool {
        let first = at & !(PAGE_SIZE - 1);
        let Some(pages) = self.range(first, len.saturating_add(at - first)) else { return false };
        if pages.iter().all(|p| p.load(SeqCst) & CODE == 0) {
            return false;
        }
        let _held = self.hold();
        for (page, at) in pages.iter().zip((first..).step_by(PAGE_SIZE as usize)) {
            let flags = page.load(SeqCst);
            if flags & CODE != 0 && self.host_protect(at, 1, flags).is_ok() {
                page.store(flags & !CODE, SeqCst);
                self.ram.store_hits_code(at, PAGE_SIZE);
            }
        }
        true
    }

    /// Translations of what lies there are void.
    pub fn void_code(&self, at: u64, len: u64) {
        let first = at & !(PAGE_SIZE - 1);
        if self.range(first, len.saturating_add(at - first)).is_some() {
            self.ram.store_hits_code(at, len);
        }
    }

    /// Tries to write until the host lets it, or the program may not: other threads protect and release pages with code at the same time.
    fn until_written<T>(&self, at: u64, len: u64, mut write: impl FnMut() -> Option<T>) -> Option<T> {
        const TRIES: usize = 10_000;
        for _ in 0..TRIES {
            if let Some(done) = write() {
                return Some(done);
            }
            let first = at & !(PAGE_SIZE - 1);
            let pages = self.range(first, len.saturating_add(at - first))?;
            if host_signal::was_bus_error() || pages.iter().any(|p| p.load(SeqCst) & WRITE == 0) {
                return None;
            }
            self.release(at, len);
        }
        None
    }

    // ---- bytes

    /// Copies bytes out of the process.
    ///
    /// # Errors
    /// An address it may not read.
    pub fn read(&self, at: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        let from = self.host(at, buffer.len() as u64)?;
        if access::copy_out(from, buffer) { Ok(()) } else { Err(Fault(at)) }
    }

    /// Copies bytes into the process.
    ///
    /// # Errors
    /// An address it may not write.
    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<(), Fault> {
        let to = self.host(at, bytes.len() as u64)?;
        self.until_written(at, bytes.len() as u64, || access::copy_in(bytes, to).then_some(())).ok_or(Fault(at))
    }

    /// Copies bytes into pages that are mapped, whatever their permissions (loaders, debuggers).
    ///
    /// # Errors
    /// A page that is not mapped.
    pub fn put(&self, at: u64, bytes: &[u8]) -> Result<(), Fault> {
        if bytes.is_empty() || self.write(at, bytes).is_ok() {
            return Ok(());
        }
        let first = at & !(PAGE_SIZE - 1);
        let pages = self.range(first, bytes.len() as u64 + (at - first)).ok_or(Fault(at))?;
        self.release(at, bytes.len() as u64);
        let _held = self.hold();
        if let Some(hole) = pages.iter().position(|p| p.load(Relaxed) == 0) {
            return Err(Fault(at.max(first + hole as u64 * PAGE_SIZE)));
        }
        self.host_protect(first, pages.len(), READ | WRITE).map_err(|_| Fault(at))?;
        let done = access::copy_in(bytes, self.pointer(at));
        for (page, at) in pages.iter().zip((first..).step_by(PAGE_SIZE as usize)) {
            self.host_protect(at, 1, page.load(Relaxed)).map_err(|_| Fault(at))?;
        }
        self.ram.store_hits_code(at, bytes.len() as u64);
        if done { Ok(()) } else { Err(Fault(at)) }
    }

    /// Reads a number of 32 bits, in the byte order of such programs.
    ///
    /// # Errors
    /// An address the process may not read.
    pub fn word(&self, at: u64, kind: &Kind) -> Result<u32, Fault> {
        let mut bytes = [0; 4];
        self.read(at, &mut bytes)?;
        Ok(kind.u32(bytes))
    }

    /// Reads a number of `size` (1, 2, 4 or 8) bytes, little-endian.
    ///
    /// # Errors
    /// An address the process may not read.
    pub fn number(&self, at: u64, size: u8) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        self.read(at, &mut bytes[..usize::from(size.min(8))])?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Reads a string that ends in a zero byte (not part of the result), at most 1 MiB.
    ///
    /// # Errors
    /// An address the process may not read, before a zero byte.
    pub fn string(&self, at: u64) -> Result<Vec<u8>, Fault> {
        let mut text = Vec::new();
        let mut place = at;
        while text.len() < 1 << 20 {
            // Up to the end of the page at once.
            let mut part = vec![0; (PAGE_SIZE - place % PAGE_SIZE) as usize];
            self.read(place, &mut part)?;
            if let Some(end) = part.iter().position(|b| *b == 0) {
                text.extend_from_slice(&part[..end]);
                return Ok(text);
            }
            place += part.len() as u64;
            text.extend(part);
        }
        Err(Fault(at))
    }
}

/// The host's protection; nothing of the program is ever executable for it.
fn protection(permissions: u8) -> ProtFlags {
    let bit = |any: u8, flag| if permissions & any != 0 { flag } else { ProtFlags::empty() };
    bit(READ | EXEC | WRITE, ProtFlags::READ) | bit(WRITE, ProtFlags::WRITE)
}

impl PhysBus for Space {
    fn read(&self, at: GuestPhys, size: u8, _: Access) -> Result<u64, BusError> {
        let from = self.host(at.0, size.into()).map_err(|_| BusError::Decode)?;
        access::load(from, size).ok_or(BusError::Decode)
    }
    fn write(&self, at: GuestPhys, size: u8, value: u64, _: Access) -> Result<(), BusError> {
        let to = self.host(at.0, size.into()).map_err(|_| BusError::Decode)?;
        self.until_written(at.0, size.into(), || access::store(to, size, value).then_some(())).ok_or(BusError::Decode)
    }
    fn exchange(&self, at: GuestPhys, size: u8, old: u64, new: u64) -> Option<Result<u64, BusError>> {
        let found = self
            .host(at.0, size.into())
            .ok()
            .and_then(|to| self.until_written(at.0, size.into(), || access::compare_exchange(to, size, old, new)));
        Some(found.ok_or(BusError::Decode))
    }
    fn ram(&self, at: GuestPhys, _: Access) -> Option<RamSlice> {
        let len = self.ram.size().checked_sub(at.0).filter(|len| *len > 0)?;
        Some(RamSlice { block: self.ram.clone(), offset: at.0, len, writable: true })
    }
    fn map_version(&self) -> u64 {
        self.version.load(SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(size: u64) -> Space {
        Space::new(size).unwrap()
    }

    #[test]
    fn pages_have_permissions_and_begin_as_zeros() {
        let s = space(1 << 24);
        assert_eq!(s.write(0x1000, &[1]), Err(Fault(0x1000)));
        assert!(s.map_zeros(0x1000, 0x2000, READ | WRITE));
        s.write(0x1ffe, &[1, 2, 3, 4]).unwrap();
        assert_eq!(s.number(0x1ffe, 4), Ok(0x0403_0201));
        s.protect(0x2000, 1, READ).unwrap();
        assert!(s.write(0x1ffe, &[1, 2, 3, 4]).is_err());
        s.put(0x1ffe, &[5, 6, 7, 8]).unwrap();
        assert_eq!((s.number(0x1ffe, 4), s.page(0x2000)), (Ok(0x0807_0605), READ | MAPPED));
        assert!(s.unmap(0x1000, 0x2000) && s.protect(0x1000, 1, READ).is_err());
        assert!(s.number(0x1000, 4).is_err() && s.put(0x1000, &[1]).is_err());
        assert!(s.map_zeros(0x1000, 0x2000, READ));
        assert_eq!(s.number(0x1ffe, 4), Ok(0));
        assert!(!s.map_zeros(u64::MAX - 5, 4, READ) && !s.map_zeros(1 << 24, 1, READ));
    }

    #[test]
    fn pages_with_code_are_protected_until_somebody_writes() {
        let s = space(1 << 24);
        assert!(s.map_zeros(0x1000, 0x1000, READ | WRITE | EXEC));
        s.ram.mark_code(0x1010, 4);
        s.hold_code(0x1010);
        assert!(!access::store(s.pointer(0x1800), 4, 1));
        assert_eq!((s.page(0x1000), s.ram.page_generation(1)), (READ | WRITE | EXEC | MAPPED, 0));
        s.write(0x1800, &[1]).unwrap();
        assert!(access::store(s.pointer(0x1800), 4, 1));
        assert_eq!((s.ram.page_generation(1), s.ram.code_lines(1)), (1, 0));
    }

    #[test]
    fn mappings_move_and_grow() {
        let s = space(1 << 24);
        assert!(s.map_zeros(0x1000, 0x2000, READ | WRITE));
        s.write(0x2000, &[7]).unwrap();
        s.grow(0x1000, 0x2000, 0x3000).unwrap();
        s.write(0x3fff, &[8]).unwrap();
        s.relocate(0x1000, 0x3000, 0x10000, 0x4000).unwrap();
        assert_eq!((s.number(0x11000, 1), s.number(0x12fff, 1), s.number(0x13fff, 1)), (Ok(7), Ok(8), Ok(0)));
        assert!(s.is_free(0x1000, 0x3000) && s.number(0x1000, 1).is_err());
        assert!(s.relocate(0x10000, 0x4000, (1 << 24) - 0x1000, 0x4000).is_err());
    }

    #[test]
    fn free_places_are_found_from_the_top() {
        let s = space(1 << 20);
        assert_eq!(s.find(0x1000, 1 << 20, 0x1001), Some((1 << 20) - 0x2000));
        s.map_zeros(0xff000, 0x1000, READ);
        assert_eq!(s.find(0x1000, 1 << 20, 0x2000), Some(0xfd000));
        assert_eq!(s.find(0x1000, 1 << 20, 1 << 20), None);
    }

    #[test]
    fn strings_end_at_a_zero_or_a_fault() {
        let s = space(1 << 20);
        s.map_zeros(0x1000, 0x1000, READ | WRITE);
        s.write(0x1ffa, b"hello\0").unwrap();
        assert_eq!(s.string(0x1ffa).unwrap(), b"hello");
        s.write(0x1ffa, b"hello!").unwrap();
        assert_eq!(s.string(0x1ffa), Err(Fault(0x2000)));
    }
}
