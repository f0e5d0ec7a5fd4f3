//! Apple disk images (UDIF, `.dmg`): raw, zeroes, ADC, zlib, bzip2 and LZFSE chunks.
//!
//! Source: "Demystifying the DMG file format" (newosxbook.com), QEMU `block/dmg.c`. A trailer `koly` ends the file and says where a property
//! list is, or in old images a resource fork; its `blkx` resources are tables `mish` of chunks: sectors of the disk, how they are packed,
//! where in the file. Refused: LZMA chunks, images of several files, encrypted ones.

use super::formats::Format;
use super::mapped::{self, Chunk, MOST_CHUNK, Map, Place};
use super::unpack::Codec;
use super::{error::Error, source::Source};
use emu_machine::backend::Disk;
use std::fs::File;

pub(super) const FORMAT: Format = Format { name: "dmg", probe, open, over: None };

const ENCRYPTED: &[u8] = b"encrcdsa";
/// The most bytes a property list or resource fork may have, as QEMU has it; seen ones have 1 MiB.
const MOST_LIST: u64 = 16 << 20;

struct Dmg {
    size: u64,
    /// By their first byte, apart from each other.
    runs: Vec<Run>,
}

/// Bytes of the disk, and where they are.
struct Run {
    first: u64,
    len: u64,
    kind: u32,
    at: u64,
    packed: u64,
}

fn probe(head: &[u8], tail: &[u8]) -> bool {
    head.starts_with(ENCRYPTED) || tail.len() == 512 && tail.starts_with(b"koly")
}

fn open(file: File) -> Result<Box<dyn Disk>, Error> {
    let mut s = Source::new(file, FORMAT.name)?;
    if s.len() >= 8 && s.bytes::<8>(0)? == ENCRYPTED {
        return Err(s.unsupported(0, "it is encrypted"));
    }
    let koly = s.len().saturating_sub(512);
    let magic: [u8; 4] = s.bytes(koly)?;
    s.check(&magic == b"koly", koly, "the trailer is missing")?;
    if s.be32(koly + 60)? > 1 {
        return Err(s.unsupported(koly + 60, "it is one of several files"));
    }
    let data = s.be64(koly + 24)?;
    let (fork, fork_len, list, list_len) = (s.be64(koly + 40)?, s.be64(koly + 48)?, s.be64(koly + 216)?, s.be64(koly + 224)?);
    let sectors = s.be64(koly + 492)?;
    let size = sectors.checked_mul(512).ok_or_else(|| s.broken(koly + 492, format!("a disk cannot have {sectors} sectors")))?;
    let (at, len) = if fork_len != 0 { (fork, fork_len) } else { (list, list_len) };
    s.check((1..=MOST_LIST).contains(&len), koly, format!("a list of chunks cannot have {len} bytes"))?;
    let bytes = s.read_vec(at, len)?;
    let mut tables = vec![];
    if fork_len != 0 { resources(&bytes, &mut tables) } else { property_list(&bytes, &mut tables) }
        .ok_or_else(|| s.broken(at, "the list of chunks is malformed"))?;
    let mut runs = vec![];
    for table in tables {
        mish(&s, at, data, &table, &mut runs)?;
    }
    runs.sort_by_key(|run| run.first);
    let apart = runs.windows(2).all(|two| two[0].first + two[0].len <= two[1].first);
    s.check(apart, at, "two chunks have the same sectors")?;
    Ok(mapped::disk(s, Dmg { size, runs }, None))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_be_bytes(*b))
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_be_bytes(*b))
}

/// The resources' data: each with its length in front.
fn resources(fork: &[u8], tables: &mut Vec<Vec<u8>>) -> Option<()> {
    let (data, len) = (be32(fork, 0)? as usize, be32(fork, 8)? as usize);
    let mut rest = fork.get(data..)?.get(..len)?;
    while !rest.is_empty() {
        let (table, after) = rest.get(4..)?.split_at_checked(be32(rest, 0)? as usize)?;
        tables.push(table.to_vec());
        rest = after;
    }
    Some(())
}

