//! Serial NOR flash (the data sheets are named in `chips.rs`): a part on an SPI bus, with one, two or four data lines.
//!
//! Chip select -> opcode, address, mode bits, dummy cycles -> the array or a register -> bytes to the host. Programs clear bits of a page, erases set
//! those of a block, when the chip select is released; the array changes at once, and the chip is busy for as long as the data sheet says (times
//! `time-percent`), and until the drive has what changed. The array is kept inverted, so that memory that was never touched is an erased chip; an image
//! is taken over when it comes, and written through. What an image has no place for (status, protection and configuration bits) is kept until the run
//! ends. Not modelled: suspended operations, one-time programmable memory, locks of single blocks, passwords, double data rate, wrapped bursts, the HOLD# pin.

use super::array::{Array, Backing};
use super::chips::{CHIPS, Chip, Maker};
use super::serial_commands::{Action, Begin, Command, has_long_address};
use super::serial_registers::{Kept, Registers};
use super::{TIME, percent};
use emu_machine::backend::DiskResult;
use emu_machine::device::{Cx, Device, Nanos};
use emu_machine::parts::{PartBus, SpiPart};
use emu_machine::schema::{Count, DeviceType, MemorySpec, PortSpec, PropKind, PropSpec, Props};
use serde::{Deserialize, Serialize};
use std::ops::Range;

const QUAD: PropSpec =
    PropSpec { name: "quad", kind: PropKind::Bool, default: Some("#false"), doc: "the quad enable bit was programmed before" };

/// The device type of one chip of the table.
struct Of<const N: usize>;

impl<const N: usize> Of<N> {
    const MEMORIES: &'static [MemorySpec] = &[MemorySpec { name: "array", size: Count::Fixed(CHIPS[N].size) }];
    const TYPE: DeviceType = DeviceType {
        part: Some(PartBus::Spi),
        props: if matches!(CHIPS[N].maker, Maker::Spansion | Maker::Winbond) { &[TIME, QUAD] } else { &[TIME] },
        inputs: &[PortSpec::one("wp", "WP#, while it is low"), PortSpec::one("reset", "RESET#, while it is low")],
        drives: &["flash"],
        memories: Self::MEMORIES,
        ..DeviceType::new(CHIPS[N].name, CHIPS[N].doc, create::<N>)
    };
}

macro_rules! types {
    ($($n:literal)*) => { [$(Of::<$n>::TYPE),*] };
}

/// One type for each chip.
pub const TYPES: [DeviceType; CHIPS.len()] = types!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);

fn create<const N: usize>(props: &Props) -> Result<Box<dyn Device>, String> {
    let chip = &CHIPS[N];
    let mut flash = SerialFlash { chip, percent: percent(props), array: Array::new(chip.size), s: State::default() };
    flash.s.kept.second = if chip.has_quad_enable() && props.flag(QUAD.name) { 2 } else { 0 };
    flash.s.buffer = vec![0xff; chip.page()];
    Ok(Box::new(flash))
}

/// The end of a program or an erase.
const DONE: u32 = 0;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    selected: bool,
    in_reset: bool,
    /// WP# is low.
    wp: bool,
    /// The next byte is an opcode.
    opcode_next: bool,
    command: Option<Command>,
    pub(super) address: u32,
    /// What is programmed into a page; an array of a page's size.
    buffer: Vec<u8>,
    /// A register's bytes.
    written: [u8; 2],
    pub(super) registers: Registers,
    pub(super) kept: Kept,
    /// Deep power-down.
    asleep: bool,
    /// RESET ENABLE was the last command.
    reset_enabled: bool,
    /// The read that the next command is without an opcode.
    continuous: Option<u8>,
    /// The time of an operation is not over.
    working: bool,
    /// An operation keeps WRITE ENABLE until its end.
    operation: bool,
    backing: Backing,
}

impl State {
    fn is_sound(&self) -> bool {
        let bytes = |c: &Command| !matches!(&c.action, Action::Bytes { bytes, .. } if bytes.len() > 64);
        let erase = |c: &Command| !matches!(c.action, Action::Erase(n) if !n.is_power_of_two());
        self.command.as_ref().is_none_or(|c| bytes(c) && erase(c))
    }

