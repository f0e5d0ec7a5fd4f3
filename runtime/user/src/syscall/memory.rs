//! System calls that change the program's address space: `brk`, `mmap`, `munmap`, `mprotect`, `mremap`, `madvise`, `msync`.
//!
//! Sources: the manual pages of these, section 2.

use crate::host::{self, Errno};
use crate::machine::Machine;
use crate::space::{EXEC, READ, Source, Space, WRITE};
use crate::thread::Thread;
use emu_memory::PAGE_SIZE;
use std::os::fd::BorrowedFd;

/// Nothing is placed below, if the program does not ask for it.
const LOWEST: u64 = 0x1_0000;

type Outcome = Result<i64, Errno>;

fn permissions(prot: u64) -> u8 {
    let bit = |flag: i32, permission: u8| if prot & flag as u64 != 0 { permission } else { 0 };
    // What may be executed or written may be read, as on most machines of this kind.
    let read = bit(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC, READ);
    read | bit(libc::PROT_WRITE, WRITE) | bit(libc::PROT_EXEC, EXEC)
}

/// A page-aligned range of the process's part of the space, its length rounded up to pages.
fn range<M: Machine>(s: &Space, at: u64, len: u64) -> Result<u64, Errno> {
    let len = len.checked_next_multiple_of(PAGE_SIZE).ok_or(libc::ENOMEM)?;
    let end = at.checked_add(len).ok_or(libc::ENOMEM)?;
    if !at.is_multiple_of(PAGE_SIZE) {
        return Err(libc::EINVAL);
    }
    if end > M::TASK_SIZE.min(s.size()) {
        return Err(libc::ENOMEM);
    }
    Ok(len)
}

fn errno(e: rustix::io::Errno) -> Errno {
    e.raw_os_error()
}

/// A free place, near a hint if that is one.
fn place<M: Machine>(s: &Space, hint: u64, len: u64) -> Result<u64, Errno> {
    let hint = hint & !(PAGE_SIZE - 1);
    if hint >= LOWEST && range::<M>(s, hint, len).is_ok() && s.is_free(hint, len) {
        return Ok(hint);
    }
    s.find(LOWEST, M::MAP_TOP, len).ok_or(libc::ENOMEM)
}

pub(super) fn brk<M: Machine>(t: &Thread<M>, wanted: u64) -> i64 {
    let mut heap = t.process.heap();
    let _placing = t.process.placing();
    let (start, end) = *heap;
    if wanted >= start {
        let (old, new) = (end.next_multiple_of(PAGE_SIZE), wanted.next_multiple_of(PAGE_SIZE));
        let s = t.space();
        let done = if new > old {
            new <= M::MAP_TOP && s.is_free(old, new - old) && s.map_zeros(old, new - old, READ | WRITE)
        } else {
            old == new || s.unmap(new, old - new)
        };
        if done {
            heap.1 = wanted;
        }
    }
    heap.1 as i64
}

/// `mmap2` counts the offset in units of `unit` bytes.
pub(super) fn map<M: Machine>(t: &Thread<M>, a: [u64; 6], unit: u64) -> Outcome {
    let (hint, len, prot, flags, fd) = (a[0], a[1], a[2], a[3] as i32, a[4] as i32);
    let s = t.space();
    let _placing = t.process.placing();
    let offset = a[5].checked_mul(unit).ok_or(libc::EOVERFLOW)?;
    if len == 0 || !offset.is_multiple_of(PAGE_SIZE) {
        return Err(libc::EINVAL);
    }
    let shared = match flags & libc::MAP_TYPE {
        libc::MAP_SHARED | libc::MAP_SHARED_VALIDATE => true,
        libc::MAP_PRIVATE => false,
        _ => return Err(libc::EINVAL),
    };
    let fixed = flags & (libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE) != 0;
    let len = range::<M>(s, if fixed { hint } else { 0 }, len)?;
    if flags & libc::MAP_FIXED_NOREPLACE != 0 && !s.is_free(hint, len) {
        return Err(libc::EEXIST);
    }
    let at = if fixed { hint } else { place::<M>(s, hint, len)? };
    let source = if flags & libc::MAP_ANONYMOUS != 0 {
        Source::Zeros { shared }
    } else if fd < 0 {
        return Err(libc::EBADF);
    } else {
        // SAFETY: the number is given to the kernel and forgotten; it says if there is no such file.
        Source::File { file: unsafe { BorrowedFd::borrow_raw(fd) }, offset, shared }
    };
    s.map(at, len, permissions(prot), source).map_err(errno)?;
    t.process.tell_mappings(t.tid);
    Ok(at as i64)
}

pub(super) fn unmap<M: Machine>(t: &Thread<M>, at: u64, len: u64) -> Outcome {
    let s = t.space();
    let len = range::<M>(s, at, len).map_err(|_| libc::EINVAL)?;
    if len == 0 {
        return Err(libc::EINVAL);
    }
    s.unmap(at, len);
    t.process.tell_mappings(t.tid);
    Ok(0)
}

pub(super) fn protect<M: Machine>(t: &Thread<M>, at: u64, len: u64, prot: u64) -> Outcome {
    let len = range::<M>(t.space(), at, len)?;
    t.space().protect(at, len, permissions(prot)).map_err(errno)?;
    t.process.tell_mappings(t.tid);
    Ok(0)
}

