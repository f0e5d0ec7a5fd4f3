//! The header of a qcow2 image and its extensions. All numbers are big-endian.
//!
//! Source: QEMU docs/interop/qcow2.txt, "Header" and "Header extensions"; limits on tables are QEMU's.

use crate::disk::{invalid, read_padded, unsupported};
use std::fs::File;
use std::io;

/// "QFI", 0xfb.
pub const MAGIC: [u8; 4] = *b"QFI\xfb";
const DIRTY: u64 = 1;
const CORRUPT: u64 = 2;
const DATA_FILE: u64 = 4;
const COMPRESSION: u64 = 8;
const EXTENDED_L2: u64 = 16;
const LAZY_REFCOUNTS: u64 = 1;
/// In the autoclear features: bitmaps are consistent.
pub const BITMAPS: u64 = 1;
/// The most bytes of an L1 table and of a refcount table.
pub const MOST_L1: u64 = 32 << 20;
const MOST_REFTABLE: u64 = 8 << 20;
/// Where the autoclear features are.
pub const AUTOCLEAR_AT: u64 = 88;
/// Where the refcount table's offset, and behind it its length in clusters, are.
pub const REFTABLE_AT: u64 = 48;

/// How clusters are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    /// Deflate without header, window of 4 KiB.
    Zlib,
    /// Zstandard.
    Zstd,
}

/// An L1 table: of the image, or of a snapshot in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct L1Place {
    /// Byte offset.
    pub at: u64,
    /// Entries.
    pub entries: u32,
}

/// A header. It has been checked so far that tables it names have a sensible size and place.
#[derive(Clone, Debug)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// log2 of a cluster's bytes, 9 to 21.
    pub cluster_bits: u32,
    /// Bytes of the disk.
    pub size: u64,
    /// Name of the backing file.
    pub backing: Option<String>,
    /// The backing file's format, by QEMU's name.
    pub backing_format: Option<String>,
    /// Name of the file guest data is in, if it is another.
    pub data_file: Option<String>,
    /// Contents are encrypted.
    pub encrypted: bool,
    /// How compressed clusters are.
    pub compression: Compression,
    /// L2 entries have bits for 32 subclusters.
    pub extended_l2: bool,
    /// Refcounts are written when the image is closed only.
    pub lazy_refcounts: bool,
    /// log2 of the bits of a refcount, 0 to 6.
    pub refcount_order: u32,
    /// Incompatible features.
    pub incompatible: u64,
    /// Autoclear features.
    pub autoclear: u64,
    /// The L1 table.
    pub l1: L1Place,
    /// Offset of the refcount table.
    pub reftable: u64,
    /// Its length.
    pub reftable_clusters: u32,
    /// Snapshots in the image.
    pub snapshots: u32,
    /// Offset of their table.
    pub snapshots_at: u64,
    /// The bitmaps extension: offset and bytes of the directory.
    pub bitmaps: Option<(u64, u64)>,
    /// The header of a LUKS volume: offset and bytes.
    pub luks: Option<(u64, u64)>,
}

/// Four bytes of a buffer.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

/// Eight bytes of a buffer.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) << 32 | u64::from(u32_at(bytes, at + 4))
}

fn text(bytes: &[u8], what: &str) -> io::Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| unsupported(format!("the name of its {what} is not UTF-8")))
}

impl Header {
    /// Bytes of a cluster.
    pub fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Refcounts may be wrong, as the image was not closed.
    pub fn dirty(&self) -> bool {
        self.incompatible & DIRTY != 0
    }

    /// Somebody found damage.
    pub fn corrupt(&self) -> bool {
        self.incompatible & CORRUPT != 0
    }

    /// Bytes of an entry of an L2 table.
    pub fn l2_entry(&self) -> u64 {
        if self.extended_l2 { 16 } else { 8 }
    }

    /// log2 of the bytes of the disk that one L2 table maps.
    pub fn l2_span_bits(&self) -> u32 {
        2 * self.cluster_bits - self.l2_entry().ilog2()
    }

    /// Clusters whose refcounts are in one block.
    pub fn block_entries(&self) -> u64 {
        1 << (self.cluster_bits + 3 - self.refcount_order)
    }

