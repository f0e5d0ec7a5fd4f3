//! Writing: clusters get their places here, and everything that was changed reaches the file in the order the head of [`super`] gives.

use super::header::AUTOCLEAR_AT;
use super::{COMPRESSED, COPIED, OFFSET, Place, Qcow2, Table, ZERO};
use crate::disk::invalid;
use crate::disk::raw::punch;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Refcount blocks, and ranges of freed clusters, that wait to be written.
const WAITING_BLOCKS: usize = 48;
const WAITING_FREED: usize = 4096;

impl Qcow2 {
    /// Before anything is written.
    fn begin(&mut self) -> io::Result<()> {
        let Some(counts) = &self.counts else {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the disk is read-only"));
        };
        let waiting = counts.changed() > WAITING_BLOCKS || self.freed.len() > WAITING_FREED;
        if !std::mem::replace(&mut self.begun, true) && self.header.autoclear != 0 {
            // What we do not keep up, such as bitmaps, must not be trusted any more.
            self.file.write_all_at(&[0; 8], AUTOCLEAR_AT)?;
            self.file.sync_data()?;
            self.header.autoclear = 0;
        }
        if waiting { self.commit() } else { Ok(()) }
    }

    /// Up to so many free clusters in a row.
    fn take(&mut self, most: u64) -> io::Result<Range<u64>> {
        let counts = self.counts.as_mut().ok_or_else(|| invalid("the disk is read-only"))?;
        let taken = counts.take(&self.file, most)?;
        let left = counts.left();
        if !left.is_empty() {
            left.iter().for_each(|cluster| _ = self.meta.remove(cluster));
            let table = counts.table_range();
            self.meta.extend(table.start >> self.header.cluster_bits..table.end.div_ceil(self.header.cluster()));
        }
        if taken.clone().any(|cluster| self.meta.contains(&cluster)) {
            return Err(invalid("a cluster that holds a table is counted as free: the image is damaged"));
        }
        Ok(taken)
    }

    /// Nothing names these clusters from now on.
    fn free(&mut self, clusters: Range<u64>) {
        match self.freed.last_mut() {
            Some(last) if last.end == clusters.start => last.end = clusters.end,
            _ => self.freed.push(clusters),
        }
    }

    /// Nothing is at an entry of an L2 table any more.
    fn free_entry(&mut self, entry: u64) {
        let bits = self.header.cluster_bits;
        if entry & COMPRESSED != 0 {
            let range = Qcow2::compressed(bits, entry);
            // Neighbours share clusters: each counts for itself.
            self.freed.push(range.start >> bits..range.end.div_ceil(1 << bits));
        } else if entry & OFFSET != 0 {
            let cluster = (entry & OFFSET) >> bits;
            self.free(cluster..cluster + 1);
        }
    }

    /// The L2 table for a part of the disk, which may be written: there is one, and nothing else uses it.
    fn own_table(&mut self, index: usize) -> io::Result<()> {
        let old = *self.l1.get(index).ok_or_else(|| invalid("its L1 table is too small"))?;
        if old & OFFSET != 0 && old & COPIED != 0 {
            return Ok(());
        }
        let entries = match self.table(index)?.and_then(|at| self.tables.get(&at)) {
            Some(table) => table.entries.clone(),
            None => vec![0; (self.header.cluster() / 8) as usize],
        };
        self.make_room()?;
        let cluster = self.take(1)?.start;
        let at = cluster << self.header.cluster_bits;
        self.meta.insert(cluster);
        self.tables.insert(at, Table { entries, changed: true, used: self.clock });
        self.l1[index] = at | COPIED;
        self.l1_changed.insert(index);
        self.free_entry(old & OFFSET);
        Ok(())
    }

    fn index(&self, at: u64) -> (usize, usize) {
        let span = self.header.l2_span_bits();
        ((at >> span) as usize, ((at & ((1 << span) - 1)) >> self.header.cluster_bits) as usize)
    }

    /// The entry for an offset of the disk, of a table that may be written.
    fn entry(&mut self, at: u64) -> io::Result<u64> {
        let (index, slot) = self.index(at);
        let table = self.table(index)?.and_then(|at| self.tables.get(&at));
        Ok(table.and_then(|table| table.entries.get(slot)).copied().unwrap_or(0))
    }

    fn set_entry(&mut self, at: u64, entry: u64) -> io::Result<()> {
        let (index, slot) = self.index(at);
        let place = self.table(index)?.and_then(|at| self.tables.get_mut(&at)).ok_or_else(|| invalid("an L2 table is missing"))?;
        place.entries[slot] = entry;
        place.changed = true;
        Ok(())
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.unsynced = true;
        self.file.write_all_at(bytes, at)?;
        self.end = self.end.max(at + bytes.len() as u64);
        Ok(())
    }

