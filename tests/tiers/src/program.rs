//! Random programs: what every instruction set's have in common.
//!
//! A program is a few sections of code, functions first, each a random sequence of steps: random instructions, counted loops, branches, calls, accesses to
//! places worth accessing, stores over code, words to the device, and what the [`Dialect`] adds. Some registers are kept from random instructions, so that loops end
//! and most accesses find memory.

use crate::bus::{DEVICE, RAM, register};
use crate::instructions::{Instruction, Instructions};
use crate::random::Random;
use crate::writer::Writer;
use emu_ir::Slot;
use emu_ir::guest::Isa;

/// Where code is.
pub const CODE: u32 = 0x1000;
/// Where data is: eight pages.
pub const DATA: u32 = 0x8000;
/// Pages that are mapped in other ways, if the MMU is on: sixteen.
pub const ODD: u32 = 0x1_0000;
/// What is added to an address for the same memory, if the MMU is on and maps it so.
const ALIASES: [u32; 4] = [0x40_0000, 0x50_0000, ODD - CODE, ODD + PAGE - CODE];
/// A page.
pub const PAGE: u32 = 0x1000;

/// How an instruction set says what programs are made of. Lines are assembly; in them `{s}` and `{t}` are two scratch registers, `{n}` is a small number, `@` the
/// address of a branch, `{high}` and `{low}` the halves of a constant for `{s}`; `?` is a random instruction.
pub struct Dialect {
    /// What does nothing.
    pub nop: &'static str,
    /// What `@` stands for is the distance from the branch, not the address.
    pub relative: bool,
    /// Slots that random instructions do not write.
    pub reserved: &'static [&'static str],
    /// Registers the generator may use in between: name and number.
    pub scratch: &'static [(&'static str, u64)],
    /// Registers that get odd values now and then.
    pub general: &'static [&'static str],
    /// Fields that name an access's base, and the register that points to data.
    pub base: (&'static [&'static str], u64),
    /// Fields that name its index, and the register with a small number.
    pub index: (&'static [&'static str], u64),
    /// Fields that name its displacement, which may be a small number.
    pub displacement: &'static [&'static str],
    /// Sets `{s}` to a constant.
    pub constant: &'static [&'static str],
    /// Loads `{t}` from `[{s}]`.
    pub load: &'static str,
    /// Stores `{t}` to `[{s}]`.
    pub store: &'static str,
    /// Accesses that go together, at `{s}`.
    pub together: &'static [&'static [&'static str]],
    /// A counted loop: sets the counter to `{n}`; counts and branches to `@`.
    pub repeat: (&'static str, &'static [&'static str]),
    /// Conditional branches to `@`.
    pub branches: &'static [&'static [&'static str]],
    /// Bytes of a branch.
    pub branch_len: u32,
    /// Calls `@`, of the same block key.
    pub call: &'static [&'static str],
    /// Calls the address in `{s}`.
    pub call_register: &'static [&'static str],
    /// How functions begin and end.
    pub functions: &'static [(&'static [&'static str], &'static [&'static str])],
    /// Goes to the address in `{s}`.
    pub jump_register: &'static [&'static str],
    /// What else there is to try.
    pub lines: &'static [&'static [&'static str]],
    /// Bits of an address that mean something else: what calls and jumps by register need in it for a block key.
    pub tag: fn(key: u64) -> u32,
}

/// A program being written.
pub struct Program<'a, I> {
    /// Dice.
    pub random: &'a mut Random,
    /// Where it is written.
    pub w: Writer<'a>,
    /// Random instructions.
    pub instructions: &'a mut Instructions<'a, I>,
    /// The instruction set's, by block key.
    dialects: fn(u64) -> &'static Dialect,
    /// Steps of its own.
    pub special: &'a [fn(&mut Program<'a, I>)],
    /// Entries of sections and functions: address and block key.
    pub entries: Vec<(u32, u64)>,
    reserved: Vec<Slot>,
    functions: Vec<(u32, u64)>,
    in_loop: bool,
}

