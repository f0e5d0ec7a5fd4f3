//! Accesses of a region to memory that the host does not map, or that may not be half done: pages that were found already are not looked up again.
//!
//! Each place that accesses memory by the same base has a *slot* in memory: the virtual page it used last, and what to add for the host's address. A page
//! that a slot has is found in seven host instructions; else, out of line, it comes from the TLB's front, or by a call. Slots are empty when a region is
//! entered, so whatever makes the TLB forget a page, which asks for attention first, makes slots forget it. Accesses to constant offsets from one base that
//! follow each other are checked once, as in the quick tier; if they lie on two pages the interpreter goes on.

use super::super::code::{Bc, Code};
use super::is_called;
use super::lower::{Lower, ours};
use super::plan::written;
use crate::interp::quick::Together;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{Block, InstBuilder, InstructionData, Opcode, Value};
use emu_memory::{FRONT_BITS, Front, PAGE_BITS, PAGE_SIZE};
use std::mem::offset_of;

/// Slots of a region at most; what has none is looked up in the front.
pub const MAX_SLOTS: usize = 16;
/// The page of an empty slot: no address of 32 bits is near it.
pub const EMPTY: u64 = 1 << 63;
/// Operations that are looked at for where an address comes from.
const DEEPEST: u32 = 8;
/// Bytes that accesses of one check may span.
const SPAN: i64 = 512;

/// An access as its word says it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Access {
    pub base: u16,
    pub offset: i64,
    pub size: i64,
    /// Alignment less one.
    pub align: u8,
    pub mmu: u8,
    /// Addresses have 32 bits.
    pub narrow: bool,
    pub write: bool,
}

impl Access {
    pub fn of(c: &Code) -> Option<Access> {
        use Bc::*;
        let (size, write) = match c.op {
            Load8 | Load16 | Load32 | Load64 => (1 << (c.op as u32 - Load8 as u32), false),
            Store8 | Store16 | Store32 | Store64 => (1 << (c.op as u32 - Store8 as u32), true),
            ProbeRead | ProbeWrite => (c.a.into(), c.op == ProbeWrite),
            _ => return None,
        };
        let align = (c.c >> 8).min(255) as u8;
        Some(Access { base: c.b, offset: c.imm as i64, size, align, mmu: c.c as u8, narrow: c.x == 32, write })
    }
}

/// Bytes on one page whose host address is known, at offsets from a base that only had constant steps since.
#[derive(Clone, Copy)]
pub(super) struct Page {
    /// What they were found for: of `size` bytes from `offset` on.
    of: Access,
    read: bool,
    write: bool,
    /// What was added to the base since.
    step: i64,
    /// The host address of the first.
    host: Value,
}

/// A constant step of a cell by itself.
fn step_of(c: &Code) -> Option<i64> {
    match c.op {
        Bc::Add32I if c.a == c.b => Some(i64::from(c.imm as i32)),
        Bc::Add64I if c.a == c.b => Some(c.imm as i64),
        _ => None,
    }
}

/// What is added to the base by a word that writes it; `None`: that is not known.
fn steps(c: &Code, base: u16, narrow: bool) -> Option<i64> {
    if written(c).all(|cell| cell != base) {
        return Some(0);
    }
    step_of(c).filter(|_| c.a == base && (c.op == Bc::Add32I) == narrow)
}