    fn fits(&self, chip: &Chip) -> bool {
        self.buffer.len() == chip.page() && self.backing.fits(chip.size)
    }
}

struct SerialFlash {
    chip: &'static Chip,
    percent: u64,
    array: Array,
    s: State,
}

impl SerialFlash {
    fn busy(&self) -> bool {
        self.s.working || self.s.backing.is_busy()
    }

    /// A byte of the array.
    fn at(&self, address: u64) -> u8 {
        let mut byte = [0xff];
        self.array.read(address % self.chip.size, &mut byte);
        byte[0]
    }

    /// The address that was sent, with what stands for its fourth byte.
    fn array_address(&self, command: &Command) -> u64 {
        let four = self.s.registers.four_bytes || has_long_address(self.chip, command.opcode);
        let bank = if four { 0 } else { u64::from(self.s.registers.bank) << 24 };
        (bank | u64::from(self.s.address)) % self.chip.size
    }

    fn refuse(&mut self, program: bool, what: &str, cx: &mut Cx<'_>) {
        cx.guest_error(what);
        let r = &mut self.s.registers;
        (r.was_protected, r.program_failed, r.erase_failed) = (true, r.program_failed || program, r.erase_failed || !program);
        if self.chip.maker != Maker::Spansion {
            r.write_enabled = false;
        }
    }

    /// Whether an operation on these bytes may begin.
    fn allows(&mut self, at: &Range<u64>, program: bool, cx: &mut Cx<'_>) -> bool {
        if !self.s.registers.write_enabled {
            cx.guest_error("a program or an erase without WRITE ENABLE");
            return false;
        }
        if self.s.registers.protects(self.chip, at) {
            self.refuse(program, "a program or an erase of what is protected", cx);
            return false;
        }
        true
    }

    /// These bytes have changed: the chip is busy for so many microseconds.
    fn work(&mut self, changed: Range<u64>, micros: u64, cx: &mut Cx<'_>) {
        self.s.operation = true;
        let nanos = micros.saturating_mul(10 * self.percent);
        self.s.working = nanos > 0;
        if self.s.working {
            cx.arm(DONE, Nanos(cx.now().0.saturating_add(nanos)));
        }
        self.array.save(&mut self.s.backing, changed.start, changed.end - changed.start, cx);
        self.settle();
    }

    /// Ends an operation, when its time is over and the drive has everything.
    fn settle(&mut self) {
        if self.s.operation && !self.busy() {
            self.s.operation = false;
            self.s.registers.write_enabled = self.s.registers.increments;
            self.s.registers.volatile = false;
        }
    }

    /// Programs what is in the buffer; false if it may not.
    fn program(&mut self, command: &Command, cx: &mut Cx<'_>) -> bool {
        let page = self.chip.page() as u64;
        let at = self.array_address(command);
        let base = at - at % page;
        if !self.allows(&(at..at + 1), true, cx) {
            return false;
        }
        self.array.program(base, &self.s.buffer);
        self.work(base..base + page, self.chip.times.page, cx);
        true
    }

    /// SST: one word, and the address of the next.
    fn increment(&mut self, command: &Command, cx: &mut Cx<'_>) {
        if self.program(command, cx) {
            (self.s.registers.increments, self.s.registers.write_enabled) = (true, true);
            self.s.address = self.s.address.wrapping_add(2);
        }
    }

    fn erase(&mut self, command: &Command, len: u64, cx: &mut Cx<'_>) {
        let chip = self.chip;
        let at = if len == chip.size { 0 } else { self.array_address(command) / len * len };
        if len == 4 << 10 && at >= chip.subsectors_to() {
            return cx.guest_error("a subsector erase where there are none");
        }
        if !self.allows(&(at..at + len), false, cx) {
            return;
        }
        self.array.erase(at, len);
        let micros = match len {
            len if len == chip.sector => chip.times.sector,
            0x1000 => chip.times.subsector,
            0x8000 => chip.times.half,
            _ => chip.times.chip,
        };
        self.work(at..at + len, micros, cx);
    }

