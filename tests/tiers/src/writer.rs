//! Writes a program into memory: lines of assembly, words, and branches to what comes later.

use crate::case::Item;
use crate::program::{DATA, PAGE};
use crate::random::Random;
use emu_asm::encode::{Encoded, NoSymbols};
use emu_asm::isa::{Isa, Setting};
use emu_asm::solve::Inverses;
use std::cell::RefCell;
use std::collections::HashMap;

/// An instruction set's assembler, which remembers.
pub struct Assembler {
    /// Its tables.
    pub isa: Isa,
    inverses: Inverses,
    /// By text and block key: instructions that do not depend on where they are.
    known: RefCell<HashMap<(String, u64), Encoded>>,
}

impl Assembler {
    /// Of these tables, as the build wrote them.
    ///
    /// # Panics
    /// If the build wrote rubbish.
    pub fn new(tables: &str) -> Assembler {
        let isa = Isa::from_json(tables).expect("the assembler's tables");
        Assembler { isa, inverses: Inverses::default(), known: RefCell::default() }
    }
}

/// An instruction that names a place not yet known.
struct Forward {
    at: u32,
    len: u32,
    key: u64,
    text: String,
}

/// See the module.
pub struct Writer<'a> {
    assembler: &'a Assembler,
    isa: &'a Isa,
    setting: Setting,
    key: u64,
    nop: &'a str,
    /// Where the next instruction goes.
    pub at: u32,
    /// Memory.
    pub ram: Vec<u8>,
    /// What was written.
    pub items: Vec<Item>,
    open: Vec<Forward>,
}

impl<'a> Writer<'a> {
    /// A writer into `ram`; `nop` is the text of what does nothing.
    pub fn new(assembler: &'a Assembler, model: &str, nop: &'a str, ram: Vec<u8>) -> Writer<'a> {
        let isa = &assembler.isa;
        Writer { assembler, isa, setting: isa.setting(model), key: 0, nop, at: 0, ram, items: Vec::new(), open: Vec::new() }
    }

    /// From here on, code for this block key at this address.
    pub fn section(&mut self, at: u32, key: u64) {
        (self.at, self.key) = (at, key);
        self.isa.set_key(&mut self.setting, key);
    }

    /// The block key of the code being written.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Writes a word of memory, in the byte order of instructions.
    pub fn word(&mut self, at: u32, value: u32) {
        let bytes = if self.isa.big_endian(&self.setting) { value.to_be_bytes() } else { value.to_le_bytes() };
        self.ram[at as usize..at as usize + 4].copy_from_slice(&bytes);
    }

    /// Fills the pages of data: edges, numbers for floating point, addresses.
    pub fn data(&mut self, random: &mut Random) {
        for at in (DATA..DATA + 8 * PAGE).step_by(8) {
            let wide = random.edge64();
            let [low, high] = match random.below(3) {
                0 => [wide as u32, (wide >> 32) as u32],
                1 => [random.edge(), random.edge()],
                _ => [random.edge(), DATA + random.below(8 * PAGE)],
            };
            self.word(at, low);
            self.word(at + 4, high);
        }
    }

    /// One line of assembly, which names no place in the program.
    ///
    /// # Panics
    /// If it is none: programs are written by this crate.
    pub fn line(&mut self, text: &str) {
        let code = self.fixed(text);
        self.code(code.bits, code.code);
    }

    /// One line of assembly with `@` for a place in the program: its address, or how far it is.
    ///
    /// # Panics
    /// As [`Writer::line`].
    pub fn branch(&mut self, text: &str, to: u32, relative: bool) {
        let code = self.encode(&aimed(text, self.at, to, relative));
        self.code(code.bits, code.code);
    }

    /// One instruction by its code.
    pub fn code(&mut self, bits: u8, code: u64) {
        let token = self.isa.token(&self.setting).unwrap_or(0);
        let bytes = self.isa.to_bytes(&self.setting, token, bits, code);
        let at = self.at;
        self.put(at, &bytes);
        self.close(at, bytes.len() as u32);
    }

    /// One line with `@` for an address given later, by [`Writer::land`]; `len` bytes are kept for it.
    pub fn forward(&mut self, text: &str, len: u32) -> usize {
        self.open.push(Forward { at: self.at, len, key: self.key, text: text.to_string() });
        self.close(self.at, len);
        self.open.len() - 1
    }

    /// Says what `@` was. A place out of the instruction's reach makes it one that does nothing.
    pub fn land(&mut self, forward: usize, to: u32, relative: bool) {
        let Forward { at, len, key, ref text } = self.open[forward];
        let text = aimed(text, at, to, relative);
        let (old, old_key) = (self.at, self.key);
        self.section(at, key);
        self.setting.pc = at.into();
        let mut bytes = match self.isa.encode(&self.setting, &text, &NoSymbols, &self.assembler.inverses) {
            Ok(code) => self.isa.to_bytes(&self.setting, code.token, code.bits, code.code),
            Err(_) => Vec::new(),
        };
        let nop = self.fixed(self.nop);
        while bytes.len() < len as usize {
            bytes.extend(self.isa.to_bytes(&self.setting, nop.token, nop.bits, nop.code));
        }
        self.put(at, &bytes);
        self.section(old, old_key);
    }

    fn fixed(&mut self, text: &str) -> Encoded {
        let name = (text.to_string(), self.key);
        if let Some(code) = self.assembler.known.borrow().get(&name) {
            return code.clone();
        }
        let code = self.encode(text);
        self.assembler.known.borrow_mut().insert(name, code.clone());
        code
    }

    fn encode(&mut self, text: &str) -> Encoded {
        self.setting.pc = self.at.into();
        let made = self.isa.encode(&self.setting, text, &NoSymbols, &self.assembler.inverses);
        made.unwrap_or_else(|error| panic!("at {:#x} with key {:#x}: {error}", self.at, self.key))
    }

    fn put(&mut self, at: u32, bytes: &[u8]) {
        self.ram[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }

    fn close(&mut self, at: u32, len: u32) {
        self.items.push(Item { at, len, key: self.key });
        self.at = at + len;
    }
}

/// `text` at `at`, with `to` for `@`.
fn aimed(text: &str, at: u32, to: u32, relative: bool) -> String {
    let number = if relative { i64::from(to) - i64::from(at) } else { to.into() };
    text.replace('@', &number.to_string())
}
