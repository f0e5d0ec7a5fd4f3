//! Sockets: addresses, options, and the one call of MicroBlaze that stands for all.
//!
//! Sources: socket(7), ip(7), netlink(7), packet(7); Linux include/uapi/linux/net.h.
//!
//! Not modelled: socket filters (`SO_ATTACH_FILTER`), options whose structures hold pointers or are `long`; options that are structures of
//! several numbers keep the host's byte order but for those named here.

use super::{Cx, Item, Outcome, perform};
use crate::abi::Layout;
use crate::convert;
use crate::host::{self, Errno};

/// `struct sockaddr_storage`.
const MAX_ADDRESS: usize = 128;
/// An option's bytes at most.
const MAX_OPTION: u64 = 4096;
const SOL_SOCKET: u64 = 1;
// Options of the times with members that are `long`, and with 64-bit members; those are the same for the host.
const TIMEOUTS_OLD: [u64; 2] = [20, 21];
const TIMEOUTS_NEW: [u64; 2] = [66, 67];

/// Changes the byte order of an address: the family, and the numbers that are not in network order.
fn swap(address: &mut [u8], family: u16) {
    let numbers: &[(usize, usize)] = match i32::from(family) {
        libc::AF_INET6 => &[(24, 4)],
        libc::AF_NETLINK => &[(4, 4), (8, 4)],
        libc::AF_PACKET => &[(4, 4), (8, 2)],
        libc::AF_VSOCK => &[(4, 4), (8, 4)],
        _ => &[],
    };
    for (at, len) in [(0, 2)].iter().chain(numbers) {
        if let Some(bytes) = address.get_mut(*at..at + len) {
            bytes.reverse();
        }
    }
}

/// An address of the guest as the host has it.
pub(crate) fn address_in(cx: &Cx<'_>, at: u64, len: u64) -> Result<Vec<u8>, Errno> {
    let mut address = cx.bytes(at, len & 0xffff_ffff, MAX_ADDRESS as u64)?;
    if cx.big {
        let family = convert::number(address.get(..2).unwrap_or(&[]), true) as u16;
        swap(&mut address, family);
    }
    Ok(address)
}

/// An address of the host as the guest has it.
pub(crate) fn address_out(cx: &Cx<'_>, address: &mut [u8]) {
    if cx.big {
        let family = convert::number(address.get(..2).unwrap_or(&[]), false) as u16;
        swap(address, family);
    }
}

/// `bind` and `connect`.
pub(crate) fn with_address(cx: &Cx<'_>, number: libc::c_long, a: &[u64; 6]) -> Result<i64, Errno> {
    let address = address_in(cx, a[1], a[2])?;
    host::syscall(number, [a[0], address.as_ptr() as u64, address.len() as u64, 0, 0, 0])
}

/// `accept4`, `getsockname`, `getpeername`: an address, and in `length` its length, which says at first how much room there is.
pub(crate) fn gives_address(cx: &Cx<'_>, number: libc::c_long, fd: u64, at: u64, length: u64, flags: u64) -> Result<i64, Errno> {
    if at == 0 {
        return host::syscall(number, [fd, 0, 0, flags, 0, 0]);
    }
    let room = cx.number(length, 4)? as i32;
    let room = usize::try_from(room).map_err(|_| libc::EINVAL)?;
    let (mut address, mut len) = ([0u8; MAX_ADDRESS], MAX_ADDRESS as u32);
    let result = host::syscall(number, [fd, address.as_mut_ptr() as u64, &raw mut len as u64, flags, 0, 0])?;
    put_address(cx, &mut address, len, at, room, length)?;
    Ok(result)
}

fn put_address(cx: &Cx<'_>, address: &mut [u8; MAX_ADDRESS], len: u32, at: u64, room: usize, length: u64) -> Result<(), Errno> {
    address_out(cx, address);
    let given = room.min(len as usize).min(MAX_ADDRESS);
    if given != 0 {
        cx.space.write(at, &address[..given])?;
    }
    Ok(cx.put(length, 4, len.into())?)
}

/// `sendto`.
pub(crate) fn sendto(cx: &Cx<'_>, a: &[u64; 6]) -> Result<i64, Errno> {
    let address = if a[4] == 0 { vec![] } else { address_in(cx, a[4], a[5])? };
    let place = if a[4] == 0 { 0 } else { address.as_ptr() as u64 };
    host::syscall(libc::SYS_sendto, [a[0], cx.buffer(a[1], a[2])?, a[2], a[3], place, address.len() as u64])
}

/// `recvfrom`.
pub(crate) fn recvfrom(cx: &Cx<'_>, a: &[u64; 6]) -> Result<i64, Errno> {
    let buffer = cx.buffer_out(a[1], a[2])?;
    let (mut address, mut len) = ([0u8; MAX_ADDRESS], MAX_ADDRESS as u32);
    let (place, length) = if a[4] == 0 { (0, 0) } else { (address.as_mut_ptr() as u64, &raw mut len as u64) };
    let room = if a[4] == 0 { 0 } else { usize::try_from(cx.number(a[5], 4)? as i32).map_err(|_| libc::EINVAL)? };
    let result = host::syscall(libc::SYS_recvfrom, [a[0], buffer, a[2], a[3], place, length])?;
    if a[4] != 0 {
        put_address(cx, &mut address, len, a[4], room, a[5])?;
    }
    Ok(result)
}

