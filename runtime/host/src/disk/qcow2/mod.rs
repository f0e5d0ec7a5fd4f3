//! qcow2, versions 2 and 3: QEMU's copy-on-write images.
//!
//! The disk's clusters are found by two tables: L1 names L2 tables, these name clusters of the file, or say that a cluster is zero, compressed, or the
//! backing file's. A cluster that is written for the first time, or is shared, gets a new place.
//!
//! What is on the medium is right at any time. Guest data and counters of clusters are written first, then the L2 tables that name these clusters, then
//! the L1 entries that name new tables, and at last the counters of clusters that nothing names any more ([`Qcow2::commit`]); between, what was written
//! is brought to the medium. A crash costs some clusters that are counted but not used. QEMU's `qemu-img check` calls these leaks.
//!
//! Read only: subclusters (extended L2 entries), data in another file. Not at all: encryption. Snapshots inside of an image are kept, and not seen.
//!
//! Source: QEMU docs/interop/qcow2.txt.

pub mod check;
mod compress;
mod create;
mod header;
mod refcounts;
mod write;

pub use create::{Options, create};
pub use header::{Compression, Header, probe};

use super::{Layer, inside, invalid, read_padded, unsupported};
use emu_machine::backend::Disk;
use header::u64_at;
use refcounts::Refcounts;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io;
use std::ops::Range;

/// In an entry of L1 or L2: nothing else uses the cluster.
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// In an entry of L2: the cluster reads as zeroes.
const ZERO: u64 = 1;
/// L2 tables kept in memory: that many bytes, or this many tables if they are large.
const KEPT_BYTES: u64 = 4 << 20;
const KEPT_LEAST: u64 = 16;

/// Where bytes of the disk are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// The backing file has them; without one they are zero.
    Backing,
    /// They are zero.
    Zero,
    /// At this offset of the file.
    Data(u64),
    /// In a compressed cluster: the entry of the L2 table.
    Compressed(u64),
}

struct Table {
    entries: Vec<u64>,
    changed: bool,
    used: u64,
}

/// An image.
pub struct Qcow2 {
    file: File,
    /// Its header, as it was when the image was opened.
    pub header: Header,
    read_only: bool,
    backing: Option<Box<dyn Layer>>,
    data: Option<File>,
    l1: Vec<u64>,
    l1_changed: BTreeSet<usize>,
    tables: BTreeMap<u64, Table>,
    clock: u64,
    /// None if the image is not written.
    counts: Option<Refcounts>,
    /// Clusters that hold tables; data must not be written there.
    meta: HashSet<u64>,
    /// Clusters nothing names any more in memory, but still on the medium.
    freed: Vec<Range<u64>>,
    /// The last compressed cluster that was read, by its entry.
    inflated: Option<(u64, Vec<u8>)>,
    /// End of the file: behind it all is zero.
    end: u64,
    /// Something was written since the image was opened, and since the last flush.
    begun: bool,
    unsynced: bool,
    /// Where the next compressed cluster goes.
    tail: Option<u64>,
}

impl Qcow2 {
    /// Opens an image, but not what it names.
    pub fn open(file: File, write: bool) -> io::Result<Qcow2> {
        let header = Header::read(&file)?;
        if header.encrypted {
            return Err(unsupported("it is encrypted"));
        }
        if write {
            let no = |what: &str| Err(unsupported(format!("{what}\n  help: `readonly` or `snapshot` leaves it as it is")));
            match &header {
                h if h.corrupt() => return no("it is marked as corrupt: `qemu-img check -r all` may repair it"),
                h if h.dirty() => {
                    return no("it was not closed, and has lazy refcounts: `qemu-img check -r all` repairs it");
                }
                h if h.extended_l2 => return no("images with subclusters can only be read"),
                h if h.data_file.is_some() => return no("images with their data in another file can only be read"),
                _ => {}
            }
        }
        let mut bytes = vec![0; header.l1.entries as usize * 8];
        read_padded(&file, header.l1.at, &mut bytes)?;
        let l1: Vec<u64> = bytes.chunks(8).map(|entry| u64_at(entry, 0)).collect();
        let counts = if write { Some(Refcounts::read(&file, &header)?) } else { None };
        let end = file.metadata()?.len();
        let mut image = Qcow2 {
            file,
            read_only: !write,
            backing: None,
            data: None,
            l1,
            l1_changed: BTreeSet::new(),
            tables: BTreeMap::new(),
            clock: 0,
            counts,
            meta: HashSet::new(),
            freed: vec![],
            inflated: None,
            end,
            begun: false,
            unsynced: false,
            tail: None,
            header,
        };
        image.note_tables();
        Ok(image)
    }

