//! The decoder: a tree of table look-ups on the most discriminating bits, ending in short lists that are tested in order.
//!
//! Order: most fixed bits first, then declaration; a candidate whose decode condition fails gives way to the next.

use emu_dsl::spec::*;
use std::collections::BTreeMap;

/// An encoding as the decoder sees it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Instruction and encoding within it.
    pub insn: usize,
    /// Encoding within the instruction.
    pub encoding: usize,
    /// Bits that decide.
    pub mask: u64,
    /// Their values.
    pub value: u64,
    /// It has a decode condition.
    pub conditional: bool,
}

/// A node of the tree.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Node {
    /// Index by `bits` bits from `shift` on: nodes from `first` on in the table.
    Split { shift: u8, bits: u8, first: u32 },
    /// Test `count` candidates from `first` on in the list of candidate numbers.
    List { first: u32, count: u32 },
}

/// The decoder's tables.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Candidates in the order of the specification.
    pub candidates: Vec<Candidate>,
    /// Nodes.
    pub nodes: Vec<Node>,
    /// Children of splits.
    pub children: Vec<u32>,
    /// Candidates of lists.
    pub lists: Vec<u16>,
    /// For each token and length: the root.
    pub roots: BTreeMap<(u32, u8), u32>,
}

/// Lists this short are not split.
const SHORT: usize = 3;

/// Builds the tables.
pub fn tables(spec: &Spec) -> Tables {
    let mut builder = TreeBuilder::default();
    let mut groups: BTreeMap<(u32, u8), Vec<u16>> = BTreeMap::new();
    for (i, insn) in spec.insns.iter().enumerate() {
        for (j, e) in insn.encodings.iter().enumerate() {
            groups.entry((e.token.0, e.bits)).or_default().push(builder.tables.candidates.len() as u16);
            builder.tables.candidates.push(Candidate {
                insn: i,
                encoding: j,
                mask: e.mask,
                value: e.value,
                conditional: e.condition.is_some(),
            });
        }
    }
    for (key, mut list) in groups {
        list.sort_by_key(|c| std::cmp::Reverse(builder.tables.candidates[*c as usize].mask.count_ones()));
        let root = builder.node(list, key.1, 0);
        builder.tables.roots.insert(key, root);
    }
    builder.tables
}

#[derive(Default)]
struct TreeBuilder {
    tables: Tables,
    /// Nodes by what they decide among, so that equal parts are shared.
    known: BTreeMap<(Vec<u16>, u64), u32>,
}

impl TreeBuilder {
    /// The node that decides among `list`, the bits in `fixed` being known.
    fn node(&mut self, mut list: Vec<u16>, width: u8, fixed: u64) -> u32 {
        // A candidate that certainly matches hides the rest.
        if let Some(at) = list.iter().position(|c| {
            let c = &self.tables.candidates[*c as usize];
            !c.conditional && c.mask & !fixed == 0
        }) {
            list.truncate(at + 1);
        }
        let relevant = list.iter().fold(0, |all, c| all | self.tables.candidates[*c as usize].mask) & !fixed;
        if let Some(node) = self.known.get(&(list.clone(), relevant)) {
            return *node;
        }
        let node = match self.best_split(&list, width, fixed) {
            Some((shift, bits)) => {
                let index = self.tables.nodes.len() as u32;
                self.tables.nodes.push(Node::List { first: 0, count: 0 });
                let range = ((1u64 << bits) - 1) << shift;
                let children: Vec<u32> = (0..1u64 << bits)
                    .map(|v| {
                        let part = self.matching(&list, v << shift, range);
                        self.node(part, width, fixed | range)
                    })
                    .collect();
                let first = self.tables.children.len() as u32;
                self.tables.children.extend(children);
                self.tables.nodes[index as usize] = Node::Split { shift, bits, first };
                index
            }
            None => {
                let first = self.tables.lists.len() as u32;
                self.tables.lists.extend(&list);
                self.tables.nodes.push(Node::List { first, count: list.len() as u32 });
                self.tables.nodes.len() as u32 - 1
            }
        };
        self.known.insert((list, relevant), node);
        node
    }

