//! Which cells the host's registers hold.
//!
//! A register that is not dirty equals its cell, so it may be forgotten at any time. A cell is in one register at most, general or vector; beside that
//! a vector register may hold it with its neighbour, as 128 bits. Then all agree, and one that is dirty is enough. Pointers that accesses share
//! ([`super::access`]) are kept under numbers no cell has, and are lost when their register is wanted.
//!
//! Registers have numbers here, general ones from 0 on and vector ones from [`FIRST_VECTOR`] on; sets of them are bits.

use super::super::code::Code;
use super::emit::{Emitter, constant};
use dynasmrt::{DynasmApi, dynasm};

/// Places for numbers of registers.
pub const NUMBERS: usize = 32;
const FIRST_VECTOR: usize = 16;
/// By number: the host's register. General ones: rsi rdi r8-r13 rbp.
const REGS: [u8; NUMBERS] = [6, 7, 8, 9, 10, 11, 12, 13, 5, 0, 0, 0, 0, 0, 0, 0, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 0, 0, 0];
const GENERAL: u32 = (1 << 9) - 1;
const VECTOR: u32 = ((1 << 12) - 1) << FIRST_VECTOR;
pub const RAX: u8 = 0;
pub const RCX: u8 = 1;
pub const RDX: u8 = 2;

/// From this number on, what a register holds is no cell.
pub const POINTERS: u16 = 0xff00;

/// What the registers hold at some place of the code.
#[derive(Clone, Copy, Default)]
pub struct Registers {
    /// By number, for those that hold something.
    cells: [u16; NUMBERS],
    held: u32,
    /// Newer than the cell; those are held too.
    dirty: u32,
    /// Vector registers that may hold the next cell too, in the high half; those that are held do.
    wide: u32,
    /// The flags of this word are not in their cells yet ([`super::flags`]).
    pub flags: Option<Code>,
}

/// The numbers in a set, ascending.
fn numbers(mut set: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let number = first(set);
        set &= set.wrapping_sub(1);
        number
    })
}

fn first(set: u32) -> Option<usize> {
    (set != 0).then(|| set.trailing_zeros() as usize % NUMBERS)
}

/// Which of sixteen numbers are this one.
#[inline]
fn equal(cells: &[u16; 16], cell: u16) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi16, _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_set1_epi16};
    // SAFETY: sixteen numbers are two vectors, and every x86-64 host has SSE2.
    unsafe {
        let wanted = _mm_set1_epi16(cell as i16);
        let half = |at: usize| _mm_cmpeq_epi16(_mm_loadu_si128(cells.as_ptr().add(at).cast()), wanted);
        _mm_movemask_epi8(_mm_packs_epi16(half(0), half(8))) as u32
    }
}

impl Registers {
    /// What both hold, in the same registers and clean.
    pub fn meet(&mut self, other: &Registers) {
        let both = self.held & other.held & !(self.dirty | other.dirty | self.wide ^ other.wide);
        self.flags = None;
        self.held = numbers(both).filter(|n| self.cells[*n] == other.cells[*n]).fold(0, |set, n| set | 1 << n);
        self.dirty = 0;
    }

    /// General registers that hold a cell: one at most.
    fn generals(&self, cell: u16) -> u32 {
        equal(&self.cells.as_chunks().0[0], cell) & self.held & GENERAL
    }

    /// Vector registers that hold a cell, alone or as their low half.
    fn vectors(&self, cell: u16) -> u32 {
        if self.held & VECTOR == 0 {
            return 0;
        }
        equal(&self.cells.as_chunks().0[1], cell) << FIRST_VECTOR & self.held
    }

    /// The general register that holds a cell.
    fn general(&self, cell: u16) -> Option<usize> {
        first(self.generals(cell))
    }

    /// The vector register that holds a cell alone.
    fn vector(&self, cell: u16) -> Option<usize> {
        first(self.vectors(cell) & !self.wide)
    }

