//! What a block became: guest instructions, IR, bytecode and host code, made afresh for who wants to look at them.

use super::code::{Arena, Bc, BlockInfo, Code, Operand, Side};
use super::compile::{self, Head};
use super::{BlockId, Engine, MAX_INSNS};
use crate::builder::Builder;
use crate::guest::{BlockKey, FetchFault, Isa};
use crate::op::{Block, Op};
use crate::text;
use emu_memory::{GuestBus, PAGE_BITS, PAGE_SIZE};
use rustc_hash::FxHashMap;

/// A translation, as plain data.
#[derive(Clone, Debug, Default)]
pub struct Explained {
    /// Virtual address it is for.
    pub pc: u64,
    /// Block key it is for.
    pub key: BlockKey,
    /// Its guest instructions in order.
    pub guest: Vec<GuestInsn>,
    /// The IR that was compiled, after the passes ([`text::print`]): the lines of each guest instruction begin with its `mark`.
    pub ir: String,
    /// The bytecode, one text a word.
    pub words: Vec<String>,
    /// State cells, which host code reaches at 8 times their number from `rbx`, with their names.
    pub cells: Vec<(u16, &'static str)>,
    /// The quick tier's code, if the engine uses that.
    pub host: Option<HostCode>,
}

/// A region there is.
#[derive(Clone, Debug, Default)]
pub struct ExplainedRegion {
    /// Virtual address of its first block.
    pub pc: u64,
    /// Block key of all of them.
    pub key: BlockKey,
    /// Guest instructions that were executed in it, if they are counted.
    pub spent: u64,
    /// Those it is made of, by address.
    pub guest: Vec<GuestInsn>,
    /// State cells, as those of a block.
    pub cells: Vec<(u16, &'static str)>,
    /// Where the first byte of its function is executed.
    pub base: u64,
    /// The function.
    pub bytes: Vec<u8>,
    /// Offset by offset: the guest instruction that code from there on is for.
    pub places: Vec<(u32, u64)>,
}

/// A guest instruction of a block.
#[derive(Clone, Debug)]
pub struct GuestInsn {
    /// Virtual address.
    pub pc: u64,
    /// Modes and decoder contexts it was decoded with.
    pub key: BlockKey,
    /// Its bytes, as they are in memory.
    pub bytes: Vec<u8>,
    /// Its first word of bytecode; that of the next if it has none.
    pub word: u32,
}

/// Host code of a block.
#[derive(Clone, Debug, Default)]
pub struct HostCode {
    /// Where the first byte would be executed.
    pub base: u64,
    /// The code, and behind it the slots its jumps lead through.
    pub bytes: Vec<u8>,
    /// Which word of bytecode the code from an offset on is for, in order of offsets. Some words go together; then it is for the first.
    pub words: Vec<(u32, u32)>,
    /// Offset of what lies out of line.
    pub cold: u32,
    /// Offset of the slots, 8 bytes each.
    pub slots: u32,
    /// Addresses of the pieces all blocks share, with their names.
    pub stubs: Vec<(u64, String)>,
}

impl Explained {
    /// The guest instruction a word of bytecode belongs to; `None` for the block's head.
    pub fn guest_of(&self, word: u32) -> Option<usize> {
        if word == 0 { None } else { self.guest.partition_point(|g| g.word <= word).checked_sub(1) }
    }
}

impl<I: Isa> Engine<I> {
    /// What a block at a virtual address is translated into with the current block key; `None` if there is no code in RAM.
    pub fn explain(&mut self, bus: &dyn GuestBus, pc: u64) -> Option<Explained> {
        let key = self.cx.isa.block_key(self.state());
        let (_, place) = self.code_page(bus, pc, self.cx.isa.fetch_mmu(key)).ok()?;
        self.explain_block(bus, BlockId::new(place?, pc, key))
    }

    /// The same of every translation there is that has an instruction at this virtual address; if there is none, of a block that begins there.
    pub fn explain_all(&mut self, bus: &dyn GuestBus, pc: u64) -> Vec<Explained> {
        let holds = |code: u32| {
            let (first, last) = self.arena.blocks[self.arena.block_at(code)? as usize].marks;
            self.arena.marks[first as usize..last as usize].iter().find(|mark| mark.pc == pc)
        };
        let known = self.blocks.iter().filter(|(id, cached)| !id.is_single() && holds(cached.code).is_some());
        let mut known: Vec<BlockId> = known.map(|(id, _)| *id).collect();
        known.sort_by_key(|id| (id.pc, id.key.0, id.page()));
        let mut all: Vec<Explained> = known.into_iter().filter_map(|id| self.explain_block(bus, id)).collect();
        if all.is_empty() {
            all.extend(self.explain(bus, pc));
        }
        all
    }