impl<'a, I: Isa> Program<'a, I> {
    /// An empty one, for slots of `isa`.
    pub fn new(
        random: &'a mut Random,
        w: Writer<'a>,
        instructions: &'a mut Instructions<'a, I>,
        dialects: fn(u64) -> &'static Dialect,
        special: &'a [fn(&mut Program<'a, I>)],
    ) -> Self {
        let layout = instructions.isa().layout();
        let reserved = dialects(0).reserved.iter().map(|name| layout.slot(name).expect("a slot of that name")).collect();
        Program { random, w, instructions, dialects, special, entries: Vec::new(), reserved, functions: Vec::new(), in_loop: false }
    }

    fn dialect(&self) -> &'static Dialect {
        (self.dialects)(self.w.key())
    }

    /// Writes code for these block keys: functions, then sections that lead to one another.
    pub fn write(&mut self, keys: &[u64]) {
        self.w.section(CODE + 4 * self.random.below(64), keys[0]);
        for _ in 0..1 + self.random.below(4) {
            self.gap(keys);
            let at = (self.w.at, self.w.key());
            let functions = self.dialect().functions;
            let (begin, end) = self.random.pick(functions);
            self.lines(begin, 0);
            let n = self.random.below(6);
            self.steps(n);
            self.lines(end, 0);
            self.functions.push(at);
        }
        for _ in 0..2 + self.random.below(3) {
            self.gap(keys);
            self.entries.push((self.w.at, self.w.key()));
            let n = 8 + self.random.below(24);
            self.steps(n);
            let (to, key) = self.random.pick(&self.entries);
            let to = self.alias(to);
            self.constant(0, to | (self.dialect().tag)(key));
            self.lines(self.dialect().jump_register, 0);
        }
    }

    /// Goes on elsewhere: near, at the end of the page, or on the next one.
    fn gap(&mut self, keys: &[u64]) {
        let key = self.random.pick(keys);
        let next = (self.w.at + PAGE - 1) & !(PAGE - 1);
        let at = match self.random.below(4) {
            0 => next,
            1 => next.saturating_sub(4 * (1 + self.random.below(24))).max(self.w.at),
            _ => self.w.at + 4 * self.random.below(8),
        };
        self.w.section((at + 3) & !3, key);
    }

    /// `n` steps.
    fn steps(&mut self, n: u32) {
        for _ in 0..n {
            self.step();
        }
    }

    fn step(&mut self) {
        match self.random.weighted(&[120, 12, 16, 24, 12, 8, 6, 12, 12, 1, 16]) {
            0 => self.instruction(None),
            1 if !self.in_loop => self.repeat(),
            2 => self.branch(),
            3 => self.access(),
            4 => self.call(),
            5 => self.modify(),
            6 => self.device(),
            7 => {
                let all = self.dialect().lines;
                let lines = self.random.pick(all);
                let n = self.random.below(16);
                self.lines(lines, n);
            }
            8 if !self.special.is_empty() => {
                let step = self.random.pick(self.special);
                step(self);
            }
            9 => {
                // Anywhere.
                let to = self.place();
                self.constant(0, to);
                self.lines(self.dialect().jump_register, 0);
            }
            10 => {
                let all = self.dialect().general;
                let (register, value) = (self.random.pick(all), self.random.edge());
                self.constant_in(register, value);
            }
            _ => self.instruction(None),
        }
    }

    /// A random instruction; `base`: an access with this base register.
    fn instruction(&mut self, base: Option<u64>) {
        let dialect = self.dialect();
        let (wild, indexed) = (self.random.once_in(8), self.random.once_in(2));
        let (key, at) = (self.w.key(), self.w.at);
        for _ in 0..400 {
            let field = |random: &mut Random, name: &str| match base {
                Some(base) if dialect.base.0.contains(&name) => Some(base),
                None if !wild && dialect.base.0.contains(&name) => Some(dialect.base.1),
                _ if indexed && dialect.index.0.contains(&name) => Some(dialect.index.1),
                _ if !wild && dialect.displacement.contains(&name) => Some(random.below(64).into()),
                _ => None,
            };
            // Only accesses want their registers so; what happens to be one mostly goes astray.
            let any = base.is_none() && !self.random.once_in(3);
            let made = if any {
                self.instructions.any(self.random, key, at, |_, _| None)
            } else {
                self.instructions.any(self.random, key, at, field)
            };
            if (made.memory != any || made.memory && self.random.once_in(8)) && self.suits(&made) {
                return self.w.code(made.bits, made.code);
            }
        }
    }

    /// Most of what would take a program off its way is not wanted.
    fn suits(&mut self, made: &Instruction) -> bool {
        let layout = self.instructions.isa().layout();
        let spoils = made.writes.iter().any(|slot| self.reserved.iter().any(|kept| layout.overlap(*slot, *kept)));
        let mut wanted = |unwanted: bool, n: u32| !unwanted || self.random.once_in(n);
        wanted(made.jumps, 24) && wanted(spoils, 24) && wanted(made.system, 6)
    }

    /// Lines of the dialect; `n` for `{n}`.
    pub fn lines(&mut self, lines: &[&str], n: u32) {
        for line in lines {
            match *line {
                "?" => self.instruction(None),
                line => {
                    let [s, t, ..] = self.dialect().scratch else { return };
                    self.w.line(&line.replace("{s}", s.0).replace("{t}", t.0).replace("{n}", &n.to_string()));
                }
            }
        }
    }

    /// Sets scratch register `which` to a constant.
    pub fn constant(&mut self, which: usize, value: u32) {
        self.constant_in(self.dialect().scratch[which].0, value);
    }

    fn constant_in(&mut self, register: &str, value: u32) {
        for line in self.dialect().constant {
            let line = line.replace("{s}", register);
            self.w.line(&line.replace("{high}", &format!("{:#x}", value >> 16)).replace("{low}", &format!("{:#x}", value & 0xffff)));
        }
    }

    fn repeat(&mut self) {
        self.in_loop = true;
        let most = if self.random.once_in(4) { 60 } else { 6 };
        let n = 1 + self.random.below(most);
        let (begin, end) = self.dialect().repeat;
        self.lines(&[begin], n);
        let top = self.w.at;
        let n = 1 + self.random.below(8);
        self.steps(n);
        for line in end {
            self.w.branch(line, top, self.dialect().relative);
        }
        self.in_loop = false;
    }

    /// A branch over some steps.
    fn branch(&mut self) {
        let all = self.dialect().branches;
        let lines = self.random.pick(all);
        let mut forward = None;
        for line in lines {
            match line.contains('@') {
                true => forward = Some(self.w.forward(line, self.dialect().branch_len)),
                false => self.lines(&[line], 0),
            }
        }
        let n = self.random.below(5);
        self.steps(n);
        if let Some(forward) = forward {
            self.w.land(forward, self.w.at, self.dialect().relative);
        }
    }

    /// An access to a place worth it.
    fn access(&mut self) {
        let at = self.place();
        self.constant(0, at);
        if self.random.once_in(3) {
            let all = self.dialect().together;
            let lines = self.random.pick(all);
            return self.lines(lines, 0);
        }
        self.instruction(Some(self.dialect().scratch[0].1));
    }

    fn call(&mut self) {
        let Some(&(at, key)) = self.functions.get(self.random.below(5) as usize) else { return };
        if key == self.w.key() && self.random.once_in(2) {
            for line in self.dialect().call {
                match *line {
                    "?" => self.instruction(None),
                    line => self.w.branch(line, at, self.dialect().relative),
                }
            }
        } else {
            let at = self.alias(at);
            self.constant(0, at | (self.dialect().tag)(key));
            self.lines(self.dialect().call_register, 0);
        }
    }

    /// The address, or now and then another of the same place.
    fn alias(&mut self, at: u32) -> u32 {
        if self.random.once_in(8) { at + self.random.pick(&ALIASES) } else { at }
    }

    /// Stores an instruction of the program over another; or the device does.
    fn modify(&mut self) {
        let any = |random: &mut Random, w: &Writer<'_>| w.items[random.below(w.items.len() as u32) as usize].at;
        if self.w.items.is_empty() {
            return;
        }
        let from = any(self.random, &self.w);
        // What is just behind the store, or anything there is.
        let to = if self.random.once_in(2) { self.w.at + 4 * (3 + self.random.below(8)) } else { any(self.random, &self.w) };
        self.constant(0, from);
        self.lines(&[self.dialect().load], 0);
        if self.random.once_in(4) {
            self.constant(0, DEVICE as u32 + register::DATA);
            self.lines(&[self.dialect().store], 0);
            self.constant(1, to);
            self.constant(0, DEVICE as u32 + register::COPY);
        } else {
            let to = self.alias(to);
            self.constant(0, to);
        }
        self.lines(&[self.dialect().store], 0);
    }

    /// Tells the device something.
    fn device(&mut self) {
        let register = 4 * self.random.below(7);
        let value = if self.random.once_in(2) { self.random.below(8) } else { self.place() };
        self.constant(1, value);
        self.constant(0, DEVICE as u32 + register);
        self.lines(&[self.dialect().store], 0);
    }

    /// An address, of whatever kind.
    pub fn place(&mut self) -> u32 {
        let small = self.random.below(PAGE);
        let edge = PAGE * (1 + self.random.below(15)) - self.random.below(16);
        match self.random.weighted(&[30, 10, 15, 10, 8, 5, 4, 3, 2, 2, 2]) {
            0 => DATA + (small & !7),
            1 => DATA + small,
            2 => DATA - PAGE + edge % (8 * PAGE),
            3 => ODD + PAGE * self.random.below(16) + small,
            4 => ODD - PAGE + edge,
            5 => CODE + small,
            6 => DEVICE as u32 + self.random.below(64),
            7 => RAM as u32 + small - 8,
            // What boards with an MMU map: the same memory elsewhere.
            8 => 0x10_0000 * (2 + self.random.below(8)) + CODE + small,
            9 => self.random.edge(),
            _ => 0x10_0000 * (2 + self.random.below(8)) + DATA + small,
        }
    }
}
