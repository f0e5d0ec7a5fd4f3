//! VMDK, VMware's format, to be read: a sparse file (also "stream optimized", with compressed grains), or a descriptor that names flat, sparse and zero
//! extents.
//!
//! A sparse file has a directory of tables; a table's entry says in which sector a grain is. Not read: images with a parent, VMFS's sparse formats (COWD,
//! SESPARSE).
//!
//! Source: VMware, Virtual Disk Format 5.0 (Technical Note), chapters "Hosted Sparse Extents" and "Stream-Optimized Compressed Sparse Extents". Numbers
//! are little-endian, offsets are sectors.

use super::{Layer, inside, invalid, raw, read_padded, unsupported};
use emu_machine::backend::Disk;
use flate2::{Decompress, FlushDecompress};
use std::fs::File;
use std::io;
use std::ops::Range;

const SECTOR: u64 = 512;
/// A descriptor has at most so many bytes, and a sparse file's directory so many entries.
const MOST_DESCRIPTOR: u64 = 1 << 20;
const MOST_TABLES: u64 = 1 << 22;
const ZEROED_GRAINS: u32 = 1 << 2;
const COMPRESSED: u32 = 1 << 16;

/// True if a file that begins so is such an image.
pub fn probe(head: &[u8]) -> bool {
    head.starts_with(b"KDMV") || head.starts_with(b"COWD") || head.starts_with(b"# Disk DescriptorFile")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// A sparse file.
struct Sparse {
    file: File,
    /// Bytes of it in the disk, and of a grain.
    size: u64,
    grain: u64,
    per_table: u64,
    flags: u32,
    /// Sectors of the tables.
    directory: Vec<u32>,
    /// The last table and the last compressed grain that were read, by their sector.
    table: Option<(u32, Vec<u32>)>,
    inflated: Option<(u32, Vec<u8>)>,
}

/// What a part of a sparse file is.
enum Grain {
    Zero,
    Data(u64),
    Compressed(u32),
}

impl Sparse {
    fn open(file: File) -> io::Result<Sparse> {
        let mut head = [0; SECTOR as usize];
        read_padded(&file, 0, &mut head)?;
        if u64_at(&head, 56) == u64::MAX {
            // The directory is at the end: a copy of the header is in front of the marker that ends the file.
            let end = file.metadata()?.len();
            read_padded(&file, end.saturating_sub(2 * SECTOR), &mut head)?;
        }
        if !head.starts_with(b"KDMV") {
            return Err(unsupported("it is no hosted sparse VMDK"));
        }
        let (version, flags, per_table) = (u32_at(&head, 4), u32_at(&head, 8), u64::from(u32_at(&head, 44)));
        let (capacity, grain, directory) = (u64_at(&head, 12), u64_at(&head, 20), u64_at(&head, 56));
        if !(1..=3).contains(&version) {
            return Err(unsupported(format!("VMDK version {version} is not known")));
        }
        if flags & COMPRESSED != 0 && u16::from_le_bytes([head[77], head[78]]) != 1 {
            return Err(unsupported("its compression is not known"));
        }
        if !grain.is_power_of_two() || !(1..=4096).contains(&grain) || !(1..=1 << 16).contains(&per_table) || directory >= 1 << 40 {
            return Err(invalid("its grains or tables have no sensible size"));
        }
        let tables = capacity.div_ceil(grain * per_table);
        if capacity >= 1 << 54 || tables > MOST_TABLES {
            return Err(invalid("its directory is too large"));
        }
        let mut bytes = vec![0; tables as usize * 4];
        read_padded(&file, directory * SECTOR, &mut bytes)?;
        let directory = bytes.chunks(4).map(|entry| u32_at(entry, 0)).collect();
        let (size, grain) = (capacity * SECTOR, grain * SECTOR);
        Ok(Sparse { file, size, grain, per_table, flags, directory, table: None, inflated: None })
    }

    /// What is at an offset, and for how many bytes.
    fn place(&mut self, at: u64) -> io::Result<(Grain, u64)> {
        let (number, within) = (at / self.grain, at % self.grain);
        let left = self.grain - within;
        let table = self.directory.get((number / self.per_table) as usize).copied().unwrap_or(0);
        if table == 0 {
            let span = self.grain * self.per_table;
            return Ok((Grain::Zero, span - at % span));
        }
        if self.table.as_ref().is_none_or(|(known, _)| *known != table) {
            let mut bytes = vec![0; self.per_table as usize * 4];
            read_padded(&self.file, u64::from(table) * SECTOR, &mut bytes)?;
            self.table = Some((table, bytes.chunks(4).map(|entry| u32_at(entry, 0)).collect()));
        }
        let entries = self.table.as_ref().map_or(&[][..], |(_, entries)| entries);
        let grain = match entries.get((number % self.per_table) as usize).copied().unwrap_or(0) {
            0 => Grain::Zero,
            1 if self.flags & ZEROED_GRAINS != 0 => Grain::Zero,
            sector if self.flags & COMPRESSED != 0 => Grain::Compressed(sector),
            sector => Grain::Data(u64::from(sector) * SECTOR + within),
        };
        Ok((grain, left))
    }

    fn read(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self.place(at)?.0 {
            Grain::Zero => buffer.fill(0),
            Grain::Data(from) => read_padded(&self.file, from, buffer)?,
            Grain::Compressed(sector) => {
                self.inflate(sector)?;
                let within = (at % self.grain) as usize;
                if let Some((_, grain)) = &self.inflated {
                    buffer.copy_from_slice(&grain[within..within + buffer.len()]);
                }
            }
        }
        Ok(())
    }

    /// A compressed grain: its number among the disk's sectors, its length, and a zlib stream.
    fn inflate(&mut self, sector: u32) -> io::Result<()> {
        if self.inflated.as_ref().is_some_and(|(known, _)| *known == sector) {
            return Ok(());
        }
        let mut head = [0; 12];
        read_padded(&self.file, u64::from(sector) * SECTOR, &mut head)?;
        let len = u64::from(u32_at(&head, 8));
        if len > self.grain * 2 + SECTOR {
            return Err(invalid("a compressed grain is too long"));
        }
        let mut bytes = vec![0; len as usize];
        read_padded(&self.file, u64::from(sector) * SECTOR + 12, &mut bytes)?;
        let mut grain = vec![0; self.grain as usize];
        let mut stream = Decompress::new(true);
        stream.decompress(&bytes, &mut grain, FlushDecompress::Finish).map_err(|_| invalid("a compressed grain is damaged"))?;
        // The last grain of a disk may be shorter.
        if stream.total_out() == 0 {
            return Err(invalid("a compressed grain is damaged"));
        }
        self.inflated = Some((sector, grain));
        Ok(())
    }
}

enum Kind {
    Zero,
    Flat(File, u64),
    Sparse(Box<Sparse>),
}

/// An extent as a descriptor names it.
struct Line {
    size: u64,
    kind: String,
    name: String,
    offset: u64,
}

/// An image.
pub struct Vmdk {
    size: u64,
    /// Where in the disk each extent is.
    extents: Vec<(Range<u64>, Kind)>,
    /// Those whose files are still to be given.
    named: std::vec::IntoIter<Line>,
}

impl Vmdk {
    /// Opens an image, but no files it names.
    pub fn open(file: File) -> io::Result<Vmdk> {
        let mut head = [0; SECTOR as usize];
        read_padded(&file, 0, &mut head)?;
        if head.starts_with(b"COWD") {
            return Err(unsupported("VMFS sparse images (COWD) are not known"));
        }
        if head.starts_with(b"KDMV") {
            let (at, len) = (u64_at(&head, 28), u64_at(&head, 36));
            if at != 0 && at < 1 << 40 {
                descriptor(&file, at * SECTOR, len.min(MOST_DESCRIPTOR / SECTOR) * SECTOR)?;
            }
            let sparse = Sparse::open(file)?;
            let size = sparse.size;
            return Ok(Vmdk { size, extents: vec![(0..size, Kind::Sparse(Box::new(sparse)))], named: vec![].into_iter() });
        }
        let len = file.metadata()?.len();
        if len > MOST_DESCRIPTOR {
            return Err(invalid("its descriptor has more than 1M"));
        }
        let lines = descriptor(&file, 0, len)?;
        let size =
            lines.iter().try_fold(0u64, |all, line| all.checked_add(line.size)).ok_or_else(|| invalid("its extents are too large"))?;
        let mut image = Vmdk { size, extents: vec![], named: lines.into_iter() };
        image.zeroes();
        Ok(image)
    }

    /// Extents of zeroes need no file.
    fn zeroes(&mut self) {
        while self.named.as_slice().first().is_some_and(|line| line.kind == "ZERO") {
            let size = self.named.next().map_or(0, |line| line.size);
            self.push(size, Kind::Zero);
        }
    }

    fn push(&mut self, size: u64, kind: Kind) {
        let start = self.extents.last().map_or(0, |(range, _)| range.end);
        self.extents.push((start..start + size, kind));
    }

    /// The files it names, in the order they are to be given in.
    pub fn names(&self) -> Vec<String> {
        self.named.as_slice().iter().filter(|line| line.kind != "ZERO").map(|line| line.name.clone()).collect()
    }

    /// Gives it the next of its files.
    pub fn extent(&mut self, file: File) -> io::Result<()> {
        let Some(line) = self.named.next() else { return Ok(()) };
        let kind = if line.kind == "SPARSE" {
            let sparse = Sparse::open(file)?;
            if sparse.size < line.size {
                return Err(invalid(format!("its extent {} is too small", line.name)));
            }
            Kind::Sparse(Box::new(sparse))
        } else {
            Kind::Flat(file, line.offset)
        };
        self.push(line.size, kind);
        self.zeroes();
        Ok(())
    }
}

/// Reads a descriptor: its extents.
fn descriptor(file: &File, at: u64, len: u64) -> io::Result<Vec<Line>> {
    let mut bytes = vec![0; len as usize];
    read_padded(file, at, &mut bytes)?;
    let text = String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned();
    let mut lines = vec![];
    for line in text.lines().map(str::trim) {
        if let Some((key, value)) = line.split_once('=') {
            let value = value.trim().trim_matches('"');
            if key.trim() == "parentCID" && !value.eq_ignore_ascii_case("ffffffff") {
                return Err(unsupported("it is the difference to a parent image, which is not read"));
            }
        }
        let mut words = line.split_whitespace();
        if !matches!(words.next(), Some("RW" | "RDONLY")) {
            if line.starts_with("NOACCESS ") {
                return Err(unsupported("it has an extent that must not be accessed"));
            }
            continue;
        }
        let wrong = || invalid(format!("its descriptor has the line `{line}`"));
        let sectors: u64 = words.next().and_then(|word| word.parse().ok()).filter(|n| *n < 1 << 54).ok_or_else(wrong)?;
        let kind = words.next().ok_or_else(wrong)?.to_string();
        if !matches!(kind.as_str(), "FLAT" | "SPARSE" | "ZERO") {
            return Err(unsupported(format!("extents of type {kind} are not known")));
        }
        let mut quoted = line.split('"').skip(1);
        let name = quoted.next().unwrap_or_default().to_string();
        if name.is_empty() && kind != "ZERO" {
            return Err(wrong());
        }
        let offset: u64 = quoted.next().map_or("0", str::trim).parse().unwrap_or(0);
        lines.push(Line {
            size: sectors * SECTOR,
            kind,
            name,
            offset: offset.checked_mul(SECTOR).filter(|at| *at < 1 << 62).ok_or_else(wrong)?,
        });
    }
    Ok(lines)
}

impl Disk for Vmdk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_only(&self) -> bool {
        true
    }

    fn read(&mut self, mut at: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        inside(self.size, at, buffer.len() as u64)?;
        while !buffer.is_empty() {
            let index = self.extents.partition_point(|(range, _)| range.end <= at);
            let (range, kind) = self.extents.get_mut(index).ok_or_else(|| invalid("an extent is missing"))?;
            let (within, mut len) = (at - range.start, (buffer.len() as u64).min(range.end - at));
            if let Kind::Sparse(sparse) = kind {
                len = len.min(sparse.place(within)?.1);
            }
            let (now, later) = buffer.split_at_mut(len as usize);
            match kind {
                Kind::Zero => now.fill(0),
                Kind::Flat(file, offset) => read_padded(file, *offset + within, now)?,
                Kind::Sparse(sparse) => sparse.read(within, now)?,
            }
            (at, buffer) = (at + len, later);
        }
        Ok(())
    }

    fn write(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "the disk is read-only"))
    }

    fn discard(&mut self, _: u64, _: u64) -> io::Result<()> {
        self.write(0, &[])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn own_ranges(&mut self) -> io::Result<Vec<Range<u64>>> {
        let mut all = super::ranges::Ranges::default();
        for (range, kind) in &mut self.extents {
            match kind {
                Kind::Zero => {}
                Kind::Flat(file, offset) => {
                    let end = *offset + (range.end - range.start);
                    for data in raw::data(file, end)?.into_iter().filter(|data| data.end > *offset) {
                        all.insert(range.start + data.start.max(*offset) - *offset..range.start + data.end - *offset);
                    }
                }
                Kind::Sparse(sparse) => {
                    let mut at = 0;
                    while at < range.end - range.start {
                        let (grain, len) = sparse.place(at)?;
                        let end = (at + len).min(range.end - range.start);
                        if !matches!(grain, Grain::Zero) {
                            all.insert(range.start + at..range.start + end);
                        }
                        at = end;
                    }
                }
            }
        }
        Ok(all.iter().collect())
    }

    fn revert(&mut self) -> io::Result<()> {
        self.write(0, &[])
    }
}

impl Layer for Vmdk {}
