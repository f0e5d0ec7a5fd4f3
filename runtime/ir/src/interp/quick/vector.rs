//! Words on vectors and on 128 bits: operands, lanes one by one, tables and moves. What lanes do together is in [`super::lanes`] and
//! [`super::float_lanes`].
//!
//! A value of 128 bits is in a vector register as a whole, or in its two cells, wherever these are ([`super::regs`]).

use super::super::code::{Bc, Code, Operand, Side};
use super::effects::{moved, reads};
use super::emit::Emitter;
use super::lanes::{splat, sse, sse_const};
use super::regs::RAX;
use crate::op::{Op, Shape, Type, Vop};
use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, dynasm};

impl<'a> Emitter<'a> {
    /// A constant of 128 bits behind the code.
    pub fn pooled(&mut self, value: u128) -> DynamicLabel {
        if let Some((label, _)) = self.pool.iter().find(|(_, x)| *x == value) {
            return *label;
        }
        let label = self.label();
        self.pool.push((label, value));
        label
    }

    /// Emits the pool; `None` if there is no room.
    pub fn constants(&mut self) -> Option<()> {
        if !self.pool.is_empty() {
            self.ops.align(16, 0xcc);
        }
        for (label, value) in self.pool.drain(..) {
            if self.ops.is_full() {
                return None;
            }
            dynasm!(self.ops ; .arch x64 ; =>label ; .u64 value as u64 ; .u64 (value >> 64) as u64);
        }
        Some(())
    }

    /// Emits a word from the side table by vector instructions; false: it has no template.
    pub fn vector(&mut self, c: &Code, at: u32) -> bool {
        if !self.shape.sse {
            return false;
        }
        let arena = self.arena;
        let side = &arena.side[c.imm as usize];
        let wide = side.types[0].bits() == 128;
        match side.inst.op {
            Op::Vec(op, lane) if op.is_float() => self.float_lanes(op, lane, side, at),
            Op::Vec(op, lane) => {
                if !self.has_lanes(op, lane, wide, side.inst.imm) {
                    return false;
                }
                let operands = self.vector_operands(side, op.operands());
                self.lanes(op, lane, wide, side.inst.imm, operands);
                self.put_vector(side);
                true
            }
            Op::VecSat(op, lane) => self.saturates(op, lane, wide, side, at),
            Op::Insert { lo, len } if side.inst.ty == Type::I128 && matches!(len, 8 | 16 | 32 | 64) && lo % len == 0 => {
                self.insert((len / 8).trailing_zeros() as u8, (lo / len) as i8, side)
            }
            Op::TableLookup => self.table(side),
            Op::And | Op::Or | Op::Xor if side.inst.ty == Type::I128 => {
                let [a, b, _] = self.vector_operands(side, 2);
                self.mov(0, a);
                match side.inst.op {
                    Op::And => sse!(self, pand 0, b),
                    Op::Or => sse!(self, por 0, b),
                    _ => sse!(self, pxor 0, b),
                }
                self.put_vector(side);
                true
            }
            Op::Not if side.inst.ty == Type::I128 => {
                let [a, ..] = self.vector_operands(side, 1);
                self.mov(0, a);
                self.invert(0);
                self.put_vector(side);
                true
            }
            _ => false,
        }
    }

    /// The registers with the first `count` operands. They are not to be written.
    pub fn vector_operands(&mut self, side: &Side, count: usize) -> [u8; 3] {
        let mut registers = [0; 3];
        for (index, register) in registers.iter_mut().enumerate().take(count) {
            *register = self.vector_operand(side, index);
        }
        self.forget_scratch();
        registers
    }

    fn vector_operand(&mut self, side: &Side, index: usize) -> u8 {
        match side.args[index] {
            Operand::Cell(cell) if side.types[index].bits() == 128 => self.get_wide(cell),
            Operand::Cell(cell) => self.get_vector(cell),
            Operand::Const(x) => {
                let register = self.scratch_vector(index as u16);
                sse_const!(self, movaps register, x);
                register
            }
            Operand::None => 0,
        }
    }

    /// An operand in a general register, which may be `rax`.
    fn general_operand(&mut self, side: &Side, index: usize) -> u8 {
        match side.args[index] {
            Operand::Cell(cell) => self.get(cell),
            Operand::Const(x) => {
                self.constant(RAX, x as u64);
                RAX
            }
            Operand::None => RAX,
        }
    }

    /// The result is in `xmm0`.
    pub fn put_vector(&mut self, side: &Side) {
        let to = if side.inst.ty.bits() == 128 { self.def_wide(side.result) } else { self.def_vector(side.result) };
        self.mov(to, 0);
    }

