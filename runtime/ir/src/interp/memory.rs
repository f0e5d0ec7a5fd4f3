//! What the interpreter's fast paths leave over: TLB misses, MMIO, page crossings, stores over code, exclusives, helpers.
//!
//! Every access is resolved wholly before anything happens, so a fault in the second page leaves the first alone.

use super::code::{Arena, Operand, Side};
use super::{Context, Monitor, helper_cx};
use crate::fold;
use crate::guest::{AccessKind, Exception, Isa};
use crate::op::{Mem, Op, Value};
use emu_memory::{Access, GuestBus, GuestPhys, PAGE_BITS, PAGE_SIZE, TlbFill};
use std::sync::atomic::Ordering;

impl<I: Isa> Context<I> {
    // ---- operands of side-table operations

    pub(super) fn operand(&self, side: &Side, index: usize) -> u128 {
        match side.args[index] {
            Operand::None => 0,
            Operand::Const(x) => x,
            Operand::Cell(cell) => {
                let low = u128::from(self.cell(cell));
                if side.types[index].cells() == 2 { low | u128::from(self.cell(cell + 1)) << 64 } else { low }
            }
        }
    }

    pub(super) fn set_result(&mut self, side: &Side, value: u128) {
        if side.inst.res == Value::NONE {
            return;
        }
        self.set_cell(side.result, value as u64);
        if side.inst.ty.cells() == 2 {
            self.set_cell(side.result + 1, (value >> 64) as u64);
        }
    }

    #[inline(never)]
    pub(super) fn generic(&mut self, side: &Side) {
        let mut args = [0; 6];
        for (index, arg) in args.iter_mut().enumerate() {
            *arg = self.operand(side, index);
        }
        let value = match side.inst.op {
            Op::Vec(..) | Op::VecSat(..) | Op::LaneGet(_) | Op::LaneSet(_) | Op::TableLookup => {
                crate::vector::eval(&side.inst, side.types[0], &args)
            }
            op => fold::eval(op, side.inst.ty, side.types[0], &args[..3]),
        };
        debug_assert!(value.is_some(), "{:?} is no pure operation", side.inst.op);
        self.set_result(side, value.unwrap_or(0));
    }

    #[inline(never)]
    pub(super) fn float(&mut self, side: &Side) {
        let mut args = [0; 6];
        for (index, arg) in args.iter_mut().enumerate() {
            *arg = self.operand(side, index);
        }
        let isa = self.isa.clone();
        let value =
            crate::float::eval(isa.layout(), isa.float_envs(), &mut self.cells[..self.state_cells], &side.inst, side.types[0], &args);
        self.set_result(side, value);
    }

    // ---- addresses

    /// The physical address of `va`, which the access may reach.
    pub(super) fn resolve(&mut self, bus: &dyn GuestBus, va: u64, kind: AccessKind, mmu: u8) -> Result<GuestPhys, Exception> {
        if let Some(page) = self.tlb.lookup(va, mmu, self.tag) {
            let allowed = match kind {
                AccessKind::Read => page.read,
                AccessKind::Write => page.write,
                AccessKind::Execute => page.execute,
            };
            if allowed {
                return Ok(GuestPhys(page.phys.0 | va & (PAGE_SIZE - 1)));
            }
        }
        self.stats.tlb_misses += 1;
        let mut helper = helper_cx(&mut self.cells[..self.state_cells], &mut self.tlb, bus, self.cpu, self.levels);
        let found = self.isa.translate_address(&mut helper, va, kind, mmu)?;
        // What the host maps has no fast path but generated code's.
        let (read, write) = (found.read && self.direct == 0, found.write && self.direct == 0);
        if u32::from(found.page_shift) >= PAGE_BITS && (self.direct == 0 || kind == AccessKind::Execute) {
            self.tlb.insert(&TlbFill {
                va,
                phys: GuestPhys(found.phys.0 & !(PAGE_SIZE - 1)),
                mmu_index: mmu,
                tag: self.tag,
                global: found.global,
                page_bits: found.page_shift,
                read,
                write,
                execute: found.execute,
                attributes: 0,
                // A page with a watched address has no fast path.
                ram: bus
                    .ram(GuestPhys(found.phys.0 & !(PAGE_SIZE - 1)), Access::cpu(self.cpu))
                    .filter(|_| !self.watches.iter().any(|w| w.touches(va & !(PAGE_SIZE - 1), PAGE_SIZE))),
            });
        }
        Ok(found.phys)
    }

