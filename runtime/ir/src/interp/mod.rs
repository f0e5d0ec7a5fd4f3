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
mod memory;
mod perf;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod quick;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "no_quick.rs"]
mod quick;

use crate::builder::Builder;
use crate::guest::{AccessKind, BlockKey, Exception, FetchFault, HelperCx, Isa};
use crate::op::{Block, Op};
use crate::passes::Passes;
use blocks::{BlockId, Blocks, Cached, SecondPage};
use code::{Arena, Bc, BlockInfo, Cells, Code, Extent, FRAME};
use compile::{Head, Target, Work};
pub use coverage::{Counters, Coverage};
use emu_memory::{Access, Attention, CodeKeeper, Flushed, GuestBus, GuestPhys, PAGE_BITS, PAGE_SIZE, RamBlock, SoftTlb};
use exec::{JUMP_MASK, JumpEntry, Leave, OTHER_JUMP, PAGE_JUMPS, execute, jump_slot};
pub use explain::{Explained, GuestInsn, HostCode};
pub use perf::PerfMap;
use quick::Quick;
pub use quick::recover;
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Instructions in a block at most.
const MAX_INSNS: u32 = 64;
/// Sizes of the code cache that [`Engine::set_code_cache`] takes, in bytes: with less than the least, a kernel translates
/// all day; in the greatest, every jump reaches every place.
pub const CODE_CACHE: RangeInclusive<usize> = 1 << 20..=1 << 30;
/// The size of the code cache of a new engine.
const DEFAULT_CODE_CACHE: usize = 64 << 20;

/// One epoch of the jump cache, above the 48 bits of a block key.
const EPOCH: u64 = 1 << 48;
const NO_JUMP: JumpEntry = JumpEntry::NONE;

/// What an exclusive load saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Monitor {
    phys: GuestPhys,
    size: u8,
    value: u64,
}

/// Counters for `--stats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Guest instructions executed.
    pub instructions: u64,
    /// Blocks translated.
    pub blocks: u64,
    /// Guest instructions translated.
    pub translated: u64,
    /// Bytecode words made.
    pub words: u64,
    /// Look-ups of the next block outside generated code and the bytecode loop: the jump cache did not know it, or it is to be linked.
    pub lookups: u64,
    /// Look-ups by generated code of what its jump cache did not know.
    pub jump_misses: u64,
    /// Jumps linked to their target.
    pub links: u64,
    /// Jumps of generated code after which the block key was computed from the state, by a call.
    pub rekeys: u64,
    /// Accesses of generated code that did not find their page in the TLB's front: misses of the TLB behind it, devices, pages that hold code, crossings.
    pub front_misses: u64,
    /// Translation-table walks.
    pub tlb_misses: u64,
    /// Words of bytecode that the quick tier left to the interpreter, each time.
    pub interpreted: u64,
    /// Times the interpreter took over inside a block: accesses that go together did not find their page, or floating-point controls do not suit the host.
    pub resumed: u64,
    /// Exceptions and interrupts delivered.
    pub exceptions: u64,
    /// Times translations were forgotten: the code cache was full, or a debugger changed where to stop.
    pub flushes: u64,
}

impl Stats {
    /// Adds those of another engine.
    pub fn add(&mut self, other: &Stats) {
        let Stats {
            instructions,
            blocks,
            translated,
            words,
            lookups,
            jump_misses,
            links,
            rekeys,
            front_misses,
            tlb_misses,
            interpreted,
            resumed,
            exceptions,
            flushes,
        } = other;
        self.instructions += instructions;
        self.blocks += blocks;
        self.translated += translated;
        self.words += words;
        self.lookups += lookups;
        self.jump_misses += jump_misses;
        self.links += links;
        self.rekeys += rekeys;
        self.front_misses += front_misses;
        self.tlb_misses += tlb_misses;
        self.interpreted += interpreted;
        self.resumed += resumed;
        self.exceptions += exceptions;
        self.flushes += flushes;
    }

    /// All of them by name, as `--stats` says them.
    pub fn named(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("instructions", self.instructions),
            ("blocks", self.blocks),
            ("translated", self.translated),
            ("words", self.words),
            ("lookups", self.lookups),
            ("jump-misses", self.jump_misses),
            ("links", self.links),
            ("rekeys", self.rekeys),
            ("front-misses", self.front_misses),
            ("tlb-misses", self.tlb_misses),
            ("exceptions", self.exceptions),
            ("interpreted", self.interpreted),
            ("resumed", self.resumed),
            ("flushes", self.flushes),
        ]
    }
}

