//! The jump cache of a vCPU: where the blocks for virtual addresses begin, by address space.

use super::blocks::Cached;
use super::exec::{JumpEntry, OTHER_JUMP, PAGE_JUMPS, jump_slot};
use super::{BlockKey, Context, Isa};
use emu_memory::{Flushed, PAGE_BITS, PAGE_SIZE};

/// Words that say in which pages code was looked up; pages may share a bit.
pub const CODE_PAGES: usize = 256;

/// The word and bit of a page.
fn code_page(va: u64) -> (usize, u64) {
    let hash = (va >> PAGE_BITS).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((hash >> 32) as usize % CODE_PAGES, 1 << (hash >> 58))
}

/// One epoch of the jump cache, above the 48 bits of a block key.
const EPOCH: u64 = 1 << 48;

impl<I: Isa> Context<I> {
    /// Another address space, with a front of the TLB and an epoch of the jump cache of its own.
    pub(super) fn set_tag(&mut self, tag: u32) {
        if tag != self.tag {
            self.tag = tag;
            self.tlb.select(tag);
            self.find_epoch();
        }
    }
    pub(super) fn forget_jumps(&mut self) {
        self.epochs.clear();
        self.global_epoch = self.new_epoch();
        self.find_epoch();
    }
    fn new_epoch(&mut self) -> u64 {
        if self.newest == u64::MAX << 48 {
            self.jumps.fill(JumpEntry::NONE);
            self.epochs.clear();
            self.forgotten += 1;
            (self.newest, self.global_epoch) = (EPOCH, EPOCH);
        }
        self.newest += EPOCH;
        self.newest
    }
    /// The jump cache's epoch for the space tag: what it knows of another address space waits until that comes back.
    pub(super) fn find_epoch(&mut self) {
        self.epoch = match self.epochs.get(&self.tag) {
            Some(epoch) => *epoch,
            None => {
                let epoch = self.new_epoch();
                self.epochs.insert(self.tag, epoch);
                epoch
            }
        };
        self.number_mapping();
    }
    /// The same number means that all pages with code that were looked up then lie where they did.
    fn number_mapping(&mut self) {
        self.mapping = self.forgotten << 16 | self.epoch >> 48;
    }
    /// What the jump cache knows of the block at `pc`.
    #[inline(always)]
    pub(super) fn known_jump(&self, pc: u64, key: BlockKey) -> Option<&JumpEntry> {
        let slot = jump_slot(pc);
        let stamp = self.epoch | key.0;
        let for_all = |entry: &JumpEntry| entry.global == self.global_number() && (entry.stamp ^ stamp) & (EPOCH - 1) == 0;
        let matches = |entry: &&JumpEntry| entry.pc == pc && (entry.stamp == stamp || for_all(entry));
        [slot, slot ^ OTHER_JUMP].into_iter().map(|slot| &self.jumps[slot]).find(matches)
    }
    /// What entries for global pages have that hold.
    fn global_number(&self) -> u32 {
        (self.global_epoch >> 48) as u32
    }
    /// Lets the jump cache know the block at `pc`, whose page may be global.
    pub(super) fn know(&mut self, pc: u64, key: BlockKey, global: bool, block: &Cached, native: u64) {
        let global = if global { self.global_number() } else { 0 };
        self.note_code_page(pc);
        let slot = jump_slot(pc);
        if self.jumps[slot].pc != pc {
            self.jumps[slot ^ OTHER_JUMP] = self.jumps[slot];
        }
        self.jumps[slot] = JumpEntry { pc, stamp: self.epoch | key.0, native, code: block.code, global };
    }
    /// Code in the page of `pc` was looked up, for the jump cache or for a region.
    pub(super) fn note_code_page(&mut self, pc: u64) {
        let (word, bit) = code_page(pc);
        self.code_pages[word] |= bit;
    }
    /// False: no code in the page of `va` was ever looked up.
    fn is_code_page(&self, va: u64) -> bool {
        let (word, bit) = code_page(va);
        self.code_pages[word] & bit != 0
    }
    /// Forgets what the jump cache knows of the addresses that the TLB was made to forget.
    pub(super) fn follow_flush(&mut self) {
        match self.tlb.take_flushed() {
            Flushed::Nothing => {}
            Flushed::Pages(pages, count) => {
                for va in &pages[..count] {
                    if !self.is_code_page(*va) {
                        continue;
                    }
                    self.forgotten += 1;
                    self.number_mapping();
                    let first = jump_slot(va & !(PAGE_SIZE - 1)) & !PAGE_JUMPS;
                    let gone = |entry: &&mut JumpEntry| entry.pc & !(PAGE_SIZE - 1) == va & !(PAGE_SIZE - 1);
                    self.jumps[first..=first + PAGE_JUMPS].iter_mut().filter(gone).for_each(|entry| *entry = JumpEntry::NONE);
                }
            }
            Flushed::Tags(mask, bits) => {
                self.epochs.retain(|tag, _| tag & mask != bits);
                self.find_epoch();
            }
            Flushed::All => self.forget_jumps(),
        }
    }
}
