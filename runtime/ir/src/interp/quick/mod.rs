//! The quick tier: x86-64 code for each block, made in one pass from its bytecode.
//!
//! Data path: a block's bytecode, with its cells already assigned and comparisons already fused, becomes code ([`emit`]; integers in [`words`],
//! accesses in [`access`], floating point in [`float`], vectors in [`vector`] and what it names) in a buffer of its own ([`buffer`]). Cells that are in use stay in host registers ([`regs`]).
//! Loads and stores look into the TLB's front in line. Jumps inside a page go through a slot each, others through the jump cache. What has no template
//! is called ([`calls`]); `--stats` counts the words that go to the interpreter.
//!
//! A block has no check of its own that its code is still what it was made from: when the code of a page is overwritten, a poll leads here, and
//! [`Quick::revoke`] takes the page's blocks out of every slot and of the jump cache before anything else is executed.
//!
//! Code leaves with a [`Leave`], exactly where the interpreter would; counts and stops are the same in both.

#![allow(clippy::useless_conversion, reason = "what `dynasm!` makes of a register's number")]

mod access;
mod assembler;
mod buffer;
mod calls;
mod cold;
mod effects;
mod emit;
mod explain;
mod faults;
mod flags;
mod float;
mod float_lanes;
mod install;
mod labels;
mod lanes;
mod pieces;
mod regs;
mod saturation;
mod shape;
mod stored;
mod stubs;
mod vector;
mod words;

pub use access::Together;

use super::Context;
use super::blocks::{BlockId, Blocks};
use super::code::{Arena, BlockInfo};
use super::exec::Leave;
use crate::guest::Isa;
use buffer::Buffer;
pub use effects::{Writes, flags_of, is_branch, is_jump, operands, reads_aside, result_of, writes};
use emu_memory::{GuestBus, RamBlock, WINDOW_INDICES};
use faults::Faults;
pub use faults::{catch, recover, take_refused};
pub use float::{CONSTANTS, Constants, MXCSR};
pub use install::{COMPUTED, Led, VISITS};
use install::{Refusals, Region};
use rustc_hash::{FxHashMap, FxHashSet};
use shape::Shape;
pub use shape::suits;
use std::sync::Arc;
use stubs::Stubs;

/// What functions that generated code calls need.
pub struct Run<'a, I: Isa> {
    cx: *mut Context<I>,
    arena: &'a Arena,
    rams: &'a [Arc<RamBlock>],
    /// What look-ups may find.
    blocks: Option<&'a Blocks>,
    bus: &'a dyn GuestBus,
    /// What a jump cache says of a block without code.
    no_code: u64,
    /// Instructions are counted.
    counted: bool,
    /// Why code left, if it says [`Exit::STORED`].
    leave: Leave,
}

/// What generated code returns in `rax` and `rdx`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Exit {
    /// Kind in the low half, code index in the high.
    how: u64,
    pc: u64,
}

impl Exit {
    const BLOCK: u64 = 0;
    const MISS: u64 = 1;
    const MISS_LINK: u64 = 2;
    const AGAIN: u64 = 3;
    const STORED: u64 = 4;
    const RESUME: u64 = 5;
    const HOT: u64 = 6;
    const JUDGE: u64 = 7;
    const POLLED: u64 = 8;
}

/// As often accesses that go together may find no page for all.
const MANY: u32 = 16;

/// A jump's slot in the buffer, and where it leads as long as it is not linked.
#[derive(Clone, Copy)]
struct Slot {
    at: usize,
    first: usize,
}

/// The code of one block.
struct Made {
    code: u32,
    id: BlockId,
    /// Code indices of its jumps.
    jumps: Vec<u32>,
}

/// The generated code of one vCPU.
pub struct Quick {
    buffer: Buffer,
    shape: Shape,
    stubs: Stubs,
    /// By code index of a block: its code.
    blocks: FxHashMap<u32, usize>,
    /// By code index of a jump: the slot that leads on.
    slots: FxHashMap<u32, Slot>,
    /// By RAM and page: the blocks there.
    pages: FxHashMap<(u16, u64), Vec<Made>>,
    faults: Faults,
    /// Those that are in front of a block.
    regions: Vec<Region>,
    /// By code index of a block: how often accesses that go together did not find one page for all.
    strains: FxHashMap<u32, u32>,
    /// By MMU index: what the host refused of regions with windows.
    refusals: [Refusals; WINDOW_INDICES as usize],
    /// Code indices of blocks at which regions do not use windows.
    looked_up: FxHashSet<u32>,
    scratch: emit::Scratch,
}