    /// Notes which clusters hold tables.
    fn note_tables(&mut self) {
        let Some(counts) = &self.counts else { return };
        let bits = self.header.cluster_bits;
        let l1 = self.header.l1.at..self.header.l1.at + self.l1.len() as u64 * 8;
        self.meta.insert(0);
        for range in [l1, counts.table_range()] {
            self.meta.extend(range.start >> bits..range.end.div_ceil(1 << bits));
        }
        self.meta.extend(counts.blocks().map(|at| at >> bits));
        self.meta.extend(self.l1.iter().map(|entry| (entry & OFFSET) >> bits));
    }

    /// Gives the image its backing file.
    pub(super) fn backing(&mut self, layer: Box<dyn Layer>) {
        self.backing = Some(layer);
    }

    /// Gives the image the file its data is in.
    pub fn data_file(&mut self, file: File) {
        self.data = Some(file);
    }

    /// The L2 table for a part of the disk, in memory from now on; none if there is none yet.
    fn table(&mut self, index: usize) -> io::Result<Option<u64>> {
        let at = self.l1.get(index).ok_or_else(|| invalid("its L1 table is too small"))? & OFFSET;
        if at == 0 {
            return Ok(None);
        }
        if !at.is_multiple_of(self.header.cluster()) {
            return Err(invalid("an L2 table does not lie where clusters do"));
        }
        self.clock += 1;
        if !self.tables.contains_key(&at) {
            self.make_room()?;
            let mut bytes = vec![0; self.header.cluster() as usize];
            read_padded(&self.file, at, &mut bytes)?;
            let entries = bytes.chunks(8).map(|entry| u64_at(entry, 0)).collect();
            self.tables.insert(at, Table { entries, changed: false, used: 0 });
        }
        let clock = self.clock;
        self.tables.entry(at).and_modify(|table| table.used = clock);
        Ok(Some(at))
    }

    /// Sees to it that one more L2 table may be kept.
    fn make_room(&mut self) -> io::Result<()> {
        let most = (KEPT_BYTES >> self.header.cluster_bits).max(KEPT_LEAST) as usize;
        if self.tables.len() < most {
            return Ok(());
        }
        if self.tables.values().filter(|table| table.changed).count() > most / 2 {
            self.commit()?;
        }
        // The less recently used half of those that are as on the medium.
        let mut used: Vec<u64> = self.tables.values().map(|table| table.used).collect();
        let (_, median, _) = used.select_nth_unstable(most / 2);
        let median = *median;
        self.tables.retain(|_, table| table.changed || table.used > median);
        Ok(())
    }

    /// Where the bytes of the disk from an offset on are, and how many of them are there; at most a cluster.
    fn place(&mut self, at: u64) -> io::Result<(Place, u64)> {
        let (bits, span) = (self.header.cluster_bits, self.header.l2_span_bits());
        let within = at & (self.header.cluster() - 1);
        let Some(table) = self.table((at >> span) as usize)? else {
            return Ok((Place::Backing, (1 << span) - (at & ((1 << span) - 1))));
        };
        let words = (self.header.l2_entry() / 8) as usize;
        let index = ((at & ((1 << span) - 1)) >> bits) as usize * words;
        let entries = self.tables.get(&table).and_then(|table| table.entries.get(index..index + words));
        let entry = entries.ok_or_else(|| invalid("an L2 table is too small"))?;
        let (entry, map) = (entry[0], entry.get(1).copied());
        let left = self.header.cluster() - within;
        if entry & COMPRESSED != 0 {
            return if self.header.data_file.is_none() {
                Ok((Place::Compressed(entry), left))
            } else {
                Err(invalid("a compressed cluster in a data file"))
            };
        }
        let host = entry & OFFSET;
        if !host.is_multiple_of(self.header.cluster()) {
            return Err(invalid("a cluster does not lie where clusters do"));
        }
        let data = Place::Data(host + within);
        let exists = host != 0 || self.header.data_file.is_some() && entry & COPIED != 0;
        let Some(map) = map else {
            let place = match exists {
                _ if entry & ZERO != 0 && self.header.version >= 3 => Place::Zero,
                true => data,
                false => Place::Backing,
            };
            return Ok((place, left));
        };
        let sub = self.header.cluster() / 32;
        let bit = within / sub;
        let place = match (map >> bit & 1 != 0, map >> (32 + bit) & 1 != 0) {
            (true, true) => return Err(invalid("a subcluster is both data and zero")),
            (true, false) if exists => data,
            (true, false) => return Err(invalid("a subcluster has no cluster")),
            (false, true) => Place::Zero,
            (false, false) => Place::Backing,
        };
        Ok((place, sub - within % sub))
    }

