//! Which blocks a region consists of: those around its first one that lead back to it.
//!
//! Jumps lead from block to block. A constant that a block puts into a register and that is the pc of a block is taken for the return address of a
//! call: what the call leads to may come back there. A computed jump that no call explains is taken for that of a table, to blocks between those that are known;
//! where such jumps led from a region that is left often, they lead in the one that takes its place.

use super::super::code::{Arena, Bc, BlockInfo};
use super::{MAX_BLOCKS, MAX_WORDS, Piece, Policy};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};

/// Blocks that a computed jump is compared with at most: behind calls, and in tables.
const MAX_RETURNS: usize = 6;
const MAX_TARGETS: usize = 12;
/// If a loop has fewer blocks than that, targets of a table are also looked for so many bytes before and behind it.
const FEW_BLOCKS: usize = 16;
const AROUND: u64 = 512;

/// What is known of blocks with the key of the region's first.
pub struct Around<'a> {
    /// The code index of the one at a pc, if the region may lead there.
    pub find: &'a dyn Fn(u64) -> Option<u32>,
    /// The pcs of all between two, wherever they lie.
    pub between: &'a dyn Fn(u64, u64) -> Vec<u64>,
    /// Where computed jumps led from the region that begins with the block of this code index.
    pub computed: &'a FxHashMap<u32, BTreeSet<u64>>,
    /// Cells that return addresses are not put into: where the next instruction is.
    pub aside: &'a [u16],
}

/// Blocks found so far.
struct Search<'a> {
    arena: &'a Arena,
    policy: Policy,
    known: &'a Around<'a>,
    first: BlockInfo,
    found: BTreeMap<u64, Piece>,
    /// Their pcs, as they were found.
    order: Vec<u64>,
    words: usize,
}

/// The blocks around the one at a code index that lead back to it; `None`: there is no loop.
pub fn gather(arena: &Arena, head: u32, policy: Policy, known: &Around<'_>) -> Option<Vec<Piece>> {
    let first = info(arena, head)?;
    let mut search = Search { arena, policy, known, first, found: BTreeMap::new(), order: Vec::new(), words: 0 };
    search.go(vec![first]);
    search.find_returns();
    search.find_tables();
    // Those that lead back to the first.
    let Search { mut found, mut order, .. } = search;
    let mut kept = vec![first.pc];
    loop {
        let more = |pc: &u64| !kept.contains(pc) && found.get(pc).is_some_and(|piece| piece.leads_to().any(|to| kept.contains(&to)));
        let more: Vec<u64> = order.iter().copied().filter(more).collect();
        if more.is_empty() {
            break;
        }
        kept.extend(more);
    }
    order.retain(|pc| kept.contains(pc));
    let mut pieces: Vec<Piece> = order.iter().filter_map(|pc| found.remove(pc)).collect();
    for piece in &mut pieces {
        piece.ways.retain(|pc| kept.contains(pc));
        piece.ways.truncate(MAX_TARGETS);
    }
    if pieces.iter().any(Piece::calls) {
        // A helper may change what controls floating point, and look at sticky flags.
        pieces.iter_mut().for_each(Piece::call_all);
    }
    pieces.iter().any(|piece| piece.leads_to().any(|to| to == first.pc)).then_some(pieces)
}

fn info(arena: &Arena, code: u32) -> Option<BlockInfo> {
    arena.block_at(code).map(|block| arena.blocks[block as usize]).filter(|block| block.code == code)
}