impl Quick {
    /// An empty one with room for so many bytes of code, for memory that the host maps or not, with instructions counted or not, and with
    /// regions to come; `None` if the host cannot.
    pub fn new<I: Isa>(isa: &I, size: usize, direct: bool, counted: bool, regions: bool) -> Option<Quick> {
        if !std::is_x86_feature_detected!("popcnt") {
            tracing::warn!("the host has no POPCNT: guest code is interpreted");
            return None;
        }
        let buffer = Buffer::new(size, direct)
            .inspect_err(|error| tracing::warn!("the host gives no memory for code ({error}): guest code is interpreted"))
            .ok()?;
        let mut quick = Quick {
            buffer,
            shape: Shape::of(isa, direct, counted, regions),
            stubs: Stubs::default(),
            blocks: FxHashMap::default(),
            slots: FxHashMap::default(),
            pages: FxHashMap::default(),
            faults: Faults::default(),
            regions: Vec::new(),
            strains: FxHashMap::default(),
            refusals: [Refusals::none(); WINDOW_INDICES as usize],
            looked_up: FxHashSet::default(),
            scratch: emit::Scratch::default(),
        };
        quick.clear::<I>();
        Some(quick)
    }

    /// Forgets all code.
    pub fn clear<I: Isa>(&mut self) {
        self.buffer.clear();
        self.blocks.clear();
        self.slots.clear();
        self.pages.clear();
        self.faults.clear();
        self.regions.clear();
        self.strains.clear();
        self.looked_up.clear();
        self.stubs = Stubs::new::<I>(&self.shape, &mut self.buffer).unwrap_or_default();
    }

    /// True if everything should be forgotten before more is made.
    pub fn is_full(&self) -> bool {
        self.buffer.is_full()
    }

    /// The code of the block at this code index; 0 if it has none.
    pub fn block(&self, code: u32) -> u64 {
        self.blocks.get(&code).map_or(0, |at| *at as u64)
    }

    /// What a jump cache says of a block without code.
    pub fn missing(&self) -> u64 {
        self.stubs.no_code as u64
    }

    /// Makes code for a block, and returns where; one that cannot have any, 0, stays with the interpreter.
    pub fn add(&mut self, arena: &Arena, block: &BlockInfo, id: BlockId) -> u64 {
        match emit::block(&mut self.scratch, &self.shape, &self.stubs, arena, block, self.buffer.next()) {
            Some(_) => self.place(block.code, id).unwrap_or(0),
            None => 0,
        }
    }

    /// Puts the code just made into the buffer, as that of a block.
    fn place(&mut self, code: u32, id: BlockId) -> Option<u64> {
        let made = self.scratch.made();
        let at = self.buffer.push(made.code)?;
        self.faults.add(at, made.faults);
        self.blocks.insert(code, at);
        let jumps = made.slots.iter().map(|(code, ..)| *code).collect();
        self.slots.extend(made.slots.iter().map(|&(code, slot, first)| (code, Slot { at: at + slot, first: at + first })));
        self.pages.entry(id.page()).or_default().push(Made { code, id, jumps });
        Some(at as u64)
    }

    /// Accesses of the block at a code index that go together did not find one page for all; true if now is the time to set them apart.
    pub fn strain(&mut self, code: u32) -> bool {
        if self.shape.direct || !self.blocks.contains_key(&code) {
            return false;
        }
        let count = self.strains.entry(code).or_default();
        *count += 1;
        *count == MANY
    }

    /// Makes code of a block in which each access looks for its own page; its jumps are not linked. Regions with the block go. Blocks that lead elsewhere now.
    pub fn set_apart(&mut self, arena: &Arena, block: &BlockInfo) -> Vec<Led> {
        let Some(id) = self.pages.values().flatten().find(|made| made.code == block.code).map(|made| made.id) else { return Vec::new() };
        let mut led = self.drop_regions(block.code);
        let Some(old) = self.blocks.get(&block.code).copied() else { return led };
        self.shape.apart = true;
        let made = emit::block(&mut self.scratch, &self.shape, &self.stubs, arena, block, self.buffer.next());
        self.shape.apart = false;
        if let Some((made, at)) = made.and_then(|made| Some((made.slots, self.buffer.push(made.code)?))) {
            self.blocks.insert(block.code, at);
            self.slots.extend(made.iter().map(|&(code, slot, first)| (code, Slot { at: at + slot, first: at + first })));
            self.redirect(old, at);
            led.retain(|led| led.code != block.code);
            led.push(Led { id, code: block.code, native: at as u64 });
        }
        led
    }

