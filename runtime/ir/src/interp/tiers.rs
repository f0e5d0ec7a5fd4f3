//! Which tiers an engine executes guest code in, and what they are limited to.

use super::*;

/// Which tiers execute guest code.
#[derive(Clone, Debug, Default)]
pub enum Tiers {
    /// The interpreter alone.
    Interpreter,
    /// Each block as host code.
    #[default]
    Quick,
    /// ... and loops whose jump back was taken so often as regions.
    All {
        /// Who compiles them.
        workers: Arc<Workers>,
        /// Jumps back, at least one.
        threshold: u32,
        /// Also of blocks that are slower so, for tests.
        thorough: bool,
        /// Their accesses go to windows ([`SoftTlb::window`]) if they can: all, none, or those where it pays.
        windows: Option<bool>,
    },
}

impl Tiers {
    /// Who compiles regions.
    pub fn workers(&self) -> Option<&Workers> {
        if let Tiers::All { workers, .. } = self { Some(workers) } else { None }
    }
}

impl<I: Isa> Engine<I> {
    /// Limits the generated code, and the bytecode, to so many bytes each ([`CODE_CACHE`] says which): when there is no room for another block, all
    /// translations are forgotten. Those there are now are forgotten as well.
    pub fn set_code_cache(&mut self, bytes: usize) {
        self.code_cache = bytes.clamp(*CODE_CACHE.start(), *CODE_CACHE.end());
        self.flush();
        if self.quick.is_some() {
            self.use_quick_tier();
        }
    }

    /// From now on the bus maps memory ([`GuestBus::direct`]). At once or never, before anything is executed.
    pub fn use_direct_memory(&mut self, bus: &dyn GuestBus) {
        self.cx.direct = bus.direct().unwrap_or(0);
        if self.quick.is_some() {
            self.use_quick_tier();
        }
    }

    /// From now on instructions are counted, as they are at first, or not: then the bus's limit is to be none, but for a single step.
    pub fn count(&mut self, counted: bool) {
        self.counted = counted;
        if self.quick.is_some() {
            self.use_quick_tier();
        }
    }

    /// From now on guest code is executed in these tiers, as far as this host has them; false: only the interpreter does. What was translated is forgotten.
    pub fn use_tiers(&mut self, tiers: &Tiers) -> bool {
        (self.quick, self.regions) = (None, None);
        match tiers {
            Tiers::Interpreter => {
                self.flush();
                return false;
            }
            Tiers::Quick => {}
            Tiers::All { workers, threshold, thorough, windows } => self.use_regions(workers, *threshold, *thorough, *windows),
        }
        self.use_quick_tier()
    }

    /// From now on blocks are executed by the quick tier, if this host has one; true if so. What was translated is forgotten.
    pub fn use_quick_tier(&mut self) -> bool {
        self.flush();
        self.quick = Quick::new(&*self.cx.isa, self.code_cache, self.cx.direct != 0, self.counted, self.regions.is_some());
        self.note_stubs();
        self.renew_stored();
        self.quick.is_some()
    }
}
