//! `fcntl`: its argument is a number or a structure, by the command. Source: fcntl(2).

use super::{Cx, Item};
use crate::abi::Layout;
use crate::convert;
use crate::host::{self, Errno};

const F_GETLK64: i32 = 12;
const F_SETLK64: i32 = 13;
const F_SETLKW64: i32 = 14;
const F_SETOWN_EX: i32 = 15;
const F_GETOWN_EX: i32 = 16;
const F_SETSIG: i32 = 10;
const F_GETSIG: i32 = 11;

/// Commands whose argument is a number that is the same for the host, or nothing.
const NUMBERS: [i32; 17] = [
    libc::F_DUPFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_SETOWN,
    libc::F_GETOWN,
    F_SETSIG,
    F_GETSIG,
    libc::F_SETLEASE,
    libc::F_GETLEASE,
    libc::F_NOTIFY,
    libc::F_SETPIPE_SZ,
    libc::F_GETPIPE_SZ,
    libc::F_ADD_SEALS,
    libc::F_GET_SEALS,
    // F_CREATED_QUERY and F_DUPFD_QUERY of later kernels.
    1027,
    1028,
];

/// `fcntl` and `fcntl64`.
pub(crate) fn fcntl(cx: &Cx<'_>, a: &[u64; 6]) -> Result<i64, Errno> {
    let (fd, command) = (a[0], a[1] as i32);
    let l = cx.abi.layouts;
    let call = |command: i32, argument: u64| host::syscall(libc::SYS_fcntl, [fd, command as u64, argument, 0, 0, 0]);
    let lock = |command: i32, layout: &'static Layout, back: bool| {
        let item = Item::read(cx, layout, a[2], 1)?;
        let result = call(command, item.address())?;
        if back {
            item.write(cx, a[2])?;
        }
        Ok(result)
    };
    match command {
        libc::F_GETFL => Ok(convert::flags_to_guest(&cx.abi.flags.open, call(command, 0)? as u64) as i64),
        libc::F_SETFL => call(command, convert::flags_to_host(&cx.abi.flags.open, a[2])),
        // The host's locks have 64-bit members under the first numbers.
        libc::F_GETLK => lock(libc::F_GETLK, &l.flock, true),
        libc::F_SETLK | libc::F_SETLKW => lock(command, &l.flock, false),
        F_GETLK64 => lock(libc::F_GETLK, &l.flock64, true),
        F_SETLK64 => lock(libc::F_SETLK, &l.flock64, false),
        F_SETLKW64 => lock(libc::F_SETLKW, &l.flock64, false),
        libc::F_OFD_GETLK => lock(command, &l.flock64, true),
        libc::F_OFD_SETLK | libc::F_OFD_SETLKW => lock(command, &l.flock64, false),
        F_SETOWN_EX => lock(command, &l.f_owner_ex, false),
        F_GETOWN_EX => {
            let item = Item::new(&l.f_owner_ex, 1);
            let result = call(command, item.address())?;
            item.write(cx, a[2])?;
            Ok(result)
        }
        _ if NUMBERS.contains(&command) => call(command, convert::extend(a[2], cx.abi.long, true)),
        _ => Err(libc::EINVAL),
    }
}