    /// Whether an operation saturates.
    fn saturates(&mut self, op: Vop, lane: u8, wide: bool, side: &Side, at: u32) -> bool {
        use Vop::*;
        let known = matches!(
            op,
            SatAddS
                | SatAddU
                | SatSubS
                | SatSubU
                | SatDblMulHigh
                | SatRoundDblMulHigh
                | SatNeg
                | SatAbs
                | SatShlImmS
                | SatShlImmU
                | SatShlImmSU
                | SatDblMulLong
                | SatNarrowS
                | SatNarrowU
                | SatNarrowSU
                | SatShrNarrowImmS
                | SatShrNarrowImmU
                | SatShrNarrowImmSU
                | SatRoundShrNarrowImmS
                | SatRoundShrNarrowImmU
                | SatRoundShrNarrowImmSU
        );
        if !known || !self.has_lanes(op, lane, wide, side.inst.imm) {
            return false;
        }
        let operands = self.vector_operands(side, op.operands());
        self.lanes(op, lane, wide, side.inst.imm, operands);
        if wide || op.shape() != Shape::Same {
            dynasm!(self.ops ; .arch x64 ; ptest xmm1, xmm1);
        } else {
            dynasm!(self.ops ; .arch x64 ; movq rax, xmm1 ; test rax, rax);
        }
        let to = self.def(side.result);
        dynasm!(self.ops ; .arch x64 ; setne al ; movzx Rd(to), al);
        if let Some((result, word)) = self.result_of(op, lane, side, at) {
            self.put_vector(result);
            self.ahead = Some(word);
        }
        true
    }

    /// The word that wants the result of an operation whose saturation the word at `at` wants: the next, or the one after, if the one between has
    /// nothing to do with it.
    fn result_of(&self, op: Vop, lane: u8, side: &Side, at: u32) -> Option<(&'a Side, u32)> {
        let arena = self.arena;
        let place = |o: &Operand| match o {
            Operand::None => (u16::MAX, 0),
            Operand::Cell(cell) => (*cell, 0),
            Operand::Const(x) => (u16::MAX, *x),
        };
        let same = |s: &&Side| {
            let operands = s.args.iter().map(place).eq(side.args.iter().map(place)) && s.types == side.types;
            s.inst.op == Op::Vec(op, lane) && s.inst.imm == side.inst.imm && operands
        };
        let word = |n: u32| self.words.get((at - self.first + n) as usize).filter(|_| self.branches(at + n) == 0);
        let wanted = |n: u32| word(n).filter(|c| c.op == Bc::Generic).map(|c| &arena.side[c.imm as usize]).filter(same);
        let operand = |cell: u16| side.args.iter().map(place).any(|(at, _)| at == cell || at.wrapping_add(1) == cell);
        let written = |result: &Side, cell: u16| cell == result.result || cell == result.result + 1;
        let (result, last) = match wanted(1) {
            Some(result) => (result, at + 1),
            None => {
                let between = word(1).filter(|c| matches!(c.op, Bc::Or | Bc::Mov) && !operand(c.a))?;
                let result = wanted(2).filter(|r| ![between.a, between.b, between.c].into_iter().any(|cell| written(r, cell)))?;
                (result, at + 2)
            }
        };
        (!operand(side.result) && !written(result, side.result)).then_some((result, last))
    }

    /// Replaces a lane.
    fn insert(&mut self, lane: u8, index: i8, side: &Side) -> bool {
        let vector = self.vector_operand(side, 0);
        let x = self.general_operand(side, 1);
        self.forget_scratch();
        // In place, if it is the same cell.
        let to = self.def_wide(side.result);
        self.mov(to, vector);
        match lane {
            0 => dynasm!(self.ops ; .arch x64 ; pinsrb Rx(to), Rd(x), index),
            1 => dynasm!(self.ops ; .arch x64 ; pinsrw Rx(to), Rd(x), index),
            2 => dynasm!(self.ops ; .arch x64 ; pinsrd Rx(to), Rd(x), index),
            _ => dynasm!(self.ops ; .arch x64 ; pinsrq Rx(to), Rq(x), index),
        }
        true
    }

