//! Which cells of the state a region has in use, how its words follow each other, and what of the state is not in its cells where.
//!
//! A cell that a word wrote is stored at exits only. The sets at the head of each run of words are those of all ways there, by iteration until nothing
//! changes.

use super::super::code::{Bc, Code};
use super::super::quick::{Writes, flags_of, is_branch, is_jump, operands, writes};
use super::inline::{inline_reads, is_inline};
use super::{Input, has_side, is_called};
use std::collections::BTreeMap;

/// Cells of the state, by their number in the region.
pub type Set = u128;

/// Forms in which the flags may be: in their cells, those of a subtraction or an addition of known operands, values of their own.
pub type Forms = u8;
pub const MEMORY: Forms = 1;
pub const SUB: Forms = 2;
pub const ADD: Forms = 4;
pub const PLAIN: Forms = 8;

/// Words of one piece without a way in or out in their middle.
#[derive(Clone, Debug)]
pub struct Run {
    pub piece: usize,
    /// Word numbers in the piece: first, and one past the last.
    pub words: (usize, usize),
    /// Runs that it leads to.
    pub next: Vec<usize>,
    /// What is not in its cell at its head.
    pub unsaved: Set,
    /// The forms its flags may have there.
    pub forms: Forms,
}

/// The plan of a region.
pub struct Plan {
    /// The number of each cell of the state that is in use.
    pub cells: BTreeMap<u16, u32>,
    pub runs: Vec<Run>,
    /// By piece and word number: the run that begins there.
    pub heads: BTreeMap<(usize, usize), usize>,
    /// The cells of the flags that additions and subtractions set: those of the first of them.
    pub flags: Option<[u16; 4]>,
}

/// Nothing follows a word in its block.
pub fn ends(op: Bc) -> bool {
    is_jump(op) || matches!(op, Bc::Raise | Bc::Wait)
}

/// The cells a word reads, and perhaps others.
pub fn reads(c: &Code) -> impl Iterator<Item = u16> {
    let inline = is_inline(c).then(|| inline_reads(c));
    operands(c).into_iter().flatten().chain(inline.into_iter().flatten())
}

/// The cells a word writes.
pub fn written(c: &Code) -> impl Iterator<Item = u16> {
    let (some, flags) = match writes(c.op) {
        Writes::One => (c.a..c.a + 1, None),
        Writes::Flags => (c.a..c.a + u16::from(c.x == 0), Some(flags_of(c))),
        Writes::Result | Writes::Any if has_side(c.op) => (c.a..c.a + c.b, None),
        _ => (0..0, None),
    };
    some.chain(flags.into_iter().flatten())
}

impl Plan {
    /// `None`: it has too many cells.
    pub fn of(input: &Input) -> Option<Plan> {
        let mut cells = BTreeMap::new();
        let words = input.pieces.iter().flat_map(|p| &p.words);
        for cell in words.flat_map(|c| reads(c).chain(written(c)).collect::<Vec<u16>>()).filter(|cell| *cell < input.layout.state) {
            let next = cells.len() as u32;
            cells.entry(cell).or_insert(next);
        }
        if cells.len() > Set::BITS as usize {
            return None;
        }
        let mut words = input.pieces.iter().flat_map(|p| &p.words);
        let flags = words.find(|c| writes(c.op) == Writes::Flags).map(flags_of);
        let flags = flags.filter(|flags| flags.iter().all(|flag| *flag < input.layout.state));
        let mut plan = Plan { cells, runs: Vec::new(), heads: BTreeMap::new(), flags };
        plan.find_runs(input);
        plan.iterate(input);
        Some(plan)
    }

