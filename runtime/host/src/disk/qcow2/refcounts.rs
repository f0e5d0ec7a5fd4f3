//! Refcounts: how often each cluster of the image's file is used, and so which are free.
//!
//! A table names blocks of one cluster each; a block has a counter per cluster. Blocks are changed in memory. Counters that grow are written before
//! anything that uses the cluster, those that shrink after nothing does: [`super::Qcow2::commit`] keeps that order, this file does the counting.
//! A block that is missing is put into the first cluster it counts, as nothing is there.
//!
//! Source: QEMU docs/interop/qcow2.txt, "Reference counting".

use super::header::{Header, REFTABLE_AT, u64_at};
use crate::disk::{invalid, read_padded};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Blocks kept in memory; more are dropped when nothing of them is to be written.
const KEPT: usize = 64;

struct Block {
    bytes: Vec<u8>,
    changed: bool,
}

/// The counter at an index of a block; its bits are in the order of big-endian numbers, those below a byte from the least significant on.
pub fn counter(block: &[u8], order: u32, index: u64) -> u64 {
    let index = index as usize;
    match order {
        0..=2 => {
            let bits = 1 << order;
            let per = 8 / bits;
            u64::from(block[index / per] >> (index % per * bits)) & ((1 << bits) - 1)
        }
        _ => {
            let len = 1 << (order - 3);
            block[index * len..][..len].iter().fold(0, |all, byte| all << 8 | u64::from(*byte))
        }
    }
}

/// Sets a counter.
pub fn set_counter(block: &mut [u8], order: u32, index: u64, value: u64) {
    let index = index as usize;
    match order {
        0..=2 => {
            let bits = 1 << order;
            let per = 8 / bits;
            let (byte, shift) = (&mut block[index / per], index % per * bits);
            *byte = *byte & !(((1 << bits) - 1) << shift) | (value as u8) << shift;
        }
        _ => {
            let len = 1 << (order - 3);
            block[index * len..][..len].copy_from_slice(&value.to_be_bytes()[8 - len..]);
        }
    }
}

/// All counters of an image that is written.
pub struct Refcounts {
    cluster_bits: u32,
    order: u32,
    per_block: u64,
    table: Vec<u64>,
    table_at: u64,
    changed: BTreeSet<usize>,
    blocks: BTreeMap<usize, Block>,
    /// No cluster below is free.
    least: u64,
    /// Clusters an old table was in.
    left: Vec<u64>,
}

impl Refcounts {
    /// Reads the table.
    pub fn read(file: &File, header: &Header) -> io::Result<Refcounts> {
        let mut bytes = vec![0; (u64::from(header.reftable_clusters) << header.cluster_bits) as usize];
        read_padded(file, header.reftable, &mut bytes)?;
        let table: Vec<u64> = bytes.chunks(8).map(|entry| u64_at(entry, 0)).collect();
        if header.reftable == 0 || table.is_empty() {
            return Err(invalid("it has no refcount table"));
        }
        Ok(Refcounts {
            cluster_bits: header.cluster_bits,
            order: header.refcount_order,
            per_block: header.block_entries(),
            table,
            table_at: header.reftable,
            changed: BTreeSet::new(),
            blocks: BTreeMap::new(),
            least: 0,
            left: vec![],
        })
    }

    /// The table's entries: offsets of blocks.
    pub fn blocks(&self) -> impl Iterator<Item = u64> {
        self.table.iter().copied().filter(|at| *at != 0)
    }

    /// Bytes the table is at.
    pub fn table_range(&self) -> Range<u64> {
        self.table_at..self.table_at + self.table.len() as u64 * 8
    }

