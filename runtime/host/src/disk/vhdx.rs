//! Hyper-V disk images (VHDX 1), fixed and dynamic.
//!
//! Source: Microsoft [MS-VHDX]. Two headers and two region tables, of which one each is current; the metadata region has block and disk size,
//! the block allocation table (BAT) 64 bits for each block. What a log says that was not yet written back is put over the file in memory; the
//! file stays as it is. Not checked: the bit maps of partial blocks, which only differencing images have. Refused: differencing images,
//! and what is marked as required and not known.

use super::formats::Format;
use super::mapped::{self, Map, Place};
use super::{error::Error, source::Source, vhdx_log};
use emu_machine::backend::Disk;
use std::fs::File;

pub(super) const FORMAT: Format = Format { name: "vhdx", probe, open, over: None };

const HEADERS: [u64; 2] = [0x1_0000, 0x2_0000];
const TABLES: [u64; 2] = [0x3_0000, 0x4_0000];
const MIB: u64 = 1 << 20;

/// A GUID as it lies in the file, from its text.
const fn guid(text: u128) -> [u8; 16] {
    let b = text.to_be_bytes();
    [b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]
}

const BAT: [u8; 16] = guid(0x2dc27766_f623_4200_9d64_115e9bfd4a08);
const METADATA: [u8; 16] = guid(0x8b7ca206_4790_4b9a_b8fe_575f050f886e);
const FILE_PARAMETERS: [u8; 16] = guid(0xcaa16737_fa36_4d43_b3b6_33f0aa44e76b);
const DISK_SIZE: [u8; 16] = guid(0x2fa54224_cd1b_4876_b211_5dbed83bf4b8);
const DISK_ID: [u8; 16] = guid(0xbeca12ab_b2e6_4523_93ef_c309e000c746);
const LOGICAL_SECTOR: [u8; 16] = guid(0x8141bf1d_a96f_4709_ba47_f233a8faab5f);
const PHYSICAL_SECTOR: [u8; 16] = guid(0xcda348c7_445d_4471_9cc9_e9885251c556);
const PARENT: [u8; 16] = guid(0xa8d35f2d_b30b_454d_abf7_d3d84834ab0c);

struct Vhdx {
    size: u64,
    block: u64,
    bat: u64,
    /// Blocks between two entries for bit maps.
    chunk: u64,
}

fn probe(head: &[u8], _: &[u8]) -> bool {
    head.starts_with(b"vhdxfile")
}

fn open(file: File) -> Result<Box<dyn Disk>, Error> {
    let mut s = Source::new(file, FORMAT.name)?;
    let magic: [u8; 8] = s.bytes(0)?;
    s.check(&magic == b"vhdxfile", 0, "the signature is missing")?;
    replay(&mut s)?;
    let (mut bat, mut metadata) = (None, None);
    for (id, entry) in regions(&mut s)? {
        let (at, len) = (s.le64(entry + 16)?, u64::from(s.le32(entry + 24)?));
        s.check(at >= MIB && at.checked_add(len).is_some_and(|end| end <= s.len()), entry, "a region goes past the end of the file")?;
        match id {
            BAT => bat = Some((at, len)),
            METADATA => metadata = Some((at, len)),
            _ if s.le32(entry + 28)? & 1 != 0 => return Err(s.unsupported(entry, "it has a required region of another kind")),
            _ => {}
        }
    }
    let missing = |s: &Source, what| s.broken(TABLES[0], format!("it has no {what}"));
    let (bat, bat_len) = bat.ok_or_else(|| missing(&s, "block allocation table"))?;
    let (metadata, metadata_len) = metadata.ok_or_else(|| missing(&s, "metadata region"))?;
    let items = items(&mut s, metadata, metadata_len)?;

    let parameters = items.parameters.ok_or_else(|| missing(&s, "file parameters"))?;
    let (block, flags) = (u64::from(s.le32(parameters)?), s.le32(parameters + 4)?);
    s.check(block.is_power_of_two() && (MIB..=256 * MIB).contains(&block), parameters, format!("blocks cannot have {block} bytes"))?;
    if flags & 2 != 0 {
        return Err(s.unsupported(parameters + 4, "it is a differencing image"));
    }
    let at = items.sector.ok_or_else(|| missing(&s, "logical sector size"))?;
    let sector = u64::from(s.le32(at)?);
    s.check(matches!(sector, 512 | 4096), at, format!("sectors cannot have {sector} bytes"))?;
    let at = items.size.ok_or_else(|| missing(&s, "disk size"))?;
    let size = s.le64(at)?;
    s.check(size % sector == 0 && size <= 64 << 40, at, format!("a disk cannot have {size} bytes"))?;
    let (chunk, blocks) = ((sector << 23) / block, size.div_ceil(block));
    let entries = blocks + blocks.saturating_sub(1) / chunk;
    s.check(8 * entries <= bat_len, bat, format!("the table has no room for {entries} entries"))?;
    Ok(mapped::disk(s, Vhdx { size, block, bat, chunk }, None))
}

