//! What generated code calls.

use super::super::Context;
use super::super::blocks::{BlockId, Cached};
use super::super::code::{Bc, Code};
use super::super::exec::{Leave, execute};
use super::super::region::Calls;
use super::access::Together;
use super::{Exit, Run};
use crate::guest::{AccessKind, BlockKey, Isa};
use crate::op::Op;
use emu_memory::PAGE_BITS;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

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
        cx.slow_probe(run.arena, run.bus, at, va, c.a as u8, c.op == Bc::ProbeWrite, mmu, c.c >> 8, c.x)
            .map_err(|e| Leave::Fault(at, e))?;
        cx.tlb.raise(va, mmu, cx.tag);
        Ok(0)
    })
}

/// Looks up the page of accesses that go together, at the first of their bytes. If generated code would not find it even then (they lie on two pages, or
/// one of them may fault, or reaches a device or code), the interpreter goes on. The tables are walked for a write before the reads in front of it are
/// done: an MMU that keeps dirty bits in its tables would set one early if such a read faulted.
pub extern "sysv64" fn refill<I: Isa>(run: &mut Run<'_, I>, at: u32, va: u64, together: u64) -> Done {
    run.serve(at, |cx, run, _| {
        let t = Together::unpack(together as u32);
        let kind = if t.write { AccessKind::Write } else { AccessKind::Read };
        let last = va.wrapping_add(t.past.into()) & if t.narrow { u32::MAX.into() } else { u64::MAX };
        // What would fault before its page is looked up, or on another page first, is not looked up here: a walk may leave traces in the state.
        let whole = va & u64::from(t.align) == 0 && va >> PAGE_BITS == last >> PAGE_BITS;
        if whole && cx.resolve(run.bus, va, kind, t.mmu).is_ok() {
            cx.tlb.raise(va, t.mmu, cx.tag);
        }
        if cx.tlb.in_front(va, last, t.align, t.mmu, (t.read, t.write)) { Ok(0) } else { Err(Leave::Resume(at)) }
    })
}

/// Calls one of these for a region, which does not take the host's floating-point controls along as the stubs of blocks do.
fn for_region<I: Isa>(run: &mut Run<'_, I>, call: impl FnOnce(&mut Run<'_, I>) -> Done) -> Done {
    // SAFETY: as in `serve`.
    let mxcsr = unsafe { &raw mut (*run.cx).mxcsr };
    // SAFETY: the flags the guest gathers are kept over what the host may compute meanwhile.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) mxcsr, options(nostack)) };
    let done = call(run);
    // SAFETY: what was stored there, or what the function left.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) mxcsr, options(nostack)) };
    done
}

extern "sysv64" fn region_load<I: Isa, const SIZE: u8>(run: &mut Run<'_, I>, at: u32, va: u64) -> Done {
    for_region(run, |run| load::<I, SIZE>(run, at, va))
}

extern "sysv64" fn region_store<I: Isa, const SIZE: u8>(run: &mut Run<'_, I>, at: u32, va: u64, value: u64) -> Done {
    for_region(run, |run| store::<I, SIZE>(run, at, va, value))
}

extern "sysv64" fn region_probe<I: Isa>(run: &mut Run<'_, I>, at: u32, va: u64) -> Done {
    for_region(run, |run| probe(run, at, va))
}

extern "sysv64" fn region_refill<I: Isa>(run: &mut Run<'_, I>, at: u32, va: u64, together: u64) -> Done {
    for_region(run, |run| refill(run, at, va, together))
}

extern "sysv64" fn region_word<I: Isa>(run: &mut Run<'_, I>, at: u32) -> Done {
    for_region(run, |run| word(run, at))
}