    /// Regions that hold this virtual address, or all; those that executed most first.
    pub fn explain_regions(&mut self, bus: &dyn GuestBus, pc: Option<u64>) -> Vec<ExplainedRegion> {
        let Some(quick) = &self.quick else { return Vec::new() };
        let mut all = Vec::new();
        for region in quick.regions() {
            let first = |code: u32| self.arena.block_at(code).map(|block| self.arena.blocks[block as usize]);
            let pcs: Vec<(u32, u64)> = region.pieces.iter().filter_map(|code| Some((*code, first(*code)?.pc))).collect();
            let at = |(piece, word): (u16, u16)| {
                let code = region.pieces.get(usize::from(piece))? + u32::from(word);
                self.arena.mark_at(code).map(|(.., mark)| mark.pc).or(first(code).map(|block| block.pc))
            };
            let places = region.places.iter().filter_map(|(offset, place)| Some((*offset, at(*place)?))).collect();
            let spent = self.cx.spent.get(region.spent).copied().unwrap_or(0);
            let (id, base) = (region.id, region.base as u64);
            all.push((id, pcs, ExplainedRegion { pc: id.pc, key: id.key, spent, base, bytes: region.bytes, places, ..Default::default() }));
        }
        let mut regions = Vec::new();
        for (id, pcs, mut region) in all {
            for (_, at) in pcs {
                // Of a program, pages are where their addresses say; a board's region has one.
                let page = (id.page().0, id.page().1.wrapping_add((at >> PAGE_BITS).wrapping_sub(id.pc >> PAGE_BITS)));
                if let Some(block) = self.explain_block(bus, BlockId::new(page, at, id.key)) {
                    region.guest.extend(block.guest);
                    region.cells = block.cells;
                }
            }
            region.guest.sort_by_key(|guest| guest.pc);
            region.guest.dedup_by_key(|guest| guest.pc);
            if pc.is_none_or(|pc| region.guest.iter().any(|guest| guest.pc == pc)) {
                regions.push(region);
            }
        }
        regions.sort_by_key(|region| std::cmp::Reverse(region.spent));
        regions
    }

