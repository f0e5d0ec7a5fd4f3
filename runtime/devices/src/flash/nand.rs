//! NAND flash: ONFI 1.0 ch. 5; the chips are in `nand_chips`.
//!
//! Command, address and data cycles -> the page register <-> the array: pages with their spare bytes, one after the other, as in an image. Programs
//! and erases change the array at once; the chip is busy for as long as the data sheet says (times `time-percent`), and until the drive has what changed.
//! Not modelled: caches of pages, internal moves of pages, several dies and planes, one-time programmable pages, locks, error correction of its own, wear, that
//! pages must be programmed in order and not too often.

use super::array::{Array, Backing};
use super::nand_chips::{CHIPS, Chip};
use super::{TIME, percent};
use emu_machine::backend::DiskResult;
use emu_machine::device::{Cx, Device, Nanos};
use emu_machine::parts::{NandPart, PartBus};
use emu_machine::schema::{Count, DeviceType, MemorySpec, PortSpec, PropKind, PropSpec, Props};
use serde::{Deserialize, Serialize};

const BAD: PropSpec = PropSpec {
    name: "bad-blocks",
    kind: PropKind::Text,
    default: Some(""),
    doc: "blocks that are bad from the factory, `\"7 1030\"`: they are marked, and programs and erases of them fail",
};
const SERIAL: PropSpec = PropSpec {
    name: "serial",
    kind: PropKind::Int { min: 0, max: 0xffff_ffff },
    default: Some("1"),
    doc: "what makes its unique identification unique",
};
/// The device type of one chip of the table.
struct Of<const N: usize>;

impl<const N: usize> Of<N> {
    const MEMORIES: &'static [MemorySpec] = &[MemorySpec { name: "array", size: Count::Fixed(CHIPS[N].size()) }];
    const TYPE: DeviceType = DeviceType {
        part: Some(PartBus::Nand),
        props: &[BAD, SERIAL, TIME],
        inputs: &[PortSpec::one("wp", "WP#, while it is low")],
        drives: &["flash"],
        memories: Self::MEMORIES,
        ..DeviceType::new(CHIPS[N].name, CHIPS[N].doc, create::<N>)
    };
}

/// One type for each chip.
pub const TYPES: [DeviceType; CHIPS.len()] = [Of::<0>::TYPE, Of::<1>::TYPE, Of::<2>::TYPE, Of::<3>::TYPE];

fn create<const N: usize>(props: &Props) -> Result<Box<dyn Device>, String> {
    let chip = &CHIPS[N];
    let mut bad = Vec::new();
    for word in props.text(BAD.name).split([' ', ',']).filter(|w| !w.is_empty()) {
        let block = word.parse().ok().filter(|b| *b < chip.blocks);
        bad.push(block.ok_or_else(|| format!("`{}`: `{word}` is no block, 0 to {}", BAD.name, chip.blocks - 1))?);
    }
    let unique = format!("emu NAND{:08x}", props.int(SERIAL.name)).into_bytes();
    let s = State { page: vec![0xff; chip.stride() as usize], ..State::default() };
    Ok(Box::new(Nand { chip, bad, percent: percent(props), unique, parameters: chip.parameters(), array: Array::new(chip.size()), s }))
}

/// Commands.
mod command {
    pub const READ: u8 = 0x00;
    pub const CHANGE_READ_COLUMN: u8 = 0x05;
    pub const PROGRAM_CONFIRM: u8 = 0x10;
    pub const READ_CONFIRM: u8 = 0x30;
    pub const ERASE: u8 = 0x60;
    pub const READ_STATUS: u8 = 0x70;
    pub const PROGRAM: u8 = 0x80;
    pub const CHANGE_WRITE_COLUMN: u8 = 0x85;
    pub const READ_ID: u8 = 0x90;
    pub const ERASE_CONFIRM: u8 = 0xd0;
    pub const CHANGE_READ_COLUMN_CONFIRM: u8 = 0xe0;
    pub const READ_PARAMETER_PAGE: u8 = 0xec;
    pub const READ_UNIQUE_ID: u8 = 0xed;
    pub const GET_FEATURES: u8 = 0xee;
    pub const SET_FEATURES: u8 = 0xef;
    pub const RESET: u8 = 0xff;
    /// What ONFI has beyond: change row address, copyback, cache reads and programs, status of a die, interleaving.
    pub const OPTIONAL: [u8; 8] = [0x11, 0x15, 0x31, 0x35, 0x3f, 0x78, 0xd1, 0xe1];
}
use command::*;

