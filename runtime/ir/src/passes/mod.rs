//! Improvements of a built block, one pass one file.
//!
//! Constants, copies and what slots are known to hold are propagated while a block is built ([`crate::builder`]); what is left to do here needs
//! to know what comes later.

mod context;
mod dead_code;

use crate::guest::{FloatEnvDesc, HelperDesc, Isa, SlotOr};
use crate::op::Block;
use crate::state::{Slot, StateLayout};

/// A range of atoms, the pieces of state at the granularity at which slots overlap: a slot is at most 64 of them. Sets are bits in words.
#[derive(Clone, Copy, Debug)]
struct Atoms {
    /// The word of the first; others may be in the next.
    word: usize,
    low: u64,
    high: u64,
}

impl Atoms {
    fn new(first: usize, count: usize) -> Atoms {
        assert!((1..=64).contains(&count), "a slot overlaps with too many");
        let bits = u128::from(u64::MAX >> (64 - count)) << (first % 64);
        Atoms { word: first / 64, low: bits as u64, high: (bits >> 64) as u64 }
    }

    /// They have some in common.
    fn overlap(self, other: Atoms) -> bool {
        let (first, second) = if self.word <= other.word { (self, other) } else { (other, self) };
        match second.word - first.word {
            0 => first.low & second.low != 0 || first.high & second.high != 0,
            1 => first.high & second.low != 0,
            _ => false,
        }
    }

    /// Adds them to a set.
    fn add_to(self, set: &mut [u64]) {
        set[self.word] |= self.low;
        if self.high != 0 {
            set[self.word + 1] |= self.high;
        }
    }

    /// Removes them from a set; whether any of them was there.
    fn take_from(self, set: &mut [u64]) -> bool {
        let mut any = set[self.word] & self.low;
        set[self.word] &= !self.low;
        if self.high != 0 {
            any |= set[self.word + 1] & self.high;
            set[self.word + 1] &= !self.high;
        }
        any != 0
    }
}

/// The passes for one instruction set, with what they know of it.
pub struct Passes {
    /// For each slot, its atoms.
    atoms: Vec<Atoms>,
    words: usize,
    helpers: &'static [HelperDesc],
    envs: &'static [FloatEnvDesc],
    walk: dead_code::Walk,
}

impl Passes {
    /// Passes over blocks of `isa`.
    pub fn new<I: Isa>(isa: &I) -> Passes {
        Passes::with(isa.layout(), isa.helpers(), isa.float_envs())
    }

    /// Passes over blocks with this state and these effects.
    pub fn with(layout: &'static StateLayout, helpers: &'static [HelperDesc], envs: &'static [FloatEnvDesc]) -> Passes {
        let mut borders: Vec<u32> = layout.slots.iter().flat_map(|s| [s.bit_range().0, s.bit_range().1]).collect();
        borders.sort_unstable();
        borders.dedup();
        let index = |bit: u32| borders.binary_search(&bit).unwrap_or_else(|at| at);
        let atoms = |(first, last)| Atoms::new(index(first), index(last) - index(first));
        let atoms = layout.slots.iter().map(|s| atoms(s.bit_range())).collect();
        Passes { atoms, words: borders.len() / 64 + 1, helpers, envs, walk: dead_code::Walk::default() }
    }

    /// Runs all passes.
    pub fn optimise(&mut self, block: &mut Block) {
        let mut walk = std::mem::take(&mut self.walk);
        self.dead_code(&mut walk, block);
        self.walk = walk;
        self.put_back(block);
    }

    fn atoms(&self, slot: Slot) -> Atoms {
        self.atoms[slot.0 as usize]
    }

    /// The slots a floating-point operation in environment `env` reads or or-s into; `None` if it is not described.
    fn env_slots(&self, env: u8) -> Option<impl Iterator<Item = Slot>> {
        let env = self.envs.get(env as usize)?;
        let control = |s: SlotOr| match s {
            SlotOr::Slot(slot) => Some(slot),
            SlotOr::Const(_) => None,
        };
        let slots = [env.round, control(env.flush), control(env.default_nan), control(env.alt_half), Some(env.sticky)];
        Some(slots.into_iter().flatten())
    }
}