    fn explain_block(&mut self, bus: &dyn GuestBus, id: BlockId) -> Option<Explained> {
        let mmu = self.cx.isa.fetch_mmu(id.key);
        let mut arena = Arena::default();
        let mut max = MAX_INSNS;
        let block = loop {
            let (mut block, head, second) = self.translate_block(bus, id, mmu, max).ok()?;
            self.passes.optimise(&mut block);
            if self.compile_alone(&block, &mut arena, id, head, second.is_none()) {
                break block;
            }
            arena.clear();
            max = (max > 1).then_some(max / 2)?;
        };
        let info = *arena.blocks.first()?;
        let layout = self.cx.isa.layout();
        let state = self.cx.state_cells as u16;
        let names: FxHashMap<u16, &'static str> = layout.slots.iter().filter(|s| s.lo == 0).rev().map(|s| (s.cell, s.name)).collect();
        let cell = |cell: u16| names.get(&cell).map_or_else(|| format!("t{}", cell.wrapping_sub(state)), |name| (*name).to_string());
        let words = arena.code.iter().map(|c| word(c, &arena, &cell)).collect();
        let mut cells: Vec<(u16, &'static str)> = names.into_iter().collect();
        cells.sort_unstable();
        Some(Explained {
            pc: id.pc,
            key: id.key,
            guest: self.guest_insns(bus, id, &arena),
            ir: text::print(&block, layout),
            words,
            cells,
            host: self.quick.as_ref().and_then(|quick| quick.explain(&arena, &info)),
        })
    }

    fn compile_alone(&mut self, block: &Block, arena: &mut Arena, id: BlockId, head: Head, linkable: bool) -> bool {
        let fits = compile::compile(&self.target, &mut self.work, block, arena, Some(head), Some(id.pc), None).is_ok();
        let (end, marks) = (arena.code.len() as u32, arena.marks.len() as u32);
        arena.add_block(BlockInfo { code: 0, end, marks: (0, marks), pc: id.pc, key: id.key, linkable });
        fits
    }

    /// The block's instructions with their bytes, and the contexts each was decoded with: what the one before leaves behind.
    fn guest_insns(&mut self, bus: &dyn GuestBus, id: BlockId, arena: &Arena) -> Vec<GuestInsn> {
        let isa = self.cx.isa.clone();
        let mut key = id.key;
        let mut all = Vec::with_capacity(arena.marks.len());
        for mark in &arena.marks {
            let mut builder = Builder::for_isa(&*isa);
            let mut bytes = Vec::new();
            let mut fetch = |at: u64, size: u8| {
                let mut value = 0;
                for (shift, at) in (0..size).map(|i| (8 * i, at.wrapping_add(i.into()))) {
                    let byte = self.code_byte(bus, id, at)?;
                    value |= u64::from(byte) << shift;
                    if at == mark.pc.wrapping_add(bytes.len() as u64) {
                        bytes.push(byte);
                    }
                }
                Ok(value)
            };
            let known = isa.translate(mark.pc, key, 1, &mut fetch, &mut builder).is_ok();
            let block = builder.finish();
            if let Some(mark) = block.insts.iter().find(|i| i.op == Op::Mark) {
                bytes.truncate(mark.imm_hi.wrapping_sub(mark.imm) as usize);
            }
            all.push(GuestInsn { pc: mark.pc, key, bytes, word: mark.code });
            if known {
                key = self.key_after(&block, key);
            }
        }
        all
    }

    fn code_byte(&mut self, bus: &dyn GuestBus, id: BlockId, at: u64) -> Result<u8, FetchFault> {
        let same = at & !(PAGE_SIZE - 1) == id.pc & !(PAGE_SIZE - 1);
        let place = if same { Some(id.page()) } else { self.code_page(bus, at, self.cx.isa.fetch_mmu(id.key))?.1 };
        let read = place.and_then(|(ram, page)| self.rams[ram as usize].read(page << PAGE_BITS | at & (PAGE_SIZE - 1), 1));
        read.map(|byte| byte as u8).ok_or_else(|| FetchFault(self.fetch_abort(bus, at)))
    }

    /// The key after a block of one instruction: constants it writes to what the key copies.
    fn key_after(&self, block: &Block, mut key: BlockKey) -> BlockKey {
        let constants: FxHashMap<_, _> = block.insts.iter().filter_map(|i| Some((i.res, i.constant()?))).collect();
        for inst in &block.insts {
            let Op::Set(slot) = inst.op else { continue };
            let (desc, value) = (&self.cx.isa.layout().slots[slot.0 as usize], constants.get(&inst.args[0]));
            let part = self.cx.isa.key_parts().iter().find(|part| part.copy && part.cells == [desc.cell]);
            if let (Some(part), Some(value)) = (part, value) {
                let mask = (1 << desc.bits) - 1;
                key.0 = key.0 & !(mask << part.lo) | (*value as u64 & mask) << part.lo;
            }
        }
        key
    }
}

/// The text of a word of bytecode; `cell` names cells. Only what an operation uses is said, as far as it is known here.
fn word(c: &Code, arena: &Arena, cell: &dyn Fn(u16) -> String) -> String {
    use Bc::*;
    let side = |side: &Side| {
        let operand = |operand: &Operand| match operand {
            Operand::None => None,
            Operand::Cell(at) => Some(cell(*at)),
            Operand::Const(value) => Some(format!("{value:#x}")),
        };
        let result = if side.inst.res == crate::op::Value::NONE { String::new() } else { format!(" {} =", cell(side.result)) };
        let operands: Vec<String> = side.args.iter().filter_map(operand).collect();
        format!("{result} {:?}.{:?} {}", side.inst.op, side.inst.ty, operands.join(", "))
    };
    let (a, b, d) = (|| cell(c.a), || cell(c.b), || cell(c.c));
    let rest = match c.op {
        Generic | Float | Memory | Call | Raise => side(&arena.side[c.imm as usize]),
        Enter => format!(" {} instructions", c.a),
        MovI => format!(" {} = {:#x}", a(), c.imm),
        Mov => format!(" {} = {}", a(), b()),
        Load8 | Load16 | Load32 | Load64 => format!(" {} = [{} + {:#x}]", a(), b(), c.imm),
        Store8 | Store16 | Store32 | Store64 => format!(" [{} + {:#x}] = {}", b(), c.imm, a()),
        ProbeRead | ProbeWrite => format!(" [{} + {:#x}], {} bytes", b(), c.imm, c.a),
        Br | Poll | Linked => format!(" to {}", c.imm),
        BrZ | BrNz => format!(" {} to {}", b(), c.imm),
        BrEq | BrNe | BrUlt | BrUle | BrSlt32 | BrSle32 | BrSlt64 | BrSle64 => format!(" {}, {} to {}", b(), d(), c.imm),
        Jump => format!(" {:#x}{}", c.imm, if c.x == 0 { "" } else { ", may be linked" }),
        JumpTo | JumpRekey => format!(" {}", b()),
        Select | Carry32 | Overflow32 => format!(" {} = {}, {}, {}", a(), b(), d(), cell(c.imm as u16)),
        AddFlags32 | SubFlags32 => format!(" {} = {}, {}; {}", a(), b(), d(), flags(c, cell)),
        AddFlags32I | SubFlags32I => format!(" {} = {}, {:#x}; {}", a(), b(), c.c, flags(c, cell)),
        Extract | Sext => format!(" {} = {}, {}, {:#x}", a(), b(), c.x, c.imm),
        Insert => format!(" {} = {}, {}, {}, {:#x}", a(), b(), d(), c.x, c.imm),
        Wait | Trap | Fence | Count | ClearExclusive => String::new(),
        op if format!("{op:?}").ends_with('I') => format!(" {} = {}, {:#x}", a(), b(), c.imm),
        Clz | Popcnt | Bswap | Bitrev => format!(" {} = {}", a(), b()),
        _ => format!(" {} = {}, {}", a(), b(), d()),
    };
    format!("{:?}{rest}", c.op)
}

/// The cells of an addition's or subtraction's flags.
fn flags(c: &Code, cell: &dyn Fn(u16) -> String) -> String {
    (0..4).map(|n| cell((c.imm >> (16 * n)) as u16)).collect::<Vec<_>>().join(", ")
}