/// Bits of the status.
const FAIL: u8 = 0x01;
const READY: u8 = 0x60;
const WRITABLE: u8 = 0x80;
/// The feature that can be set.
const TIMING_MODE: u8 = 0x01;

/// What data cycles read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Output {
    #[default]
    Nothing,
    Id,
    Onfi,
    Parameters,
    Unique,
    Features,
    Page,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    /// WP# is low.
    wp: bool,
    /// The command whose addresses, data or confirmation come next.
    command: Option<u8>,
    /// Its address cycles so far.
    cycles: u8,
    address: [u8; 5],
    output: Output,
    /// Data cycles read the status instead.
    status: bool,
    /// Where the next data cycle reads or writes in what is read or written.
    column: u32,
    row: u32,
    /// A page register that is filled for a program.
    programming: bool,
    /// The page register, as long as a page with its spare bytes.
    page: Vec<u8>,
    /// The feature that is read or written, and the timing mode's parameters.
    feature: u8,
    timing: [u8; 4],
    /// The time of an operation is not over.
    working: bool,
    /// The last program or erase failed.
    failed: bool,
    backing: Backing,
}

impl State {
    fn is_sound(&self) -> bool {
        self.cycles <= 5
    }
}

struct Nand {
    chip: &'static Chip,
    bad: Vec<u32>,
    percent: u64,
    unique: Vec<u8>,
    parameters: [u8; 256],
    array: Array,
    s: State,
}

impl Nand {
    /// Busy for so many nanoseconds.
    fn work(&mut self, nanos: u64, cx: &mut Cx<'_>) {
        self.s.working = true;
        cx.arm(0, Nanos(cx.now().0.saturating_add((nanos * self.percent / 100).max(1))));
    }

    /// Busy for the time of a read, program or erase.
    fn work_for(&mut self, which: usize, cx: &mut Cx<'_>) {
        let micros = self.chip.times.get(which).copied().unwrap_or(0);
        self.work(u64::from(micros) * 1000, cx);
    }

    /// After time, or the drive, did its part.
    fn settle(&mut self, cx: &mut Cx<'_>) {
        if self.is_ready() {
            self.s.failed |= self.s.backing.take_failed();
            cx.notify();
        }
    }

    /// Where in the array a row begins.
    fn at(&self, row: u32) -> u64 {
        u64::from(row) * u64::from(self.chip.stride())
    }

    /// Address cycles as a column, and those from `from` on as a row.
    fn column(&self) -> u32 {
        u32::from(self.s.address[0]) | u32::from(self.s.address[1]) << 8
    }

    fn row(&self, from: usize) -> u32 {
        let bytes = self.s.address.iter().skip(from).take(self.chip.row_cycles().into());
        bytes.rev().fold(0, |row, byte| row << 8 | u32::from(*byte)) % self.chip.rows()
    }

    /// Whether a block may change; if it is a bad one, that failed.
    fn may_change(&mut self, row: u32, cx: &mut Cx<'_>) -> bool {
        if self.s.wp {
            cx.guest_error("a program or an erase of a chip that is write-protected");
            return false;
        }
        self.s.failed = self.bad.contains(&(row / self.chip.pages));
        !self.s.failed
    }

    fn program(&mut self, cx: &mut Cx<'_>) {
        let (row, at) = (self.s.row, self.at(self.s.row));
        self.work_for(1, cx);
        if self.may_change(row, cx) {
            self.array.program(at, &self.s.page);
            self.array.save(&mut self.s.backing, at, self.chip.stride().into(), cx);
        }
    }