    /// Reads and checks the header of an image.
    pub fn read(file: &File) -> io::Result<Header> {
        let mut head = vec![0; 112];
        read_padded(file, 0, &mut head)?;
        let (version, cluster_bits) = (u32_at(&head, 4), u32_at(&head, 20));
        if head[..4] != MAGIC {
            return Err(invalid("it is no qcow2 image"));
        }
        if !matches!(version, 2 | 3) {
            return Err(unsupported(format!("qcow2 version {version} is not known")));
        }
        if !(9..=21).contains(&cluster_bits) {
            return Err(invalid(format!("clusters of 2^{cluster_bits} bytes; 2^9 to 2^21 are right")));
        }
        let cluster = 1usize << cluster_bits;
        let three = |value: u64| if version == 3 { value } else { 0 };
        let incompatible = three(u64_at(&head, 72));
        let length = if version == 3 { u32_at(&head, 100) as usize } else { 72 };
        if version == 3 && (length < 104 || length > cluster || length % 8 != 0) {
            return Err(invalid(format!("a header of {length} bytes")));
        }
        let method = u32_at(&head, 32);
        let compression = match (incompatible & COMPRESSION != 0, if length > 104 { head[104] } else { 0 }) {
            (false, 0) => Compression::Zlib,
            (true, 1) => Compression::Zstd,
            (false, _) | (true, 0) => return Err(invalid("its compression type contradicts its features")),
            (true, other) => return Err(unsupported(format!("compression type {other} is not known"))),
        };
        let unknown = incompatible & !(DIRTY | CORRUPT | DATA_FILE | COMPRESSION | EXTENDED_L2);
        if unknown != 0 {
            return Err(unsupported(format!("incompatible features {unknown:#x} are not known")));
        }
        let mut header = Header {
            version,
            cluster_bits,
            size: u64_at(&head, 24),
            backing: None,
            backing_format: None,
            data_file: None,
            encrypted: method != 0,
            compression,
            extended_l2: incompatible & EXTENDED_L2 != 0,
            lazy_refcounts: three(u64_at(&head, 80)) & LAZY_REFCOUNTS != 0,
            refcount_order: if version == 3 { u32_at(&head, 96) } else { 4 },
            incompatible,
            autoclear: three(u64_at(&head, AUTOCLEAR_AT as usize)),
            l1: L1Place { at: u64_at(&head, 40), entries: u32_at(&head, 36) },
            reftable: u64_at(&head, 48),
            reftable_clusters: u32_at(&head, 56),
            snapshots: u32_at(&head, 60),
            snapshots_at: u64_at(&head, 64),
            bitmaps: None,
            luks: None,
        };
        header.check()?;
        let mut first = vec![0; cluster];
        read_padded(file, 0, &mut first)?;
        header.names(&first, length, (u64_at(&head, 8), u32_at(&head, 16)))?;
        Ok(header)
    }

    fn check(&self) -> io::Result<()> {
        if self.refcount_order > 6 {
            return Err(invalid(format!("refcounts of 2^{} bits", self.refcount_order)));
        }
        if self.extended_l2 && self.cluster_bits < 14 {
            return Err(invalid("subclusters of less than 512 bytes"));
        }
        let aligned = |at: u64| at.is_multiple_of(self.cluster()) && at < 1 << 56;
        if !aligned(self.l1.at) || !aligned(self.reftable) {
            return Err(invalid("its tables do not lie where clusters do"));
        }
        let entries = u128::from(self.size).div_ceil(1 << self.l2_span_bits());
        if u64::from(self.l1.entries) * 8 > MOST_L1 || entries > u128::from(MOST_L1 / 8) {
            return Err(invalid("its L1 table would take more than 32M"));
        }
        if u128::from(self.l1.entries) < entries {
            return Err(invalid("its L1 table is too small for the disk"));
        }
        if u64::from(self.reftable_clusters) * self.cluster() > MOST_REFTABLE {
            return Err(invalid("its refcount table takes more than 8M"));
        }
        if self.snapshots > 65536 {
            return Err(invalid("more than 65536 snapshots"));
        }
        Ok(())
    }

    /// The names in the first cluster: extensions from `at` on, and the backing file's name.
    fn names(&mut self, first: &[u8], mut at: usize, (name_at, name_len): (u64, u32)) -> io::Result<()> {
        let end = if name_at == 0 { first.len() } else { first.len().min(usize::try_from(name_at).unwrap_or(usize::MAX)) };
        while at + 8 <= end {
            let (kind, len) = (u32_at(first, at), u32_at(first, at + 4) as usize);
            if kind == 0 {
                break;
            }
            let data =
                first[..end].get(at + 8..).and_then(|rest| rest.get(..len)).ok_or_else(|| invalid("a header extension is too long"))?;
            match kind {
                0xe279_2aca => self.backing_format = Some(text(data, "backing format")?),
                0x4441_5441 => self.data_file = Some(text(data, "data file")?),
                0x2385_2875 => self.bitmaps = Some((u64_at(data, 16), u64_at(data, 8))),
                0x0537_be77 => self.luks = Some((u64_at(data, 0), u64_at(data, 8))),
                _ => {}
            }
            at += 8 + len.next_multiple_of(8);
        }
        if self.incompatible & DATA_FILE == 0 {
            self.data_file = None;
        } else if self.data_file.is_none() {
            return Err(invalid("its data is in a file that it does not name"));
        }
        if name_at != 0 {
            let name = usize::try_from(name_at).ok().and_then(|at| first.get(at..)?.get(..name_len as usize));
            let name =
                name.filter(|name| name.len() <= 1023).ok_or_else(|| invalid("the backing file's name is not in the first cluster"))?;
            // QEMU takes an empty name for none.
            self.backing = Some(text(name, "backing file")?).filter(|name| !name.is_empty());
        }
        Ok(())
    }
}

/// True if a file that begins so is a qcow2 image.
pub fn probe(head: &[u8]) -> bool {
    head.starts_with(&MAGIC) && matches!(u32_at(head, 4), 2 | 3)
}
