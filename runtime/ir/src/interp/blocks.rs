//! The translations of one vCPU, by what they were made from.

use crate::guest::BlockKey;
use emu_memory::{PAGE_BITS, PAGE_SIZE};
use rustc_hash::FxHashMap;

/// Identity of a translation: physical place, virtual pc, block key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockId {
    /// Number of the RAM in the highest 16 bits, below them [`SINGLE`], below that the offset in the RAM.
    place: u64,
    pub pc: u64,
    pub key: BlockKey,
}

const SINGLE: u64 = 1 << 47;

impl BlockId {
    /// The block at `pc`, which lies in a page of RAM.
    pub fn new((ram, page): (u16, u64), pc: u64, key: BlockKey) -> BlockId {
        BlockId { place: u64::from(ram) << 48 | page << PAGE_BITS & (SINGLE - 1) | pc & (PAGE_SIZE - 1), pc, key }
    }

    /// Exactly one instruction, for stepping.
    pub fn single(self) -> BlockId {
        BlockId { place: self.place | SINGLE, ..self }
    }

    pub fn is_single(&self) -> bool {
        self.place & SINGLE != 0
    }

    /// The RAM, and the page in it.
    pub fn page(&self) -> (u16, u64) {
        ((self.place >> 48) as u16, (self.place & (SINGLE - 1)) >> PAGE_BITS)
    }
}

/// The page a block's last instruction ends in, if not the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SecondPage {
    pub ram: u16,
    pub page: u64,
    pub generation: u32,
}

/// A translation.
#[derive(Clone, Copy)]
pub struct Cached {
    pub code: u32,
    /// Of the second page; [`ONE_PAGE`]: there is none.
    second: u32,
    /// Its code in the quick tier, or 0.
    pub native: u64,
}

const ONE_PAGE: u32 = u32::MAX;

impl Cached {
    /// One that is in no table.
    pub fn once(code: u32) -> Cached {
        Cached { code, second: 0, native: 0 }
    }

    /// All of it lies in one page.
    pub fn in_one_page(&self) -> bool {
        self.second == ONE_PAGE
    }
}

/// The table.
#[derive(Default)]
pub struct Blocks {
    table: FxHashMap<BlockId, Cached>,
    seconds: Vec<SecondPage>,
}

impl Blocks {
    pub fn get(&self, id: &BlockId) -> Option<Cached> {
        self.table.get(id).copied()
    }

    pub fn second(&self, block: &Cached) -> Option<SecondPage> {
        self.seconds.get(block.second as usize).copied().filter(|_| !block.in_one_page())
    }

    pub fn insert(&mut self, id: BlockId, code: u32, native: u64, second: Option<SecondPage>) -> Cached {
        let second = second.map_or(ONE_PAGE, |second| {
            self.seconds.push(second);
            self.seconds.len() as u32 - 1
        });
        let cached = Cached { code, second, native };
        self.table.insert(id, cached);
        cached
    }

    pub fn iter(&self) -> impl Iterator<Item = (&BlockId, &Cached)> {
        self.table.iter()
    }

    /// The code of one there is replaced.
    pub fn replace(&mut self, id: &BlockId, native: u64) {
        if let Some(cached) = self.table.get_mut(id) {
            cached.native = native;
        }
    }

    pub fn remove(&mut self, id: &BlockId) {
        self.table.remove(id);
    }

    pub fn clear(&mut self) {
        self.table.clear();
        self.seconds.clear();
    }
}
