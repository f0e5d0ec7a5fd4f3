//! Scattered reads and writes: the host gets the addresses of the guest's buffers.

use super::Cx;
use crate::host::{self, Errno};

/// `UIO_MAXIOV`.
const MAX_VECTORS: u64 = 1024;

/// Buffers of the guest, as the host's `struct iovec`.
pub(crate) struct Vectors {
    host: Vec<[u64; 2]>,
    guest: Vec<(u64, u64)>,
}

impl Vectors {
    /// Reads `count` `struct iovec` at `at`.
    ///
    /// # Errors
    /// `EINVAL` for too many, `EFAULT` for one outside the process.
    pub fn read(cx: &Cx<'_>, at: u64, count: u64) -> Result<Vectors, Errno> {
        if count > MAX_VECTORS {
            return Err(libc::EINVAL);
        }
        let mut out = Vectors { host: vec![], guest: vec![] };
        for n in 0..count {
            let (base, len) = (cx.long(at, 2 * n)?, cx.long(at, 2 * n + 1)?);
            out.host.push([cx.buffer(base, len)?, len]);
            out.guest.push((base, len));
        }
        Ok(out)
    }

    /// Where the host's are.
    pub fn address(&self) -> u64 {
        self.host.as_ptr() as u64
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.host.len() as u64
    }

    /// The host filled `total` bytes of them.
    pub fn wrote(&self, cx: &Cx<'_>, total: i64) {
        let mut left = total.max(0) as u64;
        for (at, len) in &self.guest {
            cx.space.wrote(*at, left.min(*len));
            left = left.saturating_sub(*len);
        }
    }
}

/// `readv`, `preadv`, `preadv2` (and those that write): descriptor, vectors, count, position, flags.
pub(crate) fn transfer(cx: &Cx<'_>, number: libc::c_long, a: &[u64; 6]) -> Result<i64, Errno> {
    let vectors = Vectors::read(cx, a[1], a[2])?;
    let reads = [libc::SYS_readv, libc::SYS_preadv, libc::SYS_preadv2].contains(&number);
    // The host's position is in one argument, and the next means nothing.
    let result = host::syscall(number, [a[0], vectors.address(), vectors.len(), a[3], 0, a[4]])?;
    if reads {
        vectors.wrote(cx, result);
    }
    Ok(result)
}

/// `vmsplice`.
pub(crate) fn vmsplice(cx: &Cx<'_>, a: &[u64; 6]) -> Result<i64, Errno> {
    let vectors = Vectors::read(cx, a[1], a[2])?;
    host::syscall(libc::SYS_vmsplice, [a[0], vectors.address(), vectors.len(), a[3], 0, 0])
}
