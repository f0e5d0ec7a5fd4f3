//! The interpreter: translates guest code block by block, keeps the blocks, and executes them.
//!
//! Data path: pc and block key find a block by physical page, virtual pc and key; what is not there is translated by the instruction
//! set, optimised ([`crate::passes`]), compiled to bytecode and executed until something asks for attention. Jumps inside a page are
//! linked; others go through a jump cache that is emptied when mappings change. A block is valid as long as no store has hit code in
//! its page; that is one atomic load at its head.
//!
//! Counting: `executed` counts instructions that completed, and those that faulted (so that a fault loop ends with the budget).
//! A block that does not fit the remaining budget is executed instruction by instruction, so a budget is never overrun.

mod analysis;
mod blocks;
mod code;
mod compile;
mod coverage;
mod exec;
mod explain;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod hot;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "no_hot.rs"]
mod hot;
mod jumps;
mod leave;
mod memory;
mod perf;
mod points;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod quick;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "no_quick.rs"]
mod quick;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod region;
mod stats;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod stored;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "no_stored.rs"]
mod stored;
mod tiers;
mod translate;

use crate::builder::Builder;
use crate::guest::{AccessKind, BlockKey, Exception, FetchFault, HelperCx, Isa};
use crate::op::{Block, Op};
use crate::passes::Passes;
use blocks::{BlockId, Blocks, Cached, SecondPage};
use code::{Arena, Bc, BlockInfo, Cells, Code, Extent, FRAME};
use compile::{Head, Target, Work};
pub use coverage::{Counters, Coverage};
use emu_memory::{Access, Attention, CodeKeeper, GuestBus, GuestPhys, PAGE_BITS, PAGE_SIZE, RamBlock, SoftTlb};
use exec::{JUMP_MASK, JumpEntry, Leave, OTHER_JUMP, execute, jump_slot};
pub use explain::{Explained, ExplainedRegion, GuestInsn, HostCode};
pub use hot::{HeldWorkers, Workers};
pub use perf::PerfMap;
pub use points::{DebugPoints, Watch};
use quick::Quick;
pub use quick::recover;
use rustc_hash::FxHashMap;
pub use stats::Stats;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use stored::Stored;
pub use stored::host_features;
pub use tiers::Tiers;

/// Instructions in a block at most.
const MAX_INSNS: u32 = 64;
/// Sizes of the code cache that [`Engine::set_code_cache`] takes, in bytes: with less than the least, a kernel translates
/// all day; in the greatest, every jump reaches every place.
pub const CODE_CACHE: RangeInclusive<usize> = 1 << 20..=1 << 30;
/// The size of the code cache of a new engine.
const DEFAULT_CODE_CACHE: usize = 64 << 20;

/// What an exclusive load saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Monitor {
    phys: GuestPhys,
    size: u8,
    value: u64,
}

/// What executing code touches.
pub struct Context<I: Isa> {
    isa: Arc<I>,
    cells: Cells,
    state_cells: usize,
    tlb: SoftTlb,
    tag: u32,
    key: BlockKey,
    cpu: u8,
    executed: u64,
    limit: u64,
    /// While generated code runs: instructions it may still execute, and how many will have been when none are left.
    left: i64,
    end: u64,
    levels: u64,
    /// Blocks are executed by the quick tier now, if they have code.
    native: bool,
    /// Exceptions are for the bus or the caller.
    trap: bool,
    /// End the block after this instruction.
    soon: bool,
    monitor: Option<Monitor>,
    /// The event register (`SEV`).
    event: bool,
    jumps: [JumpEntry; JUMP_MASK + 1],
    /// The jump cache's epoch, above the bits of a block key; never 0. That of code in global pages, those of all space tags, and the last given.
    epoch: u64,
    global_epoch: u64,
    epochs: FxHashMap<u32, u64>,
    newest: u64,
    /// The host address of virtual address 0 if the host maps the guest's memory, else 0.
    direct: usize,
    /// For generated code: addresses of what its calls need, of the attention word and the TLB's front (or of virtual address 0), the host's MXCSR, constants.
    run: usize,
    attention: usize,
    front: usize,
    mxcsr: u32,
    constants: quick::Constants,
    /// For regions: anything but the low half of the cells' address if the host refused an access; what exits compute flags from; pages in use; counters of visits, of instructions, and of jumps back.
    refused: u32,
    flags: [u32; 3],
    slots: [[u64; 2]; hot::SLOTS],
    visits: [u32; quick::VISITS],
    spent: [u64; quick::VISITS],
    heat: [u32; hot::COUNTERS],
    stats: Stats,
    /// What a debugger watches, and the access it is to hear of: address, and true for a write.
    watches: Vec<Watch>,
    watched: Option<(u64, bool)>,
}

