//! A temporary overlay (`,snapshot`): what is written goes to a file without a name, and the image stays as it is.
//!
//! The file is as large as the disk and sparse; a set of ranges says which bytes of it count. Small overlays stay in the host's page cache. It is
//! below `$TMPDIR`, or in /var/tmp as /tmp often is memory.

use super::ranges::Ranges;
use super::raw::punch;
use super::{Layer, inside};
use emu_machine::backend::Disk;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// A disk and what was written over it.
pub struct Overlay {
    base: Box<dyn Layer>,
    file: File,
    own: Ranges,
}

impl Overlay {
    /// An empty overlay over a disk.
    pub fn new(base: Box<dyn Layer>) -> io::Result<Overlay> {
        let folder = std::env::var_os("TMPDIR").map_or("/var/tmp".into(), PathBuf::from);
        let fail = |e: io::Error| io::Error::new(e.kind(), format!("no temporary file in {}: {e}", folder.display()));
        let file = tempfile::tempfile_in(&folder).map_err(fail)?;
        file.set_len(base.size()).map_err(fail)?;
        Ok(Overlay { base, file, own: Ranges::default() })
    }
}

impl Disk for Overlay {
    fn size(&self) -> u64 {
        self.base.size()
    }

    fn read_only(&self) -> bool {
        false
    }

    fn read(&mut self, mut at: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        inside(self.size(), at, buffer.len() as u64)?;
        while !buffer.is_empty() {
            let (len, own) = self.own.piece(at..at + buffer.len() as u64);
            let (now, later) = buffer.split_at_mut(len as usize);
            if own {
                self.file.read_exact_at(now, at)?
            } else {
                self.base.read(at, now)?
            }
            (at, buffer) = (at + len, later);
        }
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        inside(self.size(), at, bytes.len() as u64)?;
        self.file.write_all_at(bytes, at)?;
        self.own.insert(at..at + bytes.len() as u64);
        Ok(())
    }

    fn discard(&mut self, at: u64, len: u64) -> io::Result<()> {
        inside(self.size(), at, len)?;
        if punch(&self.file, at..at + len)? {
            self.own.insert(at..at + len);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn own_ranges(&mut self) -> io::Result<Vec<Range<u64>>> {
        Ok(self.own.iter().collect())
    }

    fn revert(&mut self) -> io::Result<()> {
        self.own.clear();
        self.file.set_len(0)?;
        self.file.set_len(self.base.size())
    }
}

impl Layer for Overlay {
    fn data_ranges(&mut self) -> io::Result<Vec<Range<u64>>> {
        let own = self.own.iter().collect::<Vec<_>>();
        Ok(self.base.data_ranges()?.into_iter().chain(own).collect::<Ranges>().iter().collect())
    }
}