    /// The cluster an entry names, if it may be written where it is.
    fn in_place(&self, entry: u64) -> io::Result<Option<u64>> {
        let host = entry & OFFSET;
        if entry & COMPRESSED != 0 || entry & COPIED == 0 || entry & ZERO != 0 || host == 0 {
            return Ok(None);
        }
        if !host.is_multiple_of(self.header.cluster()) || self.meta.contains(&(host >> self.header.cluster_bits)) {
            return Err(invalid("a cluster of the disk lies where a table is: the image is damaged"));
        }
        Ok(Some(host))
    }

    /// Writes bytes of the disk.
    pub(super) fn put(&mut self, mut at: u64, mut bytes: &[u8]) -> io::Result<()> {
        self.tail = None;
        let (cluster, span) = (self.header.cluster(), self.header.l2_span_bits());
        while !bytes.is_empty() {
            self.begin()?;
            let (index, _) = self.index(at);
            self.own_table(index)?;
            let within = at & (cluster - 1);
            let most = (bytes.len() as u64).min((1 << span) - (at & ((1 << span) - 1)));
            let first = self.entry(at)?;
            let in_place = self.in_place(first)?;
            // As far as the clusters' places follow each other, or are all still to be found.
            let (mut len, mut clusters) = (cluster - within, 1);
            while len < most {
                let next = self.entry(at + len)?;
                let goes_on = match (in_place, self.in_place(next)?) {
                    (Some(host), Some(next)) => next == host + clusters * cluster,
                    (None, None) => true,
                    _ => false,
                };
                if !goes_on {
                    break;
                }
                (len, clusters) = (len + cluster, clusters + 1);
            }
            len = match in_place {
                Some(host) => {
                    len = len.min(most);
                    self.write_at(host + within, &bytes[..len as usize])?;
                    len
                }
                None => self.put_new(at, &bytes[..len.min(most) as usize], clusters)?,
            };
            (at, bytes) = (at + len, &bytes[len as usize..]);
        }
        Ok(())
    }

    /// Writes bytes into new clusters; gives back how many it found room for in a row.
    fn put_new(&mut self, at: u64, bytes: &[u8], clusters: u64) -> io::Result<u64> {
        let (cluster, bits) = (self.header.cluster(), self.header.cluster_bits);
        let taken = self.take(clusters)?;
        let place = taken.start << bits;
        let result = self.fill_new(at, bytes, place, (taken.end - taken.start) << bits);
        let Ok(len) = result else {
            self.free(taken);
            return result;
        };
        let from = at & !(cluster - 1);
        for n in 0..taken.end - taken.start {
            let old = self.entry(from + n * cluster)?;
            self.set_entry(from + n * cluster, (place + n * cluster) | COPIED)?;
            self.free_entry(old);
        }
        Ok(len)
    }

    /// Fills new clusters with bytes, and around them with what the disk has there.
    fn fill_new(&mut self, at: u64, bytes: &[u8], place: u64, room: u64) -> io::Result<u64> {
        let within = at & (self.header.cluster() - 1);
        let from = at - within;
        let len = (bytes.len() as u64).min(room - within);
        let behind = within + len;
        let zero = |place: Place, backed: bool| place == Place::Zero || place == Place::Backing && !backed;
        let backed = self.backing.is_some();
        let mut all_zero = place >= self.end;
        let size = self.header.size;
        for edge in [0..within, behind..room].into_iter().filter(|edge| !edge.is_empty() && from + edge.start < size) {
            all_zero &= zero(self.place(from + edge.start)?.0, backed);
        }
        if all_zero {
            // Behind the file's end it is zero.
            self.write_at(place + within, &bytes[..len as usize])?;
            return Ok(len);
        }
        let mut whole = vec![0; room as usize];
        for edge in [0..within, behind..room] {
            let end = edge.end.min(self.header.size.saturating_sub(from));
            if edge.start < end {
                self.fill(from + edge.start, &mut whole[edge.start as usize..end as usize])?;
            }
        }
        whole[within as usize..behind as usize].copy_from_slice(&bytes[..len as usize]);
        self.write_at(place, &whole)?;
        Ok(len)
    }

