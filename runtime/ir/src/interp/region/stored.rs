//! Regions apart from the process they are made in: what one is made from, with every number in it counted from the region itself, and its code, with places for addresses.
//!
//! Regions are compiled from that form whether or not they are kept, so that there is one way. [`Compiled::placed`] says what of the code depends on where things are.

use super::super::quick::{is_branch, reads_aside};
use super::inline::is_inline;
use super::lower::Compiled;
use super::{Calls, Exit, Input};
use cranelift_codegen::ir::UserExternalName;
use emu_store::{Found, Store};
use serde::{Deserialize, Serialize};

/// Code indices of one block are below this; those of the next begin here.
const BLOCK: u32 = 1 << 16;

/// A number of 64 bits in code that another process has another one for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Symbol {
    /// The address of a function, by its number in [`Calls::NUMBERS`].
    Call(u32),
    /// A code index.
    Index(u32),
}

impl Symbol {
    /// The same as Cranelift has it.
    pub fn name(self) -> UserExternalName {
        match self {
            Symbol::Call(number) => UserExternalName::new(0, number),
            Symbol::Index(at) => UserExternalName::new(1, at),
        }
    }

    pub fn named(name: &UserExternalName) -> Symbol {
        if name.namespace == 0 { Symbol::Call(name.index) } else { Symbol::Index(name.index) }
    }
}

impl Calls {
    /// Numbers in place of addresses.
    pub const NUMBERS: Calls = Calls { load: [0, 1, 2, 3], store: [4, 5, 6, 7], probe: 8, refill: 9, word: 10 };

    /// Others in place of these addresses.
    pub fn map(self, mut to: impl FnMut(usize) -> usize) -> Calls {
        Calls {
            load: self.load.map(&mut to),
            store: self.store.map(&mut to),
            probe: to(self.probe),
            refill: to(self.refill),
            word: to(self.word),
        }
    }

    fn address(&self, number: u32) -> Option<u64> {
        let all = [&self.load[..], &self.store, &[self.probe, self.refill, self.word]].concat();
        all.get(number as usize).map(|address| *address as u64)
    }
}

impl Input {
    /// The same wherever it is made. Its pieces are numbered, and words of the side table say nothing of where that is.
    pub fn canonical(&self) -> Input {
        let mut input = Input { pages: Vec::new(), calls: Calls::NUMBERS, ..self.clone() };
        for (piece, code) in input.pieces.iter_mut().zip((0..).step_by(BLOCK as usize)) {
            for c in &mut piece.words {
                if is_branch(c.op) {
                    c.imm = c.imm - u64::from(piece.code) + u64::from(code);
                } else if reads_aside(c.op) && !is_inline(c) {
                    c.imm = 0;
                }
            }
            piece.code = code;
        }
        input
    }

    /// The code index here of one in the canonical form.
    fn index(&self, at: u32) -> Option<u32> {
        Some(self.pieces.get((at / BLOCK) as usize)?.code + at % BLOCK)
    }
}

impl Compiled {
    /// The code as it is for these blocks here.
    pub fn placed(&self, input: &Input) -> Option<Compiled> {
        let mut placed = self.clone();
        for exit in &mut placed.exits {
            if let Exit::Refuse(at) | Exit::Resume(at) = exit {
                *at = input.index(*at)?;
            }
        }
        for (at, symbol) in &self.symbols {
            let value = match *symbol {
                Symbol::Call(number) => input.calls.address(number)?,
                Symbol::Index(at) => input.index(at)?.into(),
            };
            *placed.code.get_mut(*at as usize..)?.first_chunk_mut()? = value.to_le_bytes();
        }
        Some(placed)
    }
}

/// What is kept: the whole hash of what it was made from, and the code.
type Value = ([u8; 32], Compiled);

/// The hash of what a region is made from, in canonical form.
fn hash(canonical: &Input) -> Option<[u8; 32]> {
    postcard::to_allocvec(canonical).ok().map(|bytes| *blake3::hash(&bytes).as_bytes())
}

fn short(hash: &[u8; 32]) -> u64 {
    hash.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

/// The region that somebody made of this.
pub fn find(store: &Store, canonical: &Input) -> Option<Compiled> {
    let (hash, mut buffer) = (hash(canonical)?, Vec::new());
    (0..)
        .find_map(|n| match store.get(short(&hash), n, &mut buffer) {
            Found::Value => postcard::from_bytes::<Value>(&buffer).ok().filter(|(of, _)| *of == hash).map(Some),
            Found::Rejected => None,
            Found::End => Some(None),
        })?
        .map(|(_, compiled)| compiled)
}

/// Keeps one.
pub fn keep(store: &Store, canonical: &Input, compiled: &Compiled) {
    if let Some(hash) = hash(canonical)
        && let Ok(bytes) = postcard::to_allocvec(&(hash, compiled))
    {
        store.add(short(&hash), &bytes);
    }
}
