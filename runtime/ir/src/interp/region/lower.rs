//! From a region's bytecode to a function of the host's.
//!
//! The function takes the address of the first cell and that of the TLB's front (or of the byte at virtual address 0), and returns a value and the number
//! of the exit. Every cell is a variable of 64 bits; Cranelift makes values of them.

use super::super::code::{Bc, Code};
use super::flags::{FlagState, FlagVariables};
use super::plan::{Forms, MEMORY, Plan, Set, ends, reads, written};
use super::stored::Symbol;
use super::{Exit, Input};
use crate::interp::quick::{is_branch, reads_aside};
use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::{Context, FinalizedMachReloc, FinalizedRelocTarget};
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{AbiParam, Block, BlockArg, ExternalName, GlobalValueData, InstBuilder, MemFlagsData, SourceLoc, Value};
use cranelift_codegen::isa::{CallConv, TargetIsa};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

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
    cells: Vec<(u16, Value)>,
    flags: Option<FlagState>,
}

/// Accesses since the last look for whether the host refused one. If it did, all is as before the first of them.
#[derive(Clone)]
struct Pending {
    /// Code index of the first.
    at: u32,
    /// There are loads among them.
    loads: bool,
    /// The instruction of the last, by number in its piece.
    instruction: usize,
    /// What was not in its cell.
    state: State,
}

pub(super) struct Lower<'a> {
    pub b: FunctionBuilder<'a>,
    pub input: &'a Input,
    pub plan: &'a Plan,
    pub cells: Value,
    pub front: Variable,
    pub left: Variable,
    attention: Value,
    variables: FxHashMap<u16, Variable>,
    /// By run.
    blocks: Vec<Block>,
    exits: Vec<Exit>,
    /// Code index of the word.
    pub at: u32,
    /// Number of the piece, and of the word in it.
    place: (usize, usize),
    unsaved: Set,
    /// Accesses that the host may have refused, if any.
    pending: Option<Pending>,
    pub flag_variables: FlagVariables,
    /// The forms that the flags may have.
    pub forms: Forms,
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
    let flag_variables = FlagVariables { form: b.declare_var(I32), operands: [b.declare_var(I32), b.declare_var(I32)] };
    let (none, memory) = (b.ins().iconst(I32, 0), b.ins().iconst(I32, i64::from(MEMORY)));
    flag_variables.operands.into_iter().for_each(|operand| b.def_var(operand, none));
    b.def_var(flag_variables.form, memory);
    b.def_var(front, front_at);
    let layout = input.layout;
    let left_now = b.ins().load(I64, ours(), cells, layout.left);
    b.def_var(left, left_now);
    let attention = b.ins().load(I64, ours(), cells, layout.attention);
    let blocks = plan.runs.iter().map(|_| b.create_block()).collect();
    let mut lower = Lower {
        b,
        input,
        plan: &plan,
        cells,
        front,
        left,
        attention,
        variables: FxHashMap::default(),
        blocks,
        exits: Vec::new(),
        at: 0,
        place: (0, 0),
        unsaved: 0,
        pending: None,
        flag_variables,
        forms: MEMORY,
    };
    for cell in plan.cells.keys().filter(|cell| plan.flags.is_none_or(|flags| !flags.contains(cell))) {
        let value = lower.b.ins().load(I64, ours(), cells, i32::from(*cell) * 8);
        lower.set(*cell, value);
    }
    for cell in plan.flags.into_iter().flatten() {
        // Not looked at before it is a value of its own.
        let (variable, none) = (lower.variable(cell), lower.k64(0));
        lower.b.def_var(variable, none);
    }
    lower.b.ins().jump(lower.blocks[0], &[]);
    for run in 0..plan.runs.len() {
        lower.run(run);
    }
    let Lower { mut b, exits, .. } = lower;
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
    let accesses = buffer.traps().iter().map(|trap| trap.offset as usize).collect();
    let place = |at: SourceLoc| ((at.bits() >> 16) as u16, at.bits() as u16);
    let places = buffer.get_srclocs_sorted().iter().filter(|at| !at.loc.is_default()).map(|at| (at.start, place(at.loc))).collect();
    Some(Compiled { code: code.code_buffer().to_vec(), exits, accesses, symbols, places })
}

