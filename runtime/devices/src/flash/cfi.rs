//! Parallel NOR flash with the common flash interface: Intel's command set (28F128J3 data sheet) and AMD's (S29GL-P data sheet); the chips are in
//! `cfi_query`.
//!
//! Writes are commands -> the array, or what reads give instead of it: status, identification, query. An address counts in words of 16 bits; with 8 data
//! lines both bytes of a word say the same. Programs and erases change the array at once; the chip is busy for as long as the data sheet says
//! (times `time-percent`). It waits for the drive only when that is far behind: drivers give up soon after the time that the query tells. What the drive
//! refuses is in Intel's status then. An image holds the bytes as they are read. While reads give the array its line `array` is high, and the controller's window
//! shows its memory.
//! Not modelled: suspended operations, locks and protection, one-time programmable memory, unlock bypass, the STS and RY/BY# pins.

use super::array::{Array, Backing};
use super::cfi_query::{CHIPS, Chip, Set};
use super::{TIME, percent};
use emu_machine::backend::DiskResult;
use emu_machine::device::{Cx, Device, Nanos};
use emu_machine::parts::{NorPart, PartBus};
use emu_machine::schema::{Count, DeviceType, MemorySpec, PortSpec, PropKind, PropSpec, Props};
use serde::{Deserialize, Serialize};

const WIDE: PropSpec =
    PropSpec { name: "wide", kind: PropKind::Bool, default: Some("#false"), doc: "16 data lines are connected (BYTE# is high), not 8" };

/// The device type of one chip of the table.
struct Of<const N: usize>;

impl<const N: usize> Of<N> {
    const MEMORIES: &'static [MemorySpec] = &[MemorySpec { name: "array", size: Count::Fixed(CHIPS[N].size) }];
    const TYPE: DeviceType = DeviceType {
        part: Some(PartBus::Nor),
        props: &[TIME, WIDE],
        outputs: &[PortSpec::one("array", "high while reads give the array")],
        inputs: &[PortSpec::one("wp", "WP# or VPEN, while it is low: nothing is programmed or erased")],
        drives: &["flash"],
        memories: Self::MEMORIES,
        ..DeviceType::new(CHIPS[N].name, CHIPS[N].doc, create::<N>)
    };
}

/// One type for each chip.
pub const TYPES: [DeviceType; CHIPS.len()] = [Of::<0>::TYPE, Of::<1>::TYPE, Of::<2>::TYPE, Of::<3>::TYPE];

fn create<const N: usize>(props: &Props) -> Result<Box<dyn Device>, String> {
    let chip = &CHIPS[N];
    let (array, wide) = (Array::upright(chip.size), props.flag(WIDE.name));
    Ok(Box::new(Flash { chip, percent: percent(props), wide, array, s: State { status: READY, ..State::default() } }))
}

/// Bits of Intel's status.
const READY: u8 = 0x80;
const ERASE_FAILED: u8 = 0x20;
const PROGRAM_FAILED: u8 = 0x10;
const VOLTAGE: u8 = 0x08;

/// What reads give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Mode {
    #[default]
    Array,
    Status,
    Id,
    Query,
}

/// What writes came before the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Before {
    #[default]
    Nothing,
    /// AMD: one, or two, of the cycles that unlock a command; the same for an erase.
    Unlocking,
    Unlocked,
    EraseSetUp,
    EraseUnlocking,
    EraseUnlocked,
    /// Intel: an erase, or a lock, that is to be confirmed.
    Erase,
    Lock,
    Program,
    /// A buffer: how many words, the words, the confirmation.
    Count,
    Words(u16),
    Confirm,
}

/// What is programmed or erased.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Word,
    Buffer,
    Erase,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    /// The array was erased when the chip was made.
    made: bool,
    /// WP# is low.
    wp: bool,
    mode: Mode,
    before: Before,
    /// Where a buffer began, and what is in it: places and bytes.
    base: u64,
    buffer: Vec<(u64, u8)>,
    /// Intel's status.
    status: u8,
    /// AMD's: the bit that toggles, and the low byte of what was programmed last.
    toggle: bool,
    last: u8,
    erasing: bool,
    /// When the last operation's time is over.
    until: Nanos,
    backing: Backing,
}

impl State {
    fn is_sound(&self) -> bool {
        self.buffer.len() <= 64
    }
}

struct Flash {
    chip: &'static Chip,
    percent: u64,
    wide: bool,
    array: Array,
    s: State,
}

impl Flash {
    /// Looked up whenever it matters, as drivers give up after some thousand looks.
    fn is_busy(&self, cx: &Cx<'_>) -> bool {
        cx.now() < self.s.until || self.s.backing.is_late()
    }

    /// Says whether reads give the array.
    fn show(&self, cx: &mut Cx<'_>) {
        cx.set_line(0, 0, self.s.mode == Mode::Array && !self.is_busy(cx));
    }

    /// Before the array is used.
    fn make(&mut self, cx: &Cx<'_>) {
        self.array.find(cx);
        if !std::mem::replace(&mut self.s.made, true) {
            self.array.erase(0, self.chip.size);
        }
    }

