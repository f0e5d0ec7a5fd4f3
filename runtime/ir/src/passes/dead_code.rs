//! Removes writes that nobody sees and values that nobody uses, in one backward walk.
//!
//! A write of a slot is seen by reads of what it overlaps, and by whoever sees all of the state: exits, operations that may fault (the
//! exception sees the state of its instruction's mark), and the mark after an instruction that touched memory or called a helper, where the
//! executor may leave the block. Flags are what mostly goes.

use super::{Live, Passes};
use crate::op::{Block, Op, Value};

/// One side of an `If` not yet walked to its beginning.
struct Scope {
    /// What is live after the end.
    after: (Live, Vec<bool>),
    /// What is live at the beginning of the second side.
    second: Option<(Live, Vec<bool>)>,
}

impl Passes {
    pub(super) fn dead_code(&self, block: &mut Block) {
        let leaves = marks_that_may_leave(block);
        let mut uses = vec![0u32; block.values.len()];
        let mut keep = vec![true; block.insts.len()];
        // A path that ends without an exit ends nowhere: all is live.
        let mut live = self.all();
        let mut vars = vec![false; block.vars.len()];
        let mut scopes: Vec<Scope> = Vec::new();
        for (at, inst) in block.insts.iter().enumerate().rev() {
            let used = inst.res != Value::NONE && uses[inst.res.0 as usize] > 0;
            match inst.op {
                Op::Get(slot) => {
                    keep[at] = used;
                    if used {
                        live.set(self.atoms(slot), true);
                    }
                }
                Op::VarGet(var) => {
                    keep[at] = used;
                    vars[var.0 as usize] |= used;
                }
                Op::Set(slot) => {
                    keep[at] = live.any(self.atoms(slot));
                    live.set(self.atoms(slot), false);
                }
                Op::VarSet(var) => keep[at] = std::mem::take(&mut vars[var.0 as usize]),
                Op::EndIf => scopes.push(Scope { after: (live.clone(), vars.clone()), second: None }),
                Op::Else => {
                    if let Some(scope) = scopes.last_mut() {
                        scope.second = Some((live, vars));
                        (live, vars) = scope.after.clone();
                    }
                }
                Op::If => {
                    if let Some(scope) = scopes.pop() {
                        let (other, other_vars) = scope.second.unwrap_or(scope.after);
                        live.join(&other);
                        vars.iter_mut().zip(other_vars).for_each(|(a, b)| *a |= b);
                    }
                }
                // A loop may leave the block at its end, and what is read in its next round is not known yet.
                Op::Repeat | Op::EndRepeat | Op::BreakIf => {
                    live = self.all();
                    vars.fill(true);
                }
                Op::Mark if leaves[at] => live = self.all(),
                Op::Mark => {}
                Op::Call(helper) => match self.helpers.get(helper as usize).filter(|h| !h.raises && !h.memory).and_then(|h| h.reads) {
                    Some(reads) => reads.iter().for_each(|slot| live.set(self.atoms(*slot), true)),
                    None => live = self.all(),
                },
                Op::Float { env, .. }
                | Op::FloatRound { env, .. }
                | Op::FloatConvert { env, .. }
                | Op::FloatToInt { env, .. }
                | Op::IntToFloat { env, .. } => self.float(env, &mut live),
                Op::Vec(op, _) if op.is_float() => self.float(inst.imm as u8, &mut live),
                op if op.is_pure() => keep[at] = used,
                op if op.is_exit() => {
                    live = self.all();
                    vars.fill(false);
                }
                op if op.is_memory() => live = self.all(),
                _ => {}
            }
            if keep[at] {
                for v in inst.operands() {
                    uses[v.0 as usize] += 1;
                }
            }
        }
        let mut at = 0;
        block.insts.retain(|_| {
            at += 1;
            keep[at - 1]
        });
    }

    fn float(&self, env: u8, live: &mut Live) {
        match self.env_slots(env) {
            Some(slots) => slots.for_each(|slot| live.set(self.atoms(slot), true)),
            None => *live = self.all(),
        }
    }
}

/// For each instruction: it is a mark at which the executor may leave the block, as the guest instruction before touched what may ask for it.
fn marks_that_may_leave(block: &Block) -> Vec<bool> {
    let mut touched = false;
    let mark = |op: Op| {
        if op == Op::Mark {
            return std::mem::take(&mut touched);
        }
        touched |= op.is_memory() || matches!(op, Op::Call(_));
        false
    };
    block.insts.iter().map(|i| i.op).map(mark).collect()
}