/// The structure of an option, if it is one.
fn option(cx: &Cx<'_>, level: u64, name: u64) -> Option<&'static Layout> {
    let l = cx.abi.layouts;
    match (level, name) {
        (SOL_SOCKET, 13) => Some(&l.linger),
        (SOL_SOCKET, 17) => Some(&l.ucred),
        (SOL_SOCKET, n) if TIMEOUTS_OLD.contains(&n) => Some(&l.timeval),
        (SOL_SOCKET, n) if TIMEOUTS_NEW.contains(&n) => Some(&l.timeval64),
        // IP_ADD_MEMBERSHIP and its like, with an interface index.
        (0, 32 | 35 | 36) => Some(&l.ip_mreqn),
        _ => None,
    }
}

/// `setsockopt`.
pub(crate) fn setsockopt(cx: &Cx<'_>, a: &[u64; 6]) -> Result<i64, Errno> {
    const ATTACH_FILTERS: [u64; 3] = [26, 50, 51];
    if a[1] == SOL_SOCKET && ATTACH_FILTERS.contains(&a[2]) {
        return Err(libc::ENOPROTOOPT);
    }
    let call = |place: u64, len: u64| host::syscall(libc::SYS_setsockopt, [a[0], a[1], a[2], place, len, 0]);
    let len = a[4] & 0xffff_ffff;
    if let Some(layout) = option(cx, a[1], a[2]).filter(|l| len >= l.size.into()) {
        let item = Item::read(cx, layout, a[3], 1)?;
        return call(item.address(), layout.host_size.into());
    }
    if a[3] == 0 {
        return call(0, len);
    }
    let mut bytes = cx.bytes(a[3], len, MAX_OPTION)?;
    swap_int(cx, &mut bytes);
    call(bytes.as_ptr() as u64, len)
}

/// An option of 4 bytes is an `int`.
fn swap_int(cx: &Cx<'_>, bytes: &mut [u8]) {
    if cx.big && bytes.len() == 4 {
        bytes.reverse();
    }
}

/// `getsockopt`.
pub(crate) fn getsockopt(cx: &Cx<'_>, a: &[u64; 6]) -> Result<i64, Errno> {
    let room = usize::try_from(cx.number(a[4], 4)? as i32).map_err(|_| libc::EINVAL)?.min(MAX_OPTION as usize);
    if let Some(layout) = option(cx, a[1], a[2]) {
        let item = Item::new(layout, 1);
        let mut len = layout.host_size;
        host::syscall(libc::SYS_getsockopt, [a[0], a[1], a[2], item.address(), &raw mut len as u64, 0])?;
        if room < layout.size as usize {
            return Err(libc::EINVAL);
        }
        item.write(cx, a[3])?;
        cx.put(a[4], 4, layout.size.into())?;
        return Ok(0);
    }
    let (mut bytes, mut len) = (vec![0u8; room], room as u32);
    let result = host::syscall(libc::SYS_getsockopt, [a[0], a[1], a[2], bytes.as_mut_ptr() as u64, &raw mut len as u64, 0])?;
    bytes.truncate(len as usize);
    swap_int(cx, &mut bytes);
    if !bytes.is_empty() {
        cx.space.write(a[3], &bytes)?;
    }
    cx.put(a[4], 4, len.into())?;
    Ok(result)
}

/// `socketcall`: which call, and its arguments in memory.
pub(crate) fn socketcall(cx: &Cx<'_>, a: &[u64; 6]) -> Result<i64, Errno> {
    const CALLS: [(&str, u64); 20] = [
        ("socket", 3),
        ("bind", 3),
        ("connect", 3),
        ("listen", 2),
        ("accept", 3),
        ("getsockname", 3),
        ("getpeername", 3),
        ("socketpair", 4),
        ("send", 4),
        ("recv", 4),
        ("sendto", 6),
        ("recvfrom", 6),
        ("shutdown", 2),
        ("setsockopt", 5),
        ("getsockopt", 5),
        ("sendmsg", 3),
        ("recvmsg", 3),
        ("accept4", 4),
        ("recvmmsg", 5),
        ("sendmmsg", 4),
    ];
    let (name, count) = (a[0] as usize).checked_sub(1).and_then(|n| CALLS.get(n)).ok_or(libc::EINVAL)?;
    let call = cx.call(name).ok_or(libc::ENOSYS)?;
    let mut args = [0; 6];
    for n in 0..*count {
        args[n as usize] = cx.long(a[1], n)?;
    }
    match perform(call, args, cx) {
        Outcome::Result(result) => result,
        Outcome::Special(_) => Err(libc::ENOSYS),
    }
}