    /// Notes an access for the debugger, and ends the block after its instruction.
    fn watch(&mut self, va: u64, size: u8, kind: AccessKind) {
        let write = kind == AccessKind::Write;
        let wanted = |w: &&super::Watch| w.touches(va, size.into()) && if write { w.write } else { w.read };
        if let Some(w) = self.watches.iter().find(wanted) {
            self.watched = Some((va.max(w.start), write));
            self.soon = true;
        }
    }

    fn misaligned(&mut self, arena: &Arena, bus: &dyn GuestBus, at: u32, va: u64, kind: AccessKind) -> Exception {
        let note = arena.mark_at(at).map_or(0, |(.., mark)| mark.note);
        let mut helper = helper_cx(&mut self.cells[..self.state_cells], &mut self.tlb, bus, self.cpu, self.levels);
        self.isa.alignment_fault(&mut helper, va, kind, note)
    }

    fn refused(&mut self, bus: &dyn GuestBus, va: u64, kind: AccessKind) -> Exception {
        let mut helper = helper_cx(&mut self.cells[..self.state_cells], &mut self.tlb, bus, self.cpu, self.levels);
        self.isa.bus_fault(&mut helper, va, kind)
    }

    /// Tells the machine where the instruction at code index `at` stands.
    pub(super) fn publish(&self, arena: &Arena, bus: &dyn GuestBus, at: u32) {
        match arena.mark_at(at) {
            Some((index, count, mark)) => bus.publish(mark.pc, self.executed.saturating_sub(u64::from(count - index))),
            None => bus.publish(self.pc(), self.executed),
        }
    }

    /// After anything that may have reached a device: should the block end after this instruction?
    pub(super) fn after_bus(&mut self, bus: &dyn GuestBus) {
        if bus.attention().load(Ordering::Relaxed) != 0 {
            self.soon = true;
        }
        let limit = bus.limit();
        if limit < self.limit {
            self.limit = limit;
            self.soon |= limit < self.executed;
        }
        if self.tlb.sync_map(bus.map_version()) {
            self.forget_jumps();
            self.soon = true;
        }
    }

    fn phys_read(&mut self, arena: &Arena, bus: &dyn GuestBus, at: u32, va: u64, phys: GuestPhys, size: u8) -> Result<u64, Exception> {
        self.publish(arena, bus, at);
        let value = bus.read(phys, size, Access::cpu(self.cpu));
        self.after_bus(bus);
        value.map_err(|_| self.refused(bus, va, AccessKind::Read))
    }

    #[allow(clippy::too_many_arguments)] // the access and where it happens
    fn phys_write(
        &mut self,
        arena: &Arena,
        bus: &dyn GuestBus,
        at: u32,
        va: u64,
        phys: GuestPhys,
        size: u8,
        value: u64,
    ) -> Result<(), Exception> {
        self.publish(arena, bus, at);
        let access = Access::cpu(self.cpu);
        // A store over translated code ends the block: it may be this one.
        let slice = bus.ram(phys, access);
        let generation = |slice: &Option<emu_memory::RamSlice>| slice.as_ref().map(|s| s.block.page_generation(s.offset >> PAGE_BITS));
        let before = generation(&slice);
        let result = bus.write(phys, size, value, access);
        self.soon |= generation(&slice) != before;
        self.after_bus(bus);
        result.map_err(|_| self.refused(bus, va, AccessKind::Write))
    }

    // ---- loads and stores

    #[cold]
    #[inline(never)]
    #[allow(clippy::too_many_arguments)] // the access and where it happens
    pub(super) fn slow_load(
        &mut self,
        arena: &Arena,
        bus: &dyn GuestBus,
        at: u32,
        va: u64,
        size: u8,
        mmu: u8,
        align: u16,
        width: u8,
    ) -> Result<u64, Exception> {
        if va & u64::from(align) != 0 {
            return Err(self.misaligned(arena, bus, at, va, AccessKind::Read));
        }
        let phys = self.resolve(bus, va, AccessKind::Read, mmu)?;
        self.watch(va, size, AccessKind::Read);
        let first = PAGE_SIZE - (va & (PAGE_SIZE - 1));
        if first >= u64::from(size) {
            let fast = match size {
                1 => self.tlb.read_u8(va, mmu, self.tag).map(u64::from),
                2 => self.tlb.read_u16(va, mmu, self.tag).map(u64::from),
                4 => self.tlb.read_u32(va, mmu, self.tag).map(u64::from),
                _ => self.tlb.read_u64(va, mmu, self.tag),
            };
            return match fast {
                Some(value) => Ok(value),
                None => self.phys_read(arena, bus, at, va, phys, size),
            };
        }
        let next = va.wrapping_add(first) & (u64::MAX >> (width & 63));
        let second = self.resolve(bus, next, AccessKind::Read, mmu)?;
        let mut value = 0;
        for byte in 0..u64::from(size) {
            let (va, phys) = if byte < first { (va + byte, phys.0 + byte) } else { (next + byte - first, second.0 + byte - first) };
            value |= self.phys_read(arena, bus, at, va, GuestPhys(phys), 1)? << (8 * byte);
        }
        Ok(value)
    }

