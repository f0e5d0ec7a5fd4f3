//! What generated code calls.

use super::super::Context;
use super::super::code::{Bc, Code};
use super::super::exec::{Leave, execute, jump_slot};
use super::{Exit, Run};
use crate::guest::Isa;

/// What a call returns: a value, and whether the code goes on (0) or leaves.
#[repr(C)]
pub struct Done {
    value: u64,
    leave: u64,
}

impl<I: Isa> Run<'_, I> {
    /// Does what one word asks for, while generated code waits.
    fn serve(&mut self, at: u32, serve: impl FnOnce(&mut Context<I>, &Run<'_, I>, Code) -> Result<u64, Leave>) -> Done {
        // SAFETY: `execute` put a context there that nobody else uses while code runs.
        let cx = unsafe { &mut *self.cx };
        cx.account();
        let result = serve(cx, self, self.arena.code[at as usize]);
        cx.grant();
        match result {
            Ok(value) => Done { value, leave: 0 },
            Err(leave) => {
                self.leave = leave;
                Done { value: 0, leave: 1 }
            }
        }
    }
}

extern "sysv64" fn load<I: Isa, const SIZE: u8>(run: &mut Run<'_, I>, at: u32, va: u64) -> Done {
    run.serve(at, |cx, run, c| {
        let mmu = c.c as u8;
        cx.stats.front_misses += 1;
        let value = cx.slow_load(run.arena, run.bus, at, va, SIZE, mmu, c.c >> 8, c.x).map_err(|e| Leave::Fault(at, e))?;
        if cx.soon {
            cx.set_cell(c.a, value);
            return Err(Leave::Soon(at));
        }
        cx.tlb.raise(va, mmu, cx.tag);
        Ok(value)
    })
}

extern "sysv64" fn store<I: Isa, const SIZE: u8>(run: &mut Run<'_, I>, at: u32, va: u64, value: u64) -> Done {
    run.serve(at, |cx, run, c| {
        let mmu = c.c as u8;
        cx.stats.front_misses += 1;
        cx.slow_store(run.arena, run.bus, at, va, SIZE, value, mmu, c.c >> 8, c.x).map_err(|e| Leave::Fault(at, e))?;
        if cx.soon {
            return Err(Leave::Soon(at));
        }
        cx.tlb.raise(va, mmu, cx.tag);
        Ok(0)
    })
}

/// Loads of 1, 2, 4 and 8 bytes.
pub fn loads<I: Isa>() -> [usize; 4] {
    [load::<I, 1>, load::<I, 2>, load::<I, 4>, load::<I, 8>].map(|f: extern "sysv64" fn(&mut Run<'_, I>, u32, u64) -> Done| f as usize)
}

/// Stores of 1, 2, 4 and 8 bytes.
pub fn stores<I: Isa>() -> [usize; 4] {
    [store::<I, 1>, store::<I, 2>, store::<I, 4>, store::<I, 8>]
        .map(|f: extern "sysv64" fn(&mut Run<'_, I>, u32, u64, u64) -> Done| f as usize)
}

/// Checks an access that the front does not know.
pub extern "sysv64" fn probe<I: Isa>(run: &mut Run<'_, I>, at: u32, va: u64) -> Done {
    run.serve(at, |cx, run, c| {
        let mmu = c.c as u8;
        cx.stats.front_misses += 1;
        cx.slow_probe(run.bus, va, c.a as u8, c.op == Bc::ProbeWrite, mmu, c.c >> 8, c.x).map_err(|e| Leave::Fault(at, e))?;
        cx.tlb.raise(va, mmu, cx.tag);
        Ok(0)
    })
}

/// Executes one word that has no template.
pub extern "sysv64" fn word<I: Isa>(run: &mut Run<'_, I>, at: u32) -> Done {
    run.serve(at, |cx, run, c| {
        let fault = |e| Leave::Fault(at, e);
        let side = || &run.arena.side[c.imm as usize];
        match c.op {
            Bc::Generic => cx.generic(side()),
            Bc::Float => cx.float(side()),
            Bc::Memory => cx.memory(run.arena, run.bus, at, side()).map_err(fault)?,
            Bc::Call => {
                // A helper may look at sticky flags.
                cx.gather();
                cx.call(run.bus, side()).map_err(fault)?;
            }
            Bc::ClearExclusive => cx.monitor = None,
            op => {
                cx.stats.interpreted += u64::from(!matches!(op, Bc::Raise | Bc::Wait));
                return match execute::<I, true>(cx, run.arena, run.rams, run.bus, at, at + 1) {
                    Leave::Mark(_) => Ok(0),
                    leave => Err(leave),
                };
            }
        }
        if cx.soon { Err(Leave::Soon(at)) } else { Ok(0) }
    })
}

/// Adds what the host gathered of sticky flags to the state.
pub extern "sysv64" fn gather<I: Isa>(run: &mut Run<'_, I>) -> Done {
    // SAFETY: as in `serve`.
    unsafe { &mut *run.cx }.gather();
    Done { value: 0, leave: 0 }
}

/// A jump after which the block key may be another: the next block's code, or 0 to leave.
pub extern "sysv64" fn rekey<I: Isa>(run: &mut Run<'_, I>, pc: u64) -> u64 {
    // SAFETY: as in `serve`.
    let cx = unsafe { &mut *run.cx };
    cx.stats.rekeys += 1;
    let key = cx.isa.block_key(&cx.cells[..cx.state_cells]);
    let entry = &cx.jumps[jump_slot(pc)];
    if entry.pc == pc && entry.stamp == cx.epoch | key.0 {
        return entry.native;
    }
    run.leave = Leave::Rekey(pc);
    0
}

const _: () = assert!(size_of::<Done>() == size_of::<Exit>());