    /// Each access of the block looks for its own page.
    pub fn is_apart(&self, code: u32) -> bool {
        self.strains.get(&code).is_some_and(|count| *count >= MANY)
    }

    /// Makes code for the entry of an exception; its code, or 0.
    pub fn add_entry(&mut self, arena: &Arena, entry: &BlockInfo) -> u64 {
        let Some(made) = emit::block(&mut self.scratch, &self.shape, &self.stubs, arena, entry, self.buffer.next()) else { return 0 };
        let Some(at) = self.buffer.push(made.code) else { return 0 };
        self.blocks.insert(entry.code, at);
        at as u64
    }

    /// Lets the jump at one code index lead to the block at another, of the same page.
    pub fn link(&mut self, from: u32, to: u32) {
        if let (Some(slot), Some(code)) = (self.slots.get(&from), self.blocks.get(&to)) {
            self.buffer.patch(slot.at, *code as u64);
        }
    }

    /// Forgets the blocks of a page: nothing leads there any more, but for jump caches and tables of blocks. What they are, and their code indices; and blocks
    /// that lead elsewhere now.
    pub fn revoke(&mut self, page: (u16, u64)) -> (Vec<(BlockId, u32)>, Vec<Led>) {
        let gone = self.pages.remove(&page).unwrap_or_default();
        let codes: Vec<usize> = gone.iter().filter_map(|block| self.blocks.get(&block.code).copied()).collect();
        let led = self.revoke_regions(page, &codes);
        for block in &gone {
            self.blocks.remove(&block.code);
            self.strains.remove(&block.code);
            self.looked_up.remove(&block.code);
            for slot in block.jumps.iter().filter_map(|jump| self.slots.remove(jump)) {
                self.buffer.patch(slot.at, slot.first as u64);
            }
        }
        (gone.into_iter().map(|block| (block.id, block.code)).collect(), led)
    }

    /// Executes the code of a block.
    pub fn execute<I: Isa>(
        &self,
        cx: &mut Context<I>,
        arena: &Arena,
        rams: &[Arc<RamBlock>],
        blocks: Option<&Blocks>,
        bus: &dyn GuestBus,
        code: u64,
    ) -> Leave {
        cx.attention = bus.attention().as_ptr() as usize;
        cx.find_front();
        cx.grant();
        cx.refused = (&raw const cx.cells) as usize as u32;
        let recovering = self.faults.watch();
        let (no_code, counted) = (self.missing(), self.shape.counted);
        let mut run = Run { cx, arena, rams, blocks, bus, no_code, counted, leave: Leave::Block(0) };
        let run = &raw mut run;
        // SAFETY: `run` and the context it points to live here, and nobody else looks at them.
        let cells = unsafe {
            (*(*run).cx).run = run as usize;
            (&raw mut (*(*run).cx).cells).cast()
        };
        // SAFETY: `enter` is the stub of this signature.
        let enter: unsafe extern "sysv64" fn(*mut u64, u64) -> Exit = unsafe { std::mem::transmute(self.stubs.enter) };
        // SAFETY: `code` is a block's that `emit` made for this instruction set; it touches the context only by its cells and through `run` while
        // the borrow of it sleeps, keeps the stack as the convention asks, and its own memory lives as long as `self`.
        let exit = unsafe { enter(cells, code) };
        drop(recovering);
        // SAFETY: generated code has returned; the context is the caller's alone again.
        let (run, cx) = unsafe { (&mut *run, &mut *(*run).cx) };
        cx.account();
        cx.gather();
        let at = (exit.how >> 32) as u32;
        match exit.how & 0xffff_ffff {
            Exit::BLOCK => {
                cx.polled = Some(at);
                Leave::Block(at)
            }
            Exit::POLLED => {
                cx.polled = Some(at);
                Leave::Miss(exit.pc, None)
            }
            Exit::MISS => Leave::Miss(exit.pc, None),
            Exit::MISS_LINK => Leave::Miss(exit.pc, Some(at)),
            Exit::AGAIN => Leave::Again(at),
            Exit::RESUME => {
                cx.polled = arena.head_of(at);
                Leave::Resume(at)
            }
            Exit::HOT => Leave::Hot(at, exit.pc),
            Exit::JUDGE => Leave::Judge(at),
            _ => run.leave,
        }
    }
}
