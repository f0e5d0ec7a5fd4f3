//! The MMU (UG984, chapter 2, virtual-memory management): a table of 64 entries that software fills, and its registers. And the lines of low-latency interrupts.
//!
//! Virtual address, PID and privilege -> the entry whose tag, size and PID match -> zone and permission bits -> physical address. The soft TLB
//! keeps what was found, under the PID as space tag; a write to an entry flushes its page, one to the zones everything.
//!
//! Not modelled: the storage attributes W, I, M and G, and U0 (memory is coherent).

use crate::{Externs, exception, state};
use emu_ir::guest::{AccessKind, Exception, HelperCx, Translation};
use emu_memory::GuestPhys;
use std::sync::atomic::{AtomicU32, Ordering};

// TLBHI: tag 31:10, size 9:7, valid 6. TLBLO: real page 31:10, executable 9, writable 8, zone 7:4.
const VALID: u32 = 1 << 6;
const EXECUTABLE: u32 = 1 << 9;
const WRITABLE: u32 = 1 << 8;
/// PVR11: the MMU has a virtual mode (C_USE_MMU 3).
const VIRTUAL: u32 = 3 << 30;
/// TLBX: no entry was found.
const MISSED: u32 = 1 << 31;

// The MMU's registers: the low byte of their number.
const PID: u8 = 0;
const ZPR: u8 = 1;
const TLBLO: u8 = 3;
const TLBHI: u8 = 4;
const TLBSX: u8 = 5;

// ESR: the cause, and what it was.
const DATA_STORAGE: u32 = 0x10;
const INSTRUCTION_STORAGE: u32 = 0x11;
const DATA_MISS: u32 = 0x12;
const INSTRUCTION_MISS: u32 = 0x13;
const STORE: u32 = 1 << 10;
const ZONE: u32 = 1 << 11;

/// The MMU index of programs.
const USER: u8 = 2;

/// The hand-written part of a CPU.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

/// log2 of an entry's page: 1 KiB to 16 MiB.
fn shift(hi: u32) -> u32 {
    10 + 2 * (hi >> 7 & 7)
}

/// The entry that maps `va` for this process.
fn find(cells: &[u64], va: u32) -> Option<usize> {
    let pid = state::pid(cells);
    let first = usize::from(state::LAYOUT.slots[usize::from(state::slot::tlbhi(0).0)].cell);
    let all = cells.get(first..first + 64)?;
    let mut entries = all.iter().enumerate();
    let found = entries.find(|(i, cell)| {
        let hi = **cell as u32;
        // An entry that is not valid gets a difference.
        let differs = (va ^ hi) >> shift(hi) | (hi & VALID ^ VALID);
        differs == 0 && [0, pid].contains(&state::tlbpid(cells, *i))
    });
    found.map(|(i, _)| i)
}

/// Instructions are fetched from virtual addresses: now, or in the slot of a return.
fn is_virtual(cells: &[u64]) -> bool {
    state::vm(cells) || state::delay(cells) != 0
}

/// The process changes: also where the instruction at hand lies, unless that is the same for all.
fn set_process(cx: &mut HelperCx<'_>, pid: u8) {
    let for_all = |i: usize| state::tlbpid(cx.state, i) == 0;
    cx.flush_code |= is_virtual(cx.state) && !find(cx.state, state::pc(cx.state)).is_some_and(for_all);
    state::set_pid(cx.state, pid);
}

fn flush(cx: &mut HelperCx<'_>) {
    cx.tlb.flush_all();
    cx.flush_code |= is_virtual(cx.state);
}

/// Flushes what an entry maps, or will.
fn flush_entry(cx: &mut HelperCx<'_>, hi: u32) {
    if hi & VALID != 0 {
        cx.tlb.flush_page((hi & !0xfff).into(), None);
        let here = (state::pc(cx.state) ^ hi) >> shift(hi).max(12) == 0;
        cx.flush_code |= here && is_virtual(cx.state);
    }
}

/// Stream links that were reported.
static REPORTED: AtomicU32 = AtomicU32::new(0);

impl Externs for System {
    fn unconnected(&self, cx: &mut HelperCx<'_>, id: u32) {
        if REPORTED.fetch_or(1 << id, Ordering::Relaxed) >> id & 1 == 0 {
            tracing::warn!("cpu{}: stream link {id} is connected to nothing (used at {:#x})", cx.cpu, state::pc(cx.state));
        }
    }

