//! Conditions: what branches compare, through the flags or cells that a comparison left its parts in.
//!
//! A guest's condition is often two of its flags, each computed for itself, and two branches. Where all of it comes from one subtraction, it is one
//! comparison of its operands.

use super::super::code::{Bc, Code};
use super::flags::Source;
use super::lower::Lower;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{InstBuilder, InstructionData, Opcode, Value, ValueDef};

/// What is compared: of 32 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operand {
    Value(Value),
    Constant(u32),
}

/// Two operands.
pub(super) type Pair = (Operand, Operand);

/// What a cell is known to hold, of a subtraction of two operands, or of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fact {
    /// Their difference.
    Difference(Pair),
    /// Its bit 31, and whether the signed subtraction overflowed.
    Sign(Pair),
    Overflow(Pair),
    /// 1 if the first is not below the second, unsigned.
    Carry(Pair),
    /// 0 only if these are the same, of 64 bits.
    Other(Value, Value),
    /// All bits of an operand turned.
    Not(Operand),
}

/// When something holds: if the first operand is less than the second, the same, or greater.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Test {
    pair: Pair,
    when: u8,
    /// `None`: it makes no difference.
    signed: Option<bool>,
}

const LESS: u8 = 1;
const SAME: u8 = 2;
const GREATER: u8 = 4;
const LESS_OR_SAME: u8 = LESS | SAME;
const OTHER: u8 = LESS | GREATER;
const SAME_OR_GREATER: u8 = SAME | GREATER;
const ALWAYS: u8 = LESS | SAME | GREATER;

impl Test {
    fn not(self) -> Test {
        Test { when: self.when ^ ALWAYS, ..self }
    }

    fn with(self, other: Test, when: u8) -> Option<Test> {
        let agree = self.signed.is_none() || other.signed.is_none() || self.signed == other.signed;
        (self.pair == other.pair && agree).then_some(Test { pair: self.pair, when, signed: self.signed.or(other.signed) })
    }

    /// What an operand is at most where it holds, of 32 bits.
    fn limit(self, operand: Operand) -> Option<u32> {
        match (self.pair, self.when, self.signed) {
            ((x, Operand::Constant(most)), SAME | LESS_OR_SAME, None | Some(false)) if x == operand => Some(most),
            ((x, Operand::Constant(above)), LESS, Some(false)) if x == operand => above.checked_sub(1),
            _ => None,
        }
    }

    fn condition(self) -> Option<IntCC> {
        let signed = self.signed == Some(true);
        Some(match (self.when, signed) {
            (LESS, true) => IntCC::SignedLessThan,
            (LESS, false) => IntCC::UnsignedLessThan,
            (SAME, _) => IntCC::Equal,
            (LESS_OR_SAME, true) => IntCC::SignedLessThanOrEqual,
            (LESS_OR_SAME, false) => IntCC::UnsignedLessThanOrEqual,
            (GREATER, true) => IntCC::SignedGreaterThan,
            (GREATER, false) => IntCC::UnsignedGreaterThan,
            (OTHER, _) => IntCC::NotEqual,
            (SAME_OR_GREATER, true) => IntCC::SignedGreaterThanOrEqual,
            (SAME_OR_GREATER, false) => IntCC::UnsignedGreaterThanOrEqual,
            _ => return None,
        })
    }
}

/// A condition that is a test, or a value that is not 0 where it holds.
#[derive(Clone, Copy)]
pub(super) enum Condition {
    Test(Test),
    Value(Value),
}

