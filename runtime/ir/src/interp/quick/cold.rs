//! Code out of line, behind a block: the slow paths of its words, and its ways out.

use super::emit::Emitter;
use super::regs::{RAX, Registers};
use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, dynasm};

/// Code out of line, emitted behind the block.
pub enum Cold {
    /// Leave at once, before anything of the block was done.
    Refuse { label: DynamicLabel, count: i32, at: u32 },
    /// Leave by a stub with this code index.
    Leave { label: DynamicLabel, stub: usize, at: u32, saved: Registers },
    /// A jump that is not linked.
    Miss { label: DynamicLabel, at: u32, pc: u64 },
    /// A jump back that was taken often.
    Hot { label: DynamicLabel, at: u32, pc: u64 },
    /// A jump, from where registers hold this.
    Jump { label: DynamicLabel, at: u32, saved: Registers },
    /// The slow path of a load into a register, or of a store.
    Access { label: DynamicLabel, back: DynamicLabel, at: u32, stub: usize, value: Option<u8>, into: Option<u8>, saved: Registers },
    /// The page of accesses that go together is not in the front; `value`: what [`super::calls::refill`] must know.
    Refill { label: DynamicLabel, again: DynamicLabel, at: u32, value: u32, saved: Registers },
    /// The word by a call, whose result in a cell a register gets.
    Word { label: DynamicLabel, back: DynamicLabel, at: u32, cell: u16, into: Into, saved: Registers },
}

impl Cold {
    /// Code index of the word it is for.
    pub fn at(&self) -> u32 {
        match *self {
            Cold::Refuse { at, .. }
            | Cold::Leave { at, .. }
            | Cold::Miss { at, .. }
            | Cold::Hot { at, .. }
            | Cold::Jump { at, .. }
            | Cold::Access { at, .. }
            | Cold::Refill { at, .. }
            | Cold::Word { at, .. } => at,
        }
    }
}

/// Where code out of line puts a result.
pub enum Into {
    Rax,
    Xmm0,
    /// 128 bits.
    Wide,
}

impl Emitter<'_> {
    pub fn out_of_line(&mut self, cold: Cold) {
        match cold {
            Cold::Refuse { label, count, at } => {
                let stub = self.stubs.refuse;
                dynasm!(self.ops ; .arch x64 ; =>label ; add r15, count);
                self.index(at);
                dynasm!(self.ops ; .arch x64 ; jmp extern stub);
            }
            Cold::Leave { label, stub, at, saved } => {
                dynasm!(self.ops ; .arch x64 ; =>label);
                self.save(&saved);
                self.index(at);
                dynasm!(self.ops ; .arch x64 ; jmp extern stub);
            }
            Cold::Miss { label, at, pc } => {
                let stub = self.stubs.miss_link;
                dynasm!(self.ops ; .arch x64 ; =>label);
                self.constant(RAX, pc);
                self.index(at);
                dynasm!(self.ops ; .arch x64 ; jmp extern stub);
            }
            Cold::Hot { label, at, pc } => {
                let stub = self.stubs.hot;
                dynasm!(self.ops ; .arch x64 ; =>label);
                self.constant(RAX, pc);
                self.index(at);
                dynasm!(self.ops ; .arch x64 ; jmp extern stub);
            }
            Cold::Jump { label, at, saved } => {
                dynasm!(self.ops ; .arch x64 ; =>label);
                self.regs = saved;
                let c = self.words[(at - self.first) as usize];
                self.jump_word(&c, at);
            }
            Cold::Word { label, back, at, cell, into, saved } => {
                let stub = self.stubs.word;
                dynasm!(self.ops ; .arch x64 ; =>label);
                self.save(&saved);
                self.index(at);
                dynasm!(self.ops ; .arch x64 ; call extern stub);
                self.reload(&saved);
                let from = i32::from(cell) * 8;
                match into {
                    Into::Rax => dynasm!(self.ops ; .arch x64 ; mov rax, [rbx + from]),
                    Into::Xmm0 => dynasm!(self.ops ; .arch x64 ; movsd xmm0, [rbx + from]),
                    Into::Wide => dynasm!(self.ops ; .arch x64 ; movups xmm0, [rbx + from]),
                }
                dynasm!(self.ops ; .arch x64 ; jmp =>back);
            }
            Cold::Refill { label, again, at, value, saved } => {
                let stub = self.stubs.refill;
                dynasm!(self.ops ; .arch x64 ; =>label);
                self.save(&saved);
                dynasm!(self.ops ; .arch x64 ; mov ecx, value as i32);
                self.index(at);
                dynasm!(self.ops ; .arch x64 ; call extern stub);
                self.reload(&saved);
                dynasm!(self.ops ; .arch x64 ; jmp =>again);
            }
            Cold::Access { label, back, at, stub, value, into, saved } => {
                dynasm!(self.ops ; .arch x64 ; =>label);
                self.save(&saved);
                if let Some(value) = value {
                    self.copy(1, value);
                }
                self.index(at);
                dynasm!(self.ops ; .arch x64 ; call extern stub);
                self.reload(&saved);
                if let Some(into) = into {
                    self.copy(into, RAX);
                }
                dynasm!(self.ops ; .arch x64 ; jmp =>back);
            }
        }
    }
}
