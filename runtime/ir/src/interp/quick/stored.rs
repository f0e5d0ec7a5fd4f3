//! The code of a block apart from the place it was made for: as if it began where the buffer does, and with code indices counted from the block's.
//!
//! The pieces that all blocks share lie at the buffer's beginning, and are the same in each process of the same build.

use super::super::stored::{Input, Output};
use super::{BlockId, Quick};

/// Adds to a number of 32 bits in code.
fn add(code: &mut [u8], at: u32, value: u32) -> Option<()> {
    let number = code.get_mut(at as usize..)?.first_chunk_mut::<4>()?;
    *number = u32::from_le_bytes(*number).wrapping_add(value).to_le_bytes();
    Some(())
}

impl Quick {
    /// Writes down the code just made, of the block at a code index.
    pub fn write(&self, code: u32, native: u64, out: &mut Output) -> Option<()> {
        let (made, ops) = (self.scratch.made(), self.scratch.ops());
        let place = (native as usize - self.buffer.begin()) as u32;
        let mut bytes = made.code.to_vec();
        ops.externs().iter().try_for_each(|at| add(&mut bytes, *at, place))?;
        ops.indices().iter().try_for_each(|at| add(&mut bytes, *at, code.wrapping_neg()))?;
        for (_, slot, _) in made.slots {
            bytes.get_mut(*slot..)?.first_chunk_mut::<8>()?.fill(0);
        }
        out.put(&bytes)?;
        out.put(&ops.externs())?;
        out.put(&ops.indices())?;
        out.put(&made.slots.iter().map(|&(at, slot, first)| (at - code, slot as u32, first as u32)).collect::<Vec<_>>())?;
        out.put(&made.faults.iter().map(|&(access, instead)| (access as u32, instead as u32)).collect::<Vec<_>>())
    }

    /// Takes what was written down as the code of a block; where it is, if it can be.
    pub fn read(&mut self, code: u32, id: BlockId, input: &mut Input<'_>) -> Option<u64> {
        let (place, base) = (self.buffer.used() as u32, self.buffer.next());
        self.scratch.clear(base);
        let (ops, slots, faults) = self.scratch.parts();
        let bytes = ops.take(input.bytes()?)?;
        input.each(|at: u32| add(bytes, at, place.wrapping_neg()))?;
        input.each(|at: u32| add(bytes, at, code))?;
        input.each(|(at, slot, first): (u32, u32, u32)| {
            slots.push((code.wrapping_add(at), slot as usize, first as usize));
            let number = bytes.get_mut(slot as usize..)?.first_chunk_mut::<8>()?;
            *number = (base as u64 + u64::from(first)).to_le_bytes();
            slot.is_multiple_of(8).then_some(())
        })?;
        input.each(|(access, instead): (u32, u32)| {
            faults.push((access as usize, instead as usize));
            Some(())
        })?;
        self.place(code, id)
    }
}
