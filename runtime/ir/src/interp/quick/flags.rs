//! Additions and subtractions with flags, and flags that nobody sees: those of an addition or subtraction that another overwrites, with nothing in between but accesses and arithmetic.
//!
//! They are not stored where they are set. Where an access leaves the block, the path out of line computes them from the operands, which are still there.

use super::super::code::{Bc, Code};
use super::effects::{Writes, flags_of, is_branch, is_jump, is_written, moved, reads, writes};
use super::emit::Emitter;
use super::regs::{RAX, RCX};
use dynasmrt::{DynasmApi, dynasm};

/// Words looked at.
const WINDOW: usize = 32;

fn is_immediate(c: &Code) -> bool {
    matches!(c.op, Bc::AddFlags32I | Bc::SubFlags32I)
}

/// A subtraction with flags.
pub fn is_minus(c: &Code) -> bool {
    matches!(c.op, Bc::SubFlags32 | Bc::SubFlags32I)
}

/// The result is computed in the first operand's place.
fn in_place(c: &Code) -> bool {
    c.a == c.b && (is_immediate(c) || c.a != c.c)
}

/// The cells from which the flags of a word can be computed behind it: the first operand, or the result in its place, and the other operand.
fn sources(c: &Code) -> Option<[u16; 2]> {
    let other = if is_immediate(c) { c.b } else { c.c };
    let kept = c.x != 0 || in_place(c) || ![c.b, other].contains(&c.a);
    kept.then_some([c.b, other])
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
            let odd = w.op.is_access() && w.is_odd_access();
            if !plain || odd || self.branches(at + 1 + n as u32) > 0 || cells.iter().any(|cell| reads(w, *cell)) {
                return false;
            }
            if writes(w.op) == Writes::Flags && flags_of(w) == cells {
                return true;
            }
            let lost = moved(w).is_some_and(|(_, from)| sources.contains(&from));
            if lost || cells.iter().chain(&sources).any(|cell| is_written(self.arena, w, *cell)) {
                return false;
            }
        }
        false
    }

    /// Stores the flags of a word, computed from its operands in their cells; `rax` stays.
    pub fn flags_from_cells(&mut self, c: &Code) {
        dynasm!(self.ops ; .arch x64 ; mov ecx, [rbx + i32::from(c.b) * 8]);
        if is_immediate(c) {
            dynasm!(self.ops ; .arch x64 ; mov edx, i32::from(c.c));
        } else {
            dynasm!(self.ops ; .arch x64 ; mov edx, [rbx + i32::from(c.c) * 8]);
        }
        let minus = is_minus(c);
        // A comparison leaves its first operand.
        match (in_place(c), minus) {
            (true, true) if c.x == 0 => dynasm!(self.ops ; .arch x64 ; add ecx, edx),
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

    /// Addition or subtraction with its flags: negative, zero, carry (or no borrow), overflow.
    pub fn flags(&mut self, c: &Code, at: u32) {
        self.regs.flags = None;
        let b = self.get(c.b);
        let (minus, immediate) = (is_minus(c), is_immediate(c));
        let (imm, other) = if immediate { (i32::from(c.c), RAX) } else { (0, self.get(c.c)) };
        // A comparison wants no result; one in place needs no copy.
        let (unwanted, in_place) = (c.x != 0, in_place(c));
        let into = if in_place { self.def(c.a) } else { RAX };
        if into != b && !(unwanted && minus) {
            dynasm!(self.ops ; .arch x64 ; mov Rd(into), Rd(b));
        }
        match (minus, immediate) {
            (true, true) if unwanted => dynasm!(self.ops ; .arch x64 ; cmp Rd(b), imm),
            (true, false) if unwanted => dynasm!(self.ops ; .arch x64 ; cmp Rd(b), Rd(other)),
            (true, true) => dynasm!(self.ops ; .arch x64 ; sub Rd(into), imm),
            (true, false) => dynasm!(self.ops ; .arch x64 ; sub Rd(into), Rd(other)),
            (false, true) => dynasm!(self.ops ; .arch x64 ; add Rd(into), imm),
            (false, false) => dynasm!(self.ops ; .arch x64 ; add Rd(into), Rd(other)),
        }
        // None of what follows changes the host's flags.
        if !in_place && !unwanted {
            self.set(c.a, RAX);
        }
        if self.unseen(c, at) {
            flags_of(c).into_iter().for_each(|cell| self.drop_cell(cell));
            self.regs.flags = Some(*c);
            self.host_flags = Some(*c);
            return;
        }
        for quarter in 0..4 {
            let cell = (c.imm >> (16 * quarter)) as u16;
            let in_memory = self.shape.is_byte(cell);
            let (to, at) = if in_memory {
                self.drop_cell(cell);
                (RCX, i32::from(cell) * 8)
            } else {
                (self.def(cell), 0)
            };
            macro_rules! put {
                ($set:ident) => {
                    if in_memory {
                        dynasm!(self.ops ; .arch x64 ; $set BYTE [rbx + at])
                    } else {
                        dynasm!(self.ops ; .arch x64 ; $set cl ; movzx Rd(to), cl)
                    }
                };
            }
            match quarter {
                0 => put!(sets),
                1 => put!(sete),
                2 if minus => put!(setae),
                2 => put!(setb),
                _ => put!(seto),
            }
        }
        self.host_flags = Some(*c);
    }
}
