//! Where there is no quick tier no translations are kept.

use super::*;
use emu_store::Store;

/// Nothing is made for it.
pub fn host_features() -> Vec<&'static str> {
    Vec::new()
}

/// None.
pub struct Stored;

impl<I: Isa> Engine<I> {
    /// They are not.
    pub fn use_store(&mut self, _: &Arc<Store>) {}

    pub(super) fn renew_stored(&mut self) {}

    pub(super) fn begin_bytes(&mut self) {}

    pub(super) fn note_bytes(&mut self, _: u64, _: u8, _: u64) {}

    pub(super) fn stored_block(&mut self, _: &dyn GuestBus, _: BlockId, _: u8) -> Option<Cached> {
        None
    }

    pub(super) fn store_block(&mut self, _: &Block, _: &BlockInfo, _: u64, _: BlockId, _: Option<SecondPage>) {}
}