    fn erase(&mut self, cx: &mut Cx<'_>) {
        let row = self.row(0) / self.chip.pages * self.chip.pages;
        let (at, len) = (self.at(row), u64::from(self.chip.stride()) * u64::from(self.chip.pages));
        self.work_for(2, cx);
        if self.may_change(row, cx) {
            self.array.erase(at, len);
            self.array.save(&mut self.s.backing, at, len, cx);
        }
    }

    /// As after power came; the array, and what the drive does, stay.
    fn restart(&mut self) {
        let old = std::mem::take(&mut self.s);
        self.s = State { wp: old.wp, backing: old.backing, page: vec![0xff; self.chip.stride() as usize], ..State::default() };
    }

    /// Marks the bad blocks, as the factory does: the first spare byte of their first two pages is 0.
    fn mark(&self) {
        for row in self.bad.iter().flat_map(|block| [block * self.chip.pages, block * self.chip.pages + 1]) {
            self.array.program(self.at(row) + u64::from(self.chip.page), &[0]);
        }
    }

    /// The second command of two.
    fn confirm(&mut self, first: Option<u8>, second: u8, cx: &mut Cx<'_>) {
        let cycles = usize::from(self.s.cycles);
        let row_cycles = usize::from(self.chip.row_cycles());
        match (first, second) {
            (Some(READ), READ_CONFIRM) if cycles == 2 + row_cycles => {
                (self.s.column, self.s.row) = (self.column(), self.row(2));
                self.array.read(self.at(self.s.row), &mut self.s.page);
                self.s.output = Output::Page;
                self.work_for(0, cx);
            }
            (Some(CHANGE_READ_COLUMN), CHANGE_READ_COLUMN_CONFIRM) if cycles == 2 => self.s.column = self.column(),
            (Some(PROGRAM | CHANGE_WRITE_COLUMN), PROGRAM_CONFIRM) if self.s.programming => self.program(cx),
            (Some(ERASE), ERASE_CONFIRM) if cycles == row_cycles => self.erase(cx),
            (_, READ_CONFIRM | CHANGE_READ_COLUMN_CONFIRM | PROGRAM_CONFIRM | ERASE_CONFIRM) => {
                cx.guest_error(&format!("command {second:#04x} without the command and the addresses before it"));
            }
            (_, other) if OPTIONAL.contains(&other) => cx.unimplemented(&format!("command {other:#04x}")),
            (_, other) => cx.guest_error(&format!("unknown command {other:#04x}")),
        }
        self.s.programming = false;
    }

    /// All that data cycles read is one after the other, again and again.
    fn byte(&self, output: Output, column: u32) -> u8 {
        let n = column as usize;
        let of = |bytes: &[u8]| bytes.get(n).copied().unwrap_or(0);
        match output {
            Output::Nothing => 0xff,
            Output::Id => of(self.chip.id),
            Output::Onfi => of(b"ONFI"),
            Output::Parameters => self.parameters[n % 256],
            Output::Unique => self.unique.get(n % 16).map_or(0, |b| if (n / 16).is_multiple_of(2) { *b } else { !b }),
            Output::Features if self.s.feature == TIMING_MODE => of(&self.s.timing),
            Output::Features => 0,
            Output::Page => self.s.page.get(n).copied().unwrap_or(0xff),
        }
    }
}

impl NandPart for Nand {
    fn command(&mut self, command: u8, cx: &mut Cx<'_>) {
        if command == RESET {
            self.restart();
            return self.work(5000, cx);
        }
        if command == READ_STATUS {
            self.s.status = true;
            return;
        }
        if !self.is_ready() {
            return cx.guest_error("a command while the chip is busy");
        }
        self.s.status = false;
        let first = self.s.command.take();
        match command {
            READ | CHANGE_READ_COLUMN | ERASE | READ_ID | READ_PARAMETER_PAGE | READ_UNIQUE_ID | GET_FEATURES | SET_FEATURES => {
                self.s.programming = false;
            }
            PROGRAM => {
                self.s.programming = true;
                self.s.output = Output::Nothing;
                (self.s.row, self.s.column) = (0, 0);
                self.s.page.fill(0xff);
            }
            CHANGE_WRITE_COLUMN if self.s.programming => {}
            _ => return self.confirm(first, command, cx),
        }
        (self.s.command, self.s.cycles, self.s.address) = (Some(command), 0, [0; 5]);
    }

