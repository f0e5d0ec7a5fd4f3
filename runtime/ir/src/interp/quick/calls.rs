//! What generated code calls.

use super::super::code::{Bc, Code};
use super::super::exec::{Leave, execute, jump_slot};
use super::{Exit, Run};
use crate::guest::Isa;

/// What an access returns: its value, and whether the code goes on (0) or leaves.
#[repr(C)]
pub struct Done {
    value: u64,
    leave: u64,
}

impl<I: Isa> Run<'_, I> {
    fn word(&self, at: u32) -> Code {
        self.arena.code[at as usize]
    }

    /// Leaves for a reason stored here.
    fn leaves(&mut self, leave: Leave) -> Done {
        self.leave = leave;
        Done { value: 0, leave: 1 }
    }
}

extern "sysv64" fn load<I: Isa, const SIZE: u8>(run: &mut Run<'_, I>, at: u32, va: u64) -> Done {
    // SAFETY: `execute` put a context there that nobody else uses while code runs.
    let cx = unsafe { &mut *run.cx };
    let c = run.word(at);
    let mmu = c.c as u8;
    match cx.slow_load(run.arena, run.bus, at, va, SIZE, mmu, c.c >> 8, c.x) {
        Ok(value) if cx.soon => {
            cx.set_cell(c.a, value);
            run.leaves(Leave::Soon(at))
        }
        Ok(value) => {
            cx.tlb.raise(va, mmu, cx.tag);
            Done { value, leave: 0 }
        }
        Err(exception) => run.leaves(Leave::Fault(at, exception)),
    }
}

extern "sysv64" fn store<I: Isa, const SIZE: u8>(run: &mut Run<'_, I>, at: u32, va: u64, value: u64) -> Done {
    // SAFETY: as in `load`.
    let cx = unsafe { &mut *run.cx };
    let c = run.word(at);
    let mmu = c.c as u8;
    match cx.slow_store(run.arena, run.bus, at, va, SIZE, value, mmu, c.c >> 8, c.x) {
        Ok(()) if cx.soon => run.leaves(Leave::Soon(at)),
        Ok(()) => {
            cx.tlb.raise(va, mmu, cx.tag);
            Done { value: 0, leave: 0 }
        }
        Err(exception) => run.leaves(Leave::Fault(at, exception)),
    }
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
    // SAFETY: as in `load`.
    let cx = unsafe { &mut *run.cx };
    let c = run.word(at);
    let mmu = c.c as u8;
    match cx.slow_probe(run.bus, va, c.a as u8, c.op == Bc::ProbeWrite, mmu, c.c >> 8, c.x) {
        Ok(()) => {
            cx.tlb.raise(va, mmu, cx.tag);
            Done { value: 0, leave: 0 }
        }
        Err(exception) => run.leaves(Leave::Fault(at, exception)),
    }
}

/// Executes one word in the interpreter.
pub extern "sysv64" fn one<I: Isa>(run: &mut Run<'_, I>, at: u32) -> Done {
    // SAFETY: as in `load`.
    let cx = unsafe { &mut *run.cx };
    cx.stats.interpreted += 1;
    match execute::<I, true>(cx, run.arena, run.rams, run.bus, at, at + 1) {
        Leave::Mark(_) => Done { value: 0, leave: 0 },
        leave => run.leaves(leave),
    }
}

/// A jump after which the block key may be another: the next block's code, or 0 to leave.
pub extern "sysv64" fn rekey<I: Isa>(run: &mut Run<'_, I>, at: u32, pc: u64) -> u64 {
    // SAFETY: as in `load`.
    let cx = unsafe { &mut *run.cx };
    cx.executed -= u64::from(run.word(at).a);
    let key = cx.isa.block_key(&cx.cells[..cx.state_cells]);
    let entry = &cx.jumps[jump_slot(pc)];
    if entry.pc == pc && entry.key == key && entry.epoch == cx.epoch && entry.native != 0 && !cx.interrupted() {
        cx.key = key;
        return entry.native;
    }
    run.leave = Leave::Rekey(pc);
    0
}

const _: () = assert!(size_of::<Done>() == size_of::<Exit>());
