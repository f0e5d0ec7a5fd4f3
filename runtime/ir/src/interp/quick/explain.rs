//! Code made for who wants to look at it: it goes nowhere.

use super::super::code::{Arena, BlockInfo};
use super::super::explain::HostCode;
use super::super::region::Place;
use super::{BlockId, Quick, emit};

/// A region's function.
pub struct RegionCode<'a> {
    pub id: BlockId,
    pub base: usize,
    pub bytes: Vec<u8>,
    /// Offset by offset: what code from there on is for.
    pub places: &'a [(u32, Place)],
    /// Code indices of its blocks.
    pub pieces: &'a [u32],
    /// The counter of its instructions.
    pub spent: usize,
}

impl Quick {
    /// The regions there are, by what they execute ([`Region`]).
    pub fn regions(&self) -> impl Iterator<Item = RegionCode<'_>> {
        self.regions.iter().map(|region| {
            let (base, size) = region.function;
            RegionCode {
                id: region.id,
                base,
                bytes: self.buffer.copy(base, size),
                places: &region.places,
                pieces: &region.pieces,
                spent: region.spent,
            }
        })
    }

    /// Names and addresses of the pieces all blocks share, by ascending address.
    pub fn stubs(&self) -> Vec<(String, usize)> {
        self.stubs.named()
    }

    /// Where the code made last ends.
    pub fn end(&self) -> usize {
        self.buffer.next()
    }

    /// The code of a block, and which word each piece of it is for.
    pub fn explain(&self, arena: &Arena, block: &BlockInfo) -> Option<HostCode> {
        let base = self.buffer.next();
        let mut words: Vec<(u32, u32)> = vec![(0, 0)];
        let mut cold = 0;
        let mut scratch = emit::Scratch::default();
        let made = emit::block_seen(&mut scratch, &self.shape, &self.stubs, arena, block, base, &mut |at, offset| match at {
            emit::OUT_OF_LINE => cold = offset as u32,
            at => words.push((at - block.code, offset as u32)),
        })?;
        let slots = made.slots.iter().map(|(_, offset, _)| *offset as u32).min().unwrap_or(made.code.len() as u32);
        Some(HostCode {
            base: base as u64,
            bytes: made.code.to_vec(),
            words,
            cold,
            slots,
            stubs: self.stubs().into_iter().map(|(name, at)| (at as u64, name)).collect(),
        })
    }
}
