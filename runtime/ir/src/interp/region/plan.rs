//! Which cells of the state a region has in use and which of them stay in registers, how its words follow each other, and what of the state is not in its
//! cells where.
//!
//! Words without a way in or out in their middle are a *run*. Code is made of a run for each form that the flags may have at its head, a *node*, so that
//! their form is known everywhere. The cells that are used most where loops are deepest are values from node to node (*kept*), and stored at exits only; all
//! others are in their cells at the head and the end of each node. *Sticky* cells, in which bits are set and nothing else is done, are in their cells always.

use super::super::code::{Bc, Code};
use super::super::quick::{Writes, flags_of, is_branch, is_jump, operands, reads_aside, writes};
use super::flags::Form;
use super::inline::{inline_reads, is_inline};
use super::kinds::{Kind, kinds_of};
use super::late::Late;
use super::{Input, Piece, has_side, is_called};
use std::collections::{BTreeMap, BTreeSet};

/// Cells of the state, by their number in the region.
pub type Set = u128;

/// Cells that are kept at most. The host has 14 registers for these, its own addresses and what is computed.
const MAX_KEPT: u32 = 9;
/// Numbers and vectors that are kept at most, of its 16 registers for those.
const MAX_NUMBERS: u32 = 10;
/// Forms of flags for which code of a run is made at most, but for the one that all others can be turned into.
const MAX_FORMS: usize = 4;
/// Words that are executed rather than branched over, at most.
const MAX_SHORT: usize = 4;
/// Words of an inner loop of which code is made twice, at most.
const MAX_TWICE: usize = 60;
/// Loops in loops that are told apart.
const MAX_DEPTH: u32 = 5;

/// Words of one piece without a way in or out in their middle.
#[derive(Clone, Debug)]
pub struct Run {
    pub piece: usize,
    /// Word numbers in the piece: first, and one past the last.
    pub words: (usize, usize),
    /// Runs that it leads to.
    next: Vec<Option<usize>>,
    /// Loops that it is in.
    depth: u32,
    /// The head of the small inner loop that it is in.
    inner: Option<usize>,
    /// The cells that are kept in it.
    kept: Set,
    nodes: Vec<usize>,
}

/// A run with flags in one form at its head.
#[derive(Clone, Debug)]
pub struct Node {
    pub run: usize,
    pub form: Form,
    /// It is of every other round of its loop.
    pub odd: bool,
    /// Nodes that its last word leads to: those of a branch are the next word's and the target's.
    pub next: Vec<Option<usize>>,
    /// Nodes that lead here.
    pub before: Vec<usize>,
    /// The cells that are values there, and at the heads of nodes that it leads to if they are there too.
    pub kept: Set,
    /// What of them is not in its cell at its head.
    pub unsaved: Set,
}

/// A branch, or two that lead to the same places, over a few words that only compute: those are executed in any case, and what they write is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Short {
    /// The first of the words, and one past the last.
    pub first: usize,
    pub end: usize,
    /// Of two branches each skips the words; else the first leads to them.
    pub either: bool,
}

/// Loops, seen from some run.
struct Loops {
    /// Runs that it leads to, with itself.
    reached: Vec<bool>,
    /// By head: the runs that lead back to it, without coming through it.
    back: BTreeMap<usize, Vec<usize>>,
    /// By run: those that lead to it.
    before: Vec<Vec<usize>>,
}

/// The plan of a region.
pub struct Plan {
    /// The number of each cell of the state that is in use.
    pub cells: BTreeMap<u16, u32>,
    pub runs: Vec<Run>,
    /// Each behind one that leads there; the first is where the region begins.
    pub nodes: Vec<Node>,
    /// By piece and word number: branches over so few words that they are no way out of a run.
    pub short: BTreeMap<(usize, usize), Short>,
    /// Ways from run to run on which every loop comes back to its head. They are jumps.
    pub back: BTreeSet<(usize, usize)>,
    /// Heads of small inner loops that are polled where an odd round begins, and not where an even one does.
    odd: BTreeSet<usize>,
    /// By piece and word number: the run that begins there.
    heads: BTreeMap<(usize, usize), usize>,
    /// The cells of the flags that additions and subtractions set: those of the first of them.
    pub flags: Option<[u16; 4]>,
    /// What is computed late, if there are no such flags.
    pub late: Option<Late>,
    /// Sticky cells: all that is done to them is that bits are set, which are seldom new.
    pub sticky: BTreeSet<u16>,
    /// The cells that are no integers.
    pub kinds: BTreeMap<u16, Kind>,
}

