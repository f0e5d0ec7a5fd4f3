//! What an instruction set gives to be tested, and what is done with it without knowing which it is.

use crate::case::{Case, Difference, Item, Outcome, compare};
use crate::instructions::Instructions;
use crate::random::Random;
use crate::writer::{Assembler, Writer};
use emu_ir::Slot;
use emu_ir::guest::Isa;

/// A model of an instruction set.
pub trait Guest {
    /// The instruction set.
    type Isa: Isa;
    /// The model.
    fn model(&self) -> &'static str;
    /// The assembler's tables.
    fn tables(&self) -> &'static str;
    /// A CPU.
    fn isa(&self) -> Self::Isa;
    /// The text of what does nothing.
    fn nop(&self) -> &'static str;
    /// State at reset, but for what instructions of this token need to be executed.
    fn plain(&self, token: usize) -> Vec<u64>;
    /// What a field of an instruction holds that is to be an example.
    fn typical(&self, field: &str) -> Option<u64>;
    /// Fields of one bit that make another instruction of an example.
    fn variants(&self) -> &'static [&'static str];
    /// A random program with its surroundings, written with `w`.
    fn case<'a>(&self, random: &'a mut Random, w: Writer<'a>, instructions: &'a mut Instructions<'a, Self::Isa>) -> Case;
}

/// A [`Guest`], whatever its instruction set.
pub trait Target {
    /// The model.
    fn name(&self) -> &'static str;
    /// The case of this seed.
    fn case(&self, seed: u64) -> Case;
    /// Runs a case in both tiers.
    ///
    /// # Errors
    /// The first difference.
    fn compare(&self, case: &Case) -> Result<Outcome, Difference>;
    /// What does nothing, in place of a piece of the program.
    fn nothing(&self, item: &Item) -> Vec<u8>;
    /// The table of the code that each instruction becomes.
    fn quality(&self) -> String;
    /// The name of a part of the state.
    fn slot(&self, slot: Slot) -> &'static str;
    /// The text of a piece of the program.
    fn text(&self, case: &Case, item: &Item) -> String;
}

/// A guest with its tables read.
pub struct Bench<G> {
    guest: G,
    assembler: Assembler,
}

impl<G: Guest> Bench<G> {
    /// Reads the tables.
    pub fn new(guest: G) -> Bench<G> {
        let assembler = Assembler::new(guest.tables());
        Bench { guest, assembler }
    }

    fn writer(&self, ram: Vec<u8>) -> Writer<'_> {
        Writer::new(&self.assembler, self.guest.model(), self.guest.nop(), ram)
    }
}

impl<G: Guest> Target for Bench<G> {
    fn name(&self) -> &'static str {
        self.guest.model()
    }

    fn case(&self, seed: u64) -> Case {
        let mut random = Random::new(seed);
        let mut instructions = Instructions::new(self.guest.isa(), &self.assembler.isa, self.guest.model());
        self.guest.case(&mut random, self.writer(vec![0; crate::bus::RAM as usize]), &mut instructions)
    }

    fn compare(&self, case: &Case) -> Result<Outcome, Difference> {
        compare(|| self.guest.isa(), case)
    }

    fn nothing(&self, item: &Item) -> Vec<u8> {
        let mut w = self.writer(vec![0; item.len as usize + 4]);
        w.section(0, item.key);
        while w.at < item.len {
            w.line(self.guest.nop());
        }
        w.ram.truncate(item.len as usize);
        w.ram
    }

    fn slot(&self, slot: Slot) -> &'static str {
        self.guest.isa().layout().slots[usize::from(slot.0)].name
    }

    fn quality(&self) -> String {
        crate::quality::table(&self.guest, &self.assembler.isa)
    }

    fn text(&self, case: &Case, item: &Item) -> String {
        let mut setting = self.assembler.isa.setting(self.guest.model());
        self.assembler.isa.set_key(&mut setting, item.key);
        let (mut at, end) = (item.at, item.at + item.len);
        let mut texts = Vec::new();
        while at < end {
            setting.pc = at.into();
            let Some((bits, code)) = self.assembler.isa.fetch(&setting, &case.ram[at as usize..end as usize]) else { break };
            let text = self.assembler.isa.disassemble(&setting, bits, code).unwrap_or_else(|| "undefined".to_string());
            texts.push(format!("{code:0width$x}  {text}", width = usize::from(bits) / 4));
            at += u32::from(bits / 8);
        }
        texts.join("; ")
    }
}
