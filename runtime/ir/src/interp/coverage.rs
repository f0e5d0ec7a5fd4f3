//! How often each guest instruction was executed: a counter for each virtual address, which translations made with it count up themselves.
//!
//! Data path: [`Engine::set_coverage`] -> the compiler puts a word before each instruction that counts up in memory -> [`Coverage::counts`]. An instruction
//! counts when it begins, also if it then faults. Engines of several threads share the counters and do not wait for one another: counts may come out too low.

use super::Engine;
use crate::guest::Isa;
use rustc_hash::FxHashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counters of one lump of memory.
const LUMP: usize = 512;

/// The counters. Translations hold their addresses, so that they stay where they are.
#[derive(Debug, Default)]
pub struct Coverage(Mutex<Counters>);

/// The counters, while nobody else may add any.
#[derive(Debug, Default)]
pub struct Counters {
    /// The number of the counter of an address.
    places: FxHashMap<u64, usize>,
    lumps: Vec<Arc<[AtomicU64; LUMP]>>,
}

impl Coverage {
    /// None yet.
    pub fn new() -> Arc<Coverage> {
        Arc::default()
    }

    /// Keeps others from adding counters (over a fork, that the child does not inherit a lock nobody will release).
    pub fn hold(&self) -> MutexGuard<'_, Counters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address of an instruction's counter.
    pub(super) fn counter(&self, pc: u64) -> *const AtomicU64 {
        let Counters { places, lumps } = &mut *self.hold();
        let next = places.len();
        let number = *places.entry(pc).or_insert(next);
        if number / LUMP == lumps.len() {
            lumps.push(Arc::new([const { AtomicU64::new(0) }; LUMP]));
        }
        &raw const lumps[number / LUMP][number % LUMP]
    }

    /// All instructions that were translated, by address, and how often each was executed.
    pub fn counts(&self) -> Vec<(u64, u64)> {
        let counters = self.hold();
        let count = |number: usize| counters.lumps[number / LUMP][number % LUMP].load(Relaxed);
        let mut all: Vec<(u64, u64)> = counters.places.iter().map(|(pc, number)| (*pc, count(*number))).collect();
        all.sort_unstable();
        all
    }
}

impl Counters {
    /// Begins to count anew.
    pub fn clear(&mut self) {
        self.lumps.iter().flat_map(|lump| lump.iter()).for_each(|counter| counter.store(0, Relaxed));
    }
}

impl<I: Isa> Engine<I> {
    /// From now on instructions are counted; what was translated before is forgotten.
    pub fn set_coverage(&mut self, coverage: &Arc<Coverage>) {
        self.flush();
        self.coverage = Some(coverage.clone());
    }
}
