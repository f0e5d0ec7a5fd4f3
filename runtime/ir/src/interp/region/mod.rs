//! The region tier: hot loops of several blocks as one function of the host's, compiled by Cranelift on another thread.
//!
//! Data path: code of the quick tier counts its jumps back; where one was taken often, [`gather`] collects the blocks around it that the loop consists of
//! (linked jumps inside a page lead from one to the next, the jump cache to other pages, so they have all been executed), as copies of their bytecode. A
//! thread of [`Workers`] makes a function of them ([`lower`], what is written back when: [`plan`]), and the vCPU that asked puts it in front of the loop's
//! first block ([`super::quick`]). Whoever comes to that block then executes the region.
//!
//! Cells are SSA values inside: those of the state are loaded at the entry and stored at exits, and on the way out of line of an access that does not find its
//! page in the TLB's front. Where the host maps the guest's memory (a program's, or pages in a window), an access that it refuses is left out, and a word says so; the region looks at that word
//! before it does anything that could not be done again, and leaves the rest of the block to the interpreter, from the first access since it looked last.
//!
//! Regions count and stop where blocks do, and poll where a loop comes back to its head. What a region has no code for ends it: it leaves before that block,
//! or to the interpreter before that word.

mod access;
mod compare;
mod flags;
mod float;
mod flow;
mod gather;
mod inline;
mod kinds;
mod known;
mod late;
mod look;
mod lower;
mod pages;
mod plan;
mod stored;
mod vector;
mod words;
mod workers;

use super::code::{Arena, Bc, BlockInfo, Code, Operand, Side};
use super::quick::{is_branch, result_of};
use crate::guest::BlockKey;
use emu_memory::{PAGE_BITS, WINDOW_INDICES};
pub use gather::{Around, gather};
use inline::is_inline;
pub use inline::{Control, Guest};
pub use lower::{Compiled, Place};
pub use pages::{EMPTY, MAX_SLOTS};
pub use plan::written;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
pub use workers::{Done, Held, Made, Workers};

/// Blocks and words of a region at most.
const MAX_BLOCKS: usize = 64;
const MAX_WORDS: usize = 2500;

/// Bytes of a call and its slot.
const SLOT: u64 = 8;

/// A table of targets is so near to the block that jumps.
const MAX_TABLE: u64 = 1024;

/// A block of a region: a copy, whose jumps say the pc they lead to, and words of the side table in `a` and `b` the first cell of their result and how many.
#[derive(Clone, Debug, Serialize)]
pub struct Piece {
    /// Code index of its `Enter`, which is the first word.
    pub code: u32,
    pub pc: u64,
    /// The pc of its last instruction.
    pub last: u64,
    pub words: Vec<Code>,
    /// The first word of each instruction.
    pub marks: Vec<usize>,
    /// Where its computed jumps may lead in the region: pcs of blocks.
    pub ways: Vec<u64>,
    /// Entries of the side table for words that a region has code of its own for.
    pub sides: Vec<Side>,
}

impl Piece {
    /// The number of the instruction that a word belongs to.
    fn instruction(&self, word: usize) -> usize {
        self.marks.partition_point(|mark| *mark <= word)
    }

    /// Word number of a branch's target.
    fn target(&self, c: &Code) -> usize {
        (c.imm - u64::from(self.code)) as usize
    }

    /// No word of the side table has code of its own.
    fn call_all(&mut self) {
        self.words.iter_mut().filter(|c| has_side(c.op)).for_each(|c| c.x = 0);
        self.sides.clear();
    }

    /// Constants that it puts into cells: return addresses are among them. Where calls have a slot, they may note their own address: then they come back behind
    /// the slot. What is chosen among two is where a branch with a slot leads.
    fn constants(&self, aside: &[u16]) -> impl Iterator<Item = u64> {
        let behind = |c: &Code| (self.pc..=self.last).contains(&c.imm).then_some(c.imm + SLOT);
        let chosen = |cell| self.words.iter().any(|c| c.op == Bc::Select && (c.c == cell || c.imm == u64::from(cell)));
        let puts = move |c: &&Code| c.op == Bc::MovI && !aside.contains(&c.a) && !chosen(c.a);
        self.words.iter().filter(puts).flat_map(move |c| [Some(c.imm), Some(c.imm & !1), behind(c)]).flatten()
    }

