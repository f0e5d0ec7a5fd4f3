//! Memory for generated code, mapped twice: once to be written, once to be executed. That of a process that may fork is mapped once for both: a child
//! shares memory that is mapped twice, and would write over its parent's code.
//!
//! It is anonymous where it can be: Linux `perf` looks for names of code ([`crate::interp::PerfMap`]) in anonymous memory only. Who does not let it be
//! mapped twice (Valgrind) gets a memory file.

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, MremapFlags, ProtFlags, mmap, mmap_anonymous, mprotect, mremap, munmap};
use std::ffi::c_void;
use std::ptr::null_mut;

/// The buffer. Addresses are plain numbers; what is executed from it is the caller's care.
pub struct Buffer {
    write: usize,
    execute: usize,
    used: usize,
    size: usize,
}

impl Buffer {
    /// An empty buffer of so many bytes, of which a child gets a copy of its own or not.
    ///
    /// # Errors
    /// The host refuses memory that is both.
    pub fn new(size: usize, copied: bool) -> Result<Buffer, Errno> {
        let (write, execute) = if copied { private(size)? } else { anonymous(size).or_else(|_| file(size))? };
        Ok(Buffer { write: write as usize, execute: execute as usize, used: 0, size })
    }

    /// True if a block may not fit any more.
    pub fn is_full(&self) -> bool {
        self.used > self.size - (self.size / 8).min(1 << 20)
    }

    /// Where its first code is executed.
    pub fn begin(&self) -> usize {
        self.execute
    }

    /// How much of it is used.
    pub fn used(&self) -> usize {
        self.used
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

    /// An aligned number in code already there, by its address for execution.
    pub fn slot(&self, at: usize) -> u64 {
        let offset = at - self.execute;
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.used, "no slot is at {offset:#x}");
        // SAFETY: aligned and inside the mapping.
        unsafe { (*((self.write + offset) as *const std::sync::atomic::AtomicU64)).load(std::sync::atomic::Ordering::Relaxed) }
    }

    /// A copy of code already there, by its address for execution.
    pub fn copy(&self, at: usize, len: usize) -> Vec<u8> {
        let offset = at - self.execute;
        assert!(offset + len <= self.used, "no {len} bytes of code are at {offset:#x}");
        // SAFETY: inside the mapping, and nobody writes while this is borrowed.
        unsafe { std::slice::from_raw_parts((self.write + offset) as *const u8, len) }.to_vec()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.used = 0;
    }
}

const WRITE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);
const EXECUTE: ProtFlags = ProtFlags::READ.union(ProtFlags::EXEC);

/// One view to write and to execute.
fn private(size: usize) -> Result<(*mut c_void, *mut c_void), Errno> {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a new mapping at a place of the kernel's choice.
    let both = unsafe { mmap_anonymous(null_mut(), size, WRITE | EXECUTE, flags) }?;
    Ok((both, both))
}

/// Views to write and to execute of anonymous memory.
fn anonymous(size: usize) -> Result<(*mut c_void, *mut c_void), Errno> {
    // SAFETY: a new mapping at a place of the kernel's choice.
    let execute = unsafe { mmap_anonymous(null_mut(), size, EXECUTE, MapFlags::SHARED) }?;
    // SAFETY: nothing is unmapped: an old size of 0 asks for another mapping of the same shared pages (mremap(2)).
    let write = unsafe { mremap(execute, 0, size, MremapFlags::MAYMOVE) }.inspect_err(|_| unmap(execute, size))?;
    // SAFETY: the mapping just made, which nobody uses yet.
    let writable = unsafe { mprotect(write, size, MprotectFlags::READ | MprotectFlags::WRITE) };
    writable.inspect_err(|_| [write, execute].into_iter().for_each(|at| unmap(at, size)))?;
    Ok((write, execute))
}

/// Views to write and to execute of a memory file.
fn file(size: usize) -> Result<(*mut c_void, *mut c_void), Errno> {
    let file = memfd_create("emu-code", MemfdFlags::CLOEXEC)?;
    ftruncate(&file, size as u64)?;
    // SAFETY: new mappings at places of the kernel's choice.
    let map = |protection| unsafe { mmap(null_mut(), size, protection, MapFlags::SHARED, &file, 0) };
    let write = map(WRITE)?;
    Ok((write, map(EXECUTE).inspect_err(|_| unmap(write, size))?))
}

fn unmap(at: *mut c_void, size: usize) {
    // SAFETY: a mapping just made; nothing points into it.
    _ = unsafe { munmap(at, size) };
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let views = if self.write == self.execute { &[self.write][..] } else { &[self.write, self.execute] };
        for at in views.iter().copied() {
            // SAFETY: our own mappings; who executed from them borrowed the engine that owns this.
            _ = unsafe { munmap(at as *mut _, self.size) };
        }
    }
}
