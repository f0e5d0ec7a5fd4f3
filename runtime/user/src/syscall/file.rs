//! Files by path and what directories hold: open with the files of `/proc/self`, links, entries, and calls with another order of arguments.
//!
//! Not modelled: files of `/proc/self` that a relative path names.

use super::plain::follows;
use super::{Cx, Item};
use crate::abi::{Arg, Call, Layout};
use crate::convert;
use crate::host::{self, Errno};
use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;

/// Directory entries and links come in at most that many bytes at once.
const MAX_BYTES: u64 = 1 << 20;
/// `PATH_MAX`.
const PATH_MAX: usize = 4096;

/// `openat` with the host's flags.
pub(crate) fn open(cx: &Cx<'_>, call: &Call, directory: u64, path: u64, flags: u64, mode: u64) -> Result<i64, Errno> {
    let text = cx.space.string(path)?;
    if let Some(contents) = cx.own_file(&text).and_then(|name| cx.own.special_open(name)) {
        return memory_file(&text, &contents, flags);
    }
    let follow = follows(call, &Arg::Path, &[flags; 6]);
    let path = cx.path(path, follow)?;
    host::syscall(libc::SYS_openat, [directory, path.as_ptr() as u64, flags, mode, 0, 0])
}

/// A descriptor that reads `contents`.
fn memory_file(name: &[u8], contents: &[u8], flags: u64) -> Result<i64, Errno> {
    let name = CString::new(name).map_err(|_| libc::EINVAL)?;
    let close = if flags & libc::O_CLOEXEC as u64 != 0 { libc::MFD_CLOEXEC } else { 0 };
    let fd = host::syscall(libc::SYS_memfd_create, [name.as_ptr() as u64, close.into(), 0, 0, 0, 0])?;
    let mut rest = contents;
    while !rest.is_empty() {
        match host::write(fd, rest, None) {
            Ok(n) => rest = rest.get(n.max(1) as usize..).unwrap_or(&[]),
            Err(e) => {
                _ = host::close(fd);
                return Err(e);
            }
        }
    }
    host::lseek(fd, 0, 0).map(|_| fd)
}

/// `openat2`.
pub(crate) fn openat2(cx: &Cx<'_>, call: &Call, a: &[u64; 6]) -> Result<i64, Errno> {
    let layout = &cx.abi.layouts.open_how;
    if a[3] < layout.size.into() {
        return Err(libc::EINVAL);
    }
    let mut how = Item::read(cx, layout, a[2], 1)?;
    let flags = convert::flags_to_host(&cx.abi.flags.open, how.get("flags"));
    if how.get("resolve") == 0 {
        return open(cx, call, a[0], a[1], flags, how.get("mode"));
    }
    how.set("flags", flags);
    let path = cx.path(a[1], follows(call, &Arg::Path, &[flags; 6]))?;
    host::syscall(libc::SYS_openat2, [a[0], path.as_ptr() as u64, how.address(), layout.host_size.into(), 0, 0])
}

/// `readlinkat`.
pub(crate) fn readlink(cx: &Cx<'_>, directory: u64, path: u64, to: u64, len: u64) -> Result<i64, Errno> {
    // The length is an `int`.
    let len = usize::try_from(len as i32).ok().filter(|len| *len > 0).ok_or(libc::EINVAL)?;
    let text = cx.space.string(path)?;
    let name = cx.own_file(&text);
    let found = if name == Some("exe") {
        cx.paths.guest(cx.own.program().to_path_buf().into_os_string().into_vec())
    } else {
        let path = cx.paths.host(text.clone(), false)?;
        let mut buffer = vec![0; PATH_MAX];
        let n = host::syscall(libc::SYS_readlinkat, [directory, path.as_ptr() as u64, buffer.as_mut_ptr() as u64, PATH_MAX as u64, 0, 0])?;
        buffer.truncate(n as usize);
        // Links of /proc lead to where the host has it.
        if name.is_some() { cx.paths.guest(buffer) } else { buffer }
    };
    let found = &found[..found.len().min(len)];
    cx.space.write(to, found)?;
    Ok(found.len() as i64)
}

