//! From a region's bytecode to a function of the host's.
//!
//! The function takes the address of the first cell and that of the TLB's front (or of the byte at virtual address 0), and returns a value and the number
//! of the exit. Every cell is a variable of 64 bits; Cranelift makes values of them.

use super::super::code::{Bc, Code};
use super::flags::{Base, FlagState, FlagVariables, Form};
use super::flow::Only;
use super::inline::is_inline;
use super::kinds::{Kind, Numbers};
use super::known::Known;
use super::look::Pending;
use super::pages::{EMPTY, MAX_SLOTS};
use super::plan::{Plan, Set, ends, reads, written};
use super::stored::Symbol;
use super::{Exit, Input};
use crate::interp::quick::{is_branch, reads_aside};
use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{AbiParam, Block, BlockArg, ExternalName, GlobalValueData, InstBuilder, MemFlagsData, SourceLoc, Value};
use cranelift_codegen::isa::{CallConv, TargetIsa};
use cranelift_codegen::{Context, FinalizedMachReloc, FinalizedRelocTarget};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use emu_memory::window_offset;
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
pub(super) struct State {
    /// Offsets in bytes, and values.
    pub cells: Vec<(i32, Value)>,
    pub flags: Option<FlagState>,
}

pub(super) struct Lower<'a> {
    pub b: FunctionBuilder<'a>,
    pub input: &'a Input,
    pub plan: &'a Plan,
    pub cells: Value,
    pub front: Variable,
    pub left: Variable,
    pub variables: FxHashMap<u16, Variable>,
    /// Of cells of two numbers.
    pub highs: FxHashMap<u16, Variable>,
    /// By node.
    pub blocks: Vec<Block>,
    /// By node: what was known at its end.
    pub ends: Vec<Known>,
    /// Nodes that the ones before have taken over, and those that nothing leads to for that.
    pub merged: BTreeSet<usize>,
    pub dropped: BTreeSet<usize>,
    /// Ways from node to node on which what was left to be stored and looked at was, already.
    pub settled: BTreeSet<(usize, usize)>,
    /// What a cell is at most on ways from node to node.
    pub limits: BTreeMap<(usize, usize), (u16, u32)>,
    /// Values of 32 bits that flags come from: one for each constant, so that ways that meet agree.
    pub constants: FxHashMap<u32, Value>,
    pub exits: Vec<Exit>,
    /// By the form of the flags: where the region ends with a value and the number of the exit, which stores flags.
    pub outs: BTreeMap<Form, Block>,
    /// Whose each slot is.
    pub slots: Vec<((usize, usize), u8, bool, bool)>,
    /// Code index of the word.
    pub at: u32,
    /// Number of the piece, and of the word in it; one past the run's last.
    pub place: (usize, usize),
    pub end: usize,
    /// The cells that are kept here; what of them is not in its cell; and of the others.
    pub kept: Set,
    pub unsaved: Set,
    pub dirty: Set,
    /// What cells hold that the block key is made of, whatever of them is dirty: where one gets that value again, it needs no store.
    pub clean: BTreeMap<u16, u64>,
    /// Somebody looks at floating point before the next word.
    pub look_next: bool,
    pub known: Known,
    /// Accesses that the host may have refused, if any.
    pub pending: Option<Pending>,
    pub flag_variables: FlagVariables,
    /// The form of the flags.
    pub form: Form,
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
        merged: BTreeSet::new(),
        dropped: BTreeSet::new(),
        limits: BTreeMap::new(),
        settled: BTreeSet::new(),
        constants: FxHashMap::default(),
        exits: Vec::new(),
        outs: BTreeMap::new(),
        slots: Vec::new(),
        at: 0,
        place: (0, 0),
        end: 0,
        kept: plan.nodes[0].kept,
        unsaved: 0,
        dirty: 0,
        clean: BTreeMap::new(),
        look_next: false,
        known: Known::default(),
        pending: None,
        flag_variables,
        form: Form::MEMORY,
    };
    for cell in plan.members(plan.nodes[0].kept) {
        lower.reload(cell);
    }
    lower.load_sticky();
    for cell in plan.flags.into_iter().flatten() {
        let (variable, none) = (lower.variable(cell), lower.k64(0));
        lower.b.def_var(variable, none);
    }
    let compared = input.pieces.iter().flat_map(|piece| &piece.words).filter(|c| matches!(c.op, Bc::AddFlags32I | Bc::SubFlags32I));
    for constant in compared.map(|c| u32::from(c.c)).chain([0, 1, 1 << 31]) {
        lower.constant(constant);
    }
    if layout.window.is_some() {
        lower.find_front();
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
    lower.end_region();
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
    let refusable = buffer.traps().iter().filter(|_| layout.is_mapped());
    let accesses = refusable.map(|trap| trap.offset as usize).collect();
    let place = |at: SourceLoc| ((at.bits() >> 16) as u16, at.bits() as u16);
    let places = buffer.get_srclocs_sorted().iter().filter(|at| !at.loc.is_default()).map(|at| (at.start, place(at.loc))).collect();
    Some(Compiled { code: code.code_buffer().to_vec(), exits, accesses, symbols, places, slots: slots.len() })
}