    /// As [`Self::place`], and on as long as it goes on in the same way.
    fn run(&mut self, at: u64, most: u64) -> io::Result<(Place, u64)> {
        let (first, mut len) = self.place(at)?;
        while len < most && !matches!(first, Place::Compressed(_)) {
            let (next, more) = self.place(at + len)?;
            let goes_on = match (first, next) {
                (Place::Data(from), Place::Data(to)) => from + len == to,
                _ => first == next,
            };
            if !goes_on {
                break;
            }
            len += more;
        }
        Ok((first, len.min(most)))
    }

    /// Bytes of the file a compressed cluster takes.
    fn compressed(bits: u32, entry: u64) -> Range<u64> {
        let x = 62 - (bits - 8);
        let at = entry & ((1 << x) - 1);
        let sectors = (entry >> x & ((1 << (bits - 8)) - 1)) + 1;
        at..(at & !511) + sectors * 512
    }

    fn read_compressed(&mut self, entry: u64, within: u64, buffer: &mut [u8]) -> io::Result<()> {
        if self.inflated.as_ref().is_none_or(|(known, _)| *known != entry) {
            let range = Qcow2::compressed(self.header.cluster_bits, entry);
            let mut bytes = vec![0; (range.end - range.start) as usize];
            read_padded(&self.file, range.start, &mut bytes)?;
            let mut cluster = vec![0; self.header.cluster() as usize];
            compress::inflate(self.header.compression, &bytes, &mut cluster)?;
            self.inflated = Some((entry, cluster));
        }
        if let Some((_, cluster)) = &self.inflated {
            buffer.copy_from_slice(&cluster[within as usize..][..buffer.len()]);
        }
        Ok(())
    }

    /// Reads what the backing file has; behind its end there are zeroes.
    fn read_backing(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let size = self.backing.as_ref().map_or(0, |backing| backing.size());
        let (there, beyond) = buffer.split_at_mut(size.saturating_sub(at).min(buffer.len() as u64) as usize);
        beyond.fill(0);
        match &mut self.backing {
            Some(backing) if !there.is_empty() => backing.read(at, there),
            _ => Ok(()),
        }
    }

    fn fill(&mut self, mut at: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            let (place, len) = self.run(at, buffer.len() as u64)?;
            let (now, later) = buffer.split_at_mut(len as usize);
            match place {
                Place::Backing => self.read_backing(at, now)?,
                Place::Zero => now.fill(0),
                Place::Data(from) => read_padded(self.data.as_ref().unwrap_or(&self.file), from, now)?,
                Place::Compressed(entry) => self.read_compressed(entry, at & (self.header.cluster() - 1), now)?,
            }
            (at, buffer) = (at + len, later);
        }
        Ok(())
    }

    /// The ranges of the disk for which this holds.
    fn ranges(&mut self, own: impl Fn(Place) -> bool) -> io::Result<Vec<Range<u64>>> {
        let mut all: Vec<Range<u64>> = vec![];
        let mut at = 0;
        while at < self.header.size {
            let (place, len) = self.place(at)?;
            let end = (at + len).min(self.header.size);
            if own(place) {
                match all.last_mut() {
                    Some(last) if last.end == at => last.end = end,
                    _ => all.push(at..end),
                }
            }
            at = end;
        }
        Ok(all)
    }
}

impl Disk for Qcow2 {
    fn size(&self) -> u64 {
        self.header.size
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn read(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        inside(self.header.size, at, buffer.len() as u64)?;
        self.fill(at, buffer)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        inside(self.header.size, at, bytes.len() as u64)?;
        self.put(at, bytes)
    }

    fn discard(&mut self, at: u64, len: u64) -> io::Result<()> {
        inside(self.header.size, at, len)?;
        self.zero(at, len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.commit()?;
        if std::mem::take(&mut self.unsynced) {
            self.file.sync_data()?;
        }
        Ok(())
    }

    fn own_ranges(&mut self) -> io::Result<Vec<Range<u64>>> {
        let backed = self.header.backing.is_some();
        self.ranges(|place| match place {
            Place::Backing => false,
            Place::Zero => backed,
            Place::Data(_) | Place::Compressed(_) => true,
        })
    }

    fn revert(&mut self) -> io::Result<()> {
        self.forget_all()
    }
}

impl Layer for Qcow2 {
    fn data_ranges(&mut self) -> io::Result<Vec<Range<u64>>> {
        let own = self.ranges(|place| matches!(place, Place::Data(_) | Place::Compressed(_)))?;
        let size = self.header.size;
        let below = match &mut self.backing {
            Some(backing) => backing.data_ranges()?,
            None => vec![],
        };
        let below = below.into_iter().map(|range| range.start.min(size)..range.end.min(size));
        Ok(below.chain(own).collect::<super::ranges::Ranges>().iter().collect())
    }
}

impl Drop for Qcow2 {
    fn drop(&mut self) {
        if let Err(e) = self.commit() {
            tracing::warn!("disk: {e}");
        }
    }
}