    fn write_register(&mut self, command: &Command, cx: &mut Cx<'_>) {
        let n = command.count as usize;
        let (least, most) = Registers::width(self.chip, command.opcode).unwrap_or((1, 0));
        if n < least.into() || n > most.into() {
            return cx.guest_error("a register is written with the wrong number of bytes");
        }
        let s = &mut self.s;
        match s.registers.write(self.chip, &mut s.kept, command.opcode, &s.written[..n.min(2)], s.wp) {
            Err(what) => cx.guest_error(what),
            Ok(true) => return self.work(0..0, self.chip.times.registers, cx),
            Ok(false) => {}
        }
        s.registers.write_enabled = false;
        s.registers.volatile = false;
    }

    /// Commands without data, when the chip select is released right behind them.
    fn simple(&mut self, opcode: u8, reset_enabled: bool, cx: &mut Cx<'_>) {
        let (chip, r) = (self.chip, &mut self.s.registers);
        match (chip.maker, opcode) {
            (_, 0x06) => r.write_enabled = true,
            (_, 0x04) => (r.write_enabled, r.volatile, r.increments) = (false, false, false),
            (Maker::Micron, 0x50) | (Maker::Spansion, 0x30) => {
                r.clear_errors();
                if chip.maker == Maker::Spansion {
                    r.write_enabled = false;
                }
            }
            (_, 0x50) => r.volatile = true,
            (Maker::Micron, 0xb7 | 0xe9) if !r.write_enabled => cx.guest_error("the address mode is changed without WRITE ENABLE"),
            (_, 0xb7 | 0xe9) => {
                r.four_bytes = opcode == 0xb7;
                r.write_enabled = r.write_enabled && chip.maker != Maker::Micron;
            }
            (_, 0x66) => self.s.reset_enabled = true,
            (Maker::Spansion, 0xf0) => self.restart(cx),
            (_, 0x99) if reset_enabled => self.restart(cx),
            (_, 0xb9) if chip.has_deep_power_down() => self.s.asleep = true,
            _ => {}
        }
    }

    /// As after power came, but for what the host does right now.
    fn restart(&mut self, cx: &mut Cx<'_>) {
        cx.disarm(DONE);
        let old = std::mem::take(&mut self.s);
        self.s = State {
            selected: old.selected,
            in_reset: old.in_reset,
            wp: old.wp,
            buffer: vec![0xff; self.chip.page()],
            registers: Registers::power_on(self.chip, &old.kept),
            kept: old.kept,
            backing: old.backing,
            ..State::default()
        };
    }

    /// What the chip select's release makes of a command.
    fn end(&mut self, command: &Command, cx: &mut Cx<'_>) {
        if command.continued && command.ones && (command.address > 0 || command.mode) {
            // Ones instead of an address end the continuous read.
            self.s.continuous = None;
        }
        let reset_enabled = std::mem::take(&mut self.s.reset_enabled);
        let complete = command.address == 0 && !command.mode && command.dummies == 0;
        match command.action {
            Action::Simple if command.count == 0 => self.simple(command.opcode, reset_enabled, cx),
            Action::Erase(len) if complete && command.count == 0 => self.erase(command, len, cx),
            Action::Program if complete && command.count > 0 => _ = self.program(command, cx),
            Action::Increment if complete && command.count == 2 => self.increment(command, cx),
            Action::Write => self.write_register(command, cx),
            Action::Simple | Action::Erase(_) | Action::Program | Action::Increment => {
                cx.guest_error("a command of the wrong length is ignored");
            }
            Action::Read | Action::Register | Action::Bytes { .. } | Action::Parameters => {}
        }
        // Release from deep power-down, with the signature or without.
        if command.opcode == 0xab {
            self.s.asleep = false;
        }
    }

    fn opcode(&mut self, opcode: u8, cx: &mut Cx<'_>) {
        let status = matches!(opcode, 0x05 | 0x70 | 0x07);
        if self.s.asleep && opcode != 0xab {
            return cx.guest_error("a command in deep power-down");
        }
        let stuck = self.s.registers.is_stuck(self.chip);
        if !status && (self.busy() || stuck && !matches!(opcode, 0x30 | 0xf0)) {
            return cx.guest_error("a command while the chip is busy");
        }
        match self.s.begin(self.chip, opcode) {
            Begin::Command(command) => {
                if command.address > 0 {
                    self.s.address = 0;
                }
                self.s.buffer.fill(0xff);
                self.s.command = Some(command);
            }
            Begin::Unknown => cx.guest_error(&format!("unknown command {opcode:#04x}")),
            Begin::Refused(what) => cx.guest_error(what),
            Begin::Missing(what) => cx.unimplemented(&format!("command {opcode:#04x}: {what}")),
        }
    }

