//! Virtual PC and Hyper-V disk images (VHD), fixed and dynamic.
//!
//! Source: Microsoft, Virtual Hard Disk Image Format Specification 1.0; QEMU `block/vpc.c` for what creators do. A footer ends the file (a
//! dynamic image begins with a copy); a dynamic image's table has a block's first sector, where a bit map is in front of the data.
//! The size is the footer's for images of Hyper-V and some others, else that of the geometry, as Virtual PC has it.
//! Not looked at: the bit maps, as sectors never written are zeroes in the block, too. Refused: differencing images.

use super::formats::Format;
use super::mapped::{self, Map, Place};
use super::{error::Error, source::Source};
use emu_machine::backend::Disk;
use std::fs::File;

pub(super) const FORMAT: Format = Format { name: "vpc", probe, open, over: None };

const COOKIE: &[u8; 8] = b"conectix";
const FREE: u32 = 0xffff_ffff;
/// Cylinders, heads and sectors when the geometry cannot say the size.
const LARGEST: u64 = 65535 * 16 * 255;
/// Who writes sizes that are not those of a geometry.
const EXACT: [&[u8; 4]; 5] = [b"win ", b"qem2", b"d2v ", b"tap\0", b"CTXS"];

enum Vhd {
    Fixed { size: u64 },
    Dynamic { size: u64, block: u64, table: u64 },
}

fn probe(head: &[u8], tail: &[u8]) -> bool {
    head.starts_with(COOKIE) || tail.len() == 512 && tail.starts_with(COOKIE)
}

/// The complement of the sum of all bytes without the checksum's own.
fn sealed(bytes: &[u8], checksum: usize) -> bool {
    let sum = |bytes: &[u8]| bytes.iter().map(|b| u32::from(*b)).sum::<u32>();
    let own = &bytes[checksum..checksum + 4];
    (!(sum(bytes) - sum(own))).to_be_bytes() == own
}

fn open(file: File) -> Result<Box<dyn Disk>, Error> {
    let mut s = Source::new(file, FORMAT.name)?;
    let last = s.len().saturating_sub(512);
    let mut found = None;
    for at in [last, 0] {
        let bytes: [u8; 512] = s.bytes(at)?;
        if bytes.starts_with(COOKIE) && sealed(&bytes, 64) {
            found = Some(at);
            break;
        }
    }
    let footer = found.ok_or_else(|| s.broken(last, "there is no footer with a right checksum"))?;
    let [high, low, heads, sectors] = s.bytes::<4>(footer + 56)?.map(u64::from);
    let geometry = (high << 8 | low) * heads * sectors;
    let exact = EXACT.contains(&&s.bytes(footer + 28)?);
    let size = if exact || geometry == LARGEST { s.be64(footer + 48)? } else { geometry * 512 };
    let vhd = match s.be32(footer + 60)? {
        2 => {
            s.check(footer == last && size <= last, footer + 48, format!("a fixed disk of {size} bytes is not in front of the footer"))?;
            Vhd::Fixed { size }
        }
        3 => {
            let header = s.be64(footer + 16)?;
            let bytes: [u8; 1024] = s.bytes(header)?;
            s.check(bytes.starts_with(b"cxsparse") && sealed(&bytes, 36), header, "there is no dynamic header with a right checksum")?;
            let (table, entries, block) = (s.be64(header + 16)?, s.be32(header + 28)?, s.be32(header + 32)?);
            s.check(block.is_power_of_two() && block >= 512, header + 32, format!("blocks cannot have {block} bytes"))?;
            let room = u64::from(entries) * u64::from(block);
            s.check(size <= room, header + 28, format!("{size} bytes do not fit into {entries} blocks"))?;
            let end = table.checked_add(4 * u64::from(entries));
            s.check(end.is_some_and(|end| end <= s.len()), header + 16, "the block table goes past the end of the file")?;
            Vhd::Dynamic { size, block: block.into(), table }
        }
        4 => return Err(s.unsupported(footer + 60, "it is a differencing image")),
        other => return Err(s.broken(footer + 60, format!("there is no disk type {other}"))),
    };
    Ok(mapped::disk(s, vhd, None))
}

impl Map for Vhd {
    fn size(&self) -> u64 {
        let (Vhd::Fixed { size } | Vhd::Dynamic { size, .. }) = self;
        *size
    }

    fn locate(&mut self, source: &mut Source, at: u64) -> Result<(Place, u64), Error> {
        match *self {
            Vhd::Fixed { size } => Ok((Place::File(at), size - at)),
            Vhd::Dynamic { block, table, .. } => {
                let (number, skip) = (at / block, at % block);
                let bits = (block / 512).div_ceil(8).next_multiple_of(512);
                let place = match source.be32(table + 4 * number)? {
                    FREE => Place::Zero,
                    sector => Place::File(u64::from(sector) * 512 + bits + skip),
                };
                Ok((place, block - skip))
            }
        }
    }
}
