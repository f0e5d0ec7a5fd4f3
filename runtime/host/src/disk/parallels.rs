//! Parallels disk images (`.hdd` expandable), of both signatures.
//!
//! Source: QEMU `docs/interop/parallels.txt`. A table has a 32-bit number for each cluster: its first sector in the file, or with the
//! extended signature its first cluster; none is zero. Not read: the format extension (dirty bit maps). An image that was left open is read as
//! it is. Refused: nothing; snapshots are files of their own.

use super::formats::Format;
use super::mapped::{self, Map, Place};
use super::{error::Error, source::Source};
use emu_machine::backend::Disk;
use std::fs::File;

pub(super) const FORMAT: Format = Format { name: "parallels", probe, open, over: None };

const SECTORS: &[u8; 16] = b"WithoutFreeSpace";
const EXTENDED: &[u8; 16] = b"WithouFreSpacExt";
const TABLE: u64 = 64;

struct Parallels {
    size: u64,
    cluster: u64,
    /// Bytes that a table entry counts.
    unit: u64,
}

fn probe(head: &[u8], _: &[u8]) -> bool {
    head.starts_with(SECTORS) || head.starts_with(EXTENDED)
}

fn open(file: File) -> Result<Box<dyn Disk>, Error> {
    let mut s = Source::new(file, FORMAT.name)?;
    let extended = match &s.bytes(0)? {
        SECTORS => false,
        EXTENDED => true,
        _ => return Err(s.broken(0, "the signature is missing")),
    };
    match s.le32(16)? {
        2 => {}
        other => return Err(s.unsupported(16, format!("it is version {other}"))),
    }
    let (cluster, entries) = (u64::from(s.le32(28)?) * 512, u64::from(s.le32(32)?));
    // The old signature has 32 bits, and the next field may hold anything.
    let sectors = if extended { s.le64(36)? } else { s.le32(36)?.into() };
    s.check(cluster > 0, 28, "clusters cannot be empty")?;
    let size = sectors.checked_mul(512).filter(|size| size.div_ceil(cluster) <= entries);
    let size = size.ok_or_else(|| s.broken(36, format!("{sectors} sectors do not fit into {entries} clusters of {cluster} bytes")))?;
    s.check(TABLE + 4 * entries <= s.len(), 32, "the table goes past the end of the file")?;
    Ok(mapped::disk(s, Parallels { size, cluster, unit: if extended { cluster } else { 512 } }, None))
}

impl Map for Parallels {
    fn size(&self) -> u64 {
        self.size
    }

    fn locate(&mut self, source: &mut Source, at: u64) -> Result<(Place, u64), Error> {
        let (number, skip) = (at / self.cluster, at % self.cluster);
        let place = match source.le32(TABLE + 4 * number)? {
            0 => Place::Zero,
            n => Place::File(u64::from(n).saturating_mul(self.unit).saturating_add(skip)),
        };
        Ok((place, self.cluster - skip))
    }
}
