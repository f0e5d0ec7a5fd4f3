//! Checks a block: types, dominance, structure, and the rule of precision.
//!
//! The rule of precision: between two marks no `set` comes before an operation that may fault, except in a `repeat`. `raise` is no such operation:
//! the exceptions an instruction is meant to take (SVC) may come after it has written what its successor shall see.

use crate::guest::HelperDesc;
use crate::op::*;
use crate::state::StateLayout;

/// What is wrong with a block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("instruction {index} ({op:?}), guest pc {pc:#x}: {message}")]
pub struct VerifyError {
    /// Index of the instruction in the block.
    pub index: usize,
    /// Its operation.
    pub op: Op,
    /// The last mark's pc.
    pub pc: u64,
    /// What is wrong.
    pub message: String,
}

/// An open `If` or `Repeat`.
struct Scope {
    repeat: bool,
    second: bool,
    /// Values defined before it.
    defined: usize,
    /// At its beginning: a slot was written, the path had ended.
    before: (bool, bool),
    /// At the end of the first side.
    first: (bool, bool),
}

struct Verifier<'a> {
    block: &'a Block,
    layout: &'a StateLayout,
    helpers: Option<&'a [HelperDesc]>,
    /// Values visible here, in order of definition.
    defined: Vec<Value>,
    visible: Vec<bool>,
    scopes: Vec<Scope>,
    /// A slot was written since the mark.
    written: bool,
    ended: bool,
}

/// Checks a block over this state; with `helpers`, what calls may raise is known, else any may.
pub fn verify(block: &Block, layout: &StateLayout, helpers: Option<&[HelperDesc]>) -> Result<(), VerifyError> {
    let visible = vec![false; block.values.len()];
    let mut verifier = Verifier { block, layout, helpers, defined: Vec::new(), visible, scopes: Vec::new(), written: false, ended: false };
    let mut pc = 0;
    for (index, inst) in block.insts.iter().enumerate() {
        if inst.op == Op::Mark {
            pc = inst.imm;
        }
        verifier.inst(inst).map_err(|message| VerifyError { index, op: inst.op, pc, message })?;
    }
    let fail = |message: &str| {
        let op = block.insts.last().map_or(Op::Mark, |i| i.op);
        Err(VerifyError { index: block.insts.len().saturating_sub(1), op, pc, message: message.into() })
    };
    if !verifier.scopes.is_empty() {
        return fail("the block ends inside an if or repeat");
    }
    if !verifier.ended {
        return fail("the block ends without an exit");
    }
    let marks = block.insts.iter().filter(|i| i.op == Op::Mark).count();
    if marks != block.guest_insns as usize {
        return fail("the number of marks is not that of the block's guest instructions");
    }
    Ok(())
}