/// Finds the current header and plays its log back.
fn replay(s: &mut Source) -> Result<(), Error> {
    let mut best = None;
    for at in HEADERS {
        let bytes: [u8; 4096] = s.bytes(at)?;
        if bytes.starts_with(b"head") && sealed(&bytes) {
            let header = (s.le64(at + 8)?, at);
            best = best.max(Some(header));
        }
    }
    let (_, at) = best.ok_or_else(|| s.broken(HEADERS[0], "there is no header with a right checksum"))?;
    let version = s.le16(at + 66)?;
    if version != 1 {
        return Err(s.unsupported(at + 66, format!("it is version {version}")));
    }
    let id: [u8; 16] = s.bytes(at + 48)?;
    if id == [0; 16] {
        return Ok(());
    }
    match s.le16(at + 64)? {
        0 => {}
        other => return Err(s.unsupported(at + 64, format!("its log is version {other}"))),
    }
    let (len, log) = (u64::from(s.le32(at + 68)?), s.le64(at + 72)?);
    s.check(len > 0 && len % MIB == 0 && log >= MIB, at + 68, format!("a log cannot have {len} bytes at {log:#x}"))?;
    if len > vhdx_log::MOST {
        return Err(s.unsupported(at + 68, format!("it has a log of {len} bytes to be played back")));
    }
    vhdx_log::replay(s, log, len, id)
}

/// The current region table: what each region is, and where its entry is.
fn regions(s: &mut Source) -> Result<Vec<([u8; 16], u64)>, Error> {
    for at in TABLES {
        let bytes = s.read_vec(at, 0x1_0000)?;
        if bytes.starts_with(b"regi") && sealed(&bytes) {
            let count = s.le32(at + 8)?;
            s.check(count <= 2047, at + 8, format!("there cannot be {count} regions"))?;
            return (0..u64::from(count)).map(|i| at + 16 + 32 * i).map(|entry| Ok((s.bytes(entry)?, entry))).collect();
        }
    }
    Err(s.broken(TABLES[0], "there is no region table with a right checksum"))
}

/// Where metadata items are in the file.
#[derive(Default)]
struct Items {
    parameters: Option<u64>,
    size: Option<u64>,
    sector: Option<u64>,
}

fn items(s: &mut Source, region: u64, region_len: u64) -> Result<Items, Error> {
    let magic: [u8; 8] = s.bytes(region)?;
    s.check(&magic == b"metadata", region, "the metadata's signature is missing")?;
    let count = s.le16(region + 10)?;
    s.check(count <= 2047, region + 10, format!("there cannot be {count} metadata items"))?;
    let mut items = Items::default();
    for entry in (0..u64::from(count)).map(|i| region + 32 + 32 * i) {
        let id: [u8; 16] = s.bytes(entry)?;
        let (offset, len) = (u64::from(s.le32(entry + 16)?), s.le32(entry + 20)?);
        s.check(offset + u64::from(len) <= region_len, entry, "a metadata item is outside its region")?;
        let (item, least) = match id {
            FILE_PARAMETERS => (&mut items.parameters, 8),
            DISK_SIZE => (&mut items.size, 8),
            LOGICAL_SECTOR => (&mut items.sector, 4),
            DISK_ID | PHYSICAL_SECTOR => continue,
            PARENT => return Err(s.unsupported(entry, "it names a parent image")),
            _ if s.le32(entry + 24)? & 4 != 0 => return Err(s.unsupported(entry, "it has a required metadata item of another kind")),
            _ => continue,
        };
        s.check(len >= least, entry + 20, "a metadata item is too short")?;
        *item = Some(region + offset);
    }
    Ok(items)
}

/// The CRC-32C at byte 4 is that of all bytes with its own taken for zero.
pub(super) fn sealed(bytes: &[u8]) -> bool {
    let (front, rest) = bytes.split_at(8);
    !crc32c(crc32c(crc32c(!0, &front[..4]), &[0; 4]), rest) == u32::from_le_bytes([front[4], front[5], front[6], front[7]])
}

fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0u32; 256];
        let mut i = 0;
        while i < 256 * 8 {
            let crc = if i % 8 == 0 { i as u32 / 8 } else { table[i / 8] };
            table[i / 8] = crc >> 1 ^ if crc & 1 != 0 { 0x82f6_3b78 } else { 0 };
            i += 1;
        }
        table
    };
    bytes.iter().fold(crc, |crc, byte| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)])
}

impl Map for Vhdx {
    fn size(&self) -> u64 {
        self.size
    }

    fn locate(&mut self, source: &mut Source, at: u64) -> Result<(Place, u64), Error> {
        let (number, skip) = (at / self.block, at % self.block);
        let entry_at = self.bat + 8 * (number + number / self.chunk);
        let entry = source.le64(entry_at)?;
        let place = match entry & 7 {
            // Not present, undefined, zero, unmapped.
            0..=3 => Place::Zero,
            6 => Place::File((entry & !0xf_ffff).saturating_add(skip)),
            state => return Err(source.broken(entry_at, format!("a block cannot be in state {state} here"))),
        };
        Ok((place, self.block - skip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_is_castagnolis() {
        // RFC 3720, B.4.
        assert_eq!(!crc32c(!0, &[0; 32]), 0x8a91_36aa);
        assert_eq!(!crc32c(!0, &(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
    }
}
