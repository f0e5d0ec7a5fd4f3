//! What words of bytecode do to cells and to the course of a block.

use super::super::code::{Arena, Bc, Code, Side};
use crate::op::Value;

pub fn is_branch(op: Bc) -> bool {
    use Bc::*;
    matches!(op, Br | BrZ | BrNz | BrEq | BrNe | BrUlt | BrUle | BrSlt32 | BrSle32 | BrSlt64 | BrSle64 | Poll)
}

pub fn is_jump(op: Bc) -> bool {
    matches!(op, Bc::Jump | Bc::JumpTo | Bc::JumpRekey)
}

/// Which cells a word writes.
#[derive(Clone, Copy, PartialEq)]
pub enum Writes {
    Nothing,
    /// The cell it names first.
    One,
    /// That, and the four of flags that the immediate names.
    Flags,
    /// The result that the side table says.
    Result,
    /// Any.
    Any,
}

#[inline]
pub fn writes(op: Bc) -> Writes {
    use Bc::*;
    match op {
        Call => Writes::Any,
        Generic | Float | Memory => Writes::Result,
        AddFlags32 | AddFlags32I | SubFlags32 | SubFlags32I => Writes::Flags,
        Enter | Store8 | Store16 | Store32 | Store64 | ProbeRead | ProbeWrite | Fence | Count | ClearExclusive | Raise | Wait | Trap
        | Linked => Writes::Nothing,
        op if is_branch(op) || is_jump(op) => Writes::Nothing,
        _ => Writes::One,
    }
}

/// The word says in the side table which cells it looks at.
pub fn reads_aside(op: Bc) -> bool {
    matches!(op, Bc::Generic | Bc::Float | Bc::Memory | Bc::Call | Bc::Raise)
}

/// The cells a word looks at, and perhaps others; of one that says so in the side table, none.
#[inline]
pub fn operands(c: &Code) -> [Option<u16>; 4] {
    use Bc::*;
    if reads_aside(c.op) || matches!(c.op, Enter | MovI | Jump | Wait | Fence | Br | Count | ClearExclusive) {
        return [None; 4];
    }
    let first = matches!(c.op, Store8 | Store16 | Store32 | Store64).then_some(c.a);
    let second = !c.op.is_access() && !matches!(c.op, AddFlags32I | SubFlags32I);
    let third = matches!(c.op, Select | Carry32 | Overflow32).then_some(c.imm as u16);
    [first, Some(c.b), second.then_some(c.c), third]
}

/// A word may look at a cell. Those that say in the side table what they look at may look at any.
pub fn reads(c: &Code, cell: u16) -> bool {
    reads_aside(c.op) || operands(c).contains(&Some(cell))
}

/// The cell that takes over the value of another one, which is not read any more, and that one.
pub fn moved(c: &Code) -> Option<(u16, u16)> {
    (c.op == Bc::Mov && c.x != 0).then_some((c.a, c.b))
}

/// The cells of flags of an addition or subtraction with them.
pub fn flags_of(c: &Code) -> [u16; 4] {
    [0, 16, 32, 48].map(|at| (c.imm >> at) as u16)
}

/// The first cell of a word's result in the side table, and how many it has.
pub fn result_of(arena: &Arena, c: &Code) -> (u16, u16) {
    let Side { inst, result, .. } = &arena.side[c.imm as usize];
    (*result, if inst.res == Value::NONE { 0 } else { inst.ty.cells() })
}

/// Whether a word writes a cell, or may.
#[inline]
pub fn is_written(arena: &Arena, c: &Code, cell: u16) -> bool {
    match writes(c.op) {
        Writes::Nothing => false,
        Writes::One => c.a == cell,
        Writes::Flags => c.a == cell || flags_of(c).into_iter().any(|flag| flag == cell),
        Writes::Result => {
            let (first, count) = result_of(arena, c);
            cell.wrapping_sub(first) < count
        }
        Writes::Any => true,
    }
}
