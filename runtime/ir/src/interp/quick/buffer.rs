//! Memory for generated code, mapped twice: once to be written, once to be executed.

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The buffer. Addresses are plain numbers; what is executed from it is the caller's care.
pub struct Buffer {
    write: usize,
    execute: usize,
    used: usize,
    size: usize,
}

impl Buffer {
    /// An empty buffer of so many bytes.
    ///
    /// # Errors
    /// The host refuses memory that is both.
    pub fn new(size: usize) -> Result<Buffer, Errno> {
        let file = memfd_create("emu-code", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, size as u64)?;
        // SAFETY: new mappings at places of the kernel's choice.
        let map = |protection| unsafe { mmap(std::ptr::null_mut(), size, protection, MapFlags::SHARED, &file, 0) };
        let write = map(ProtFlags::READ | ProtFlags::WRITE)? as usize;
        match map(ProtFlags::READ | ProtFlags::EXEC) {
            Ok(execute) => Ok(Buffer { write, execute: execute as usize, used: 0, size }),
            Err(error) => {
                // SAFETY: the mapping just made; nothing points into it.
                _ = unsafe { munmap(write as *mut _, size) };
                Err(error)
            }
        }
    }

    /// True if a block may not fit any more.
    pub fn is_full(&self) -> bool {
        self.used > self.size - (self.size / 8).min(1 << 20)
    }

    /// Where the next code will be executed.
    pub fn next(&self) -> usize {
        self.execute + self.used
    }

    /// Appends code, at a multiple of 16; `None` if there is no room.
    pub fn push(&mut self, code: &[u8]) -> Option<usize> {
        if code.len() > self.size - self.used {
            return None;
        }
        let at = self.next();
        // SAFETY: the bytes lie in the mapping, as just checked; nobody reads them while they are written.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), (self.write + self.used) as *mut u8, code.len()) };
        self.used = (self.used + code.len()).next_multiple_of(16).min(self.size);
        Some(at)
    }

    /// Changes an aligned number in code already there, by its address for execution.
    pub fn patch(&mut self, at: usize, value: u64) {
        let offset = at - self.execute;
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.used, "no slot is at {offset:#x}");
        // SAFETY: aligned and inside the mapping.
        unsafe { (*((self.write + offset) as *const std::sync::atomic::AtomicU64)).store(value, std::sync::atomic::Ordering::Release) };
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.used = 0;
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        for at in [self.write, self.execute] {
            // SAFETY: our own mappings; who executed from them borrowed the engine that owns this.
            _ = unsafe { munmap(at as *mut _, self.size) };
        }
    }
}