fn helper_cx<'a>(state: &'a mut [u64], tlb: &'a mut SoftTlb, bus: &'a dyn GuestBus, cpu: u8, lines: u64) -> HelperCx<'a> {
    HelperCx { state, tlb, bus, cpu, lines, flush_code: false, send_event: false, flush_others: false }
}

impl<I: Isa> Context<I> {
    fn cell(&self, cell: u16) -> u64 {
        self.cells[cell as usize & (FRAME - 1)]
    }
    fn set_cell(&mut self, cell: u16, value: u64) {
        self.cells[cell as usize & (FRAME - 1)] = value;
    }
    fn pc(&self) -> u64 {
        self.isa.layout().read(&self.cells, self.isa.pc()) as u64
    }
    fn set_pc(&mut self, pc: u64) {
        self.isa.layout().write(&mut self.cells, self.isa.pc(), pc.into());
    }
    /// An interrupt is to be taken. Lines may be high for long while they are masked; unmasking is seen at the next block.
    #[inline(always)]
    fn interrupted(&self) -> bool {
        self.levels != 0 && self.isa.interrupt(&self.cells[..self.state_cells], self.levels).is_some()
    }
    /// The bus does what the instruction at pc raised an exception for; the state is that behind it.
    fn served(&mut self, bus: &dyn GuestBus, exception: &Exception) -> bool {
        let served = self.trap && bus.serve(exception.id, &exception.args, &mut self.cells[..self.state_cells]);
        self.stats.exceptions += u64::from(served);
        served
    }
    /// Where generated code looks for memory.
    fn find_front(&mut self) {
        self.front = if self.direct != 0 { self.direct } else { self.tlb.front() as usize };
    }
    /// Generated code is to run: what it may execute.
    fn grant(&mut self) {
        let left = self.limit.saturating_sub(self.executed).min(i64::MAX as u64);
        (self.left, self.end) = (left as i64, self.executed + left);
    }
    /// Generated code has run: what it executed.
    fn account(&mut self) {
        self.executed = self.end.wrapping_sub(self.left as u64);
    }
}

/// Why [`Engine::run`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The limit of instructions is reached.
    Budget,
    /// [`Attention::EXIT`] was set.
    Exit,
    /// Asleep until an interrupt, or (true) an event.
    Asleep(bool),
    /// The instruction at pc has a breakpoint; it was not executed.
    Breakpoint,
    /// The last instruction touched this watched address (true: wrote).
    Watchpoint(u64, bool),
    /// [`Engine::trap_exceptions`] is on, and the instruction at pc raised this, which the bus does not serve. It counts as executed.
    Exception(Exception),
}

/// The interpreter of one vCPU.
pub struct Engine<I: Isa> {
    cx: Box<Context<I>>,
    target: Target,
    work: Work,
    passes: Passes,
    /// With the storage of the last block.
    builder: Option<Builder>,
    arena: Arena,
    quick: Option<Quick>,
    blocks: Blocks,
    rams: Vec<Arc<RamBlock>>,
    /// Hears of code overwritten in them.
    keeper: Arc<CodeKeeper>,
    /// By number: the entry's code index, and its code in the quick tier or 0.
    exceptions: Vec<Option<(u32, u64)>>,
    /// Sleeping: until an event (true), or an interrupt.
    asleep: Option<bool>,
    /// Instructions a debugger wants to stop before. No block has one inside, and none that begins with one is linked or in the jump cache.
    breakpoints: BTreeSet<u64>,
    /// The exception that is for the caller.
    trapped: Option<Exception>,
    /// The address of the attention word that the keeper attends to, which keeps it.
    attended: usize,
    /// Instructions of generated code are counted.
    counted: bool,
    /// Bytes of generated code, and of bytecode, kept before everything is forgotten.
    code_cache: usize,
    /// Code beyond this index is used once: it was fetched from a device.
    scratch: Option<Extent>,
    /// Where generated code is made known to profilers.
    perf_map: Option<Arc<PerfMap>>,
    /// Where instructions are counted.
    coverage: Option<Arc<Coverage>>,
    /// Where regions are made.
    regions: Option<hot::Regions>,
    /// Where translations are kept for other processes.
    stored: Option<Stored>,
}

