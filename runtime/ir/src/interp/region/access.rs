//! Loads, stores and probes of a region.

use super::super::code::{Bc, Code};
use super::Exit;
use super::lower::{Lower, ours};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, I8X16, I32, I64};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value};
use emu_memory::{FRONT_BITS, Front, PAGE_BITS};
use std::mem::offset_of;

/// Memory of the guest's: the host may refuse it.
fn guests() -> MemFlagsData {
    MemFlagsData::new()
}

/// An address of 32 bits plus an offset of so many bytes at most, either way, is inside the guards of directly mapped memory.
const GUARD: i64 = 1 << 14;

impl Lower<'_> {
    /// log2 of the bytes, and if it writes.
    fn kind(c: &Code) -> (u32, bool) {
        use Bc::*;
        match c.op {
            Load8 | Load16 | Load32 | Load64 => (c.op as u32 - Load8 as u32, false),
            Store8 | Store16 | Store32 | Store64 => (c.op as u32 - Store8 as u32, true),
            op => (u32::from(c.a).trailing_zeros(), op == ProbeWrite),
        }
    }

    fn address(&mut self, c: &Code) -> Value {
        if c.x == 32 {
            let base = self.low(c.b);
            let offset = self.k32(c.imm as u32);
            let sum = self.b.ins().iadd(base, offset);
            return self.b.ins().uextend(I64, sum);
        }
        let (base, offset) = (self.get(c.b), self.k64(c.imm));
        self.b.ins().iadd(base, offset)
    }

    pub fn access(&mut self, c: &Code) {
        let (log, write) = Lower::kind(c);
        let probe = matches!(c.op, Bc::ProbeRead | Bc::ProbeWrite);
        if self.input.layout.direct {
            self.mapped(c, log, write, probe);
        } else {
            self.looked_up(c, log, write, probe);
        }
    }

    /// Memory that the host maps.
    fn mapped(&mut self, c: &Code, log: u32, write: bool, probe: bool) {
        let Some((at, offset)) = self.mapped_at(c, write, probe) else { return };
        if write {
            self.store(c, log, at, offset);
        } else {
            let ty = self.loaded_as(c);
            let value = self.load(log, ty, at, offset);
            self.loaded(c, value);
        }
    }

    /// Two accesses of 64 bits as one of 128.
    pub fn pair_access(&mut self, c: &Code, d: &Code) -> bool {
        let load = c.op == Bc::Load64;
        let next = (d.b, d.x, d.c, d.imm) == (c.b, c.x, c.c, c.imm.wrapping_add(8));
        if !next || c.c >> 8 > 7 || load && (c.b == c.a || c.b == d.a) {
            return false;
        }
        let Some((at, offset)) = self.mapped_at(c, !load, false) else { return false };
        if load {
            let value = self.b.ins().load(I8X16, guests(), at, offset);
            self.set_wide(c.a, value);
        } else {
            let value = self.get_wide(c.a);
            self.b.ins().store(guests(), value, at, offset);
        }
        true
    }

    /// Where an access is, if that is not all.
    fn mapped_at(&mut self, c: &Code, write: bool, probe: bool) -> Option<(Value, i32)> {
        let align = u64::from(c.c >> 8);
        if align != 0 {
            let va = self.address(c);
            let mask = self.k64(align);
            let odd = self.b.ins().band(va, mask);
            self.leave_if(odd, Exit::Resume(self.at));
        }
        if probe {
            return None;
        }
        self.before_access(!write);
        let offset = c.imm as i64;
        let near = c.x == 32 && offset.abs() <= GUARD;
        let (va, offset) = if near {
            let base = self.low(c.b);
            (self.b.ins().uextend(I64, base), offset as i32)
        } else {
            (self.address(c), 0)
        };
        let front = self.b.use_var(self.front);
        Some((self.b.ins().iadd(front, va), offset))
    }

    /// A cell gets what was loaded.
    fn loaded(&mut self, c: &Code, value: Value) {
        self.numbers.known.anchored.insert(value);
        if self.b.func.dfg.value_type(value) == I64 { self.set(c.a, value) } else { self.set_float(c.a, value) }
    }

    fn load(&mut self, log: u32, ty: Option<Type>, at: Value, offset: i32) -> Value {
        if let Some(ty) = ty {
            return self.b.ins().load(ty, guests(), at, offset);
        }
        match log {
            0 => self.b.ins().uload8(I64, guests(), at, offset),
            1 => self.b.ins().uload16(I64, guests(), at, offset),
            2 => self.b.ins().uload32(guests(), at, offset),
            _ => self.b.ins().load(I64, guests(), at, offset),
        }
    }

    fn store(&mut self, c: &Code, log: u32, at: Value, offset: i32) {
        if let Some(number) = self.stored_as(c) {
            self.b.ins().store(guests(), number, at, offset);
            return;
        }
        let value = self.get(c.a);
        match log {
            0 => self.b.ins().istore8(guests(), value, at, offset),
            1 => self.b.ins().istore16(guests(), value, at, offset),
            2 => self.b.ins().istore32(guests(), value, at, offset),
            _ => self.b.ins().store(guests(), value, at, offset),
        };
    }

    /// Memory whose page is looked up in the TLB's front.
    fn looked_up(&mut self, c: &Code, log: u32, write: bool, probe: bool) {
        // What the call stores, or asks devices, is not done again.
        self.look();
        let va = self.address(c);
        let (align, mmu) = ((c.c >> 8) as u8, c.c as u8);
        let size = if probe { i64::from(c.a) } else { 1 << log };
        let page = |l: &mut Self, bits: u32| {
            let bits = l.k64(bits.into());
            l.b.ins().ushr(va, bits)
        };
        let (low, high) = (page(self, PAGE_BITS), page(self, PAGE_BITS + FRONT_BITS));
        let sum = self.b.ins().iadd(low, high);
        let lines = self.k64((1 << FRONT_BITS) - 1);
        let line = self.b.ins().band(sum, lines);
        let three = self.k64(3);
        let line = self.b.ins().ishl(line, three);
        let front = self.b.use_var(self.front);
        let line = self.b.ins().iadd(front, line);
        // As `Front::tag` has it.
        let past = (size - 1 - i64::from(align)).max(0);
        let mut tag = va;
        if past != 0 {
            let past = self.k64(past as u64);
            tag = self.b.ins().iadd(va, past);
        }
        if c.x == 32 && past != 0 {
            tag = self.b.ins().ireduce(I32, tag);
            tag = self.b.ins().uextend(I64, tag);
        }
        let mask = self.k64(Front::mask(align));
        tag = self.b.ins().band(tag, mask);
        if Front::index_bits(mmu) != 0 {
            let index = self.k64(Front::index_bits(mmu));
            tag = self.b.ins().bor(tag, index);
        }
        let field = if write { offset_of!(Front, write) } else { offset_of!(Front, read) };
        let there = self.b.ins().load(I64, ours(), line, field as i32);
        let found = self.b.ins().icmp(IntCC::Equal, tag, there);
        let (fast, slow, on) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(slow);
        let loads = !write && !probe;
        let ty = if loads { self.loaded_as(c) } else { None };
        let result = loads.then(|| self.b.append_block_param(on, ty.unwrap_or(I64)));
        self.b.ins().brif(found, fast, &[], slow, &[]);
        self.b.switch_to_block(slow);
        let stored = write && !probe;
        let value = if stored { vec![va, self.get(c.a)] } else { vec![va] };
        let calls = self.input.calls;
        let function = match (probe, write) {
            (true, _) => calls.probe,
            (_, true) => calls.store[log as usize],
            _ => calls.load[log as usize],
        };
        let given = self.call(function, &value);
        if let Some(behind) = self.b.current_block() {
            self.b.set_cold_block(behind);
        }
        if loads {
            let given = match ty {
                Some(F32) => {
                    let low = self.b.ins().ireduce(I32, given);
                    self.b.ins().bitcast(F32, MemFlagsData::new(), low)
                }
                Some(ty) => self.b.ins().bitcast(ty, MemFlagsData::new(), given),
                None => given,
            };
            self.jump_with(on, given);
        } else {
            self.b.ins().jump(on, &[]);
        }
        self.b.switch_to_block(fast);
        if probe {
            self.b.ins().jump(on, &[]);
        } else {
            let addend = self.b.ins().load(I64, ours(), line, offset_of!(Front, addend) as i32);
            let at = self.b.ins().iadd(addend, va);
            if write {
                self.store(c, log, at, 0);
                self.b.ins().jump(on, &[]);
            } else {
                let value = self.load(log, ty, at, 0);
                self.jump_with(on, value);
            }
        }
        self.b.switch_to_block(on);
        if let Some(result) = result {
            self.loaded(c, result);
        }
    }
}