    #[cold]
    #[inline(never)]
    #[allow(clippy::too_many_arguments)] // the access and where it happens
    pub(super) fn slow_store(
        &mut self,
        arena: &Arena,
        bus: &dyn GuestBus,
        at: u32,
        va: u64,
        size: u8,
        value: u64,
        mmu: u8,
        align: u16,
        width: u8,
    ) -> Result<(), Exception> {
        if va & u64::from(align) != 0 {
            return Err(self.misaligned(arena, bus, at, va, AccessKind::Write));
        }
        let phys = self.resolve(bus, va, AccessKind::Write, mmu)?;
        self.watch(va, size, AccessKind::Write);
        let first = PAGE_SIZE - (va & (PAGE_SIZE - 1));
        if first >= u64::from(size) {
            let fast = match size {
                1 => self.tlb.write_u8(va, value as u8, mmu, self.tag),
                2 => self.tlb.write_u16(va, value as u16, mmu, self.tag),
                4 => self.tlb.write_u32(va, value as u32, mmu, self.tag),
                _ => self.tlb.write_u64(va, value, mmu, self.tag),
            };
            return if fast { Ok(()) } else { self.phys_write(arena, bus, at, va, phys, size, value) };
        }
        let next = va.wrapping_add(first) & (u64::MAX >> (width & 63));
        let second = self.resolve(bus, next, AccessKind::Write, mmu)?;
        for byte in 0..u64::from(size) {
            let (va, phys) = if byte < first { (va + byte, phys.0 + byte) } else { (next + byte - first, second.0 + byte - first) };
            self.phys_write(arena, bus, at, va, GuestPhys(phys), 1, value >> (8 * byte) & 0xff)?;
        }
        Ok(())
    }

    // ---- everything else that touches memory