    /// Bytes of one access.
    fn unit(&self) -> usize {
        if self.wide { 2 } else { 1 }
    }

    fn work(&mut self, micros: u64, cx: &Cx<'_>) {
        self.s.until = Nanos(cx.now().0.saturating_add((micros * 10 * self.percent).max(1)));
    }

    /// Programs these places, or erases the block of the first.
    fn operate(&mut self, operation: Operation, places: &[(u64, u8)], cx: &mut Cx<'_>) {
        let micros = self.chip.times[operation as usize];
        let block = places.first().map_or(0, |p| p.0) / self.chip.block * self.chip.block;
        self.s.erasing = operation == Operation::Erase;
        self.s.last = places.get(places.len().saturating_sub(self.unit())).map_or(0xff, |p| p.1);
        self.s.mode = if self.chip.set == Set::Intel { Mode::Status } else { Mode::Array };
        self.work(micros, cx);
        if self.s.wp {
            self.s.status |= VOLTAGE | if self.s.erasing { ERASE_FAILED } else { PROGRAM_FAILED };
            return cx.guest_error("a program or an erase of a chip that is write-protected");
        }
        let (start, len) = match operation {
            Operation::Erase => {
                self.array.erase(block, self.chip.block);
                (block, self.chip.block)
            }
            _ => {
                places.iter().for_each(|(at, byte)| self.array.program(*at, &[*byte]));
                let first = places.iter().map(|p| p.0).min().unwrap_or(0);
                (first, places.iter().map(|p| p.0).max().unwrap_or(first) + 1 - first)
            }
        };
        self.array.save(&mut self.s.backing, start, len, cx);
    }

    fn erase_all(&mut self, cx: &mut Cx<'_>) {
        self.operate(Operation::Erase, &[(0, 0xff)], cx);
        if !self.s.wp {
            let blocks = self.chip.size / self.chip.block;
            self.work(self.chip.times[2] * blocks, cx);
            self.array.erase(0, self.chip.size);
            self.array.save(&mut self.s.backing, self.chip.block, self.chip.size - self.chip.block, cx);
        }
    }

    /// One access for writing: `bytes` are one, or two with 16 data lines.
    fn write_unit(&mut self, at: u64, bytes: &[u8], cx: &mut Cx<'_>) {
        let Some(&low) = bytes.first() else { return };
        if self.is_busy(cx) {
            // A look at the status is all that is allowed.
            if !(self.chip.set == Set::Intel && low == 0x70) {
                cx.guest_error("a command while the chip is busy");
            }
            return;
        }
        let before = std::mem::take(&mut self.s.before);
        let places = || bytes.iter().enumerate().map(|(i, byte)| (at + i as u64, *byte));
        match before {
            Before::Program => self.operate(Operation::Word, &places().collect::<Vec<_>>(), cx),
            Before::Count if u64::from(low) < self.chip.buffer / self.unit() as u64 => {
                self.s.before = Before::Words(u16::from(low) + 1);
            }
            Before::Words(left) if self.s.base / self.chip.block == at / self.chip.block => {
                self.s.buffer.extend(places());
                self.s.before = if left > 1 { Before::Words(left - 1) } else { Before::Confirm };
            }
            Before::Confirm if low == if self.chip.set == Set::Intel { 0xd0 } else { 0x29 } => {
                let places = std::mem::take(&mut self.s.buffer);
                self.operate(Operation::Buffer, &places, cx);
            }
            Before::Count | Before::Words(_) | Before::Confirm => {
                self.s.status |= ERASE_FAILED | PROGRAM_FAILED;
                cx.guest_error("a program of a buffer that is not as it must be");
            }
            _ if self.chip.set == Set::Intel => self.intel(before, at, low, cx),
            _ => self.amd(before, at, low, cx),
        }
    }

    fn set_up_buffer(&mut self, at: u64) {
        (self.s.before, self.s.base) = (Before::Count, at);
        self.s.buffer.clear();
    }

    fn intel(&mut self, before: Before, at: u64, command: u8, cx: &mut Cx<'_>) {
        match (before, command) {
            (Before::Erase, 0xd0) => return self.operate(Operation::Erase, &[(at, 0xff)], cx),
            // There are no locks.
            (Before::Lock, 0x01 | 0xd0 | 0x2f) => {}
            (Before::Erase | Before::Lock, _) => self.s.status |= ERASE_FAILED | PROGRAM_FAILED,
            (_, 0xff) => return self.s.mode = Mode::Array,
            (_, 0x90) => return self.s.mode = Mode::Id,
            (_, 0x98) => return self.s.mode = Mode::Query,
            (_, 0x50) => return self.s.status = READY,
            (_, 0x70) => {}
            (_, 0x10 | 0x40) => self.s.before = Before::Program,
            (_, 0x20) => self.s.before = Before::Erase,
            (_, 0x60) => self.s.before = Before::Lock,
            (_, 0xe8) => self.set_up_buffer(at),
            (_, 0xb0 | 0xd0) => cx.unimplemented("a suspended operation"),
            // What looks for other command sets.
            (_, 0x55 | 0xaa | 0xf0) => return,
            (_, other) => return cx.guest_error(&format!("unknown command {other:#04x}")),
        }
        self.s.mode = Mode::Status;
    }

