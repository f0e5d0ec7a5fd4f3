//! Removes writes of decoder context that put back what the slot holds already.
//!
//! An instruction that is in a delay slot, or has a prefix, begins with context that the end of the one before wrote and its own end takes back. Where
//! nobody looked in between, the first write is dead and went before this pass; then the second changes nothing.

use super::Passes;
use crate::op::{Block, Op};

impl Passes {
    pub(super) fn put_back(&self, block: &mut Block) {
        if block.context.is_empty() {
            return;
        }
        let Block { insts, values, context, .. } = block;
        let mut constants = vec![None; values.len()];
        let mut held: Vec<_> = context.iter().map(|(slot, value)| (*slot, self.atoms(*slot), Some(*value))).collect();
        insts.retain(|inst| {
            match inst.op {
                Op::Const => constants[inst.res.0 as usize] = inst.constant(),
                Op::Set(slot) => {
                    let value = constants[inst.args[0].0 as usize].and_then(|x| u64::try_from(x).ok());
                    if let Some((_, _, known)) = held.iter_mut().find(|h| h.0 == slot)
                        && value.is_some()
                        && *known == value
                    {
                        return false;
                    }
                    let atoms = self.atoms(slot);
                    for (other, _, known) in held.iter_mut().filter(|h| h.1.overlap(atoms)) {
                        *known = value.filter(|_| *other == slot);
                    }
                }
                // Another way may come here, and a helper may write anything.
                Op::Else | Op::EndIf | Op::Repeat | Op::EndRepeat | Op::Call(_) => held.iter_mut().for_each(|h| h.2 = None),
                _ => {}
            }
            true
        });
    }
}
