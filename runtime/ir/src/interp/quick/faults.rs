//! Where generated code may be stopped by the host, whose page protection is the guest's, and where it goes on then.
//!
//! An access to memory that the host maps is one instruction. If the host refuses it, a signal handler asks [`recover`] and resumes at code out of line, which
//! leaves to the interpreter at the access's word: that does it again, the slow way, and says what is wrong with it.

use std::cell::Cell;
use std::ptr::null;

/// Addresses of accesses, ascending, and of what is to be executed instead.
#[derive(Default)]
pub struct Faults(Vec<(usize, usize)>);

thread_local! {
    /// Those of the code this thread executes. A signal handler reads it, on the same thread.
    static CURRENT: Cell<*const Faults> = const { Cell::new(null()) };
}

impl Faults {
    /// Adds those of a block at an address, which is above all others; offsets in it.
    pub fn add(&mut self, at: usize, faults: &[(usize, usize)]) {
        self.0.extend(faults.iter().map(|(access, instead)| (at + access, at + instead)));
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// As long as the result lives, faults of this thread are looked up here.
    pub fn watch(&self) -> Watching<'_> {
        Watching { before: CURRENT.replace(self), _faults: self }
    }
}

pub struct Watching<'a> {
    before: *const Faults,
    _faults: &'a Faults,
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

/// Where a thread goes on that the host stopped at `pc`, its program counter; `None` if it is not at an access of generated code. For signal handlers.
pub fn recover(pc: usize) -> Option<usize> {
    let current = CURRENT.get();
    // SAFETY: `watch` put it there, and who borrowed it has not dropped it; nobody adds to it while code is executed.
    let faults = &unsafe { current.as_ref() }?.0;
    let found = faults.binary_search_by_key(&pc, |(access, _)| *access).ok()?;
    Some(faults[found].1)
}
