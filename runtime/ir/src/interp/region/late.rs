//! A cell that is computed late: what compares has no flags on some guests, but a register with the comparison's outcome, which is seldom looked at again.
//!
//! One cell of a region may be written by a few words of 32 bits again and again and hardly be read: by a *recipe* from two values. Behind such a word the form of
//! the flags says which recipe that is, the two values are in the variables that flags come from, and exits compute the cell out of line. It is for guests
//! whose additions set no flags.

use super::super::code::{Bc, Code};
use super::flags::{Base, Form};
use super::lower::Lower;
use super::plan::{ends, reads, written};
use super::{Input, Piece};
use crate::interp::quick::is_branch;
use cranelift_codegen::ir::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Words of a recipe: what is less is not worth it; and how many words it may be spread over.
const LEAST: usize = 3;
const SPREAD: usize = 12;
/// Cells in recipes: the two values, and then what each word makes. No block has so many.
const VALUES: u16 = 0xff00;

/// The cell of a region, and who makes it.
#[derive(Debug)]
pub struct Late {
    pub cell: u16,
    recipes: Vec<Vec<Code>>,
    /// By piece and word number: what a word makes of which cells, or of one.
    made: BTreeMap<(usize, usize), (u8, [Option<u16>; 2])>,
}

impl Late {
    /// The cell of the state that most recipes make, if it is hardly read and an integer.
    pub fn of(input: &Input, is_integer: impl Fn(u16) -> bool) -> Option<Late> {
        let mut uses: BTreeMap<u16, (usize, usize)> = BTreeMap::new();
        let mut found = Vec::new();
        for (piece, p) in input.pieces.iter().enumerate() {
            let mut before = BTreeSet::new();
            for (n, c) in p.words.iter().enumerate() {
                reads(c).filter(|cell| !before.contains(cell)).for_each(|cell| uses.entry(cell).or_default().0 += 1);
                before.extend(written(c));
                if c.a < input.layout.state
                    && let Some((recipe, values)) = recipe(p, n, input.layout.state)
                {
                    uses.entry(c.a).or_default().1 += 1;
                    found.push(((piece, n), c.a, recipe, values));
                }
            }
        }
        uses.retain(|cell, (reads, made)| 4 * *reads < *made && is_integer(*cell));
        let (cell, _) = uses.into_iter().max_by_key(|(_, (_, made))| *made)?;
        let mut late = Late { cell, recipes: Vec::new(), made: BTreeMap::new() };
        for (at, _, recipe, values) in found.into_iter().filter(|(_, made, ..)| *made == cell) {
            let known = late.recipes.iter().position(|known| *known == recipe).unwrap_or(late.recipes.len());
            if known == late.recipes.len() {
                late.recipes.push(recipe);
            }
            late.made.insert(at, (u8::try_from(known).ok()?, values));
        }
        Some(late)
    }

    /// The form behind a word, if it writes the cell.
    pub fn form(&self, at: (usize, usize), c: &Code) -> Option<Form> {
        match self.made.get(&at) {
            Some((recipe, _)) => Some(Form::all(Base::Late(*recipe))),
            None => written(c).any(|cell| cell == self.cell).then_some(Form::MEMORY),
        }
    }
}

/// The cells that a word computes with, if it does nothing else.
fn inputs(c: &Code) -> Option<Vec<u16>> {
    use Bc::*;
    Some(match c.op {
        MovI => vec![],
        Mov | AndI | OrI | XorI | Add32I | RSub32I | Shl32I | ShrI | Sar32I | Extract | CmpEqI | CmpNeI | CmpUltI | CmpUleI => vec![c.b],
        And | Or | Xor | Add32 | Sub32 | CmpEq | CmpNe | CmpUlt | CmpUle | CmpSlt32 | CmpSle32 => vec![c.b, c.c],
        _ => return None,
    })
}

/// It takes its operands for numbers of 32 bits, and makes one.
pub fn is_narrow(op: Bc) -> bool {
    use Bc::*;
    matches!(op, Add32I | RSub32I | Shl32I | Sar32I | Add32 | Sub32 | CmpSlt32 | CmpSle32)
}

/// The words that a word's result comes from, with cells of recipes, and the cells that these come from, which still hold the same behind it.
fn recipe(p: &Piece, n: usize, state: u16) -> Option<(Vec<Code>, [Option<u16>; 2])> {
    let last = &p.words[n];
    // Cells that are looked for, and whether they are overwritten behind where they are read.
    let mut wanted: BTreeMap<u16, bool> = inputs(last)?.into_iter().map(|cell| (cell, false)).collect();
    let (mut words, mut changed, mut values) = (vec![last], BTreeSet::new(), BTreeSet::new());
    for at in (n.saturating_sub(SPREAD)..n).rev() {
        let c = &p.words[at];
        let leads_here = |c: &Code| is_branch(c.op) && p.target(c) == at + 1;
        if is_branch(c.op) || ends(c.op) || p.words[..at].iter().any(leads_here) {
            break;
        }
        for cell in written(c) {
            if let Some(overwritten) = wanted.remove(&cell) {
                match inputs(c) {
                    Some(inputs) if cell >= state => {
                        words.push(c);
                        inputs.into_iter().for_each(|input| _ = wanted.insert(input, changed.contains(&input)));
                    }
                    _ if overwritten => return None,
                    _ => _ = values.insert(cell),
                }
            }
            changed.insert(cell);
        }
    }
    if wanted.values().any(|overwritten| *overwritten) || words.len() < LEAST {
        return None;
    }
    values.extend(wanted.into_keys());
    words.reverse();
    let narrow = |cell: &u16| words.iter().any(|c| is_narrow(c.op) && inputs(c).is_some_and(|inputs| inputs.contains(cell)));
    // A temporary may be one of the values, and have been something else before.
    let reused = words.iter().any(|c| c.a >= state && values.contains(&c.a));
    if values.len() > 2 || reused || !values.iter().all(narrow) {
        return None;
    }
    let (mut names, mut from) = (BTreeMap::new(), [None; 2]);
    let mut recipe = Vec::new();
    for (n, c) in (2..).zip(words) {
        let named: Vec<u16> = inputs(c)?
            .into_iter()
            .map(|cell| {
                let next = from.iter().flatten().count();
                *names.entry(cell).or_insert_with(|| {
                    from[next] = Some(cell);
                    VALUES + next as u16
                })
            })
            .collect();
        let name = |n: usize| named.get(n).copied().unwrap_or(0);
        recipe.push(Code { a: VALUES + n, b: name(0), c: name(1), ..*c });
        names.insert(c.a, VALUES + n);
    }
    Some((recipe, from))
}