/// Nothing follows a word in its block.
pub fn ends(op: Bc) -> bool {
    is_jump(op) || matches!(op, Bc::Raise | Bc::Wait)
}

/// A word that sets bits in a cell: which cell, and the one that has the bits.
fn set_in(c: &Code) -> Option<(u16, u16)> {
    match c.op {
        Bc::Or if c.a == c.b => Some((c.a, c.c)),
        Bc::Or if c.a == c.c => Some((c.a, c.b)),
        _ => None,
    }
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
        let mut plan = Plan {
            cells,
            runs: Vec::new(),
            nodes: Vec::new(),
            short: BTreeMap::new(),
            back: BTreeSet::new(),
            odd: BTreeSet::new(),
            heads: BTreeMap::new(),
            flags,
            late: None,
            sticky: BTreeSet::new(),
            kinds: BTreeMap::new(),
        };
        plan.kinds = kinds_of(input, &plan);
        plan.late = if plan.flags.is_none() { Late::of(input, |cell| !plan.kinds.contains_key(&cell)) } else { None };
        plan.sticky = plan.find_sticky(input);
        plan.find_runs(input);
        let loops = plan.find_loops();
        plan.choose(input, &loops);
        plan.find_inner(&loops);
        plan.find_nodes(input);
        plan.choose_polls();
        plan.iterate(input);
        Some(plan)
    }

    /// The integers among the cells that nobody touches but to set bits.
    fn find_sticky(&self, input: &Input) -> BTreeSet<u16> {
        let words = || input.pieces.iter().flat_map(|p| &p.words);
        let mut sticky: BTreeSet<u16> = words().filter_map(set_in).map(|(cell, _)| cell).collect();
        sticky.retain(|cell| self.cells.contains_key(cell) && !self.kinds.contains_key(cell) && !self.is_flag(*cell));
        let touched = |c: &Code| {
            let other = |cell: &u16| set_in(c).is_none_or(|(set, bits)| set != *cell || bits == *cell);
            reads(c).chain(written(c)).filter(other).collect::<Vec<u16>>()
        };
        words().flat_map(touched).for_each(|cell| _ = sticky.remove(&cell));
        sticky
    }

    fn find_runs(&mut self, input: &Input) {
        for (piece, p) in input.pieces.iter().enumerate() {
            let mut heads = vec![0];
            let mut part = 0;
            for (n, c) in p.words.iter().enumerate() {
                if n < part {
                    // The second of two branches.
                } else if let Some(short) = self.short(p, n) {
                    self.short.insert((piece, n), short);
                    part = short.first;
                } else if is_branch(c.op) {
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
                self.runs.push(Run { piece, words: (*first, end), next: Vec::new(), depth: 0, inner: None, kept: 0, nodes: Vec::new() });
            }
        }
        for at in 0..self.runs.len() {
            let Run { piece, words: (_, end), .. } = self.runs[at];
            let p = &input.pieces[piece];
            let last = p.words[end - 1];
            let inside = |n: usize| self.heads.get(&(piece, n)).copied();
            self.runs[at].next = match last.op {
                Bc::Br => vec![inside(p.target(&last))],
                op if is_branch(op) => vec![inside(end), inside(p.target(&last))],
                Bc::Jump => vec![self.head_of(input, last.imm)],
                Bc::JumpTo | Bc::JumpRekey if p.computes() => p.ways.iter().map(|pc| self.head_of(input, *pc)).collect(),
                op if ends(op) => vec![],
                _ => vec![inside(end)],
            };
        }
    }

    /// The words that a branch goes over, alone or with the next, if they only compute a little and nothing else leads to them.
    fn short(&self, p: &Piece, n: usize) -> Option<Short> {
        let words = &p.words;
        let plain = |n: usize| is_branch(words[n].op) && !matches!(words[n].op, Bc::Br | Bc::Poll);
        let target = |n: usize| p.target(&words[n]);
        let (first, end, either) = match plain(n).then(|| target(n))? {
            // It leads to what the next one goes over.
            end if end == n + 2 && plain(n + 1) => (n + 2, target(n + 1), false),
            end if n + 1 < end && plain(n + 1) && target(n + 1) == end => (n + 2, end, true),
            end => (n + 1, end, true),
        };
        let computes = |c: &Code| {
            let quiet = matches!(writes(c.op), Writes::One) && !c.op.is_access() && !reads_aside(c.op) && !is_branch(c.op) && !ends(c.op);
            let slow = matches!(c.op, Bc::DivU | Bc::DivS32 | Bc::DivS64 | Bc::RemU);
            quiet && !slow && written(c).all(|cell| !self.is_flag(cell) && !self.sticky.contains(&cell))
        };
        let words_ok = first < end && end < words.len() && end - first <= MAX_SHORT && words[first..end].iter().all(computes);
        let others = |(at, c): (usize, &Code)| at != n && at + 1 != first && is_branch(c.op) && (n + 1..end).contains(&p.target(c));
        (words_ok && !words.iter().enumerate().any(others)).then_some(Short { first, end, either })
    }

    /// The run at the head of the block at a pc.
    fn head_of(&self, input: &Input, pc: u64) -> Option<usize> {
        let piece = input.pieces.iter().position(|p| p.pc == pc)?;
        self.heads.get(&(piece, 0)).copied()
    }

    /// The loops, by what is in them. A region begins where jumps back are most frequent, which is the head of an inner loop: seen from there, what is around
    /// it has the same head. So they are looked for from the block from which most loops have heads of their own.
    fn find_loops(&mut self) -> Vec<(usize, Vec<bool>)> {
        let mut best = self.loops_from(0);
        for head in self.heads.iter().filter(|((_, word), run)| *word == 0 && **run != 0).map(|(_, run)| *run) {
            let other = self.loops_from(head);
            if other.reached == best.reached && other.back.len() > best.back.len() {
                best = other;
            }
        }
        let Loops { back, before, .. } = best;
        let mut loops = Vec::new();
        let mut ways = Vec::new();
        for (head, all) in back {
            self.back.extend(all.iter().map(|from| (*from, head)));
            // A block that leads back to itself is a loop inside another that has the same head.
            let own: Vec<usize> = all.iter().copied().filter(|from| self.runs[*from].piece == self.runs[head].piece).collect();
            if !own.is_empty() && own.len() < all.len() {
                ways.push((head, own));
            }
            ways.push((head, all));
        }
        for (head, mut ahead) in ways {
            let mut inside = vec![false; self.runs.len()];
            inside[head] = true;
            while let Some(run) = ahead.pop() {
                if !std::mem::replace(&mut inside[run], true) {
                    ahead.extend(&before[run]);
                }
            }
            for (run, _) in self.runs.iter_mut().zip(&inside).filter(|(_, inside)| **inside) {
                run.depth = (run.depth + 1).min(MAX_DEPTH);
            }
            loops.push((head, inside));
        }
        loops
    }

    /// The loops as they are seen from a run.
    fn loops_from(&self, first: usize) -> Loops {
        let mut before = vec![Vec::new(); self.runs.len()];
        let (mut state, mut back, mut path) = (vec![0u8; self.runs.len()], BTreeMap::<usize, Vec<usize>>::new(), vec![(first, 0)]);
        while let Some((run, n)) = path.last_mut() {
            state[*run] = 1;
            let Some(next) = self.runs[*run].next.get(*n).copied() else {
                state[*run] = 2;
                path.pop();
                continue;
            };
            let from = *run;
            *n += 1;
            let Some(next) = next else { continue };
            before[next].push(from);
            match state[next] {
                0 => path.push((next, 0)),
                1 => back.entry(next).or_default().push(from),
                _ => {}
            }
        }
        Loops { reached: state.iter().map(|state| *state != 0).collect(), back, before }
    }

    /// Which cells are kept: where loops are in each other, those that the inner one uses, and then those that were kept around it.
    fn choose(&mut self, input: &Input, loops: &[(usize, Vec<bool>)]) {
        let all = vec![true; self.runs.len()];
        let mut loops: Vec<&Vec<bool>> = loops.iter().map(|(_, inside)| inside).chain([&all]).collect();
        loops.sort_by_key(|inside| std::cmp::Reverse(inside.iter().filter(|inside| **inside).count()));
        for inside in loops {
            let Some(first) = inside.iter().position(|inside| *inside) else { continue };
            let around = self.runs[first].kept;
            let (mut kept, mut left): (Set, _) = (0, [MAX_KEPT, MAX_NUMBERS]);
            for cell in self.gains(input, inside).into_iter().chain(self.members(around)) {
                let (cells, kind, registers) = self.needs(cell);
                if kept & cells == 0 && left[kind] >= registers {
                    left[kind] -= registers;
                    kept |= cells;
                }
            }
            self.runs.iter_mut().zip(inside).filter(|(_, inside)| **inside).for_each(|(run, _)| run.kept = kept);
        }
    }

    /// What keeping a cell means: those that go with it, whether they are integers (0) or numbers (1), and how many registers they take.
    fn needs(&self, cell: u16) -> (Set, usize, u32) {
        match self.kinds.get(&cell) {
            None | Some(Kind::Int) => (self.bit(cell), 0, 1),
            Some(Kind::Double) => (self.bit(cell), 1, 1),
            Some(Kind::Singles) => (self.bit(cell), 1, 2),
            Some(Kind::Wide) => (self.bit(cell) | self.bit(cell + 1), 1, 1),
            Some(Kind::High) => (self.bit(cell) | self.bit(cell - 1), 1, 1),
        }
    }

    /// The cells whose use in some runs makes it worth to keep them, the best first.
    fn gains(&self, input: &Input, inside: &[bool]) -> Vec<u16> {
        // By cell: reads at the head of a run, which are loads if it is not kept, and writes, which are stores.
        let mut uses: BTreeMap<u16, [u64; 2]> = BTreeMap::new();
        for (run, _) in self.runs.iter().zip(inside).filter(|(_, inside)| **inside) {
            let weight = 8u64.pow(run.depth);
            let (mut read, mut set) = (Vec::new(), Vec::new());
            for (n, c) in input.pieces[run.piece].words.iter().enumerate().take(run.words.1).skip(run.words.0) {
                let mut shorts = self.short.range((run.piece, 0)..(run.piece, n)).map(|(_, short)| short.first..short.end);
                let maybe = shorts.any(|short| short.contains(&n));
                let chosen = written(c).filter(|_| maybe);
                read.extend(reads(c).chain(chosen).filter(|cell| !set.contains(cell)));
                set.extend(written(c));
            }
            for (n, cells) in [&mut read, &mut set].into_iter().enumerate() {
                cells.sort_unstable();
                cells.dedup();
                cells.iter().for_each(|cell| uses.entry(*cell).or_default()[n] += weight);
            }
        }
        let state = |cell: &u16| *cell < input.layout.state && !self.is_flag(*cell) && !self.sticky.contains(cell);
        let gain = |[reads, writes]: [u64; 2]| 2 * reads + writes;
        let mut gains: Vec<(u16, u64)> = uses.into_iter().filter(|(cell, _)| state(cell)).map(|(cell, uses)| (cell, gain(uses))).collect();
        gains.sort_by_key(|(cell, gain)| (std::cmp::Reverse(*gain), *cell));
        gains.into_iter().map(|(cell, _)| cell).collect()
    }

    /// Small loops without loops inside: code of every other round is apart, and does not poll.
    fn find_inner(&mut self, loops: &[(usize, Vec<bool>)]) {
        let runs = |inside: &Vec<bool>| (0..inside.len()).filter(|run| inside[*run]).collect::<BTreeSet<usize>>();
        let loops: Vec<(usize, BTreeSet<usize>)> = loops.iter().map(|(head, inside)| (*head, runs(inside))).collect();
        for (head, inside) in &loops {
            let words: usize = inside.iter().map(|run| self.runs[*run].words.1 - self.runs[*run].words.0).sum();
            let apart = inside.iter().all(|run| self.runs[*run].inner.is_none());
            if apart && words <= MAX_TWICE && loops.iter().all(|(_, other)| other == inside || !other.is_subset(inside)) {
                inside.iter().for_each(|run| self.runs[*run].inner = Some(*head));
            }
        }
    }

    fn find_nodes(&mut self, input: &Input) {
        let mut ahead = vec![(0, Form::MEMORY, false, None)];
        while let Some((run, form, odd, from)) = ahead.pop() {
            let Run { piece, words: (first, end), .. } = self.runs[run];
            let mut alike = self.runs[run].nodes.clone();
            alike.retain(|node| self.nodes[*node].odd == odd);
            let known = |form: Form| alike.iter().copied().find(|node| self.nodes[*node].form == form);
            // A jump alone has a node on each way to it, so that what is left for it need not be done before.
            let alone = first > 0 && end - first == 1 && input.pieces[piece].words[first].op == Bc::Jump;
            let full = !alone && alike.len() >= MAX_FORMS;
            let found = if alone { None } else { known(form).or_else(|| known(Form::MEMORY).filter(|_| full)) };
            let node = found.unwrap_or(self.nodes.len());
            if let Some((from, slot)) = from {
                let from: usize = from;
                self.nodes[from].next[slot] = Some(node);
            }
            if let (Some(_), Some((from, _))) = (found, from) {
                self.nodes[node].before.push(from);
                continue;
            }
            let form = if full { Form::MEMORY } else { form };
            let behind = (first..end).fold(form, |form, n| form.after(self, (piece, &input.pieces[piece]), n));
            let next = self.runs[run].next.clone();
            let odd_at = |next: usize| match self.runs[run].inner {
                Some(inner) if self.runs[next].inner == Some(inner) => odd != (next == inner && self.back.contains(&(run, next))),
                _ => false,
            };
            let next_at = |(slot, run): (usize, &Option<usize>)| run.map(|run| (run, behind, odd_at(run), Some((node, slot))));
            ahead.extend(next.iter().enumerate().rev().filter_map(next_at));
            self.runs[run].nodes.push(node);
            let before = from.map(|(from, _)| from).into_iter().collect();
            self.nodes.push(Node { run, form, odd, next: vec![None; next.len()], before, kept: self.runs[run].kept, unsaved: 0 });
        }
    }

    /// Each inner loop is polled at the heads that more ways lead to: where one alone does, what waits may wait on.
    fn choose_polls(&mut self) {
        let mut more: BTreeMap<usize, [usize; 2]> = BTreeMap::new();
        let heads: BTreeSet<usize> = self.runs.iter().filter_map(|run| run.inner).collect();
        for node in heads.iter().flat_map(|head| &self.runs[*head].nodes).map(|node| &self.nodes[*node]) {
            if node.before.iter().any(|before| self.runs[self.nodes[*before].run].inner == Some(node.run)) {
                more.entry(node.run).or_default()[usize::from(node.odd)] += node.before.len() - 1;
            }
        }
        self.odd = more.into_iter().filter(|(_, [even, odd])| odd > even).map(|(head, _)| head).collect();
    }

    /// A loop comes back to its head where a run leads to a node, and it is to be polled.
    pub fn polls(&self, run: usize, next: usize) -> bool {
        let Node { run: head, odd, .. } = self.nodes[next];
        let inner = self.runs[run].inner == Some(head);
        self.back.contains(&(run, head)) && (!inner || self.odd.contains(&head) == odd)
    }

    fn iterate(&mut self, input: &Input) {
        let mut ahead: Vec<usize> = (0..self.nodes.len()).collect();
        while let Some(at) = ahead.pop() {
            let Node { run, kept, unsaved, .. } = self.nodes[at];
            let Run { piece, words: (first, end), .. } = self.runs[run];
            let unsaved = input.pieces[piece].words[first..end].iter().fold(unsaved, |set, c| self.after(set, c) & kept);
            for next in self.nodes[at].next.clone().into_iter().flatten() {
                let node = &mut self.nodes[next];
                if node.unsaved | unsaved & node.kept != node.unsaved {
                    node.unsaved |= unsaved & node.kept;
                    ahead.push(next);
                }
            }
        }
    }

    /// The bit of a cell of the state.
    pub fn bit(&self, cell: u16) -> Set {
        self.cells.get(&cell).map_or(0, |n| 1 << n)
    }

    /// Computed late.
    pub fn is_late(&self, cell: u16) -> bool {
        self.late.as_ref().is_some_and(|late| late.cell == cell)
    }

    /// One of the flags, or computed late.
    fn is_flag(&self, cell: u16) -> bool {
        self.flags.is_some_and(|flags| flags.contains(&cell)) || self.is_late(cell)
    }

    /// Sets bits of a sticky cell: the cell that has them.
    pub fn sets_sticky(&self, c: &Code) -> Option<u16> {
        set_in(c).filter(|(cell, _)| self.sticky.contains(cell)).map(|(_, bits)| bits)
    }

    /// A word that sets the flags, as an addition or subtraction.
    pub fn sets_flags(&self, c: &Code) -> bool {
        writes(c.op) == Writes::Flags && Some(flags_of(c)) == self.flags
    }

    /// What is not in its cell behind a word, if that is true of some cells before it.
    pub fn after(&self, unsaved: Set, c: &Code) -> Set {
        if is_called(c) {
            return 0;
        }
        written(c).fold(unsaved, |set, cell| set | self.bit(cell))
    }

    /// The cells of a set.
    pub fn members(&self, set: Set) -> Vec<u16> {
        self.cells.iter().filter(|(_, n)| set >> **n & 1 != 0).map(|(cell, _)| *cell).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::workers::tests::{code, input};
    use super::*;

    /// Also if the region begins at the inner one.
    #[test]
    fn loops_around_others_are_told_apart() {
        let piece = |code, pc, words: Vec<Code>| Piece { code, pc, last: pc, words, marks: vec![1], ways: Vec::new(), sides: Vec::new() };
        let jump = |to| code(Bc::Jump, 0, 0, 0, to);
        let enter = code(Bc::Enter, 1, 0, 0, 0);
        let inner = piece(100, 0x1000, vec![enter, code(Bc::BrNz, 0, 2, 0, 103), jump(0x1000), jump(0x1100)]);
        let tail = piece(200, 0x1100, vec![enter, jump(0xf00)]);
        let head = piece(300, 0xf00, vec![enter, jump(0x1000)]);
        let plan = Plan::of(&Input { pieces: vec![inner, tail, head], ..input(true, false) }).unwrap();
        let depths: Vec<(usize, u32)> = plan.runs.iter().map(|run| (run.piece, run.depth)).collect();
        assert_eq!(depths, [(0, 2), (0, 2), (0, 1), (1, 1), (2, 1)]);
    }

    /// A piece that compares, if it is odd, and leads to one of two others.
    fn forking(number: u64, odd: bool, [on, target]: [u64; 2]) -> Piece {
        let at = 100 * (number + 1);
        let first = if odd {
            Code { x: 1, ..code(Bc::SubFlags32I, 40, 1, 5, 4 << 48 | 3 << 32 | 2 << 16 | 6) }
        } else {
            code(Bc::MovI, 7, 0, 0, 9)
        };
        let words = vec![
            code(Bc::Enter, 1, 0, 0, 0),
            first,
            code(Bc::BrNz, 0, 8, 0, at + 4),
            code(Bc::Jump, 0, 0, 0, 0x1000 + 0x100 * on),
            code(Bc::Jump, 0, 0, 0, 0x1000 + 0x100 * target),
        ];
        let pc = 0x1000 + 0x100 * number;
        Piece { code: at as u32, pc, last: pc, words, marks: vec![1], ways: Vec::new(), sides: Vec::new() }
    }

    /// Nodes that lead back to themselves by ways without a poll.
    fn unpolled(plan: &Plan) -> usize {
        let ways =
            |node: usize| plan.nodes[node].next.iter().flatten().copied().filter(move |next| !plan.polls(plan.nodes[node].run, *next));
        let leads_back = |first: usize| {
            let (mut seen, mut ahead) = (BTreeSet::new(), ways(first).collect::<Vec<usize>>());
            while let Some(node) = ahead.pop().filter(|_| !seen.contains(&first)) {
                if seen.insert(node) {
                    ahead.extend(ways(node));
                }
            }
            seen.contains(&first)
        };
        (0..plan.nodes.len()).filter(|node| leads_back(*node)).count()
    }

    proptest::proptest! {
        /// Also those of which every other round is apart, wherever they begin.
        #[test]
        fn every_loop_is_polled(pieces in proptest::collection::vec((proptest::bool::ANY, [0u64..5, 0..5]), 5)) {
            let pieces = pieces.into_iter().zip(0..).map(|((odd, ways), number)| forking(number, odd, ways)).collect();
            let plan = Plan::of(&Input { pieces, ..input(true, false) }).unwrap();
            proptest::prop_assert_eq!(unpolled(&plan), 0);
        }
    }
}
