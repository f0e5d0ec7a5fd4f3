//! Operations without effects: arithmetic, flags, conversions.

use super::*;

impl Compiler<'_> {
    pub(super) fn pure(&mut self, inst: &Inst) -> Result<(), TooBig> {
        let narrow = inst.operands().all(|v| self.bits(v) <= 64) && inst.ty.bits() <= 64 && !inst.ty.is_vector();
        let vector = inst.operands().any(|v| self.block.values[v.0 as usize].is_vector());
        if narrow && !vector && self.scalar(inst)? {
            return Ok(());
        }
        if let Op::Extract { lo, len } = inst.op
            && self.bits(inst.args[0]) == 128
            && inst.ty.bits() <= 64
            && (lo >= 64 || lo + len <= 64)
        {
            let b = self.work.known.values[self.root(inst.args[0]).0 as usize].cell + u16::from(lo / 64);
            let a = self.result(inst.res)?;
            self.emit(Code { op: Bc::Extract, x: lo % 64, a, b, c: 0, imm: low_mask(len.into()) as u64 });
            return Ok(());
        }
        self.side(Bc::Generic, inst)
    }

    /// An addition or subtraction and its flags.
    pub(super) fn with_flags(&mut self, inst: &Inst, flags: Flags) -> Result<(), TooBig> {
        let [x, y, ..] = inst.args;
        let subtract = inst.op == Op::Sub
            || flags.values[2..].iter().flatten().any(|v| match self.def(*v).map(|d| (d.op, d.args[2])) {
                Some((Op::Cmp(_), _)) => true,
                Some((_, carry)) => self.constant(carry) == Some(1),
                None => false,
            });
        let b = self.cell(x)?;
        let constant = if subtract && inst.op == Op::Add { flags.minus } else { self.constant(y) };
        let (c, immediate) = match constant {
            Some(k) if k <= u128::from(u16::MAX) => (k as u16, true),
            Some(k) => {
                let cell = self.temp(1)?;
                self.work.scratch.push(cell);
                self.word(Bc::MovI, cell, 0, 0, k as u64);
                (cell, false)
            }
            None => (self.cell(y)?, false),
        };
        let mut nowhere = None;
        let mut cells = [0; 5];
        for (v, cell) in [Some(inst.res)].into_iter().chain(flags.values).zip(&mut cells) {
            *cell = match v.filter(|v| self.last(*v) > 0) {
                Some(v) => self.result(v)?,
                None => match nowhere {
                    Some(cell) => cell,
                    None => {
                        let cell = self.temp(1)?;
                        self.work.scratch.push(cell);
                        *nowhere.insert(cell)
                    }
                },
            };
        }
        let op = match (subtract, immediate) {
            (false, false) => Bc::AddFlags32,
            (false, true) => Bc::AddFlags32I,
            (true, false) => Bc::SubFlags32,
            (true, true) => Bc::SubFlags32I,
        };
        let imm = cells[1..].iter().rev().fold(0, |imm, cell| imm << 16 | u64::from(*cell));
        let unwanted = u8::from(self.last(inst.res) == 0);
        self.emit(Code { op, x: unwanted, a: cells[0], b, c, imm });
        Ok(())
    }

    /// Emits an operation on at most 64 bits; false if it has no bytecode.
    fn scalar(&mut self, inst: &Inst) -> Result<bool, TooBig> {
        let ty = inst.ty;
        let bits = ty.bits();
        let mask = ty.mask() as u64;
        let [p, q, r, ..] = inst.args;
        let from = self.bits(p);
        let shift_x = 64 - from as u8;
        let small = |v: Value, c: &Compiler| c.constant(v).map(|x| x as u64);
        let wide = bits == 64;
        // Narrow arithmetic is done wide and cut.
        let cut = !(bits == 32 || bits == 64);
        let imm = if q == Value::NONE { None } else { small(q, self) };
        macro_rules! finish {
            ($op:expr, $x:expr, $b:expr, $c:expr, $imm:expr) => {{
                let a = self.result(inst.res)?;
                self.emit(Code { op: $op, x: $x, a, b: $b, c: $c, imm: $imm });
                if cut && matches!(inst.op, Op::Add | Op::Sub | Op::Mul | Op::Shl | Op::Neg) {
                    self.word(Bc::AndI, a, a, 0, mask);
                }
                return Ok(true);
            }};
        }
        macro_rules! two {
            ($op:expr) => {{
                let (b, c) = (self.cell(p)?, self.cell(q)?);
                finish!($op, 0, b, c, 0)
            }};
        }
        macro_rules! one_imm {
            ($op:expr, $imm:expr) => {{
                let b = self.cell(p)?;
                finish!($op, 0, b, 0, $imm)
            }};
        }
        macro_rules! one_x {
            ($op:expr, $x:expr) => {{
                let b = self.cell(p)?;
                finish!($op, $x, b, 0, mask)
            }};
        }
        let is32 = bits == 32;
        match (inst.op, imm) {
            (Op::Add, Some(k)) => one_imm!(if is32 { Bc::Add32I } else { Bc::Add64I }, k),
            (Op::Add, None) => two!(if is32 { Bc::Add32 } else { Bc::Add64 }),
            (Op::Sub, Some(k)) => one_imm!(if is32 { Bc::Add32I } else { Bc::Add64I }, k.wrapping_neg()),
            (Op::Sub, None) => {
                if let Some(k) = small(p, self) {
                    let b = self.cell(q)?;
                    finish!(if is32 { Bc::RSub32I } else { Bc::RSub64I }, 0, b, 0, k)
                }
                two!(if is32 { Bc::Sub32 } else { Bc::Sub64 })
            }
            (Op::Neg, _) => one_imm!(if is32 { Bc::RSub32I } else { Bc::RSub64I }, 0),
            (Op::Mul, _) => two!(if is32 { Bc::Mul32 } else { Bc::Mul64 }),
            (Op::And, Some(k)) => one_imm!(Bc::AndI, k),
            (Op::And, None) => two!(Bc::And),
            (Op::Or, Some(k)) => one_imm!(Bc::OrI, k),
            (Op::Or, None) => two!(Bc::Or),
            (Op::Xor, Some(k)) => one_imm!(Bc::XorI, k),
            (Op::Xor, None) => two!(Bc::Xor),
            (Op::Not, _) => one_imm!(Bc::XorI, mask),
            (Op::Shl, Some(k)) if k < 64 => one_x!(if is32 { Bc::Shl32I } else { Bc::Shl64I }, k as u8),
            (Op::Shr, Some(k)) if k < 64 => one_x!(Bc::ShrI, k as u8),
            (Op::Sar, Some(k)) if is32 => one_x!(Bc::Sar32I, k.min(31) as u8),
            (Op::Ror, Some(k)) if is32 => one_x!(Bc::Ror32I, (k % 32) as u8),
            (Op::Shl, _) => two!(if is32 { Bc::Shl32 } else { Bc::Shl64 }),
            (Op::Shr, _) => two!(Bc::Shr),
            (Op::Sar, _) if is32 || wide => two!(if is32 { Bc::Sar32 } else { Bc::Sar64 }),
            (Op::Ror, _) if is32 || wide => two!(if is32 { Bc::Ror32 } else { Bc::Ror64 }),
            (Op::DivU, _) => two!(Bc::DivU),
            (Op::DivS, _) if is32 || wide => two!(if is32 { Bc::DivS32 } else { Bc::DivS64 }),
            (Op::RemU, _) => two!(Bc::RemU),
            (Op::Clz, _) => one_x!(Bc::Clz, shift_x),
            (Op::Popcnt, _) => one_x!(Bc::Popcnt, 0),
            (Op::Bswap, _) if from >= 8 => one_x!(Bc::Bswap, shift_x),
            (Op::Bitrev, _) => one_x!(Bc::Bitrev, shift_x),
            (Op::Sext, _) => one_x!(Bc::Sext, shift_x),
            (Op::Trunc, _) => one_imm!(Bc::AndI, mask),
            (Op::Zext | Op::Bitcast, _) => one_imm!(Bc::AndI, u64::MAX),
            (Op::Extract { lo, len }, _) if len > 1 && from <= 32 && u32::from(lo) + u32::from(len) == from => one_x!(Bc::ShrI, lo),
            (Op::Extract { lo, len }, _) => {
                let b = self.cell(p)?;
                finish!(Bc::Extract, lo, b, 0, low_mask(len.into()) as u64)
            }
            (Op::Insert { lo, len }, _) => {
                let (b, c) = (self.cell(p)?, self.cell(q)?);
                finish!(Bc::Insert, lo, b, c, (low_mask(len.into()) as u64) << lo)
            }
            (Op::Concat, _) => {
                let (b, c) = (self.cell(p)?, self.cell(q)?);
                finish!(Bc::Concat, from as u8, b, c, 0)
            }
            (Op::Cmp(cond), k) => {
                let narrow = from != 32 && from != 64;
                match (cond, k) {
                    (Cond::Eq, Some(k)) => one_imm!(Bc::CmpEqI, k),
                    (Cond::Ne, Some(k)) => one_imm!(Bc::CmpNeI, k),
                    (Cond::Ult, Some(k)) => one_imm!(Bc::CmpUltI, k),
                    (Cond::Ule, Some(k)) => one_imm!(Bc::CmpUleI, k),
                    (Cond::Eq, None) => two!(Bc::CmpEq),
                    (Cond::Ne, None) => two!(Bc::CmpNe),
                    (Cond::Ult, None) => two!(Bc::CmpUlt),
                    (Cond::Ule, None) => two!(Bc::CmpUle),
                    _ if narrow => Ok(false),
                    (Cond::Slt, _) => {
                        if from == 32 && k == Some(0) {
                            let b = self.cell(p)?;
                            finish!(Bc::ShrI, 31, b, 0, 0)
                        }
                        two!(if from == 32 { Bc::CmpSlt32 } else { Bc::CmpSlt64 })
                    }
                    (Cond::Sle, _) => two!(if from == 32 { Bc::CmpSle32 } else { Bc::CmpSle64 }),
                }
            }
            (Op::CarryAdd, _) if from == 32 && small(r, self) == Some(0) => two!(Bc::CarryAdd32),
            (Op::OverflowAdd, _) if from == 32 && small(r, self) == Some(0) => two!(Bc::OverflowAdd32),
            (Op::CarryAdd, _) if from == 32 => {
                let (b, c, third) = (self.cell(p)?, self.cell(q)?, self.cell(r)?);
                finish!(Bc::Carry32, 0, b, c, third.into())
            }
            (Op::OverflowAdd, _) if from == 32 => {
                let (b, c, third) = (self.cell(p)?, self.cell(q)?, self.cell(r)?);
                finish!(Bc::Overflow32, 0, b, c, third.into())
            }
            (Op::Select, _) => {
                let (b, c, third) = (self.cell(p)?, self.cell(q)?, self.cell(r)?);
                finish!(Bc::Select, 0, b, c, third.into())
            }
            _ => Ok(false),
        }
    }
}