impl Verifier<'_> {
    fn ty(&self, v: Value) -> Type {
        self.block.values[v.0 as usize]
    }

    fn inst(&mut self, inst: &Inst) -> Result<(), String> {
        for v in inst.operands() {
            if !self.visible.get(v.0 as usize).copied().unwrap_or(false) {
                return Err(format!("operand {} is not defined on every path to here", v.0));
            }
        }
        if self.ended && !matches!(inst.op, Op::Else | Op::EndIf | Op::Const) {
            return Err("it follows the end of its path".into());
        }
        self.structure(inst)?;
        self.precision(inst)?;
        self.types(inst)?;
        if inst.res != Value::NONE {
            match self.block.values.get(inst.res.0 as usize) {
                Some(ty) if *ty == inst.ty => {}
                _ => return Err("its result has another type".into()),
            }
            if self.visible[inst.res.0 as usize] || self.defined.contains(&inst.res) {
                return Err("its result is defined twice".into());
            }
            self.visible[inst.res.0 as usize] = true;
            self.defined.push(inst.res);
        }
        Ok(())
    }

    /// Values defined since the scope began are not visible any more.
    fn leave(&mut self, defined: usize) {
        for v in self.defined.drain(defined..) {
            self.visible[v.0 as usize] = false;
        }
    }

    fn structure(&mut self, inst: &Inst) -> Result<(), String> {
        let now = (self.written, self.ended);
        match inst.op {
            Op::If | Op::Repeat => {
                let repeat = inst.op == Op::Repeat;
                self.scopes.push(Scope { repeat, second: false, defined: self.defined.len(), before: now, first: now });
            }
            Op::Else => match self.scopes.last_mut() {
                Some(scope) if !scope.repeat && !scope.second => {
                    (scope.second, scope.first) = (true, now);
                    let (before, defined) = (scope.before, scope.defined);
                    (self.written, self.ended) = before;
                    self.leave(defined);
                }
                _ => return Err("else without if".into()),
            },
            Op::EndIf | Op::EndRepeat => match self.scopes.pop() {
                Some(scope) if scope.repeat == (inst.op == Op::EndRepeat) => {
                    let other = if scope.repeat || !scope.second { scope.before } else { scope.first };
                    // A path that ended brings nothing.
                    self.written = (now.0 && !now.1) || (other.0 && !other.1);
                    self.ended = now.1 && other.1;
                    self.leave(scope.defined);
                }
                _ => return Err("the end of nothing that is open".into()),
            },
            Op::BreakIf if !self.scopes.iter().any(|s| s.repeat) => return Err("break outside a repeat".into()),
            Op::Mark if !self.scopes.is_empty() => return Err("a mark inside an if or repeat".into()),
            op if op.is_exit() => self.ended = true,
            _ => {}
        }
        Ok(())
    }

    fn precision(&mut self, inst: &Inst) -> Result<(), String> {
        if inst.op == Op::Mark {
            self.written = false;
        }
        if matches!(inst.op, Op::Set(_)) {
            self.written = true;
        }
        let may_fault = match inst.op {
            Op::Call(id) => self.helpers.is_none_or(|helpers| helpers.get(id as usize).is_none_or(|h| h.raises)),
            op => op.is_memory(),
        };
        let marked = self.block.guest_insns > 0;
        if may_fault && self.written && marked && !self.scopes.iter().any(|s| s.repeat) {
            return Err("it may fault after a slot was written by the same guest instruction".into());
        }
        Ok(())
    }

    fn types(&self, inst: &Inst) -> Result<(), String> {
        let args: Vec<Type> = inst.operands().map(|v| self.ty(v)).collect();
        let ty = inst.ty;
        let need = |ok: bool, what: &str| if ok { Ok(()) } else { Err(format!("{what}, not {args:?} -> {ty:?}")) };
        let count = |n: usize| need(args.len() == n, &format!("it takes {n} operands"));
        let address = |at: usize| need(matches!(args.get(at), Some(Type::I32 | Type::I64)), "an address is i32 or i64");
        match inst.op {
            Op::Const => count(0),
            Op::Get(slot) | Op::Set(slot) => {
                let Some(desc) = self.layout.slots.get(slot.0 as usize) else { return Err("there is no such slot".into()) };
                count(usize::from(matches!(inst.op, Op::Set(_))))?;
                need(desc.ty == ty && args.iter().all(|a| *a == ty), "a slot keeps its type")
            }
            Op::VarGet(var) | Op::VarSet(var) => {
                let Some(kept) = self.block.vars.get(var.0 as usize) else { return Err("there is no such local".into()) };
                count(usize::from(matches!(inst.op, Op::VarSet(_))))?;
                need(*kept == ty && args.iter().all(|a| *a == ty), "a local keeps its type")
            }
            Op::Bitcast => {
                count(1)?;
                need(args[0].bits() == ty.bits(), "a bitcast keeps the width")
            }
            Op::Add
            | Op::Sub
            | Op::Mul
            | Op::MulHighU
            | Op::MulHighS
            | Op::DivU
            | Op::DivS
            | Op::RemU
            | Op::RemS
            | Op::And
            | Op::Or
            | Op::Xor => {
                count(2)?;
                need(ty.is_int() && args.iter().all(|a| *a == ty), "integers of one type")
            }
            Op::Shl | Op::Shr | Op::Sar | Op::Ror => {
                count(2)?;
                need(args[0] == ty && ty.is_int() && args[1].is_int(), "an integer and an amount")
            }
            Op::Not | Op::Neg | Op::Clz | Op::Ctz | Op::Popcnt | Op::Bswap | Op::Bitrev => {
                count(1)?;
                need(ty.is_int() && args[0] == ty, "an integer")
            }
            Op::CarryAdd | Op::OverflowAdd => {
                count(3)?;
                need(args[0].is_int() && args[0] == args[1] && args[2] == Type::I1 && ty == Type::I1, "two integers and an i1")
            }
            Op::Cmp(_) => {
                count(2)?;
                need(args[0].is_int() && args[0] == args[1] && ty == Type::I1, "two integers of one type")
            }
            Op::Select => {
                count(3)?;
                need(args[0] == Type::I1 && args[1] == ty && args[2] == ty, "an i1 and two alike")
            }
            Op::Zext | Op::Sext => {
                count(1)?;
                need(args[0].is_int() && ty.is_int() && args[0].bits() <= ty.bits(), "an integer no wider than the result")
            }
            Op::Trunc => {
                count(1)?;
                need(args[0].is_int() && ty.is_int() && args[0].bits() >= ty.bits(), "an integer no narrower than the result")
            }
            Op::Extract { lo, len } => {
                count(1)?;
                let fits = u32::from(lo) + u32::from(len) <= args[0].bits() && u32::from(len) <= ty.bits();
                need(args[0].is_int() && ty.is_int() && fits, "bits of an integer")
            }
            Op::Insert { lo, len } => {
                count(2)?;
                need(ty.is_int() && args.iter().all(|a| *a == ty) && u32::from(lo) + u32::from(len) <= ty.bits(), "bits of an integer")
            }
            Op::Concat => {
                count(2)?;
                need(args[0].is_int() && args[0] == args[1] && ty.is_int() && args[0].bits() * 2 == ty.bits(), "two halves")
            }
            Op::Load(mem) | Op::LoadExclusive(mem) => {
                count(1)?;
                address(0)?;
                need(ty.is_int() && ty.bits() == u32::from(mem.size) * 8, "an integer of the access's size")
            }
            Op::Store(mem) => {
                count(2)?;
                address(0)?;
                need(args[1] == ty && ty.is_int() && ty.bits() == u32::from(mem.size) * 8, "an integer of the access's size")
            }
            Op::StoreExclusive(mem) => {
                count(2)?;
                address(0)?;
                need(args[1].bits() == u32::from(mem.size) * 8 && ty == Type::I1, "an integer of the access's size")
            }
            Op::Probe(_) => {
                count(1)?;
                address(0)
            }
            Op::Swap(_) | Op::CompareSwap(_) => {
                count(if matches!(inst.op, Op::Swap(_)) { 2 } else { 3 })?;
                address(0)?;
                need(args[1..].iter().all(|a| *a == ty), "integers of the access's size")
            }
            Op::Float { op, .. } => {
                let operands = match op {
                    Fop::Sqrt | Fop::RecipEst | Fop::RsqrtEst => 1,
                    Fop::Fma => 3,
                    _ => 2,
                };
                count(operands)?;
                let result = if matches!(op, Fop::Cmp | Fop::CmpSignal) { Type::I8 } else { args[0] };
                need(args[0].is_float() && args.iter().all(|a| *a == args[0]) && ty == result, "floats of one format")
            }
            Op::FloatRound { .. } => {
                count(1)?;
                need(ty.is_float() && args[0] == ty, "a float")
            }
            Op::FloatConvert { .. } => {
                count(1)?;
                need(ty.is_float() && args[0].is_float(), "a float")
            }
            Op::FloatToInt { .. } => {
                count(1)?;
                need(ty.is_int() && args[0].is_float(), "a float to an integer")
            }
            Op::IntToFloat { .. } => {
                count(1)?;
                need(ty.is_float() && args[0].is_int(), "an integer to a float")
            }
            Op::Vec(op, _) => {
                count(op.operands())?;
                let widths = match op.shape() {
                    Shape::Same => args.iter().all(|a| *a == ty),
                    Shape::Widen => args.iter().all(|a| *a == Type::V64) && ty == Type::V128,
                    Shape::Wide => args == [Type::V128, Type::V64] && ty == Type::V128,
                    Shape::Narrow => args.iter().all(|a| *a == Type::V128) && ty == Type::V64,
                    Shape::Dup => ty == if inst.imm & 0x100 != 0 { Type::V128 } else { Type::V64 },
                };
                need(ty.is_vector() && args.iter().all(|a| a.is_vector()) && widths, "vectors as the operation's shape says")
            }
            Op::VecSat(op, _) => {
                count(op.operands())?;
                need(ty == Type::I1 && args.iter().all(|a| a.is_vector()), "vectors")?;
                need(!op.is_float(), "an operation on integers")
            }
            Op::LaneGet(_) => {
                count(1)?;
                need(args[0].is_vector(), "a vector")
            }
            Op::LaneSet(_) => {
                count(2)?;
                need(args[0] == ty && ty.is_vector(), "a vector")
            }
            Op::TableLookup => {
                count(2 + inst.imm as usize)?;
                need(ty == Type::V64 && args.iter().all(|a| *a == Type::V64), "64-bit vectors")
            }
            Op::If | Op::BreakIf => {
                count(1)?;
                need(args[0] == Type::I1, "a condition is i1")
            }
            Op::JumpTo | Op::JumpRekey => {
                count(1)?;
                address(0)
            }
            Op::Raise(_) => need(args.len() <= 4, "an exception has at most four arguments"),
            Op::Call(_) => need(args.len() <= 6, "a helper has at most six arguments"),
            Op::Mark | Op::Jump | Op::Wait | Op::Else | Op::EndIf | Op::Repeat | Op::EndRepeat | Op::ClearExclusive | Op::Fence(_) => {
                count(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::SlotDesc;
    use crate::text::{parse, print};

    static SLOTS: [SlotDesc; 2] = [
        SlotDesc { name: "r0", ty: Type::I32, bits: 32, cell: 0, lo: 0 },
        SlotDesc { name: "CPSR.T", ty: Type::I1, bits: 1, cell: 1, lo: 0 },
    ];
    static LAYOUT: StateLayout = StateLayout { slots: &SLOTS, cells: 2 };

    fn check(text: &str) -> Result<(), String> {
        let block = parse(text, &LAYOUT).map_err(|e| e.to_string())?;
        let printed = print(&block, &LAYOUT);
        let again = parse(&printed, &LAYOUT).map_err(|e| e.to_string())?;
        assert_eq!(print(&again, &LAYOUT), printed);
        verify(&block, &LAYOUT, None).map_err(|e| e.to_string())
    }

    #[test]
    fn good_blocks() {
        let text = "\
var x0: i32
mark pc=0x8000 next=0x8004
  v0 = get.i32 r0
  v1 = load.i32 size=4 mmu=1 align=4 big v0
  v2 = eq v1, 0x0:i32
  if v2
    setvar.i32 x0, v1
    jump pc=0x8010
  else
    setvar.i32 x0, 0x7:i32
  endif
  v3 = getvar.i32 x0
  set.i32 r0, v3
mark pc=0x8004 next=0x8008
  wait event=0x1 next=0x8008
";
        assert_eq!(check(&text.replace("set.i32 r0, v3", "set.i32 r0 v3")), Ok(()));
        assert_eq!(print(&parse(text, &LAYOUT).unwrap(), &LAYOUT), text.replace("set.i32 r0, v3", "set.i32 r0 v3").replace("x0, ", "x0 "));
    }

    #[test]
    fn bad_blocks() {
        let cases = [
            (
                "mark pc=0x0 next=0x4\n v0 = get.i32 r0\n set.i32 r0 v0\n v1 = load.i8 size=1 mmu=0 align=1 v0\n jump pc=0x4",
                "may fault after",
            ),
            ("mark pc=0x0 next=0x4\n v0 = get.i32 r0", "without an exit"),
            ("mark pc=0x0 next=0x4\n v0 = get.i64 r0\n jump pc=0x4", "a slot keeps its type"),
            (
                "mark pc=0x0 next=0x4\n v0 = get CPSR.T\n if v0\n v1 = get.i32 r0\n endif\n set.i32 r0 v1\n jump pc=0x4",
                "not defined on every path",
            ),
            ("mark pc=0x0 next=0x4\n jump pc=0x4\n v0 = get.i32 r0", "follows the end of its path"),
            ("mark pc=0x0 next=0x4\n v0 = get.i32 r0\n v1 = add.i64 v0, v0\n jump pc=0x4", "integers of one type"),
            ("mark pc=0x0 next=0x4\n else\n jump pc=0x4", "else without if"),
            ("jump pc=zero", "no number"),
            ("v0 = get.i32 r9", "no slot is called `r9`"),
            ("v0 = frob.i32 r9", "`frob` is no operation"),
            ("v0 = add.i32 v7, 0x100:i8", "`v7` is not a value"),
            ("v0 = not.i8 0x100:i8", "does not fit"),
        ];
        for (text, expected) in cases {
            let error = check(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