/// What is in `<data>` below the key `blkx`.
fn property_list(bytes: &[u8], tables: &mut Vec<Vec<u8>>) -> Option<()> {
    let text = String::from_utf8_lossy(bytes);
    let (_, rest) = text.split_once("<key>blkx</key>")?;
    let (mut rest, _) = rest.split_once("</array>")?;
    while let Some((_, data)) = rest.split_once("<data>") {
        let (data, after) = data.split_once("</data>")?;
        tables.push(base64(data)?);
        rest = after;
    }
    Some(())
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut value) = (vec![], 0, 0u32);
    for c in text.bytes().filter(|c| !c.is_ascii_whitespace()).take_while(|c| *c != b'=') {
        let digit = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        (value, bits) = (value << 6 | u32::from(digit), bits + 6);
        if bits >= 8 {
            bits -= 8;
            bytes.push((value >> bits) as u8);
        }
    }
    Some(bytes)
}

/// The chunks of a table; `list` is where it came from.
fn mish(s: &Source, list: u64, data: u64, table: &[u8], runs: &mut Vec<Run>) -> Result<(), Error> {
    if !table.starts_with(b"mish") {
        return Ok(());
    }
    let malformed = || s.broken(list, "a table of chunks is malformed");
    let (first, base) = (be64(table, 8).ok_or_else(malformed)?, be64(table, 24).ok_or_else(malformed)?);
    let count = be32(table, 200).ok_or_else(malformed)? as usize;
    let entries = table[204..].get(..count.saturating_mul(40)).ok_or_else(malformed)?;
    for entry in entries.chunks_exact(40) {
        let kind = be32(entry, 0).ok_or_else(malformed)?;
        let field = |at| be64(entry, at).ok_or_else(malformed);
        let (sector, sectors, at, packed) = (field(8)?, field(16)?, field(24)?, field(32)?);
        // A comment, the end.
        if matches!(kind, 0x7fff_fffe | 0xffff_ffff) || sectors == 0 {
            continue;
        }
        let at = data.checked_add(base).and_then(|base| base.checked_add(at)).ok_or_else(malformed)?;
        let first = first.checked_add(sector).and_then(|first| first.checked_mul(512)).ok_or_else(malformed)?;
        let len = sectors.checked_mul(512).filter(|len| first.checked_add(*len).is_some()).ok_or_else(malformed)?;
        match kind {
            0 | 2 => {}
            1 if packed >= len => {}
            0x8000_0004..=0x8000_0007 if len <= MOST_CHUNK && packed <= MOST_CHUNK => {}
            1 | 0x8000_0004..=0x8000_0007 => {
                return Err(s.broken(at, format!("a chunk cannot have {packed} bytes for {sectors} sectors")));
            }
            0x8000_0008 => return Err(s.unsupported(at, "it has chunks compressed with LZMA")),
            other => return Err(s.unsupported(at, format!("it has chunks of kind {other:#x}"))),
        }
        runs.push(Run { first, len, kind, at, packed });
    }
    Ok(())
}

impl Map for Dmg {
    fn size(&self) -> u64 {
        self.size
    }

    fn locate(&mut self, source: &mut Source, at: u64) -> Result<(Place, u64), Error> {
        let after = self.runs.partition_point(|run| run.first <= at);
        let run = after.checked_sub(1).map(|i| &self.runs[i]).filter(|run| at - run.first < run.len);
        let run = run.ok_or_else(|| source.broken(source.len().saturating_sub(512), format!("no chunk has byte {at:#x} of the disk")))?;
        let skip = at - run.first;
        let packed = |codec| Place::Packed(Chunk { at: run.at, len: run.packed, unpacked: run.len, codec }, skip);
        let place = match run.kind {
            1 => Place::File(run.at.saturating_add(skip)),
            0x8000_0004 => packed(Codec::Adc),
            0x8000_0005 => packed(Codec::Zlib),
            0x8000_0006 => packed(Codec::Bzip2),
            0x8000_0007 => packed(Codec::Lzfse),
            _ => Place::Zero,
        };
        Ok((place, run.len - skip))
    }
}
