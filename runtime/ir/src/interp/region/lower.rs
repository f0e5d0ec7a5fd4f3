//! From a region's bytecode to a function of the host's.
//!
//! The function takes the address of the first cell and that of the TLB's front (or of the byte at virtual address 0), and returns a value and the number
//! of the exit. Every cell is a variable of 64 bits; Cranelift makes values of them.

use super::super::code::{Bc, Code};
use super::compare::{Condition, Fact};
use super::flags::{FlagState, FlagVariables, Form};
use super::float::Unseen;
use super::inline::is_inline;
use super::kinds::{Kind, Numbers};
use super::pages::{EMPTY, MAX_SLOTS, Page};
use super::plan::{Node, Plan, Set, Short, ends, reads, written};
use super::stored::Symbol;
use super::{Exit, Input, Piece, is_called};
use crate::interp::quick::{is_branch, reads_aside};
use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{AbiParam, Block, BlockArg, ExternalName, GlobalValueData, InstBuilder, MemFlagsData, SourceLoc, Value};
use cranelift_codegen::isa::{CallConv, TargetIsa};
use cranelift_codegen::{Context, FinalizedMachReloc, FinalizedRelocTarget};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A piece of a region, and a word of it.
pub type Place = (u16, u16);

/// Code of a region.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Compiled {
    pub code: Vec<u8>,
    /// By the number that the function returns.
    pub exits: Vec<Exit>,
    /// Offsets of accesses that the host may refuse, ascending.
    pub accesses: Vec<usize>,
    /// Offsets of numbers that depend on where things are.
    pub symbols: Vec<(u32, Symbol)>,
    /// Offset by offset: the piece and its word that code from there on is for.
    pub places: Vec<(u32, Place)>,
    /// Slots in use: empty when it is entered.
    pub slots: usize,
}

/// What a compiling thread keeps from region to region.
pub struct Scratch {
    builder: FunctionBuilderContext,
    context: Context,
    control: ControlPlane,
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch { builder: FunctionBuilderContext::new(), context: Context::new(), control: ControlPlane::default() }
    }
}

/// Values of cells, and the flags.
#[derive(Clone)]
struct State {
    /// Offsets in bytes, and values.
    cells: Vec<(i32, Value)>,
    flags: Option<FlagState>,
}

/// Accesses since the last look for whether the host refused one. If it did, all is as before the first of them.
#[derive(Clone)]
pub(super) struct Pending {
    /// Code index of the first.
    at: u32,
    /// There are accesses at all, and loads among them.
    accesses: bool,
    loads: bool,
    /// What floating point has done since, and nobody has looked at.
    pub floats: Unseen,
    /// The instruction of the last access, by its piece and number there.
    instruction: (usize, usize),
    /// What was left then.
    left: Value,
    /// What was not in its cell.
    state: State,
}

impl Pending {
    pub fn accesses(&self) -> bool {
        self.accesses
    }
}

pub(super) struct Lower<'a> {
    pub b: FunctionBuilder<'a>,
    pub input: &'a Input,
    pub plan: &'a Plan,
    pub cells: Value,
    pub front: Variable,
    pub left: Variable,
    variables: FxHashMap<u16, Variable>,
    /// Of cells of two numbers.
    pub highs: FxHashMap<u16, Variable>,
    /// By node.
    blocks: Vec<Block>,
    /// By node: what was known at its end.
    ends: Vec<Known>,
    /// Nodes that the ones before have taken over.
    merged: Vec<usize>,
    /// Values of 32 bits that flags come from: one for each constant, so that ways that meet agree.
    constants: FxHashMap<u32, Value>,
    exits: Vec<Exit>,
    /// Whose each slot is.
    pub slots: Vec<((usize, usize), u8, bool, bool)>,
    /// Code index of the word.
    pub at: u32,
    /// Number of the piece, and of the word in it; one past the run's last.
    pub place: (usize, usize),
    pub end: usize,
    /// The cells that are kept here; what of them is not in its cell; and of the others.
    kept: Set,
    unsaved: Set,
    pub dirty: Set,
    /// Somebody looks at floating point before the next word.
    pub look_next: bool,
    pub known: Known,
    /// Accesses that the host may have refused, if any.
    pub pending: Option<Pending>,
    pub flag_variables: FlagVariables,
    /// The form of the flags.
    pub form: Form,
}

