//! Bochs's growing disk images, versions 1 and 2.
//!
//! Source: Bochs `iodev/hdimage/hdimage.h` (redolog), QEMU `block/bochs.c`. A catalog has a number for each extent of the disk; an extent in
//! the file is a bit map of its sectors and then the sectors, those never written are zeroes. Refused: undoable and volatile redo logs, which
//! belong to another image.

use super::formats::Format;
use super::mapped::{self, Map, Place};
use super::{error::Error, source::Source};
use emu_machine::backend::Disk;
use std::fs::File;

pub(super) const FORMAT: Format = Format { name: "bochs", probe, open, over: None };

const MAGIC: &[u8] = b"Bochs Virtual HD Image\0";
const FREE: u32 = 0xffff_ffff;

struct Bochs {
    size: u64,
    catalog: u64,
    entries: u64,
    /// Of an extent's bit map in the file.
    bitmap: u64,
    extent: u64,
}

fn probe(head: &[u8], _: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

fn open(file: File) -> Result<Box<dyn Disk>, Error> {
    let mut s = Source::new(file, FORMAT.name)?;
    let magic: [u8; 32] = s.bytes(0)?;
    s.check(magic.starts_with(MAGIC), 0, "the signature is missing")?;
    let kind: [u8; 32] = s.bytes(32)?;
    if !kind.starts_with(b"Redolog\0") || !kind[16..].starts_with(b"Growing\0") {
        return Err(s.unsupported(32, format!("it is of type `{}`", String::from_utf8_lossy(&kind).replace('\0', " ").trim())));
    }
    let size_at = match s.le32(64)? {
        0x0002_0000 => 88,
        0x0001_0000 => 84,
        other => return Err(s.unsupported(64, format!("it is version {other:#x}"))),
    };
    let [catalog, entries, bitmap, extent] = [s.le32(68)?, s.le32(72)?, s.le32(76)?, s.le32(80)?].map(u64::from);
    let size = s.le64(size_at)?;
    s.check(extent.is_power_of_two() && (512..=0x80_0000).contains(&extent), 80, format!("extents cannot have {extent} bytes"))?;
    let fits = ((extent / 512).div_ceil(8)..=extent).contains(&bitmap);
    s.check(fits, 76, format!("a bit map of {bitmap} bytes is not for an extent of {extent}"))?;
    s.check(size <= entries * extent, size_at, format!("{size} bytes do not fit into {entries} extents"))?;
    s.check(catalog + 4 * entries <= s.len(), 72, "the catalog goes past the end of the file")?;
    Ok(mapped::disk(s, Bochs { size, catalog, entries, bitmap: bitmap.next_multiple_of(512), extent }, None))
}

impl Map for Bochs {
    fn size(&self) -> u64 {
        self.size
    }

    fn locate(&mut self, source: &mut Source, at: u64) -> Result<(Place, u64), Error> {
        let (extent, skip) = (at / self.extent, at % self.extent);
        let number = match source.le32(self.catalog + 4 * extent)? {
            FREE => return Ok((Place::Zero, self.extent - skip)),
            n => u64::from(n),
        };
        let bitmap = self.catalog + 4 * self.entries + number * (self.bitmap + self.extent);
        let (here, run) = source.run(bitmap, skip / 512, (self.extent - skip).div_ceil(512))?;
        Ok((if here { Place::File(bitmap + self.bitmap + skip) } else { Place::Zero }, run * 512 - skip % 512))
    }
}
