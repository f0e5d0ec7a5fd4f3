//! The contract between an instruction set (generated code plus its small hand-written part) and whatever executes its IR.

use crate::builder::Builder;
use crate::gdb::GdbDesc;
use crate::op::Type;
use crate::state::{Slot, StateLayout};
use emu_memory::{GuestBus, GuestPhys, SoftTlb};
use serde::{Deserialize, Serialize};

/// The packed values of the specification's `mode` and `context` declarations, at most 48 bits: constants of one translation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct BlockKey(pub u64);

/// One mode or context of the block key: what it is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyPart {
    /// Its least bit in the key.
    pub lo: u8,
    /// The cells it is computed from.
    pub cells: &'static [u16],
    /// It is the value of its one cell, which holds nothing else.
    pub copy: bool,
}

/// An exception to be taken: its number in the specification, and its arguments. The executor stores the arguments in the
/// layout's [`Isa::exception_args`] slots, sets pc to the last mark's, and runs the exception's own IR ([`Isa::lower_exception`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exception {
    /// Number, in order of declaration.
    pub id: u16,
    /// Arguments.
    pub args: [u64; 4],
}

/// What an access wants to do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AccessKind {
    /// Data read.
    Read,
    /// Data write.
    Write,
    /// Instruction fetch.
    Execute,
}

/// The result of a translation-table walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    /// Physical address of the byte asked for.
    pub phys: GuestPhys,
    /// log2 of the bytes around it that share this translation and permissions (12: a 4 KiB page). Less than 12 takes the slow path.
    pub page_shift: u8,
    /// Reads allowed with this MMU index.
    pub read: bool,
    /// Writes allowed.
    pub write: bool,
    /// Execution allowed.
    pub execute: bool,
    /// Holds for every space tag.
    pub global: bool,
}

/// How one floating-point environment reads its controls from state and keeps its sticky flags.
#[derive(Clone, Copy, Debug)]
pub struct FloatEnvDesc {
    /// Name in the specification.
    pub name: &'static str,
    /// Rounding mode: a slot whose value indexes `round_map`; `None`: `round_map[0]` always.
    pub round: Option<Slot>,
    /// Rounding modes by that slot's value.
    pub round_map: [emu_softfloat::Round; 4],
    /// Flush denormals to zero: a slot, or a constant.
    pub flush: SlotOr,
    /// Default NaN instead of propagation.
    pub default_nan: SlotOr,
    /// ARM alternative half precision.
    pub alt_half: SlotOr,
    /// Sticky flags, or-ed in: an I8 slot: bit 0 invalid, 1 division by zero, 2 overflow, 3 underflow, 4 inexact, 5 input denormal.
    pub sticky: Slot,
    /// NaN rule.
    pub nan_rule: emu_softfloat::NanRule,
    /// Tininess is detected before rounding.
    pub tininess_before: bool,
    /// Bits of significand to which 80-bit results are rounded (24, 53, 64): a slot whose value indexes them; `None`: all.
    pub precision: Option<(Slot, [u8; 4])>,
}

/// A state slot or a constant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SlotOr {
    /// Read it from state.
    Slot(Slot),
    /// Always this.
    Const(bool),
}

/// What a declared helper (`extern fn`) may do; nothing else.
#[derive(Clone, Copy, Debug)]
pub struct HelperDesc {
    /// Name in the specification.
    pub name: &'static str,
    /// Types of its arguments.
    pub args: &'static [Type],
    /// Result, if any.
    pub result: Option<Type>,
    /// State it reads: slots, or all if `None`.
    pub reads: Option<&'static [Slot]>,
    /// State it writes: slots, or all if `None`.
    pub writes: Option<&'static [Slot]>,
    /// It touches guest memory.
    pub memory: bool,
    /// It may raise an exception.
    pub raises: bool,
    /// What it writes may change the block key, or unmask an interrupt.
    pub rekeys: bool,
}

impl HelperDesc {
    /// A block ends after an instruction that calls it. What changes the mapping of code says so when it did ([`HelperCx::flush_code`]).
    pub fn ends_block(&self) -> bool {
        self.memory || self.rekeys
    }
}

/// What a helper, or a table walk, may touch.
pub struct HelperCx<'a> {
    /// The CPU's state cells.
    pub state: &'a mut [u64],
    /// Its TLB (to flush).
    pub tlb: &'a mut SoftTlb,
    /// Physical memory and devices, and the time.
    pub bus: &'a dyn GuestBus,
    /// This vCPU's index on the board.
    pub cpu: u8,
    /// Levels of the CPU's input lines, one bit each in port order.
    pub lines: u64,
    /// Set by the helper: translated code may be stale (instruction-cache maintenance), or the page that is executed may be mapped elsewhere, or what
    /// masks interrupts changed: leave the block after this instruction.
    pub flush_code: bool,
    /// Set by the helper: wake the other vCPUs (SEV).
    pub send_event: bool,
    /// Set by the helper: the other vCPUs must forget their translations before they execute another instruction (broadcast TLB
    /// maintenance).
    pub flush_others: bool,
}

