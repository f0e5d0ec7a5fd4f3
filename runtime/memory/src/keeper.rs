//! Who keeps translations of guest code, and what it must hear of.
//!
//! Data path: a store over code ([`crate::RamBlock::store_hits_code`]) or the first code in a page ([`crate::RamBlock::mark_code`]) leaves a note with
//! every keeper and sets its attention word; the keeper takes its notes at its next poll, before it executes another block.

use crate::Attention;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One keeper of translations: the notes left for it.
#[derive(Debug, Default)]
pub struct CodeKeeper {
    attention: Mutex<Arc<AtomicU32>>,
    /// Number of the block, page in the block.
    overwritten: Mutex<Vec<(u16, u64)>>,
    first_code: AtomicBool,
}

/// Locks, also after another thread's panic: the data are plain values.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CodeKeeper {
    /// The word in which [`Attention::CODE`] is to be set from now on.
    pub fn attend(&self, attention: &Arc<AtomicU32>) {
        let mut word = lock(&self.attention);
        if !Arc::ptr_eq(&word, attention) {
            *word = attention.clone();
        }
    }

    /// The pages whose code was overwritten since the last call: the block's number as the keeper gave it, and the page's in the block.
    pub fn take_overwritten(&self) -> Vec<(u16, u64)> {
        std::mem::take(&mut lock(&self.overwritten))
    }

    /// True if a page got its first code since the last call: paths to write without a look at [`crate::RamBlock::code_lines`] are to be dropped.
    pub fn take_first_code(&self) -> bool {
        self.first_code.swap(false, Ordering::AcqRel)
    }

    fn alert(&self) {
        lock(&self.attention).fetch_or(Attention::CODE, Ordering::Release);
    }
}

/// The keepers of one block's code.
#[derive(Debug, Default)]
pub(crate) struct Keepers(Mutex<Vec<(Arc<CodeKeeper>, u16)>>);

/// The keepers of a block while nobody is told anything: for who forks.
pub struct HeldKeepers<'a>(MutexGuard<'a, Vec<(Arc<CodeKeeper>, u16)>>);

impl HeldKeepers<'_> {
    /// In the child: the keepers of other threads are gone with them, perhaps locked.
    pub fn leave_only(&mut self, keeper: &Arc<CodeKeeper>) {
        for (other, _) in self.0.extract_if(.., |(k, _)| !Arc::ptr_eq(k, keeper)) {
            std::mem::forget(other);
        }
    }
}

impl Keepers {
    pub fn hold(&self) -> HeldKeepers<'_> {
        HeldKeepers(lock(&self.0))
    }

    pub fn remove(&self, keeper: &Arc<CodeKeeper>) {
        lock(&self.0).retain(|(k, _)| !Arc::ptr_eq(k, keeper));
    }

    pub fn add(&self, keeper: &Arc<CodeKeeper>, number: u16) {
        lock(&self.0).push((keeper.clone(), number));
    }

    pub fn overwritten(&self, page: u64) {
        for (keeper, number) in lock(&self.0).iter() {
            lock(&keeper.overwritten).push((*number, page));
            keeper.alert();
        }
    }

    pub fn first_code(&self) {
        for (keeper, _) in lock(&self.0).iter() {
            keeper.first_code.store(true, Ordering::Release);
            keeper.alert();
        }
    }
}