impl Search<'_> {
    /// Takes these blocks, and what they lead to.
    fn go(&mut self, mut ahead: Vec<BlockInfo>) {
        while let Some(block) = ahead.pop() {
            if self.found.contains_key(&block.pc) {
                continue;
            }
            let Some(piece) = self.policy.copy(self.arena, &block, self.first.key) else { continue };
            if self.found.len() == MAX_BLOCKS || self.words + piece.words.len() > MAX_WORDS {
                break;
            }
            self.words += piece.words.len();
            let words = &self.arena.code[block.code as usize..block.end as usize];
            ahead.extend(words.iter().filter(|c| c.op == Bc::Linked).filter_map(|c| info(self.arena, c.imm as u32)));
            // Into another page, where the jump cache led before anybody linked them, and behind calls.
            let others = words.iter().filter(|c| c.op == Bc::Jump).map(|c| c.imm).chain(piece.constants(self.known.aside));
            ahead.extend(others.filter_map(|pc| info(self.arena, (self.known.find)(pc)?)));
            self.order.push(block.pc);
            self.found.insert(block.pc, piece);
        }
    }

    /// Blocks that computed jumps are known to lead to.
    fn computed(&self) -> BTreeSet<u64> {
        let all = self.found.values().filter_map(|piece| self.known.computed.get(&piece.code)).flatten();
        all.copied().filter(|pc| (self.known.find)(*pc).is_some()).collect()
    }

    /// Where a call at a block comes back, if it makes one.
    fn back(&self, piece: &Piece) -> Vec<u64> {
        let mut back: Vec<u64> = piece.constants(self.known.aside).filter(|pc| self.found.contains_key(pc)).collect();
        back.dedup();
        back
    }

    /// Computed jumps in what a call leads to come back behind it.
    fn find_returns(&mut self) {
        let calls: Vec<(u64, Vec<u64>)> = self
            .order
            .iter()
            .flat_map(|pc| self.back(&self.found[pc]).into_iter().map(|to| (to, *pc)))
            .map(|(to, pc)| (to, self.found[&pc].jumps().collect()))
            .collect();
        let computed = self.computed();
        for (to, mut ahead) in calls {
            let mut seen = BTreeSet::new();
            while let Some(pc) = ahead.pop() {
                let Some(piece) = self.found.get(&pc).filter(|_| seen.insert(pc)) else { continue };
                let inner = self.back(piece);
                // A call inside: that comes back by itself.
                if inner.is_empty() { ahead.extend(piece.jumps()) } else { ahead.extend(inner) }
            }
            for piece in self.found.values_mut().filter(|piece| seen.contains(&piece.pc) && piece.computes()) {
                let fits = piece.ways.len() < MAX_RETURNS || computed.contains(&to);
                if fits && !piece.ways.contains(&to) {
                    piece.ways.push(to);
                }
            }
        }
    }

    /// Other computed jumps lead to blocks between those found, or not far from them.
    fn find_tables(&mut self) {
        let open = |piece: &Piece| piece.computes() && piece.ways.is_empty();
        let (Some(first), Some(last)) = (self.found.keys().next().copied(), self.found.keys().next_back().copied()) else { return };
        if !self.found.values().any(open) {
            return;
        }
        let unknown = |first, last| -> Vec<u64> {
            let between = (self.known.between)(first, last);
            between.into_iter().filter(|pc| !self.found.contains_key(pc) && (self.known.find)(*pc).is_some()).collect()
        };
        let mut targets = unknown(first, last);
        targets.truncate(MAX_TARGETS);
        targets.reverse();
        let small = self.found.len() + targets.len() < FEW_BLOCKS;
        if let Some(table) = self.found.values().find(|piece| small && open(piece) && piece.has_table()) {
            targets = unknown(first.saturating_sub(AROUND), last.saturating_add(AROUND));
            targets.sort_by_key(|pc| pc.abs_diff(table.pc));
            // Some lead elsewhere.
            targets.truncate(2 * MAX_TARGETS);
        }
        // Those that are known come first.
        let known = self.computed();
        targets.retain(|pc| !known.contains(pc));
        targets.splice(..0, known);
        for pc in &targets {
            self.go((self.known.find)(*pc).and_then(|code| info(self.arena, code)).into_iter().collect());
        }
        self.find_returns();
        for piece in self.found.values_mut().filter(|piece| open(piece)) {
            piece.ways.clone_from(&targets);
        }
        let found: BTreeSet<u64> = self.found.keys().copied().collect();
        self.found.values_mut().for_each(|piece| piece.ways.retain(|pc| found.contains(pc)));
    }
}