impl<I: Isa> Drop for Engine<I> {
    fn drop(&mut self) {
        self.rams.iter().for_each(|ram| ram.remove_keeper(&self.keeper));
    }
}

impl<I: Isa> Engine<I> {
    /// A vCPU in its reset state; `cpu` is its index on the board.
    pub fn new(isa: Arc<I>, cpu: u8) -> Engine<I> {
        let layout = isa.layout();
        assert!(layout.cells <= FRAME / 2, "the state of {} has too many cells", isa.name());
        let target = Target::new(layout, isa.float_envs());
        let passes = Passes::new(&*isa);
        let cx = Context {
            cells: [0; FRAME],
            state_cells: layout.cells,
            tlb: SoftTlb::new(),
            tag: 0,
            key: BlockKey(0),
            cpu,
            executed: 0,
            limit: 0,
            left: 0,
            end: 0,
            levels: 0,
            native: false,
            trap: false,
            soon: false,
            monitor: None,
            event: false,
            jumps: [JumpEntry::NONE; JUMP_MASK + 1],
            epoch: 0,
            global_epoch: 0,
            epochs: FxHashMap::default(),
            newest: 0,
            direct: 0,
            run: 0,
            attention: 0,
            front: 0,
            mxcsr: quick::MXCSR,
            constants: quick::CONSTANTS,
            refused: 0,
            flags: [0; 3],
            slots: [[0; 2]; hot::SLOTS],
            visits: [0; quick::VISITS],
            spent: [0; quick::VISITS],
            heat: [u32::MAX; hot::COUNTERS],
            stats: Stats::default(),
            watches: Vec::new(),
            watched: None,
            isa,
        };
        let mut engine = Engine {
            cx: Box::new(cx),
            target,
            work: Work::default(),
            passes,
            builder: None,
            arena: Arena::default(),
            quick: None,
            blocks: Blocks::default(),
            rams: Vec::new(),
            keeper: Arc::default(),
            exceptions: Vec::new(),
            asleep: None,
            breakpoints: BTreeSet::new(),
            trapped: None,
            attended: 0,
            counted: true,
            code_cache: DEFAULT_CODE_CACHE,
            scratch: None,
            perf_map: None,
            coverage: None,
            regions: None,
            stored: None,
        };
        engine.cx.tlb.select(0);
        engine.reset();
        engine
    }

    /// The instruction set.
    pub fn isa(&self) -> &Arc<I> {
        &self.cx.isa
    }

    /// What hears of code that was overwritten.
    pub fn keeper(&self) -> &Arc<CodeKeeper> {
        &self.keeper
    }

    /// Puts the CPU into its reset state. Translations stay: they are found by what they were made from.
    pub fn reset(&mut self) {
        let cx = &mut *self.cx;
        cx.cells[..cx.state_cells].fill(0);
        cx.isa.reset(&mut cx.cells[..cx.state_cells]);
        cx.tlb.flush_all();
        cx.forget_jumps();
        cx.monitor = None;
        (self.asleep, cx.event) = (None, false);
    }

    /// The state cells.
    pub fn state(&self) -> &[u64] {
        &self.cx.cells[..self.cx.state_cells]
    }

    /// The state cells, to be changed by a debugger, a loader or a snapshot between runs.
    pub fn state_mut(&mut self) -> &mut [u64] {
        // Mappings may change with the state.
        self.cx.tlb.flush_all();
        self.cx.forget_jumps();
        self.asleep = None;
        &mut self.cx.cells[..self.cx.state_cells]
    }

    /// The state cells, where nothing is changed that mappings depend on (results of system calls): keeps the TLB.
    pub fn registers_mut(&mut self) -> &mut [u64] {
        &mut self.cx.cells[..self.cx.state_cells]
    }

    /// Where to stop from now on. A breakpoint at pc stops the next run at once; [`Engine::step`] goes over it.
    pub fn set_debug_points(&mut self, points: &DebugPoints) {
        if self.breakpoints != points.breakpoints {
            self.breakpoints.clone_from(&points.breakpoints);
            self.flush();
        }
        self.cx.watches.clone_from(&points.watches);
        self.cx.watched = None;
        self.cx.tlb.flush_all();
    }