    /// The candidates that may match where the bits `range` are `value`.
    fn matching(&self, list: &[u16], value: u64, range: u64) -> Vec<u16> {
        list.iter()
            .copied()
            .filter(|c| {
                let c = &self.tables.candidates[*c as usize];
                (c.value ^ value) & c.mask & range == 0
            })
            .collect()
    }

    /// The bits to look at next: those that leave the shortest lists for the size of their table.
    fn best_split(&self, list: &[u16], width: u8, fixed: u64) -> Option<(u8, u8)> {
        if list.len() <= SHORT {
            return None;
        }
        let mut best: Option<(f64, u8, u8)> = None;
        for bits in 1..=7u8.min(width) {
            for shift in 0..=width - bits {
                let range = ((1u64 << bits) - 1) << shift;
                if range & fixed != 0 {
                    continue;
                }
                let total = self.spread(list, shift, bits, range);
                let mean = total / f64::from(1u32 << bits);
                if mean > 0.8 * list.len() as f64 {
                    continue;
                }
                // What remains to be tested, and a little for the table.
                let cost = mean + 0.02 * f64::from(1u32 << bits);
                if best.is_none_or(|b| cost < b.0) {
                    best = Some((cost, shift, bits));
                }
            }
        }
        best.map(|(_, shift, bits)| (shift, bits))
    }

    /// The summed lengths of the lists after a split.
    fn spread(&self, list: &[u16], shift: u8, bits: u8, range: u64) -> f64 {
        list.iter()
            .map(|c| {
                let known = (self.tables.candidates[*c as usize].mask & range) >> shift;
                f64::from(1u32 << (u32::from(bits) - known.count_ones()))
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Candidates whose bits match `code`, in order, up to the first that certainly matches.
    fn in_order(tables: &Tables, list: impl Iterator<Item = u16>, code: u64) -> Vec<u16> {
        let mut found = Vec::new();
        for c in list {
            let candidate = &tables.candidates[c as usize];
            if code & candidate.mask == candidate.value {
                found.push(c);
                if !candidate.conditional {
                    break;
                }
            }
        }
        found
    }

    fn by_tree(tables: &Tables, mut node: u32, code: u64) -> Vec<u16> {
        loop {
            match tables.nodes[node as usize] {
                Node::Split { shift, bits, first } => {
                    node = tables.children[first as usize + (code >> shift & ((1 << bits) - 1)) as usize];
                }
                Node::List { first, count } => {
                    return in_order(tables, tables.lists[first as usize..][..count as usize].iter().copied(), code);
                }
            }
        }
    }

    #[test]
    fn the_tree_finds_what_a_scan_finds() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for folder in ["tests/tiny", "../isa/arm"] {
            let spec = emu_dsl::load(&emu_dsl::files_of(&root.join(folder)).unwrap()).unwrap_or_else(|e| panic!("{e}"));
            let tables = tables(&spec);
            let mut random = 0x2545_f491_4f6c_dd1du64;
            for ((token, bits), root) in &tables.roots {
                let mut all: Vec<u16> = (0..tables.candidates.len() as u16)
                    .filter(|c| {
                        let c = &tables.candidates[*c as usize];
                        let e = &spec.insns[c.insn].encodings[c.encoding];
                        (e.token.0, e.bits) == (*token, *bits)
                    })
                    .collect();
                all.sort_by_key(|c| std::cmp::Reverse(tables.candidates[*c as usize].mask.count_ones()));
                for i in 0..20_000 {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    // Half of them near an encoding: allocated words are rare.
                    let near = &tables.candidates[all[i % all.len()] as usize];
                    let code = if i % 2 == 0 { random } else { random & !near.mask | near.value } & ((1 << bits) - 1);
                    assert_eq!(by_tree(&tables, *root, code), in_order(&tables, all.iter().copied(), code), "{folder} {code:#x}");
                }
            }
            let longest = tables.nodes.iter().map(|n| if let Node::List { count, .. } = n { *count } else { 0 }).max();
            assert!(longest <= Some(12), "{longest:?}");
        }
    }
}
