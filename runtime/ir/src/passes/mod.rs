//! Improvements of a built block, one pass one file.
//!
//! Constants, copies and what slots are known to hold are propagated while a block is built ([`crate::builder`]); what is left to do here needs
//! to know what comes later.

mod dead_code;

use crate::guest::{FloatEnvDesc, HelperDesc, Isa, SlotOr};
use crate::op::Block;
use crate::state::{Slot, StateLayout};

/// A set of state bits, at the granularity at which slots overlap: each slot is a range of atoms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Live(Vec<u64>);

impl Live {
    fn set(&mut self, (first, last): (u16, u16), live: bool) {
        for atom in first..last {
            let bit = 1 << (atom % 64);
            let word = &mut self.0[atom as usize / 64];
            if live { *word |= bit } else { *word &= !bit }
        }
    }
    fn any(&self, (first, last): (u16, u16)) -> bool {
        (first..last).any(|atom| self.0[atom as usize / 64] >> (atom % 64) & 1 != 0)
    }
    fn join(&mut self, other: &Live) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a |= b);
    }
}

/// The passes for one instruction set, with what they know of it.
pub struct Passes {
    /// For each slot, its atoms.
    atoms: Vec<(u16, u16)>,
    words: usize,
    helpers: &'static [HelperDesc],
    envs: &'static [FloatEnvDesc],
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
        Passes { atoms, words: borders.len() / 64 + 1, helpers, envs }
    }

    /// Runs all passes.
    pub fn optimise(&self, block: &mut Block) {
        self.dead_code(block);
    }

    fn all(&self) -> Live {
        Live(vec![u64::MAX; self.words])
    }

    fn atoms(&self, slot: Slot) -> (u16, u16) {
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