    /// Bytes of a table of up to four registers; `pshufb` gives 0 for indices with the highest bit.
    fn table(&mut self, side: &Side) -> bool {
        let count = side.inst.imm as usize;
        if !(1..=4).contains(&count) {
            return false;
        }
        let index = self.vector_operand(side, 0);
        let fallback = self.vector_operand(side, 1);
        let mut table = [0; 4];
        for (at, register) in table.iter_mut().enumerate().take(count) {
            *register = self.vector_operand(side, 2 + at);
        }
        self.forget_scratch();
        self.mov(0, table[0]);
        if count > 1 {
            sse!(self, punpcklqdq 0, table[1]);
        }
        if count <= 2 {
            sse!(self, pshufb 0, index);
        } else {
            self.mov(1, table[2]);
            if count > 3 {
                sse!(self, punpcklqdq 1, table[3]);
            }
            // Indices from 16 on get the highest bit for the first two, those below for the others.
            self.mov(2, index);
            self.mov(3, index);
            sse_const!(self, paddusb 2, splat(0, 0x70));
            sse_const!(self, psubb 3, splat(0, 16));
            dynasm!(self.ops ; .arch x64 ; pshufb xmm0, xmm2 ; pshufb xmm1, xmm3 ; por xmm0, xmm1);
        }
        // Where the index lies in the table, what was looked up.
        self.mov(1, index);
        sse_const!(self, pminub 1, splat(0, 8 * count as u128 - 1));
        dynasm!(self.ops ; .arch x64 ; pcmpeqb xmm1, Rx(index) ; pxor xmm0, Rx(fallback) ; pand xmm0, xmm1 ; pxor xmm0, Rx(fallback));
        self.put_vector(side);
        true
    }

    /// Two words that move, load or store both halves of a vector, as one; false: they are not that.
    pub fn halves(&mut self, index: usize) -> bool {
        let at = self.first + index as u32;
        let [c, d] = match self.words.get(index..index + 2) {
            Some([c, d]) if c.op == d.op && d.a == c.a.wrapping_add(1) && self.branches(at + 1) == 0 => [*c, *d],
            _ => return false,
        };
        if !self.shape.sse || self.shape.sticky.is_some_and(|cell| [c.a, d.a, c.b, d.b].contains(&cell)) {
            return false;
        }
        match c.op {
            Bc::Mov if d.b == c.b + 1 && c.a.abs_diff(c.b) > 1 => {
                let Some(from) = self.held_wide(c.b) else { return false };
                if c.x & d.x != 0 {
                    self.move_wide(c.a, c.b);
                } else {
                    let to = self.def_wide(c.a);
                    self.mov(to, from);
                }
            }
            Bc::Load32 if self.shape.direct => return self.is_copied(c.a, index + 2) && self.load_wide_mapped(&c, &d, at),
            Bc::Store32 if self.shape.direct => return self.held_wide(c.a).is_some() && self.store_wide_mapped(&c, &d, at),
            Bc::Load64 if self.shape.is_quad(c.a) => {
                if self.shape.direct {
                    return self.load_wide_mapped(&c, &d, at);
                }
                let Some((reg, offset)) = self.known_pair(&c, &d, at) else { return false };
                let to = self.def_wide(c.a);
                dynasm!(self.ops ; .arch x64 ; movups Rx(to), [Rq(reg) + offset]);
            }
            Bc::Store64 => {
                if self.held_wide(c.a).is_none() {
                    return false;
                }
                if self.shape.direct {
                    return self.store_wide_mapped(&c, &d, at);
                }
                let Some((reg, offset)) = self.known_pair(&c, &d, at) else { return false };
                let from = self.get_wide(c.a);
                dynasm!(self.ops ; .arch x64 ; movups [Rq(reg) + offset], Rx(from));
            }
            _ => return false,
        }
        true
    }

    /// From the word at an index on, a cell and its neighbour are stored together, and nobody looks at one but words that move or store both. (Of what is only
    /// loaded, such as popped, the words may just have been stored, one by one: the host would wait to load both at once.)
    fn is_copied(&self, mut cell: u16, mut index: usize) -> bool {
        let mut stored = false;
        while let Some(c) = self.words.get(index) {
            let d = self.words.get(index + 1).filter(|d| c.op == d.op && d.a == c.a.wrapping_add(1));
            let both = |word: fn(&Code) -> u16| word(c) == cell && d.is_some_and(|d| word(d) == cell + 1);
            if let (Some((to, _)), true) = (moved(c), both(|c| c.b)) {
                cell = to;
                index += 2;
            } else if c.op == Bc::Store32 && both(|c| c.a) && c.b != cell && c.b != cell + 1 {
                stored = true;
                index += 2;
            } else if reads(c, cell) || reads(c, cell + 1) {
                return false;
            } else {
                index += 1;
            }
        }
        stored
    }
}