impl Lower<'_> {
    fn run(&mut self, index: usize) {
        let (plan, input) = (self.plan, self.input);
        let run = &plan.runs[index];
        let piece = &input.pieces[run.piece];
        self.b.switch_to_block(self.blocks[index]);
        self.unsaved = run.unsaved;
        self.forms = run.forms;
        if self.forms == 0 {
            // Nothing leads there.
            self.forms = MEMORY;
        }
        for n in run.words.0..run.words.1 {
            let c = piece.words[n];
            self.place = (run.piece, n);
            self.b.set_srcloc(SourceLoc::new((run.piece << 16 | n) as u32));
            self.at = piece.code + n as u32;
            if plan.reads_flags(&c) {
                self.one_form();
            }
            if is_branch(c.op) || ends(c.op) {
                self.look();
                return self.leave_run(&c, &run.next);
            }
            self.word(&c);
            self.unsaved = plan.after(self.unsaved, &c);
        }
        self.look();
        let next = self.plan.heads[&(run.piece, run.words.1)];
        self.b.ins().jump(self.blocks[next], &[]);
    }

    // ---- cells

    pub fn variable(&mut self, cell: u16) -> Variable {
        if let Some(variable) = self.variables.get(&cell) {
            return *variable;
        }
        let variable = self.b.declare_var(I64);
        self.variables.insert(cell, variable);
        variable
    }

    pub fn get(&mut self, cell: u16) -> Value {
        if let Some(number) = self.flag_number(cell) {
            return self.flag(number);
        }
        let variable = self.variable(cell);
        self.b.use_var(variable)
    }

    /// Its low 32 bits.
    pub fn low(&mut self, cell: u16) -> Value {
        let value = self.get(cell);
        self.b.ins().ireduce(I32, value)
    }

    pub fn set(&mut self, cell: u16, value: Value) {
        if self.flag_number(cell).is_some() {
            self.make_plain();
        }
        let variable = self.variable(cell);
        self.b.def_var(variable, value);
    }

    /// From 32 bits, or a truth value.
    pub fn set_narrow(&mut self, cell: u16, value: Value) {
        let value = self.b.ins().uextend(I64, value);
        self.set(cell, value);
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
        let all = self.plan.members(self.unsaved);
        let (flags, cells): (Vec<u16>, Vec<u16>) = all.into_iter().partition(|cell| self.flag_number(*cell).is_some());
        let temporaries = if temporaries { self.live_temporaries() } else { BTreeSet::new() };
        let cells = cells.into_iter().chain(temporaries).map(|cell| (cell, self.get(cell))).collect();
        State { cells, flags: if flags.is_empty() { None } else { self.flag_state() } }
    }

    fn save(&mut self, state: &State) {
        for (cell, value) in &state.cells {
            self.put(*cell, *value);
        }
        if let Some(flags) = &state.flags {
            self.save_flags(flags);
        }
    }

    /// An access comes that the host may refuse. What it refuses is left out, and a word says so; until somebody looks at that, nothing may be done that
    /// cannot be done again or could be seen, and no more than loads with what was loaded: stores of one instruction only go together.
    pub fn before_access(&mut self, loads: bool) {
        let instruction = self.input.pieces[self.place.0].instruction(self.place.1);
        if !loads && self.pending.as_ref().is_some_and(|pending| pending.loads || pending.instruction != instruction) {
            self.look();
        }
        if self.pending.is_none() {
            let state = self.state(true);
            self.pending = Some(Pending { at: self.at, loads: false, instruction, state });
        }
        if let Some(pending) = &mut self.pending {
            (pending.loads, pending.instruction) = (pending.loads | loads, instruction);
        }
    }

    /// Looks whether the host refused an access: then the interpreter goes on at the first since the last look.
    pub fn look(&mut self) {
        let Some(pending) = self.pending.take() else { return };
        let layout = self.input.layout;
        let refused = self.b.ins().load(I32, ours(), self.cells, layout.refused);
        self.out_of_line_if(refused, |l| {
            let none = l.k32(0);
            l.b.ins().store(ours(), none, l.cells, layout.refused);
            l.save(&pending.state);
            l.count_at_exit();
            l.return_by(Exit::Resume(pending.at), None);
        });
    }

    /// Temporaries that words before this one wrote, and it or others behind it may read.
    fn live_temporaries(&self) -> BTreeSet<u16> {
        let (before, behind) = self.input.pieces[self.place.0].words.split_at(self.place.1);
        let state = self.input.layout.state;
        // Some words do not say what they read.
        let any = behind.iter().any(|c| reads_aside(c.op));
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

    fn count_at_exit(&mut self) {
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
        leave(self);
        self.b.switch_to_block(on);
    }

    fn asked(&mut self) -> Value {
        self.b.ins().load(I32, ours(), self.attention, 0)
    }

    /// The head of a block: what it counts, and whether somebody asks for attention.
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
        let asked = self.asked();
        self.leave_if(asked, Exit::Refuse(self.at));
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

    /// The last word of a run.
    fn leave_run(&mut self, c: &Code, next: &[usize]) {
        match c.op {
            Bc::Jump => {
                self.uncount(c.a);
                if c.imm <= self.input.pieces[self.place.0].pc {
                    self.go_back(c.imm);
                }
                match *next {
                    [next] => _ = self.b.ins().jump(self.blocks[next], &[]),
                    _ => self.leave(Exit::Jump(c.imm), None),
                }
            }
            Bc::JumpTo | Bc::JumpRekey => {
                self.uncount(c.a);
                let to = self.get(c.b);
                for next in next {
                    self.return_to(c, to, *next);
                }
                self.leave(if c.op == Bc::JumpTo { Exit::JumpTo } else { Exit::Rekey }, Some(to));
            }
            Bc::Raise | Bc::Wait => self.leave(Exit::Resume(self.at), None),
            Bc::Br => {
                self.b.ins().jump(self.blocks[next[0]], &[]);
            }
            _ => {
                let [on, target] = [next[0], next[1]];
                let condition = self.condition(c);
                self.b.ins().brif(condition, self.blocks[target], &[], self.blocks[on], &[]);
            }
        }
    }

    /// Goes to a block of the region if that is where a computed jump leads, with the key that the region has.
    fn return_to(&mut self, c: &Code, to: Value, next: usize) {
        let pc = self.input.pieces[self.plan.runs[next].piece].pc;
        let expected = self.k64(pc);
        let mut same = self.b.ins().icmp(IntCC::Equal, to, expected);
        if c.op == Bc::JumpRekey {
            let Some(copies) = &self.input.rekeyed else { return };
            for (cell, value) in copies {
                let (now, then) = (self.get(*cell), self.k64(*value));
                let equal = self.b.ins().icmp(IntCC::Equal, now, then);
                same = self.b.ins().band(same, equal);
            }
        }
        let (there, on) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(same, there, &[], on, &[]);
        self.b.switch_to_block(there);
        self.go_back(pc);
        self.b.ins().jump(self.blocks[next], &[]);
        self.b.switch_to_block(on);
    }

    /// A jump back comes, to this pc: a poll, if blocks have none.
    fn go_back(&mut self, pc: u64) {
        if !self.input.layout.counted {
            let asked = self.asked();
            self.leave_if(asked, Exit::Poll(pc));
        }
    }

    /// Has a word executed by a call: the state is in its cells before it and behind it.
    pub fn call_word(&mut self, c: &Code) {
        self.look();
        self.call(self.input.calls.word, &[]);
        let state = self.plan.cells.keys().copied().filter(|_| c.op == Bc::Call);
        self.flags_are_saved();
        let all: BTreeSet<u16> = written(c).chain(state).filter(|cell| self.flag_number(*cell).is_none()).collect();
        for cell in all {
            let value = self.b.ins().load(I64, ours(), self.cells, i32::from(cell) * 8);
            self.set(cell, value);
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