    /// The clusters a table was in, if there is another now.
    pub fn left(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.left)
    }

    /// The largest value of a counter.
    pub fn most(&self) -> u64 {
        u64::MAX >> (64 - (1 << self.order))
    }

    fn block(&mut self, file: &File, index: usize) -> io::Result<Option<&mut Block>> {
        let at = match self.table.get(index) {
            None | Some(0) => return Ok(None),
            Some(at) if at.is_multiple_of(1 << self.cluster_bits) && *at < 1 << 56 => *at,
            Some(_) => return Err(invalid("a refcount block does not lie where clusters do")),
        };
        if !self.blocks.contains_key(&index) {
            if self.blocks.len() >= KEPT {
                self.blocks.retain(|_, block| block.changed);
            }
            let mut bytes = vec![0; 1 << self.cluster_bits];
            read_padded(file, at, &mut bytes)?;
            self.blocks.insert(index, Block { bytes, changed: false });
        }
        Ok(self.blocks.get_mut(&index))
    }

    /// How many blocks are to be written.
    pub fn changed(&self) -> usize {
        self.blocks.values().filter(|block| block.changed).count()
    }

    /// A cluster's counter.
    pub fn get(&mut self, file: &File, cluster: u64) -> io::Result<u64> {
        let (order, within) = (self.order, cluster % self.per_block);
        Ok(self.block(file, (cluster / self.per_block) as usize)?.map_or(0, |block| counter(&block.bytes, order, within)))
    }

    fn set(&mut self, file: &File, cluster: u64, value: u64) -> io::Result<()> {
        let (order, within) = (self.order, cluster % self.per_block);
        let block = self.block(file, (cluster / self.per_block) as usize)?.ok_or_else(|| invalid("a refcount block is missing"))?;
        set_counter(&mut block.bytes, order, within, value);
        block.changed = true;
        Ok(())
    }

    /// One more use of a cluster that is in use.
    pub fn share(&mut self, file: &File, cluster: u64) -> io::Result<()> {
        let value = self.get(file, cluster)?;
        if value >= self.most() {
            return Err(invalid("a cluster is used too often"));
        }
        self.set(file, cluster, value + 1)
    }

    /// One use less; true if the cluster is free now. What the counter has not counted is no harm here: the checker reports it.
    pub fn release(&mut self, file: &File, cluster: u64) -> io::Result<bool> {
        let value = self.get(file, cluster)?;
        if value == 0 {
            return Ok(false);
        }
        self.set(file, cluster, value - 1)?;
        if value == 1 {
            self.least = self.least.min(cluster);
        }
        Ok(value == 1)
    }

    /// Takes up to so many free clusters in a row: the first, and how many.
    pub fn take(&mut self, file: &File, most: u64) -> io::Result<Range<u64>> {
        let mut first = self.least;
        loop {
            if first >= 1 << (56 - self.cluster_bits) {
                return Err(invalid("it cannot grow any more"));
            }
            self.provide(file, first)?;
            if self.get(file, first)? == 0 {
                break;
            }
            first += 1;
        }
        let mut end = first;
        while end < first + most && (end == first || self.table.get((end / self.per_block) as usize).is_some_and(|at| *at != 0)) {
            if self.get(file, end)? != 0 {
                break;
            }
            self.set(file, end, 1)?;
            end += 1;
        }
        self.least = end;
        Ok(first..end)
    }

    /// Takes this very cluster, if it is free.
    pub fn take_at(&mut self, file: &File, cluster: u64) -> io::Result<bool> {
        self.provide(file, cluster)?;
        let free = self.get(file, cluster)? == 0;
        if free {
            self.set(file, cluster, 1)?;
        }
        Ok(free)
    }

    /// Sees to it that a cluster has a counter.
    fn provide(&mut self, file: &File, cluster: u64) -> io::Result<()> {
        let index = (cluster / self.per_block) as usize;
        if index >= self.table.len() {
            self.grow(file)?;
        }
        if index < self.table.len() && self.table[index] == 0 {
            let mut bytes = vec![0; 1 << self.cluster_bits];
            set_counter(&mut bytes, self.order, 0, 1);
            self.blocks.insert(index, Block { bytes, changed: true });
            self.table[index] = (index as u64 * self.per_block) << self.cluster_bits;
            self.changed.insert(index);
        }
        Ok(())
    }

    /// A larger table, behind all clusters the old one counts; on the medium before this returns.
    fn grow(&mut self, file: &File) -> io::Result<()> {
        self.write(file)?;
        let (old, old_len) = (self.table_at, self.table.len());
        let first = old_len as u64 * self.per_block;
        let per_cluster = 1 << (self.cluster_bits - 3);
        // Half as large again, and room for what counts the table itself.
        let len = (old_len + old_len / 2 + 4).next_multiple_of(per_cluster);
        let clusters = (len / per_cluster) as u64;
        if clusters << self.cluster_bits > 8 << 20 {
            return Err(invalid("its refcount table cannot grow beyond 8M"));
        }
        self.table.resize(len, 0);
        let mut blocks = 1;
        while (blocks + clusters).div_ceil(self.per_block) > blocks {
            blocks = (blocks + clusters).div_ceil(self.per_block);
        }
        if old_len + blocks as usize > len {
            return Err(invalid("its refcount table cannot grow"));
        }
        // First the blocks, then the table.
        for n in 0..blocks {
            self.blocks.insert(old_len + n as usize, Block { bytes: vec![0; 1 << self.cluster_bits], changed: true });
            self.table[old_len + n as usize] = (first + n) << self.cluster_bits;
        }
        for cluster in first..first + blocks + clusters {
            self.set(file, cluster, 1)?;
        }
        self.table_at = (first + blocks) << self.cluster_bits;
        self.changed.clear();
        self.write_blocks(file)?;
        let bytes: Vec<u8> = self.table.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        file.write_all_at(&bytes, self.table_at)?;
        file.sync_data()?;
        let mut place = self.table_at.to_be_bytes().to_vec();
        place.extend((clusters as u32).to_be_bytes());
        file.write_all_at(&place, REFTABLE_AT)?;
        file.sync_data()?;
        for cluster in 0..(old_len / per_cluster) as u64 {
            self.release(file, (old >> self.cluster_bits) + cluster)?;
            self.left.push((old >> self.cluster_bits) + cluster);
        }
        Ok(())
    }

    fn write_blocks(&mut self, file: &File) -> io::Result<bool> {
        let mut any = false;
        for (index, block) in self.blocks.iter_mut().filter(|(_, block)| block.changed) {
            file.write_all_at(&block.bytes, self.table[*index])?;
            (block.changed, any) = (false, true);
        }
        Ok(any)
    }

    /// Writes what was changed; blocks before the table that names them. True if anything was.
    pub fn write(&mut self, file: &File) -> io::Result<bool> {
        let any = self.write_blocks(file)?;
        if !self.changed.is_empty() {
            file.sync_data()?;
        }
        while let Some(index) = self.changed.first().copied() {
            file.write_all_at(&self.table[index].to_be_bytes(), self.table_at + index as u64 * 8)?;
            self.changed.remove(&index);
        }
        Ok(any)
    }
}
