//! An instruction set as a process sees it: no privilege, no tables, only the pages the process has mapped; and the bus of one of its threads.

use crate::host_signal::{self, Inbox};
use crate::machine::Machine;
use crate::process::Process;
use crate::space::{EXEC, READ, Space, WRITE};
use crate::syscall;
use emu_ir::Builder;
use emu_ir::guest::*;
use emu_ir::state::{Slot, StateLayout};
use emu_memory::{Access, BusError, GuestBus, GuestPhys, PhysBus, RamSlice};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// The exception for a page the process may not use: address, 1 if mapped.
pub const PAGE_FAULT: u16 = u16::MAX;
/// The exception for a misaligned access: address.
pub const MISALIGNED: u16 = u16::MAX - 1;
/// The exception for a page of a file that has become shorter: address.
pub const BEYOND_FILE: u16 = u16::MAX - 2;

/// Instructions per turn of the engine: only bounds how often it comes back.
const TURN: u64 = 1 << 40;

/// `isa` without its MMU and alignment registers: the process's pages decide.
pub struct User<I> {
    /// The instruction set.
    pub isa: I,
    /// The process's memory.
    pub space: Arc<Space>,
    /// The MMU index of its code: that of an instruction that left its mode has no pages.
    pub mmu: u8,
}

impl<I: Isa> User<I> {
    fn fault(&self, va: u64) -> Exception {
        Exception { id: PAGE_FAULT, args: [va, u64::from(self.space.page(va) != 0), 0, 0] }
    }
}

impl<I: Isa> Isa for User<I> {
    fn name(&self) -> &'static str {
        self.isa.name()
    }
    fn features(&self) -> u64 {
        self.isa.features()
    }
    fn layout(&self) -> &'static StateLayout {
        self.isa.layout()
    }
    fn float_envs(&self) -> &'static [FloatEnvDesc] {
        self.isa.float_envs()
    }
    fn helpers(&self) -> &'static [HelperDesc] {
        self.isa.helpers()
    }
    fn pc(&self) -> Slot {
        self.isa.pc()
    }
    fn exception_args(&self) -> [Slot; 4] {
        self.isa.exception_args()
    }
    fn block_key(&self, state: &[u64]) -> BlockKey {
        self.isa.block_key(state)
    }
    fn key_parts(&self) -> &'static [KeyPart] {
        self.isa.key_parts()
    }
    fn space_tag(&self, _: &[u64]) -> u32 {
        0
    }
    fn fetch_mmu(&self, key: BlockKey) -> u8 {
        self.isa.fetch_mmu(key)
    }
    fn translate(
        &self,
        pc: u64,
        key: BlockKey,
        max_insns: u32,
        fetch: &mut dyn FnMut(u64, u8) -> Result<u64, FetchFault>,
        builder: &mut Builder,
    ) -> Result<(), FetchFault> {
        self.isa.translate(pc, key, max_insns, fetch, builder)
    }
    fn lower_exception(&self, id: u16, builder: &mut Builder) {
        self.isa.lower_exception(id, builder);
    }
    fn exception_name(&self, id: u16) -> &'static str {
        match id {
            PAGE_FAULT => "page fault",
            MISALIGNED => "misaligned access",
            BEYOND_FILE => "access beyond the end of a file",
            other => self.isa.exception_name(other),
        }
    }
    fn interrupt(&self, _: &[u64], _: u64) -> Option<Exception> {
        None
    }
    fn wakes(&self, _: &[u64], _: u64) -> bool {
        // A hint: a process that waits goes on.
        true
    }
    fn translate_address(&self, _: &mut HelperCx<'_>, va: u64, kind: AccessKind, mmu: u8) -> Result<Translation, Exception> {
        let page = self.space.page(va);
        let (read, write, execute) = (page & READ != 0, page & WRITE != 0, page & EXEC != 0);
        let allowed = match kind {
            AccessKind::Read => read,
            AccessKind::Write => write,
            AccessKind::Execute => execute,
        };
        if !allowed || kind == AccessKind::Execute && mmu != self.mmu {
            return Err(self.fault(va));
        }
        Ok(Translation { phys: GuestPhys(va), page_shift: 12, read, write, execute, global: true })
    }
    fn alignment_fault(&self, _: &mut HelperCx<'_>, va: u64, _: AccessKind, note: u16) -> Exception {
        Exception { id: MISALIGNED, args: [va, note.into(), 0, 0] }
    }
    fn bus_fault(&self, _: &mut HelperCx<'_>, va: u64, kind: AccessKind) -> Exception {
        let needed = match kind {
            AccessKind::Read => READ,
            AccessKind::Write => WRITE,
            AccessKind::Execute => EXEC,
        };
        if self.space.page(va) & needed != 0 && host_signal::was_bus_error() {
            return Exception { id: BEYOND_FILE, args: [va, 0, 0, 0] };
        }
        self.fault(va)
    }
    fn call(&self, id: u16, cx: &mut HelperCx<'_>, args: &[u64; 6]) -> Result<u64, Exception> {
        self.isa.call(id, cx, args)
    }
    fn gdb(&self) -> &'static emu_ir::gdb::GdbDesc {
        self.isa.gdb()
    }
    fn reset(&self, state: &mut [u64]) {
        self.isa.reset(state);
    }
}

/// What a thread's engine sees of the process: its memory, and a kernel for calls that concern neither the thread nor the process itself.
pub struct ThreadBus<M: Machine> {
    process: Arc<Process<M>>,
    inbox: Arc<Inbox>,
}

impl<M: Machine> ThreadBus<M> {
    /// Of a thread that hears of signals by this inbox.
    pub(crate) fn new(process: Arc<Process<M>>, inbox: Arc<Inbox>) -> ThreadBus<M> {
        ThreadBus { process, inbox }
    }

    fn space(&self) -> &Space {
        &self.process.space
    }
}

impl<M: Machine> PhysBus for ThreadBus<M> {
    fn read(&self, at: GuestPhys, size: u8, access: Access) -> Result<u64, BusError> {
        PhysBus::read(self.space(), at, size, access)
    }
    fn write(&self, at: GuestPhys, size: u8, value: u64, access: Access) -> Result<(), BusError> {
        PhysBus::write(self.space(), at, size, value, access)
    }
    fn exchange(&self, at: GuestPhys, size: u8, old: u64, new: u64) -> Option<Result<u64, BusError>> {
        self.space().exchange(at, size, old, new)
    }
    fn ram(&self, at: GuestPhys, access: Access) -> Option<RamSlice> {
        self.space().ram(at, access)
    }
    fn map_version(&self) -> u64 {
        self.space().map_version()
    }
}

impl<M: Machine> GuestBus for ThreadBus<M> {
    fn attention(&self) -> &Arc<AtomicU32> {
        self.inbox.attention()
    }
    fn direct(&self) -> Option<usize> {
        Some(self.space().base())
    }
    fn serve(&self, exception: u16, _: &[u64; 4], state: &mut [u64]) -> bool {
        M::is_call(exception, state) && syscall::serve(&self.process, &self.inbox, state)
    }
    fn hold_code(&self, at: GuestPhys, _: bool) {
        self.space().hold_code(at.0);
    }
    fn levels(&self) -> u64 {
        0
    }
    fn set_output(&self, _: usize, _: u32, _: bool) {}
    fn publish(&self, _: u64, _: u64) {}
    fn limit(&self) -> u64 {
        TURN
    }
    fn now(&self) -> u64 {
        0
    }
    fn send_event(&self) {}
}