impl Lower<'_> {
    pub fn node(&mut self, index: usize) {
        let (plan, input) = (self.plan, self.input);
        let node = &plan.nodes[index];
        let run = &plan.runs[node.run];
        let piece = &input.pieces[run.piece];
        if index != 0 && node.before.iter().all(|before| self.dropped.contains(before)) {
            self.dropped.insert(index);
        }
        if self.merged.contains(&index) || self.dropped.contains(&index) {
            let known = self.known_before(index);
            return self.ends.push(known);
        }
        self.b.switch_to_block(self.blocks[index]);
        (self.kept, self.unsaved, self.form) = (node.kept, node.unsaved, node.form);
        self.known = self.known_before(index);
        self.end = run.words.1;
        (self.dirty, self.pending) = (std::mem::take(&mut self.known.dirty), self.known.pending.take());
        self.clean.clear();
        if run.words.0 == 0 {
            // The key says so.
            let others = |cell: &u16| node.kept & plan.bit(*cell) == 0 && !plan.kinds.contains_key(cell);
            for (cell, value) in input.heads.iter().filter(|(cell, _)| others(cell)) {
                if self.dirty & plan.bit(*cell) == 0 {
                    self.clean.insert(*cell, *value);
                }
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
        if let (Some(c), [Some(on), Some(target)]) = (last, &node.next[..])
            && is_branch(c.op)
        {
            return self.branch(c, self.fork(*on, *target));
        }
        let mut polled = false;
        if !self.may_wait(last, node) {
            polled = self.goes_back(last, node) && self.look_and_poll();
            self.look();
            self.flush();
        }
        self.ends.push(Known { polled, dirty: self.dirty, pending: self.pending.clone(), ..self.known.clone() });
        self.known.polled |= polled;
        match last {
            Some(c) => self.leave_node(c, node),
            None => match node.next[..] {
                [Some(next)] => self.go_to(next),
                _ => self.leave(Exit::Resume(self.at), None),
            },
        }
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
        if let Base::Late(recipe) = self.form.base
            && self.plan.is_late(cell)
        {
            let values = self.flag_variables.operands.map(|operand| self.b.use_var(operand));
            let value = self.late(recipe, values);
            self.known.cells.insert(cell, value);
            return value;
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
        self.known.forget(cell);
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
        if self.plan.is_late(cell) {
            self.form = Form::MEMORY;
            self.known.cells.remove(&cell);
        }
        let same = |known: &Value| self.constant_of(value).is_some() && self.constant_of(*known) == self.constant_of(value);
        if self.known.cells.get(&cell).is_some_and(same) {
            return;
        }
        self.known.cells.insert(cell, value);
        let constant = self.constant_of(value);
        match self.clean.get(&cell) {
            Some(clean) if Some(*clean) == constant => self.dirty &= !self.plan.bit(cell),
            _ => self.dirty |= self.plan.bit(cell),
        }
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
    pub fn state(&mut self, temporaries: bool) -> State {
        let mut cells = self.parts_of(self.unsaved | self.dirty);
        if temporaries {
            cells.extend(self.live_temporaries().into_iter().flat_map(|cell| self.parts(cell)));
        }
        State { cells, flags: self.flag_state() }
    }

    /// Stores what is not kept.
    pub fn flush(&mut self) {
        self.forget_clean();
        let dirty = std::mem::take(&mut self.dirty);
        self.put_all(dirty);
    }

    /// Dirty cells are stored.
    fn forget_clean(&mut self) {
        let (plan, dirty) = (self.plan, self.dirty);
        self.clean.retain(|cell, _| dirty & plan.bit(*cell) == 0);
    }

    /// After a call out of line that found them stored: what is dirty behind it too holds what it held before.
    pub fn put_back(&mut self) {
        let (plan, dirty) = (self.plan, self.dirty);
        let stored: Vec<(u16, u64)> = self.clean.iter().filter(|(cell, _)| dirty & plan.bit(**cell) != 0).map(|(c, v)| (*c, *v)).collect();
        for (cell, value) in stored {
            let value = self.k64(value);
            self.put(cell, value);
        }
    }

    /// Stores some cells.
    pub fn put_all(&mut self, cells: Set) {
        let parts = self.parts_of(cells);
        self.save(&parts);
    }

    /// What is to be stored of some cells: offsets in bytes, and values.
    pub fn parts_of(&mut self, cells: Set) -> Vec<(i32, Value)> {
        let mut parts: Vec<(i32, Value)> = self.plan.members(cells).into_iter().flat_map(|cell| self.parts(cell)).collect();
        parts.dedup();
        parts
    }

    /// Stores values at offsets in bytes.
    pub fn save(&mut self, cells: &[(i32, Value)]) {
        for (at, value) in cells {
            self.b.ins().store(ours(), *value, self.cells, *at);
        }
    }

    /// What is made now is out of line.
    pub fn set_cold(&mut self) {
        if let Some(block) = self.b.current_block() {
            self.b.set_cold_block(block);
        }
    }

    /// Temporaries that words before this one wrote, and it or others behind it may read.
    pub fn live_temporaries(&self) -> BTreeSet<u16> {
        let (before, behind) = self.input.pieces[self.place.0].words.split_at(self.place.1);
        let state = self.input.layout.state;
        // Some words do not say what they read.
        let any = behind.iter().any(|c| reads_aside(c.op) && !is_inline(c));
        let read: BTreeSet<u16> = behind.iter().flat_map(reads).collect();
        before.iter().flat_map(written).filter(|t| *t >= state && (any || read.contains(t))).collect()
    }

    // ---- out of line

    /// Does something out of line that does not come back, if the condition holds.
    pub fn out_of_line_if(&mut self, condition: Value, leave: impl FnOnce(&mut Self)) {
        let (out, on) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(out);
        self.b.ins().brif(condition, out, &[], on, &[]);
        self.elsewhere(out, leave);
        self.b.switch_to_block(on);
    }

    /// Makes code in another block; what is known of it is not known here.
    pub fn elsewhere(&mut self, block: Block, make: impl FnOnce(&mut Self)) {
        let known = self.known.clone();
        self.b.switch_to_block(block);
        make(self);
        self.known = known;
    }

    /// Has a word executed by a call: the state is in its cells before it and behind it.
    pub fn call_word(&mut self, c: &Code) {
        self.look();
        if let Some(flags) = self.flag_state() {
            self.save_flags(&flags);
        }
        self.form = Form::MEMORY;
        self.call(self.input.calls.word, &[]);
        self.forget_clean();
        (self.known.first, self.dirty) = (None, 0);
        if c.op == Bc::Call {
            self.known.cells.clear();
            self.known.numbers = Numbers::default();
            self.known.forget_all();
            self.load_sticky();
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
    /// says so, it does not; flags are put into their cells only then.
    pub fn call(&mut self, function: usize, arguments: &[Value]) -> Value {
        let State { cells, flags } = self.state(true);
        self.save(&cells);
        let layout = self.input.layout;
        let left = self.b.use_var(self.left);
        self.b.ins().store(ours(), left, self.cells, layout.left);
        let mut signature = cranelift_codegen::ir::Signature::new(CallConv::PreserveAll);
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
        self.out_of_line_if(leaves, |l| l.return_by(Exit::Stored, None, flags.as_ref()));
        let left = self.b.ins().load(I64, ours(), self.cells, layout.left);
        self.b.def_var(self.left, left);
        self.find_front();
        value
    }

    /// Where memory is looked for from now on.
    fn find_front(&mut self) {
        let layout = self.input.layout;
        let mut front = self.b.ins().load(I64, ours(), self.cells, if layout.window.is_some() { layout.windows } else { layout.front });
        if let Some(index) = layout.window.filter(|index| *index != 0) {
            let offset = self.k64(window_offset(index));
            front = self.b.ins().iadd(front, offset);
        }
        self.b.def_var(self.front, front);
    }

    /// A number that is known when the code gets its place.
    pub fn symbol(&mut self, symbol: Symbol) -> Value {
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
