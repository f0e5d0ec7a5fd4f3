//! Loads and stores.
//!
//! An access looks for its page in the TLB's front; what it does not find takes the slow path, out of line. Several accesses to constant offsets from
//! the same base look once, for all of them: then each is one instruction. If they do not find their page, or lie on two, the interpreter executes the
//! rest of the block; where that comes up often, each looks for its own ([`super::Quick::strain`]).
//!
//! Where the host maps the guest's memory ([`emu_memory::GuestBus::direct`]) an access is one instruction without a look, and one more for its
//! alignment where that counts: what the host refuses is for the interpreter ([`super::faults`]). Two accesses of adjoining bytes to cells that are neighbours
//! are one there ([`Emitter::halves`]): of a vector's halves, and of words of 32 bits that are only moved and stored together, as a copy with LDM and STM has them.

use super::super::code::{Bc, Code};
use super::cold::Cold;
use super::effects::{is_branch, is_jump, is_written, moved};
use super::emit::Emitter;
use super::regs::{POINTERS, RAX, Registers};
use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, dynasm};
use emu_memory::{FRONT_BITS, Front, PAGE_BITS};
use std::mem::offset_of;

/// Words looked at for accesses that go together.
const WINDOW: usize = 64;
/// Bytes they may span.
const SPAN: i64 = 512;

/// An address of 32 bits plus an offset of so many bytes at most, either way, is inside the guards of directly mapped memory.
const GUARD: i64 = 1 << 15;

/// A page that was looked up (or an alignment that was, where the host maps memory), for offsets from a base that no word has written since, but for constant steps.
#[derive(Clone, Copy)]
pub struct Group {
    base: u16,
    /// What was added to the base since, modulo the address's width.
    step: i64,
    mmu: u8,
    x: u8,
    /// Offsets that were checked, from the base as it was: the first byte, and one past the last.
    from: i64,
    to: i64,
    /// The first offset has this alignment, less one.
    align: u8,
    read: bool,
    write: bool,
    /// The register that has the host address of `from` is kept under this number.
    pointer: u16,
}

/// An access as its word says it.
#[derive(Clone, Copy)]
struct Access {
    base: u16,
    offset: i64,
    size: i64,
    mmu: u8,
    x: u8,
    align: u8,
    write: bool,
}

fn access(c: &Code) -> Option<Access> {
    use Bc::*;
    let (size, write) = match c.op {
        Load8 | Load16 | Load32 | Load64 => (1 << (c.op as usize - Load8 as usize), false),
        Store8 | Store16 | Store32 | Store64 => (1 << (c.op as usize - Store8 as usize), true),
        ProbeRead => (i64::from(c.a), false),
        ProbeWrite => (i64::from(c.a), true),
        _ => return None,
    };
    let align = (c.c >> 8).min(255) as u8;
    Some(Access { base: c.b, offset: c.imm as i64, size, mmu: c.c as u8, x: c.x, align, write })
}

/// The first of two accesses of one size where the second's bytes follow; a load's result is not the base.
fn adjoining(c: &Code, d: &Code) -> Option<Access> {
    let (a, b) = (access(c)?, access(d)?);
    let adjoin = (b.base, b.mmu, b.x, b.size, Some(b.offset)) == (a.base, a.mmu, a.x, a.size, a.offset.checked_add(a.size));
    (adjoin && matches!(a.x, 0 | 32) && a.align <= 15 && (a.write || ![c.a, d.a].contains(&a.base))).then_some(a)
}

/// A constant step of a cell by itself.
fn step_of(c: &Code) -> Option<i64> {
    match c.op {
        Bc::Add32I if c.a == c.b => Some(i64::from(c.imm as i32)),
        Bc::Add64I if c.a == c.b => Some(c.imm as i64),
        _ => None,
    }
}

