//! Plays back the log of a Hyper-V image (VHDX), in memory.
//!
//! Source: Microsoft [MS-VHDX], 2.3 (log) and 2.3.3 (replay). A ring of sectors of 4 KiB: an entry is a header with descriptors and the data
//! sectors that descriptors want. Entries with consecutive sequence numbers whose last one names the first as the tail are an active sequence; that
//! of the highest numbers is played back, from the tail on: writes of a sector and of zeroes.

use super::{error::Error, source::Source, vhdx::sealed};
use std::sync::Arc;

/// The longest log that is played back; Hyper-V and QEMU make logs of 1 MiB.
pub(super) const MOST: u64 = 64 << 20;

const SECTOR: usize = 4096;

struct Ring {
    bytes: Vec<u8>,
    id: [u8; 16],
}

/// An entry that keeps all rules.
struct Entry {
    /// In the ring, in sectors.
    first: usize,
    sectors: usize,
    sequence: u64,
    /// The first sector of the sequence it ends.
    tail: usize,
    descriptors: usize,
    /// File sizes: what was on the medium at least, and what all this needs.
    flushed: u64,
    last: u64,
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

/// Puts over the file what its log at `at` says, if the log is of this `id`.
pub(super) fn replay(s: &mut Source, at: u64, len: u64, id: [u8; 16]) -> Result<(), Error> {
    let ring = Ring { bytes: s.read_vec(at, len)?, id };
    let sequence = ring.active().ok_or_else(|| s.broken(at, "the log should be played back and has no valid sequence of entries"))?;
    let newest = sequence.last().expect("a sequence has entries");
    s.check(newest.flushed <= s.len(), at, format!("the file had {} bytes when its log was written, and is shorter now", newest.flushed))?;
    s.extend(newest.last);
    for entry in &sequence {
        let mut data = entry.first + heads(entry.descriptors);
        for i in 0..entry.descriptors {
            let descriptor = ring.descriptor(entry.first, i);
            let file = le64(descriptor, 16);
            if descriptor.starts_with(b"zero") {
                s.patch(|patches| patches.zero(file, le64(descriptor, 8)));
            } else {
                let sector = [&descriptor[8..16], &ring.sector(data)[8..SECTOR - 4], &descriptor[4..8]].concat();
                s.patch(|patches| patches.write(file, Arc::from(sector)));
                data += 1;
            }
        }
    }
    Ok(())
}

/// How many sectors the header and so many descriptors have.
fn heads(descriptors: usize) -> usize {
    (64 + 32 * descriptors).div_ceil(SECTOR)
}

impl Ring {
    fn sectors(&self) -> usize {
        self.bytes.len() / SECTOR
    }

    fn sector(&self, number: usize) -> &[u8] {
        &self.bytes[number % self.sectors() * SECTOR..][..SECTOR]
    }

    fn descriptor(&self, entry: usize, i: usize) -> &[u8] {
        let at = 64 + 32 * i;
        &self.sector(entry + at / SECTOR)[at % SECTOR..][..32]
    }

    /// The sequence to be played back.
    fn active(&self) -> Option<Vec<Entry>> {
        let (mut best, mut first): (Option<Vec<Entry>>, _) = (None, 0);
        while first < self.sectors() {
            let mut run: Vec<Entry> = vec![];
            let mut used = 0;
            while let Some(entry) = self.entry(first + used)
                && run.last().is_none_or(|last| entry.sequence == last.sequence.wrapping_add(1))
                && used + entry.sectors <= self.sectors()
            {
                used += entry.sectors;
                run.push(entry);
            }
            first += used.max(1);
            let Some(newest) = run.last() else { continue };
            let (sequence, tail) = (newest.sequence, newest.tail);
            if let Some(start) = run.iter().position(|entry| entry.first == tail)
                && best.as_ref().and_then(|best| best.last()).is_none_or(|best| best.sequence < sequence)
            {
                run.drain(..start);
                best = Some(run);
            }
        }
        best
    }

    /// The entry that begins at this sector. The checksum comes last: all sectors were then seen to be of this entry and no other, so that
    /// overlapping entries cost nothing.
    fn entry(&self, first: usize) -> Option<Entry> {
        let header = self.sector(first);
        let (len, tail, sequence) = (le32(header, 8) as usize, le32(header, 12) as usize, le64(header, 16));
        let descriptors = le32(header, 24) as usize;
        let heads = heads(descriptors);
        let fits = header.starts_with(b"loge") && header[32..48] == self.id && sequence != 0;
        let fits = fits && len > 0 && len <= self.bytes.len() && len % SECTOR == 0 && tail % SECTOR == 0 && tail < self.bytes.len();
        if !fits || heads > len / SECTOR {
            return None;
        }
        let mut data = 0;
        for i in 0..descriptors {
            let descriptor = self.descriptor(first, i);
            let writes = descriptor.starts_with(b"desc");
            let aligned =
                le64(descriptor, 16).is_multiple_of(SECTOR as u64) && (writes || le64(descriptor, 8).is_multiple_of(SECTOR as u64));
            if !(writes || descriptor.starts_with(b"zero")) || !aligned || le64(descriptor, 24) != sequence {
                return None;
            }
            data += usize::from(writes);
        }
        let numbered = |number| {
            let sector = self.sector(number);
            sector.starts_with(b"data") && u64::from(le32(sector, 4)) << 32 | u64::from(le32(sector, SECTOR - 4)) == sequence
        };
        let sectors = len / SECTOR;
        if sectors != heads + data || !(first + heads..first + sectors).all(numbered) {
            return None;
        }
        let bytes: Vec<u8> = (first..first + sectors).flat_map(|number| self.sector(number)).copied().collect();
        let (flushed, last) = (le64(header, 48), le64(header, 56));
        let first = first % self.sectors();
        sealed(&bytes).then_some(Entry { first, sectors, sequence, tail: tail / SECTOR, descriptors, flushed, last })
    }
}