    #[inline(never)]
    pub(super) fn memory(&mut self, arena: &Arena, bus: &dyn GuestBus, at: u32, side: &Side) -> Result<(), Exception> {
        let va = self.operand(side, 0) as u64;
        let width = 64 - side.types[0].bits().min(64) as u8;
        let second = self.operand(side, 1);
        let Some(mem) = mem_of(side.inst.op) else { return Ok(()) };
        let align = u16::from(mem.align.max(1) - 1);
        let swap = |x: u128| if mem.big { x.swap_bytes() >> (128 - 8 * u32::from(mem.size)) } else { x };
        let kind = match side.inst.op {
            Op::Load(_) | Op::LoadExclusive(_) => AccessKind::Read,
            Op::Probe(_) if side.inst.imm == 0 => AccessKind::Read,
            _ => AccessKind::Write,
        };
        if va & u64::from(align) != 0 {
            return Err(self.misaligned(arena, bus, at, va, kind));
        }
        match side.inst.op {
            Op::Load(_) => {
                let mut value = 0;
                for part in 0..mem.size.div_ceil(8) {
                    let (va, size) = (va.wrapping_add(8 * u64::from(part)) & (u64::MAX >> width), mem.size.min(8));
                    let word = if mem.physical {
                        self.phys_read(arena, bus, at, va, GuestPhys(va), size)?
                    } else {
                        self.slow_load(arena, bus, at, va, size, mem.mmu, 0, width)?
                    };
                    value |= u128::from(word) << (64 * part);
                }
                self.set_result(side, swap(value));
            }
            Op::Store(_) => {
                if mem.size > 8 && !mem.physical {
                    self.probe(bus, va, mem.size, kind, mem.mmu, width)?;
                }
                let value = swap(second);
                for part in 0..mem.size.div_ceil(8) {
                    let (va, size) = (va.wrapping_add(8 * u64::from(part)) & (u64::MAX >> width), mem.size.min(8));
                    let word = (value >> (64 * part)) as u64;
                    if mem.physical {
                        self.phys_write(arena, bus, at, va, GuestPhys(va), size, word)?;
                    } else {
                        self.slow_store(arena, bus, at, va, size, word, mem.mmu, 0, width)?;
                    }
                }
            }
            Op::Probe(_) => self.probe(bus, va, mem.size, kind, mem.mmu, width)?,
            Op::LoadExclusive(_) if self.monitor_ram(va, mem) => {
                let value = self.monitor.map_or(0, |monitor| monitor.value);
                self.set_result(side, swap(value.into()));
            }
            Op::LoadExclusive(_) => {
                let value = self.slow_load(arena, bus, at, va, mem.size, mem.mmu, 0, width)?;
                let phys = self.resolve(bus, va, AccessKind::Read, mem.mmu)?;
                self.monitor = Some(Monitor { phys, size: mem.size, value });
                self.set_result(side, swap(value.into()));
            }
            Op::StoreExclusive(_) => {
                let phys = self.resolve(bus, va, AccessKind::Write, mem.mmu)?;
                let monitor = self.monitor.take().filter(|m| m.phys == phys && m.size == mem.size);
                let stored = match monitor {
                    Some(monitor) => {
                        self.exchange(arena, bus, at, va, phys, mem, monitor.value, swap(second) as u64, width)? == monitor.value
                    }
                    None => false,
                };
                self.set_result(side, stored.into());
            }
            Op::Swap(_) => {
                let phys = self.resolve(bus, va, AccessKind::Write, mem.mmu)?;
                self.resolve(bus, va, AccessKind::Read, mem.mmu)?;
                let new = swap(second) as u64;
                let mut old = self.slow_load(arena, bus, at, va, mem.size, mem.mmu, 0, width)?;
                loop {
                    let found = self.exchange(arena, bus, at, va, phys, mem, old, new, width)?;
                    if found == old {
                        break;
                    }
                    old = found;
                }
                self.set_result(side, swap(old.into()));
            }
            Op::CompareSwap(_) => {
                let phys = self.resolve(bus, va, AccessKind::Write, mem.mmu)?;
                self.resolve(bus, va, AccessKind::Read, mem.mmu)?;
                let (expected, new) = (swap(second) as u64, swap(self.operand(side, 2)) as u64);
                let old = self.exchange(arena, bus, at, va, phys, mem, expected, new, width)?;
                self.set_result(side, swap(old.into()));
            }
            _ => {}
        }
        Ok(())
    }

    /// An exclusive load from a page of RAM that the TLB knows, into the monitor; false if it is none.
    fn monitor_ram(&mut self, va: u64, mem: Mem) -> bool {
        let (mmu, tag, size) = (mem.mmu, self.tag, mem.size);
        let value = match size {
            1 => self.tlb.read_u8(va, mmu, tag).map(u64::from),
            2 => self.tlb.read_u16(va, mmu, tag).map(u64::from),
            4 => self.tlb.read_u32(va, mmu, tag).map(u64::from),
            _ => self.tlb.read_u64(va, mmu, tag),
        };
        let place = self.tlb.lookup(va, mmu, tag).map(|page| GuestPhys(page.phys.0 | va & (PAGE_SIZE - 1)));
        match value.zip(place) {
            Some((value, phys)) => {
                self.monitor = Some(Monitor { phys, size, value });
                true
            }
            None => false,
        }
    }

    #[cold]
    #[inline(never)]
    #[allow(clippy::too_many_arguments)] // the access and where it happens
    pub(super) fn slow_probe(
        &mut self,
        arena: &Arena,
        bus: &dyn GuestBus,
        at: u32,
        va: u64,
        size: u8,
        write: bool,
        mmu: u8,
        align: u16,
        width: u8,
    ) -> Result<(), Exception> {
        let kind = if write { AccessKind::Write } else { AccessKind::Read };
        if va & u64::from(align) != 0 {
            return Err(self.misaligned(arena, bus, at, va, kind));
        }
        self.probe(bus, va, size, kind, mmu, width)
    }

