//! An image's file, read within its bounds.
//!
//! Headers and tables are read in pages, of which the last few used are kept: no table is ever in memory as a whole, however large its
//! header says it is. Data is read straight into the caller's buffer.

use super::error::Error;
use super::patches::Patches;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

const PAGE: usize = 4096;
const PAGES: usize = 16;

/// The file, and whose format it is.
pub(super) struct Source {
    file: File,
    len: u64,
    format: &'static str,
    /// Number and bytes, the last used first.
    pages: Vec<(u64, Box<[u8; PAGE]>)>,
    patches: Patches,
}

macro_rules! field {
    ($($name:ident $type:ident $from:ident $text:literal;)*) => { $(
        #[doc = $text]
        pub fn $name(&mut self, at: u64) -> Result<$type, Error> {
            self.bytes(at).map($type::$from)
        }
    )* };
}

impl Source {
    /// A file, or a block device of the host's.
    pub fn new(mut file: File, format: &'static str) -> Result<Source, Error> {
        let len = file.seek(SeekFrom::End(0)).map_err(|source| Error::Host { format, at: 0, source })?;
        Ok(Source { file, len, format, pages: vec![], patches: Patches::default() })
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The image breaks a rule.
    pub fn broken(&self, at: u64, what: impl Into<String>) -> Error {
        Error::Broken { format: self.format, at, what: what.into() }
    }

    /// The image has something that is not read.
    pub fn unsupported(&self, at: u64, what: impl Into<String>) -> Error {
        Error::Unsupported { format: self.format, at, what: what.into() }
    }

    /// The image must keep this rule.
    pub fn check(&self, kept: bool, at: u64, otherwise: impl Into<String>) -> Result<(), Error> {
        if kept { Ok(()) } else { Err(self.broken(at, otherwise)) }
    }

    /// Data: fills the buffer with the bytes at `at`.
    pub fn read(&mut self, at: u64, buffer: &mut [u8]) -> Result<(), Error> {
        if at.checked_add(buffer.len() as u64).is_none_or(|end| end > self.len) {
            return Err(self.broken(at, format!("{} bytes should be here, but the file ends at {:#x}", buffer.len(), self.len)));
        }
        self.fill(at, buffer)
    }

    /// Data that is unpacked in memory; `len` must have been compared with what the format allows.
    pub fn read_vec(&mut self, at: u64, len: u64) -> Result<Vec<u8>, Error> {
        self.check(at.checked_add(len).is_some_and(|end| end <= self.len), at, format!("{len} bytes should be here, but the file ends"))?;
        let mut bytes = vec![0; len as usize];
        self.read(at, &mut bytes)?;
        Ok(bytes)
    }

    /// A piece of a header or table.
    pub fn bytes<const N: usize>(&mut self, at: u64) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.table(at, &mut bytes)?;
        Ok(bytes)
    }

    field! {
        le16 u16 from_le_bytes "A field of 16 bits.";
        le32 u32 from_le_bytes "A field of 32 bits.";
        le64 u64 from_le_bytes "A field of 64 bits.";
        be32 u32 from_be_bytes "A field of 32 bits.";
        be64 u64 from_be_bytes "A field of 64 bits.";
    }

    /// A bit map at `at`, least significant bits first: bit `bit`, and how many from it on are the same, at most `most`.
    pub fn run(&mut self, at: u64, bit: u64, most: u64) -> Result<(bool, u64), Error> {
        let mut get = |bit: u64| Ok::<_, Error>(self.bytes::<1>(at.saturating_add(bit / 8))?[0] >> (bit % 8) & 1 != 0);
        let (set, mut run) = (get(bit)?, 1);
        while run < most && get(bit + run)? == set {
            run += 1;
        }
        Ok((set, run))
    }

    /// Lets the file seem at least so long; what it does not have is zeroes.
    pub fn extend(&mut self, len: u64) {
        self.len = self.len.max(len);
        self.pages.clear();
    }

    /// Changes the bytes that are seen, not the file.
    pub fn patch(&mut self, patch: impl FnOnce(&mut Patches)) {
        patch(&mut self.patches);
        self.pages.clear();
    }

    fn table(&mut self, mut at: u64, mut buffer: &mut [u8]) -> Result<(), Error> {
        if at.checked_add(buffer.len() as u64).is_none_or(|end| end > self.len) {
            return Err(self.broken(at, format!("a field should be here, but the file ends at {:#x}", self.len)));
        }
        while !buffer.is_empty() {
            let (number, skip) = (at / PAGE as u64, (at % PAGE as u64) as usize);
            let now = buffer.len().min(PAGE - skip);
            let (front, rest) = buffer.split_at_mut(now);
            front.copy_from_slice(&self.page(number)?[skip..][..now]);
            (at, buffer) = (at + now as u64, rest);
        }
        Ok(())
    }

    fn page(&mut self, number: u64) -> Result<&[u8; PAGE], Error> {
        match self.pages.iter().position(|(n, _)| *n == number) {
            Some(0) => {}
            Some(i) => self.pages[..=i].rotate_right(1),
            None => {
                let mut page = if self.pages.len() < PAGES { Box::new([0; PAGE]) } else { self.pages.pop().expect("some").1 };
                self.fill(number * PAGE as u64, &mut page[..])?;
                self.pages.insert(0, (number, page));
            }
        }
        Ok(&self.pages[0].1)
    }

    /// What is past the end of the file is zeroes here: the last page, and a file that only seems longer.
    fn fill(&mut self, at: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], at + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Host { format: self.format, at, source }),
            }
        }
        buffer[done..].fill(0);
        self.patches.apply(at, buffer);
        Ok(())
    }
}
