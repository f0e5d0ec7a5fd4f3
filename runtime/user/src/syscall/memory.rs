//! Memory of a process: what it maps, and how it grows.
//!
//! Not modelled: shared writable mappings of files.

use super::{MAX_TRANSFER, Trouble, int};
use crate::process::Process;
use crate::space::{EXEC, READ, Space, WRITE};
use crate::{arm, host};
use emu_memory::PAGE_SIZE;

/// Mappings changed: the TLB must not remember the old ones.
pub(super) fn forget(p: &mut Process) {
    _ = p.engine.state_mut();
}

pub(super) fn permissions(prot: u64) -> u8 {
    let bit = |flag: i32, permission: u8| if prot & flag as u64 != 0 { permission } else { 0 };
    // What may be executed or written may be read, as on most machines of this kind.
    let read = bit(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC, READ);
    read | bit(libc::PROT_WRITE, WRITE) | bit(libc::PROT_EXEC, EXEC)
}

/// Checks a page-aligned range of the process's part of the space.
pub(super) fn page_range(s: &Space, at: u64, len: u64) -> Result<(), Trouble> {
    let end = at.checked_add(len).ok_or(libc::EINVAL)?;
    if !at.is_multiple_of(PAGE_SIZE) || end > arm::TASK_SIZE.min(s.size()) {
        return Err(libc::EINVAL.into());
    }
    Ok(())
}

pub(super) fn brk(p: &mut Process, wanted: u64) -> i64 {
    let (start, end) = p.heap;
    if wanted >= start {
        let (old, new) = (end.next_multiple_of(PAGE_SIZE), wanted.next_multiple_of(PAGE_SIZE));
        let done = if new > old {
            new <= arm::MAP_TOP && p.space.is_free(old, new - old) && p.space.map(old, new - old, READ | WRITE)
        } else {
            old == new || p.space.unmap(new, old - new)
        };
        if done {
            p.heap.1 = wanted;
            forget(p);
        }
    }
    p.heap.1 as i64
}

pub(super) fn mmap(p: &mut Process, a: [u64; 6]) -> Result<i64, Trouble> {
    let (hint, len, prot, flags, fd) = (a[0], a[1], a[2], a[3] as i32, int(a[4]));
    let offset = a[5] * 4096;
    if len == 0 {
        return Err(libc::EINVAL.into());
    }
    let s = p.space.clone();
    let fixed = flags & libc::MAP_FIXED != 0;
    let at = if fixed || hint != 0 && hint % PAGE_SIZE == 0 && page_range(&s, hint, len).is_ok() && s.is_free(hint, len) {
        page_range(&s, hint, len)?;
        hint
    } else {
        s.find(0x1_0000, arm::MAP_TOP, len).ok_or(libc::ENOMEM)?
    };
    // The file is read before anything that was there goes.
    let mut contents = Vec::new();
    if flags & libc::MAP_ANONYMOUS == 0 {
        if flags & libc::MAP_SHARED != 0 && prot & libc::PROT_WRITE as u64 != 0 {
            tracing::warn!("a shared writable mapping of a file is private here: what is written does not reach the file");
        }
        let mut part = vec![0; MAX_TRANSFER as usize];
        while (contents.len() as u64) < len {
            let room = (len - contents.len() as u64).min(MAX_TRANSFER) as usize;
            let n = host::read(fd, &mut part[..room], Some((offset + contents.len() as u64) as i64))? as usize;
            if n == 0 {
                break;
            }
            contents.extend_from_slice(&part[..n]);
        }
    }
    if !s.map(at, len, permissions(prot)) {
        return Err(libc::ENOMEM.into());
    }
    s.put(at, &contents)?;
    forget(p);
    Ok(at as i64)
}

pub(super) fn mremap(p: &mut Process, a: [u64; 6]) -> Result<i64, Trouble> {
    let (at, old, new, flags) = (a[0], a[1].next_multiple_of(PAGE_SIZE), a[2].next_multiple_of(PAGE_SIZE), a[3]);
    let s = p.space.clone();
    page_range(&s, at, old)?;
    let permissions = s.page(at);
    if new == 0 || permissions == 0 {
        return Err(libc::EINVAL.into());
    }
    if new <= old {
        s.unmap(at + new, old - new);
        forget(p);
        return Ok(at as i64);
    }
    if page_range(&s, at, new).is_ok() && s.is_free(at + old, new - old) {
        s.map(at + old, new - old, permissions);
        forget(p);
        return Ok(at as i64);
    }
    if flags & 1 == 0 || flags & 2 != 0 {
        return Err(libc::ENOMEM.into());
    }
    let to = s.find(0x1_0000, arm::MAP_TOP, new).ok_or(libc::ENOMEM)?;
    let mut page = vec![0; PAGE_SIZE as usize];
    s.map(to, new, permissions);
    for done in (0..old).step_by(PAGE_SIZE as usize) {
        s.read(at + done, &mut page)?;
        s.put(to + done, &page)?;
    }
    s.unmap(at, old);
    forget(p);
    Ok(to as i64)
}

/// `munmap`.
pub(super) fn munmap(p: &mut Process, at: u64, len: u64) -> Result<i64, Trouble> {
    page_range(&p.space, at, len)?;
    p.space.unmap(at, len);
    forget(p);
    Ok(0)
}

/// `mprotect`.
pub(super) fn mprotect(p: &mut Process, at: u64, len: u64, prot: u64) -> Result<i64, Trouble> {
    page_range(&p.space, at, len)?;
    if !p.space.protect(at, len, permissions(prot)) {
        return Err(libc::ENOMEM.into());
    }
    forget(p);
    Ok(0)
}