/// Where a debugger wants an engine to stop. An engine without any runs as fast as ever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebugPoints {
    /// Virtual addresses of instructions that are not to be executed.
    pub breakpoints: BTreeSet<u64>,
    /// Ranges of virtual addresses whose accesses are reported.
    pub watches: Vec<Watch>,
}

/// A range of virtual addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// First address.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// Reads are of interest.
    pub read: bool,
    /// Writes are of interest.
    pub write: bool,
}

impl Watch {
    fn touches(&self, va: u64, len: u64) -> bool {
        va < self.start.saturating_add(self.len) && self.start < va.saturating_add(len)
    }
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
    /// Another address space, with a front of the TLB and an epoch of the jump cache of its own.
    fn set_tag(&mut self, tag: u32) {
        if tag != self.tag {
            self.tag = tag;
            self.tlb.select(tag);
            self.find_epoch();
        }
    }
    fn forget_jumps(&mut self) {
        self.epochs.clear();
        self.global_epoch = self.new_epoch();
        self.find_epoch();
    }
    fn new_epoch(&mut self) -> u64 {
        if self.newest == u64::MAX << 48 {
            self.jumps.fill(NO_JUMP);
            self.epochs.clear();
            (self.newest, self.global_epoch) = (EPOCH, EPOCH);
        }
        self.newest += EPOCH;
        self.newest
    }
    /// The jump cache's epoch for the space tag: what it knows of another address space waits until that comes back.
    fn find_epoch(&mut self) {
        self.epoch = match self.epochs.get(&self.tag) {
            Some(epoch) => *epoch,
            None => {
                let epoch = self.new_epoch();
                self.epochs.insert(self.tag, epoch);
                epoch
            }
        };
    }
    /// What the jump cache knows of the block at `pc`.
    #[inline(always)]
    fn known_jump(&self, pc: u64, key: BlockKey) -> Option<&JumpEntry> {
        let slot = jump_slot(pc);
        let stamp = self.epoch | key.0;
        let for_all = |entry: &JumpEntry| entry.global == self.global_number() && (entry.stamp ^ stamp) & (EPOCH - 1) == 0;
        let matches = |entry: &&JumpEntry| entry.pc == pc && (entry.stamp == stamp || for_all(entry));
        [slot, slot ^ OTHER_JUMP].into_iter().map(|slot| &self.jumps[slot]).find(matches)
    }
    /// What entries for global pages have that hold.
    fn global_number(&self) -> u32 {
        (self.global_epoch >> 48) as u32
    }
    /// Lets the jump cache know the block at `pc`, whose page may be global.
    fn know(&mut self, pc: u64, key: BlockKey, global: bool, block: &Cached, native: u64) {
        let global = if global { self.global_number() } else { 0 };
        let slot = jump_slot(pc);
        if self.jumps[slot].pc != pc {
            self.jumps[slot ^ OTHER_JUMP] = self.jumps[slot];
        }
        self.jumps[slot] = JumpEntry { pc, stamp: self.epoch | key.0, native, code: block.code, global };
    }
    /// Forgets what the jump cache knows of the addresses that the TLB was made to forget.
    fn follow_flush(&mut self) {
        match self.tlb.take_flushed() {
            Flushed::Nothing => {}
            Flushed::Pages(pages, count) => {
                for va in &pages[..count] {
                    let first = jump_slot(va & !(PAGE_SIZE - 1)) & !PAGE_JUMPS;
                    let gone = |entry: &&mut JumpEntry| entry.pc & !(PAGE_SIZE - 1) == va & !(PAGE_SIZE - 1);
                    self.jumps[first..=first + PAGE_JUMPS].iter_mut().filter(gone).for_each(|entry| *entry = NO_JUMP);
                }
            }
            Flushed::Tags(mask, bits) => {
                self.epochs.retain(|tag, _| tag & mask != bits);
                self.find_epoch();
            }
            Flushed::All => self.forget_jumps(),
        }
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
    /// [`Engine::trap_exceptions`] is on, and the instruction at pc raised this. It counts as executed.
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
    /// Exceptions are given to the caller; the one that came up.
    trap: bool,
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
            soon: false,
            monitor: None,
            event: false,
            jumps: [NO_JUMP; JUMP_MASK + 1],
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
            trap: false,
            trapped: None,
            attended: 0,
            counted: true,
            code_cache: DEFAULT_CODE_CACHE,
            scratch: None,
            perf_map: None,
            coverage: None,
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

    /// From now on exceptions are not taken but returned as [`Stop::Exception`], for who stands in for the guest's kernel.
    pub fn trap_exceptions(&mut self) {
        self.trap = true;
    }

    /// Limits the generated code, and the bytecode, to so many bytes each ([`CODE_CACHE`] says which): when there is no room for another block, all
    /// translations are forgotten. Those there are now are forgotten as well.
    pub fn set_code_cache(&mut self, bytes: usize) {
        self.code_cache = bytes.clamp(*CODE_CACHE.start(), *CODE_CACHE.end());
        self.flush();
        if self.quick.is_some() {
            self.use_quick_tier();
        }
    }

    /// From now on the bus maps memory ([`GuestBus::direct`]), and its limit is none: instructions are counted for [`Stats`] only, if `counted`. At once or
    /// never, before anything is executed.
    pub fn use_direct_memory(&mut self, bus: &dyn GuestBus, counted: bool) {
        self.cx.direct = bus.direct().unwrap_or(0);
        self.counted = counted;
        if self.quick.is_some() {
            self.use_quick_tier();
        }
    }

    /// From now on blocks are executed by the quick tier, if this host has one; true if so. What was translated is forgotten.
    pub fn use_quick_tier(&mut self) -> bool {
        self.flush();
        self.quick = Quick::new(&*self.cx.isa, self.code_cache, self.cx.direct != 0, self.counted);
        self.note_stubs();
        self.quick.is_some()
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

    /// Code was overwritten, or is where none was: nothing may lead to what is void, and the TLB's front to pages that now hold code.
    fn take_notes(&mut self) {
        if self.keeper.take_first_code() {
            self.cx.tlb.clear_front();
        }
        for page in self.keeper.take_overwritten() {
            let Some(quick) = &mut self.quick else { continue };
            for (id, code) in quick.revoke(page) {
                self.blocks.remove(&id);
                let slot = jump_slot(id.pc);
                for slot in [slot, slot ^ OTHER_JUMP] {
                    if self.cx.jumps[slot].code == code {
                        self.cx.jumps[slot] = NO_JUMP;
                    }
                }
            }
        }
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
        loop {
            leave = match leave {
                Leave::Quick(code) => self.execute(bus, code, self.quick.as_ref().map_or(0, |quick| quick.block(code))),
                Leave::Resume(at) => {
                    self.cx.stats.resumed += 1;
                    let c = self.arena.code[at as usize];
                    let va = self.cx.cell(c.b).wrapping_add(c.imm) & (u64::MAX >> (c.x & 63));
                    let leave = self.interpret(bus, at);
                    if (Bc::Load8..=Bc::ProbeWrite).contains(&c.op) {
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
                _ => break,
            };
        }
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

    /// What code executed only once left with, said without reference to it.
    fn settled_scratch(&mut self, leave: Leave) -> Leave {
        match leave {
            Leave::Miss(pc, _) => Leave::Miss(pc, None),
            Leave::Fault(at, exception) => {
                self.back_to(at, true);
                Leave::Fault(u32::MAX, exception)
            }
            Leave::Mark(at) => {
                self.back_to_mark(self.arena.mark_from(at).map(|(i, n, mark)| (mark.pc, n - i)), false);
                Leave::Rekey(self.cx.pc())
            }
            Leave::Again(at) => {
                self.back_to(at, false);
                Leave::Rekey(self.cx.pc())
            }
            other => other,
        }
    }

    /// Puts pc and count to where the instruction at `at` begins; `counted`: it counts as executed.
    fn back_to(&mut self, at: u32, counted: bool) {
        self.back_to_mark(self.arena.place_of(at), counted);
    }

    /// `mark`: pc, and how many instructions the block has from it on.
    fn back_to_mark(&mut self, mark: Option<(u64, u32)>, counted: bool) {
        if let Some((pc, rest)) = mark {
            self.cx.executed -= u64::from(rest) - u64::from(counted);
            self.cx.set_pc(pc);
        } else if counted {
            // A fault while an exception is taken.
            self.cx.executed += 1;
        }
    }

    /// Brings the state to that between two instructions; a jump to be linked with what comes next is returned.
    fn settle(&mut self, bus: &dyn GuestBus, mut leave: Leave) -> Option<u32> {
        loop {
            match leave {
                Leave::Block(at) => {
                    if let Some(block) = self.arena.block_at(at) {
                        let block = self.arena.blocks[block as usize];
                        self.cx.set_pc(block.pc);
                        // A stale head becomes a jump to the block's successor.
                        let head = self.arena.code[at as usize];
                        let fresh = self.rams.get(head.b as usize).is_some_and(|r| r.page_generation(head.imm >> 32) == head.imm as u32);
                        return (!fresh && block.linkable && block.code == at).then_some(at);
                    }
                    return None;
                }
                Leave::Mark(at) => {
                    self.back_to_mark(self.arena.mark_from(at).map(|(i, n, mark)| (mark.pc, n - i)), false);
                    return None;
                }
                Leave::Again(at) => {
                    self.back_to(at, false);
                    return None;
                }
                Leave::Miss(pc, link) => {
                    self.cx.set_pc(pc);
                    return link;
                }
                Leave::Rekey(pc) => {
                    self.cx.set_pc(pc);
                    return None;
                }
                Leave::Fault(at, exception) => {
                    if at != u32::MAX {
                        self.back_to(at, true);
                    }
                    if self.cx.executed >= self.cx.limit && at != u32::MAX && self.arena.mark_at(at).is_none() {
                        // An exception's entry faults again and again (a CPU would lock up): the budget ends it.
                        return None;
                    }
                    leave = self.deliver(bus, exception);
                }
                Leave::Wait(event, pc) => {
                    self.cx.set_pc(pc);
                    self.asleep = Some(event);
                    return None;
                }
                Leave::Soon(_) | Leave::Quick(_) | Leave::Resume(_) => return None,
            }
        }
    }

    // ---- exceptions

    fn store_arguments(&mut self, exception: Exception) {
        let layout = self.cx.isa.layout();
        for (slot, value) in self.cx.isa.exception_args().into_iter().zip(exception.args) {
            layout.write(&mut self.cx.cells, slot, value.into());
        }
    }

    /// Takes an exception at the current pc.
    fn deliver(&mut self, bus: &dyn GuestBus, exception: Exception) -> Leave {
        self.cx.stats.exceptions += 1;
        if self.trap {
            self.trapped = Some(exception);
            return Leave::Rekey(self.cx.pc());
        }
        self.store_arguments(exception);
        let (code, native) = self.exception_code(exception.id);
        self.enter(bus, code, native)
    }

    fn exception_code(&mut self, id: u16) -> (u32, u64) {
        if let Some(Some(code)) = self.exceptions.get(id as usize) {
            return *code;
        }
        let isa = self.cx.isa.clone();
        let mut builder = Builder::for_isa(&*isa);
        isa.lower_exception(id, &mut builder);
        let mut block = builder.finish();
        self.passes.optimise(&mut block);
        let code = self.arena.code.len() as u32;
        let fits = compile::compile(&self.target, &mut self.work, &block, &mut self.arena, None, None, None);
        assert!(fits.is_ok(), "the entry of exception {} has too many values", isa.exception_name(id));
        let index = id as usize;
        if self.exceptions.len() <= index {
            self.exceptions.resize(index + 1, None);
        }
        let (end, marks) = (self.arena.code.len() as u32, self.arena.marks.len() as u32);
        let info = BlockInfo { code, end, marks: (marks, marks), pc: 0, key: BlockKey(0), linkable: false };
        let native = self.quick.as_mut().map_or(0, |quick| quick.add_entry(&self.arena, &info));
        self.note_exception(native, id);
        self.exceptions[index] = Some((code, native));
        (code, native)
    }

    // ---- blocks

    fn ram_index(&mut self, ram: &Arc<RamBlock>) -> u16 {
        let index = self.rams.iter().position(|held| Arc::ptr_eq(held, ram)).unwrap_or_else(|| {
            ram.add_keeper(&self.keeper, self.rams.len() as u16);
            self.rams.push(ram.clone());
            self.rams.len() - 1
        });
        index as u16
    }

    /// The page code at `va` comes from: the RAM and the page's number in it; `None` if it is no RAM.
    fn code_page(&mut self, bus: &dyn GuestBus, va: u64, mmu: u8) -> Result<(GuestPhys, Option<(u16, u64)>), FetchFault> {
        let phys = self.cx.resolve(bus, va, AccessKind::Execute, mmu).map_err(FetchFault)?;
        let known = self.cx.tlb.lookup(va, mmu, self.cx.tag).and_then(|page| page.ram);
        let found = match known {
            Some((block, offset)) => self.cx.tlb.block(block).cloned().map(|block| (block, offset)),
            // Pages of less than 4 KiB are not in the TLB.
            None => bus
                .ram(GuestPhys(phys.0 & !(PAGE_SIZE - 1)), Access::cpu(self.cx.cpu))
                .filter(|slice| slice.offset.is_multiple_of(PAGE_SIZE) && slice.len >= PAGE_SIZE)
                .map(|slice| (slice.block, slice.offset)),
        };
        Ok((phys, found.map(|(block, offset)| (self.ram_index(&block), offset >> PAGE_BITS))))
    }

    /// The block at the current state and its generated code, if the jump cache knows it and there is no reason to look closer.
    fn known(&mut self, closer: bool) -> Option<(u32, u64)> {
        let room = self.cx.limit - self.cx.executed;
        if closer || !self.cx.native || room < MAX_INSNS.into() || !self.breakpoints.is_empty() {
            return None;
        }
        let key = self.cx.isa.block_key(self.state());
        let entry = self.cx.known_jump(self.cx.pc(), key)?;
        let (code, native) = (entry.code, entry.native);
        self.cx.key = key;
        self.quick.as_ref().is_some_and(|quick| native != quick.missing()).then_some((code, native))
    }

    /// The code of the block at the current state, translated if need be. `link`: a jump to it that may be linked.
    fn find(&mut self, bus: &dyn GuestBus, link: Option<u32>) -> Result<Cached, FetchFault> {
        self.cx.stats.lookups += 1;
        let pc = self.cx.pc();
        let key = self.cx.isa.block_key(self.state());
        let same_key = key == self.cx.key;
        self.cx.key = key;
        if size_of_val(&*self.arena.code) > self.code_cache || self.quick.as_ref().is_some_and(Quick::is_full) {
            self.flush();
            return self.find(bus, None);
        }
        let mmu = self.cx.isa.fetch_mmu(key);
        let (_, page) = self.code_page(bus, pc, mmu)?;
        let Some((ram, page)) = page else {
            let code = self.translate_once(bus, pc, key, mmu)?;
            return Ok(Cached::once(code));
        };
        let flushes = self.cx.stats.flushes;
        let room = self.cx.limit - self.cx.executed;
        let whole = BlockId::new((ram, page), pc, key);
        let id = if room == 1 { whole.single() } else { whole };
        let found = self.block(bus, id, mmu)?;
        if u64::from(self.arena.code[found.code as usize].a) > room {
            return self.block(bus, id.single(), mmu);
        }
        if found.in_one_page() && !id.is_single() {
            let native = match &self.quick {
                Some(quick) if found.native == 0 => quick.missing(),
                _ => found.native,
            };
            let global = self.cx.tlb.lookup(pc, mmu, self.cx.tag).is_some_and(|page| page.global);
            self.cx.know(pc, key, global, &found, native);
            if let Some(at) = link.filter(|at| same_key && self.cx.stats.flushes == flushes && self.same_page(*at, found.code)) {
                let from = &mut self.arena.code[at as usize];
                let a = if from.op == Bc::Jump { from.a } else { 0 };
                self.cx.stats.links += 1;
                *from = Code { op: Bc::Linked, x: 0, a, b: 0, c: 0, imm: found.code.into() };
                if let Some(quick) = &mut self.quick {
                    quick.link(at, found.code);
                }
            }
        }
        Ok(found)
    }

    /// True if the blocks of these code indices come from one physical page, so that one's jump may lead to the other directly.
    fn same_page(&self, from: u32, to: u32) -> bool {
        let page = |at: u32| {
            let head = self.arena.code[self.arena.blocks[self.arena.block_at(at)? as usize].code as usize];
            (head.op == Bc::Enter).then_some((head.b, head.imm >> 32))
        };
        from != to && page(from).is_some() && page(from) == page(to)
    }

    /// The block with this identity.
    fn block(&mut self, bus: &dyn GuestBus, id: BlockId, mmu: u8) -> Result<Cached, FetchFault> {
        let (ram, page) = id.page();
        if let Some(cached) = self.blocks.get(&id) {
            let head = self.arena.code[cached.code as usize];
            let fresh = head.op == Bc::Enter && self.rams[ram as usize].page_generation(page) == head.imm as u32;
            let same_second = match self.blocks.second(&cached) {
                None => true,
                Some(second) => {
                    let (_, now) = self.code_page(bus, (id.pc | (PAGE_SIZE - 1)).wrapping_add(1), mmu)?;
                    now == Some((second.ram, second.page))
                        && self.rams[second.ram as usize].page_generation(second.page) == second.generation
                }
            };
            if fresh && same_second {
                return Ok(cached);
            }
        }
        let mut max = if id.is_single() { 1 } else { MAX_INSNS };
        loop {
            let (mut block, head, second) = self.translate_block(bus, id, mmu, max)?;
            let isa = self.cx.isa.clone();
            assert!(block.guest_insns > 0, "{} translated nothing at {:#x}", isa.name(), id.pc);
            self.passes.optimise(&mut block);
            let added = self.add(&block, id, head, second);
            if let Some(builder) = &mut self.builder {
                builder.recycle(block);
            }
            if let Some(cached) = added {
                return Ok(cached);
            }
            assert!(max > 1, "one instruction at {:#x} has too many values", id.pc);
            max /= 2;
        }
    }

    /// Compiles a block; `None` if it is too big.
    fn add(&mut self, block: &Block, id: BlockId, head: Head, second: Option<SecondPage>) -> Option<Cached> {
        let (code, marks) = (self.arena.code.len() as u32, self.arena.marks.len() as u32);
        let counts = self.coverage.as_deref();
        compile::compile(&self.target, &mut self.work, block, &mut self.arena, Some(head), Some(id.pc), counts).ok()?;
        let end = self.arena.code.len() as u32;
        let linkable = second.is_none() && !id.is_single();
        let marks = (marks, self.arena.marks.len() as u32);
        let info = BlockInfo { code, end, marks, pc: id.pc, key: id.key, linkable };
        self.arena.add_block(info);
        let mut native = 0;
        if let Some(quick) = &mut self.quick {
            native = quick.add(&self.arena, &info, id);
        }
        self.note_block(native, id.pc, id.key);
        let stats = &mut self.cx.stats;
        stats.blocks += 1;
        stats.translated += u64::from(block.guest_insns);
        stats.words += u64::from(end - code);
        Some(self.blocks.insert(id, code, native, second))
    }

    /// Translates at most `max` instructions. The block lies in one page, or its last instruction ends in the next.
    fn translate_block(
        &mut self,
        bus: &dyn GuestBus,
        id: BlockId,
        mmu: u8,
        mut max: u32,
    ) -> Result<(Block, Head, Option<SecondPage>), FetchFault> {
        let isa = self.cx.isa.clone();
        let (number, page) = id.page();
        let ram = self.rams[number as usize].clone();
        let first_page = id.pc & !(PAGE_SIZE - 1);
        loop {
            let generation = ram.page_generation(page);
            let mut second: Option<SecondPage> = None;
            let mut builder = self.builder.take().unwrap_or_else(|| Builder::for_isa(&*isa));
            let mut byte = |engine: &mut Engine<I>, at: u64, size: u8| -> Result<u64, FetchFault> {
                let other;
                let (block, page) = if at & !(PAGE_SIZE - 1) == first_page {
                    (&ram, page)
                } else {
                    let (phys, found) = engine.code_page(bus, at, mmu)?;
                    let Some((index, page)) = found else {
                        // The instruction ends in a device; what it says counts this once only.
                        let value = bus.read(phys, size, Access::cpu(engine.cx.cpu));
                        second = Some(SecondPage { ram: u16::MAX, page: 0, generation: 0 });
                        return value.map_err(|_| FetchFault(engine.fetch_abort(bus, at)));
                    };
                    other = engine.rams[index as usize].clone();
                    second.get_or_insert(SecondPage { ram: index, page, generation: other.page_generation(page) });
                    (&other, page)
                };
                let offset = page << PAGE_BITS | at & (PAGE_SIZE - 1);
                let first = block.mark_code(offset, size.into());
                // Nobody may write there by a fast path any more.
                bus.hold_code(GuestPhys(offset), first);
                if engine.cx.direct != 0 {
                    return bus
                        .read(GuestPhys(offset), size, Access::cpu(engine.cx.cpu))
                        .map_err(|_| FetchFault(engine.fetch_abort(bus, at)));
                }
                Ok(block.read(offset, size).unwrap_or(0))
            };
            let engine = &mut *self;
            let mut fetch = |at: u64, size: u8| -> Result<u64, FetchFault> {
                let room = PAGE_SIZE - (at & (PAGE_SIZE - 1));
                if room >= u64::from(size) && size.is_power_of_two() {
                    return byte(engine, at, size);
                }
                let mut value = 0;
                for index in 0..u64::from(size) {
                    value |= byte(engine, at.wrapping_add(index), 1)? << (8 * index);
                }
                Ok(value)
            };
            isa.translate(id.pc, id.key, max, &mut fetch, &mut builder)?;
            let block = builder.take();
            self.builder = Some(builder);
            // A block ends before a breakpoint.
            let stops = |m: &&crate::op::Inst| self.breakpoints.contains(&m.imm);
            if !self.breakpoints.is_empty()
                && let Some(at) = block.insts.iter().filter(|i| i.op == Op::Mark).skip(1).position(|m| stops(&m))
            {
                max = at as u32 + 1;
                continue;
            }
            let head = Head { ram: number, page: page as u32, generation };
            if second.is_none() {
                return Ok((block, head, None));
            }
            // Cut so that at most the last instruction touches the next page.
            let inside = |at: u64| at.wrapping_sub(first_page) <= PAGE_SIZE;
            let marks = || block.insts.iter().filter(|i| i.op == Op::Mark);
            let whole = marks().take_while(|m| inside(m.imm_hi)).count() as u32;
            let total = block.guest_insns;
            let straddles = marks().nth(whole as usize).is_some_and(|m| m.imm.wrapping_sub(first_page) < PAGE_SIZE);
            let wanted = if straddles { whole + 1 } else { whole };
            if wanted >= total {
                return Ok((block, head, second.filter(|_| straddles)));
            }
            max = wanted.max(1);
        }
    }

    fn fetch_abort(&mut self, bus: &dyn GuestBus, va: u64) -> Exception {
        let cx = &mut *self.cx;
        let mut helper = helper_cx(&mut cx.cells[..cx.state_cells], &mut cx.tlb, bus, cx.cpu, cx.levels);
        cx.isa.bus_fault(&mut helper, va, AccessKind::Execute)
    }

    /// One instruction fetched from a device: translated anew every time.
    fn translate_once(&mut self, bus: &dyn GuestBus, pc: u64, key: BlockKey, mmu: u8) -> Result<u32, FetchFault> {
        let isa = self.cx.isa.clone();
        let mut builder = Builder::for_isa(&*isa);
        let engine = &mut *self;
        let mut fetch = |at: u64, size: u8| -> Result<u64, FetchFault> {
            let mut value = 0;
            // Devices may refuse sizes and crossings; halfwords are what every bus carries.
            let part = if at.is_multiple_of(2) && size.is_multiple_of(2) { 2 } else { 1 };
            for index in 0..u64::from(size / part) {
                let at = at.wrapping_add(index * u64::from(part));
                let (phys, _) = engine.code_page(bus, at, mmu)?;
                bus.publish(pc, engine.cx.executed);
                let word = bus.read(phys, part, Access::cpu(engine.cx.cpu)).map_err(|_| FetchFault(engine.fetch_abort(bus, at)))?;
                value |= word << (8 * u64::from(part) * index);
            }
            Ok(value)
        };
        isa.translate(pc, key, 1, &mut fetch, &mut builder)?;
        let block = builder.finish();
        self.cx.after_bus(bus);
        self.scratch = Some(self.arena.extent());
        let (code, marks) = (self.arena.code.len() as u32, self.arena.marks.len() as u32);
        let fits = compile::compile(&self.target, &mut self.work, &block, &mut self.arena, None, None, self.coverage.as_deref());
        assert!(fits.is_ok(), "one instruction at {pc:#x} has too many values");
        let end = self.arena.code.len() as u32;
        let marks = (marks, self.arena.marks.len() as u32);
        self.arena.add_block(BlockInfo { code, end, marks, pc, key, linkable: false });
        self.cx.executed += u64::from(block.guest_insns);
        Ok(code)
    }

    /// Forgets all translations.
    pub fn flush(&mut self) {
        self.cx.stats.flushes += u64::from(!self.arena.blocks.is_empty());
        self.arena.clear();
        if let Some(quick) = &mut self.quick {
            quick.clear::<I>();
        }
        self.blocks.clear();
        self.exceptions.clear();
        self.cx.forget_jumps();
    }
}
