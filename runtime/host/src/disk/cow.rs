//! User-mode Linux's copy-on-write files, versions 2 and 3.
//!
//! Source: Linux `arch/um/drivers/cow_user.c`, and for QEMU's variant of version 2 its former `block/cow.c`. A header, a bit map of the
//! sectors that are here, and then all sectors of the disk, of which the others are the backing file's. Four layouts of the header: version 2
//! of Linux and of QEMU, which has shorter names, and version 3 with and without the padding of old 64-bit kernels.
//! Refused: version 1, in the byte order of its writer.

use super::formats::Format;
use super::mapped::{self, Map, Place};
use super::{error::Error, source::Source};
use emu_machine::backend::Disk;
use std::fs::File;

pub(super) const FORMAT: Format =
    Format { name: "cow", probe, open: |file| make(file, None), over: Some(|file, below| make(file, Some(below))) };

const MAGIC: &[u8; 4] = b"OOOM";

struct Cow {
    size: u64,
    sector: u64,
    bitmap: u64,
    data: u64,
}

fn probe(head: &[u8], _: &[u8]) -> bool {
    head.starts_with(MAGIC) || head.starts_with(b"MOOO\x01\0\0\0")
}

fn make(file: File, below: Option<Box<dyn Disk>>) -> Result<Box<dyn Disk>, Error> {
    let mut s = Source::new(file, FORMAT.name)?;
    let magic: [u8; 4] = s.bytes(0)?;
    // Version 2 ends with name, time, size and sector size; in version 3 the name is last.
    let (version, name, name_len, size_at, header) = match s.be32(4)? {
        _ if &magic == b"MOOO" => return Err(s.unsupported(4, "it is version 1")),
        _ if &magic != MAGIC => return Err(s.broken(0, "the signature is missing")),
        2 if s.be32(1048)? == 512 => (2, 8, 1024, 1040, 1056),
        2 => (2, 8, 4096, 4108, 4120),
        // A name cannot begin with a zero: that is the last field before it, moved by padding.
        3 if s.be32(32)? != 0 => (3, 32, 4096, 12, 4128),
        3 => (3, 36, 4096, 16, 4136),
        other => return Err(s.unsupported(4, format!("it is version {other}"))),
    };
    let (size, sector) = (s.be64(size_at)?, u64::from(s.be32(size_at + 8)?));
    s.check(sector.is_power_of_two() && (512..=1 << 20).contains(&sector), size_at + 8, format!("sectors cannot have {sector} bytes"))?;
    let sectors = size.div_ceil(sector);
    let (bitmap, map_len, align) = if version == 3 {
        let align = u64::from(s.be32(size_at + 12)?);
        s.check((1..=1 << 30).contains(&align), size_at + 12, format!("the alignment cannot be {align} bytes"))?;
        match s.be32(size_at + 16)? {
            0 => {}
            other => return Err(s.unsupported(size_at + 16, format!("its format is {other}"))),
        }
        (u64::next_multiple_of(header, align), sectors.div_ceil(8), align)
    } else {
        // Linux and QEMU round differently where the bit map does not end on a byte.
        (header, if header == 1056 { sectors.div_ceil(8) } else { sectors / 8 }, sector)
    };
    s.check(bitmap + sectors.div_ceil(8) <= s.len(), size_at, "the bit map goes past the end of the file")?;
    let cow = Cow { size, sector, bitmap, data: (bitmap + map_len).next_multiple_of(align) };
    if below.is_none() {
        let name = s.read_vec(name, name_len)?;
        let name = String::from_utf8_lossy(name.split(|b| *b == 0).next().unwrap_or_default()).into_owned();
        if !name.is_empty() {
            return Err(Error::Backing { format: FORMAT.name, name });
        }
    }
    Ok(mapped::disk(s, cow, below))
}

impl Map for Cow {
    fn size(&self) -> u64 {
        self.size
    }

    fn locate(&mut self, source: &mut Source, at: u64) -> Result<(Place, u64), Error> {
        let number = at / self.sector;
        let most = (self.size.div_ceil(self.sector) - number).min(4096);
        let (here, run) = source.run(self.bitmap, number, most)?;
        let place = if here { Place::File(self.data.saturating_add(at)) } else { Place::Below };
        Ok((place, run * self.sector - at % self.sector))
    }
}
