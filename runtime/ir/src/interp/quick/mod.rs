//! The quick tier: x86-64 code for each block, made in one pass from its bytecode.
//!
//! Data path: a block's bytecode, with its cells already assigned and comparisons already fused, becomes code ([`emit`]) in a buffer of its own
//! ([`buffer`]). Cells that are in use stay in host registers; they are in memory at every call, branch and exit, so the interpreter can go on from
//! any word. Loads and stores look into the TLB's front in line. Jumps inside a page go through a slot each, others through the jump cache.
//! What has no template executes its one word in the interpreter ([`calls::one`]); `--stats` counts such words.
//!
//! Code leaves with a [`Leave`], exactly where the interpreter would; counts and stops are the same in both.

mod buffer;
mod calls;
mod emit;

use super::Context;
use super::code::{Arena, BlockInfo};
use super::exec::{JumpEntry, Leave};
use crate::guest::Isa;
use buffer::Buffer;
use dynasmrt::{DynasmApi, dynasm};
use emu_memory::{GuestBus, RamBlock};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// What generated code finds in `r15`: functions to call, and what they need. Offsets are in `emit`.
#[repr(C)]
pub struct Run<'a, I: Isa> {
    exit: usize,
    load: [usize; 4],
    store: [usize; 4],
    probe: usize,
    one: usize,
    rekey: usize,
    attention: *const u32,
    jumps: *const JumpEntry,
    front: *const emu_memory::Front,
    cx: *mut Context<I>,
    arena: &'a Arena,
    rams: &'a [Arc<RamBlock>],
    bus: &'a dyn GuestBus,
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
}

/// The generated code of one vCPU.
pub struct Quick {
    buffer: Buffer,
    enter: usize,
    exit: usize,
    /// By code index of a block: its code.
    blocks: FxHashMap<u32, usize>,
    /// By code index of a jump, or of a block whose place another takes: the slot that leads on.
    slots: FxHashMap<u32, usize>,
}

impl Quick {
    /// An empty one; `None` if the host cannot.
    pub fn new() -> Option<Quick> {
        if !std::is_x86_feature_detected!("popcnt") {
            tracing::warn!("the host has no POPCNT: guest code is interpreted");
            return None;
        }
        match Buffer::new() {
            Ok(buffer) => {
                let mut quick = Quick { buffer, enter: 0, exit: 0, blocks: FxHashMap::default(), slots: FxHashMap::default() };
                quick.clear();
                Some(quick)
            }
            Err(error) => {
                tracing::warn!("the host gives no memory for code ({error}): guest code is interpreted");
                None
            }
        }
    }

    /// Forgets all code.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.blocks.clear();
        self.slots.clear();
        let mut ops = dynasmrt::SimpleAssembler::new();
        // (cells, run, code): the System V calling convention.
        dynasm!(ops
            ; .arch x64
            ; push rbx ; push rbp ; push r12 ; push r13 ; push r14 ; push r15
            ; sub rsp, 8
            ; mov rbx, rdi
            ; mov r15, rsi
            ; jmp rdx
        );
        let exit = ops.offset().0;
        dynasm!(ops
            ; .arch x64
            ; add rsp, 8
            ; pop r15 ; pop r14 ; pop r13 ; pop r12 ; pop rbp ; pop rbx
            ; ret
        );
        if let Some(at) = self.buffer.push(&ops.finalize()) {
            (self.enter, self.exit) = (at, at + exit);
        }
    }

    /// True if everything should be forgotten before more is made.
    pub fn is_full(&self) -> bool {
        self.buffer.is_full()
    }

    /// The code of the block at this code index; 0 if it has none.
    pub fn block(&self, code: u32) -> u64 {
        self.blocks.get(&code).map_or(0, |at| *at as u64)
    }

    /// Makes code for a block. One that cannot have any stays with the interpreter.
    pub fn add<I: Isa>(&mut self, isa: &I, arena: &Arena, block: &BlockInfo, ram: &RamBlock) {
        let Some(made) = emit::block::<I>(isa, arena, block, ram, self.buffer.next()) else { return };
        let Some(at) = self.buffer.push(&made.code) else { return };
        self.blocks.insert(block.code, at);
        self.slots.extend(made.slots.into_iter().map(|(code, offset)| (code, at + offset)));
    }

    /// Lets the jump (or the stale block) at one code index lead to the block at another.
    pub fn link(&mut self, from: u32, to: u32) {
        if let (Some(slot), Some(code)) = (self.slots.get(&from), self.blocks.get(&to)) {
            self.buffer.patch(*slot, *code as u64);
        }
    }

    /// Executes the code of a block.
    pub fn execute<I: Isa>(&self, cx: &mut Context<I>, arena: &Arena, rams: &[Arc<RamBlock>], bus: &dyn GuestBus, code: u64) -> Leave {
        let cells = cx.cells.as_mut_ptr();
        let mut run = Run {
            exit: self.exit,
            load: calls::loads::<I>(),
            store: calls::stores::<I>(),
            probe: calls::probe::<I> as *const () as usize,
            one: calls::one::<I> as *const () as usize,
            rekey: calls::rekey::<I> as *const () as usize,
            attention: bus.attention().as_ptr(),
            jumps: cx.jumps.as_ptr(),
            front: cx.tlb.front(),
            cx,
            arena,
            rams,
            bus,
            leave: Leave::Block(0),
        };
        // SAFETY: `enter` is the entry made in `clear`, of this signature.
        let enter: unsafe extern "sysv64" fn(*mut u64, *mut Run<'_, I>, u64) -> Exit = unsafe { std::mem::transmute(self.enter) };
        // SAFETY: `code` is a block's that `emit` made for this instruction set; it touches `cx` only through `run` while this borrow of it
        // sleeps, keeps the stack as the convention asks, and its own memory lives as long as `self`.
        let exit = unsafe { enter(cells, &raw mut run, code) };
        let at = (exit.how >> 32) as u32;
        match exit.how & 0xffff_ffff {
            Exit::BLOCK => Leave::Block(at),
            Exit::MISS => Leave::Miss(exit.pc, None),
            Exit::MISS_LINK => Leave::Miss(exit.pc, Some(at)),
            Exit::AGAIN => Leave::Again(at),
            _ => run.leave,
        }
    }
}