impl Lower<'_> {
    /// A word is done: what was known of pages by a base that it wrote.
    pub fn step_pages(&mut self, c: &Code) {
        self.known.pages.retain_mut(|page| match steps(c, page.of.base, page.of.narrow).and_then(|step| page.step.checked_add(step)) {
            Some(step) => {
                page.step = step;
                true
            }
            None => false,
        });
    }

    /// The host address of an access, as a value and an offset, if its page is known.
    fn covered(&self, a: &Access) -> Option<(Value, i32)> {
        self.known.pages.iter().find_map(|page| {
            let offset = a.offset.checked_add(page.step)?.checked_sub(page.of.offset)?;
            let inside = offset >= 0 && offset + a.size <= page.of.size && offset & i64::from(a.align) == 0 && a.align <= page.of.align;
            let same = (a.base, a.mmu, a.narrow) == (page.of.base, page.of.mmu, page.of.narrow);
            (same && inside && if a.write { page.write } else { page.read }).then_some((page.host, offset as i32))
        })
    }

    /// The accesses from this one on that are checked with it: all of their bytes, if some read and some write, and how many.
    fn together(&self, a: &Access) -> (Access, bool, bool, usize) {
        let (mut all, mut read, mut write, mut count, mut step) = (*a, !a.write, a.write, 1, 0i64);
        let words = &self.input.pieces[self.place.0].words[self.place.1..self.end];
        for (n, c) in
            words.iter().enumerate().take(if self.input.layout.apart || self.input.layout.window.is_some() { 1 } else { usize::MAX })
        {
            if n > 0 {
                if is_called(c) || c.op == Bc::Fence {
                    break;
                }
                let same = |b: &Access| (b.base, b.mmu, b.narrow) == (a.base, a.mmu, a.narrow) && b.align <= a.align;
                if let Some(b) = Access::of(c).filter(same) {
                    let offset = b.offset.saturating_add(step);
                    let (low, high) = (all.offset.min(offset), (all.offset + all.size).max(offset.saturating_add(b.size)));
                    // The first byte is to be aligned as the first access is.
                    let align = if offset < all.offset { a.align } else { b.align };
                    if high.saturating_sub(low) <= SPAN && offset.wrapping_sub(a.offset) & i64::from(align) == 0 {
                        (all.offset, all.size, count) = (low, high - low, count + 1);
                        (read, write) = (read | !b.write, write | b.write);
                    }
                }
            }
            match steps(c, a.base, a.narrow) {
                Some(more) => step = step.saturating_add(more),
                None => break,
            }
        }
        (all, read, write, count)
    }

    /// An access to memory whose page is looked up.
    pub fn looked_up(&mut self, c: &Code, a: &Access) {
        let probe = matches!(c.op, Bc::ProbeRead | Bc::ProbeWrite);
        // What is stored, or asked of devices, is not done again.
        self.look();
        if let Some((host, offset)) = self.covered(a) {
            if !probe {
                self.access_at(c, a, host, offset);
            }
            return;
        }
        let (all, read, write, count) = self.together(a);
        let alone = count == 1;
        let va = self.address(all.base, all.offset, all.narrow);
        let stored = (a.write && !probe).then(|| self.get(c.a));
        let fast = self.b.create_block();
        // Not the host's address: most accesses add it themselves.
        let addend = self.b.append_block_param(fast, I64);
        let slot = if self.is_scattered(va, DEEPEST) { None } else { self.slot(&all, (read, write)) };
        if let Some(slot) = slot {
            let (miss, hit) = (self.b.create_block(), self.b.create_block());
            let page = self.b.ins().load(I64, ours(), self.cells, slot);
            let bits = all.align.trailing_ones();
            let found = if bits > 0 && all.size == 1 << bits {
                // Bits that are to be 0 make it another page.
                let mask = self.k64(!(PAGE_SIZE - 1) | u64::from(all.align));
                let place = self.b.ins().band(va, mask);
                self.b.ins().icmp(IntCC::Equal, place, page)
            } else {
                let mut inside = self.b.ins().isub(va, page);
                if bits != 0 {
                    // They make it large.
                    let bits = self.k32(bits);
                    inside = self.b.ins().rotr(inside, bits);
                }
                let last = self.k64((PAGE_SIZE as i64 - all.size) as u64 >> bits);
                self.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, inside, last)
            };
            self.b.set_cold_block(miss);
            self.b.ins().brif(found, hit, &[], miss, &[]);
            self.b.switch_to_block(hit);
            let addend = self.b.ins().load(I64, ours(), self.cells, slot + 8);
            self.jump_with(fast, addend);
            self.b.switch_to_block(miss);
        }
        let (line, found) = self.front_has(va, &all, (read, write));
        let (fill, slow, on) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        if slot.is_some() {
            self.b.set_cold_block(fill);
        }
        self.b.set_cold_block(slow);
        self.b.ins().brif(found, fill, &[], slow, &[]);
        self.b.switch_to_block(fill);
        self.fill(slot, va, line, fast);
        self.b.switch_to_block(slow);
        let loads = !a.write && !probe;
        let result = (alone && loads).then(|| self.b.append_block_param(on, I64));
        let known = self.known.clone();
        if alone {
            let calls = self.input.calls;
            let log = a.size.trailing_zeros() as usize;
            let (function, arguments) = match (probe, stored) {
                (true, _) => (calls.probe, vec![va]),
                (_, Some(stored)) => (calls.store[log], vec![va, stored]),
                _ => (calls.load[log], vec![va]),
            };
            let given = self.call(function, &arguments);
            self.set_cold();
            self.put_back();
            match result {
                Some(_) => self.jump_with(on, given),
                None => _ = self.b.ins().jump(on, &[]),
            }
        } else {
            let past = (all.size - 1 - i64::from(all.align)).max(0) as u16;
            let together = Together { past, align: all.align, mmu: all.mmu, narrow: all.narrow, read, write };
            let together = self.k64(together.pack().into());
            self.call(self.input.calls.refill, &[va, together]);
            self.set_cold();
            self.put_back();
            let (line, _) = self.front_has(va, &all, (read, write));
            self.fill(slot, va, line, fast);
        }
        self.known = known;
        self.b.switch_to_block(fast);
        let host = self.b.ins().iadd(addend, va);
        if !alone {
            self.known.pages.push(Page { of: all, read, write, step: 0, host });
        }
        match result {
            Some(result) => {
                let value = self.load(a, host, 0);
                self.jump_with(on, value);
                self.b.switch_to_block(on);
                self.loaded(c, result);
            }
            None => {
                if !probe {
                    self.access_at(c, a, host, (a.offset - all.offset) as i32);
                }
                self.b.ins().jump(on, &[]);
                self.b.switch_to_block(on);
            }
        }
    }

    /// An address is that of an element of an array, whose index says little of where the next one will be: a slot would hardly have its page.
    fn is_scattered(&self, va: Value, deep: u32) -> bool {
        let Some(deep) = deep.checked_sub(1) else { return false };
        match self.made_by(va) {
            Some(InstructionData::Unary { opcode: Opcode::Uextend | Opcode::Ireduce, arg }) => self.is_scattered(arg, deep),
            Some(InstructionData::Binary { opcode: Opcode::Iadd, args }) => args.iter().any(|arg| self.is_scattered(*arg, deep)),
            Some(InstructionData::Binary { opcode: Opcode::Ishl, args: [index, by] }) => {
                self.constant_of(by).is_some_and(|by| by > 0 && by < 6 && self.most(index, DEEPEST) > PAGE_SIZE >> by)
            }
            _ => false,
        }
    }

    /// Where the slot of accesses is, from the first cell.
    fn slot(&mut self, a: &Access, (read, write): (bool, bool)) -> Option<i32> {
        // A temporary is another one each time.
        let base = if a.base < self.input.layout.state { (0, usize::from(a.base)) } else { (self.place.0 + 1, self.place.1) };
        let key = (base, a.mmu, read, write);
        let known = self.slots.iter().position(|slot| *slot == key);
        let number = known.unwrap_or(self.slots.len());
        if !a.narrow || number >= MAX_SLOTS {
            return None;
        }
        if known.is_none() {
            self.slots.push(key);
        }
        Some(self.input.layout.slots + 16 * number as i32)
    }

    /// Goes on with the addend of a line of the front, which the slot has then.
    fn fill(&mut self, slot: Option<i32>, va: Value, line: Value, fast: Block) {
        let addend = self.b.ins().load(I64, ours(), line, offset_of!(Front, addend) as i32);
        if let Some(slot) = slot {
            let mask = self.k64(!(PAGE_SIZE - 1));
            let page = self.b.ins().band(va, mask);
            self.b.ins().store(ours(), page, self.cells, slot);
            self.b.ins().store(ours(), addend, self.cells, slot + 8);
        }
        self.jump_with(fast, addend);
    }

    /// The line of the front for an address, and whether it has all that is accessed from there on.
    fn front_has(&mut self, va: Value, a: &Access, (read, write): (bool, bool)) -> (Value, Value) {
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
        let front = match self.input.layout.window {
            Some(_) => self.b.ins().load(I64, ours(), self.cells, self.input.layout.front),
            None => self.b.use_var(self.front),
        };
        let line = self.b.ins().iadd(front, line);
        // As `Front::tag` has it.
        let past = (a.size - 1 - i64::from(a.align)).max(0);
        let mut tag = va;
        if past != 0 {
            let past = self.k64(past as u64);
            tag = self.b.ins().iadd(va, past);
        }
        if a.narrow && past != 0 {
            tag = self.b.ins().ireduce(I32, tag);
            tag = self.b.ins().uextend(I64, tag);
        }
        let mask = self.k64(Front::mask(a.align));
        tag = self.b.ins().band(tag, mask);
        if Front::index_bits(a.mmu) != 0 {
            let index = self.k64(Front::index_bits(a.mmu));
            tag = self.b.ins().bor(tag, index);
        }
        let fields = [(read, offset_of!(Front, read)), (write, offset_of!(Front, write))];
        let mut found = None;
        for (_, field) in fields.into_iter().filter(|(wanted, _)| *wanted) {
            let there = self.b.ins().load(I64, ours(), line, field as i32);
            let same = self.b.ins().icmp(IntCC::Equal, tag, there);
            found = Some(found.map_or(same, |both| self.b.ins().band(both, same)));
        }
        let found = found.unwrap_or_else(|| self.k64(0));
        (line, found)
    }
}
