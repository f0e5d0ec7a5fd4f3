//! QEMU's first copy-on-write format (qcow, version 1), with compressed clusters and backing files.
//!
//! Source: QEMU `block/qcow.c`. Two levels of tables: an entry of the first is where a table of the second is, an entry of that where a
//! cluster is, or, with its top bit set, where a compressed one is and how long. Refused: encryption.

use super::formats::Format;
use super::mapped::{self, Chunk, Map, Place};
use super::unpack::Codec;
use super::{error::Error, source::Source};
use emu_machine::backend::Disk;
use std::fs::File;

pub(super) const FORMAT: Format =
    Format { name: "qcow", probe, open: |file| make(file, None), over: Some(|file, below| make(file, Some(below))) };

const MAGIC: [u8; 8] = *b"QFI\xfb\0\0\0\x01";
const COMPRESSED: u64 = 1 << 63;

struct Qcow {
    size: u64,
    cluster_bits: u32,
    l2_bits: u32,
    l1: u64,
}

fn probe(head: &[u8], _: &[u8]) -> bool {
    head.starts_with(&MAGIC)
}

fn make(file: File, below: Option<Box<dyn Disk>>) -> Result<Box<dyn Disk>, Error> {
    let mut s = Source::new(file, FORMAT.name)?;
    let magic: [u8; 8] = s.bytes(0)?;
    s.check(magic == MAGIC, 0, "the signature is missing")?;
    let [cluster_bits, l2_bits] = s.bytes::<2>(32)?.map(u32::from);
    s.check((9..=16).contains(&cluster_bits), 32, format!("clusters cannot have 2^{cluster_bits} bytes"))?;
    s.check((6..=13).contains(&l2_bits), 33, format!("tables cannot have 2^{l2_bits} entries"))?;
    match s.be32(36)? {
        0 => {}
        _ => return Err(s.unsupported(36, "it is encrypted")),
    }
    let qcow = Qcow { size: s.be64(24)?, cluster_bits, l2_bits, l1: s.be64(40)? };
    let entries = qcow.size.div_ceil(1 << (cluster_bits + l2_bits));
    let end = entries.checked_mul(8).and_then(|len| qcow.l1.checked_add(len));
    s.check(end.is_some_and(|end| end <= s.len()), 40, "the first table goes past the end of the file")?;
    let (at, len) = (s.be64(8)?, s.be32(16)?);
    if below.is_none() && at != 0 && len != 0 {
        s.check(len <= 1023, 16, format!("the backing file's name cannot have {len} bytes"))?;
        let name = s.read_vec(at, len.into())?;
        return Err(Error::Backing { format: FORMAT.name, name: String::from_utf8_lossy(&name).into_owned() });
    }
    Ok(mapped::disk(s, qcow, below))
}

impl Map for Qcow {
    fn size(&self) -> u64 {
        self.size
    }

    fn locate(&mut self, source: &mut Source, at: u64) -> Result<(Place, u64), Error> {
        let cluster = 1u64 << self.cluster_bits;
        let (number, skip) = (at >> self.cluster_bits, at % cluster);
        let (l1, l2) = (number >> self.l2_bits, number % (1 << self.l2_bits));
        let table = source.be64(self.l1 + 8 * l1)?;
        let entry = if table == 0 { 0 } else { source.be64(table.saturating_add(8 * l2))? };
        let place = match entry {
            0 => Place::Below,
            COMPRESSED.. => {
                let offset_bits = 63 - self.cluster_bits;
                let at = entry & ((1 << offset_bits) - 1);
                let len = entry >> offset_bits & (cluster - 1);
                Place::Packed(Chunk { at, len, unpacked: cluster, codec: Codec::Deflate }, skip)
            }
            at => Place::File(at.saturating_add(skip)),
        };
        Ok((place, cluster - skip))
    }
}
