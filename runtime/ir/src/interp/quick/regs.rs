//! Which cells the host's registers hold.
//!
//! A register that is not dirty equals its cell, so it may be forgotten at any time. A cell is in one register at most, general or vector; beside that
//! a vector register may hold it with its neighbour, as 128 bits. Then all agree, and one that is dirty is enough. Pointers that accesses share
//! ([`super::access`]) are kept under numbers no cell has, and are lost when their register is wanted.

use super::emit::Emitter;
use dynasmrt::{DynasmApi, dynasm};

/// General registers that hold cells: rsi rdi r8-r13 rbp.
pub const REGS: [u8; 9] = [6, 7, 8, 9, 10, 11, 12, 13, 5];
/// Vector registers that hold cells.
const XMMS: [u8; 12] = [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
pub const RAX: u8 = 0;
pub const RCX: u8 = 1;
pub const RDX: u8 = 2;

/// From this number on, what a register holds is no cell.
pub const POINTERS: u16 = 0xff00;

/// A register's contents.
#[derive(Clone, Copy)]
pub struct Held {
    pub cell: u16,
    /// Newer than the cell.
    dirty: bool,
    /// The next cell too, in the high half of a vector register.
    wide: bool,
    used: u32,
}

/// What the registers hold at some place of the code.
#[derive(Clone, Copy, Default)]
pub struct Registers {
    general: [Option<Held>; REGS.len()],
    vector: [Option<Held>; XMMS.len()],
    /// A vector register may hold two cells.
    wide: bool,
}

impl Registers {
    /// What both hold, in the same registers and clean.
    pub fn meet(&mut self, other: &Registers) {
        let meet = |a: &mut Option<Held>, b: &Option<Held>| {
            *a = a.filter(|a| b.is_some_and(|b| (a.cell, a.wide) == (b.cell, b.wide) && !a.dirty && !b.dirty));
        };
        self.general.iter_mut().zip(&other.general).for_each(|(a, b)| meet(a, b));
        self.vector.iter_mut().zip(&other.vector).for_each(|(a, b)| meet(a, b));
    }
}

fn find(regs: &[Option<Held>], cell: u16) -> Option<usize> {
    regs.iter().position(|h| h.is_some_and(|h| h.cell == cell && !h.wide))
}

/// A register to be used anew: a free one, else the one not used for longest.
fn victim(regs: &[Option<Held>]) -> usize {
    let free = regs.iter().position(Option::is_none);
    let used = |i: &usize| regs[*i].map_or(0, |h| h.used);
    free.unwrap_or_else(|| (0..regs.len()).min_by_key(used).unwrap_or(0))
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

    fn store_vector(&mut self, xmm: u8, held: Held) {
        let to = i32::from(held.cell) * 8;
        if held.wide {
            dynasm!(self.ops ; .arch x64 ; movups [rbx + to], Rx(xmm));
        } else {
            dynasm!(self.ops ; .arch x64 ; movsd [rbx + to], Rx(xmm));
        }
    }

    fn fetch_vector(&mut self, xmm: u8, cell: u16) {
        dynasm!(self.ops ; .arch x64 ; movsd Rx(xmm), [rbx + i32::from(cell) * 8]);
    }

    /// Writes all cells back; registers go on holding them. Host flags stay.
    pub fn write_back(&mut self) {
        let regs = self.regs;
        self.save(&regs);
        let clean = |h: &mut Held| h.dirty = false;
        self.regs.general.iter_mut().chain(&mut self.regs.vector).flatten().for_each(clean);
    }

    /// Nothing but the state is wanted any more: temporary cells are not written back.
    pub fn only_state(&mut self) {
        let temporary = self.shape.layout.cells as u16;
        let gone = |h: &mut Option<Held>| *h = h.filter(|h| h.cell < temporary);
        self.regs.general.iter_mut().chain(&mut self.regs.vector).for_each(gone);
    }

    /// Writes back what was dirty at some place, on a path out of line. Host flags stay.
    pub fn save(&mut self, saved: &Registers) {
        for (reg, held) in REGS.into_iter().zip(saved.general) {
            if let Some(held) = held.filter(|h| h.dirty) {
                self.store(reg, held.cell);
            }
        }
        for (xmm, held) in XMMS.into_iter().zip(saved.vector) {
            if let Some(held) = held.filter(|h| h.dirty) {
                self.store_vector(xmm, held);
            }
        }
    }

    /// After a call out of line, which keeps general registers only: what the vector registers held there.
    pub fn reload(&mut self, saved: &Registers) {
        for (xmm, held) in XMMS.into_iter().zip(saved.vector) {
            match held {
                Some(held) if held.wide => dynasm!(self.ops ; .arch x64 ; movups Rx(xmm), [rbx + i32::from(held.cell) * 8]),
                Some(held) => self.fetch_vector(xmm, held.cell),
                None => {}
            }
        }
    }

    /// After a call in line: vector registers hold nothing, and general ones hold no pointers.
    pub fn called(&mut self) {
        self.regs.vector = Default::default();
        self.regs.wide = false;
        self.forget_pointers();
    }

    /// Forgets pointers.
    pub fn forget_pointers(&mut self) {
        self.regs.general.iter_mut().filter(|h| h.is_some_and(|h| h.cell >= POINTERS)).for_each(|h| *h = None);
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
        let held = |h: &&mut Option<Held>| h.is_some_and(|h| h.cell == cell);
        self.regs.general.iter_mut().chain(&mut self.regs.vector).filter(held).for_each(|h| *h = None);
    }

    /// The cell is in no register, but has its value.
    pub fn release(&mut self, cell: u16) {
        if let Some(index) = find(&self.regs.general, cell).filter(|index| self.regs.general[*index].is_some_and(|h| h.dirty)) {
            self.store(REGS[index], cell);
        }
        if let Some(index) = find(&self.regs.vector, cell)
            && let Some(held) = self.regs.vector[index].filter(|h| h.dirty)
        {
            self.store_vector(XMMS[index], held);
        }
        self.drop_cell(cell);
    }

    /// A general register for a cell, not one in use by this word. Host flags stay.
    fn place(&mut self, cell: u16) -> usize {
        let index = victim(&self.regs.general);
        if let Some(held) = self.regs.general[index].filter(|h| h.dirty) {
            self.store(REGS[index], held.cell);
        }
        self.regs.general[index] = Some(Held { cell, dirty: false, wide: false, used: self.clock });
        index
    }

    fn place_vector(&mut self, cell: u16) -> usize {
        let index = victim(&self.regs.vector);
        if let Some(held) = self.regs.vector[index].filter(|h| h.dirty) {
            self.store_vector(XMMS[index], held);
        }
        self.regs.vector[index] = Some(Held { cell, dirty: false, wide: false, used: self.clock });
        index
    }

    /// The vector register that holds a cell together with another, and whether as its high half.
    fn find_half(&self, cell: u16) -> Option<(usize, bool)> {
        if !self.regs.wide {
            return None;
        }
        let wide = |h: &Held| h.wide && (h.cell == cell || h.cell + 1 == cell);
        let index = self.regs.vector.iter().position(|h| h.as_ref().is_some_and(wide))?;
        Some((index, self.regs.vector[index].is_some_and(|h| h.cell != cell)))
    }

    /// No register holds the cell together with another. Host flags stay.
    fn split(&mut self, cell: u16) {
        while let Some((index, _)) = self.find_half(cell) {
            if let Some(held) = self.regs.vector[index].take().filter(|h| h.dirty) {
                self.store_vector(XMMS[index], held);
            }
        }
    }

    /// Copies a cell's value to a general register. Host flags stay.
    fn read(&mut self, reg: u8, cell: u16) {
        match self.find_half(cell) {
            Some((index, false)) => dynasm!(self.ops ; .arch x64 ; movq Rq(reg), Rx(XMMS[index])),
            Some((index, true)) => dynasm!(self.ops ; .arch x64 ; pextrq Rq(reg), Rx(XMMS[index]), 1),
            None => self.fetch(reg, cell),
        }
    }

    /// The vector register that holds 128 bits from a cell on, if one does.
    pub fn held_wide(&mut self, cell: u16) -> Option<u8> {
        let (index, _) = self.find_half(cell).filter(|(_, high)| !high)?;
        if let Some(held) = &mut self.regs.vector[index] {
            held.used = self.clock;
        }
        Some(XMMS[index])
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
        let holder = |e: &Self, cell| (find(&e.regs.general, cell).map(|i| REGS[i]), find(&e.regs.vector, cell).map(|i| XMMS[i]));
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
        if let Some((index, false)) = self.find_half(cell) {
            self.regs.vector[index] = None;
        }
        for cell in [cell, cell + 1] {
            self.split(cell);
            let alone = |h: &&mut Option<Held>| h.is_some_and(|h| h.cell == cell);
            self.regs.general.iter_mut().chain(&mut self.regs.vector).filter(alone).for_each(|h| *h = None);
        }
        self.place_wide(cell, true)
    }

    fn place_wide(&mut self, cell: u16, dirty: bool) -> u8 {
        let index = self.place_vector(cell);
        self.regs.vector[index] = Some(Held { cell, dirty, wide: true, used: self.clock });
        self.regs.wide = true;
        XMMS[index]
    }

    /// A vector register for a constant: it is this word's only.
    pub fn scratch_vector(&mut self, number: u16) -> u8 {
        XMMS[self.place_vector(POINTERS + number)]
    }

    /// Vector registers hold no constants any more.
    pub fn forget_scratch(&mut self) {
        self.regs.vector.iter_mut().filter(|h| h.is_some_and(|h| h.cell >= POINTERS)).for_each(|h| *h = None);
    }

    /// The general register with a cell's value. Host flags stay.
    pub fn get(&mut self, cell: u16) -> u8 {
        let index = match find(&self.regs.general, cell) {
            Some(index) => index,
            None => {
                let index = self.place(cell);
                if let Some(from) = find(&self.regs.vector, cell) {
                    dynasm!(self.ops ; .arch x64 ; movq Rq(REGS[index]), Rx(XMMS[from]));
                    self.regs.general[index] = self.regs.vector[from].take();
                } else {
                    self.read(REGS[index], cell);
                }
                index
            }
        };
        if let Some(held) = &mut self.regs.general[index] {
            held.used = self.clock;
        }
        REGS[index]
    }

    /// The general register that is to get a cell's new value. Host flags stay.
    pub fn def(&mut self, cell: u16) -> u8 {
        self.split(cell);
        if let Some(from) = find(&self.regs.vector, cell) {
            self.regs.vector[from] = None;
        }
        let index = find(&self.regs.general, cell).unwrap_or_else(|| self.place(cell));
        self.regs.general[index] = Some(Held { cell, dirty: cell < POINTERS, wide: false, used: self.clock });
        REGS[index]
    }

    /// A general register with a cell's value, which is `rax` if none holds it; nothing changes of what registers hold.
    pub fn peek(&mut self, cell: u16) -> u8 {
        if let Some(index) = find(&self.regs.general, cell) {
            return REGS[index];
        }
        if let Some(index) = find(&self.regs.vector, cell) {
            dynasm!(self.ops ; .arch x64 ; movq rax, Rx(XMMS[index]));
        } else {
            self.read(RAX, cell);
        }
        RAX
    }

    /// What registers hold as long as the one for a cell has not got its new value yet.
    pub fn before_def(&self, before: &Registers, cell: u16) -> Registers {
        let mut now = self.regs;
        if let Some(index) = find(&now.general, cell) {
            now.general[index] = before.general[index].filter(|h| h.cell == cell);
        }
        now
    }

    /// The register that holds a pointer, if it still does.
    pub fn pointer(&mut self, number: u16) -> Option<u8> {
        let index = find(&self.regs.general, number)?;
        if let Some(held) = &mut self.regs.general[index] {
            held.used = self.clock;
        }
        Some(REGS[index])
    }

    /// If a vector register holds a cell, a general one does from now on.
    pub fn move_to_general(&mut self, cell: u16) {
        if find(&self.regs.vector, cell).is_some() {
            self.get(cell);
        }
    }

    /// The vector register with a cell's value.
    pub fn get_vector(&mut self, cell: u16) -> u8 {
        let index = match find(&self.regs.vector, cell) {
            Some(index) => index,
            None => {
                let index = self.place_vector(cell);
                if let Some(from) = find(&self.regs.general, cell) {
                    dynasm!(self.ops ; .arch x64 ; movq Rx(XMMS[index]), Rq(REGS[from]));
                    self.regs.vector[index] = self.regs.general[from].take();
                } else {
                    match self.find_half(cell) {
                        Some((from, false)) => dynasm!(self.ops ; .arch x64 ; movaps Rx(XMMS[index]), Rx(XMMS[from])),
                        Some((from, true)) => dynasm!(self.ops ; .arch x64 ; pshufd Rx(XMMS[index]), Rx(XMMS[from]), 0xee_u8 as i8),
                        None => self.fetch_vector(XMMS[index], cell),
                    }
                }
                index
            }
        };
        if let Some(held) = &mut self.regs.vector[index] {
            held.used = self.clock;
        }
        XMMS[index]
    }

    /// The vector register that is to get a cell's new value.
    pub fn def_vector(&mut self, cell: u16) -> u8 {
        self.split(cell);
        if let Some(from) = find(&self.regs.general, cell) {
            self.regs.general[from] = None;
        }
        let index = find(&self.regs.vector, cell).unwrap_or_else(|| self.place_vector(cell));
        self.regs.vector[index] = Some(Held { cell, dirty: true, wide: false, used: self.clock });
        XMMS[index]
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

    /// Host flags stay.
    pub fn constant(&mut self, reg: u8, value: u64) {
        if let Ok(value) = u32::try_from(value) {
            dynasm!(self.ops ; .arch x64 ; mov Rd(reg), value as i32);
        } else if let Ok(value) = i32::try_from(value as i64) {
            dynasm!(self.ops ; .arch x64 ; mov Rq(reg), DWORD value);
        } else {
            dynasm!(self.ops ; .arch x64 ; mov Rq(reg), QWORD value as i64);
        }
    }
}