    fn address(&mut self, byte: u8, cx: &mut Cx<'_>) {
        let n = self.s.cycles;
        let Some(place) = self.s.address.get_mut(usize::from(n)) else { return };
        *place = byte;
        self.s.cycles = n + 1;
        let output = match (self.s.command, n) {
            (Some(READ | CHANGE_READ_COLUMN | ERASE), _) => return,
            (Some(PROGRAM), 2..) => return self.s.row = self.row(2),
            (Some(PROGRAM | CHANGE_WRITE_COLUMN), _) => return self.s.column = self.column(),
            (Some(READ_ID), 0) => {
                if byte == 0x20 {
                    Output::Onfi
                } else {
                    Output::Id
                }
            }
            (Some(READ_PARAMETER_PAGE), 0) => Output::Parameters,
            (Some(READ_UNIQUE_ID), 0) => Output::Unique,
            (Some(GET_FEATURES), 0) => Output::Features,
            (Some(SET_FEATURES), 0) => Output::Nothing,
            _ => return cx.guest_error("an address cycle that no command wants"),
        };
        (self.s.output, self.s.column, self.s.feature) = (output, 0, byte);
        match output {
            Output::Parameters | Output::Unique => self.work_for(0, cx),
            Output::Features => self.work(1000, cx),
            _ => {}
        }
    }

    fn write(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
        for byte in bytes {
            let n = self.s.column as usize;
            self.s.column = self.s.column.saturating_add(1);
            match self.s.command {
                Some(PROGRAM | CHANGE_WRITE_COLUMN) if self.s.programming => {
                    if let Some(place) = self.s.page.get_mut(n) {
                        *place = *byte;
                    }
                }
                Some(SET_FEATURES) if self.s.cycles == 1 => {
                    if let Some(place) = self.s.timing.get_mut(n).filter(|_| self.s.feature == TIMING_MODE) {
                        *place = *byte;
                    }
                    if n == 3 {
                        self.work(1000, cx);
                    }
                }
                _ => return cx.guest_error("data that no command wants"),
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8], cx: &mut Cx<'_>) {
        if self.s.status {
            let ready = if self.is_ready() { READY } else { 0 };
            let failed = if self.s.failed { FAIL } else { 0 };
            return buffer.fill(ready | failed | if self.s.wp { 0 } else { WRITABLE });
        }
        if !self.is_ready() {
            cx.guest_error("data are read while the chip is busy");
            return buffer.fill(0xff);
        }
        for place in buffer {
            *place = self.byte(self.s.output, self.s.column);
            self.s.column = self.s.column.saturating_add(1);
        }
    }

    fn is_ready(&self) -> bool {
        !self.s.working && !self.s.backing.is_busy()
    }
}

impl Device for Nand {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.array.find(cx);
        self.restart();
        self.s.backing.forget();
        self.mark();
    }

    fn line_changed(&mut self, _: usize, _: u32, level: bool, _: &mut Cx<'_>) {
        self.s.wp = level;
    }

    fn timer_expired(&mut self, _: u32, cx: &mut Cx<'_>) {
        self.s.working = false;
        self.settle(cx);
    }

    fn medium_changed(&mut self, _: usize, cx: &mut Cx<'_>) {
        self.array.load(&mut self.s.backing, cx);
        self.mark();
    }

    fn disk_done(&mut self, _: usize, tag: u32, result: DiskResult, cx: &mut Cx<'_>) {
        self.s.backing.done(tag, &result);
        self.settle(cx);
    }

    fn nand(&mut self) -> Option<&mut dyn NandPart> {
        Some(self)
    }

    crate::snapshot!(s, |nand, s| s.page.len() == nand.chip.stride() as usize && s.backing.fits(nand.array.size()));
}