    /// It may end with a jump to a block of the region that is computed. Behind helpers, which may have changed what is where, such are looked up.
    fn computes(&self) -> bool {
        self.words.iter().any(|c| matches!(c.op, Bc::JumpTo | Bc::JumpRekey)) && !self.calls()
    }

    /// Its computed jump may be that of a table: it computes with an address that is near.
    fn has_table(&self) -> bool {
        let adds = |c: &Code| matches!(c.op, Bc::MovI | Bc::Add32I | Bc::Add64I) || c.op.is_access();
        self.words.iter().any(|c| adds(c) && c.imm.abs_diff(self.pc) < MAX_TABLE)
    }

    /// It calls helpers.
    pub fn calls(&self) -> bool {
        self.words.iter().any(|c| c.op == Bc::Call)
    }

    /// Where its other jumps lead.
    fn jumps(&self) -> impl Iterator<Item = u64> {
        self.words.iter().filter(|c| c.op == Bc::Jump).map(|c| c.imm)
    }

    /// Where it leads.
    fn leads_to(&self) -> impl Iterator<Item = u64> {
        self.jumps().chain(self.ways.iter().copied())
    }
}

/// What a region is made from.
#[derive(Clone, Debug, Serialize)]
pub struct Input {
    /// The first one is where it is entered.
    pub pieces: Vec<Piece>,
    /// The RAM and page of each, the first one's first.
    pub pages: Vec<(u16, u64)>,
    pub key: BlockKey,
    /// The cells that say whether the key is still that of the region where it may be another, and what they hold then. `None`: that is not known.
    pub rekeyed: Option<Vec<(u16, u64)>>,
    /// Cells that blocks of the region write, and what they hold wherever one begins: what the key is made of, and what rests then.
    pub heads: Vec<(u16, u64)>,
    /// What has to be so where it is entered, for its floating point.
    pub controls: Vec<Control>,
    pub layout: Layout,
    pub calls: Calls,
}

impl Input {
    /// The pc and code index of a piece of each page but the first.
    pub fn of_other_pages(&self) -> Vec<(u64, u32)> {
        let mut of_pages: BTreeMap<u64, (u64, u32)> = self.pieces.iter().map(|p| (p.pc >> PAGE_BITS, (p.pc, p.code))).collect();
        self.pieces.first().map(|first| of_pages.remove(&(first.pc >> PAGE_BITS)));
        of_pages.into_values().collect()
    }
}

/// Where generated code finds things: offsets in bytes from the first cell.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Layout {
    /// Cells of the state; those above are temporary.
    pub state: u16,
    pub left: i32,
    pub run: i32,
    pub attention: i32,
    /// The lines that are high, 64 bits.
    pub levels: i32,
    pub front: i32,
    /// Anything but the low half of the cells' address: the host has refused an access.
    pub refused: i32,
    /// Zeros.
    pub zero: i32,
    /// Three words of 32 bits, to compute flags from.
    pub flags: i32,
    /// [`MAX_SLOTS`] pairs of a virtual page and what to add for its host address.
    pub slots: i32,
    /// The address of the first window, and the MMU index of all accesses if they go to its window.
    pub windows: i32,
    pub window: Option<u8>,
    /// As of the quick tier.
    pub direct: bool,
    pub apart: bool,
    pub counted: bool,
}

impl Layout {
    /// Accesses go where the host maps memory, or refuses to.
    pub fn is_mapped(&self) -> bool {
        self.direct || self.window.is_some()
    }
}

/// The MMU index of all accesses of these blocks, if it is one that has windows, and they are better off so: before floating point a region would have to look
/// each time whether the host refused a load.
pub fn window_of(pieces: &[Piece]) -> Option<u8> {
    if pieces.iter().flat_map(|piece| &piece.words).any(|c| c.op == Bc::Float) {
        return None;
    }
    let mut accesses = pieces.iter().flat_map(|piece| &piece.words).filter_map(pages::Access::of);
    let first = accesses.next().filter(|a| a.narrow && a.mmu < WINDOW_INDICES)?;
    accesses.all(|a| (a.mmu, a.narrow) == (first.mmu, first.narrow)).then_some(first.mmu)
}