/// Why an instruction could not be fetched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchFault(pub Exception);

/// An instruction set, as one configured CPU model.
pub trait Isa: Send + Sync + 'static {
    /// Name, as in `isa/<name>`.
    fn name(&self) -> &'static str;
    /// What distinguishes this model's translations from those of others of its name.
    fn features(&self) -> u64 {
        0
    }
    /// State layout.
    fn layout(&self) -> &'static StateLayout;
    /// Floating-point environments by index.
    fn float_envs(&self) -> &'static [FloatEnvDesc];
    /// Helpers by number.
    fn helpers(&self) -> &'static [HelperDesc];
    /// The program counter's slot. It holds the pc whenever an executor is outside a block, at a helper call, and when an exception is taken;
    /// inside a block it is stale, and the lowering uses the constants of the mark. Writing it does not jump.
    fn pc(&self) -> Slot;
    /// The four slots that carry exception arguments (I64 each).
    fn exception_args(&self) -> [Slot; 4];
    /// The block key of this state. Called at every block entry that is not a direct chain.
    fn block_key(&self, state: &[u64]) -> BlockKey;
    /// What the block key is made of: modes, then contexts.
    fn key_parts(&self) -> &'static [KeyPart];
    /// A slot with a cell of its own that holds 0 wherever a block with this key begins (where a delay slot leads, outside of one).
    fn resting(&self, _key: BlockKey) -> Option<Slot> {
        None
    }
    /// The space tag (ASID ...) of this state: never part of the block key.
    fn space_tag(&self, state: &[u64]) -> u32;
    /// The MMU index instruction fetches use with this key.
    fn fetch_mmu(&self, key: BlockKey) -> u8;
    /// Translates one block starting at `pc` with at most `max_insns` guest instructions, never crossing into a page it was not allowed to fetch.
    /// `fetch(address, size)` reads `size` bytes of code as a little-endian number. A fetch fault on the first instruction is returned;
    /// on a later one the block just ends before it.
    fn translate(
        &self,
        pc: u64,
        key: BlockKey,
        max_insns: u32,
        fetch: &mut dyn FnMut(u64, u8) -> Result<u64, FetchFault>,
        builder: &mut Builder,
    ) -> Result<(), FetchFault>;
    /// Emits the entry sequence of exception `id`: reads [`Isa::exception_args`] and state, ends with a jump.
    fn lower_exception(&self, id: u16, builder: &mut Builder);
    /// The exception's name.
    fn exception_name(&self, id: u16) -> &'static str;
    /// The interrupt to take now, given the input line levels: highest priority first, masked ones not.
    fn interrupt(&self, state: &[u64], lines: u64) -> Option<Exception>;
    /// True if an interrupt that is masked is unmasked only by instructions that end with a jump after which the key may be another ([`Builder::jump_rekey`]).
    fn unmasks_by_rekey(&self) -> bool {
        false
    }
    /// True if a sleeping CPU (WFI) wakes with these line levels, masked or not.
    fn wakes(&self, state: &[u64], lines: u64) -> bool;
    /// Walks the translation tables.
    fn translate_address(&self, cx: &mut HelperCx<'_>, va: u64, kind: AccessKind, mmu: u8) -> Result<Translation, Exception>;
    /// The exception for a misaligned access; `note` is what the instruction says of it ([`crate::Mem::note`]).
    fn alignment_fault(&self, cx: &mut HelperCx<'_>, va: u64, kind: AccessKind, note: u16) -> Exception;
    /// The exception for an access the bus refused (external abort).
    fn bus_fault(&self, cx: &mut HelperCx<'_>, va: u64, kind: AccessKind) -> Exception;
    /// Runs helper `id`.
    fn call(&self, id: u16, cx: &mut HelperCx<'_>, args: &[u64; 6]) -> Result<u64, Exception>;
    /// State at reset.
    fn reset(&self, state: &mut [u64]);
    /// Instructions, and registers as a debugger sees them, have their most significant byte first.
    fn big_endian(&self) -> bool {
        false
    }
    /// Registers as a debugger sees them.
    fn gdb(&self) -> &'static GdbDesc {
        &GdbDesc::NONE
    }
}
