//! Making an image: header, refcounts and an empty L1 table, all clusters one behind the other; and filling it with compressed clusters.

use super::header::{Header, MAGIC, MOST_L1};
use super::refcounts::set_counter;
use super::{Qcow2, compress};
use crate::disk::{inside, invalid};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What may be said of a new image.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of the disk.
    pub size: u64,
    /// Bytes of a cluster, a power of two from 512 to 2M.
    pub cluster: u64,
    /// The backing file, by a path relative to the image, and its format.
    pub backing: Option<(String, String)>,
}

/// Writes an empty image, of version 3, into an empty file.
///
/// # Errors
/// The host's, or why there is no such image.
pub fn create(file: &File, options: &Options) -> io::Result<()> {
    if !options.cluster.is_power_of_two() || !(512..=2 << 20).contains(&options.cluster) {
        return Err(invalid("a cluster has a power of two of bytes, from 512 to 2M"));
    }
    let bits = options.cluster.ilog2();
    let l1_entries = options.size.div_ceil(1 << (2 * bits - 3));
    if l1_entries * 8 > MOST_L1 {
        return Err(invalid(format!("clusters of {} bytes are too small for a disk of {} bytes", options.cluster, options.size)));
    }
    // QEMU does not take a table without entries.
    let l1_clusters = (l1_entries.max(1) * 8).div_ceil(options.cluster);
    let per_block = options.cluster * 8 / 16;
    // Header, table, blocks, L1: the blocks count themselves as well.
    let (mut blocks, mut table) = (1, 1);
    let all = loop {
        let all = 1 + table + blocks + l1_clusters;
        let (more, larger) = (all.div_ceil(per_block), (blocks * 8).div_ceil(options.cluster));
        if (more, larger) == (blocks, table) {
            break all;
        }
        (blocks, table) = (more, larger);
    };
    let mut head = vec![0; options.cluster as usize];
    let mut put = |at: usize, bytes: &[u8]| {
        let room = head.get_mut(at..at + bytes.len()).ok_or_else(|| invalid("the backing file's name is too long for a cluster"))?;
        room.copy_from_slice(bytes);
        Ok::<_, io::Error>(at + bytes.len())
    };
    put(0, &MAGIC)?;
    put(4, &3u32.to_be_bytes())?;
    put(20, &bits.to_be_bytes())?;
    put(24, &options.size.to_be_bytes())?;
    put(36, &(l1_entries as u32).to_be_bytes())?;
    put(40, &((1 + table + blocks) * options.cluster).to_be_bytes())?;
    put(48, &options.cluster.to_be_bytes())?;
    put(56, &(table as u32).to_be_bytes())?;
    put(96, &4u32.to_be_bytes())?;
    put(100, &104u32.to_be_bytes())?;
    if let Some((name, format)) = &options.backing {
        if name.len() > 1023 || name.is_empty() {
            return Err(invalid("the backing file's name has 1 to 1023 bytes"));
        }
        put(104, &0xe279_2acau32.to_be_bytes())?;
        put(108, &(format.len() as u32).to_be_bytes())?;
        let end = put(112, format.as_bytes())?.next_multiple_of(8) + 8;
        put(end, name.as_bytes())?;
        put(8, &(end as u64).to_be_bytes())?;
        put(16, &(name.len() as u32).to_be_bytes())?;
    }
    let mut counters = vec![0; (blocks * options.cluster) as usize];
    for cluster in 0..all {
        let block = &mut counters[(cluster / per_block * options.cluster) as usize..][..options.cluster as usize];
        set_counter(block, 4, cluster % per_block, 1);
    }
    let entries: Vec<u8> = (0..blocks).flat_map(|n| ((1 + table + n) * options.cluster).to_be_bytes()).collect();
    file.write_all_at(&counters, (1 + table) * options.cluster)?;
    file.write_all_at(&entries, options.cluster)?;
    file.set_len(all * options.cluster)?;
    file.write_all_at(&head, 0)?;
    Header::read(file).map(drop)
}

impl Qcow2 {
    /// Writes a whole cluster, or what is left of the disk, compressed if that makes it smaller. Nothing may have been written there.
    ///
    /// # Errors
    /// The host's.
    pub fn write_compressed(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        inside(self.header.size, at, bytes.len() as u64)?;
        let mut cluster = bytes.to_vec();
        cluster.resize(self.header.cluster() as usize, 0);
        match compress::deflate(&cluster) {
            Some(packed) => self.put_compressed(at, &packed),
            None => {
                let tail = self.tail;
                self.put(at, bytes)?;
                self.tail = tail;
                Ok(())
            }
        }
    }
}
