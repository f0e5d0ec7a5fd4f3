//! How a region gets from node to node, and to other blocks.

use super::super::code::{Bc, Code};
use super::flags::{FlagState, Form};
use super::inline::is_inline;
use super::known::Known;
use super::lower::{Lower, ours};
use super::plan::{Node, Short, reads, written};
use super::{Exit, Piece};
use crate::interp::quick::{is_branch, reads_aside};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, Value};
use std::collections::BTreeMap;

/// A computed jump is compared with so many pcs one after the other; among more they are halved first.
const FEW_WAYS: usize = 4;

/// Words that are executed or not.
pub(super) struct Only {
    /// Not 0: they are not.
    pub skipped: Value,
    /// One past the last.
    pub end: usize,
    /// What they overwrite.
    pub old: BTreeMap<u16, Value>,
}

/// Where a branch leads, or two that lead to the same place.
pub(super) struct Fork {
    /// The node of the second, the branch, and whether it leads to the target if it is taken, or if not.
    second: Option<(usize, Code, bool)>,
    /// Nodes: if no branch leads to the target, the target, and that which the second leads to in its place.
    on: usize,
    target: usize,
    twin: usize,
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
    fn way_to(&mut self, node: usize) -> Block {
        if self.agrees(&self.plan.nodes[node]) { self.blocks[node] } else { self.way(|l| l.go_to(node)) }
    }

    /// A block for a way.
    fn way(&mut self, make: impl FnOnce(&mut Self)) -> Block {
        let (here, way) = (self.b.current_block(), self.b.create_block());
        self.elsewhere(way, make);
        here.into_iter().for_each(|here| self.b.switch_to_block(here));
        way
    }

    /// A block that goes on at a node, with everything stored and looked at.
    fn settled_way_to(&mut self, node: usize) -> Block {
        if self.pending.is_none() && self.dirty == 0 {
            return self.way_to(node);
        }
        if let [before] = self.plan.nodes[node].before[..] {
            self.settled.insert((before, node));
        }
        let (pending, dirty, clean) = (self.pending.clone(), self.dirty, self.clean.clone());
        let way = self.way(|l| {
            l.look();
            l.flush();
            l.go_to(node);
        });
        (self.pending, self.dirty, self.clean) = (pending, dirty, clean);
        way
    }

    /// Where a branch leads from a node, with the one behind it if they go to the same place.
    pub fn fork(&self, on: usize, target: usize) -> Fork {
        let nodes = &self.plan.nodes;
        let next = &nodes[on];
        let run = &self.plan.runs[next.run];
        let second = self.input.pieces[run.piece].words[run.words.0];
        let same = |node: usize, other: usize| {
            let [node, other] = [node, other].map(|node| &nodes[node]);
            (node.run, node.form, node.odd) == (other.run, other.form, other.odd)
        };
        // All that lead there take it over, or none does.
        let leads = |before: &usize| matches!(nodes[*before].next[..], [Some(next), Some(other)] if next == on && same(other, target));
        let form = next.form == self.form && (next.form != Form::MEMORY || next.before.len() == 1);
        let only = run.words.1 - run.words.0 == 1 && is_branch(second.op);
        match next.next[..] {
            [Some(second_on), Some(second_target)] if form && only && next.before.iter().all(leads) => {
                if same(second_target, target) {
                    return Fork { second: Some((on, second, true)), on: second_on, target, twin: second_target };
                }
                if same(second_on, target) {
                    // The first leads where the second does not.
                    return Fork { second: Some((on, second, false)), on: second_target, target, twin: second_on };
                }
            }
            _ => {}
        }
        Fork { second: None, on, target, twin: target }
    }

