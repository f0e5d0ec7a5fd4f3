//! The interpreter's bytecode: 16-byte words over 64-bit cells.
//!
//! A frame of [`FRAME`] cells holds the CPU's state cells first and temporaries behind them; operands are cell numbers, so reading a
//! register costs nothing of its own. A value in a cell is zero-extended; 128-bit values take two cells, the low half first.

use crate::guest::BlockKey;
use crate::op::{Inst, Type};
use serde::{Deserialize, Serialize};

/// Cells of a frame; a power of two, so that a masked index needs no bounds check.
pub const FRAME: usize = 4096;

/// The cells themselves.
pub type Cells = [u64; FRAME];

/// What a bytecode word does. `A` is the cell written, `B` and `C` cells read, `I` the immediate, `x` the small immediate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum Bc {
    /// Block head: a = instructions, b = RAM block, I = page << 32 | generation.
    Enter,
    /// A = B. x = 1: B is a temporary cell that is not read any more.
    Mov,
    /// A = I.
    MovI,
    /// A = B & I, and other plain 64-bit operations on zero-extended values.
    AndI,
    And,
    Or,
    OrI,
    Xor,
    XorI,
    Add32,
    Add32I,
    Add64,
    Add64I,
    Sub32,
    /// A = I - B.
    RSub32I,
    Sub64,
    RSub64I,
    Mul32,
    Mul64,
    Shl32,
    Shl32I,
    Shl64,
    Shl64I,
    Shr,
    ShrI,
    Sar32,
    Sar32I,
    Sar64,
    Ror32,
    Ror32I,
    Ror64,
    DivU,
    DivS32,
    DivS64,
    RemU,
    /// A = leading zeros of B, less x.
    Clz,
    Popcnt,
    /// Reversals of the low 64 - x bits.
    Bswap,
    Bitrev,
    /// A = B sign-extended from 64 - x bits, masked by I.
    Sext,
    /// A = B >> x & I.
    Extract,
    /// A = B with the bits of I replaced by C << x.
    Insert,
    /// A = B << x | C.
    Concat,
    CmpEq,
    CmpEqI,
    CmpNe,
    CmpNeI,
    CmpUlt,
    CmpUltI,
    CmpUle,
    CmpUleI,
    CmpSlt32,
    CmpSle32,
    CmpSlt64,
    CmpSle64,
    /// A = bit 31 of B and the like: see `Extract`. Overflow and carry of B + C + cell I.
    Carry32,
    Overflow32,
    /// Signed overflow and carry of B + C.
    OverflowAdd32,
    CarryAdd32,
    /// A = B + C or B - C (or the constant c), and the result's flags: the cells of negative, zero, carry and overflow are the quarters of I,
    /// low first. Carry after a subtraction means no borrow. x = 1: nobody wants the result.
    AddFlags32,
    AddFlags32I,
    SubFlags32,
    SubFlags32I,
    /// A = B ? C : cell I.
    Select,
    /// A pure operation without a bytecode of its own: entry I of the side table.
    Generic,
    /// A floating-point operation: entry I of the side table.
    Float,

    /// Loads: A = memory at (B + I) cut to 64 - x bits; c = MMU index | alignment mask << 8.
    Load8,
    Load16,
    Load32,
    Load64,
    /// Stores of A.
    Store8,
    Store16,
    Store32,
    Store64,
    /// Checks that reading or writing a bytes would not fault; else as a load.
    ProbeRead,
    ProbeWrite,
    /// Any other memory operation: entry I of the side table.
    Memory,
    Fence,
    /// Counts up the number at host address I.
    Count,
    ClearExclusive,
    /// Calls a helper: entry I of the side table.
    Call,

    /// Continue at code index I.
    Br,
    /// ... if B is zero, if it is not.
    BrZ,
    BrNz,
    /// ... if the comparison of B and C does not hold; those with immediates in C are 16 bits wide.
    BrEq,
    BrNe,
    BrUlt,
    BrUle,
    BrSlt32,
    BrSle32,
    BrSlt64,
    BrSle64,
    /// End of a round of a repeat: continue at I, unless someone asks for attention.
    Poll,
    /// A jump linked to code index I; a = instructions of the block not executed.
    Linked,
    /// Jump to pc I; x = 1 if it may be linked.
    Jump,
    /// Jump to pc in B; key unchanged, or computed anew.
    JumpTo,
    JumpRekey,
    /// Raises exception c: arguments in entry I of the side table.
    Raise,
    /// Sleep: x = event, I = next pc.
    Wait,
    /// What no block reaches.
    Trap,
}

impl Bc {
    /// A load, a store, or a probe of either.
    pub fn is_access(self) -> bool {
        (Bc::Load8..=Bc::ProbeWrite).contains(&self)
    }
}

/// One word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[repr(C)]
pub struct Code {
    pub op: Bc,
    pub x: u8,
    pub a: u16,
    pub b: u16,
    pub c: u16,
    pub imm: u64,
}

impl Code {
    /// Of an access: its address has neither 32 nor 64 bits, or its alignment is more than 16 bytes. Generated code leaves such to the interpreter.
    pub fn is_odd_access(&self) -> bool {
        !matches!(self.x, 0 | 32) || self.c >> 8 > 15
    }
}

const _: () = assert!(size_of::<Code>() == 16);