/// What regions call.
pub fn of_regions<I: Isa>() -> Calls {
    let load = [region_load::<I, 1>, region_load::<I, 2>, region_load::<I, 4>, region_load::<I, 8>];
    let store = [region_store::<I, 1>, region_store::<I, 2>, region_store::<I, 4>, region_store::<I, 8>];
    Calls {
        load: load.map(|f: extern "sysv64" fn(&mut Run<'_, I>, u32, u64) -> Done| f as usize),
        store: store.map(|f: extern "sysv64" fn(&mut Run<'_, I>, u32, u64, u64) -> Done| f as usize),
        probe: region_probe::<I> as *const () as usize,
        refill: region_refill::<I> as *const () as usize,
        word: region_word::<I> as *const () as usize,
    }
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
                cx.find_front();
                if let Op::Call(id) = side().inst.op
                    && cx.isa.helpers()[id as usize].ends_block()
                {
                    // The end of the instruction is that of the block: generated code goes on to there, as the interpreter would.
                    cx.soon = false;
                }
            }
            Bc::ClearExclusive => cx.monitor = None,
            op => {
                cx.stats.interpreted += u64::from(op != Bc::Wait);
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

/// Code, or 0; and the pc it is for.
#[repr(C)]
pub struct Known {
    native: u64,
    pc: u64,
}

/// Something asks for attention, or an interrupt is to be taken.
fn is_disturbed<I: Isa>(run: &Run<'_, I>, cx: &Context<I>) -> bool {
    // SAFETY: the keeper keeps the attention word.
    let attention = unsafe { &*(cx.attention as *const AtomicU32) };
    !run.counted && attention.load(Ordering::Relaxed) != 0 || cx.interrupted()
}

/// A jump after which the block key may be another, if the jump cache has the next block and nothing asks for attention. It computes nothing that the host's
/// MXCSR, which is the guest's here, could change.
pub extern "sysv64" fn known<I: Isa>(run: &mut Run<'_, I>, pc: u64) -> Known {
    // SAFETY: as in `serve`.
    let cx = unsafe { &mut *run.cx };
    if is_disturbed(run, cx) {
        return Known { native: 0, pc };
    }
    let key = cx.isa.block_key(&cx.cells[..cx.state_cells]);
    let native = cx.known_jump(pc, key).map_or(0, |entry| entry.native);
    let native = if native == run.no_code { 0 } else { native };
    cx.stats.rekeys += u64::from(native != 0);
    Known { native, pc }
}

/// A jump after which the block key may be another: the next block's code, or 0 to leave.
pub extern "sysv64" fn rekey<I: Isa>(run: &mut Run<'_, I>, pc: u64) -> u64 {
    let Known { native, .. } = known(run, pc);
    if native != 0 {
        return native;
    }
    // SAFETY: as in `serve`.
    let cx = unsafe { &mut *run.cx };
    cx.stats.rekeys += 1;
    if is_disturbed(run, cx) {
        run.leave = Leave::Rekey(pc);
        return 0;
    }
    let key = cx.isa.block_key(&cx.cells[..cx.state_cells]);
    find(run, pc, key.0)
}

/// Raises the exception of a word: the code of the block where the guest goes on if the bus serves it, or 0 to leave.
pub extern "sysv64" fn raise<I: Isa>(run: &mut Run<'_, I>, at: u64) -> u64 {
    // SAFETY: as in `serve`.
    let cx = unsafe { &mut *run.cx };
    let c = run.arena.code[at as usize];
    let side = &run.arena.side[c.imm as usize];
    let exception = cx.raised(c.c, side);
    run.leave = Leave::Fault(at as u32, exception);
    // There is no mark in the entry of an exception.
    let Some((pc, rest)) = side.mark.filter(|_| cx.trap) else { return 0 };
    cx.account();
    cx.gather();
    cx.set_pc(pc);
    if !cx.served(run.bus, &exception) {
        return 0;
    }
    if run.counted {
        // It is executed, what the block has behind it is not.
        cx.executed -= u64::from(rest) - 1;
    }
    cx.grant();
    let pc = cx.pc();
    run.leave = Leave::Rekey(pc);
    if run.counted && run.bus.attention().load(Ordering::Relaxed) != 0 { 0 } else { rekey(run, pc) }
}

/// The block at a pc, if the TLB knows its page, and whether that is global.
fn look_up<I: Isa>(cx: &Context<I>, run: &Run<'_, I>, pc: u64, key: BlockKey) -> Option<(Cached, bool)> {
    let mmu = cx.isa.fetch_mmu(key);
    let page = cx.tlb.lookup(pc, mmu, cx.tag).filter(|page| page.execute)?;
    let (block, offset) = page.ram?;
    let block = cx.tlb.block(block)?;
    let number = run.rams.iter().position(|ram| Arc::ptr_eq(ram, block))?;
    // What was revoked is not in the table any more.
    let block = run.blocks?.get(&BlockId::new((number as u16, offset >> PAGE_BITS), pc, key))?;
    (block.native != 0 && block.in_one_page()).then_some((block, page.global))
}

/// The block at a pc is the one at this code index.
pub extern "sysv64" fn is_there<I: Isa>(run: &mut Run<'_, I>, pc: u64, key: u64, code: u32) -> bool {
    // SAFETY: as in `serve`.
    let cx = unsafe { &mut *run.cx };
    cx.note_code_page(pc);
    match cx.known_jump(pc, BlockKey(key)) {
        Some(entry) => entry.code == code,
        None => look_up(cx, run, pc, BlockKey(key)).is_some_and(|(block, _)| block.code == code),
    }
}

/// The code of a block that the jump cache does not know, or 0 to leave.
pub extern "sysv64" fn find<I: Isa>(run: &mut Run<'_, I>, pc: u64, key: u64) -> u64 {
    // SAFETY: as in `serve`.
    let cx = unsafe { &mut *run.cx };
    let key = BlockKey(key);
    cx.stats.jump_misses += 1;
    match look_up(cx, run, pc, key) {
        Some((block, global)) => {
            cx.know(pc, key, global, &block, block.native);
            block.native
        }
        None => {
            run.leave = Leave::Rekey(pc);
            0
        }
    }
}

const _: () = assert!(size_of::<Done>() == size_of::<Exit>());
