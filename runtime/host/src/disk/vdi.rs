//! VirtualBox disk images (VDI 1.1), dynamic and static.
//!
//! Source: VirtualBox `VDICore.h`, QEMU `block/vdi.c`. A table has a 32-bit number for each block of the disk: which block of the data area
//! it is, or that there is none. Refused: differencing and undo images, versions before 1.1.

use super::formats::Format;
use super::mapped::{self, Map, Place};
use super::{error::Error, source::Source};
use emu_machine::backend::Disk;
use std::fs::File;

pub(super) const FORMAT: Format = Format { name: "vdi", probe, open, over: None };

const SIGNATURE: u32 = 0xbeda_107f;
/// Table entries: not allocated, and zeroes.
const FREE: u32 = 0xffff_ffff;
const ZERO: u32 = 0xffff_fffe;

struct Vdi {
    size: u64,
    block: u64,
    /// Bytes in front of each block's data.
    extra: u64,
    table: u64,
    data: u64,
}

fn probe(head: &[u8], _: &[u8]) -> bool {
    head.get(0x40..0x44) == Some(&SIGNATURE.to_le_bytes())
}

fn open(file: File) -> Result<Box<dyn Disk>, Error> {
    let mut s = Source::new(file, FORMAT.name)?;
    let signature = s.le32(0x40)?;
    s.check(signature == SIGNATURE, 0x40, "the signature is missing")?;
    match s.le32(0x44)? {
        0x0001_0001 => {}
        other => return Err(s.unsupported(0x44, format!("it is version {}.{}", other >> 16, other & 0xffff))),
    }
    match s.le32(0x4c)? {
        1 | 2 => {}
        3 => return Err(s.unsupported(0x4c, "it is an undo image")),
        4 => return Err(s.unsupported(0x4c, "it is a differencing image")),
        other => return Err(s.broken(0x4c, format!("there is no image type {other}"))),
    }
    for at in [0x1a8, 0x1b8] {
        if s.bytes::<16>(at)? != [0; 16] {
            return Err(s.unsupported(at, "it names a parent image"));
        }
    }
    let (block, blocks) = (s.le32(0x178)?, s.le32(0x180)?);
    let vdi = Vdi {
        size: s.le64(0x170)?,
        block: block.into(),
        extra: s.le32(0x17c)?.into(),
        table: s.le32(0x154)?.into(),
        data: s.le32(0x158)?.into(),
    };
    s.check(block.is_power_of_two() && (512..=1 << 28).contains(&block), 0x178, format!("blocks cannot have {block} bytes"))?;
    s.check(vdi.extra <= vdi.block, 0x17c, format!("{} bytes cannot be in front of a block", vdi.extra))?;
    s.check(vdi.size <= u64::from(blocks) * vdi.block, 0x170, format!("{} bytes do not fit into {blocks} blocks", vdi.size))?;
    s.check(vdi.table + 4 * u64::from(blocks) <= s.len(), 0x154, "the block table goes past the end of the file")?;
    Ok(mapped::disk(s, vdi, None))
}

impl Map for Vdi {
    fn size(&self) -> u64 {
        self.size
    }

    fn locate(&mut self, source: &mut Source, at: u64) -> Result<(Place, u64), Error> {
        let (block, skip) = (at / self.block, at % self.block);
        let place = match source.le32(self.table + 4 * block)? {
            FREE | ZERO => Place::Zero,
            n => Place::File(self.data + u64::from(n) * (self.block + self.extra) + self.extra + skip),
        };
        Ok((place, self.block - skip))
    }
}