    /// Makes a range read as zeroes, and frees its clusters. Version 2 cannot say that over a backing file: all stays as it is.
    pub(super) fn zero(&mut self, mut at: u64, len: u64) -> io::Result<()> {
        let backed = self.header.backing.is_some();
        if backed && self.header.version < 3 {
            return Ok(());
        }
        self.tail = None;
        let (end, cluster) = (at + len, self.header.cluster());
        while at < end {
            self.begin()?;
            let (place, run) = self.run(at, end - at)?;
            if place == Place::Zero || place == Place::Backing && !backed {
                at += run;
                continue;
            }
            let next = ((at & !(cluster - 1)) + cluster).min(end);
            let whole = at.is_multiple_of(cluster) && (next - at == cluster || next == self.header.size);
            if whole {
                self.own_table(self.index(at).0)?;
                let old = self.entry(at)?;
                self.set_entry(at, if backed { ZERO } else { 0 })?;
                self.free_entry(old);
            } else {
                self.put(at, &vec![0; (next - at) as usize])?;
            }
            at = next;
        }
        Ok(())
    }

    /// Forgets all the image has of its own.
    pub(super) fn forget_all(&mut self) -> io::Result<()> {
        self.tail = None;
        for index in 0..self.l1.len() {
            self.begin()?;
            let Some(table) = self.table(index)? else { continue };
            if self.tables.get(&table).is_some_and(|table| table.entries.iter().all(|entry| *entry == 0)) {
                continue;
            }
            self.own_table(index)?;
            let Some(table) = self.table(index)?.and_then(|at| self.tables.get_mut(&at)) else { continue };
            let old = std::mem::take(&mut table.entries);
            table.entries = vec![0; old.len()];
            table.changed = true;
            old.into_iter().for_each(|entry| self.free_entry(entry));
        }
        Ok(())
    }

    /// Writes a cluster that is compressed, behind the last one. Nothing may be there yet.
    pub(super) fn put_compressed(&mut self, at: u64, packed: &[u8]) -> io::Result<()> {
        self.begin()?;
        self.own_table(self.index(at).0)?;
        let (bits, len) = (self.header.cluster_bits, packed.len() as u64);
        let start = match self.tail.take() {
            Some(tail) if self.share_tail(tail, len)? => tail,
            _ => self.take(1)?.start << bits,
        };
        let x = 62 - (bits - 8);
        if start >> x != 0 {
            return Err(invalid("it is too large for compressed clusters"));
        }
        self.write_at(start, packed)?;
        let sectors = ((start + len - 1) >> 9) - (start >> 9);
        self.set_entry(at, COMPRESSED | start | sectors << x)?;
        let next = start + len;
        self.tail = (next & (self.header.cluster() - 1) != 0).then_some(next);
        Ok(())
    }

    /// True if so many bytes find room behind a compressed cluster, in its last cluster and perhaps the next.
    fn share_tail(&mut self, tail: u64, len: u64) -> io::Result<bool> {
        let Some(counts) = &mut self.counts else { return Ok(false) };
        let bits = self.header.cluster_bits;
        let (first, last) = (tail >> bits, (tail + len - 1) >> bits);
        if counts.get(&self.file, first)? >= counts.most() || last > first && !counts.take_at(&self.file, last)? {
            return Ok(false);
        }
        counts.share(&self.file, first)?;
        Ok(true)
    }

    /// Brings all that was changed into the file, in the order that is right at any time.
    pub(super) fn commit(&mut self) -> io::Result<()> {
        let Some(counts) = &mut self.counts else { return Ok(()) };
        if counts.write(&self.file)? {
            self.file.sync_data()?;
            self.unsynced = true;
        }
        for (at, table) in self.tables.iter_mut().filter(|(_, table)| table.changed) {
            let bytes: Vec<u8> = table.entries.iter().flat_map(|entry| entry.to_be_bytes()).collect();
            self.file.write_all_at(&bytes, *at)?;
            self.end = self.end.max(at + bytes.len() as u64);
            (table.changed, self.unsynced) = (false, true);
        }
        if !self.l1_changed.is_empty() {
            self.file.sync_data()?;
        }
        while let Some(index) = self.l1_changed.first().copied() {
            self.file.write_all_at(&self.l1[index].to_be_bytes(), self.header.l1.at + index as u64 * 8)?;
            self.l1_changed.remove(&index);
            self.unsynced = true;
        }
        if self.freed.is_empty() {
            return Ok(());
        }
        self.file.sync_data()?;
        (self.inflated, self.unsynced) = (None, true);
        let bits = self.header.cluster_bits;
        let mut holes = crate::disk::ranges::Ranges::default();
        for cluster in std::mem::take(&mut self.freed).into_iter().flatten() {
            if counts.release(&self.file, cluster)? {
                self.meta.remove(&cluster);
                holes.insert(cluster << bits..(cluster + 1) << bits);
            }
        }
        counts.write(&self.file)?;
        for hole in holes.iter().filter(|hole| hole.start < self.end) {
            punch(&self.file, hole)?;
        }
        Ok(())
    }
}