    fn mmu_read(&self, cx: &mut HelperCx<'_>, n: u8) -> u32 {
        let index = (state::tlbx(cx.state) & 63) as usize;
        match n {
            TLBLO => state::tlblo(cx.state, index),
            TLBHI => {
                // The entry's process comes with its tag.
                let pid = state::tlbpid(cx.state, index);
                set_process(cx, pid);
                state::tlbhi(cx.state, index)
            }
            _ => 0,
        }
    }

    fn mmu_write(&self, cx: &mut HelperCx<'_>, n: u8, x: u32) {
        if state::pvr11(cx.state) < VIRTUAL {
            return;
        }
        let index = (state::tlbx(cx.state) & 63) as usize;
        match n {
            PID => set_process(cx, x as u8),
            ZPR => {
                state::set_zpr(cx.state, x);
                flush(cx);
            }
            TLBLO => {
                state::set_tlblo(cx.state, index, x);
                flush_entry(cx, state::tlbhi(cx.state, index));
            }
            TLBHI => {
                let pid = state::pid(cx.state);
                flush_entry(cx, state::tlbhi(cx.state, index));
                state::set_tlbhi(cx.state, index, x);
                state::set_tlbpid(cx.state, index, pid);
                // Of two entries for a page the first counts: the new one may stand before another.
                match shift(x) {
                    0..=12 => flush_entry(cx, x),
                    _ => flush(cx),
                }
            }
            TLBSX => {
                let found = find(cx.state, x).map_or(MISSED, |i| i as u32);
                state::set_tlbx(cx.state, found);
            }
            _ => {}
        }
    }

    fn interrupt_address(&self, cx: &mut HelperCx<'_>) -> u32 {
        // The lines `vector` follow `irq`.
        (cx.lines >> 1) as u32
    }

    fn interrupt_ack(&self, cx: &mut HelperCx<'_>, what: u8) {
        cx.bus.set_output(0, what.into(), true);
        cx.bus.set_output(0, what.into(), false);
    }

    fn translate_address(&self, cx: &mut HelperCx<'_>, va: u64, kind: AccessKind, mmu: u8) -> Result<Translation, Exception> {
        let va = va as u32;
        if mmu == 0 {
            return Ok(Translation { phys: GuestPhys(va.into()), page_shift: 24, read: true, write: true, execute: true, global: true });
        }
        let write = if kind == AccessKind::Write { STORE } else { 0 };
        let raise = |data: u32, instruction: u32| match kind {
            AccessKind::Execute => exception::storage(va, instruction),
            _ => exception::storage(va, data | write),
        };
        let Some(index) = find(cx.state, va) else { return Err(raise(DATA_MISS, INSTRUCTION_MISS)) };
        let (hi, lo) = (state::tlbhi(cx.state, index), state::tlblo(cx.state, index));
        let zone = state::zpr(cx.state) >> (30 - 2 * (lo >> 4 & 15)) & 3;
        let (write, execute) = (lo & WRITABLE != 0, lo & EXECUTABLE != 0);
        let (read, write, execute) = match (zone, mmu == USER) {
            (0, true) => return Err(raise(DATA_STORAGE | ZONE, INSTRUCTION_STORAGE | ZONE)),
            (3, _) | (2, false) => (true, true, true),
            _ => (true, write, execute),
        };
        let allowed = match kind {
            AccessKind::Read => read,
            AccessKind::Write => write,
            AccessKind::Execute => execute,
        };
        if !allowed {
            return Err(raise(DATA_STORAGE, INSTRUCTION_STORAGE));
        }
        let mask = (1u32 << shift(hi)) - 1;
        let phys = GuestPhys((lo & !0x3ff & !mask | va & mask).into());
        // An entry without a process holds for all.
        let global = state::tlbpid(cx.state, index) == 0;
        Ok(Translation { phys, page_shift: shift(hi) as u8, read, write, execute, global })
    }

    fn alignment_fault(&self, _: &mut HelperCx<'_>, va: u64, _: AccessKind, note: u16) -> Exception {
        exception::unaligned(va as u32, note.into())
    }

    fn bus_fault(&self, _: &mut HelperCx<'_>, va: u64, kind: AccessKind) -> Exception {
        match kind {
            AccessKind::Execute => exception::instruction_bus(va as u32),
            _ => exception::data_bus(va as u32),
        }
    }

    fn space_tag(&self, cells: &[u64]) -> u32 {
        state::pid(cells).into()
    }

    fn reset(&self, _: &mut [u64]) {}
}