/// Accesses that go together, as their look-up compares them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Together {
    /// The last part begins so many bytes behind the first byte.
    pub past: u16,
    /// Alignment less one, at most 15.
    pub align: u8,
    /// At most 15.
    pub mmu: u8,
    /// Addresses have 32 bits.
    pub narrow: bool,
    pub read: bool,
    pub write: bool,
}

impl Together {
    pub fn pack(self) -> u32 {
        let flags = u32::from(self.narrow) | u32::from(self.read) << 1 | u32::from(self.write) << 2;
        u32::from(self.past) << 16 | u32::from(self.align & 15) << 8 | u32::from(self.mmu & 15) << 4 | flags
    }

    pub fn unpack(value: u32) -> Together {
        Together {
            past: (value >> 16) as u16,
            align: (value >> 8) as u8 & 15,
            mmu: (value >> 4) as u8 & 15,
            narrow: value & 1 != 0,
            read: value & 2 != 0,
            write: value & 4 != 0,
        }
    }
}

impl Emitter<'_> {
    /// A word wrote a cell: what was known of pages by this base.
    pub fn base_written(&mut self, c: &Code, cell: u16) {
        let step = step_of(c);
        let moved = moved(c);
        self.groups.retain_mut(|g| {
            if g.base != cell {
                if moved == Some((cell, g.base)) {
                    g.base = cell;
                }
                return true;
            }
            match step.and_then(|step| g.step.checked_add(step)) {
                // A step of 32 bits is one of the address only if that has 32.
                Some(step) if (c.op == Bc::Add32I) == (g.x == 32) => {
                    g.step = step;
                    true
                }
                _ => false,
            }
        });
    }

    /// The address of an access in `rax`.
    fn address(&mut self, base: u16, offset: i64, x: u8) {
        let b = self.get(base);
        self.address_from(b, offset, x);
    }

    /// The same, with the base in a register.
    fn address_from(&mut self, b: u8, offset: i64, x: u8) {
        if x == 32 && offset == 0 {
            dynasm!(self.ops ; .arch x64 ; mov eax, Rd(b));
        } else if x == 32 {
            dynasm!(self.ops ; .arch x64 ; lea eax, [Rq(b) + offset as i32]);
        } else if let Ok(offset) = i32::try_from(offset) {
            dynasm!(self.ops ; .arch x64 ; lea rax, [Rq(b) + offset]);
        } else {
            self.constant(RAX, offset as u64);
            dynasm!(self.ops ; .arch x64 ; add rax, Rq(b));
        }
    }

    /// Finds the line of the front for the address in `rax`; `rcx` is its number. Goes to `slow` unless the access matches, whose last part begins
    /// `past` bytes further on.
    fn look_up(&mut self, past: i64, align: u8, mmu: u8, x: u8, (read, write): (bool, bool), slow: DynamicLabel) {
        let mask = Front::mask(align) as i64 as i32;
        let lines = (1 << FRONT_BITS) - 1;
        // The lowest bits of their sum are the line: a rotation, which copies at the same time, is as good as a shift.
        let (high, low) = ((PAGE_BITS + FRONT_BITS) as i8, PAGE_BITS as i8);
        match (x == 32, self.shape.bmi2) {
            (true, true) => dynasm!(self.ops ; .arch x64 ; rorx ecx, eax, high ; rorx edx, eax, low),
            (false, true) => dynasm!(self.ops ; .arch x64 ; rorx rcx, rax, high ; rorx rdx, rax, low),
            (true, false) => dynasm!(self.ops ; .arch x64 ; mov ecx, eax ; shr ecx, high ; mov edx, eax ; shr edx, low),
            (false, false) => dynasm!(self.ops ; .arch x64 ; mov rcx, rax ; shr rcx, high ; mov rdx, rax ; shr rdx, low),
        }
        dynasm!(self.ops ; .arch x64 ; add ecx, edx ; and ecx, lines);
        match (x, past) {
            (32, 0) => dynasm!(self.ops ; .arch x64 ; mov edx, eax ; and edx, mask),
            (32, _) => dynasm!(self.ops ; .arch x64 ; lea edx, [rax + past as i32] ; and edx, mask),
            _ => dynasm!(self.ops ; .arch x64 ; lea rdx, [rax + past as i32] ; and rdx, mask),
        }
        let index = Front::index_bits(mmu) as i32;
        if index != 0 {
            dynasm!(self.ops ; .arch x64 ; or edx, index);
        }
        const _: () = assert!(Front::index_bits(u8::MAX) < 256 && offset_of!(Front, read) == 0);
        if read {
            dynasm!(self.ops ; .arch x64 ; cmp rdx, [r14 + rcx * 8] ; jne =>slow);
        }
        if write {
            dynasm!(self.ops ; .arch x64 ; cmp rdx, [r14 + rcx * 8 + offset_of!(Front, write) as i32] ; jne =>slow);
        }
    }

    /// The accesses from a word on that go with its own: first offset, one past the last, how many, and if some read and some write.
    fn together(&self, at: u32, a: &Access) -> (i64, i64, usize, bool, bool) {
        let (mut from, mut to, mut count, mut read, mut write) = (a.offset, a.offset + a.size, 1, !a.write, a.write);
        let (mut base, mut step) = (a.base, 0i64);
        let index = (at - self.first) as usize;
        for (n, c) in self.words[index..].iter().enumerate().take(WINDOW) {
            if n > 0 {
                let here = at + n as u32;
                if is_branch(c.op) || is_jump(c.op) || self.branches(here) > 0 || matches!(c.op, Bc::Memory | Bc::Call | Bc::Fence) {
                    break;
                }
                if let Some(b) = access(c).filter(|b| (b.base, b.mmu, b.x) == (base, a.mmu, a.x) && b.align <= a.align) {
                    let offset = b.offset.wrapping_add(step);
                    let (low, high) = (from.min(offset), to.max(offset.saturating_add(b.size)));
                    // The first offset is to be aligned as this access is.
                    let align = if offset < from { a.align } else { b.align };
                    if high - low <= SPAN && (offset - a.offset) & i64::from(align) == 0 {
                        (from, to, count) = (low, high, count + 1);
                        read |= !b.write;
                        write |= b.write;
                    }
                }
            }
            if let Some((to, _)) = moved(c).filter(|(_, from)| *from == base) {
                base = to;
            } else if is_written(self.arena, c, base) {
                match step_of(c) {
                    Some(more) if c.a == base && (c.op == Bc::Add32I) == (a.x == 32) => step = step.wrapping_add(more),
                    _ => break,
                }
            }
        }
        (from, to, count, read, write)
    }

    /// The host address of an access whose page was looked up: register and offset from it.
    fn covered(&mut self, a: &Access) -> Option<(u8, i32)> {
        let find = |g: &Group| {
            let offset = a.offset.wrapping_add(g.step);
            let covered = g.from <= offset && offset + a.size <= g.to && (offset - g.from) & i64::from(a.align) == 0 && a.align <= g.align;
            let permitted = if a.write { g.write } else { g.read };
            ((g.base, g.mmu, g.x) == (a.base, a.mmu, a.x) && covered && permitted).then_some((g.pointer, (offset - g.from) as i32))
        };
        let (pointer, offset) = self.groups.iter().find_map(find)?;
        Some((self.pointer(pointer)?, offset))
    }

    /// An access to memory that the host maps, whose alignment is checked here if it must be: its address is `r14` plus the register plus the offset. The
    /// instruction that comes next is the access: if the host refuses that one, what registers hold now is saved.
    fn mapped(&mut self, a: &Access, at: u32, saved: Registers, base: u8) -> (u8, i32) {
        let slow = self.label();
        self.cold.push(Cold::Leave { label: slow, stub: self.stubs.resume, at, saved });
        let near = a.x == 32 && a.offset.abs() + SPAN <= GUARD;
        let aligned = a.align == 0 || self.is_aligned(a);
        if !near || !aligned {
            self.address_from(base, a.offset, a.x);
        }
        if !aligned {
            dynasm!(self.ops ; .arch x64 ; test al, a.align as i8 ; jne =>slow);
            let group = Group {
                base: a.base,
                step: 0,
                mmu: a.mmu,
                x: a.x,
                from: a.offset,
                to: 0,
                align: a.align,
                read: false,
                write: false,
                pointer: 0,
            };
            self.groups.push(group);
        }
        self.refused.push((self.ops.offset().0, slow));
        if near { (base, a.offset as i32) } else { (RAX, 0) }
    }

    /// An access by the same base was found to be aligned, and so is this one.
    fn is_aligned(&self, a: &Access) -> bool {
        self.groups.iter().any(|g| {
            let offset = a.offset.wrapping_add(g.step);
            (g.base, g.x) == (a.base, a.x) && a.align <= g.align && (offset - g.from) & i64::from(a.align) == 0
        })
    }

    /// The host address of two accesses of 8 bytes that follow each other, if one look is enough for both.
    pub fn known_pair(&mut self, c: &Code, d: &Code, at: u32) -> Option<(u8, i32)> {
        let (a, b) = (adjoining(c, d)?, access(d)?);
        let (reg, offset) = self.known(&a, at)?;
        self.covered(&b).filter(|second| *second == (reg, offset + 8))?;
        Some((reg, offset))
    }

    /// The same, where its page is looked up now if others want it too. `None`: it is to be looked up by itself.
    fn known(&mut self, a: &Access, at: u32) -> Option<(u8, i32)> {
        if self.shape.apart || a.x != 32 && a.x != 0 || a.align > 15 || i32::try_from(a.offset).is_err() {
            return None;
        }
        if let Some(known) = self.covered(a) {
            return Some(known);
        }
        // Most bases serve one access only.
        let index = (at - self.first) as usize;
        let rest = &self.words[index + 1..(index + WINDOW).min(self.words.len())];
        if !rest.iter().any(|c| c.b == a.base && (access(c).is_some() || moved(c).is_some())) {
            return None;
        }
        let (from, to, count, read, write) = self.together(at, a);
        if count < 2 || i32::try_from(from).is_err() {
            return None;
        }
        // From the first byte on; the last part is aligned, or its last byte counts.
        let (again, slow) = (self.label(), self.label());
        // In a register from here on, also the second time.
        self.get(a.base);
        dynasm!(self.ops ; .arch x64 ; =>again);
        self.address(a.base, from, a.x);
        let pointer = POINTERS + (at % 128) as u16;
        let past = if a.align == 0 { to - from - 1 } else { (to - from - 1) & !i64::from(a.align) };
        let value = Together { past: past as u16, align: a.align, mmu: a.mmu, narrow: a.x == 32, read, write }.pack();
        self.cold.push(Cold::Refill { label: slow, again, at, value, saved: self.regs });
        self.look_up(past, a.align, a.mmu, a.x, (read, write), slow);
        // Registers below hold what they held at the way out, or less.
        let reg = self.def(pointer);
        dynasm!(self.ops ; .arch x64 ; mov Rq(reg), [r14 + rcx * 8 + offset_of!(Front, addend) as i32] ; add Rq(reg), rax);
        let group = Group { base: a.base, step: 0, mmu: a.mmu, x: a.x, from, to, align: a.align, read, write, pointer };
        self.groups.retain(|g| g.pointer != pointer);
        self.groups.push(group);
        Some((reg, (a.offset - from) as i32))
    }

    /// The addend of a page in `rcx`, after a match.
    fn addend(&mut self) {
        dynasm!(self.ops ; .arch x64 ; mov rcx, [r14 + rcx * 8 + offset_of!(Front, addend) as i32]);
    }

    pub fn probe(&mut self, c: &Code, at: u32) {
        let Some(a) = access(c) else { return };
        if self.shape.direct {
            return self.probe_mapped(&a, at);
        }
        if self.known(&a, at).is_some() {
            return;
        }
        self.address(a.base, a.offset, a.x);
        let saved = self.regs;
        let (slow, back) = (self.label(), self.label());
        self.look_up((a.size - 1 - i64::from(a.align)).max(0), a.align, a.mmu, a.x, (!a.write, a.write), slow);
        dynasm!(self.ops ; .arch x64 ; =>back);
        self.cold.push(Cold::Access { label: slow, back, at, stub: self.stubs.probe, value: None, into: None, saved });
    }

    /// Only the alignment: accesses find out themselves whether they may, and those in front of one that may not have been done then.
    fn probe_mapped(&mut self, a: &Access, at: u32) {
        if a.align != 0 && !self.is_aligned(a) {
            let base = self.get(a.base);
            self.mapped(a, at, self.regs, base);
            // There is no access.
            self.refused.pop();
        }
    }

    fn load_mapped(&mut self, c: &Code, a: &Access, at: u32, log: usize) {
        let base = self.get(a.base);
        self.move_to_general(c.a);
        let before = self.regs;
        let into = self.def(c.a);
        let saved = self.before_def(&before, c.a);
        let (base, offset) = self.mapped(a, at, saved, base);
        match log {
            0 => dynasm!(self.ops ; .arch x64 ; movzx Rd(into), BYTE [r14 + Rq(base) + offset]),
            1 => dynasm!(self.ops ; .arch x64 ; movzx Rd(into), WORD [r14 + Rq(base) + offset]),
            2 => dynasm!(self.ops ; .arch x64 ; mov Rd(into), [r14 + Rq(base) + offset]),
            _ => dynasm!(self.ops ; .arch x64 ; mov Rq(into), [r14 + Rq(base) + offset]),
        }
    }

    fn store_mapped(&mut self, c: &Code, a: &Access, at: u32, log: usize) {
        let base = self.get(a.base);
        let value = self.get(c.a);
        let (base, offset) = self.mapped(a, at, self.regs, base);
        match log {
            0 => dynasm!(self.ops ; .arch x64 ; mov [r14 + Rq(base) + offset], Rb(value)),
            1 => dynasm!(self.ops ; .arch x64 ; mov [r14 + Rq(base) + offset], Rw(value)),
            2 => dynasm!(self.ops ; .arch x64 ; mov [r14 + Rq(base) + offset], Rd(value)),
            _ => dynasm!(self.ops ; .arch x64 ; mov [r14 + Rq(base) + offset], Rq(value)),
        }
    }

    /// Two loads of 4 or 8 bytes as one; false: they do not adjoin.
    pub fn load_wide_mapped(&mut self, c: &Code, d: &Code, at: u32) -> bool {
        let Some(a) = adjoining(c, d) else { return false };
        // What the cells had is not in registers that the load writes.
        self.release(c.a);
        self.release(d.a);
        let base = self.get(a.base);
        let to = self.def_wide(c.a);
        let saved = self.before_def_wide(c.a);
        let (base, offset) = self.mapped(&a, at, saved, base);
        if a.size == 4 {
            dynasm!(self.ops ; .arch x64 ; pmovzxdq Rx(to), [r14 + Rq(base) + offset]);
        } else {
            dynasm!(self.ops ; .arch x64 ; movups Rx(to), [r14 + Rq(base) + offset]);
        }
        true
    }

    /// Two stores of 4 or 8 bytes as one; false: they do not adjoin.
    pub fn store_wide_mapped(&mut self, c: &Code, d: &Code, at: u32) -> bool {
        let Some(a) = adjoining(c, d) else { return false };
        let from = self.get_wide(c.a);
        let base = self.get(a.base);
        if a.size == 4 {
            dynasm!(self.ops ; .arch x64 ; pshufd xmm0, Rx(from), 0b1000);
        }
        let (base, offset) = self.mapped(&a, at, self.regs, base);
        if a.size == 4 {
            dynasm!(self.ops ; .arch x64 ; movq [r14 + Rq(base) + offset], xmm0);
        } else {
            dynasm!(self.ops ; .arch x64 ; movups [r14 + Rq(base) + offset], Rx(from));
        }
        true
    }

    pub fn load(&mut self, c: &Code, at: u32, log: usize) {
        let Some(a) = access(c) else { return };
        if self.shape.direct {
            return self.load_mapped(c, &a, at, log);
        }
        if let Some((reg, offset)) = self.known(&a, at) {
            let into = self.def(c.a);
            return match log {
                0 => dynasm!(self.ops ; .arch x64 ; movzx Rd(into), BYTE [Rq(reg) + offset]),
                1 => dynasm!(self.ops ; .arch x64 ; movzx Rd(into), WORD [Rq(reg) + offset]),
                2 => dynasm!(self.ops ; .arch x64 ; mov Rd(into), [Rq(reg) + offset]),
                _ => dynasm!(self.ops ; .arch x64 ; mov Rq(into), [Rq(reg) + offset]),
            };
        }
        self.address(a.base, a.offset, a.x);
        // The result's old value, which a fault leaves, is in a general register or in its cell.
        self.move_to_general(c.a);
        let before = self.regs;
        let into = self.def(c.a);
        let saved = self.before_def(&before, c.a);
        let (slow, back) = (self.label(), self.label());
        self.look_up((a.size - 1 - i64::from(a.align)).max(0), a.align, a.mmu, a.x, (true, false), slow);
        self.addend();
        match log {
            0 => dynasm!(self.ops ; .arch x64 ; movzx Rd(into), BYTE [rcx + rax]),
            1 => dynasm!(self.ops ; .arch x64 ; movzx Rd(into), WORD [rcx + rax]),
            2 => dynasm!(self.ops ; .arch x64 ; mov Rd(into), [rcx + rax]),
            _ => dynasm!(self.ops ; .arch x64 ; mov Rq(into), [rcx + rax]),
        }
        dynasm!(self.ops ; .arch x64 ; =>back);
        self.cold.push(Cold::Access { label: slow, back, at, stub: self.stubs.load[log], value: None, into: Some(into), saved });
    }

    pub fn store_word(&mut self, c: &Code, at: u32, log: usize) {
        let Some(a) = access(c) else { return };
        if self.shape.direct {
            return self.store_mapped(c, &a, at, log);
        }
        let value = self.get(c.a);
        if let Some((reg, offset)) = self.known(&a, at) {
            let value = self.get(c.a);
            return match log {
                0 => dynasm!(self.ops ; .arch x64 ; mov [Rq(reg) + offset], Rb(value)),
                1 => dynasm!(self.ops ; .arch x64 ; mov [Rq(reg) + offset], Rw(value)),
                2 => dynasm!(self.ops ; .arch x64 ; mov [Rq(reg) + offset], Rd(value)),
                _ => dynasm!(self.ops ; .arch x64 ; mov [Rq(reg) + offset], Rq(value)),
            };
        }
        self.address(a.base, a.offset, a.x);
        let saved = self.regs;
        let (slow, back) = (self.label(), self.label());
        self.look_up((a.size - 1 - i64::from(a.align)).max(0), a.align, a.mmu, a.x, (false, true), slow);
        self.addend();
        match log {
            0 => dynasm!(self.ops ; .arch x64 ; mov [rcx + rax], Rb(value)),
            1 => dynasm!(self.ops ; .arch x64 ; mov [rcx + rax], Rw(value)),
            2 => dynasm!(self.ops ; .arch x64 ; mov [rcx + rax], Rd(value)),
            _ => dynasm!(self.ops ; .arch x64 ; mov [rcx + rax], Rq(value)),
        }
        dynasm!(self.ops ; .arch x64 ; =>back);
        self.cold.push(Cold::Access { label: slow, back, at, stub: self.stubs.store[log], value: Some(value), into: None, saved });
    }
}
