//! CPU state as the IR sees it: typed slots over an array of 64-bit cells.
//!
//! One layout for all tiers, generated from the specification. A slot is a bit range of a cell (or of two, for 128 bits); slots that
//! overlap alias (ARM S, D and Q registers). A slot that has its cell to itself is held zero-extended to 64 bits.

use crate::fold::low_mask;
use crate::op::Type;
use serde::{Deserialize, Serialize};

/// A state slot, by its index in the layout.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord, Serialize, Deserialize)]
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

impl SlotDesc {
    /// The state bits it occupies, counted over all cells: first, and one past the last.
    pub const fn bit_range(&self) -> (u32, u32) {
        let first = self.cell as u32 * 64 + self.lo as u32;
        (first, first + self.bits as u32)
    }

    /// Its value in these cells, zero-extended.
    #[inline]
    pub fn read(&self, cells: &[u64]) -> u128 {
        let cell = self.cell as usize;
        if u32::from(self.lo) + u32::from(self.bits) <= 64 {
            return u128::from(cells[cell] >> self.lo & u64::MAX >> (64 - u32::from(self.bits)));
        }
        let mut x = u128::from(cells[cell]);
        if u32::from(self.lo) + u32::from(self.bits) > 64 {
            x |= u128::from(cells[cell + 1]) << 64;
        }
        x >> self.lo & low_mask(self.bits.into())
    }

    /// Replaces its value by the low bits of `value`.
    #[inline]
    pub fn write(&self, cells: &mut [u64], value: u128) {
        let cell = self.cell as usize;
        if u32::from(self.lo) + u32::from(self.bits) <= 64 {
            let mask = u64::MAX >> (64 - u32::from(self.bits)) << self.lo;
            cells[cell] = cells[cell] & !mask | (value as u64) << self.lo & mask;
            return;
        }
        let mask = low_mask(self.bits.into());
        let (mask, value) = (mask << self.lo, (value & mask) << self.lo);
        cells[cell] = cells[cell] & !(mask as u64) | value as u64;
        if mask >> 64 != 0 {
            cells[cell + 1] = cells[cell + 1] & !((mask >> 64) as u64) | (value >> 64) as u64;
        }
    }
}

impl StateLayout {
    /// True if writing one changes the other.
    pub fn overlap(&self, a: Slot, b: Slot) -> bool {
        let ((a0, a1), (b0, b1)) = (self.slots[a.0 as usize].bit_range(), self.slots[b.0 as usize].bit_range());
        a0 < b1 && b0 < a1
    }

    /// For each slot, whether another one may overlap it: it does not have its cells to itself.
    pub fn shared_slots(&self) -> Vec<bool> {
        let cells = |s: &SlotDesc| (s.cell as usize, s.bit_range().1.div_ceil(64) as usize);
        let mut held = vec![0u32; self.slots.iter().map(|s| cells(s).1).max().unwrap_or(0)];
        for (first, last) in self.slots.iter().map(cells) {
            held[first..last].iter_mut().for_each(|n| *n += 1);
        }
        self.slots.iter().map(cells).map(|(first, last)| held[first..last].iter().any(|n| *n > 1)).collect()
    }

    /// The value of `slot`, zero-extended.
    #[inline]
    pub fn read(&self, cells: &[u64], slot: Slot) -> u128 {
        self.slots[slot.0 as usize].read(cells)
    }

    /// Writes `slot`.
    #[inline]
    pub fn write(&self, cells: &mut [u64], slot: Slot, value: u128) {
        self.slots[slot.0 as usize].write(cells, value);
    }
}
