//! Waiting for descriptors: `ppoll` and `select`, with times of either width.

use super::{Cx, Item};
use crate::abi::Layout;
use crate::convert;
use crate::host::{self, Errno};

/// Descriptors in a set at most.
const MAX_FDS: u64 = 1 << 16;
/// Bytes of the kernel's `sigset_t`.
const SIGSET: u64 = 8;

fn optional(cx: &Cx<'_>, layout: &'static Layout, at: u64) -> Result<Option<Item>, Errno> {
    if at == 0 { Ok(None) } else { Ok(Some(Item::read(cx, layout, at, 1)?)) }
}

fn address(item: &Option<Item>) -> u64 {
    item.as_ref().map_or(0, Item::address)
}

fn sigset(cx: &Cx<'_>, at: u64, size: u64) -> Result<Option<Item>, Errno> {
    if at != 0 && size != SIGSET {
        return Err(libc::EINVAL);
    }
    optional(cx, &cx.abi.layouts.sigset, at)
}

/// `ppoll`; the kernel says how long was left.
pub(crate) fn ppoll(cx: &Cx<'_>, a: &[u64; 6], time: &'static Layout) -> Result<i64, Errno> {
    if a[1] > MAX_FDS {
        return Err(libc::EINVAL);
    }
    let fds = Item::read(cx, &cx.abi.layouts.pollfd, a[0], a[1] as usize)?;
    let (timeout, mask) = (optional(cx, time, a[2])?, sigset(cx, a[3], a[4])?);
    let result = host::syscall(libc::SYS_ppoll, [fds.address(), a[1], address(&timeout), address(&mask), SIGSET, 0]);
    if let Some(timeout) = &timeout {
        // A constant may be read-only.
        _ = timeout.write(cx, a[2]);
    }
    let ready = result?;
    fds.write(cx, a[0])?;
    Ok(ready)
}

/// A guest's `fd_set`: an array of `long`.
fn set_in(cx: &Cx<'_>, at: u64, fds: u64) -> Result<Option<Vec<u64>>, Errno> {
    if at == 0 {
        return Ok(None);
    }
    let mut set = vec![0u64; fds.div_ceil(64) as usize];
    let bits = 8 * u64::from(cx.abi.long);
    for n in 0..fds.div_ceil(bits) {
        if let Some(word) = set.get_mut((n * bits / 64) as usize) {
            *word |= cx.long(at, n)? << (n * bits % 64);
        }
    }
    Ok(Some(set))
}

fn set_out(cx: &Cx<'_>, at: u64, fds: u64, set: &Option<Vec<u64>>) -> Result<(), Errno> {
    let Some(set) = set else { return Ok(()) };
    let bits = 8 * u64::from(cx.abi.long);
    for n in 0..fds.div_ceil(bits) {
        let word = set.get((n * bits / 64) as usize).copied().unwrap_or(0) >> (n * bits % 64);
        cx.put(at + n * u64::from(cx.abi.long), cx.abi.long, word)?;
    }
    Ok(())
}

/// `_newselect` (`time` is a `timeval`) and `pselect6`, whose last argument points to a mask and its size.
pub(crate) fn select(cx: &Cx<'_>, a: &[u64; 6], time: &'static Layout, mask: bool) -> Result<i64, Errno> {
    let fds = u64::try_from(a[0] as i32).map_err(|_| libc::EINVAL)?.min(MAX_FDS);
    let mut sets = [set_in(cx, a[1], fds)?, set_in(cx, a[2], fds)?, set_in(cx, a[3], fds)?];
    let timeout = optional(cx, time, a[4])?;
    let pair = if mask && a[5] != 0 { (cx.long(a[5], 0)?, cx.long(a[5], 1)?) } else { (0, SIGSET) };
    let mask_item = sigset(cx, pair.0, pair.1)?;
    let host_pair = [address(&mask_item), SIGSET];
    let number = if mask { libc::SYS_pselect6 } else { libc::SYS_select };
    let [reads, writes, others] = sets.each_mut().map(|s| s.as_mut().map_or(0, |s| s.as_mut_ptr() as u64));
    let last = if mask_item.is_some() { host_pair.as_ptr() as u64 } else { 0 };
    let result = host::syscall(number, [fds, reads, writes, others, address(&timeout), last]);
    if let Some(timeout) = &timeout {
        _ = timeout.write(cx, a[4]);
    }
    let ready = result?;
    for (set, at) in sets.iter().zip([a[1], a[2], a[3]]) {
        set_out(cx, at, fds, set)?;
    }
    Ok(ready)
}

/// Words of bits as the host has them, from those of a guest (`sched_setaffinity`).
pub(crate) fn bits_in(cx: &Cx<'_>, at: u64, len: u64) -> Result<Vec<u64>, Errno> {
    let bytes = cx.bytes(at, len.min(8192), 8192)?;
    let mut out = vec![0u64; bytes.len().div_ceil(8)];
    let long = usize::from(cx.abi.long);
    for (n, part) in bytes.chunks(long).enumerate() {
        if let Some(word) = out.get_mut(n * long / 8) {
            *word |= convert::number(part, cx.big) << (n * long % 8 * 8);
        }
    }
    Ok(out)
}

/// The first `len` bytes of the host's bits go to the guest.
pub(crate) fn bits_out(cx: &Cx<'_>, at: u64, len: u64, bits: &[u64]) -> Result<(), Errno> {
    set_out(cx, at, len * 8, &Some(bits.to_vec()))
}
