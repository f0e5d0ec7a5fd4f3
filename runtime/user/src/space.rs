//! The address space of one process: which pages are there, and what may be done with them.
//!
//! Data path: system calls map and unmap; the engine asks for permissions when its TLB misses, and reads and writes the bytes behind them; system calls
//! copy in and out, and a pointer the program has no access to is `EFAULT`. The space is flat: an address is an offset in one
//! lazily committed block, so that a 32-bit process costs only what it touches.

use emu_memory::{Access, BusError, GuestBus, GuestPhys, PAGE_SIZE, PhysBus, RamBlock, RamSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

/// May be read.
pub const READ: u8 = 1;
/// May be written.
pub const WRITE: u8 = 2;
/// May be executed.
pub const EXEC: u8 = 4;
/// Is mapped, though perhaps with no permission.
pub const MAPPED: u8 = 8;

/// Instructions per turn of the engine: only bounds how often it comes back.
const TURN: u64 = 1 << 30;

/// An address the process may not use in this way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("bad address {0:#x}")]
pub struct Fault(pub u64);

/// An address space of at most 4 GiB.
pub struct Space {
    ram: Arc<RamBlock>,
    pages: Box<[AtomicU8]>,
    attention: Arc<AtomicU32>,
}

impl Space {
    /// An empty space of `size` bytes, a multiple of the page size.
    ///
    /// # Errors
    /// The host has not that much address space.
    pub fn new(size: u64) -> Result<Space, emu_memory::MemoryError> {
        let pages = (0..size / PAGE_SIZE).map(|_| AtomicU8::new(0)).collect();
        Ok(Space { ram: RamBlock::new("user", size)?, pages, attention: Arc::default() })
    }

    /// Its size, bytes.
    pub fn size(&self) -> u64 {
        self.ram.size()
    }

    /// Permissions of the page at `at`; 0 if nothing is mapped.
    pub fn page(&self, at: u64) -> u8 {
        self.pages.get((at / PAGE_SIZE) as usize).map_or(0, |p| p.load(Relaxed))
    }

    fn range(&self, start: u64, len: u64) -> Option<&[AtomicU8]> {
        let end = start.checked_add(len)?.checked_next_multiple_of(PAGE_SIZE)?;
        self.pages.get((start / PAGE_SIZE) as usize..(end / PAGE_SIZE) as usize)
    }

    /// Maps pages of zeros, replacing what was there. False if they do not lie inside the space.
    pub fn map(&self, start: u64, len: u64, permissions: u8) -> bool {
        let Some(pages) = self.range(start, len) else { return false };
        let any = pages.iter().any(|p| p.load(Relaxed) != 0);
        pages.iter().for_each(|p| p.store(permissions | MAPPED, Relaxed));
        // A page that was never mapped, or was unmapped, is zero.
        !any || self.ram.fill(start, pages.len() as u64 * PAGE_SIZE, 0)
    }

    /// Unmaps pages. False if they do not lie inside the space.
    pub fn unmap(&self, start: u64, len: u64) -> bool {
        let Some(pages) = self.range(start, len) else { return false };
        for (page, at) in pages.iter().zip((start..).step_by(PAGE_SIZE as usize)) {
            if page.swap(0, Relaxed) != 0 {
                self.ram.fill(at, PAGE_SIZE, 0);
            }
        }
        true
    }

    /// Changes permissions. False if a page is not mapped.
    pub fn protect(&self, start: u64, len: u64, permissions: u8) -> bool {
        let Some(pages) = self.range(start, len) else { return false };
        if pages.iter().any(|p| p.load(Relaxed) == 0) {
            return false;
        }
        pages.iter().for_each(|p| p.store(permissions | MAPPED, Relaxed));
        true
    }

    /// True if nothing is mapped there.
    pub fn is_free(&self, start: u64, len: u64) -> bool {
        self.range(start, len).is_some_and(|pages| pages.iter().all(|p| p.load(Relaxed) == 0))
    }

    /// The highest free place for `len` bytes that ends at or below `top`, and begins above `bottom`.
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

    fn allowed(&self, start: u64, len: u64, need: u8) -> Result<(), Fault> {
        let Some(pages) = self.range(start, len) else { return Err(Fault(start)) };
        match pages.iter().position(|p| p.load(Relaxed) & need != need) {
            None => Ok(()),
            Some(at) => Err(Fault(start.max((start / PAGE_SIZE + at as u64) * PAGE_SIZE))),
        }
    }

    /// Copies bytes out of the process.
    ///
    /// # Errors
    /// An address it may not read.
    pub fn read(&self, at: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        self.allowed(at, buffer.len() as u64, READ)?;
        if self.ram.copy_out(at, buffer) { Ok(()) } else { Err(Fault(at)) }
    }

    /// Copies bytes into the process.
    ///
    /// # Errors
    /// An address it may not write.
    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.allowed(at, bytes.len() as u64, WRITE)?;
        self.put(at, bytes)
    }

    /// Copies bytes into the process whatever the permissions (loaders).
    ///
    /// # Errors
    /// An address outside the space.
    pub fn put(&self, at: u64, bytes: &[u8]) -> Result<(), Fault> {
        if self.ram.copy_in(at, bytes) { Ok(()) } else { Err(Fault(at)) }
    }

    /// The host's address of a range that lies inside the space, for the kernel to read or write.
    ///
    /// # Errors
    /// It does not, or a page of it is not readable.
    pub fn host(&self, at: u64, len: u64) -> Result<*mut u8, Fault> {
        self.allowed(at, len, READ)?;
        self.ram.host_address(at, len).ok_or(Fault(at))
    }

    /// The kernel wrote there through [`Self::host`]: code that was translated from it is forgotten.
    pub fn wrote(&self, at: u64, len: u64) {
        self.ram.store_hits_code(at, len);
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

impl PhysBus for Space {
    fn read(&self, at: GuestPhys, size: u8, _: Access) -> Result<u64, BusError> {
        self.ram.read(at.0, size).ok_or(BusError::Decode)
    }
    fn write(&self, at: GuestPhys, size: u8, value: u64, _: Access) -> Result<(), BusError> {
        if self.ram.write(at.0, size, value) { Ok(()) } else { Err(BusError::Decode) }
    }
    fn ram(&self, at: GuestPhys, _: Access) -> Option<RamSlice> {
        let len = self.ram.size().checked_sub(at.0).filter(|len| *len > 0)?;
        Some(RamSlice { block: self.ram.clone(), offset: at.0, len, writable: true })
    }
    fn map_version(&self) -> u64 {
        1
    }
}

impl GuestBus for Space {
    fn attention(&self) -> &Arc<AtomicU32> {
        &self.attention
    }
    fn levels(&self) -> u64 {
        0
    }
    fn set_output(&self, _: usize, _: u32, _: bool) {}
    fn publish(&self, _: u64, _: u64) {}
    fn limit(&self) -> u64 {
        TURN
    }
    fn now(&self) -> u64 {
        0
    }
    fn send_event(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_permissions_and_begin_as_zeros() {
        let s = Space::new(1 << 24).unwrap();
        assert_eq!(s.write(0x1000, &[1]), Err(Fault(0x1000)));
        assert!(s.map(0x1000, 0x2000, READ | WRITE));
        s.write(0x1ffe, &[1, 2, 3, 4]).unwrap();
        assert_eq!(s.number(0x1ffe, 4), Ok(0x0403_0201));
        assert!(s.protect(0x2000, 1, READ));
        assert_eq!(s.write(0x1ffe, &[1, 2, 3, 4]), Err(Fault(0x2000)));
        assert!(s.unmap(0x1000, 0x2000) && !s.protect(0x1000, 1, READ));
        assert!(s.map(0x1000, 0x2000, READ));
        assert_eq!(s.number(0x1ffe, 4), Ok(0));
        assert!(!s.map(u64::MAX - 5, 4, READ) && !s.map(1 << 24, 1, READ));
    }

    #[test]
    fn free_places_are_found_from_the_top() {
        let s = Space::new(1 << 20).unwrap();
        assert_eq!(s.find(0x1000, 1 << 20, 0x1001), Some((1 << 20) - 0x2000));
        s.map(0xff000, 0x1000, READ);
        assert_eq!(s.find(0x1000, 1 << 20, 0x2000), Some(0xfd000));
        assert_eq!(s.find(0x1000, 1 << 20, 1 << 20), None);
    }

    #[test]
    fn strings_end_at_a_zero_or_a_fault() {
        let s = Space::new(1 << 20).unwrap();
        s.map(0x1000, 0x1000, READ | WRITE);
        s.write(0x1ffa, b"hello\0").unwrap();
        assert_eq!(s.string(0x1ffa).unwrap(), b"hello");
        s.write(0x1ffa, b"hello!").unwrap();
        assert_eq!(s.string(0x1ffa), Err(Fault(0x2000)));
    }
}
