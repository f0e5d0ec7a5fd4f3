//! Registers as a debugger sees them: what the specification's `gdb` declarations say, and GDB's target description made of it.
//!
//! Source: Debugging with GDB, appendix G (target descriptions).

use crate::state::{Slot, StateLayout};
use std::fmt::Write;

/// All registers of an instruction set, in the order of their numbers.
#[derive(Clone, Copy, Debug)]
pub struct GdbDesc {
    /// GDB's name of the architecture; empty: there is no description.
    pub arch: &'static str,
    /// Features.
    pub features: &'static [GdbFeature],
}

/// A feature: a group of registers that GDB knows by name.
#[derive(Clone, Copy, Debug)]
pub struct GdbFeature {
    /// Name, such as `org.gnu.gdb.arm.core`.
    pub name: &'static str,
    /// Its registers.
    pub regs: &'static [GdbReg],
}

/// A register.
#[derive(Clone, Copy, Debug)]
pub struct GdbReg {
    /// Name.
    pub name: &'static str,
    /// Width: 8, 16, 32, 64 or 128.
    pub bits: u32,
    /// GDB's type.
    pub ty: &'static str,
    /// Where its bits are in the state; bits of no part read as 0.
    pub parts: &'static [GdbPart],
}

/// Bits of a slot in a register.
#[derive(Clone, Copy, Debug)]
pub struct GdbPart {
    /// The slot.
    pub slot: Slot,
    /// Least bit in the slot.
    pub lo: u32,
    /// Number of bits.
    pub len: u32,
    /// Least bit in the register.
    pub at: u32,
}

fn mask(len: u32) -> u128 {
    u128::MAX >> (128 - len.clamp(1, 128))
}

impl GdbReg {
    /// The register's value.
    pub fn read(&self, layout: &StateLayout, cells: &[u64]) -> u128 {
        self.parts.iter().fold(0, |all, p| all | (layout.read(cells, p.slot) >> p.lo & mask(p.len)) << p.at)
    }

    /// A value as the protocol's bytes, in the target's byte order.
    pub fn bytes(&self, value: u128, big: bool) -> Vec<u8> {
        let n = self.bits as usize / 8;
        if big { value.to_be_bytes()[16 - n..].to_vec() } else { value.to_le_bytes()[..n].to_vec() }
    }

    /// Sets the register; bits of no part are dropped.
    pub fn write(&self, layout: &StateLayout, cells: &mut [u64], value: u128) {
        for p in self.parts {
            let part = (value >> p.at & mask(p.len)) << p.lo;
            let old = layout.read(cells, p.slot) & !(mask(p.len) << p.lo);
            layout.write(cells, p.slot, old | part);
        }
    }
}

/// The value of the protocol's bytes, in the target's byte order.
pub fn number(bytes: &[u8], big: bool) -> u128 {
    let add = |all: u128, b: &u8| all << 8 | u128::from(*b);
    if big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) }
}

impl GdbDesc {
    /// No description.
    pub const NONE: GdbDesc = GdbDesc { arch: "", features: &[] };

    /// All registers by number.
    pub fn regs(&self) -> impl Iterator<Item = &'static GdbReg> {
        self.features.iter().flat_map(|f| f.regs)
    }

    /// `target.xml`.
    pub fn xml(&self) -> String {
        let mut out = String::from("<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target version=\"1.0\">\n");
        _ = writeln!(out, "  <architecture>{}</architecture>", self.arch);
        for f in self.features {
            _ = writeln!(out, "  <feature name=\"{}\">", f.name);
            for r in f.regs {
                _ = writeln!(out, "    <reg name=\"{}\" bitsize=\"{}\" type=\"{}\"/>", r.name, r.bits, r.ty);
            }
            _ = writeln!(out, "  </feature>");
        }
        out + "</target>\n"
    }
}
