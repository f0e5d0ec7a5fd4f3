//! Where control goes: branches inside a block, and its ways out.

use super::*;

impl Compiler<'_> {
    /// Branches taken if `cond` is `when`; the words to be pointed at their target are added to `out`.
    pub(super) fn branch_if(&mut self, cond: Value, when: bool, out: &mut Vec<u32>) -> Result<(), TooBig> {
        if let Some(x) = self.constant(cond) {
            // Constant conditions are folded before; a branch on itself keeps this total.
            if (x != 0) == when {
                out.push(self.emit(Code { op: Bc::Br, x: 0, a: 0, b: 0, c: 0, imm: 0 }));
            }
            return Ok(());
        }
        if self.is_fused(cond)
            && let Some(def) = self.def(cond).copied()
        {
            match def.op {
                Op::Cmp(c) => out.push(self.compare_branch(c, def.args[0], def.args[1], when)?),
                // All must hold, or one does: what decides early leads past the rest.
                Op::And | Op::Or if (def.op == Op::And) == when => {
                    let mut past = Vec::new();
                    self.branch_if(def.args[0], !when, &mut past)?;
                    self.branch_if(def.args[1], when, out)?;
                    past.into_iter().for_each(|at| self.patch(at));
                }
                Op::And | Op::Or => {
                    self.branch_if(def.args[0], when, out)?;
                    self.branch_if(def.args[1], when, out)?;
                }
                _ => self.branch_if(def.args[0], !when, out)?,
            }
            return Ok(());
        }
        let b = self.cell(cond)?;
        let op = if when { Bc::BrNz } else { Bc::BrZ };
        out.push(self.emit(Code { op, x: 0, a: 0, b, c: 0, imm: 0 }));
        Ok(())
    }

    /// A branch taken if the comparison gives `taken`.
    pub(super) fn compare_branch(&mut self, cond: Cond, a: Value, b: Value, taken: bool) -> Result<u32, TooBig> {
        // Branches exist for comparisons that hold; the negations swap sides.
        let (cond, a, b) = match (cond, taken) {
            (_, true) => (cond, a, b),
            (Cond::Eq, _) => (Cond::Ne, a, b),
            (Cond::Ne, _) => (Cond::Eq, a, b),
            (Cond::Ult, _) => (Cond::Ule, b, a),
            (Cond::Ule, _) => (Cond::Ult, b, a),
            (Cond::Slt, _) => (Cond::Sle, b, a),
            (Cond::Sle, _) => (Cond::Slt, b, a),
        };
        if let (Cond::Eq | Cond::Ne, Some(zero)) = (cond, self.work.known.zero_flag(self.block, a, b)) {
            let b = self.cell(zero)?;
            let op = if cond == Cond::Eq { Bc::BrNz } else { Bc::BrZ };
            return Ok(self.emit(Code { op, x: 0, a: 0, b, c: 0, imm: 0 }));
        }
        if self.constant(b) == Some(0) && matches!(cond, Cond::Eq | Cond::Ne) {
            let b = self.cell(a)?;
            let op = if cond == Cond::Eq { Bc::BrZ } else { Bc::BrNz };
            return Ok(self.emit(Code { op, x: 0, a: 0, b, c: 0, imm: 0 }));
        }
        let wide = self.bits(a) == 64;
        let (b, c) = (self.cell(a)?, self.cell(b)?);
        let op = match (cond, wide) {
            (Cond::Eq, _) => Bc::BrEq,
            (Cond::Ne, _) => Bc::BrNe,
            (Cond::Ult, _) => Bc::BrUlt,
            (Cond::Ule, _) => Bc::BrUle,
            (Cond::Slt, false) => Bc::BrSlt32,
            (Cond::Sle, false) => Bc::BrSle32,
            (Cond::Slt, true) => Bc::BrSlt64,
            (Cond::Sle, true) => Bc::BrSle64,
        };
        Ok(self.emit(Code { op, x: 0, a: 0, b, c, imm: 0 }))
    }

    pub(super) fn control(&mut self, inst: &Inst) -> Result<(), TooBig> {
        match inst.op {
            Op::If => {
                let mut to_else = Vec::new();
                self.branch_if(inst.args[0], false, &mut to_else)?;
                self.open.push(Open { to_else, to_end: Vec::new(), start: None });
            }
            Op::Else => {
                let ended = self.block.insts[..self.at as usize].last().is_some_and(|i| i.op.is_exit());
                let end = (!ended).then(|| self.emit(Code { op: Bc::Br, x: 0, a: 0, b: 0, c: 0, imm: 0 }));
                let Some(open) = self.open.last_mut() else { return Ok(()) };
                open.to_end.extend(end);
                let to_else = std::mem::take(&mut open.to_else);
                to_else.into_iter().for_each(|at| self.patch(at));
            }
            Op::Repeat => {
                let start = self.here() as u32;
                self.open.push(Open { to_else: Vec::new(), to_end: Vec::new(), start: Some(start) });
            }
            Op::BreakIf => {
                let mut leave = Vec::new();
                self.branch_if(inst.args[0], true, &mut leave)?;
                if let Some(open) = self.open.iter_mut().rev().find(|o| o.start.is_some()) {
                    open.to_end.extend(leave);
                }
            }
            _ => {
                let Some(open) = self.open.pop() else { return Ok(()) };
                if let Some(start) = open.start {
                    self.word(Bc::Poll, 0, 0, 0, start.into());
                }
                for at in open.to_else.into_iter().chain(open.to_end) {
                    self.patch(at);
                }
            }
        }
        Ok(())
    }

    pub(super) fn jump(&mut self, pc: u64, a: u16) {
        let near = self.page_of.is_some_and(|page| page >> emu_memory::PAGE_BITS == pc >> emu_memory::PAGE_BITS);
        self.emit(Code { op: Bc::Jump, x: near.into(), a, b: 0, c: 0, imm: pc });
    }

    pub(super) fn exit(&mut self, inst: &Inst) -> Result<(), TooBig> {
        let a = (self.block.guest_insns - self.mark.min(self.block.guest_insns)) as u16;
        match inst.op {
            Op::Jump => self.jump(inst.imm, a),
            Op::JumpTo if self.two_ways(inst).is_some() => {
                // A branch with a delay slot: two jumps that can be linked.
                let Some((cond, yes, no)) = self.two_ways(inst) else { return Ok(()) };
                let mut otherwise = Vec::new();
                self.branch_if(cond, false, &mut otherwise)?;
                self.jump(yes, a);
                otherwise.into_iter().for_each(|at| self.patch(at));
                self.jump(no, a);
            }
            Op::JumpTo | Op::JumpRekey => {
                let b = self.cell(inst.args[0])?;
                self.word(if inst.op == Op::JumpTo { Bc::JumpTo } else { Bc::JumpRekey }, a, b, 0, 0);
            }
            Op::Raise(id) => {
                let index = self.side_operands(inst, 0);
                self.word(Bc::Raise, a, 0, id, index);
            }
            _ => {
                self.emit(Code { op: Bc::Wait, x: inst.imm as u8, a, b: 0, c: 0, imm: inst.imm_hi });
            }
        }
        Ok(())
    }
}
