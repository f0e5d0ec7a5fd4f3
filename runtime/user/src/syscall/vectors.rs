//! Scattered reads and writes: the host gets the addresses of the guest's buffers.

use super::Cx;
use crate::host::{self, Errno};

/// `UIO_MAXIOV`.
const MAX_VECTORS: u64 = 1024;

/// Buffers of the guest, as the host's `struct iovec`.
pub(crate) struct Vectors {
    host: Vec<[u64; 2]>,
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
        let mut out = Vectors { host: vec![] };
        for n in 0..count {
            let (base, len) = (cx.long(at, 2 * n)?, cx.long(at, 2 * n + 1)?);
            out.host.push([cx.buffer_out(base, len)?, len]);
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
}

/// `readv`, `preadv`, `preadv2` (and those that write): descriptor, vectors, count, position, flags.
pub(crate) fn transfer(cx: &Cx<'_>, number: libc::c_long, a: &[u64; 6]) -> Result<i64, Errno> {
    let vectors = Vectors::read(cx, a[1], a[2])?;
    // The host's position is in one argument, and the next means nothing.
    host::syscall(number, [a[0], vectors.address(), vectors.len(), a[3], 0, a[4]])
}

/// `vmsplice`.
pub(crate) fn vmsplice(cx: &Cx<'_>, a: &[u64; 6]) -> Result<i64, Errno> {
    let vectors = Vectors::read(cx, a[1], a[2])?;
    host::syscall(libc::SYS_vmsplice, [a[0], vectors.address(), vectors.len(), a[3], 0, 0])
}
