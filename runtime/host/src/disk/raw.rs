//! Raw images: the file's bytes are the disk's. Block devices too.
//!
//! Holes are what the disk does not own. An image that was only taken for raw because no format's magic was found is guarded: a guest could write
//! another format's header and, the next time, have files of the host opened by it.

use super::{Format, HEAD, Layer, inside};
use emu_machine::backend::Disk;
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// A raw image.
#[derive(Debug)]
pub struct Raw {
    file: File,
    size: u64,
    read_only: bool,
    guarded: bool,
}

/// Makes a range of a file read as zeroes and frees its space. False: the file system cannot.
pub fn punch(file: &File, range: Range<u64>) -> io::Result<bool> {
    if range.is_empty() {
        return Ok(true);
    }
    match fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, range.start, range.end - range.start) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// The ranges of a file that are not holes.
pub fn data(file: &File, size: u64) -> io::Result<Vec<Range<u64>>> {
    let (mut all, mut at) = (Vec::new(), 0);
    while at < size {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            // Block devices, and file systems without holes.
            Err(Errno::INVAL) => return Ok(std::iter::once(0..size).collect()),
            Err(e) => return Err(e.into()),
        };
        let end = seek(file, SeekFrom::Hole(start))?.min(size);
        if start >= end {
            break;
        }
        all.push(start..end);
        at = end;
    }
    Ok(all)
}

impl Raw {
    /// An image in a file. `guarded`: its format was guessed.
    pub fn new(file: File, read_only: bool, guarded: bool) -> io::Result<Raw> {
        let size = seek(&file, SeekFrom::End(0))?;
        Ok(Raw { file, size, read_only, guarded })
    }

    /// Refuses what would make another format of the image.
    fn guard(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        if !self.guarded || at >= HEAD as u64 {
            return Ok(());
        }
        let mut head = vec![0; HEAD.min(self.size as usize)];
        self.file.read_exact_at(&mut head, 0)?;
        let at = at as usize;
        let end = head.len().min(at + bytes.len());
        head[at..end].copy_from_slice(&bytes[..end - at]);
        match Format::probe(&head) {
            None | Some(Format::Raw) => Ok(()),
            Some(other) => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!(
                    "a write that would make {} of a disk whose format was guessed is refused\n  help: format=raw allows it",
                    other.name()
                ),
            )),
        }
    }
}

impl Disk for Raw {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn read(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        inside(self.size, at, buffer.len() as u64)?;
        self.file.read_exact_at(buffer, at)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        inside(self.size, at, bytes.len() as u64)?;
        self.guard(at, bytes)?;
        self.file.write_all_at(bytes, at)
    }

    fn discard(&mut self, at: u64, len: u64) -> io::Result<()> {
        inside(self.size, at, len)?;
        punch(&self.file, at..at + len).map(drop)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.read_only { Ok(()) } else { self.file.sync_data() }
    }

    fn own_ranges(&mut self) -> io::Result<Vec<Range<u64>>> {
        data(&self.file, self.size)
    }

    fn revert(&mut self) -> io::Result<()> {
        if !punch(&self.file, 0..self.size)? {
            let zeroes = vec![0; 1 << 20];
            for at in (0..self.size).step_by(zeroes.len()) {
                self.file.write_all_at(&zeroes[..zeroes.len().min((self.size - at) as usize)], at)?;
            }
        }
        Ok(())
    }
}

impl Layer for Raw {}