    fn probe(&mut self, bus: &dyn GuestBus, va: u64, size: u8, kind: AccessKind, mmu: u8, width: u8) -> Result<(), Exception> {
        self.resolve(bus, va, kind, mmu)?;
        let last = va.wrapping_add(u64::from(size) - 1) & (u64::MAX >> width);
        if last >> PAGE_BITS != va >> PAGE_BITS {
            self.resolve(bus, last & !(PAGE_SIZE - 1), kind, mmu)?;
        }
        Ok(())
    }

    /// Replaces `old` by `new` if it is there; what was there. Atomic in RAM, unless it lies on two pages; on a device a read and a write.
    #[allow(clippy::too_many_arguments)] // the access and where it happens
    fn exchange(
        &mut self,
        arena: &Arena,
        bus: &dyn GuestBus,
        at: u32,
        va: u64,
        phys: GuestPhys,
        mem: Mem,
        old: u64,
        new: u64,
        width: u8,
    ) -> Result<u64, Exception> {
        if va % PAGE_SIZE + u64::from(mem.size) > PAGE_SIZE {
            self.probe(bus, va, mem.size, AccessKind::Write, mem.mmu, width)?;
            let found = self.slow_load(arena, bus, at, va, mem.size, mem.mmu, 0, width)?;
            if found == old {
                self.slow_store(arena, bus, at, va, mem.size, new, mem.mmu, 0, width)?;
            }
            return Ok(found);
        }
        self.watch(va, mem.size, AccessKind::Write);
        if let Some(result) = self.tlb.compare_exchange(va, mem.size, old, new, mem.mmu, self.tag) {
            return Ok(result.unwrap_or_else(|found| found));
        }
        if let Some(found) = bus.exchange(phys, mem.size, old, new) {
            self.after_bus(bus);
            return found.map_err(|_| self.refused(bus, va, AccessKind::Write));
        }
        if let Some(slice) = bus.ram(phys, Access::cpu(self.cpu)).filter(|s| s.writable) {
            let page = slice.offset >> PAGE_BITS;
            let before = slice.block.page_generation(page);
            if let Some(result) = slice.block.compare_exchange(slice.offset, mem.size, old, new) {
                self.soon |= slice.block.page_generation(page) != before;
                return Ok(result.unwrap_or_else(|found| found));
            }
        }
        let found = self.phys_read(arena, bus, at, va, phys, mem.size)?;
        if found == old {
            self.phys_write(arena, bus, at, va, phys, mem.size, new)?;
        }
        Ok(found)
    }

    // ---- helpers and exceptions

    #[inline(never)]
    pub(super) fn call(&mut self, bus: &dyn GuestBus, side: &Side) -> Result<(), Exception> {
        let Op::Call(id) = side.inst.op else { return Ok(()) };
        let mut args = [0; 6];
        for (index, arg) in args.iter_mut().enumerate() {
            *arg = self.operand(side, index) as u64;
        }
        match side.mark {
            Some((pc, rest)) => {
                self.set_pc(pc);
                bus.publish(pc, self.executed.saturating_sub(rest.into()));
            }
            None => bus.publish(self.pc(), self.executed),
        }
        let mut helper = helper_cx(&mut self.cells[..self.state_cells], &mut self.tlb, bus, self.cpu, self.levels);
        let result = self.isa.call(id, &mut helper, &args);
        let (flush, event, others) = (helper.flush_code, helper.send_event, helper.flush_others);
        let tag = self.isa.space_tag(&self.cells[..self.state_cells]);
        self.follow_flush();
        self.set_tag(tag);
        self.soon |= flush;
        if event {
            self.event = true;
            bus.send_event();
        }
        if others {
            bus.flush_other_tlbs();
        }
        self.after_bus(bus);
        let value = result?;
        if side.inst.res != Value::NONE {
            self.set_result(side, u128::from(value) & side.inst.ty.mask());
        }
        Ok(())
    }

    pub(super) fn raised(&mut self, id: u16, side: &Side) -> Exception {
        let mut args = [0; 4];
        for (index, arg) in args.iter_mut().enumerate() {
            *arg = self.operand(side, index) as u64;
        }
        Exception { id, args }
    }
}

fn mem_of(op: Op) -> Option<Mem> {
    match op {
        Op::Load(mem)
        | Op::Store(mem)
        | Op::Probe(mem)
        | Op::LoadExclusive(mem)
        | Op::StoreExclusive(mem)
        | Op::Swap(mem)
        | Op::CompareSwap(mem) => Some(mem),
        _ => None,
    }
}
