//! Flags that nobody sees: those of an addition or subtraction that another overwrites, with nothing in between but accesses and arithmetic.
//!
//! They are not stored where they are set. Where an access leaves the block, the path out of line computes them from the operands, which are still there.

use super::super::code::{Bc, Code};
use super::effects::{Writes, flags_of, is_branch, is_jump, is_written, writes};
use super::emit::Emitter;
use dynasmrt::{DynasmApi, dynasm};

/// Words looked at.
const WINDOW: usize = 32;

fn is_immediate(c: &Code) -> bool {
    matches!(c.op, Bc::AddFlags32I | Bc::SubFlags32I)
}

/// The cells from which the flags of a word can be computed behind it: an operand, or the result in its place, and the other operand.
fn sources(c: &Code) -> Option<[u16; 2]> {
    let other = if is_immediate(c) { None } else { Some(c.c) };
    match (c.x != 0, c.a == c.b) {
        // The result is not wanted, or is elsewhere.
        (true, _) => Some([c.b, other.unwrap_or(c.b)]),
        (false, false) if other != Some(c.a) => Some([c.b, other.unwrap_or(c.b)]),
        (false, true) if other != Some(c.a) => Some([c.a, other.unwrap_or(c.a)]),
        _ => None,
    }
}

/// A word may look at a cell.
fn may_read(c: &Code, cell: u16) -> bool {
    let third = matches!(c.op, Bc::Select | Bc::Carry32 | Bc::Overflow32) && c.imm as u16 == cell;
    let first = matches!(c.op, Bc::Store8 | Bc::Store16 | Bc::Store32 | Bc::Store64) && c.a == cell;
    c.b == cell || c.c == cell || first || third
}

impl Emitter<'_> {
    /// The flags of the word at `at` need not be stored: they are overwritten before anybody can look, but for the ways out of accesses.
    pub fn unseen(&self, c: &Code, at: u32) -> bool {
        let (cells, Some(sources)) = (flags_of(c), sources(c)) else { return false };
        if !cells.iter().all(|cell| self.shape.is_byte(*cell)) || sources.iter().any(|s| cells.contains(s)) {
            return false;
        }
        let index = (at - self.first) as usize;
        for (n, w) in self.words[index + 1..].iter().enumerate().take(WINDOW) {
            let plain = match writes(w.op) {
                Writes::Flags => true,
                Writes::One => !is_branch(w.op) && !is_jump(w.op),
                _ => matches!(w.op, Bc::Store8 | Bc::Store16 | Bc::Store32 | Bc::Store64 | Bc::ProbeRead | Bc::ProbeWrite),
            };
            let access = (Bc::Load8..=Bc::ProbeWrite).contains(&w.op);
            let odd = access && (!matches!(w.x, 0 | 32) || w.c >> 8 > 15);
            if !plain || odd || self.branches(at + 1 + n as u32) > 0 || cells.iter().any(|cell| may_read(w, *cell)) {
                return false;
            }
            if writes(w.op) == Writes::Flags && flags_of(w) == cells {
                return true;
            }
            if cells.iter().chain(&sources).any(|cell| is_written(self.arena, w, *cell)) {
                return false;
            }
        }
        false
    }

    /// Stores the flags of a word, computed from its operands in their cells; `rax` stays.
    pub fn flags_from_cells(&mut self, c: &Code) {
        let minus = matches!(c.op, Bc::SubFlags32 | Bc::SubFlags32I);
        let in_place = c.x == 0 && c.a == c.b;
        let first = i32::from(if in_place { c.a } else { c.b }) * 8;
        dynasm!(self.ops ; .arch x64 ; mov ecx, [rbx + first]);
        if is_immediate(c) {
            dynasm!(self.ops ; .arch x64 ; mov edx, i32::from(c.c));
        } else {
            dynasm!(self.ops ; .arch x64 ; mov edx, [rbx + i32::from(c.c) * 8]);
        }
        match (in_place, minus) {
            (true, true) => dynasm!(self.ops ; .arch x64 ; add ecx, edx),
            (true, false) => dynasm!(self.ops ; .arch x64 ; sub ecx, edx),
            _ => {}
        }
        let [n, z, carry, v] = flags_of(c).map(|cell| i32::from(cell) * 8);
        if minus {
            dynasm!(self.ops ; .arch x64 ; sub ecx, edx ; setae BYTE [rbx + carry]);
        } else {
            dynasm!(self.ops ; .arch x64 ; add ecx, edx ; setb BYTE [rbx + carry]);
        }
        dynasm!(self.ops ; .arch x64 ; sets BYTE [rbx + n] ; sete BYTE [rbx + z] ; seto BYTE [rbx + v]);
    }
}