    fn find_runs(&mut self, input: &Input) {
        for (piece, p) in input.pieces.iter().enumerate() {
            let mut heads = vec![0];
            for (n, c) in p.words.iter().enumerate() {
                if is_branch(c.op) {
                    heads.extend([n + 1, p.target(c)]);
                } else if ends(c.op) {
                    heads.push(n + 1);
                }
            }
            heads.retain(|n| *n < p.words.len());
            heads.sort_unstable();
            heads.dedup();
            for (n, first) in heads.iter().enumerate() {
                let end = heads.get(n + 1).copied().unwrap_or(p.words.len());
                self.heads.insert((piece, *first), self.runs.len());
                self.runs.push(Run { piece, words: (*first, end), next: Vec::new(), unsaved: 0, forms: 0 });
            }
        }
        for at in 0..self.runs.len() {
            let Run { piece, words: (_, end), .. } = self.runs[at];
            let p = &input.pieces[piece];
            let last = p.words[end - 1];
            let inside = |n: usize| self.heads.get(&(piece, n)).copied();
            let next = match last.op {
                Bc::Br => vec![inside(p.target(&last))],
                op if is_branch(op) => vec![inside(end), inside(p.target(&last))],
                Bc::Jump => vec![self.head_of(input, last.imm)],
                Bc::JumpTo | Bc::JumpRekey if p.returns() => input.returns.iter().map(|pc| self.head_of(input, *pc)).collect(),
                op if ends(op) => vec![],
                _ => vec![inside(end)],
            };
            self.runs[at].next = next.into_iter().flatten().collect();
        }
    }

    /// The run at the head of the block at a pc.
    fn head_of(&self, input: &Input, pc: u64) -> Option<usize> {
        let piece = input.pieces.iter().position(|p| p.pc == pc)?;
        self.heads.get(&(piece, 0)).copied()
    }

    fn iterate(&mut self, input: &Input) {
        let mut ahead: Vec<usize> = (0..self.runs.len()).collect();
        if let Some(first) = self.runs.first_mut() {
            first.forms = MEMORY;
        }
        while let Some(at) = ahead.pop() {
            let Run { piece, words: (first, end), unsaved, forms, .. } = self.runs[at];
            if forms == 0 {
                // Nothing leads there yet.
                continue;
            }
            let words = &input.pieces[piece].words[first..end];
            let (unsaved, forms) = words.iter().fold((unsaved, forms), |(set, forms), c| (self.after(set, c), self.forms_after(forms, c)));
            for next in self.runs[at].next.clone() {
                let run = &mut self.runs[next];
                if (run.unsaved | unsaved, run.forms | forms) != (run.unsaved, run.forms) {
                    (run.unsaved, run.forms) = (run.unsaved | unsaved, run.forms | forms);
                    ahead.push(next);
                }
            }
        }
    }

    /// The one run that a run is behind.
    pub fn behind(&self, run: usize) -> Option<usize> {
        let mut before = (0..self.runs.len()).filter(|before| self.runs[*before].next.contains(&run));
        before.next().filter(|_| run != 0 && before.next().is_none())
    }

    fn is_flag(&self, cell: u16) -> bool {
        self.flags.is_some_and(|flags| flags.contains(&cell))
    }

    /// A word that sets the flags, as an addition or subtraction.
    pub fn sets_flags(&self, c: &Code) -> bool {
        writes(c.op) == Writes::Flags && Some(flags_of(c)) == self.flags
    }

    /// A word that may look at flags.
    pub fn reads_flags(&self, c: &Code) -> bool {
        reads(c).any(|cell| self.is_flag(cell))
    }

    /// The forms of the flags behind a word.
    fn forms_after(&self, mut forms: Forms, c: &Code) -> Forms {
        if is_called(c) {
            return MEMORY;
        }
        if self.reads_flags(c) && forms.count_ones() > 1 {
            forms = PLAIN;
        }
        if self.sets_flags(c) {
            forms = if matches!(c.op, Bc::SubFlags32 | Bc::SubFlags32I) { SUB } else { ADD };
        } else if written(c).any(|cell| self.is_flag(cell)) {
            forms = PLAIN;
        }
        forms
    }

    /// What is not in its cell behind a word.
    pub fn after(&self, unsaved: Set, c: &Code) -> Set {
        if is_called(c) {
            return 0;
        }
        written(c).filter_map(|cell| self.cells.get(&cell)).fold(unsaved, |set, n| set | 1 << n)
    }

    /// The cells of a set.
    pub fn members(&self, set: Set) -> Vec<u16> {
        self.cells.iter().filter(|(_, n)| set >> **n & 1 != 0).map(|(cell, _)| *cell).collect()
    }
}
