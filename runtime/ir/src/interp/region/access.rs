//! Loads, stores and probes of a region.

use super::super::code::{Bc, Code};
use super::Exit;
use super::lower::Lower;
use super::pages::Access;
use cranelift_codegen::ir::types::{I8X16, I64};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};

/// Memory of the guest's: the host may refuse it.
fn guests() -> MemFlagsData {
    MemFlagsData::new()
}

/// An address of 32 bits plus an offset of so many bytes at most, either way, is inside the guards of directly mapped memory.
const GUARD: i64 = 1 << 14;

impl Lower<'_> {
    pub fn address(&mut self, base: u16, offset: i64, narrow: bool) -> Value {
        if narrow && offset == 0 {
            return self.get(base);
        }
        if narrow {
            let base = self.low(base);
            let offset = self.k32(offset as u32);
            let sum = self.b.ins().iadd(base, offset);
            return self.b.ins().uextend(I64, sum);
        }
        let (base, offset) = (self.get(base), self.k64(offset as u64));
        self.b.ins().iadd(base, offset)
    }

    pub fn access(&mut self, c: &Code) {
        let Some(a) = Access::of(c) else { return };
        // What a window refuses one of several stores must not have been half done.
        let probe = c.op == Bc::ProbeWrite && self.input.layout.window.is_some();
        if self.input.layout.is_mapped() && !probe { self.mapped(c, &a) } else { self.looked_up(c, &a) }
    }

    /// Memory that the host maps.
    fn mapped(&mut self, c: &Code, a: &Access) {
        if let Some((at, offset)) = self.mapped_at(c, a) {
            self.access_at(c, a, at, offset);
        }
    }

    /// Where an access is, if that is not all.
    fn mapped_at(&mut self, c: &Code, a: &Access) -> Option<(Value, i32)> {
        if a.align != 0 {
            let va = self.address(a.base, a.offset, a.narrow);
            let mask = self.k64(a.align.into());
            let odd = self.b.ins().band(va, mask);
            self.leave_if(odd, Exit::Resume(self.at));
        }
        if matches!(c.op, Bc::ProbeRead | Bc::ProbeWrite) {
            return None;
        }
        self.before_access(!a.write);
        let near = a.narrow && a.offset.abs() <= GUARD;
        let (va, offset) = if near {
            // A value of 32 bits, as addresses are.
            (self.get(a.base), a.offset as i32)
        } else {
            (self.address(a.base, a.offset, a.narrow), 0)
        };
        let front = self.b.use_var(self.front);
        Some((self.b.ins().iadd(front, va), offset))
    }

    /// Two accesses of 64 bits as one of 128.
    pub fn pair_access(&mut self, c: &Code, d: &Code) -> bool {
        let load = c.op == Bc::Load64;
        let next = (d.b, d.x, d.c, d.imm) == (c.b, c.x, c.c, c.imm.wrapping_add(8));
        if !next || c.c >> 8 > 7 || load && (c.b == c.a || c.b == d.a) {
            return false;
        }
        let Some((at, offset)) = Access::of(c).and_then(|a| self.mapped_at(c, &a)) else { return false };
        if load {
            let value = self.b.ins().load(I8X16, guests(), at, offset);
            self.set_wide(c.a, value);
        } else {
            let value = self.get_wide(c.a);
            self.b.ins().store(guests(), value, at, offset);
        }
        true
    }

    /// A load or store at a host address.
    pub fn access_at(&mut self, c: &Code, a: &Access, at: Value, offset: i32) {
        if !a.write {
            let value = match self.loaded_as(c) {
                Some(ty) => self.b.ins().load(ty, guests(), at, offset),
                None => self.load(a, at, offset),
            };
            return self.loaded(c, value);
        }
        if let Some(number) = self.stored_as(c) {
            self.b.ins().store(guests(), number, at, offset);
            return;
        }
        let value = self.get(c.a);
        match a.size {
            1 => self.b.ins().istore8(guests(), value, at, offset),
            2 => self.b.ins().istore16(guests(), value, at, offset),
            4 => self.b.ins().istore32(guests(), value, at, offset),
            _ => self.b.ins().store(guests(), value, at, offset),
        };
    }

    /// A cell gets what was loaded.
    pub fn loaded(&mut self, c: &Code, value: Value) {
        self.known.numbers.anchored.insert(value);
        if self.b.func.dfg.value_type(value) == I64 { self.set(c.a, value) } else { self.set_float(c.a, value) }
    }

    pub fn load(&mut self, a: &Access, at: Value, offset: i32) -> Value {
        match a.size {
            1 => self.b.ins().uload8(I64, guests(), at, offset),
            2 => self.b.ins().uload16(I64, guests(), at, offset),
            4 => self.b.ins().uload32(guests(), at, offset),
            _ => self.b.ins().load(I64, guests(), at, offset),
        }
    }
}
