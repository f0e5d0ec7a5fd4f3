//! What a call needs of the process it is of, and the guest's bytes in its byte order.

use super::Special;
use crate::abi::{Abi, Call};
use crate::convert;
use crate::host::Errno;
use crate::paths::Paths;
use crate::space::{Fault, Space};
use std::ffi::CString;
use std::path::Path;

/// What a process knows of itself.
pub(crate) trait Own {
    /// Absolute path of its program on the host.
    fn program(&self) -> &Path;

    /// The contents of `/proc/self/NAME` where they are not those of the emulator: `maps`, `cmdline`, `auxv`, `stat` ...
    fn special_open(&self, _name: &str) -> Option<Vec<u8>> {
        None
    }
}

/// The surroundings of a call.
pub(crate) struct Cx<'a> {
    /// The process's memory.
    pub space: &'a Space,
    /// The end of what it may map.
    pub end: u64,
    /// Its tables.
    pub abi: &'static Abi,
    /// Its byte order: big-endian.
    pub big: bool,
    /// Where its files are.
    pub paths: &'a Paths,
    /// Itself.
    pub own: &'a dyn Own,
}

/// What a call comes to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The result, or an error number.
    Result(Result<i64, Errno>),
    /// The caller does it.
    Special(Special),
}

impl Cx<'_> {
    /// The host's path of the guest's at `at`.
    ///
    /// # Errors
    /// A bad address; a path that is no path.
    pub fn path(&self, at: u64, follow: bool) -> Result<CString, Errno> {
        let path = self.space.string(at)?;
        if follow && self.own_file(&path) == Some("exe") {
            // The host's link leads to the emulator.
            return CString::new(self.own.program().as_os_str().as_encoded_bytes()).map_err(|_| libc::EINVAL);
        }
        self.paths.host(path, follow)
    }

    /// NAME of `/proc/self/NAME`.
    pub fn own_file<'p>(&self, path: &'p [u8]) -> Option<&'p str> {
        let rest = std::str::from_utf8(path.strip_prefix(b"/proc/")?).ok()?;
        let (process, name) = rest.split_once('/')?;
        let own = process == "self" || process == "thread-self" || process.parse() == Ok(std::process::id());
        own.then_some(name)
    }

    /// The host's address of a buffer; an empty one may be anywhere.
    ///
    /// # Errors
    /// It does not lie in the process.
    pub fn buffer(&self, at: u64, len: u64) -> Result<u64, Fault> {
        if len == 0 {
            return Ok(0);
        }
        if at.saturating_add(len) > self.end {
            return Err(Fault(at));
        }
        self.space.host(at, len).map(|p| p as u64)
    }

    /// The same for a buffer that the host is to write: code there is void.
    ///
    /// # Errors
    /// It does not lie in the process.
    pub fn buffer_out(&self, at: u64, len: u64) -> Result<u64, Fault> {
        self.space.release(at, len);
        self.buffer(at, len)
    }

    /// Reads a number of at most 8 bytes.
    pub fn number(&self, at: u64, size: u8) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        let bytes = &mut bytes[..usize::from(size.min(8))];
        self.space.read(at, bytes)?;
        Ok(convert::number(bytes, self.big))
    }

    /// Writes a number of at most 8 bytes.
    pub fn put(&self, at: u64, size: u8, value: u64) -> Result<(), Fault> {
        let mut bytes = [0; 8];
        let bytes = &mut bytes[..usize::from(size.min(8))];
        convert::put(bytes, value, self.big);
        self.space.write(at, bytes)
    }

    /// Reads the `index`-th `long` from `at`.
    pub fn long(&self, at: u64, index: u64) -> Result<u64, Fault> {
        self.number(at.wrapping_add(index * u64::from(self.abi.long)), self.abi.long)
    }

    /// Bytes of the guest, at most `max`.
    ///
    /// # Errors
    /// `EINVAL` for more, `EFAULT` for a bad address.
    pub fn bytes(&self, at: u64, len: u64, max: u64) -> Result<Vec<u8>, Errno> {
        if len > max {
            return Err(libc::EINVAL);
        }
        let mut bytes = vec![0; len as usize];
        if len != 0 {
            self.space.read(at, &mut bytes)?;
        }
        Ok(bytes)
    }

    /// The call with a name of the tables.
    pub fn call(&self, name: &str) -> Option<&'static Call> {
        self.abi.call(name)
    }
}
