//! `sendmsg`, `recvmsg` and their like: messages with addresses and control messages.
//!
//! Sources: recvmsg(2), cmsg(3), unix(7), ip(7).
//!
//! Not modelled: the timeout of `recvmmsg`; control messages that are structures of several numbers, other than those named here, keep the
//! host's byte order.

use super::socket::{address_in, address_out};
use super::vectors::Vectors;
use super::{Cx, Item};
use crate::abi::Layout;
use crate::convert;
use crate::host::{self, Errno};

/// Bytes of control messages at most (`net.core.optmem_max` is of this order).
const MAX_CONTROL: u64 = 1 << 16;
/// Messages of one call at most.
const MAX_MESSAGES: u64 = 1024;
const MAX_ADDRESS: usize = 128;
const SOL_SOCKET: u64 = 1;
const SCM_RIGHTS: u64 = 1;
/// The host's `struct cmsghdr`: length, level, type; data is aligned to 8 bytes.
const HOST_HEADER: usize = 16;

/// What the data of a control message is.
enum Data {
    /// Numbers of so many bytes.
    Numbers(usize),
    /// A structure that the host has too.
    Structure(&'static Layout),
    Bytes,
}

fn data(cx: &Cx<'_>, level: u64, kind: u64, len: usize) -> Data {
    let l = cx.abi.layouts;
    match (level, kind) {
        (SOL_SOCKET, SCM_RIGHTS) => Data::Numbers(4),
        (SOL_SOCKET, 2) => Data::Structure(&l.ucred),
        (SOL_SOCKET, 29) => Data::Structure(&l.timeval),
        (SOL_SOCKET, 35) => Data::Structure(&l.timespec),
        (SOL_SOCKET, 63) => Data::Structure(&l.timeval64),
        (SOL_SOCKET, 64) => Data::Structure(&l.timespec64),
        // IP_PKTINFO: the index is a number, the addresses are in network order.
        (0, 8) => Data::Structure(&l.packet_info),
        _ if len == 4 => Data::Numbers(4),
        _ => Data::Bytes,
    }
}

/// Swaps each number of `size` bytes.
fn swapped(bytes: &[u8], size: usize, big: bool) -> Vec<u8> {
    let mut out = bytes.to_vec();
    if big {
        out.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }
    out
}

/// Control messages of the guest as the host has them.
fn control_in(cx: &Cx<'_>, bytes: &[u8]) -> Result<Vec<u8>, Errno> {
    let header = &cx.abi.layouts.cmsghdr;
    let (size, long) = (header.size as usize, usize::from(cx.abi.long));
    let (mut out, mut rest) = (Vec::new(), bytes);
    while rest.len() >= size {
        let len = convert::number(&rest[..long], cx.big) as usize;
        if len < size || len > rest.len() {
            return Err(libc::EINVAL);
        }
        let (level, kind) = (convert::number(&rest[long..long + 4], cx.big), convert::number(&rest[long + 4..long + 8], cx.big));
        let from = &rest[size..len];
        let data = match data(cx, level, kind, from.len()) {
            Data::Numbers(n) => swapped(from, n, cx.big),
            Data::Structure(layout) => {
                let mut host = vec![0; layout.host_size as usize];
                convert::to_host(layout, from, &mut host, cx.big);
                host
            }
            Data::Bytes => from.to_vec(),
        };
        if (level, kind) == (SOL_SOCKET, SCM_RIGHTS) && data.chunks_exact(4).any(|d| host::is_reserved(convert::number(d, false) as i32)) {
            return Err(libc::EBADF);
        }
        out.extend(((HOST_HEADER + data.len()) as u64).to_le_bytes());
        out.extend((level as u32).to_le_bytes());
        out.extend((kind as u32).to_le_bytes());
        out.extend(data);
        out.resize(out.len().next_multiple_of(8), 0);
        rest = rest.get(len.next_multiple_of(long)..).unwrap_or(&[]);
    }
    Ok(out)
}

/// Control messages of the host as the guest has them, in at most `room` bytes; true if some did not fit.
fn control_out(cx: &Cx<'_>, bytes: &[u8], room: usize) -> (Vec<u8>, bool) {
    let (size, long) = (cx.abi.layouts.cmsghdr.size as usize, usize::from(cx.abi.long));
    let (mut out, mut rest, mut cut) = (Vec::<u8>::new(), bytes, false);
    while rest.len() >= HOST_HEADER {
        let len = (convert::number(&rest[..8], false) as usize).clamp(HOST_HEADER, rest.len());
        let (level, kind) = (convert::number(&rest[8..12], false), convert::number(&rest[12..16], false));
        let from = &rest[HOST_HEADER..len];
        rest = rest.get(len.next_multiple_of(8)..).unwrap_or(&[]);
        let mut data = match data(cx, level, kind, from.len()) {
            Data::Numbers(n) => swapped(from, n, cx.big),
            Data::Structure(layout) => {
                let mut guest = vec![0; layout.size as usize];
                convert::to_guest(layout, from, &mut guest, cx.big);
                guest
            }
            Data::Bytes => from.to_vec(),
        };
        let free = room.saturating_sub(out.len());
        if (level, kind) == (SOL_SOCKET, SCM_RIGHTS) {
            // Descriptors that do not fit are closed, as the kernel would not have made them.
            let fit = free.saturating_sub(size) / 4 * 4;
            if fit < data.len() {
                from.chunks_exact(4).skip(fit / 4).for_each(|d| _ = host::close(convert::number(d, false) as i32 as i64));
                data.truncate(fit);
                cut = true;
            }
        }
        if free < size + data.len() || (cut && data.is_empty()) {
            cut = true;
            continue;
        }
        let start = out.len();
        out.resize(start + size, 0);
        convert::put(&mut out[start..start + long], (size + data.len()) as u64, cx.big);
        convert::put(&mut out[start + long..start + long + 4], level, cx.big);
        convert::put(&mut out[start + long + 4..start + long + 8], kind, cx.big);
        out.extend(data);
        out.resize(out.len().next_multiple_of(long).min(room), 0);
    }
    (out, cut)
}

/// `sendmsg`.
pub(crate) fn send(cx: &Cx<'_>, fd: u64, at: u64, flags: u64) -> Result<i64, Errno> {
    let mut header = Item::read(cx, &cx.abi.layouts.msghdr, at, 1)?;
    let vectors = Vectors::read(cx, header.get("msg_iov"), header.get("msg_iovlen"))?;
    let name = if header.get("msg_name") == 0 { vec![] } else { address_in(cx, header.get("msg_name"), header.get("msg_namelen"))? };
    let control = control_in(cx, &cx.bytes(header.get("msg_control"), header.get("msg_controllen"), MAX_CONTROL)?)?;
    // The kernel wants it aligned.
    let mut words = vec![0u64; control.len().div_ceil(8)];
    for (word, bytes) in words.iter_mut().zip(control.chunks(8)) {
        *word = convert::number(bytes, false);
    }
    header.set("msg_iov", vectors.address());
    header.set("msg_name", if name.is_empty() { 0 } else { name.as_ptr() as u64 });
    header.set("msg_namelen", name.len() as u64);
    header.set("msg_control", if control.is_empty() { 0 } else { words.as_ptr() as u64 });
    header.set("msg_controllen", control.len() as u64);
    host::syscall(libc::SYS_sendmsg, [fd, header.address(), flags, 0, 0, 0])
}

/// `recvmsg`.
pub(crate) fn receive(cx: &Cx<'_>, fd: u64, at: u64, flags: u64) -> Result<i64, Errno> {
    let layout = &cx.abi.layouts.msghdr;
    let guest = Item::read(cx, layout, at, 1)?;
    let vectors = Vectors::read(cx, guest.get("msg_iov"), guest.get("msg_iovlen"))?;
    let room = guest.get("msg_controllen").min(MAX_CONTROL);
    let mut name = [0u8; MAX_ADDRESS];
    // The host's headers and times are larger.
    let mut control = vec![0u64; if room == 0 { 0 } else { (room as usize * 2 + 64).div_ceil(8) }];
    let mut header = guest.clone();
    header.set("msg_iov", vectors.address());
    if guest.get("msg_name") != 0 {
        header.set("msg_name", name.as_mut_ptr() as u64);
        header.set("msg_namelen", MAX_ADDRESS as u64);
    }
    header.set("msg_control", if control.is_empty() { 0 } else { control.as_mut_ptr() as u64 });
    header.set("msg_controllen", control.len() as u64 * 8);
    let result = host::syscall(libc::SYS_recvmsg, [fd, header.address(), flags, 0, 0, 0])?;
    let mut back = guest.clone();
    if guest.get("msg_name") != 0 {
        let len = header.get("msg_namelen") as usize;
        address_out(cx, &mut name);
        let given = len.min(MAX_ADDRESS).min((guest.get("msg_namelen") as i32).max(0) as usize);
        if given != 0 {
            cx.space.write(guest.get("msg_name"), &name[..given])?;
        }
        back.set("msg_namelen", len as u64);
    }
    let bytes: Vec<u8> = control.iter().flat_map(|w| w.to_le_bytes()).take(header.get("msg_controllen") as usize).collect();
    let (out, cut) = control_out(cx, &bytes, room as usize);
    if !out.is_empty() {
        cx.space.write(guest.get("msg_control"), &out)?;
    }
    back.set("msg_controllen", out.len() as u64);
    back.set("msg_flags", header.get("msg_flags") | if cut { libc::MSG_CTRUNC as u64 } else { 0 });
    back.write(cx, at)?;
    Ok(result)
}

/// `sendmmsg` and `recvmmsg`: one after the other; an error counts only if it is the first's.
pub(crate) fn several(cx: &Cx<'_>, a: &[u64; 6], one: fn(&Cx<'_>, u64, u64, u64) -> Result<i64, Errno>) -> Result<i64, Errno> {
    let layout = &cx.abi.layouts.mmsghdr;
    let length = layout.field("msg_len").map_or(0, |f| u64::from(f.guest));
    let wait_for_one = libc::MSG_WAITFORONE as u64;
    let mut flags = a[3] & !wait_for_one;
    for n in 0..a[2].min(MAX_MESSAGES) {
        let at = a[1].wrapping_add(n * u64::from(layout.size));
        match one(cx, a[0], at, flags) {
            Ok(len) => cx.put(at.wrapping_add(length), 4, len as u64)?,
            Err(e) if n == 0 => return Err(e),
            Err(_) => return Ok(n as i64),
        }
        if a[3] & wait_for_one != 0 {
            flags |= libc::MSG_DONTWAIT as u64;
        }
    }
    Ok(a[2].min(MAX_MESSAGES) as i64)
}
