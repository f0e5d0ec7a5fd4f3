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
mod turn;

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
    /// How often pages were forgotten in all epochs, and what numbers that and the epoch.
    forgotten: u64,
    mapping: u64,
    /// The host address of virtual address 0 if the host maps the guest's memory, else 0.
    direct: usize,
    /// For generated code: addresses of what its calls need, of the attention word and the TLB's front (or of virtual address 0), the host's MXCSR, constants.
    run: usize,
    attention: usize,
    front: usize,
    /// The window of the space tag for regions, see [`SoftTlb::window`].
    window: usize,
    mxcsr: u32,
    constants: quick::Constants,
    /// For regions: anything but the low half of the cells' address if the host refused an access; what exits compute flags from; pages in use; counters of visits, of instructions, and of jumps back; when all pages of one were where its code is from; where computed jumps led from regions lately.
    refused: u32,
    /// The code index of a block of the region that was left, as something asked for attention or a limit was near.
    polled: Option<u32>,
    flags: [u32; 3],
    slots: [[u64; 2]; hot::SLOTS],
    visits: [u32; quick::VISITS],
    spent: [u64; quick::VISITS],
    heat: [u32; hot::COUNTERS],
    mapped: [u64; quick::VISITS],
    computed: [u64; quick::COMPUTED],
    stats: Stats,
    /// In which pages code was looked up.
    code_pages: Box<[u64; jumps::CODE_PAGES]>,
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
        self.window = self.tlb.window();
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
            forgotten: 0,
            mapping: 0,
            direct: 0,
            run: 0,
            attention: 0,
            front: 0,
            window: 0,
            mxcsr: quick::MXCSR,
            constants: quick::CONSTANTS,
            refused: 0,
            polled: None,
            flags: [0; 3],
            slots: [[0; 2]; hot::SLOTS],
            visits: [0; quick::VISITS],
            spent: [0; quick::VISITS],
            heat: [u32::MAX; hot::COUNTERS],
            mapped: [0; quick::VISITS],
            computed: [0; quick::COMPUTED],
            stats: Stats::default(),
            code_pages: Box::new([0; jumps::CODE_PAGES]),
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

    /// What the last exclusive load saw, if a store may still succeed for it, for snapshots: physical address, bytes, value.
    pub fn exclusive(&self) -> Option<(u64, u8, u64)> {
        self.cx.monitor.map(|m| (m.phys.0, m.size, m.value))
    }

    /// Restores what [`Engine::exclusive`] gave.
    pub fn set_exclusive(&mut self, saw: Option<(u64, u8, u64)>) {
        self.cx.monitor = saw.map(|(at, size, value)| Monitor { phys: GuestPhys(at), size, value });
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

    /// Instructions are counted ([`Engine::count`]).
    pub fn counts(&self) -> bool {
        self.counted
    }

    /// Instructions executed in the current or last run; a number without meaning if they are not counted.
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
}