/// Words that are executed or not.
struct Only {
    /// Not 0: they are not.
    skipped: Value,
    /// One past the last.
    end: usize,
    /// What they overwrite.
    old: BTreeMap<u16, Value>,
}

/// What is known at some place.
#[derive(Clone, Default)]
pub(super) struct Known {
    /// Values of cells of the state that are not kept.
    pub cells: BTreeMap<u16, Value>,
    /// The first operand of the addition or subtraction that set the flags.
    pub first: Option<Value>,
    pub pages: Vec<Page>,
    /// What cells hold of subtractions.
    pub facts: BTreeMap<u16, Fact>,
    pub numbers: Numbers,
    /// Since the node's head, or that of the one before, somebody looked at the attention word.
    polled: bool,
    /// What the node leaves to those that it leads to: cells that are not kept, to be stored, and accesses to look for.
    dirty: Set,
    pending: Option<Pending>,
}

/// Memory of ours: never refused.
pub(super) fn ours() -> MemFlagsData {
    MemFlagsData::trusted()
}

/// Makes the code of a region for a host; `None` if it does not suit.
pub fn compile(input: &Input, host: &dyn TargetIsa, scratch: &mut Scratch) -> Option<Compiled> {
    let plan = Plan::of(input)?;
    let Scratch { builder, context, control } = scratch;
    context.clear();
    let signature = &mut context.func.signature;
    signature.call_conv = CallConv::SystemV;
    signature.params.extend([AbiParam::new(I64); 2]);
    signature.returns.extend([AbiParam::new(I64); 2]);
    let mut b = FunctionBuilder::new(&mut context.func, builder);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let [cells, front_at] = [b.block_params(entry)[0], b.block_params(entry)[1]];
    let (front, left) = (b.declare_var(I64), b.declare_var(I64));
    let flag_variables = FlagVariables { operands: [b.declare_var(I32), b.declare_var(I32)], result: b.declare_var(I32) };
    let none = b.ins().iconst(I32, 0);
    // Not looked at before they are set.
    flag_variables.operands.into_iter().chain([flag_variables.result]).for_each(|variable| b.def_var(variable, none));
    b.def_var(front, front_at);
    let layout = input.layout;
    let left_now = b.ins().load(I64, ours(), cells, layout.left);
    b.def_var(left, left_now);
    let blocks = plan.nodes.iter().map(|_| b.create_block()).collect();
    let mut lower = Lower {
        b,
        input,
        plan: &plan,
        cells,
        front,
        left,
        variables: FxHashMap::default(),
        highs: FxHashMap::default(),
        blocks,
        ends: Vec::new(),
        merged: Vec::new(),
        constants: FxHashMap::default(),
        exits: Vec::new(),
        slots: Vec::new(),
        at: 0,
        place: (0, 0),
        end: 0,
        kept: plan.nodes[0].kept,
        unsaved: 0,
        dirty: 0,
        look_next: false,
        known: Known::default(),
        pending: None,
        flag_variables,
        form: Form::MEMORY,
    };
    for cell in plan.members(plan.nodes[0].kept) {
        lower.reload(cell);
    }
    for cell in plan.flags.into_iter().flatten() {
        let (variable, none) = (lower.variable(cell), lower.k64(0));
        lower.b.def_var(variable, none);
    }
    let compared = input.pieces.iter().flat_map(|piece| &piece.words).filter(|c| matches!(c.op, Bc::AddFlags32I | Bc::SubFlags32I));
    for constant in compared.map(|c| u32::from(c.c)).chain([0, 1, 1 << 31]) {
        lower.constant(constant);
    }
    if layout.counted {
        let asked = lower.asked();
        lower.leave_if(asked, Exit::Refuse(input.pieces.first()?.code));
    }
    lower.require_controls();
    lower.b.ins().jump(lower.blocks[0], &[]);
    for node in 0..plan.nodes.len() {
        lower.node(node);
    }
    let Lower { mut b, exits, slots, .. } = lower;
    b.seal_all_blocks();
    b.finalize(host.frontend_config());
    let names = context.func.params.user_named_funcs().clone();
    let code = context.compile(host, control).inspect_err(|e| tracing::warn!("a region is not compiled: {}", e.inner)).ok()?;
    let buffer = &code.buffer;
    let symbol = |reloc: &FinalizedMachReloc| match (&reloc.target, reloc.kind) {
        (FinalizedRelocTarget::ExternalName(ExternalName::User(name)), Reloc::Abs8) if reloc.addend == 0 => {
            Some((reloc.offset, Symbol::named(names.get(*name)?)))
        }
        _ => None,
    };
    let symbols = buffer.relocs().iter().map(symbol).collect::<Option<Vec<_>>>()?;
    let refusable = buffer.traps().iter().filter(|_| layout.direct);
    let accesses = refusable.map(|trap| trap.offset as usize).collect();
    let place = |at: SourceLoc| ((at.bits() >> 16) as u16, at.bits() as u16);
    let places = buffer.get_srclocs_sorted().iter().filter(|at| !at.loc.is_default()).map(|at| (at.start, place(at.loc))).collect();
    Some(Compiled { code: code.code_buffer().to_vec(), exits, accesses, symbols, places, slots: slots.len() })
}

