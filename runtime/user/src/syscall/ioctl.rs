//! `ioctl`: by the table of requests; one that is not there is `ENOTTY`, said once.
//!
//! Not modelled: requests that are not in `abi/ioctls.kdl`.

use super::{Cx, Item, once, plain};
use crate::convert;
use crate::host::{self, Errno};

/// The list of network interfaces: a buffer that holds structures.
const SIOCGIFCONF: u64 = 0x8912;
const MAX_INTERFACES: u64 = 1024;

/// `ioctl`.
pub(crate) fn ioctl(cx: &Cx<'_>, a: &[u64; 6]) -> Result<i64, Errno> {
    if a[1] == SIOCGIFCONF {
        return interfaces(cx, a[0], a[2]);
    }
    let Some(request) = cx.abi.ioctls.iter().find(|i| u64::from(i.number) == a[1]) else {
        if once::first(once::Kind::Ioctl, a[1] as u32) {
            tracing::warn!("ioctl {:#x} is not there: ENOTTY", a[1]);
        }
        return Err(libc::ENOTTY);
    };
    // Numbers are `int`.
    let value = if matches!(request.arg, crate::abi::Arg::Int) { convert::extend(a[2], 4, true) } else { a[2] };
    plain::with_argument(libc::SYS_ioctl, &[a[0], request.host.into()], &request.arg, value, cx)
}

fn interfaces(cx: &Cx<'_>, fd: u64, at: u64) -> Result<i64, Errno> {
    let (entry, list) = (&cx.abi.layouts.ifreq_address, &cx.abi.layouts.ifconf);
    let mut conf = Item::read(cx, list, at, 1)?;
    let (to, size) = (conf.get("ifc_buf"), u64::from(entry.size));
    let room = (conf.get("ifc_len") as i32).max(0) as u64 / size;
    let items = Item::new(entry, room.min(MAX_INTERFACES) as usize);
    conf.set("ifc_len", room.min(MAX_INTERFACES) * u64::from(entry.host_size));
    conf.set("ifc_buf", if to == 0 { 0 } else { items.address() });
    let result = host::syscall(libc::SYS_ioctl, [fd, SIOCGIFCONF, conf.address(), 0, 0, 0])?;
    let found = conf.get("ifc_len") / u64::from(entry.host_size);
    if to != 0 {
        items.write_some(cx, to, found as usize)?;
    }
    conf.set("ifc_len", found * size);
    conf.set("ifc_buf", to);
    conf.write(cx, at)?;
    Ok(result)
}
