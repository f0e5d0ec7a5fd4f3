//! An instruction set as a process sees it: no privilege, no tables, only the pages the process has mapped.

use crate::space::{EXEC, READ, Space, WRITE};
use emu_ir::Builder;
use emu_ir::guest::*;
use emu_ir::state::{Slot, StateLayout};
use emu_memory::GuestPhys;
use std::sync::Arc;

/// The exception for a page the process may not use: address, 1 if mapped.
pub const PAGE_FAULT: u16 = u16::MAX;
/// The exception for a misaligned access: address.
pub const MISALIGNED: u16 = u16::MAX - 1;

/// `isa` without its MMU and alignment registers: the process's pages decide.
pub struct User<I> {
    /// The instruction set.
    pub isa: I,
    /// The process's memory.
    pub space: Arc<Space>,
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
    fn translate_address(&self, _: &mut HelperCx<'_>, va: u64, kind: AccessKind, _: u8) -> Result<Translation, Exception> {
        let page = self.space.page(va);
        let (read, write, execute) = (page & READ != 0, page & WRITE != 0, page & EXEC != 0);
        let allowed = match kind {
            AccessKind::Read => read,
            AccessKind::Write => write,
            AccessKind::Execute => execute,
        };
        if !allowed {
            return Err(self.fault(va));
        }
        Ok(Translation { phys: GuestPhys(va), page_shift: 12, read, write, execute, global: true })
    }
    fn alignment_fault(&self, _: &mut HelperCx<'_>, va: u64, _: AccessKind) -> Exception {
        Exception { id: MISALIGNED, args: [va, 0, 0, 0] }
    }
    fn bus_fault(&self, _: &mut HelperCx<'_>, va: u64, _: AccessKind) -> Exception {
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