impl Lower<'_> {
    /// What the word here makes the late cell of, if it does: to be asked before.
    pub fn late_values(&mut self) -> Option<(u8, [Value; 2])> {
        let (recipe, cells) = *self.plan.late.as_ref()?.made.get(&self.place)?;
        let mut value = |cell: Option<u16>| cell.map_or(self.constants[&0], |cell| self.low(cell));
        Some((recipe, cells.map(&mut value)))
    }

    /// The word has been made: its result is not stored.
    pub fn set_late(&mut self, cell: u16, recipe: u8, values: [Value; 2]) {
        self.form = Form::all(Base::Late(recipe));
        self.dirty &= !self.plan.bit(cell);
        for (variable, value) in self.flag_variables.operands.into_iter().zip(values) {
            self.b.def_var(variable, value);
        }
    }

    /// The cell, of two values.
    pub fn late(&mut self, recipe: u8, values: [Value; 2]) -> Value {
        let recipe = self.plan.late.iter().flat_map(|late| &late.recipes[usize::from(recipe)]);
        for (cell, value) in (VALUES..).zip(values) {
            self.set_narrow(cell, value);
        }
        let mut made = VALUES;
        for c in recipe {
            self.plain_word(c);
            made = c.a;
        }
        self.get(made)
    }
}

#[cfg(test)]
mod tests {
    use super::super::workers::tests::{code, input};
    use super::*;

    /// What MicroBlaze's CMPU makes of two cells, by temporaries from 40 on, behind some words.
    fn compared(before: &[Code], x: u16, y: u16) -> Vec<Code> {
        let mut words = before.to_vec();
        words.extend([
            code(Bc::Sub32, 40, x, y, 0),
            code(Bc::CmpUlt, 41, x, y, 0),
            code(Bc::Extract, 42, 40, 0, 0x7fff_ffff),
            Code { x: 31, ..code(Bc::Shl32I, 40, 41, 0, 0) },
            code(Bc::Or, 18, 42, 40, 0),
        ]);
        words
    }

    fn piece(words: Vec<Code>) -> Piece {
        Piece { code: 100, pc: 0x1000, last: 0x1000, words, marks: vec![1], ways: Vec::new(), sides: Vec::new() }
    }

    fn made(words: Vec<Code>) -> Option<(Vec<Code>, [Option<u16>; 2])> {
        let last = words.len() - 1;
        recipe(&piece(words), last, 32)
    }

    #[test]
    fn recipes_are_the_same_for_other_cells() {
        let load = Code { x: 32, ..code(Bc::Load32, 5, 3, 0, 0) };
        let (one, from) = made(compared(&[load], 5, 6)).unwrap();
        let (other, values) = made(compared(&[], 7, 18)).unwrap();
        assert_eq!((from, values), ([Some(5), Some(6)], [Some(7), Some(18)]));
        assert_eq!((one.len(), &one), (5, &other));
    }

    #[test]
    fn values_are_there_behind_the_last_word() {
        let mut words = compared(&[], 5, 6);
        words.insert(2, code(Bc::MovI, 5, 0, 0, 1));
        assert!(made(words).is_none(), "overwritten");
        let load = Code { x: 32, ..code(Bc::Load32, 40, 3, 0, 0) };
        assert!(made(compared(&[load], 5, 40)).is_none(), "the temporary that the sign is in later");
        let sum = [code(Bc::Add32I, 40, 5, 0, 1), code(Bc::Extract, 41, 40, 0, 0xff), load, code(Bc::Sub32, 18, 41, 40, 0)];
        assert!(made(sum.to_vec()).is_none(), "the temporary that the sum was in before");
        let mut words = compared(&[], 5, 6);
        words.insert(0, code(Bc::BrNz, 0, 2, 0, 103));
        assert!(made(words).is_none(), "somebody leads into the middle");
    }

    #[test]
    fn the_cell_is_hardly_read() {
        let mut pieces = vec![piece(compared(&[code(Bc::Enter, 1, 0, 0, 0)], 5, 6)); 5];
        let late = |pieces: &Vec<Piece>| Late::of(&Input { pieces: pieces.clone(), ..input(true, false) }, |_| true).map(|late| late.cell);
        assert_eq!(late(&pieces), Some(18));
        for piece in &mut pieces[..2] {
            piece.words.insert(1, code(Bc::Mov, 3, 18, 0, 0));
        }
        assert_eq!(late(&pieces), None);
    }
}