    /// From now on exceptions are not taken, as somebody stands in for the guest's kernel: the bus serves them ([`GuestBus::serve`]), or they are returned as
    /// [`Stop::Exception`].
    pub fn trap_exceptions(&mut self) {
        self.cx.trap = true;
    }

    /// The program counter.
    pub fn pc(&self) -> u64 {
        self.cx.pc()
    }

    /// Asleep (WFI or WFE).
    pub fn is_asleep(&self) -> bool {
        self.asleep.is_some()
    }

    /// The event register, for snapshots.
    pub fn event(&self) -> bool {
        self.cx.event
    }

    /// Restores sleep and event register from a snapshot; the exclusive monitor is clear after it.
    pub fn set_sleep(&mut self, asleep: Option<bool>, event: bool) {
        self.cx.monitor = None;
        (self.asleep, self.cx.event) = (asleep, event);
    }

    /// How it sleeps: until an event (true), or an interrupt.
    pub fn sleep(&self) -> Option<bool> {
        self.asleep
    }

    /// Counters since creation.
    pub fn stats(&self) -> Stats {
        self.cx.stats
    }

    /// Instructions executed in the current or last run.
    pub fn executed(&self) -> u64 {
        self.cx.executed
    }

    /// Executes one instruction (or takes one interrupt or fault), whatever the bus's limit.
    pub fn step(&mut self, bus: &dyn GuestBus) -> Stop {
        self.run_to(bus, 1, true)
    }

    /// Executes until the bus's limit is reached, an exit is asked for, or the CPU sleeps.
    pub fn run(&mut self, bus: &dyn GuestBus) -> Stop {
        let limit = bus.limit();
        self.run_to(bus, limit, false)
    }

    /// The physical address and translation of `va` as a debugger wants it: `None` if it is not mapped.
    pub fn translate(&mut self, bus: &dyn GuestBus, va: u64, mmu: u8) -> Option<GuestPhys> {
        let cx = &mut *self.cx;
        let mut copy: Vec<u64> = cx.cells[..cx.state_cells].to_vec();
        let mut helper = helper_cx(&mut copy, &mut cx.tlb, bus, cx.cpu, cx.levels);
        cx.isa.translate_address(&mut helper, va, AccessKind::Read, mmu).ok().map(|t| t.phys)
    }

    fn run_to(&mut self, bus: &dyn GuestBus, limit: u64, once: bool) -> Stop {
        // Of what is not counted, parts of blocks are still taken off.
        let begun = if self.counted || once { 0 } else { limit / 2 };
        self.cx.executed = begun;
        self.cx.limit = limit;
        self.set_levels(bus.levels());
        if self.attended != Arc::as_ptr(bus.attention()) as usize {
            self.keeper.attend(bus.attention());
            self.attended = Arc::as_ptr(bus.attention()) as usize;
        }
        if self.cx.tlb.sync_map(bus.map_version()) {
            self.cx.forget_jumps();
        }
        let tag = self.cx.isa.space_tag(self.state());
        self.cx.set_tag(tag);
        // One instruction is one of the interpreter's, where generated code does not count.
        self.cx.native &= self.counted || !once;
        let stop = self.turn(bus, once);
        if self.counted {
            self.cx.stats.instructions += self.cx.executed;
        }
        stop
    }

    /// The quick tier does not look for interrupts at every block: it is not entered while a line is high. Nor does it look at addresses where the host maps
    /// memory, so not while any are watched there.
    fn set_levels(&mut self, levels: u64) {
        self.cx.levels = levels;
        let blind = self.cx.direct != 0 && !self.cx.watches.is_empty();
        self.cx.native = levels == 0 && !blind && self.quick.is_some();
    }

