//! The table of read-only image formats: names, how a file is recognised, and who opens it.
//!
//! VHD and DMG are known by their last bytes only, which on a raw disk are the guest's to write: whoever guesses a file's format must not
//! take a disk that was writable as raw for one of these.

use super::{bochs, cloop, cow, dmg, error::Error, parallels, qcow1, vdi, vhdx, vpc};
use emu_machine::backend::Disk;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// An image format.
pub struct Format {
    /// Its name, as QEMU has it.
    pub name: &'static str,
    /// Whether a file is of this format, by its first [`HEAD`] and last [`TAIL`] bytes (fewer if it is shorter).
    pub probe: fn(head: &[u8], tail: &[u8]) -> bool,
    /// Opens an image that needs no other file; one that does is [`Error::Backing`].
    pub open: fn(File) -> Result<Box<dyn Disk>, Error>,
    /// Opens an image over its backing file, in formats that have such.
    pub over: Option<fn(File, Box<dyn Disk>) -> Result<Box<dyn Disk>, Error>>,
}

impl PartialEq for Format {
    fn eq(&self, other: &Format) -> bool {
        self.name == other.name
    }
}

impl Eq for Format {}

impl std::fmt::Debug for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// How many bytes of a file's beginning [`Format::probe`] wants.
pub const HEAD: usize = 512;
/// How many bytes of a file's end [`Format::probe`] wants.
pub const TAIL: usize = 512;

/// All formats.
pub const FORMATS: [&Format; 9] = [
    &vdi::FORMAT,
    &vpc::FORMAT,
    &vhdx::FORMAT,
    &qcow1::FORMAT,
    &cow::FORMAT,
    &bochs::FORMAT,
    &cloop::FORMAT,
    &dmg::FORMAT,
    &parallels::FORMAT,
];

/// The format of a file, if it is one of the table's. Those known by their first bytes are asked first.
///
/// # Errors
/// The host's, if it cannot read the file.
pub fn probe(file: &File) -> io::Result<Option<&'static Format>> {
    let read = |at: u64, len: usize| {
        let (mut bytes, mut done) = (vec![0; len], 0);
        while done < len {
            match file.read_at(&mut bytes[done..], at + done as u64)? {
                0 => break,
                n => done += n,
            }
        }
        bytes.truncate(done);
        io::Result::Ok(bytes)
    };
    let len = file.metadata()?.len();
    let head = read(0, HEAD)?;
    let tail = read(len.saturating_sub(TAIL as u64), TAIL)?;
    let by = |head: &[u8], tail: &[u8]| FORMATS.into_iter().find(|f| (f.probe)(head, tail));
    Ok(by(&head, &[]).or_else(|| by(&[], &tail)))
}

/// The format of this name.
pub fn named(name: &str) -> Option<&'static Format> {
    FORMATS.into_iter().find(|f| f.name == name)
}