/// `getcwd`.
pub(crate) fn getcwd(cx: &Cx<'_>, to: u64, len: u64) -> Result<i64, Errno> {
    let mut buffer = vec![0; PATH_MAX];
    let n = host::syscall(libc::SYS_getcwd, [buffer.as_mut_ptr() as u64, PATH_MAX as u64, 0, 0, 0, 0])?;
    buffer.truncate((n as usize).saturating_sub(1));
    let mut path = cx.paths.guest(buffer);
    path.push(0);
    if path.len() as u64 > len {
        return Err(libc::ERANGE);
    }
    cx.space.write(to, &path)?;
    Ok(path.len() as i64)
}

/// `statfs64` and `fstatfs64`, whose second argument is the size of the structure.
pub(crate) fn statfs64(cx: &Cx<'_>, number: libc::c_long, what: u64, a: &[u64; 6]) -> Result<i64, Errno> {
    let layout: &'static Layout = &cx.abi.layouts.statfs64;
    // C aligns it to 8 bytes where the kernel does not.
    if a[1] != u64::from(layout.size) && a[1] != u64::from(layout.size.next_multiple_of(8)) {
        return Err(libc::EINVAL);
    }
    let item = Item::new(layout, 1);
    let result = host::syscall(number, [what, item.address(), 0, 0, 0, 0])?;
    item.write(cx, a[2])?;
    Ok(result)
}

/// `close_range`: those of the emulator stay open.
pub(crate) fn close_range(first: u64, last: u64, flags: u64) -> Result<i64, Errno> {
    if first > last {
        return Err(libc::EINVAL);
    }
    let mut from = first;
    let mut kept: Vec<u64> = (0..4096).filter(|fd| (first..=last).contains(fd) && host::is_reserved(*fd as i32)).collect();
    kept.push(last.saturating_add(1));
    for fd in kept {
        if from < fd {
            host::syscall(libc::SYS_close_range, [from, fd - 1, flags, 0, 0, 0])?;
        }
        from = fd + 1;
    }
    Ok(0)
}

/// `_llseek`: the position goes to where an argument says.
pub(crate) fn llseek(cx: &Cx<'_>, a: &[u64; 6]) -> Result<i64, Errno> {
    let at = host::syscall(libc::SYS_lseek, [a[0], a[1] << 32 | a[2] & 0xffff_ffff, a[4], 0, 0, 0])?;
    cx.put(a[3], 8, at as u64)?;
    Ok(0)
}

/// A directory entry as the host's `getdents64` gives it.
struct Entry<'b> {
    inode: u64,
    offset: u64,
    kind: u8,
    name: &'b [u8],
    /// Bytes of the whole record.
    len: usize,
}

/// `struct linux_dirent64` of the host: inode, offset, length, kind, name with a zero.
fn entry(bytes: &[u8]) -> Option<Entry<'_>> {
    let len = convert::number(bytes.get(16..18)?, false) as usize;
    let record = bytes.get(..len)?;
    let name = record.get(19..)?;
    let name = name.split(|b| *b == 0).next().unwrap_or(name);
    Some(Entry { inode: convert::number(&record[..8], false), offset: convert::number(&record[8..16], false), kind: record[18], name, len })
}

/// `getdents64`, or `getdents` (`old`: `struct linux_dirent`, whose numbers are `long` and whose last byte is the kind).
pub(crate) fn entries(cx: &Cx<'_>, fd: u64, to: u64, len: u64, old: bool) -> Result<i64, Errno> {
    let mut buffer = vec![0; len.min(MAX_BYTES) as usize];
    let n = host::getdents64(fd as i64, &mut buffer)?;
    let (mut rest, mut out) = (buffer.get(..n as usize).unwrap_or(&[]), Vec::new());
    let long = usize::from(cx.abi.long);
    while let Some(e) = entry(rest) {
        let mut record = vec![0; if old { (2 * long + 2 + e.name.len() + 2).next_multiple_of(long) } else { e.len }];
        let (size, name) = if old { (long, 2 * long + 2) } else { (8, 19) };
        let total = record.len();
        convert::put(&mut record[..size], e.inode, cx.big);
        convert::put(&mut record[size..2 * size], e.offset, cx.big);
        convert::put(&mut record[2 * size..2 * size + 2], total as u64, cx.big);
        record[name..name + e.name.len()].copy_from_slice(e.name);
        record[if old { total - 1 } else { 18 }] = e.kind;
        out.extend(record);
        rest = rest.get(e.len.max(1)..).unwrap_or(&[]);
    }
    if !out.is_empty() {
        cx.space.write(to, &out)?;
    }
    Ok(out.len() as i64)
}
