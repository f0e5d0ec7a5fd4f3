//! CPU state as the IR sees it: typed slots over an array of 64-bit cells.
//!
//! One layout for all tiers, generated from the specification. A slot is a bit range of a cell (or of two, for 128 bits); slots that
//! overlap alias (ARM S, D and Q registers). A slot that has its cell to itself is held zero-extended to 64 bits.

use crate::op::Type;

/// A state slot, by its index in the layout.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Slot(pub u16);

/// What and where a slot is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotDesc {
    /// Name as in the specification: `r0`, `d7`, `CPSR.T`.
    pub name: &'static str,
    /// Type.
    pub ty: Type,
    /// Significant bits (a `u5` state has 5 in an I8).
    pub bits: u8,
    /// First 64-bit cell.
    pub cell: u16,
    /// Least bit in that cell.
    pub lo: u8,
}

/// The state of a CPU of one instruction set.
#[derive(Clone, Copy, Debug)]
pub struct StateLayout {
    /// Slots by index.
    pub slots: &'static [SlotDesc],
    /// Number of 64-bit cells.
    pub cells: usize,
}

impl StateLayout {
    /// The slot called `name`.
    pub fn slot(&self, name: &str) -> Option<Slot> {
        self.slots.iter().position(|s| s.name == name).map(|i| Slot(i as u16))
    }
}