impl Lower<'_> {
    fn node(&mut self, index: usize) {
        let (plan, input) = (self.plan, self.input);
        let node = &plan.nodes[index];
        let run = &plan.runs[node.run];
        let piece = &input.pieces[run.piece];
        if self.merged.contains(&index) {
            let before = self.ends[node.before[0]].clone();
            return self.ends.push(before);
        }
        self.b.switch_to_block(self.blocks[index]);
        (self.kept, self.unsaved, self.form) = (node.kept, node.unsaved, node.form);
        self.known = match node.before[..] {
            [before] if index != 0 => self.ends[before].clone(),
            _ => Known::default(),
        };
        self.end = run.words.1;
        (self.dirty, self.pending) = (std::mem::take(&mut self.known.dirty), self.known.pending.take());
        if run.words.0 == 0 {
            // The key says so.
            let others = |cell: &u16| node.kept & plan.bit(*cell) == 0 && !plan.kinds.contains_key(cell);
            for (cell, value) in input.rekeyed.iter().flatten().filter(|(cell, _)| others(cell)) {
                let value = self.k64(*value);
                self.known.cells.insert(*cell, value);
            }
        }
        let (mut last, mut done) = (None, false);
        let mut only: Option<Only> = None;
        for n in run.words.0..run.words.1 {
            let c = &piece.words[n];
            self.place = (run.piece, n);
            self.at = piece.code + n as u32;
            self.b.set_srcloc(SourceLoc::new((run.piece << 16 | n) as u32));
            if std::mem::take(&mut done) {
                // The word before did this one's work.
                self.unsaved = plan.after(self.unsaved, c) & self.kept;
                self.step_pages(c);
                continue;
            }
            if let Some(done) = only.take_if(|only| only.end == n) {
                self.choose(done);
            }
            if std::mem::take(&mut self.look_next) {
                self.look();
            }
            if let Some(short) = plan.short.get(&(run.piece, n)) {
                only = Some(self.begin_short(piece, n, short));
            } else if is_branch(c.op) && only.is_some() {
                // A part of the condition.
            } else if is_branch(c.op) || ends(c.op) {
                last = Some(c);
            } else if let Some(tested) = plan.tested(piece, n) {
                self.set_tested(tested);
            } else if n == 0 || plan.tested(piece, n - 1).is_none() {
                if let Some(only) = &mut only {
                    self.keep_old(only, c);
                }
                done = only.is_none() && piece.words[..self.end].get(n + 1).is_some_and(|next| self.pair(c, next));
                if !done {
                    self.word(c);
                }
                self.unsaved = plan.after(self.unsaved, c) & self.kept;
                self.step_pages(c);
            }
        }
        if let Some(done) = only {
            self.choose(done);
        }
        self.look_next = false;
        let mut polled = false;
        if !self.may_wait(last, node) {
            polled = self.goes_back(last) && self.look_and_poll();
            self.look();
            self.flush();
        }
        self.ends.push(Known { polled, dirty: self.dirty, pending: self.pending.clone(), ..self.known.clone() });
        self.known.polled |= polled;
        match last {
            Some(c) => self.leave_node(c, &node.next),
            None => match node.next[..] {
                [Some(next)] => self.go_to(next),
                _ => self.leave(Exit::Resume(self.at), None),
            },
        }
    }

    /// A branch with the one behind it, if they go to the same place: what it is taken on, and where it leads if not and if so.
    fn both(&mut self, c: &Code, on: usize, target: usize) -> (Condition, usize, usize) {
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
    fn begin_short(&mut self, piece: &Piece, n: usize, short: &Short) -> Only {
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
    fn keep_old(&mut self, only: &mut Only, c: &Code) {
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
    fn choose(&mut self, only: Only) {
        for (cell, old) in only.old {
            let new = self.get(cell);
            let value = self.b.ins().select(only.skipped, old, new);
            self.set(cell, value);
        }
    }

    /// Goes on at a node, with flags in its form and the cells that it keeps.
    fn go_to(&mut self, node: usize) {
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

    /// A block that goes on at a node, or the node's.
    fn way_to(&mut self, node: usize) -> Block {
        let Node { form, kept, .. } = self.plan.nodes[node];
        if form == self.form && self.unsaved & !kept == 0 && kept & !self.kept == 0 {
            return self.blocks[node];
        }
        let (here, way) = (self.b.current_block(), self.b.create_block());
        self.b.switch_to_block(way);
        let known = self.known.clone();
        self.go_to(node);
        self.known = known;
        here.into_iter().for_each(|here| self.b.switch_to_block(here));
        way
    }

    // ---- cells

    pub fn variable(&mut self, cell: u16) -> Variable {
        if let Some(variable) = self.variables.get(&cell) {
            return *variable;
        }
        let variable = self.b.declare_var(self.type_of(cell));
        self.variables.insert(cell, variable);
        variable
    }

    /// A cell is a value from node to node. Temporaries are.
    pub fn is_kept(&self, cell: u16) -> bool {
        self.plan.cells.get(&cell).is_none_or(|n| self.kept >> n & 1 != 0)
    }

    pub fn get(&mut self, cell: u16) -> Value {
        if let Some(number) = self.flag_number(cell) {
            return self.flag(number);
        }
        if self.cell_kind(cell) != Kind::Int {
            return self.get_number(cell);
        }
        if self.is_kept(cell) {
            let variable = self.variable(cell);
            return self.b.use_var(variable);
        }
        if let Some(value) = self.known.cells.get(&cell) {
            return *value;
        }
        let value = self.b.ins().load(I64, ours(), self.cells, i32::from(cell) * 8);
        self.known.cells.insert(cell, value);
        value
    }

    /// Its low 32 bits.
    pub fn low(&mut self, cell: u16) -> Value {
        let value = self.get(cell);
        self.b.ins().ireduce(I32, value)
    }

    pub fn set(&mut self, cell: u16, value: Value) {
        self.known.facts.remove(&cell);
        if let Some(number) = self.flag_number(cell) {
            self.known.numbers.forget(cell);
            return self.set_flag(number, value);
        }
        self.known.numbers.forget(cell);
        if self.cell_kind(cell) != Kind::Int {
            return self.set_number(cell, value);
        }
        if self.is_kept(cell) {
            self.known.cells.remove(&cell);
            let variable = self.variable(cell);
            return self.b.def_var(variable, value);
        }
        let same = |known: &Value| self.constant_of(value).is_some() && self.constant_of(*known) == self.constant_of(value);
        if self.known.cells.get(&cell).is_some_and(same) {
            return;
        }
        self.known.cells.insert(cell, value);
        self.dirty |= self.plan.bit(cell);
    }

    /// From 32 bits, or a truth value.
    pub fn set_narrow(&mut self, cell: u16, value: Value) {
        let value = self.b.ins().uextend(I64, value);
        self.set(cell, value);
    }

    /// One of the constants that flags come from.
    pub fn constant(&mut self, value: u32) -> Value {
        if let Some(known) = self.constants.get(&value) {
            return *known;
        }
        let constant = self.k32(value);
        self.constants.insert(value, constant);
        constant
    }

    pub fn k64(&mut self, value: u64) -> Value {
        self.b.ins().iconst(I64, value as i64)
    }

    pub fn k32(&mut self, value: u32) -> Value {
        self.b.ins().iconst(I32, i64::from(value))
    }

    // ---- what is in the cells

    pub fn put(&mut self, cell: u16, value: Value) {
        self.b.ins().store(ours(), value, self.cells, i32::from(cell) * 8);
    }

    /// What is not in its cell, with temporaries or without.
    fn state(&mut self, temporaries: bool) -> State {
        let mut cells = self.parts_of(self.unsaved | self.dirty);
        if temporaries {
            cells.extend(self.live_temporaries().into_iter().flat_map(|cell| self.parts(cell)));
        }
        State { cells, flags: self.flag_state() }
    }

    /// Stores what is not kept.
    fn flush(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        self.put_all(dirty);
    }

    /// Stores some cells.
    fn put_all(&mut self, cells: Set) {
        for (at, value) in self.parts_of(cells) {
            self.b.ins().store(ours(), value, self.cells, at);
        }
    }

    /// What is to be stored of some cells: offsets in bytes, and values.
    fn parts_of(&mut self, cells: Set) -> Vec<(i32, Value)> {
        let mut parts: Vec<(i32, Value)> = self.plan.members(cells).into_iter().flat_map(|cell| self.parts(cell)).collect();
        parts.dedup();
        parts
    }

    fn save(&mut self, state: &State) {
        for (at, value) in &state.cells {
            self.b.ins().store(ours(), *value, self.cells, *at);
        }
        if let Some(flags) = &state.flags {
            self.save_flags(flags);
        }
    }

    /// An access comes that the host may refuse. What it refuses is left out, and a word says so; until somebody looks at that, nothing may be done that
    /// cannot be done again or could be seen, and no more than loads with what was loaded: stores of one instruction only go together.
    pub fn before_access(&mut self, loads: bool) {
        let number = self.input.pieces[self.place.0].instruction(self.place.1);
        let instruction = (self.place.0, number);
        let apart = |pending: &Pending| pending.loads || !pending.floats.is_empty() || pending.instruction != instruction;
        if !loads && self.pending.as_ref().is_some_and(apart) {
            self.look();
        }
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
                let back = if piece.words[first..here.1].iter().all(harmless) { here.1 - first } else { 0 };
                (self.at, self.place.1) = (at - back as u32, here.1 - back);
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
    fn look_and_poll(&mut self) -> bool {
        let Some(pending) = self.pending.take() else { return false };
        self.look_at(&pending);
        if !pending.accesses {
            return false;
        }
        let asked = self.asked();
        self.out_of_line_if(asked, |l| {
            let refused = l.refused();
            l.out_of_line_if(refused, |l| l.resume(&pending));
            l.b.current_block().into_iter().for_each(|block| l.b.set_cold_block(block));
            l.leave(Exit::Resume(l.at), None);
        });
        true
    }

    /// Looks at floating point.
    fn look_at(&mut self, pending: &Pending) {
        self.known.numbers.made.clear();
        if pending.floats.is_empty() {
            return;
        }
        let (out, on) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(out);
        self.look_at_floats(&pending.floats, out);
        self.b.ins().jump(on, &[]);
        self.b.switch_to_block(out);
        let known = self.known.clone();
        self.resume(pending);
        self.known = known;
        self.b.switch_to_block(on);
    }

    /// Goes to a block out of line if the condition holds.
    pub fn go_if(&mut self, condition: Value, out: Block) {
        let on = self.b.create_block();
        self.b.ins().brif(condition, out, &[], on, &[]);
        self.b.switch_to_block(on);
    }

    /// Whether the host refused an access: one instruction with the branch on it, as it compares with what is in a register.
    fn refused(&mut self) -> Value {
        let none = self.b.ins().ireduce(I32, self.cells);
        // The word is loaded each time.
        self.b.ins().sequence_point();
        let now = self.b.ins().load(I32, ours(), self.cells, self.input.layout.refused);
        self.b.ins().icmp(IntCC::NotEqual, none, now)
    }

    /// Leaves to where an access was refused.
    fn resume(&mut self, pending: &Pending) {
        if pending.accesses {
            let none = self.b.ins().ireduce(I32, self.cells);
            self.b.ins().store(ours(), none, self.cells, self.input.layout.refused);
        }
        self.save(&pending.state);
        if self.input.layout.counted {
            self.b.ins().store(ours(), pending.left, self.cells, self.input.layout.left);
        }
        self.return_by(Exit::Resume(pending.at), None);
    }

    /// What is to be looked for and stored may be left to the nodes behind this one: there is no other way to them.
    fn may_wait(&self, last: Option<&Code>, node: &Node) -> bool {
        let stays = |next: &Option<usize>| {
            let next = next.map(|next| &self.plan.nodes[next]);
            next.is_some_and(|next| {
                next.before.len() == 1 && next.form == self.form && self.unsaved & !next.kept == 0 && next.kept & !self.kept == 0
            })
        };
        // What floating point came to decides nothing before somebody has looked.
        let seen = self.pending.as_ref().is_none_or(|pending| pending.floats.is_empty());
        seen && last.is_none_or(|c| is_branch(c.op) || c.op == Bc::Jump) && !self.goes_back(last) && node.next.iter().all(stays)
    }

    /// A jump back follows, or may.
    fn goes_back(&self, last: Option<&Code>) -> bool {
        let back = |c: &Code| c.op == Bc::Jump && c.imm <= self.input.pieces[self.place.0].pc;
        last.is_some_and(|c| back(c) || matches!(c.op, Bc::JumpTo | Bc::JumpRekey))
    }

    /// Temporaries that words before this one wrote, and it or others behind it may read.
    fn live_temporaries(&self) -> BTreeSet<u16> {
        let (before, behind) = self.input.pieces[self.place.0].words.split_at(self.place.1);
        let state = self.input.layout.state;
        // Some words do not say what they read.
        let any = behind.iter().any(|c| reads_aside(c.op) && !is_inline(c));
        let read: BTreeSet<u16> = behind.iter().flat_map(reads).collect();
        before.iter().flat_map(written).filter(|t| *t >= state && (any || read.contains(t))).collect()
    }

    /// Stores the state, and temporaries if words of the block are still to be executed.
    pub fn save_all(&mut self, temporaries: bool) {
        let state = self.state(temporaries);
        self.save(&state);
    }

    // ---- ways out

    /// Leaves with what the region holds in its cells.
    pub fn leave(&mut self, exit: Exit, value: Option<Value>) {
        self.save_all(matches!(exit, Exit::Resume(_)));
        self.count_at_exit();
        self.return_by(exit, value);
    }

    pub fn count_at_exit(&mut self) {
        if self.input.layout.counted {
            let left = self.b.use_var(self.left);
            self.b.ins().store(ours(), left, self.cells, self.input.layout.left);
        }
    }

    pub fn return_by(&mut self, exit: Exit, value: Option<Value>) {
        let number = self.exits.iter().position(|known| *known == exit).unwrap_or_else(|| {
            self.exits.push(exit);
            self.exits.len() - 1
        });
        let value = value.unwrap_or_else(|| self.k64(0));
        let number = self.k64(number as u64);
        self.b.ins().return_(&[value, number]);
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

    /// Does something out of line that does not come back, if the condition holds.
    fn out_of_line_if(&mut self, condition: Value, leave: impl FnOnce(&mut Self)) {
        let (out, on) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(out);
        self.b.ins().brif(condition, out, &[], on, &[]);
        self.b.switch_to_block(out);
        let known = self.known.clone();
        leave(self);
        self.known = known;
        self.b.switch_to_block(on);
    }

    fn asked(&mut self) -> Value {
        let attention = self.b.ins().load(I64, ours(), self.cells, self.input.layout.attention);
        // Others write it: an atomic load is never taken for an earlier one, nor are other loads over it.
        self.b.ins().atomic_load(I32, ours(), attention)
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

    fn uncount(&mut self, n: u16) {
        if n != 0 && self.input.layout.counted {
            let left = self.b.use_var(self.left);
            let n = self.k64(n.into());
            let left = self.b.ins().iadd(left, n);
            self.b.def_var(self.left, left);
        }
    }

    /// The last word of a node.
    fn leave_node(&mut self, c: &Code, next: &[Option<usize>]) {
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
    fn has_key(&mut self, c: &Code, exit: Exit, to: Value) -> bool {
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
    fn jump_if(&mut self, to: Value, next: usize) {
        let pc = self.input.pieces[self.plan.runs[self.plan.nodes[next].run].piece].pc;
        let expected = self.k64(pc);
        let same = self.b.ins().icmp(IntCC::Equal, to, expected);
        let (there, on) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(same, there, &[], on, &[]);
        self.b.switch_to_block(there);
        let known = self.known.clone();
        self.go_back(pc);
        self.go_to(next);
        self.known = known;
        self.b.switch_to_block(on);
    }

    /// A jump back comes, to this pc: a poll, if there was none just now.
    fn go_back(&mut self, pc: u64) {
        if !self.known.polled {
            let asked = self.asked();
            self.leave_if(asked, Exit::Poll(pc));
        }
    }

    /// Has a word executed by a call: the state is in its cells before it and behind it.
    pub fn call_word(&mut self, c: &Code) {
        self.look();
        self.call(self.input.calls.word, &[]);
        self.form = Form::MEMORY;
        (self.known.first, self.dirty) = (None, 0);
        if c.op == Bc::Call {
            self.known.cells.clear();
            self.known.numbers = Numbers::default();
            self.known.facts.clear();
            // A helper may change what is where.
            self.known.pages.clear();
            let empty = self.k64(EMPTY);
            for slot in (0..MAX_SLOTS).filter(|_| !self.input.layout.direct) {
                self.b.ins().store(ours(), empty, self.cells, self.input.layout.slots + 16 * slot as i32);
            }
        }
        let state = self.plan.members(self.kept).into_iter().filter(|_| c.op == Bc::Call);
        for cell in written(c).chain(state).collect::<BTreeSet<u16>>() {
            self.reload(cell);
        }
    }

    /// Calls a function with [`super::super::quick::Run`], the code index and others, out of line: what it returns, and the region goes on. If the function
    /// says so, it does not.
    pub fn call(&mut self, function: usize, arguments: &[Value]) -> Value {
        self.save_all(true);
        let layout = self.input.layout;
        let left = self.b.use_var(self.left);
        self.b.ins().store(ours(), left, self.cells, layout.left);
        let mut signature = cranelift_codegen::ir::Signature::new(CallConv::SystemV);
        signature.params.push(AbiParam::new(I64));
        signature.params.push(AbiParam::new(I32));
        signature.params.extend(arguments.iter().map(|_| AbiParam::new(I64)));
        signature.returns.extend([AbiParam::new(I64); 2]);
        let signature = self.b.import_signature(signature);
        let run = self.b.ins().load(I64, ours(), self.cells, layout.run);
        let at = self.symbol(Symbol::Index(self.at));
        let at = self.b.ins().ireduce(I32, at);
        let function = self.symbol(Symbol::Call(function as u32));
        let all: Vec<Value> = [run, at].into_iter().chain(arguments.iter().copied()).collect();
        let call = self.b.ins().call_indirect(signature, function, &all);
        let [value, leaves] = [self.b.inst_results(call)[0], self.b.inst_results(call)[1]];
        self.out_of_line_if(leaves, |l| l.return_by(Exit::Stored, None));
        let left = self.b.ins().load(I64, ours(), self.cells, layout.left);
        self.b.def_var(self.left, left);
        let front = self.b.ins().load(I64, ours(), self.cells, layout.front);
        self.b.def_var(self.front, front);
        value
    }

    /// A number that is known when the code gets its place.
    fn symbol(&mut self, symbol: Symbol) -> Value {
        let name = self.b.func.declare_imported_user_function(symbol.name());
        let symbol = GlobalValueData::Symbol { name: ExternalName::user(name), offset: 0.into(), colocated: false, tls: false };
        let symbol = self.b.func.create_global_value(symbol);
        self.b.ins().symbol_value(I64, symbol)
    }

    /// Goes on at a block with a value.
    pub fn jump_with(&mut self, block: Block, value: Value) {
        self.b.ins().jump(block, &[BlockArg::Value(value)]);
    }
}
