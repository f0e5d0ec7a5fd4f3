//! Improvements of a built block, one pass one file.
//!
//! Constants, copies and what slots are known to hold are propagated while a block is built ([`crate::builder`]); what is left to do here needs
//! to know what comes later.

mod dead_code;

use crate::guest::{FloatEnvDesc, HelperDesc, Isa, SlotOr};
use crate::op::Block;
use crate::state::{Slot, StateLayout};

/// Sets of atoms, the pieces of state at the granularity at which slots overlap: each slot is a range of them.
mod live {
    /// The words that hold a range, with its bits in each.
    fn words((first, last): (usize, usize)) -> impl Iterator<Item = (usize, u64)> {
        (first / 64..last.div_ceil(64)).map(move |word| {
            let (low, high) = (first.max(64 * word), last.min(64 * word + 64));
            (word, u64::MAX >> (64 - (high - low)) << (low % 64))
        })
    }

    /// Adds a range.
    pub fn add(live: &mut [u64], atoms: (usize, usize)) {
        words(atoms).for_each(|(word, bits)| live[word] |= bits);
    }

    /// Removes a range; whether any of it was there.
    pub fn remove(live: &mut [u64], atoms: (usize, usize)) -> bool {
        let mut any = 0;
        for (word, bits) in words(atoms) {
            any |= live[word] & bits;
            live[word] &= !bits;
        }
        any != 0
    }
}

/// The passes for one instruction set, with what they know of it.
pub struct Passes {
    /// For each slot, its atoms.
    atoms: Vec<(u16, u16)>,
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
        let index = |bit: u32| borders.binary_search(&bit).unwrap_or_else(|at| at) as u16;
        let atoms = layout.slots.iter().map(|s| (index(s.bit_range().0), index(s.bit_range().1))).collect();
        Passes { atoms, words: borders.len() / 64 + 1, helpers, envs, walk: dead_code::Walk::default() }
    }

    /// Runs all passes.
    pub fn optimise(&mut self, block: &mut Block) {
        let mut walk = std::mem::take(&mut self.walk);
        self.dead_code(&mut walk, block);
        self.walk = walk;
    }

    fn atoms(&self, slot: Slot) -> (usize, usize) {
        let (first, last) = self.atoms[slot.0 as usize];
        (first.into(), last.into())
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