impl Lower<'_> {
    /// The instruction that a value is the result of.
    pub fn made_by(&self, value: Value) -> Option<InstructionData> {
        let dfg = &self.b.func.dfg;
        let ValueDef::Result(inst, _) = dfg.value_def(dfg.resolve_aliases(value)) else { return None };
        Some(dfg.insts[inst])
    }

    /// The number that a value is, if that is known.
    pub fn constant_of(&self, value: Value) -> Option<u64> {
        let Some(InstructionData::UnaryImm { opcode: Opcode::Iconst, imm }) = self.made_by(value) else { return None };
        let imm = imm.bits() as u64;
        Some(if self.b.func.dfg.value_type(value) == I32 { imm & u64::from(u32::MAX) } else { imm })
    }

    /// A cell of 32 bits, as an operand.
    fn operand(&mut self, cell: u16) -> Operand {
        let value = self.get(cell);
        self.constant_of(value).map_or(Operand::Value(value), |value| Operand::Constant(value as u32))
    }

    /// What a word will make known of the cell it writes; to be asked before it does.
    pub fn fact(&mut self, c: &Code) -> Option<Fact> {
        Some(match c.op {
            Bc::Sub32 => Fact::Difference((self.operand(c.b), self.operand(c.c))),
            Bc::Add32I => Fact::Difference((self.operand(c.b), Operand::Constant((c.imm as u32).wrapping_neg()))),
            Bc::CmpUle => Fact::Carry((self.operand(c.c), self.operand(c.b))),
            Bc::Extract if (c.x, c.imm) == (31, 1) => match self.known.facts.get(&c.b) {
                Some(Fact::Difference(pair)) => Fact::Sign(*pair),
                _ => return None,
            },
            Bc::Xor => Fact::Other(self.get(c.b), self.get(c.c)),
            Bc::XorI if c.imm == u32::MAX.into() => Fact::Not(self.operand(c.b)),
            Bc::XorI => Fact::Other(self.get(c.b), self.k64(c.imm)),
            Bc::Overflow32 => {
                let carry = self.get(c.imm as u16);
                let turned = match (self.operand(c.c), self.known.facts.get(&c.c)) {
                    (Operand::Constant(value), _) => Operand::Constant(!value),
                    (_, Some(Fact::Not(operand))) => *operand,
                    _ => return None,
                };
                (self.constant_of(carry) == Some(1)).then_some(Fact::Overflow((self.operand(c.b), turned)))?
            }
            _ => return None,
        })
    }

    /// When a branch is taken, or a comparison for equality holds, where that is a test.
    fn test(&mut self, c: &Code) -> Option<Test> {
        use Bc::*;
        let test = |pair, when, signed| Some(Test { pair, when, signed });
        match c.op {
            BrZ | BrNz => {
                let zero = match (self.flag_number(c.b), self.known.facts.get(&c.b)) {
                    (Some(number @ (1 | 2)), _) => {
                        let pair = self.compared(&[number])?;
                        if number == 1 { test(pair, OTHER, None) } else { test(pair, LESS, Some(false)) }
                    }
                    (None, Some(Fact::Difference(pair))) => test(*pair, SAME, None),
                    (None, Some(Fact::Carry(pair))) if self.is_narrow(pair) => test(*pair, LESS, Some(false)),
                    _ => None,
                }?;
                Some(if c.op == BrZ { zero } else { zero.not() })
            }
            BrEq | BrNe | CmpEq | CmpNe => {
                let same = test(self.signed(c)?, SAME_OR_GREATER, Some(true))?;
                Some(if matches!(c.op, BrEq | CmpEq) { same } else { same.not() })
            }
            BrUlt | BrUle => {
                let pair = (self.operand(c.b), self.operand(c.c));
                let when = if c.op == BrUlt { LESS } else { LESS_OR_SAME };
                if self.is_narrow(&pair) { test(pair, when, Some(false)) } else { None }
            }
            BrSlt32 => test((self.operand(c.b), self.operand(c.c)), LESS, Some(true)),
            BrSle32 => test((self.operand(c.b), self.operand(c.c)), LESS_OR_SAME, Some(true)),
            _ => None,
        }
    }

    /// The operands of the subtraction whose sign and overflow a word compares.
    fn signed(&mut self, c: &Code) -> Option<Pair> {
        match (self.flag_number(c.b), self.flag_number(c.c)) {
            (Some(0), Some(3)) | (Some(3), Some(0)) => self.compared(&[0, 3]),
            (None, None) => match (self.known.facts.get(&c.b)?, self.known.facts.get(&c.c)?) {
                (Fact::Sign(x), Fact::Overflow(y)) | (Fact::Overflow(y), Fact::Sign(x)) if x == y => Some(*x),
                _ => None,
            },
            _ => None,
        }
    }

    /// Operands have 32 bits: they were subtracted as such.
    fn is_narrow(&self, pair: &Pair) -> bool {
        self.known.facts.values().any(|fact| *fact == Fact::Difference(*pair))
    }

    /// The operands of the subtraction that these flags come from.
    fn compared(&mut self, flags: &[usize]) -> Option<Pair> {
        if !self.form.minus() || flags.iter().any(|number| self.form.from[*number] != Source::Base) {
            return None;
        }
        let [x, y] = self.here();
        let operand = |l: &Self, value| l.constant_of(value).map_or(Operand::Value(value), |value| Operand::Constant(value as u32));
        Some((operand(self, x), operand(self, y)))
    }

    /// When a branch is taken.
    pub fn taken(&mut self, c: &Code) -> Condition {
        match self.test(c) {
            Some(test) if test.condition().is_some() => Condition::Test(test),
            _ => Condition::Value(self.condition(c)),
        }
    }

    /// What the cell with the first operand of what set the flags is at most where a condition holds, and where it does not.
    pub fn limits(&self, condition: Condition) -> [Option<(u16, u32)>; 2] {
        match (condition, self.known.first_cell, self.known.first) {
            (Condition::Test(test), Some(cell), Some(first)) => {
                [test, test.not()].map(|test| Some((cell, test.limit(Operand::Value(first))?)))
            }
            _ => [None; 2],
        }
    }

    /// Whether a comparison for equality holds, where that is a test.
    pub fn holds(&mut self, c: &Code) -> Option<Value> {
        let test = self.test(c)?;
        Some(self.value(Condition::Test(test)))
    }

    /// When one or the other holds.
    pub fn either(&mut self, one: Condition, other: Condition) -> Condition {
        if let (Condition::Test(x), Condition::Test(y)) = (one, other)
            && let Some(test) = x.with(y, x.when | y.when).filter(|test| test.condition().is_some())
        {
            return Condition::Test(test);
        }
        let (x, y) = (self.truth(one), self.truth(other));
        Condition::Value(self.b.ins().bor(x, y))
    }

    /// When it does not hold.
    pub fn not(&mut self, condition: Condition) -> Condition {
        match condition {
            Condition::Test(test) => Condition::Test(test.not()),
            Condition::Value(value) => {
                let ty = self.b.func.dfg.value_type(value);
                let zero = self.b.ins().iconst(ty, 0);
                Condition::Value(self.b.ins().icmp(IntCC::Equal, value, zero))
            }
        }
    }

    /// A value that is not 0 where it holds.
    pub fn value(&mut self, condition: Condition) -> Value {
        match condition {
            Condition::Value(value) => value,
            Condition::Test(test) => {
                let (x, y) = (self.narrow(test.pair.0), self.narrow(test.pair.1));
                match test.condition() {
                    Some(condition) => self.b.ins().icmp(condition, x, y),
                    None => self.k32(u32::from(test.when == ALWAYS)),
                }
            }
        }
    }

    /// 1 where it holds, else 0, of 8 bits.
    fn truth(&mut self, condition: Condition) -> Value {
        let value = self.value(condition);
        let ty = self.b.func.dfg.value_type(value);
        if ty.bytes() == 1 {
            return value;
        }
        let zero = self.b.ins().iconst(ty, 0);
        self.b.ins().icmp(IntCC::NotEqual, value, zero)
    }

    fn narrow(&mut self, operand: Operand) -> Value {
        match operand {
            Operand::Constant(value) => self.k32(value),
            Operand::Value(value) if self.b.func.dfg.value_type(value) == I64 => self.b.ins().ireduce(I32, value),
            Operand::Value(value) => value,
        }
    }
}
