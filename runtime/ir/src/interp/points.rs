//! Where a debugger wants an engine to stop.

use std::collections::BTreeSet;

/// Where a debugger wants an engine to stop. An engine without any runs as fast as ever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebugPoints {
    /// Virtual addresses of instructions that are not to be executed.
    pub breakpoints: BTreeSet<u64>,
    /// Ranges of virtual addresses whose accesses are reported.
    pub watches: Vec<Watch>,
}

/// A range of virtual addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// First address.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// Reads are of interest.
    pub read: bool,
    /// Writes are of interest.
    pub write: bool,
}

impl Watch {
    pub(super) fn touches(&self, va: u64, len: u64) -> bool {
        va < self.start.saturating_add(self.len) && self.start < va.saturating_add(len)
    }
}