    fn amd(&mut self, before: Before, at: u64, command: u8, cx: &mut Cx<'_>) {
        let word = at / 2;
        let (first, second) = (command == 0xaa && word & 0x7ff == 0x555, command == 0x55 && word & 0x7ff == 0x2aa);
        self.s.before = match (before, command) {
            (Before::EraseUnlocked, 0x30) => return self.operate(Operation::Erase, &[(at, 0xff)], cx),
            (Before::EraseUnlocked, 0x10) => return self.erase_all(cx),
            (Before::Nothing, _) if first => Before::Unlocking,
            (Before::Unlocking, _) if second => Before::Unlocked,
            (Before::EraseSetUp, _) if first => Before::EraseUnlocking,
            (Before::EraseUnlocking, _) if second => Before::EraseUnlocked,
            (Before::Unlocked, 0x80) => Before::EraseSetUp,
            (Before::Unlocked, 0xa0) => Before::Program,
            (Before::Unlocked, 0x25) => return self.set_up_buffer(at),
            (Before::Unlocked, 0x90) => return self.s.mode = Mode::Id,
            (Before::Unlocked, 0x20 | 0x88 | 0xc0 | 0x50 | 0x60 | 0xb8) => {
                return cx.unimplemented(&format!("command {command:#04x}"));
            }
            (_, 0x98) if word & 0xff == 0x55 => return self.s.mode = Mode::Query,
            (_, 0xf0) => return self.s.mode = Mode::Array,
            // What looks for other command sets.
            (_, 0xff) => return,
            (_, other) => return cx.guest_error(&format!("unexpected command {other:#04x}")),
        };
    }

    /// What one access for reading gives, where it is not the array.
    fn read_unit(&mut self, at: u64, cx: &Cx<'_>) -> u16 {
        let word = (at / 2) & 0xff;
        let busy = self.is_busy(cx);
        if busy && self.chip.set == Set::Amd {
            self.s.toggle = !self.s.toggle;
            let [erase, toggle] = [if self.s.erasing { 0x08 } else { 0 }, if self.s.toggle { 0x44 } else { 0 }];
            let seven = if self.s.erasing { 0 } else { !self.s.last & 0x80 };
            return u16::from(seven | toggle | erase);
        }
        match self.s.mode {
            Mode::Status | Mode::Array => u16::from(if busy { self.s.status & !READY } else { self.s.status }),
            Mode::Query => u16::from(self.chip.query(word)),
            Mode::Id => match word {
                0 | 1 => self.chip.id[word as usize],
                14 | 15 if self.chip.set == Set::Amd => self.chip.id[word as usize - 12],
                _ => 0,
            },
        }
    }
}

impl NorPart for Flash {
    fn read(&mut self, at: u64, buffer: &mut [u8], cx: &mut Cx<'_>) {
        let at = at % self.chip.size;
        self.show(cx);
        if self.s.mode == Mode::Array && !self.is_busy(cx) {
            return self.array.read(at, buffer);
        }
        let unit = self.unit() as u64;
        let mut last = None;
        for (at, place) in (at..).zip(buffer) {
            // Bytes that lie in one unit are read together.
            let value = last.filter(|(n, _)| *n == at / unit).map_or_else(|| self.read_unit(at, cx), |(_, value)| value);
            last = Some((at / unit, value));
            *place = if unit == 2 && at % 2 == 1 { (value >> 8) as u8 } else { value as u8 };
        }
    }

    fn write(&mut self, at: u64, bytes: &[u8], cx: &mut Cx<'_>) {
        let unit = self.unit();
        for (i, part) in bytes.chunks(unit).enumerate() {
            self.write_unit((at + (i * unit) as u64) % self.chip.size, part, cx);
        }
        self.show(cx);
    }
}

impl Device for Flash {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.make(cx);
        let mut backing = std::mem::take(&mut self.s.backing);
        backing.forget();
        self.s = State { made: true, wp: self.s.wp, status: READY, backing, ..State::default() };
        self.show(cx);
    }

    fn line_changed(&mut self, _: usize, _: u32, level: bool, _: &mut Cx<'_>) {
        self.s.wp = level;
    }

    fn medium_changed(&mut self, _: usize, cx: &mut Cx<'_>) {
        self.make(cx);
        self.array.load(&mut self.s.backing, cx);
    }

    fn disk_done(&mut self, _: usize, tag: u32, result: DiskResult, _: &mut Cx<'_>) {
        self.s.backing.done(tag, &result);
        if self.s.backing.take_failed() {
            self.s.status |= if self.s.erasing { ERASE_FAILED } else { PROGRAM_FAILED };
        }
    }

    fn nor(&mut self) -> Option<&mut dyn NorPart> {
        Some(self)
    }

    crate::snapshot!(s, |flash, s| s.backing.fits(flash.array.size()));
}
