//! Removes writes that nobody sees and values that nobody uses, in one backward walk.
//!
//! A write of a slot is seen by reads of what it overlaps, and by whoever sees all of the state: exits, operations that may fault (the
//! exception sees the state of its instruction's mark), and the mark after an instruction that touched memory or called a helper, where the
//! executor may leave the block. Flags are what mostly goes.

use super::{Atoms, Passes};
use crate::op::{Block, Inst, Op, Value};

/// What the walk works in, kept from block to block.
#[derive(Default)]
pub(super) struct Walk {
    /// Whether each value is used.
    used: Vec<bool>,
    /// Whether each instruction stays.
    keep: Vec<bool>,
    /// What is live here: the state's atoms, then locals.
    live: Vec<u64>,
    /// For each `If` whose end was passed: whether its `Else` was.
    scopes: Vec<bool>,
    /// For each of those what is live after its end, then, if its `Else` was passed, at the beginning of its second side.
    saved: Vec<u64>,
}

impl Passes {
    pub(super) fn dead_code(&self, walk: &mut Walk, block: &mut Block) {
        let Walk { used, keep, live, scopes, saved } = walk;
        used.clear();
        used.resize(block.values.len(), false);
        keep.clear();
        keep.resize(block.insts.len(), true);
        scopes.clear();
        saved.clear();
        let first_var = 64 * self.words;
        let var_atom = |var: u32| Atoms::new(first_var + var as usize, 1);
        let words = self.words + block.vars.len().div_ceil(64);
        // A path that ends without an exit ends nowhere: all is live.
        live.clear();
        live.resize(self.words, u64::MAX);
        live.resize(words, 0);
        for (at, inst) in block.insts.iter().enumerate().rev() {
            let wanted = inst.res != Value::NONE && used[inst.res.0 as usize];
            let mut stays = true;
            match inst.op {
                Op::Get(slot) => {
                    stays = wanted;
                    if wanted {
                        self.atoms(slot).add_to(live);
                    }
                }
                Op::VarGet(var) => {
                    stays = wanted;
                    if wanted {
                        var_atom(var.0).add_to(live);
                    }
                }
                Op::Set(slot) => stays = self.atoms(slot).take_from(live),
                Op::VarSet(var) => stays = var_atom(var.0).take_from(live),
                Op::EndIf => {
                    scopes.push(false);
                    saved.extend_from_slice(live);
                }
                Op::Else => {
                    if let Some(passed) = scopes.last_mut() {
                        *passed = true;
                        let after = saved.len() - words;
                        saved.extend_from_slice(live);
                        live.copy_from_slice(&saved[after..after + words]);
                    }
                }
                Op::If => {
                    if let Some(passed) = scopes.pop() {
                        let other = saved.len() - words;
                        live.iter_mut().zip(&saved[other..]).for_each(|(a, b)| *a |= b);
                        saved.truncate(if passed { other - words } else { other });
                    }
                }
                // A loop may leave the block at its end, and what is read in its next round is not known yet.
                Op::Repeat | Op::EndRepeat | Op::BreakIf => live.fill(u64::MAX),
                Op::Mark if may_leave(&block.insts[..at]) => self.all(live),
                Op::Mark => {}
                Op::Call(helper) => match self.helpers.get(helper as usize).filter(|h| !h.raises && !h.memory).and_then(|h| h.reads) {
                    Some(reads) => reads.iter().for_each(|slot| self.atoms(*slot).add_to(live)),
                    None => self.all(live),
                },
                Op::Float { env, .. }
                | Op::FloatRound { env, .. }
                | Op::FloatConvert { env, .. }
                | Op::FloatToInt { env, .. }
                | Op::IntToFloat { env, .. } => self.float(env, live),
                Op::Vec(op, _) if op.is_float() => self.float(inst.imm as u8, live),
                op if op.is_pure() => stays = wanted,
                op if op.is_exit() => {
                    self.all(live);
                    live[self.words..].fill(0);
                }
                op if op.is_memory() => self.all(live),
                _ => {}
            }
            if stays {
                inst.operands().for_each(|v| used[v.0 as usize] = true);
            } else {
                keep[at] = false;
            }
        }
        let mut keep = keep.iter();
        block.insts.retain(|_| keep.next() != Some(&false));
    }

    /// All of the state is live.
    fn all(&self, live: &mut [u64]) {
        live[..self.words].fill(u64::MAX);
    }

    fn float(&self, env: u8, live: &mut [u64]) {
        match self.env_slots(env) {
            Some(slots) => slots.for_each(|slot| self.atoms(slot).add_to(live)),
            None => self.all(live),
        }
    }
}

/// True if the executor may leave the block at a mark after these instructions, as the last guest instruction touched what may ask for it.
fn may_leave(before: &[Inst]) -> bool {
    let mut own = before.iter().rev().map(|i| i.op).take_while(|op| !matches!(op, Op::Mark));
    own.any(|op| op.is_memory() || matches!(op, Op::Call(_)))
}