/// Operands of an operation executed from the side table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Side {
    pub inst: Inst,
    /// Types of the operands in use.
    pub types: [Type; 6],
    pub args: [Operand; 6],
    /// The guest instruction: its pc, and how many the block has from it on. `None` in the entry of an exception.
    pub mark: Option<(u64, u16)>,
    /// First cell of the result.
    pub result: u16,
}

/// Where an operand of a side-table operation is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Operand {
    None,
    Cell(u16),
    Const(u128),
}

/// A guest instruction's place in the code: its first word.
#[derive(Clone, Copy, Debug)]
pub struct MarkInfo {
    pub code: u32,
    /// What it tells the exception of a misaligned access.
    pub note: u16,
    pub pc: u64,
}

/// A compiled block's place in the code.
#[derive(Clone, Copy, Debug)]
pub struct BlockInfo {
    /// Its `Enter`.
    pub code: u32,
    /// One past its last word.
    pub end: u32,
    /// Its marks in the arena's list.
    pub marks: (u32, u32),
    /// Virtual pc and block key it was translated for.
    pub pc: u64,
    pub key: BlockKey,
    /// May be jumped to directly: it lies in one page.
    pub linkable: bool,
}

/// All compiled code of one vCPU.
#[derive(Default)]
pub struct Arena {
    pub code: Vec<Code>,
    pub side: Vec<Side>,
    pub marks: Vec<MarkInfo>,
    /// By ascending code index.
    pub blocks: Vec<BlockInfo>,
    /// For each [`CHUNK`] words of code: the first block that begins in them or behind.
    first: Vec<u32>,
}

/// Words of code that have one entry in a list of blocks.
const CHUNK: usize = 64;

/// How much an arena held at some time.
#[derive(Clone, Copy)]
pub struct Extent {
    code: usize,
    side: usize,
    marks: usize,
    blocks: usize,
}

impl Arena {
    /// Adds a block behind all others, whose code is there already.
    pub fn add_block(&mut self, info: BlockInfo) {
        while self.first.len() * CHUNK <= info.code as usize {
            self.first.push(self.blocks.len() as u32);
        }
        self.blocks.push(info);
    }

    /// How much there is, for [`Arena::truncate`].
    pub fn extent(&self) -> Extent {
        Extent { code: self.code.len(), side: self.side.len(), marks: self.marks.len(), blocks: self.blocks.len() }
    }

    /// Forgets what was added since.
    pub fn truncate(&mut self, to: Extent) {
        self.code.truncate(to.code);
        self.side.truncate(to.side);
        self.marks.truncate(to.marks);
        self.blocks.truncate(to.blocks);
        self.first.retain(|block| (*block as usize) < to.blocks);
    }

    /// The code index of the block that a code index lies in.
    pub fn head_of(&self, at: u32) -> Option<u32> {
        self.block_at(at).map(|block| self.blocks[block as usize].code)
    }

    /// The block that holds code index `at`.
    pub fn block_at(&self, at: u32) -> Option<u32> {
        let from = self.first.get(at as usize / CHUNK).map_or(self.blocks.len(), |first| *first as usize);
        let index = (from + self.blocks[from..].iter().take_while(|b| b.code <= at).count()).checked_sub(1)?;
        (at < self.blocks[index].end).then_some(index as u32)
    }

    /// The RAM of the block that holds code index `at`, and its page in it.
    pub fn page_of(&self, at: u32) -> Option<(u16, u64)> {
        let head = self.code[self.head_of(at)? as usize];
        (head.op == Bc::Enter).then_some((head.b, head.imm >> 32))
    }

    /// The instruction that code index `at` of a block belongs to: its pc, and how many the block has from it on.
    pub fn place_of(&self, at: u32) -> Option<(u64, u32)> {
        let c = self.code[at as usize];
        if matches!(c.op, Bc::Raise | Bc::Call | Bc::Memory | Bc::Float | Bc::Generic) {
            return self.side[c.imm as usize].mark.map(|(pc, rest)| (pc, rest.into()));
        }
        self.mark_at(at).map(|(index, count, mark)| (mark.pc, count - index))
    }

    /// The instruction that code index `at` of a block belongs to: its number in the block, the block's instruction count, and the mark.
    pub fn mark_at(&self, at: u32) -> Option<(u32, u32, MarkInfo)> {
        let (first, last) = self.blocks[self.block_at(at)? as usize].marks;
        let marks = &self.marks[first as usize..last as usize];
        let index = marks.partition_point(|m| m.code <= at).checked_sub(1)?;
        Some((index as u32, last - first, marks[index]))
    }

    /// The first instruction that begins at code index `at`: as [`Arena::mark_at`], but of several without code of their own the first.
    pub fn mark_from(&self, at: u32) -> Option<(u32, u32, MarkInfo)> {
        let (first, last) = self.blocks[self.block_at(at)? as usize].marks;
        let marks = &self.marks[first as usize..last as usize];
        let index = marks.partition_point(|m| m.code < at);
        Some((index as u32, last - first, *marks.get(index)?))
    }

    /// Where the instruction after the one at `at` begins, unless it is the block's last.
    pub fn next_mark(&self, at: u32) -> Option<MarkInfo> {
        let (first, last) = self.blocks[self.block_at(at)? as usize].marks;
        let marks = &self.marks[first as usize..last as usize];
        marks.get(marks.partition_point(|m| m.code <= at)).copied()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.code.clear();
        self.side.clear();
        self.marks.clear();
        self.blocks.clear();
        self.first.clear();
    }
}