    /// Registers that hold something else than cells.
    fn pointers(&self) -> u32 {
        numbers(self.held).filter(|n| self.cells[*n] >= POINTERS).fold(0, |set, n| set | 1 << n)
    }

    fn drop(&mut self, set: u32) {
        self.held &= !set;
        self.dirty &= !set;
    }

    fn is_dirty(&self, number: usize) -> bool {
        self.dirty >> number & 1 != 0
    }

    fn is_wide(&self, number: usize) -> bool {
        self.wide >> number & 1 != 0
    }

    /// A register holds a cell from now on, and nothing else.
    fn hold(&mut self, number: usize, cell: u16, dirty: bool, wide: bool) {
        let bit = |is: bool| u32::from(is) << number;
        self.cells[number] = cell;
        self.held |= bit(true);
        self.dirty = self.dirty & !bit(true) | bit(dirty);
        self.wide = self.wide & !bit(true) | bit(wide);
    }
}

impl Emitter<'_> {
    fn store(&mut self, reg: u8, cell: u16) {
        let to = i32::from(cell) * 8;
        // The first sixteen cells, where register files are, in three bytes less.
        match i8::try_from(to) {
            Ok(to) => dynasm!(self.ops ; .arch x64 ; mov [BYTE rbx + to], Rq(reg)),
            Err(_) => dynasm!(self.ops ; .arch x64 ; mov [rbx + to], Rq(reg)),
        }
    }

    fn fetch(&mut self, reg: u8, cell: u16) {
        let from = i32::from(cell) * 8;
        if self.shape.is_byte(cell) {
            // Flags are written byte by byte, which a wider load would have to wait for.
            return dynasm!(self.ops ; .arch x64 ; movzx Rd(reg), BYTE [rbx + from]);
        }
        match i8::try_from(from) {
            Ok(from) => dynasm!(self.ops ; .arch x64 ; mov Rq(reg), [BYTE rbx + from]),
            Err(_) => dynasm!(self.ops ; .arch x64 ; mov Rq(reg), [rbx + from]),
        }
    }

    fn store_vector(&mut self, xmm: u8, cell: u16, wide: bool) {
        let to = i32::from(cell) * 8;
        if wide {
            dynasm!(self.ops ; .arch x64 ; movups [rbx + to], Rx(xmm));
        } else {
            dynasm!(self.ops ; .arch x64 ; movsd [rbx + to], Rx(xmm));
        }
    }

    fn fetch_vector(&mut self, xmm: u8, cell: u16) {
        dynasm!(self.ops ; .arch x64 ; movsd Rx(xmm), [rbx + i32::from(cell) * 8]);
    }

    /// Writes back what a register holds.
    fn save_one(&mut self, number: usize, cell: u16, wide: bool) {
        if number < FIRST_VECTOR {
            self.store(REGS[number], cell);
        } else {
            self.store_vector(REGS[number], cell, wide);
        }
    }

    /// Writes back what a register holds, if it is dirty.
    fn save_dirty(&mut self, number: usize) {
        if self.regs.is_dirty(number) {
            self.save_one(number, self.regs.cells[number], self.regs.is_wide(number));
        }
    }

    /// Writes all cells back; registers go on holding them. Host flags stay.
    pub fn write_back(&mut self) {
        for number in numbers(self.regs.dirty) {
            self.save_one(number, self.regs.cells[number], self.regs.is_wide(number));
        }
        self.regs.dirty = 0;
    }

    /// Nothing but the state is wanted any more: temporary cells are not written back.
    pub fn only_state(&mut self) {
        let temporary = self.shape.layout.cells as u16;
        let gone = numbers(self.regs.held).filter(|n| self.regs.cells[*n] >= temporary).fold(0, |set, n| set | 1 << n);
        self.regs.drop(gone);
    }

    /// Writes back what was dirty at some place, on a path out of line; `rax` stays.
    pub fn save(&mut self, saved: &Registers) {
        for number in numbers(saved.dirty) {
            self.save_one(number, saved.cells[number], saved.is_wide(number));
        }
        if let Some(c) = &saved.flags {
            self.flags_from_cells(c);
        }
    }

    /// After a call out of line, which keeps general registers only: what the vector registers held there.
    pub fn reload(&mut self, saved: &Registers) {
        for number in numbers(saved.held & VECTOR) {
            let (xmm, cell) = (REGS[number], saved.cells[number]);
            if saved.is_wide(number) {
                dynasm!(self.ops ; .arch x64 ; movups Rx(xmm), [rbx + i32::from(cell) * 8]);
            } else {
                self.fetch_vector(xmm, cell);
            }
        }
    }

    /// After a call in line: vector registers hold nothing, and general ones hold no pointers.
    pub fn called(&mut self) {
        self.regs.drop(VECTOR);
        self.forget_pointers();
    }

    /// Forgets pointers.
    pub fn forget_pointers(&mut self) {
        self.regs.drop(self.regs.pointers() & GENERAL);
        self.groups.clear();
    }

    /// Registers hold nothing.
    pub fn forget(&mut self) {
        self.regs = Registers::default();
        self.groups.clear();
    }

    /// The cell is in no register; what one held of it alone is lost.
    pub fn drop_cell(&mut self, cell: u16) {
        self.split(cell);
        self.regs.drop(self.regs.generals(cell) | self.regs.vectors(cell));
    }

    /// The cell is in no register, but has its value.
    pub fn release(&mut self, cell: u16) {
        for number in [self.regs.general(cell), self.regs.vector(cell)].into_iter().flatten() {
            self.save_dirty(number);
        }
        self.drop_cell(cell);
    }

    /// One of these registers to be used anew: a free one, else the one not used for longest. Host flags stay.
    fn place_in(&mut self, among: u32, cell: u16) -> usize {
        let number = first(among & !self.regs.held).unwrap_or_else(|| {
            let oldest = numbers(among).min_by_key(|n| self.ages[*n]).unwrap_or(0);
            self.save_dirty(oldest);
            oldest
        });
        self.regs.hold(number, cell, false, false);
        self.ages[number] = self.clock;
        number
    }

    /// A general register for a cell, not one in use by this word. Host flags stay.
    fn place(&mut self, cell: u16) -> usize {
        self.place_in(GENERAL, cell)
    }

    fn place_vector(&mut self, cell: u16) -> usize {
        self.place_in(VECTOR, cell)
    }

    /// A register takes over what another holds of a cell.
    fn take_over(&mut self, number: usize, from: usize) {
        self.regs.hold(number, self.regs.cells[from], self.regs.is_dirty(from), false);
        self.regs.drop(1 << from);
    }

    /// The vector register that holds a cell together with another, and whether as its high half.
    fn find_half(&self, cell: u16) -> Option<(usize, bool)> {
        if self.regs.held & self.regs.wide == 0 {
            return None;
        }
        let set = (self.regs.vectors(cell) | self.regs.vectors(cell.wrapping_sub(1))) & self.regs.wide;
        first(set).map(|number| (number, self.regs.cells[number] != cell))
    }

    /// No register holds the cell together with another. Host flags stay.
    fn split(&mut self, cell: u16) {
        while let Some((number, _)) = self.find_half(cell) {
            self.save_dirty(number);
            self.regs.drop(1 << number);
        }
    }

    /// Copies a cell's value to a general register. Host flags stay.
    fn read(&mut self, reg: u8, cell: u16) {
        match self.find_half(cell) {
            Some((number, false)) => dynasm!(self.ops ; .arch x64 ; movq Rq(reg), Rx(REGS[number])),
            Some((number, true)) => dynasm!(self.ops ; .arch x64 ; pextrq Rq(reg), Rx(REGS[number]), 1),
            None => self.fetch(reg, cell),
        }
    }

    /// The vector register that holds 128 bits from a cell on, if one does.
    pub fn held_wide(&mut self, cell: u16) -> Option<u8> {
        let (number, _) = self.find_half(cell).filter(|(_, high)| !high)?;
        self.ages[number] = self.clock;
        Some(REGS[number])
    }

    /// The vector register with 128 bits from a cell on.
    pub fn get_wide(&mut self, cell: u16) -> u8 {
        if let Some(xmm) = self.held_wide(cell) {
            return xmm;
        }
        self.split(cell);
        self.split(cell + 1);
        let xmm = self.place_wide(cell, false);
        let low = i32::from(cell) * 8;
        let holder = |e: &Self, cell| (e.regs.general(cell).map(|n| REGS[n]), e.regs.vector(cell).map(|n| REGS[n]));
        let (first, second) = (holder(self, cell), holder(self, cell + 1));
        match (first, second) {
            ((None, None), (None, None)) => {
                dynasm!(self.ops ; .arch x64 ; movups Rx(xmm), [rbx + low]);
                return xmm;
            }
            ((Some(reg), _), _) => dynasm!(self.ops ; .arch x64 ; movq Rx(xmm), Rq(reg)),
            ((_, Some(from)), _) => dynasm!(self.ops ; .arch x64 ; movaps Rx(xmm), Rx(from)),
            _ => self.fetch_vector(xmm, cell),
        }
        match second {
            (Some(reg), _) => dynasm!(self.ops ; .arch x64 ; pinsrq Rx(xmm), Rq(reg), 1),
            (_, Some(from)) => dynasm!(self.ops ; .arch x64 ; punpcklqdq Rx(xmm), Rx(from)),
            _ => dynasm!(self.ops ; .arch x64 ; movhps Rx(xmm), [rbx + low + 8]),
        }
        xmm
    }

    /// The vector register that is to get new 128 bits from a cell on.
    pub fn def_wide(&mut self, cell: u16) -> u8 {
        if let Some((number, false)) = self.find_half(cell) {
            self.regs.drop(1 << number);
        }
        self.drop_cell(cell);
        self.drop_cell(cell + 1);
        self.place_wide(cell, true)
    }

    fn place_wide(&mut self, cell: u16, dirty: bool) -> u8 {
        let number = self.place_vector(cell);
        self.regs.hold(number, cell, dirty, true);
        REGS[number]
    }

    /// A vector register for a constant: it is this word's only.
    pub fn scratch_vector(&mut self, number: u16) -> u8 {
        REGS[self.place_vector(POINTERS + number)]
    }

    /// Vector registers hold no constants any more.
    pub fn forget_scratch(&mut self) {
        self.regs.drop(self.regs.pointers() & VECTOR);
    }

    /// The general register with a cell's value. Host flags stay.
    #[inline]
    pub fn get(&mut self, cell: u16) -> u8 {
        let number = self.regs.general(cell).unwrap_or_else(|| self.get_anew(cell));
        self.ages[number] = self.clock;
        REGS[number]
    }

    /// The same, if none holds it.
    #[inline(never)]
    fn get_anew(&mut self, cell: u16) -> usize {
        let number = self.place(cell);
        if let Some(from) = self.regs.vector(cell) {
            dynasm!(self.ops ; .arch x64 ; movq Rq(REGS[number]), Rx(REGS[from]));
            self.take_over(number, from);
        } else {
            self.read(REGS[number], cell);
        }
        number
    }

    /// The general register that is to get a cell's new value. Host flags stay.
    pub fn def(&mut self, cell: u16) -> u8 {
        self.split(cell);
        self.regs.drop(self.regs.vectors(cell));
        let number = self.regs.general(cell).unwrap_or_else(|| self.place(cell));
        self.regs.hold(number, cell, cell < POINTERS, false);
        self.ages[number] = self.clock;
        REGS[number]
    }

    /// A general register with a cell's value, which is `rax` if none holds it; nothing changes of what registers hold.
    pub fn peek(&mut self, cell: u16) -> u8 {
        if let Some(number) = self.regs.general(cell) {
            return REGS[number];
        }
        if let Some(number) = self.regs.vector(cell) {
            dynasm!(self.ops ; .arch x64 ; movq rax, Rx(REGS[number]));
        } else {
            self.read(RAX, cell);
        }
        RAX
    }

    /// What registers hold as long as the one for a cell has not got its new value yet.
    pub fn before_def(&self, before: &Registers, cell: u16) -> Registers {
        let mut now = self.regs;
        if let Some(number) = now.general(cell) {
            let bit = 1 << number;
            now.drop(bit);
            if before.cells[number] == cell {
                now.held |= before.held & bit;
                now.dirty |= before.dirty & bit;
            }
        }
        now
    }

    /// The same for 128 bits from a cell on, none of which a register held before.
    pub fn before_def_wide(&self, cell: u16) -> Registers {
        let mut now = self.regs;
        if let Some((number, _)) = self.find_half(cell) {
            now.drop(1 << number);
        }
        now
    }

    /// The register that holds a pointer, if it still does.
    pub fn pointer(&mut self, number: u16) -> Option<u8> {
        let number = self.regs.general(number)?;
        self.ages[number] = self.clock;
        Some(REGS[number])
    }

    /// If a vector register holds a cell, a general one does from now on.
    pub fn move_to_general(&mut self, cell: u16) {
        if self.regs.vector(cell).is_some() {
            self.get(cell);
        }
    }

    /// The vector register with a cell's value.
    pub fn get_vector(&mut self, cell: u16) -> u8 {
        let number = match self.regs.vector(cell) {
            Some(number) => number,
            None => {
                let number = self.place_vector(cell);
                let xmm = REGS[number];
                if let Some(from) = self.regs.general(cell) {
                    dynasm!(self.ops ; .arch x64 ; movq Rx(xmm), Rq(REGS[from]));
                    self.take_over(number, from);
                } else {
                    match self.find_half(cell) {
                        Some((from, false)) => dynasm!(self.ops ; .arch x64 ; movaps Rx(xmm), Rx(REGS[from])),
                        Some((from, true)) => dynasm!(self.ops ; .arch x64 ; pshufd Rx(xmm), Rx(REGS[from]), 0xee_u8 as i8),
                        None => self.fetch_vector(xmm, cell),
                    }
                }
                number
            }
        };
        self.ages[number] = self.clock;
        REGS[number]
    }

    /// The vector register that is to get a cell's new value.
    pub fn def_vector(&mut self, cell: u16) -> u8 {
        self.split(cell);
        self.regs.drop(self.regs.generals(cell));
        let number = self.regs.vector(cell).unwrap_or_else(|| self.place_vector(cell));
        self.regs.hold(number, cell, true, false);
        self.ages[number] = self.clock;
        REGS[number]
    }

    pub fn copy(&mut self, to: u8, from: u8) {
        if to != from {
            dynasm!(self.ops ; .arch x64 ; mov Rq(to), Rq(from));
        }
    }

    /// Puts a register's value into a cell. Host flags stay.
    pub fn set(&mut self, cell: u16, from: u8) {
        let to = self.def(cell);
        self.copy(to, from);
    }

    /// A cell gets the value of a temporary one that is not read any more: its register. Host flags stay.
    pub fn move_cell(&mut self, to: u16, from: u16) {
        self.get(from);
        self.drop_cell(to);
        if let Some(number) = self.regs.general(from) {
            self.regs.hold(number, to, true, false);
        }
    }

    /// The same for 128 bits, which a vector register holds.
    pub fn move_wide(&mut self, to: u16, from: u16) {
        self.drop_cell(to);
        self.drop_cell(to + 1);
        if let Some((number, false)) = self.find_half(from) {
            self.regs.hold(number, to, true, true);
        }
    }

    /// Host flags stay.
    pub fn constant(&mut self, reg: u8, value: u64) {
        constant(self.ops, reg, value);
    }
}
