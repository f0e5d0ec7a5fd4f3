//! What a region does before anybody has looked whether it was right: accesses that the host may refuse, and floating point that may not be the guest's.
//!
//! All that may be done again waits for one look: at the latest before a store of another instruction, where ways meet, and where the region leaves.

use super::super::code::{Bc, Code};
use super::float::Unseen;
use super::lower::{Lower, State, ours};
use super::plan::{Node, written};
use super::{Exit, is_called};
use crate::interp::quick::is_branch;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{Block, InstBuilder, Value};

/// Accesses since the last look for whether the host refused one. If it did, all is as before the first of them.
#[derive(Clone)]
pub(super) struct Pending {
    /// Code index of the first.
    pub at: u32,
    /// There are accesses at all, and loads among them.
    pub accesses: bool,
    pub loads: bool,
    /// What floating point has done since, and nobody has looked at.
    pub floats: Unseen,
    /// The instruction of the last access, by its piece and number there.
    pub instruction: (usize, usize),
    /// What was left then.
    pub left: Value,
    /// What was not in its cell.
    pub state: State,
}

impl Lower<'_> {
    /// An access comes that the host may refuse. What it refuses is left out, and a word says so; until somebody looks at that, nothing may be done that
    /// cannot be done again or could be seen, and no more than loads with what was loaded: stores of one instruction only go together.
    pub fn before_access(&mut self, loads: bool) {
        let number = self.input.pieces[self.place.0].instruction(self.place.1);
        let instruction = (self.place.0, number);
        let apart = |pending: &Pending| pending.loads || !pending.floats.is_empty() || pending.instruction != instruction;
        if !loads && self.pending.as_ref().is_some_and(apart) {
            self.look();
        }
        // What it reads may say that code has changed: a poll before it is none.
        self.known.polled = false;
        let pending = self.begin_pending();
        (pending.accesses, pending.loads, pending.instruction) = (true, pending.loads | loads, instruction);
    }

    /// Something comes that is to be looked at; the interpreter may have to begin there.
    pub fn begin_pending(&mut self) -> &mut Pending {
        let pending = match self.pending.take() {
            Some(pending) => pending,
            None => {
                let (at, here) = (self.at, self.place);
                // If the instruction has done nothing yet, it begins again: its temporaries need not be kept.
                let piece = &self.input.pieces[here.0];
                let number = piece.instruction(here.1);
                let first = number.checked_sub(1).map_or(here.1, |number| piece.marks[number]);
                let harmless = |c: &Code| {
                    !c.op.is_access() && !is_called(c) && !is_branch(c.op) && written(c).all(|cell| cell >= self.input.layout.state)
                };
                let between = &piece.words[first..here.1];
                if between.iter().all(harmless) {
                    (self.at, self.place.1) = (at - between.len() as u32, first);
                    // Of those from before it, one that was needed may be another now.
                    let needed = self.live_temporaries();
                    if between.iter().flat_map(written).any(|cell| needed.contains(&cell)) {
                        (self.at, self.place) = (at, here);
                    }
                }
                let (state, left) = (self.state(true), self.b.use_var(self.left));
                let instruction = (here.0, number);
                let pending = Pending { at: self.at, accesses: false, loads: false, floats: Unseen::default(), instruction, left, state };
                (self.at, self.place) = (at, here);
                pending
            }
        };
        self.pending.insert(pending)
    }

    /// Looks whether the host refused an access, or floating point is not the host's: then the interpreter goes on at the first since the last look.
    pub fn look(&mut self) {
        let Some(pending) = self.pending.take() else { return };
        self.look_at(&pending);
        if pending.accesses {
            let refused = self.refused();
            self.out_of_line_if(refused, |l| l.resume(&pending));
        }
    }

    /// The same where a poll is to come, which it then is: one look at the attention word, which says both. False: there was no access.
    pub fn look_and_poll(&mut self) -> bool {
        let Some(pending) = self.pending.take() else { return false };
        self.look_at(&pending);
        if !pending.accesses {
            return false;
        }
        let asked = self.asked();
        self.out_of_line_if(asked, |l| {
            let refused = l.refused();
            l.out_of_line_if(refused, |l| l.resume(&pending));
            l.set_cold();
            l.leave(Exit::Resume(l.at), None);
        });
        true
    }

    /// Looks at floating point.
    pub fn look_at(&mut self, pending: &Pending) {
        self.known.numbers.made.clear();
        if pending.floats.is_empty() {
            return;
        }
        let (out, on) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(out);
        self.look_at_floats(&pending.floats, out);
        self.b.ins().jump(on, &[]);
        self.elsewhere(out, |l| l.resume(pending));
        self.b.switch_to_block(on);
    }

    /// Goes to a block out of line if the condition holds.
    pub fn go_if(&mut self, condition: Value, out: Block) {
        let on = self.b.create_block();
        self.b.ins().brif(condition, out, &[], on, &[]);
        self.b.switch_to_block(on);
    }

    /// Whether the host refused an access: one instruction with the branch on it, as it compares with what is in a register.
    pub fn refused(&mut self) -> Value {
        let none = self.b.ins().ireduce(I32, self.cells);
        // The word is loaded each time.
        self.b.ins().sequence_point();
        let now = self.b.ins().load(I32, ours(), self.cells, self.input.layout.refused);
        self.b.ins().icmp(IntCC::NotEqual, none, now)
    }

    /// Leaves to where an access was refused.
    pub fn resume(&mut self, pending: &Pending) {
        if pending.accesses {
            let none = self.b.ins().ireduce(I32, self.cells);
            self.b.ins().store(ours(), none, self.cells, self.input.layout.refused);
        }
        self.save(&pending.state.cells);
        if self.input.layout.counted {
            self.b.ins().store(ours(), pending.left, self.cells, self.input.layout.left);
        }
        self.return_by(Exit::Resume(pending.at), None, pending.state.flags.as_ref());
    }

    /// What is to be looked for and stored may be left to the nodes behind this one: there is no other way to them.
    pub fn may_wait(&self, last: Option<&Code>, node: &Node) -> bool {
        let stays = |next: &Option<usize>| next.is_some_and(|next| self.stays(next));
        last.is_none_or(|c| is_branch(c.op) || c.op == Bc::Jump) && !self.goes_back(last, node) && node.next.iter().all(stays)
    }

    /// ... to this one.
    pub fn stays(&self, next: usize) -> bool {
        // What floating point came to decides nothing before somebody has looked.
        let seen = self.pending.as_ref().is_none_or(|pending| pending.floats.is_empty());
        let node = &self.plan.nodes[next];
        // The first is come to from outside, too.
        seen && next != 0 && node.before.len() == 1 && self.agrees(node)
    }

    /// A jump follows, or may, on which it is to be polled: a loop comes back to its head, or the region is left backwards.
    pub fn goes_back(&self, last: Option<&Code>, node: &Node) -> bool {
        let out = |c: &Code| c.op == Bc::Jump && node.next == [None] && self.is_behind(c.imm);
        last.is_some_and(out) || node.next.iter().flatten().any(|next| self.plan.polls(node.run, *next))
    }

    /// The block at a pc is this one, or lies before it.
    pub fn is_behind(&self, pc: u64) -> bool {
        pc <= self.input.pieces[self.place.0].pc
    }

    pub fn asked(&mut self) -> Value {
        let attention = self.b.ins().load(I64, ours(), self.cells, self.input.layout.attention);
        // Others write it: an atomic load is never taken for an earlier one, nor are other loads over it.
        self.b.ins().atomic_load(I32, ours(), attention)
    }
}