/// Addresses of functions that a region calls and that keep all its registers, but for their results; by size.
#[derive(Clone, Copy, Default, Debug, Serialize)]
pub struct Calls {
    pub load: [usize; 4],
    pub store: [usize; 4],
    pub probe: usize,
    pub refill: usize,
    pub word: usize,
}

/// How a region is left. Each says what the value is that it comes back with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Exit {
    /// To the block at this pc; no value.
    Jump(u64),
    /// To the block at the pc that is the value.
    JumpTo,
    /// The same, where the key may be another.
    Rekey,
    /// Something asks for attention before the block at this pc; no value.
    Poll(u64),
    /// Before the block at this code index, which does not fit what is left; no value.
    Refuse(u32),
    /// The interpreter goes on at this code index; no value.
    Resume(u32),
    /// A function has said why; no value.
    Stored,
}

/// Which blocks regions are made of.
#[derive(Clone, Copy)]
pub struct Policy {
    /// Also those with words that a region has no code for, which are called then: slower than blocks that have some, but tests see more.
    pub thorough: bool,
    /// A cell that is not all that is known of floating-point flags: no region touches it.
    pub sticky: Option<u16>,
    pub guest: Guest,
}

/// A word with an entry in the side table, of which regions know the result.
fn has_side(op: Bc) -> bool {
    matches!(op, Bc::Generic | Bc::Float | Bc::Memory | Bc::Call)
}

/// A word that is called.
fn is_called(c: &Code) -> bool {
    (has_side(c.op) || c.op == Bc::ClearExclusive) && !is_inline(c)
}

impl Policy {
    /// A region can have the word.
    fn takes(&self, c: &Code) -> bool {
        use Bc::*;
        let fits = match c.op {
            Poll | Trap => false,
            Generic | Float | Call => self.thorough || is_inline(c),
            op if op.is_access() => !c.is_odd_access() && i32::try_from(c.imm as i64).is_ok(),
            _ => true,
        };
        let touches = |cell| plan::reads(c).chain(plan::written(c)).any(|touched| touched == cell);
        fits && !self.sticky.is_some_and(touches) && !self.guest.controls(c)
    }

    /// A copy of a block, if it is one that a region can have.
    fn copy(&self, arena: &Arena, block: &BlockInfo, key: BlockKey) -> Option<Piece> {
        let mut words = arena.code[block.code as usize..block.end as usize].to_vec();
        // Behind its last word.
        words.pop_if(|c| c.op == Bc::Trap);
        let mut sides = Vec::new();
        for c in &mut words {
            if has_side(c.op) {
                (c.a, c.b) = result_of(arena, c);
                let side = &arena.side[c.imm as usize];
                if self.sticky.is_some_and(|sticky| side.args.iter().any(|arg| matches!(arg, Operand::Cell(cell) if *cell == sticky))) {
                    return None;
                }
                if matches!(c.op, Bc::Generic | Bc::Float) {
                    self.guest.mark(c, side, &mut sides);
                }
            } else if c.op == Bc::Linked {
                let to = arena.blocks[arena.block_at(c.imm as u32)? as usize];
                *c = Code { op: Bc::Jump, x: 1, imm: to.pc, ..*c };
            }
        }
        if let Some(c) = words.iter().find(|c| !self.takes(c)) {
            tracing::debug!("no region has the block at {:#x}: {:?}", block.pc, c.op);
            return None;
        }
        if block.key != key || !block.linkable || words.first()?.op != Bc::Enter {
            return None;
        }
        let marks = &arena.marks[block.marks.0 as usize..block.marks.1 as usize];
        let last = marks.last().map_or(block.pc, |mark| mark.pc);
        let marks = marks.iter().map(|mark| (mark.code - block.code) as usize).collect();
        // Branches forward only.
        let forward = |(n, c): (usize, &Code)| !is_branch(c.op) || c.imm > u64::from(block.code) + n as u64;
        words.iter().enumerate().all(forward).then_some(Piece {
            code: block.code,
            pc: block.pc,
            last,
            words,
            marks,
            ways: Vec::new(),
            sides,
        })
    }
}