    fn turn(&mut self, bus: &dyn GuestBus, once: bool) -> Stop {
        let mut link = None;
        loop {
            // Here the state is that between two instructions.
            let bits = bus.attention().load(Ordering::Relaxed);
            if bits != 0 {
                link = None;
                bus.acknowledge(bits);
                if bits & Attention::FLUSH_TLB != 0 {
                    self.cx.tlb.flush_all();
                    self.cx.forget_jumps();
                }
                if bits & Attention::LINES != 0 {
                    self.set_levels(bus.levels());
                }
                if bits & Attention::CODE != 0 {
                    self.take_notes();
                }
                self.cx.event |= bits & Attention::EVENT != 0;
                if bits & Attention::REGION != 0 {
                    self.install_regions();
                }
                if bits & Attention::EXIT != 0 {
                    return Stop::Exit;
                }
            }
            let interrupt = if self.cx.levels == 0 { None } else { self.cx.isa.interrupt(self.state(), self.cx.levels) };
            if let Some(for_event) = self.asleep {
                let woken = interrupt.is_some()
                    || self.cx.levels != 0 && self.cx.isa.wakes(self.state(), self.cx.levels)
                    || for_event && std::mem::take(&mut self.cx.event);
                if !woken {
                    return Stop::Asleep(for_event);
                }
                self.asleep = None;
            }
            if self.cx.executed >= self.cx.limit {
                return Stop::Budget;
            }
            if !once && interrupt.is_none() && !self.breakpoints.is_empty() && self.breakpoints.contains(&self.cx.pc()) {
                return Stop::Breakpoint;
            }
            let leave = if let Some(exception) = interrupt {
                self.deliver(bus, exception)
            } else if let Some((code, native)) = self.known(link.is_some() || once) {
                self.enter(bus, code, native)
            } else {
                match self.find(bus, link.take()) {
                    Ok(found) => self.enter(bus, found.code, found.native),
                    Err(FetchFault(exception)) => {
                        self.cx.executed += 1;
                        self.deliver(bus, exception)
                    }
                }
            };
            link = self.settle(bus, leave);
            if let Some(exception) = self.trapped.take() {
                return Stop::Exception(exception);
            }
            if let Some((address, write)) = self.cx.watched.take() {
                return Stop::Watchpoint(address, write);
            }
            if once && interrupt.is_some() {
                return Stop::Budget;
            }
        }
    }

    /// Executes from a code index until something else than the end of an instruction comes up.
    fn enter(&mut self, bus: &dyn GuestBus, code: u32, native: u64) -> Leave {
        let mut leave = self.execute(bus, code, native);
        leave = loop {
            leave = match leave {
                Leave::Hot(at, pc) => {
                    self.heated(bus, at, pc);
                    let linked = self.arena.code[at as usize].op == Bc::Linked;
                    break Leave::Miss(pc, (!linked).then_some(at));
                }
                Leave::Judge(code) => {
                    self.judge_region(code);
                    Leave::Quick(code)
                }
                Leave::Quick(code) => self.execute(bus, code, self.quick.as_ref().map_or(0, |quick| quick.block(code))),
                Leave::Resume(at) => {
                    self.cx.stats.resumed += 1;
                    let c = self.arena.code[at as usize];
                    let va = self.cx.cell(c.b).wrapping_add(c.imm) & (u64::MAX >> (c.x & 63));
                    let leave = self.interpret(bus, at);
                    if c.op.is_access() {
                        // The access did not find its page in the TLB's front; it shall the next time.
                        self.cx.tlb.raise(va, c.c as u8, self.cx.tag);
                    }
                    leave
                }
                Leave::Soon(at) => {
                    self.cx.soon = false;
                    let stop = self.arena.next_mark(at).map_or(u32::MAX, |mark| mark.code);
                    execute::<I, true>(&mut self.cx, &self.arena, &self.rams, bus, at + 1, stop)
                }
                other => break other,
            };
        };
        self.cx.soon = false;
        if let Some(extent) = self.scratch.take() {
            leave = self.settled_scratch(leave);
            self.arena.truncate(extent);
        }
        leave
    }

    /// Executes from a code index, in the quick tier if it can.
    fn execute(&mut self, bus: &dyn GuestBus, code: u32, native: u64) -> Leave {
        if let Some(quick) = self.quick.as_ref().filter(|_| self.cx.native && native != 0) {
            // Nobody but a look-up sees breakpoints.
            let known = self.breakpoints.is_empty().then_some(&self.blocks);
            return quick.execute(&mut self.cx, &self.arena, &self.rams, known, bus, native);
        }
        self.interpret(bus, code)
    }

    /// Executes from a code index in the interpreter.
    fn interpret(&mut self, bus: &dyn GuestBus, at: u32) -> Leave {
        if let Some(block) = self.arena.block_at(at) {
            // The quick tier does not say which key it went on with.
            self.cx.key = self.arena.blocks[block as usize].key;
        }
        execute::<I, false>(&mut self.cx, &self.arena, &self.rams, bus, at, 0)
    }
}
