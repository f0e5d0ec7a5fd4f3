//! Performance monitors (ARM ARM C12, Cortex-A9 TRM 11): the cycle counter, and event counters that only software increments.
//!
//! The cycle counter counts nanoseconds of guest time, as a vCPU does not know its clock. Not modelled: hardware events, overflow
//! interrupts.

use crate::models::Identification;
use crate::state;
use emu_ir::guest::HelperCx;

const ENABLE: u32 = 1 << 0;
const RESET_EVENTS: u32 = 1 << 1;
const RESET_CYCLES: u32 = 1 << 2;
const DIVIDE: u32 = 1 << 3;
/// PMCR's bits that are kept: E, D, X, DP.
const KEPT: u32 = 0x39;
const CYCLES: u32 = 1 << 31;

/// User mode may use the registers (PMUSERENR.EN).
pub fn user_access(cells: &[u64]) -> bool {
    state::pmuserenr(cells) & 1 != 0
}

fn running(cells: &[u64]) -> bool {
    state::pmcr(cells) & ENABLE != 0 && state::pmcntenset(cells) & CYCLES != 0
}

fn ticks(cells: &[u64], now: u64) -> u64 {
    if state::pmcr(cells) & DIVIDE != 0 { now / 64 } else { now }
}

// The base is what to add to the ticks while the counter runs, and the count while it stands.
fn cycles(cx: &HelperCx<'_>) -> u64 {
    let base = state::pmccntr_base(cx.state);
    if running(cx.state) { base.wrapping_add(ticks(cx.state, cx.bus.now())) } else { base }
}

fn set_cycles(cx: &mut HelperCx<'_>, count: u64) {
    let base = if running(cx.state) { count.wrapping_sub(ticks(cx.state, cx.bus.now())) } else { count };
    state::set_pmccntr_base(cx.state, base);
}

/// Changes controls, the count staying what it is.
fn keep_count(cx: &mut HelperCx<'_>, change: impl FnOnce(&mut [u64])) {
    let count = cycles(cx);
    change(cx.state);
    set_cycles(cx, count);
}

/// The counters that exist, as a mask.
fn counters(id: &Identification) -> u32 {
    CYCLES | ((1 << id.counters) - 1)
}

/// The selected event counter, if it exists.
fn selected(cells: &[u64], id: &Identification) -> Option<usize> {
    let index = state::pmselr(cells) & 31;
    (index < id.counters).then_some(index as usize)
}

/// Reads CRn 9, opc1 0, CRm `crm`, opc2 `opc2`; `None`: no such register.
pub fn read(cx: &HelperCx<'_>, id: &Identification, crm: u8, opc2: u8) -> Option<u32> {
    let cells = &*cx.state;
    Some(match (crm, opc2) {
        (12, 0) => id.pmcr | id.counters << 11 | state::pmcr(cells) & KEPT,
        (12, 1 | 2) => state::pmcntenset(cells),
        (12, 3) => state::pmovsr(cells),
        (12, 4) => 0,
        (12, 5) => state::pmselr(cells),
        // Event 0, software increment, is all there is.
        (12, 6) => 1,
        (12, 7) => 0,
        (13, 0) => cycles(cx) as u32,
        (13, 1) => match (state::pmselr(cells) & 31, selected(cells, id)) {
            (31, _) => state::pmevtyper(cells, 6),
            (_, Some(index)) => state::pmevtyper(cells, index),
            _ => 0,
        },
        (13, 2) => selected(cells, id).map_or(0, |index| state::pmevcntr(cells, index)),
        (14, 0) => state::pmuserenr(cells),
        (14, 1 | 2) => state::pminten(cells),
        _ => return None,
    })
}

/// Writes CRn 9, opc1 0, CRm `crm`, opc2 `opc2`; `None`: no such register.
pub fn write(cx: &mut HelperCx<'_>, id: &Identification, crm: u8, opc2: u8, value: u32) -> Option<()> {
    let mask = counters(id);
    match (crm, opc2) {
        (12, 0) => {
            keep_count(cx, |cells| state::set_pmcr(cells, value & KEPT));
            if value & RESET_CYCLES != 0 {
                set_cycles(cx, 0);
            }
            if value & RESET_EVENTS != 0 {
                (0..id.counters as usize).for_each(|index| state::set_pmevcntr(cx.state, index, 0));
            }
        }
        (12, 1) => keep_count(cx, |cells| state::set_pmcntenset(cells, state::pmcntenset(cells) | value & mask)),
        (12, 2) => keep_count(cx, |cells| state::set_pmcntenset(cells, state::pmcntenset(cells) & !value)),
        (12, 3) => state::set_pmovsr(cx.state, state::pmovsr(cx.state) & !value),
        (12, 4) => {
            for index in 0..id.counters as usize {
                let counts = state::pmcr(cx.state) & ENABLE != 0 && state::pmcntenset(cx.state) >> index & 1 != 0;
                if value >> index & 1 != 0 && counts && state::pmevtyper(cx.state, index) & 0xff == 0 {
                    let count = state::pmevcntr(cx.state, index).wrapping_add(1);
                    state::set_pmevcntr(cx.state, index, count);
                    if count == 0 {
                        state::set_pmovsr(cx.state, state::pmovsr(cx.state) | 1 << index);
                    }
                }
            }
        }
        (12, 5) => state::set_pmselr(cx.state, value & 31),
        (12, 6 | 7) => {}
        (13, 0) => set_cycles(cx, value.into()),
        (13, 1) => match (state::pmselr(cx.state) & 31, selected(cx.state, id)) {
            (31, _) => state::set_pmevtyper(cx.state, 6, value),
            (_, Some(index)) => state::set_pmevtyper(cx.state, index, value),
            _ => {}
        },
        (13, 2) => {
            if let Some(index) = selected(cx.state, id) {
                state::set_pmevcntr(cx.state, index, value);
            }
        }
        (14, 0) => state::set_pmuserenr(cx.state, value & 1),
        (14, 1) => state::set_pminten(cx.state, state::pminten(cx.state) | value & mask),
        (14, 2) => state::set_pminten(cx.state, state::pminten(cx.state) & !value),
        _ => return None,
    }
    Some(())
}