    /// The branch at the end of a node. What may wait does so where it leads; else it is stored and looked at on the way.
    pub fn branch(&mut self, c: &Code, fork: Fork) {
        let Fork { second, on, target, twin } = fork;
        // Several nodes may have taken the second over.
        let alone = |node: usize| {
            second.is_none_or(|(second, ..)| self.plan.nodes[node].before != [second] || self.plan.nodes[second].before.len() == 1)
        };
        let stays = [on, target].map(|next| alone(next) && self.stays(next));
        if stays == [false; 2] {
            self.look();
            self.flush();
        }
        self.ends.push(Known { polled: false, dirty: self.dirty, pending: self.pending.clone(), ..self.known.clone() });
        let mut condition = self.taken(c);
        if let Some((node, second, taken)) = second {
            self.merged.insert(node);
            self.dropped.extend((twin != target).then_some(twin));
            let also = self.taken(&second);
            let also = if taken { also } else { self.not(also) };
            condition = self.either(condition, also);
        }
        for (next, limit) in [target, on].into_iter().zip(self.limits(condition)) {
            if let ([before], Some(limit)) = (&self.plan.nodes[next].before[..], limit.filter(|_| alone(next))) {
                self.limits.insert((*before, next), limit);
            }
        }
        let condition = self.value(condition);
        let [on, target] =
            [(on, stays[0]), (target, stays[1])].map(|(next, stays)| if stays { self.blocks[next] } else { self.settled_way_to(next) });
        self.b.ins().brif(condition, target, &[], on, &[]);
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
    pub fn leave_node(&mut self, c: &Code, node: &Node) {
        match (c.op, &node.next[..]) {
            (Bc::Jump, [Some(next)]) => {
                self.uncount(c.a);
                self.jump_to(node.run, c.imm, *next);
            }
            (Bc::Jump, _) => {
                self.uncount(c.a);
                if self.is_behind(c.imm) {
                    self.poll(c.imm);
                }
                self.leave(Exit::Jump(c.imm), None);
            }
            (Bc::JumpTo | Bc::JumpRekey, next) => {
                self.uncount(c.a);
                let to = self.get(c.b);
                let exit = if c.op == Bc::JumpTo { Exit::JumpTo } else { Exit::Rekey };
                if next.iter().any(Option::is_some) && self.has_key(c, exit, to) {
                    let ways: BTreeMap<u64, usize> = next.iter().flatten().map(|node| (self.pc_of(*node), *node)).collect();
                    let other = self.b.create_block();
                    self.jump_among(node.run, to, &ways.into_iter().collect::<Vec<_>>(), other);
                    self.b.switch_to_block(other);
                }
                self.leave(exit, Some(to));
            }
            (Bc::Br, [Some(next)]) => self.go_to(*next),
            _ => self.leave(Exit::Resume(self.at), None),
        }
    }

    /// Leaves by a computed jump if the key is not that of the region then, or an interrupt may have been unmasked. False: that cannot be told.
    pub fn has_key(&mut self, c: &Code, exit: Exit, to: Value) -> bool {
        if c.op == Bc::JumpTo {
            return true;
        }
        let Some(copies) = &self.input.rekeyed else { return false };
        let levels = self.b.ins().load(I64, ours(), self.cells, self.input.layout.levels);
        let mut other = levels;
        for (cell, value) in copies {
            let (now, then) = (self.get(*cell), self.k64(*value));
            let differs = self.b.ins().bxor(now, then);
            other = self.b.ins().bor(other, differs);
        }
        self.out_of_line_if(other, |l| l.leave(exit, Some(to)));
        true
    }

    /// The pc of the block that a node is in.
    fn pc_of(&self, node: usize) -> u64 {
        self.input.pieces[self.plan.runs[self.plan.nodes[node].run].piece].pc
    }

    /// Goes on at the node for the pc that a computed jump leads to, by ascending pc, or at a block if it is none of them.
    fn jump_among(&mut self, run: usize, to: Value, ways: &[(u64, usize)], other: Block) {
        if ways.len() <= FEW_WAYS {
            ways.iter().for_each(|(pc, node)| self.jump_if(run, to, *pc, *node));
            _ = self.b.ins().jump(other, &[]);
            return;
        }
        let (low, high) = ways.split_at(ways.len() / 2);
        let middle = self.k64(high[0].0);
        let is_low = self.b.ins().icmp(IntCC::UnsignedLessThan, to, middle);
        let (lower, upper) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(is_low, lower, &[], upper, &[]);
        self.elsewhere(lower, |l| l.jump_among(run, to, low, other));
        self.elsewhere(upper, |l| l.jump_among(run, to, high, other));
    }

    /// Goes on at a node if its pc is where a computed jump leads.
    fn jump_if(&mut self, run: usize, to: Value, pc: u64, next: usize) {
        let expected = self.k64(pc);
        let same = self.b.ins().icmp(IntCC::Equal, to, expected);
        let (there, on) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(same, there, &[], on, &[]);
        self.elsewhere(there, |l| l.jump_to(run, pc, next));
        self.b.switch_to_block(on);
    }

    /// Goes on from a run at a node, which begins the block at a pc.
    fn jump_to(&mut self, run: usize, pc: u64, next: usize) {
        if self.plan.polls(run, next) {
            self.poll(pc);
        }
        self.go_to(next);
    }

    /// A poll before the block at a pc, if there was none just now.
    fn poll(&mut self, pc: u64) {
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

    // ---- ways out

    /// Leaves with what the region holds in its cells.
    pub fn leave(&mut self, exit: Exit, value: Option<Value>) {
        // Temporaries, if words of the block are still to be executed.
        let state = self.state(matches!(exit, Exit::Resume(_)));
        self.save(&state.cells);
        self.count_at_exit();
        self.return_by(exit, value, state.flags.as_ref());
    }

    /// Stores how many instructions are left, where they are counted.
    fn count_at_exit(&mut self) {
        if self.input.layout.counted {
            let left = self.b.use_var(self.left);
            self.b.ins().store(ours(), left, self.cells, self.input.layout.left);
        }
    }

    /// Leaves with these flags, if there are any that are not in their cells.
    pub fn return_by(&mut self, exit: Exit, value: Option<Value>, flags: Option<&FlagState>) {
        let number = self.exits.iter().position(|known| *known == exit).unwrap_or_else(|| {
            self.exits.push(exit);
            self.exits.len() - 1
        });
        let value = value.unwrap_or_else(|| self.k64(0));
        let number = self.k64(number as u64);
        if let Some(flags) = flags {
            self.store_operands(flags);
        }
        let form = flags.map_or(Form::MEMORY, |flags| flags.form);
        let out = self.outs.get(&form).copied().unwrap_or_else(|| {
            let out = self.b.create_block();
            (0..2).for_each(|_| _ = self.b.append_block_param(out, I64));
            self.outs.insert(form, out);
            out
        });
        self.b.ins().jump(out, &[BlockArg::Value(value), BlockArg::Value(number)]);
    }

    /// The ends of the region, all out of line.
    pub fn end_region(&mut self) {
        for (form, out) in std::mem::take(&mut self.outs) {
            self.b.switch_to_block(out);
            self.b.set_cold_block(out);
            self.store_flags(form);
            let values = self.b.block_params(out).to_vec();
            self.b.ins().return_(&values);
        }
    }

    /// Leaves in a block out of line, if the condition holds.
    pub fn leave_if(&mut self, condition: Value, exit: Exit) {
        self.out_of_line_if(condition, |l| {
            let pending = l.pending.clone();
            l.look();
            l.leave(exit, None);
            l.pending = pending;
        });
    }
}
