//! Checking an image: everything that names clusters is followed, and what comes of it is compared with the refcounts. Nothing is written.
//!
//! A cluster that is counted more often than it is used is a leak: space is lost, no data. A cluster that is used more often than it is counted will be
//! given to another use: the image is corrupt. So it is if the flag "copied" of an entry says something else than the refcount, or an entry makes no sense.
//! A table that is used several times (by snapshots) is read once, and counts that often.

use super::header::{BITMAPS, Header, L1Place, MOST_L1, u32_at, u64_at};
use super::refcounts::counter;
use super::{COMPRESSED, COPIED, OFFSET, Qcow2, ZERO};
use crate::disk::{invalid, read_padded};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::ops::Range;

/// Lines a report has at most.
const LINES: usize = 100;

/// What was found.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Report {
    /// Places where data is wrong, or will be.
    pub corruptions: u64,
    /// Clusters that are counted, but not used.
    pub leaks: u64,
    /// What is wrong where, up to 100 lines.
    pub lines: Vec<String>,
    /// Clusters of the disk that have contents of their own.
    pub allocated: u64,
}

impl Report {
    fn say(&mut self, line: impl FnOnce() -> String) {
        match self.lines.len() {
            LINES => self.lines.push("and more".into()),
            n if n < LINES => self.lines.push(line()),
            _ => {}
        }
    }

    fn corrupt(&mut self, line: impl FnOnce() -> String) {
        self.corruptions += 1;
        self.say(|| format!("corrupt: {}", line()));
    }
}

struct Check<'a> {
    file: &'a File,
    header: &'a Header,
    /// The file's length in clusters.
    clusters: u64,
    uses: HashMap<u64, u64>,
    report: Report,
}

/// Checks an image.
///
/// # Errors
/// The host's, or the header cannot be read.
pub fn check(file: &File) -> io::Result<Report> {
    let header = Header::read(file)?;
    let clusters = file.metadata()?.len().div_ceil(header.cluster());
    let mut check = Check { file, header: &header, clusters, uses: HashMap::new(), report: Report::default() };
    check.used(0..header.cluster(), 1);
    check.follow()?;
    let counts = check.counts()?;
    check.copied(&counts)?;
    check.compare(&counts);
    Ok(check.report)
}