pub(super) fn remap<M: Machine>(t: &Thread<M>, a: [u64; 6]) -> Outcome {
    let (at, flags) = (a[0], a[3] as i32);
    let s = t.space();
    let _placing = t.process.placing();
    let old = range::<M>(s, at, a[1]).map_err(|_| libc::EINVAL)?;
    let new = range::<M>(s, 0, a[2]).map_err(|_| libc::EINVAL)?;
    if new == 0 || flags & !(libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) != 0 {
        return Err(libc::EINVAL);
    }
    if s.page(at) == 0 {
        return Err(libc::EFAULT);
    }
    let to = if flags & libc::MREMAP_FIXED != 0 {
        let apart = a[4] + new <= at || at + old <= a[4];
        if flags & libc::MREMAP_MAYMOVE == 0 || range::<M>(s, a[4], new).is_err() || !apart {
            return Err(libc::EINVAL);
        }
        a[4]
    } else if new <= old && old != 0 {
        if new < old {
            s.unmap(at + new, old - new);
        }
        t.process.tell_mappings(t.tid);
        return Ok(at as i64);
    } else if old != 0 && range::<M>(s, at, new).is_ok() && s.grow(at, old, new).is_ok() {
        return Ok(at as i64);
    } else if flags & libc::MREMAP_MAYMOVE == 0 {
        return Err(libc::ENOMEM);
    } else {
        s.find(LOWEST, M::MAP_TOP, new).ok_or(libc::ENOMEM)?
    };
    s.relocate(at, old, to, new).map_err(errno)?;
    t.process.tell_mappings(t.tid);
    Ok(to as i64)
}

pub(super) fn advise<M: Machine>(t: &Thread<M>, a: [u64; 6]) -> Outcome {
    let len = range::<M>(t.space(), a[0], a[1]).map_err(|_| libc::EINVAL)?;
    let place = t.space().host(a[0], len).map_err(|_| libc::EFAULT)?;
    // What makes pages unlike what they are for the program is for the host only to ignore.
    match a[2] as i32 {
        libc::MADV_DONTNEED
        | libc::MADV_FREE
        | libc::MADV_REMOVE
        | libc::MADV_WIPEONFORK
        | libc::MADV_KEEPONFORK
        | libc::MADV_DONTFORK
        | libc::MADV_DOFORK => {
            t.space().release(a[0], len);
            host::syscall(libc::SYS_madvise, [place as u64, len, a[2], 0, 0, 0])
        }
        0..=25 | 100..=101 if (0..len).step_by(PAGE_SIZE as usize).any(|at| t.space().page(a[0] + at) == 0) => Err(libc::ENOMEM),
        0..=25 | 100..=101 => Ok(0),
        _ => Err(libc::EINVAL),
    }
}

pub(super) fn sync<M: Machine>(t: &Thread<M>, a: [u64; 6]) -> Outcome {
    let len = range::<M>(t.space(), a[0], a[1])?;
    let place = t.space().host(a[0], len).map_err(|_| libc::EFAULT)?;
    host::syscall(libc::SYS_msync, [place as u64, len, a[2], 0, 0, 0])
}

/// Calls about pages that change nothing the program sees: the host's, at the host's address.
pub(super) fn pages<M: Machine>(t: &Thread<M>, number: libc::c_long, a: [u64; 6]) -> Outcome {
    let len = range::<M>(t.space(), a[0] & !(PAGE_SIZE - 1), a[1])?;
    let place = t.space().host(a[0], len).map_err(|_| libc::EFAULT)?;
    host::syscall(number, [place as u64, a[1], a[2], 0, 0, 0])
}

/// `mincore`: a byte for each page.
pub(super) fn resident<M: Machine>(t: &Thread<M>, a: [u64; 6]) -> Outcome {
    let s = t.space();
    let len = range::<M>(s, a[0], a[1])?;
    if (0..len).step_by(PAGE_SIZE as usize).any(|at| s.page(a[0] + at) == 0) {
        return Err(libc::ENOMEM);
    }
    s.release(a[2], len / PAGE_SIZE);
    let (place, out) = (s.host(a[0], len).map_err(|_| libc::EFAULT)?, s.host(a[2], len / PAGE_SIZE).map_err(|_| libc::EFAULT)?);
    host::syscall(libc::SYS_mincore, [place as u64, len, out as u64, 0, 0, 0])
}

/// `shmat`: the segment at a free place, or where the program wants it.
pub(super) fn attach<M: Machine>(t: &Thread<M>, id: u64, at: u64, flags: u64) -> Outcome {
    let s = t.space();
    let _placing = t.process.placing();
    let size = host::shared_size(id as i32)?;
    let len = range::<M>(s, 0, size)?;
    let round = flags & libc::SHM_RND as u64 != 0;
    let wanted = if round { at & !(PAGE_SIZE - 1) } else { at };
    let place = if wanted == 0 { s.find(LOWEST, M::MAP_TOP, len).ok_or(libc::ENOMEM)? } else { wanted };
    range::<M>(s, place, len)?;
    if flags & libc::SHM_REMAP as u64 == 0 && !s.is_free(place, len) {
        return Err(libc::EINVAL);
    }
    let write = if flags & libc::SHM_RDONLY as u64 != 0 { 0 } else { WRITE };
    s.attach(place, len, id as i32, READ | write | if flags & libc::SHM_EXEC as u64 != 0 { EXEC } else { 0 }).map_err(errno)?;
    t.process.segments().insert(place, len);
    Ok(place as i64)
}

/// `shmdt`.
pub(super) fn detach<M: Machine>(t: &Thread<M>, at: u64) -> Outcome {
    let len = t.process.segments().remove(&at).ok_or(libc::EINVAL)?;
    t.space().unmap(at, len);
    t.process.tell_mappings(t.tid);
    Ok(0)
}
