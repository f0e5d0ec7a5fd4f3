//! Where there is no quick tier there are no regions.

use super::quick::Led;
use super::{Engine, Isa};
use emu_memory::GuestBus;
use std::sync::Arc;

/// Counters of jumps back.
pub const COUNTERS: usize = 0;

/// Pages that regions use.
pub const SLOTS: usize = 0;

/// None.
pub enum Regions {}

/// No threads.
#[derive(Debug)]
pub struct Workers;

/// The same, held still.
pub struct HeldWorkers;

#[allow(missing_docs, reason = "as those that compile regions")]
impl Workers {
    pub fn new(_: usize, _: fn(&mut dyn FnMut())) -> Workers {
        Workers
    }

    pub fn hold(&self) -> HeldWorkers {
        HeldWorkers
    }
}

#[allow(missing_docs, reason = "as those that compile regions")]
impl HeldWorkers {
    pub fn restart(&mut self) {}
}

impl<I: Isa> Engine<I> {
    pub(super) fn use_regions(&mut self, _: &Arc<Workers>, _: u32, _: bool, _: Option<bool>) {}

    /// There are none.
    pub fn restart_regions(&mut self) {}

    pub(super) fn forget_regions(&mut self) {}

    pub(super) fn heated(&mut self, _: &dyn GuestBus, _: u32, _: u64) {}

    pub(super) fn install_regions(&mut self) {}

    pub(super) fn lead(&mut self, led: &Led) {
        match *led {}
    }

    pub(super) fn sample(&mut self, _: &dyn GuestBus, _: Option<u32>) {}

    pub(super) fn refused(&mut self, _: u32, _: usize) {}

    pub(super) fn strain(&mut self, _: u32) {}

    pub(super) fn judge_region(&mut self, _: &dyn GuestBus, _: u32) {}
}
