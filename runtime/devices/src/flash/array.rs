//! The array of a flash chip: programs clear bits, erases set them.
//!
//! It lies in the device's own memory, inverted, so that memory that was never touched is an erased chip; or upright, where CPUs read that memory themselves. The drive's image is taken over when it
//! comes, and what changes is written through. An image may be shorter than the array: what lies behind it is erased and not kept.

use emu_machine::backend::{DiskRequest, DiskResult};
use emu_machine::device::Cx;
use emu_memory::RamBlock;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Bytes of one request to the drive.
const CHUNK: u64 = 256 << 10;

/// What may wait for a drive that is late: bytes, and what a request costs beside them.
const MOST_WAITING: u64 = 16 << 20;
const REQUEST: u64 = 1 << 10;

/// What is behind the array.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Backing {
    /// Bytes of the array that the drive has.
    bytes: u64,
    /// Requests that are not answered, and what they cost.
    pending: u32,
    waiting: u64,
    /// One of them was not done.
    failed: bool,
}

impl Backing {
    /// The drive works on what changed.
    pub(super) fn is_busy(&self) -> bool {
        self.pending > 0
    }

    /// The drive is far behind.
    pub(super) fn is_late(&self) -> bool {
        self.pending > 0 && self.waiting > MOST_WAITING
    }

    /// Whether something could not be written since the last look.
    pub(super) fn take_failed(&mut self) -> bool {
        std::mem::take(&mut self.failed)
    }

    /// The drive answered: the tag of a request is its length.
    pub(super) fn done(&mut self, tag: u32, result: &DiskResult) {
        self.waiting = self.waiting.saturating_sub(u64::from(tag) + REQUEST);
        self.pending = self.pending.saturating_sub(1);
        self.failed |= result.is_err();
    }

    /// After a reset nobody answers any more; what was asked is done.
    pub(super) fn forget(&mut self) {
        (self.pending, self.waiting, self.failed) = (0, 0, false);
    }

    /// It can belong to an array of so many bytes.
    pub(super) fn fits(&self, size: u64) -> bool {
        self.bytes <= size
    }
}

/// The array.
pub(super) struct Array {
    memory: Option<Arc<RamBlock>>,
    size: u64,
    /// All ones: what is stored is the complement.
    inverted: u8,
}

impl Array {
    pub(super) fn new(size: u64) -> Array {
        Array { memory: None, size, inverted: 0xff }
    }

    /// One that lies in memory as it reads. It is to be erased before it is used for the first time.
    pub(super) fn upright(size: u64) -> Array {
        Array { inverted: 0, ..Array::new(size) }
    }

    /// To be called before the array is used.
    pub(super) fn find(&mut self, cx: &Cx<'_>) {
        self.memory = cx.memory(0);
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Reads; what does not lie inside is left as it is.
    pub(super) fn read(&self, at: u64, buffer: &mut [u8]) {
        if self.memory.as_ref().is_some_and(|m| m.copy_out(at, buffer)) {
            buffer.iter_mut().for_each(|b| *b ^= self.inverted);
        }
    }

    /// Clears the bits that are 0 in `bytes`.
    pub(super) fn program(&self, at: u64, bytes: &[u8]) {
        let Some(memory) = &self.memory else { return };
        let mut stored = vec![0; bytes.len()];
        if memory.copy_out(at, &mut stored) {
            stored.iter_mut().zip(bytes).for_each(|(old, new)| *old = (*old ^ self.inverted) & new ^ self.inverted);
            memory.copy_in(at, &stored);
        }
    }

    /// Sets all bits.
    pub(super) fn erase(&self, at: u64, len: u64) {
        let Some(memory) = &self.memory else { return };
        if self.inverted != 0 {
            memory.clear(at, len);
            return;
        }
        let ones = vec![0xff; len.min(CHUNK) as usize];
        for done in (0..len).step_by(CHUNK as usize) {
            memory.copy_in(at + done, &ones[..(len - done).min(CHUNK) as usize]);
        }
    }

    /// Gives the drive what changed.
    pub(super) fn save(&self, backing: &mut Backing, at: u64, len: u64, cx: &mut Cx<'_>) {
        let end = at.saturating_add(len).min(backing.bytes).min(self.size);
        let mut start = at;
        while start < end {
            let mut bytes = vec![0; (end - start).min(CHUNK) as usize];
            self.read(start, &mut bytes);
            let next = start + bytes.len() as u64;
            cx.disk_submit(0, bytes.len() as u32, DiskRequest::Write { at: start, bytes });
            backing.pending = backing.pending.saturating_add(1);
            backing.waiting = backing.waiting.saturating_add(next - start + REQUEST);
            start = next;
        }
    }

    /// Takes over what is in the drive; an image that is too large is refused.
    pub(super) fn load(&mut self, backing: &mut Backing, cx: &mut Cx<'_>) {
        self.find(cx);
        backing.bytes = 0;
        let (Some(medium), Some(memory)) = (cx.medium(0), self.memory.clone()) else { return };
        if medium.size > self.size {
            let (image, chip) = (medium.size, self.size);
            return cx.refuse(&format!("an image of {image} bytes, as the chip has {chip}; the chip is as without it"));
        }
        let (mut new, mut old) = (vec![0; CHUNK as usize], vec![0; CHUNK as usize]);
        for at in (0..medium.size).step_by(CHUNK as usize) {
            let len = (medium.size - at).min(CHUNK) as usize;
            let (new, old) = (&mut new[..len], &mut old[..len]);
            if let Err(e) = cx.disk_read_now(0, at, new) {
                return cx.refuse(&format!("an image that cannot be read: {e}"));
            }
            new.iter_mut().for_each(|b| *b ^= self.inverted);
            // Memory that is erased, and was, is not touched.
            if memory.copy_out(at, old) && old != new {
                memory.copy_in(at, new);
            }
        }
        self.erase(medium.size, self.size - medium.size);
        backing.bytes = if medium.read_only { 0 } else { medium.size };
    }
}