    /// A byte of a command behind its opcode.
    fn byte(&mut self, byte: u8, command: &mut Command) -> u8 {
        command.ones &= byte == 0xff;
        if command.address > 0 {
            self.s.address = self.s.address << 8 | u32::from(byte);
            command.address -= 1;
            return 0xff;
        }
        if command.mode || command.dummies > 0 {
            if command.action == Action::Read && command.count == 0 && (command.mode || self.chip.maker == Maker::Micron) {
                self.s.continuous = self.s.stays(self.chip, command.opcode, byte).then_some(command.opcode);
            }
            match command.mode {
                true => command.mode = false,
                false => command.dummies -= 1,
            }
            // Only the first dummy byte says something.
            command.count = u32::from(command.dummies > 0);
            return 0xff;
        }
        let n = command.count;
        let answer = match command.action {
            Action::Read => self.at(self.array_address(command).wrapping_add(n.into())),
            Action::Program => {
                let page = self.chip.page() as u32;
                let at = if self.chip.maker == Maker::Sst { self.s.address % page } else { self.s.address.wrapping_add(n) % page };
                if let Some(place) = self.s.buffer.get_mut(at as usize) {
                    *place = byte;
                }
                0xff
            }
            Action::Increment => {
                if let Some(place) = self.s.buffer.get_mut(n as usize) {
                    *place = byte;
                }
                0xff
            }
            Action::Write => {
                if let Some(place) = self.s.written.get_mut(n as usize) {
                    *place = byte;
                }
                0xff
            }
            _ => self.s.answer(self.chip, command, self.busy()),
        };
        command.count = n.wrapping_add(1).max(1);
        answer
    }
}

impl SpiPart for SerialFlash {
    fn select(&mut self, selected: bool, cx: &mut Cx<'_>) {
        if std::mem::replace(&mut self.s.selected, selected) == selected || self.s.in_reset {
            return;
        }
        if !selected {
            self.s.opcode_next = false;
            if let Some(command) = self.s.command.take() {
                self.end(&command, cx);
            }
            return;
        }
        let continued = self.s.continuous.filter(|_| !self.busy()).and_then(|opcode| self.s.continued(self.chip, opcode));
        self.s.opcode_next = continued.is_none();
        self.s.address = if continued.is_some() { 0 } else { self.s.address };
        self.s.command = continued;
    }

    fn transfer(&mut self, byte: u8, cx: &mut Cx<'_>) -> u8 {
        if !self.s.selected || self.s.in_reset {
            return 0xff;
        }
        if std::mem::take(&mut self.s.opcode_next) {
            self.opcode(byte, cx);
            return 0xff;
        }
        let Some(mut command) = self.s.command.take() else { return 0xff };
        let answer = self.byte(byte, &mut command);
        self.s.command = Some(command);
        answer
    }
}

impl Device for SerialFlash {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.array.find(cx);
        self.s.backing.forget();
        self.s.selected = false;
        self.restart(cx);
    }

    fn line_changed(&mut self, port: usize, _: u32, level: bool, cx: &mut Cx<'_>) {
        match port {
            0 => self.s.wp = level,
            _ => {
                self.s.in_reset = level;
                self.restart(cx);
            }
        }
    }

    fn timer_expired(&mut self, _: u32, _: &mut Cx<'_>) {
        self.s.working = false;
        self.settle();
    }

    fn medium_changed(&mut self, _: usize, cx: &mut Cx<'_>) {
        self.array.load(&mut self.s.backing, cx);
    }

    fn disk_done(&mut self, _: usize, tag: u32, result: DiskResult, _: &mut Cx<'_>) {
        self.s.backing.done(tag, &result);
        self.s.registers.program_failed |= self.s.backing.take_failed();
        self.settle();
    }

    fn spi(&mut self) -> Option<&mut dyn SpiPart> {
        Some(self)
    }

    crate::snapshot!(s, |flash, state| state.fits(flash.chip));
}