impl Check<'_> {
    /// Bytes of the file are used so many times.
    fn used(&mut self, bytes: Range<u64>, times: u64) {
        let bits = self.header.cluster_bits;
        for cluster in bytes.start >> bits..bytes.end.div_ceil(1 << bits) {
            if cluster >= self.clusters {
                self.report.corrupt(|| format!("cluster {cluster} is used and lies behind the end of the file"));
                return;
            }
            *self.uses.entry(cluster).or_default() += times;
        }
    }

    fn words(&self, at: u64, count: u64) -> io::Result<Vec<u64>> {
        let mut bytes = vec![0; count as usize * 8];
        read_padded(self.file, at, &mut bytes)?;
        Ok(bytes.chunks(8).map(|word| u64_at(word, 0)).collect())
    }

    fn aligned(&self, at: u64) -> bool {
        at.is_multiple_of(self.header.cluster())
    }

    /// Counts all uses.
    fn follow(&mut self) -> io::Result<()> {
        let mut tables: BTreeMap<L1Place, u64> = BTreeMap::new();
        *tables.entry(self.header.l1).or_default() += 1;
        for l1 in self.snapshots()? {
            *tables.entry(l1).or_default() += 1;
        }
        let mut l2: BTreeMap<u64, u64> = BTreeMap::new();
        for (L1Place { at, entries }, times) in tables {
            if !self.aligned(at) {
                self.report.corrupt(|| format!("the L1 table at {at:#x} does not lie where clusters do"));
                continue;
            }
            self.used(at..at + u64::from(entries) * 8, times);
            for (index, entry) in self.words(at, u64::from(entries))?.into_iter().enumerate() {
                match entry & OFFSET {
                    0 => {}
                    table if self.aligned(table) => *l2.entry(table).or_default() += times,
                    _ => self.report.corrupt(|| format!("L1 entry {index} ({entry:#x}) does not name a cluster")),
                }
            }
        }
        for (table, times) in l2 {
            self.used(table..table + self.header.cluster(), times);
            if table >> self.header.cluster_bits < self.clusters {
                self.table(table, times)?;
            }
        }
        if let Some((at, len)) = self.header.luks {
            self.extent(at, len, "the encryption's header")?;
        }
        self.bitmaps()
    }

    fn extent(&mut self, at: u64, len: u64, what: &str) -> io::Result<bool> {
        let fine = self.aligned(at) && at.checked_add(len).is_some_and(|end| end <= 1 << 56) && len <= MOST_L1;
        if fine {
            self.used(at..at + len, 1);
        } else {
            self.report.corrupt(|| format!("{what} is not where it may be"));
        }
        Ok(fine)
    }

    /// Counts what an L2 table names.
    fn table(&mut self, table: u64, times: u64) -> io::Result<()> {
        let words = (self.header.l2_entry() / 8) as usize;
        let entries = self.words(table, self.header.cluster() / 8)?;
        for (index, entry) in entries.chunks(words).map(|words| words[0]).enumerate() {
            let wrong = |what: &str| format!("L2 entry {index} of the table at {table:#x} ({entry:#x}) {what}");
            if entry & COMPRESSED != 0 {
                if entry & COPIED != 0 {
                    self.report.corrupt(|| wrong("is compressed, and marked as copied"));
                }
                self.report.allocated += 1;
                let bytes = Qcow2::compressed(self.header.cluster_bits, entry);
                self.used(bytes, times);
            } else if self.header.data_file.is_none() && entry & OFFSET != 0 {
                let at = entry & OFFSET;
                if !self.aligned(at) {
                    self.report.corrupt(|| wrong("does not name a cluster"));
                    continue;
                }
                self.report.allocated += u64::from(entry & ZERO == 0);
                self.used(at..at + self.header.cluster(), times);
            }
        }
        Ok(())
    }

    /// The L1 tables of snapshots; their table is counted.
    fn snapshots(&mut self) -> io::Result<Vec<L1Place>> {
        let (start, mut all) = (self.header.snapshots_at, vec![]);
        if self.header.snapshots == 0 {
            return Ok(all);
        }
        let mut at = start;
        for number in 0..self.header.snapshots {
            let mut head = [0; 40];
            read_padded(self.file, at, &mut head)?;
            let place = L1Place { at: u64_at(&head, 0), entries: u32_at(&head, 8) };
            if u64::from(place.entries) * 8 > MOST_L1 || place.at >= 1 << 56 || at > 1 << 56 {
                return Err(invalid(format!("the L1 table of snapshot {number} takes more than 32M")));
            }
            all.push(place);
            let names = u32_at(&head, 12);
            at += (40 + u64::from(u32_at(&head, 36)) + u64::from(names >> 16) + u64::from(names & 0xffff)).next_multiple_of(8);
        }
        self.extent(start, at - start, "the table of snapshots")?;
        Ok(all)
    }

    /// Counts bitmaps, if they may be trusted.
    fn bitmaps(&mut self) -> io::Result<()> {
        let Some((start, len)) = self.header.bitmaps.filter(|_| self.header.autoclear & BITMAPS != 0) else { return Ok(()) };
        if !self.extent(start, len, "the directory of bitmaps")? {
            return Ok(());
        }
        let mut at = start;
        while at + 24 <= start + len {
            let mut head = [0; 24];
            read_padded(self.file, at, &mut head)?;
            let (table, entries) = (u64_at(&head, 0), u64::from(u32_at(&head, 8)));
            if self.extent(table, entries * 8, "the table of a bitmap")? {
                for entry in self.words(table, entries)? {
                    let data = entry & OFFSET;
                    if data != 0 {
                        self.extent(data, self.header.cluster(), "a bitmap")?;
                    }
                }
            }
            at += (24 + u64::from(u32_at(&head, 16) & 0xffff) + u64::from(u32_at(&head, 20))).next_multiple_of(8);
        }
        Ok(())
    }

    /// All refcounts that are not zero; table and blocks are counted as used.
    fn counts(&mut self) -> io::Result<HashMap<u64, u64>> {
        let (header, mut counts) = (self.header, HashMap::new());
        let table_len = u64::from(header.reftable_clusters) << header.cluster_bits;
        self.used(header.reftable..header.reftable + table_len, 1);
        let mut seen: HashMap<u64, usize> = HashMap::new();
        for (index, at) in self.words(header.reftable, table_len / 8)?.into_iter().enumerate().filter(|(_, at)| *at != 0) {
            if !self.aligned(at) || at >> header.cluster_bits >= self.clusters {
                self.report.corrupt(|| format!("refcount block {index} ({at:#x}) is not in the file"));
                continue;
            }
            self.used(at..at + header.cluster(), 1);
            if let Some(other) = seen.insert(at, index) {
                self.report.corrupt(|| format!("refcount blocks {other} and {index} are the same"));
                continue;
            }
            let mut block = vec![0; header.cluster() as usize];
            read_padded(self.file, at, &mut block)?;
            if block.iter().all(|byte| *byte == 0) {
                continue;
            }
            for within in 0..header.block_entries() {
                let value = counter(&block, header.refcount_order, within);
                if value != 0 {
                    counts.insert(index as u64 * header.block_entries() + within, value);
                }
            }
        }
        Ok(counts)
    }

    /// The flag "copied" of the image's own tables.
    fn copied(&mut self, counts: &HashMap<u64, u64>) -> io::Result<()> {
        let bits = self.header.cluster_bits;
        let one = |at: u64| counts.get(&(at >> bits)) == Some(&1);
        let words = (self.header.l2_entry() / 8) as usize;
        let mut seen = std::collections::HashSet::new();
        for (index, l1) in self.words(self.header.l1.at, u64::from(self.header.l1.entries))?.into_iter().enumerate() {
            let table = l1 & OFFSET;
            if table == 0 || !self.aligned(table) || table >> bits >= self.clusters || !seen.insert(table) {
                continue;
            }
            if one(table) != (l1 & COPIED != 0) {
                self.report.corrupt(|| format!("L1 entry {index} ({l1:#x}): its flag `copied` is not what the refcount says"));
            }
            if self.header.data_file.is_some() {
                continue;
            }
            let entries = self.words(table, self.header.cluster() / 8)?;
            for (index, entry) in entries.chunks(words).map(|words| words[0]).enumerate() {
                if entry & COMPRESSED == 0 && entry & OFFSET != 0 && one(entry & OFFSET) != (entry & COPIED != 0) {
                    let line = || {
                        format!("L2 entry {index} of the table at {table:#x} ({entry:#x}): its flag `copied` is not what the refcount says")
                    };
                    self.report.corrupt(line);
                }
            }
        }
        Ok(())
    }

    fn compare(&mut self, counts: &HashMap<u64, u64>) {
        let mut all: Vec<u64> = counts.keys().chain(self.uses.keys()).copied().collect();
        all.sort_unstable();
        all.dedup();
        for cluster in all {
            let of = |map: &HashMap<u64, u64>| map.get(&cluster).copied().unwrap_or(0);
            let (count, uses) = (of(counts), of(&self.uses));
            if count < uses {
                self.report.corrupt(|| format!("cluster {cluster} is used {uses} times and counted {count} times"));
            } else if count > uses && cluster < self.clusters {
                // Behind the end of the file nothing is lost; QEMU does not count it either.
                self.report.leaks += 1;
                self.report.say(|| format!("leak: cluster {cluster} is used {uses} times and counted {count} times"));
            }
        }
    }
}
