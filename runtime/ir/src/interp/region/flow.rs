//! How a region gets from node to node, and to other blocks.

use super::super::code::{Bc, Code};
use super::compare::Condition;
use super::inline::is_inline;
use super::lower::Lower;
use super::plan::{Node, Short, reads, written};
use super::{Exit, Piece};
use crate::interp::quick::{is_branch, reads_aside};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, InstBuilder, Value};
use std::collections::BTreeMap;

/// Words that are executed or not.
pub(super) struct Only {
    /// Not 0: they are not.
    pub skipped: Value,
    /// One past the last.
    pub end: usize,
    /// What they overwrite.
    pub old: BTreeMap<u16, Value>,
}

impl Lower<'_> {
    /// Goes on at a node, with flags in its form and the cells that it keeps.
    pub fn go_to(&mut self, node: usize) {
        let Node { form, kept, .. } = self.plan.nodes[node];
        if form != self.form {
            // All others are turned into this one.
            if let Some(flags) = self.flag_state() {
                self.save_flags(&flags);
            }
        }
        self.put_all(self.unsaved & !kept);
        for cell in self.plan.members(kept & !self.kept) {
            self.carry(cell);
        }
        self.b.ins().jump(self.blocks[node], &[]);
    }

    /// A node has flags in the form that they have here, and keeps what is kept here and nothing else that matters.
    pub fn agrees(&self, node: &Node) -> bool {
        node.form == self.form && self.unsaved & !node.kept == 0 && node.kept & !self.kept == 0
    }

    /// A block that goes on at a node, or the node's.
    pub fn way_to(&mut self, node: usize) -> Block {
        if self.agrees(&self.plan.nodes[node]) {
            return self.blocks[node];
        }
        let (here, way) = (self.b.current_block(), self.b.create_block());
        self.elsewhere(way, |l| l.go_to(node));
        here.into_iter().for_each(|here| self.b.switch_to_block(here));
        way
    }

    /// A branch with the one behind it, if they go to the same place: what it is taken on, and where it leads if not and if so.
    pub fn both(&mut self, c: &Code, on: usize, target: usize) -> (Condition, usize, usize) {
        let plan = self.plan;
        let taken = self.taken(c);
        let next = &plan.nodes[on];
        let run = &plan.runs[next.run];
        let second = &self.input.pieces[run.piece].words[run.words.0];
        let ([_], [Some(second_on), Some(second_target)]) = (&next.before[..], &next.next[..]) else { return (taken, on, target) };
        if run.words.1 - run.words.0 != 1 || !is_branch(second.op) || next.form != self.form {
            return (taken, on, target);
        }
        let also = self.taken(second);
        if *second_target == target {
            self.merged.push(on);
            return (self.either(taken, also), *second_on, target);
        }
        if *second_on == target {
            // The first leads where the second does not.
            self.merged.push(on);
            let also = self.not(also);
            return (self.either(taken, also), *second_target, target);
        }
        (taken, on, target)
    }

    /// Words that are executed or not come: as long as they do, cells are written as if they were.
    pub fn begin_short(&mut self, piece: &Piece, n: usize, short: &Short) -> Only {
        let mut skipped = self.taken(&piece.words[n]);
        if short.first > n + 1 {
            let also = self.taken(&piece.words[n + 1]);
            skipped = if short.either {
                self.either(skipped, also)
            } else {
                let not = self.not(also);
                let done = self.either(skipped, not);
                self.not(done)
            };
        }
        Only { skipped: self.value(skipped), end: short.end, old: BTreeMap::new() }
    }

    /// Notes what a word is going to overwrite that may not be executed.
    pub fn keep_old(&mut self, only: &mut Only, c: &Code) {
        let (state, piece) = (self.input.layout.state, &self.input.pieces[self.place.0]);
        for cell in written(c) {
            // A temporary that nobody reads behind them.
            let needed = cell < state
                || piece.words[only.end..].iter().any(|c| reads_aside(c.op) && !is_inline(c) || reads(c).any(|read| read == cell));
            if needed && !only.old.contains_key(&cell) {
                let old = self.get(cell);
                only.old.insert(cell, old);
            }
        }
    }

    /// Cells have what was there, if the words were not executed.
    pub fn choose(&mut self, only: Only) {
        for (cell, old) in only.old {
            let new = self.get(cell);
            let value = self.b.ins().select(only.skipped, old, new);
            self.set(cell, value);
        }
    }

    /// The last word of a node.
    pub fn leave_node(&mut self, c: &Code, next: &[Option<usize>]) {
        match (c.op, next) {
            (Bc::Jump, _) => {
                self.uncount(c.a);
                if c.imm <= self.input.pieces[self.place.0].pc {
                    self.go_back(c.imm);
                }
                match *next {
                    [Some(next)] => self.go_to(next),
                    _ => self.leave(Exit::Jump(c.imm), None),
                }
            }
            (Bc::JumpTo | Bc::JumpRekey, _) => {
                self.uncount(c.a);
                let to = self.get(c.b);
                let exit = if c.op == Bc::JumpTo { Exit::JumpTo } else { Exit::Rekey };
                if next.iter().any(Option::is_some) && self.has_key(c, exit, to) {
                    next.iter().flatten().for_each(|next| self.jump_if(to, *next));
                }
                self.leave(exit, Some(to));
            }
            (Bc::Br, [Some(next)]) => self.go_to(*next),
            (op, [Some(on), Some(target)]) if is_branch(op) => {
                let (condition, on, target) = self.both(c, *on, *target);
                let condition = self.value(condition);
                let (target, on) = (self.way_to(target), self.way_to(on));
                self.b.ins().brif(condition, target, &[], on, &[]);
            }
            _ => self.leave(Exit::Resume(self.at), None),
        }
    }

    /// Leaves by a computed jump if the key is not that of the region then. False: that cannot be told.
    pub fn has_key(&mut self, c: &Code, exit: Exit, to: Value) -> bool {
        if c.op == Bc::JumpTo {
            return true;
        }
        let Some(copies) = &self.input.rekeyed else { return false };
        let mut other = None;
        for (cell, value) in copies {
            let (now, then) = (self.get(*cell), self.k64(*value));
            let differs = self.b.ins().icmp(IntCC::NotEqual, now, then);
            other = Some(other.map_or(differs, |other| self.b.ins().bor(other, differs)));
        }
        if let Some(other) = other {
            self.out_of_line_if(other, |l| l.leave(exit, Some(to)));
        }
        true
    }

    /// Goes on at a node if that is where a computed jump leads.
    pub fn jump_if(&mut self, to: Value, next: usize) {
        let pc = self.input.pieces[self.plan.runs[self.plan.nodes[next].run].piece].pc;
        let expected = self.k64(pc);
        let same = self.b.ins().icmp(IntCC::Equal, to, expected);
        let (there, on) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(same, there, &[], on, &[]);
        self.elsewhere(there, |l| {
            l.go_back(pc);
            l.go_to(next);
        });
        self.b.switch_to_block(on);
    }

    /// A jump back comes, to this pc: a poll, if there was none just now.
    pub fn go_back(&mut self, pc: u64) {
        if !self.known.polled {
            let asked = self.asked();
            self.leave_if(asked, Exit::Poll(pc));
        }
    }

    /// The head of a block: what it counts.
    pub fn enter(&mut self, c: &Code) {
        if !self.input.layout.counted {
            return;
        }
        let left = self.b.use_var(self.left);
        let count = self.k64(c.a.into());
        let now = self.b.ins().isub(left, count);
        let zero = self.k64(0);
        let short = self.b.ins().icmp(IntCC::SignedLessThan, now, zero);
        self.leave_if(short, Exit::Refuse(self.at));
        self.b.def_var(self.left, now);
    }

    pub fn uncount(&mut self, n: u16) {
        if n != 0 && self.input.layout.counted {
            let left = self.b.use_var(self.left);
            let n = self.k64(n.into());
            let left = self.b.ins().iadd(left, n);
            self.b.def_var(self.left, left);
        }
    }
}
