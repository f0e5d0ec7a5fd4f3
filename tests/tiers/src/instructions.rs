//! Random instructions of an instruction set: an encoding of its tables, random fields, and a look at the IR for what it does.

use crate::random::Random;
use emu_asm::isa::{Isa as Assembly, Setting};
use emu_asm::tables::{EncodingTable, Otherwise};
use emu_ir::guest::{BlockKey, Isa};
use emu_ir::{Op, Slot};

/// A random instruction, and what its IR says.
pub struct Instruction {
    /// Its bits.
    pub code: u64,
    /// How many.
    pub bits: u8,
    /// It accesses memory.
    pub memory: bool,
    /// It may go elsewhere than to the next instruction.
    pub jumps: bool,
    /// It calls what is not IR, that is to say the system.
    pub system: bool,
    /// The state it may write.
    pub writes: Vec<Slot>,
}

/// The encodings, by the token they belong to and the file they are written in: a chapter with many has not more than its share.
pub struct Instructions<'a, I> {
    isa: I,
    assembly: &'a Assembly,
    setting: Setting,
    chapters: Vec<Vec<Vec<usize>>>,
}

impl<'a, I: Isa> Instructions<'a, I> {
    /// Those of a model.
    pub fn new(isa: I, assembly: &'a Assembly, model: &str) -> Instructions<'a, I> {
        let tables = &assembly.tables;
        let mut chapters: Vec<Vec<(&str, Vec<usize>)>> = vec![Vec::new(); tables.tokens.len()];
        for (index, encoding) in tables.encodings.iter().enumerate() {
            let place = &tables.insns[encoding.insn as usize].place;
            let file = place.split(':').next().unwrap_or("");
            let token = &mut chapters[encoding.token as usize];
            match token.iter_mut().find(|chapter| chapter.0 == file) {
                Some(chapter) => chapter.1.push(index),
                None => token.push((file, vec![index])),
            }
        }
        let chapters = chapters.into_iter().map(|token| token.into_iter().map(|chapter| chapter.1).collect()).collect();
        Instructions { isa, assembly, setting: assembly.setting(model), chapters }
    }

    /// The model.
    pub fn isa(&self) -> &I {
        &self.isa
    }

    /// One for this block key at `pc`. `field` may choose a field by its name.
    pub fn any(&mut self, random: &mut Random, key: u64, pc: u32, mut field: impl FnMut(&mut Random, &str) -> Option<u64>) -> Instruction {
        self.assembly.set_key(&mut self.setting, key);
        self.setting.pc = pc.into();
        let token = self.assembly.token(&self.setting).unwrap_or(0);
        loop {
            let chapters = &self.chapters[token];
            let weights: Vec<u32> = chapters.iter().map(|chapter| chapter.len().isqrt() as u32).collect();
            let chapter = &chapters[random.weighted(&weights)];
            let index = chapter[random.below(chapter.len() as u32) as usize];
            let encoding = &self.assembly.tables.encodings[index];
            let all = u64::MAX >> (64 - u32::from(encoding.bits));
            let mut code = random.bits() & all & !encoding.mask | encoding.value;
            // Bits of no field are nearly always what they should be.
            if !random.once_in(32) {
                let none = with_fields(encoding, all & !encoding.mask, |_| 0);
                code = code & !none | encoding.should_be & none;
            }
            for f in &encoding.fields {
                if let Some(value) = field(random, &encoding.locals[f.local as usize]) {
                    code = with_field(code, &f.pieces, value);
                }
            }
            if !self.accepted(index, encoding, code) && !random.once_in(100) {
                continue;
            }
            if let Some(instruction) = self.look(token, encoding.bits, code, key, pc) {
                return instruction;
            }
        }
    }

    /// True if it decodes to this encoding and is not undefined.
    fn accepted(&self, index: usize, encoding: &EncodingTable, code: u64) -> bool {
        let decoded = self.assembly.decode(&self.setting, encoding.bits, code);
        decoded.is_some_and(|d| d.encoding == index && d.guard != Some(Otherwise::Undefined))
    }

    /// What it does.
    fn look(&self, token: usize, bits: u8, code: u64, key: u64, pc: u32) -> Option<Instruction> {
        let bytes = self.assembly.to_bytes(&self.setting, token, bits, code);
        let mut builder = emu_ir::Builder::for_isa(&self.isa);
        let mut fetch = |at: u64, size: u8| {
            let first = at.wrapping_sub(pc.into()) as usize;
            Ok((0..usize::from(size)).rev().fold(0, |all, i| all << 8 | u64::from(bytes.get(first + i).copied().unwrap_or(0))))
        };
        self.isa.translate(pc.into(), BlockKey(key), 1, &mut fetch, &mut builder).ok()?;
        let block = builder.finish();
        let next = u64::from(pc) + u64::from(bits / 8);
        let ops = || block.insts.iter().map(|i| i.op);
        Some(Instruction {
            code,
            bits,
            memory: ops().any(Op::is_memory),
            jumps: block.insts.iter().any(|i| matches!(i.op, Op::JumpTo | Op::JumpRekey) || i.op == Op::Jump && i.imm != next),
            system: ops().any(|op| matches!(op, Op::Call(_))),
            writes: ops().filter_map(|op| if let Op::Set(slot) = op { Some(slot) } else { None }).collect(),
        })
    }
}

/// `code` with the fields of an encoding replaced, by name.
pub fn with_fields(encoding: &EncodingTable, code: u64, mut field: impl FnMut(&str) -> u64) -> u64 {
    encoding.fields.iter().fold(code, |code, f| with_field(code, &f.pieces, field(&encoding.locals[f.local as usize])))
}

/// `code` with a field of these pieces (least bit, width; most significant first) replaced.
fn with_field(code: u64, pieces: &[(u8, u8)], value: u64) -> u64 {
    let mut left: u32 = pieces.iter().map(|p| u32::from(p.1)).sum();
    pieces.iter().fold(code, |code, (lo, width)| {
        left -= u32::from(*width);
        let mask = (1u64 << width) - 1;
        code & !(mask << lo) | (value >> left & mask) << lo
    })
}
