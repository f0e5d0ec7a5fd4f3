//! Zynq-7000 Quad-SPI flash controller (UG585 ch. 12, app. B.24).
//!
//! I/O mode: guest -> words of one to four bytes in the transmit FIFO -> the bus, one, two or four bits at a time as the flash command says that came
//! first -> one flash, or two behind one another (stacked), or two side by side (parallel: even bits to the lower one, odd bits to the upper) ->
//! receive FIFO -> guest. A word leaves the transmit FIFO when it has been shifted out; what happened on the bus is made up for when somebody looks.
//! Linear mode: a read of the region `linear` is one whole read command for that many bytes. Not modelled: the time linear reads take, executing code in
//! the linear region, the external clock, loopback delays.

use super::{IDLE, Levels, nanos};
use emu_machine::device::{Cx, Device, Hertz, Nanos};
use emu_machine::parts::{PartBus, SpiPart};
use emu_machine::schema::{ClockSpec, Count, DeviceType, PortSpec, Props, RegionSpec, SlotSpec};
use emu_machine::{Access, BusError, Initiator};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

crate::regs!("zynq_qspi");

/// `xlnx,zynq-qspi-1.0`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x1000) }, RegionSpec { name: "linear", size: Count::Fixed(32 << 20) }],
    inputs: &[PortSpec::one("reset", "held in reset")],
    outputs: &[PortSpec::one("irq", "interrupt"), PortSpec::one("wp", "WP# of the flash, while it is low")],
    clocks_in: &[ClockSpec { name: "ref", required: true, doc: "Quad-SPI reference clock" }],
    slots: &[SlotSpec { name: "cs", bus: PartBus::Spi, first: 0, last: 1, doc: "0 is the lower flash, 1 the upper" }],
    ..DeviceType::new("xlnx,zynq-qspi-1.0", "Zynq-7000 Quad-SPI flash controller (UG585 ch. 12)", create)
};

const FIFO: usize = 63;
const NEXT: u32 = 0;
/// Half of the linear region: one flash.
const HALF: u64 = 16 << 20;

/// A word on its way to the flash.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Word {
    /// First byte first.
    bytes: [u8; 4],
    count: u8,
}

/// Where a flash command is.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Place {
    opcode: u8,
    bytes: u32,
    /// In parallel: half of what goes to the two chips, or has come from them.
    half: [u8; 2],
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    tx: VecDeque<Word>,
    rx: VecDeque<u32>,
    /// Chip selects that are low, a bit for each.
    selected: u8,
    place: Place,
    /// When the word that is being shifted is through, ns.
    ends: Option<u64>,
    started: bool,
    /// The flash was left in continuous read mode by a linear read: the next needs no opcode.
    continuous: bool,
    in_reset: bool,
}

impl State {
    fn is_sound(&self) -> bool {
        let words = self.tx.iter().all(|w| (1..=4).contains(&w.count));
        self.regs.is_sound() && self.tx.len() <= FIFO && self.rx.len() <= FIFO && words
    }
}

struct Qspi {
    s: State,
}

fn create(_: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Qspi { s: State::default() }))
}

/// What the controller knows of a flash command: bytes of address, mode and dummy bytes, data lines for these and for the data, data go to the flash.
fn shape(opcode: u8) -> (u32, u32, u32, u32, bool) {
    match opcode {
        0x03 => (3, 0, 1, 1, false),
        0x13 => (4, 0, 1, 1, false),
        0x0b | 0x5a => (3, 1, 1, 1, false),
        0x0c => (4, 1, 1, 1, false),
        0x3b => (3, 1, 1, 2, false),
        0x3c => (4, 1, 1, 2, false),
        0x6b => (3, 1, 1, 4, false),
        0x6c => (4, 1, 1, 4, false),
        0xbb => (3, 1, 2, 2, false),
        0xbc => (4, 1, 2, 2, false),
        0xeb => (3, 3, 4, 4, false),
        0xec => (4, 3, 4, 4, false),
        0x90 => (3, 0, 1, 1, false),
        0xab => (0, 3, 1, 1, false),
        0x02 | 0x20 | 0x52 | 0xd8 => (3, 0, 1, 1, true),
        0x12 | 0x21 | 0xdc => (4, 0, 1, 1, true),
        0xa2 => (3, 0, 1, 2, true),
        0x32 => (3, 0, 1, 4, true),
        0x34 => (4, 0, 1, 4, true),
        0x38 => (3, 0, 4, 4, true),
        0x01 | 0x11 | 0x17 | 0x31 | 0x61 | 0x81 | 0xb1 | 0xc5 => (0, 0, 1, 1, true),
        _ => (0, 0, 1, 1, false),
    }
}

/// The bits of two bytes of a word, first byte first: even ones, odd ones.
fn split(bytes: [u8; 2]) -> [u8; 2] {
    let word = u16::from_be_bytes(bytes);
    let pick = |from: u32| (0..8).fold(0, |all, i| all | (word >> (2 * i + from) & 1) << i) as u8;
    [pick(0), pick(1)]
}

/// And back.
fn join(chips: [u8; 2]) -> [u8; 2] {
    let spread = |byte: u8| (0..8).fold(0u16, |all, i| all | u16::from(byte >> i & 1) << (2 * i));
    (spread(chips[0]) | spread(chips[1]) << 1).to_be_bytes()
}

impl Qspi {
    fn on(&self) -> bool {
        self.s.regs.enable_on() && !self.s.in_reset
    }

    fn parallel(&self) -> bool {
        self.s.regs.linear_two() && self.s.regs.linear_parallel()
    }

    /// Brings the chip selects to what they are to be.
    fn select(&mut self, cx: &mut Cx<'_>) {
        let r = &self.s.regs;
        let low = match r.config_manual_cs() {
            true => !r.config_cs(),
            false => self.s.ends.is_some(),
        };
        let wanted = match (r.linear_two(), r.linear_parallel(), r.linear_upper()) {
            _ if !low || !self.on() || r.linear_on() => 0,
            (true, true, _) => 3,
            (true, false, true) => 2,
            _ => 1,
        };
        let old = std::mem::replace(&mut self.s.selected, wanted);
        for cs in 0..2u32 {
            if (old & !wanted) >> cs & 1 != 0 {
                cx.spi(0, cs, |part, cx| part.select(false, cx));
            }
        }
        for cs in 0..2u32 {
            if (wanted & !old) >> cs & 1 != 0 {
                self.s.place = Place::default();
                cx.spi(0, cs, |part, cx| part.select(true, cx));
            }
        }
    }

    /// A byte to one chip, and one back.
    fn shift(&self, cs: u32, byte: u8, cx: &mut Cx<'_>) -> u8 {
        let selected = self.s.selected >> cs & 1 != 0;
        selected.then(|| cx.spi(0, cs, |part, cx| part.transfer(byte, cx))).flatten().unwrap_or(IDLE)
    }

    /// A byte of the guest's to the flash, and one back.
    fn transfer(&mut self, byte: u8, cx: &mut Cx<'_>) -> u8 {
        let n = self.s.place.bytes;
        self.s.place.bytes = n.saturating_add(1);
        if n == 0 {
            self.s.place.opcode = byte;
        }
        let (address, dummies, _, _, writes) = shape(self.s.place.opcode);
        let data = n.checked_sub(1 + address + dummies);
        let (true, Some(at)) = (self.s.selected == 3, data) else {
            // In parallel both hear commands and addresses.
            let upper = self.shift(1, byte, cx);
            let lower = self.shift(0, byte, cx);
            return if self.s.selected & 1 != 0 { lower } else { upper };
        };
        match (at % 2 == 0, writes) {
            (true, true) => self.s.place.half = [byte, IDLE],
            (false, true) => {
                let [lower, upper] = split([self.s.place.half[0], byte]);
                self.shift(0, lower, cx);
                self.shift(1, upper, cx);
            }
            (true, false) => {
                let chips = [self.shift(0, byte, cx), self.shift(1, byte, cx)];
                self.s.place.half = join(chips);
                return self.s.place.half[0];
            }
            (false, false) => return self.s.place.half[1],
        }
        IDLE
    }

    /// How long the words at the head of the FIFO take, up to the `n`th, ns; the first may be begun.
    fn time(&self, n: usize, first: bool, cx: &Cx<'_>) -> Option<u64> {
        let r = &self.s.regs;
        let divider = u64::from(2u32 << r.config_divider());
        let (mut opcode, mut at, mut cycles) = (self.s.place.opcode, self.s.place.bytes, 0);
        if self.s.selected == 0 {
            at = 0;
        }
        for word in self.s.tx.iter().take(n) {
            for byte in word.bytes.iter().take(word.count.into()) {
                opcode = if at == 0 { *byte } else { opcode };
                let (address, dummies, address_lines, data_lines, _) = shape(opcode);
                let lines = match at {
                    0 => 1,
                    at if at <= address + dummies => address_lines,
                    _ if self.parallel() => 2 * data_lines,
                    _ => data_lines,
                };
                at = at.saturating_add(1);
                cycles += u64::from(8 / lines) * divider;
            }
            cycles += u64::from(r.delay_after());
        }
        let delays = if first { u64::from(r.delay_init()) + u64::from(r.delay_between()) } else { 0 };
        nanos(cycles + delays, cx.clock(0).0)
    }

    /// Begins to shift the next word at `at`, if there is one.
    fn begin(&mut self, at: u64, first: bool, cx: &mut Cx<'_>) {
        let r = &self.s.regs;
        let started = !r.config_manual_start() || self.s.started;
        if self.s.tx.is_empty() {
            self.s.started = false;
        } else if started && self.on() && !r.linear_on() && self.s.ends.is_none() {
            self.s.ends = self.time(1, first, cx).map(|time| at.saturating_add(time));
        }
    }

    /// Does what has happened on the bus until now. Bounded by the FIFO, as nobody fills it meanwhile.
    fn catch_up(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now().0;
        while let Some(end) = self.s.ends.filter(|end| *end <= now) {
            self.s.ends = None;
            if let Some(word) = self.s.tx.pop_front() {
                let count = usize::from(word.count).min(4);
                let big = self.s.regs.config_big_endian();
                let mut answer = [0; 4];
                for (i, byte) in word.bytes.into_iter().take(count).enumerate() {
                    // The last byte is the most significant one, or the least.
                    answer[if big { i } else { 4 - count + i }] = self.transfer(byte, cx);
                }
                let answer = if big { u32::from_be_bytes(answer) } else { u32::from_le_bytes(answer) };
                match self.s.rx.len() < FIFO {
                    true => self.s.rx.push_back(answer),
                    false => self.s.regs.status |= Regs::STATUS_RX_OVERFLOW,
                }
            }
            self.begin(end, false, cx);
        }
        self.select(cx);
    }

    fn levels(&self) -> Levels {
        let r = &self.s.regs;
        let (tx_threshold, rx_threshold) = (r.tx_threshold, r.rx_threshold);
        Levels { tx: self.s.tx.len(), rx: self.s.rx.len(), tx_threshold, rx_threshold, size: FIFO }
    }

    fn status_now(&self) -> u32 {
        self.s.regs.status | self.levels().status()
    }

    /// After anything: goes on, and says when to look again.
    fn update(&mut self, cx: &mut Cx<'_>) {
        self.begin(cx.now().0, self.s.selected == 0, cx);
        self.select(cx);
        let r = &self.s.regs;
        cx.set_line(0, 0, self.status_now() & r.mask != 0);
        cx.set_line(1, 0, !r.gpio_wp_n());
        let words = self.levels().next(r.mask).unwrap_or(1);
        let times = (self.time(1, false, cx), self.time(words as usize, false, cx));
        match (self.s.ends, times) {
            (Some(end), (Some(first), Some(all))) => cx.arm(NEXT, Nanos(end.saturating_add(all.saturating_sub(first)))),
            _ => cx.disarm(NEXT),
        }
    }

    fn restart(&mut self, cx: &mut Cx<'_>) {
        let (in_reset, selected) = (self.s.in_reset, self.s.selected);
        self.s = State { in_reset, selected, ..State::default() };
        self.update(cx);
    }

    fn transmit(&mut self, count: u8, value: u32, cx: &mut Cx<'_>) {
        let bytes = if self.s.regs.config_big_endian() { value.to_be_bytes() } else { value.to_le_bytes() };
        match self.s.tx.len() < FIFO {
            true => self.s.tx.push_back(Word { bytes, count }),
            false => cx.guest_error("a word for the full transmit FIFO"),
        }
    }

    /// A linear read: `bytes` from this address.
    fn read_linear(&mut self, at: u64, bytes: &mut [u8], cx: &mut Cx<'_>) {
        let r = &self.s.regs;
        let (opcode, mode, dummies) = (r.linear_opcode() as u8, r.linear_mode_bits() as u8, r.linear_dummies());
        let (with_mode, with_opcode) = (r.linear_mode_enable(), !self.s.continuous);
        let command = |part: &mut dyn SpiPart, at: u64, bytes: &mut [u8], cx: &mut Cx<'_>| {
            part.select(true, cx);
            if with_opcode {
                part.transfer(opcode, cx);
            }
            for i in (0..3).rev() {
                part.transfer((at >> (8 * i)) as u8, cx);
            }
            if with_mode {
                part.transfer(mode, cx);
            }
            (0..dummies).for_each(|_| _ = part.transfer(IDLE, cx));
            bytes.iter_mut().for_each(|byte| *byte = part.transfer(IDLE, cx));
            part.select(false, cx);
        };
        self.s.continuous = with_mode && r.linear_mode_on();
        bytes.fill(IDLE);
        if !self.parallel() {
            let chip = if r.linear_two() { (at / HALF % 2) as u32 } else { 0 };
            cx.spi(0, chip, |part, cx| command(part, at % HALF, bytes, cx));
            return;
        }
        // Each pair of bytes comes of a byte of each chip.
        let skip = (at % 2) as usize;
        let pairs = (skip + bytes.len()).div_ceil(2).min(5);
        let mut chips = [[IDLE; 5]; 2];
        for (cs, chip) in chips.iter_mut().enumerate() {
            cx.spi(0, cs as u32, |part, cx| command(part, at / 2 % HALF, &mut chip[..pairs], cx));
        }
        let [lower, upper] = chips;
        let joined = lower.into_iter().zip(upper).flat_map(|(lower, upper)| join([lower, upper]));
        bytes.iter_mut().zip(joined.skip(skip)).for_each(|(byte, new)| *byte = new);
    }
}

impl Hooks for Qspi {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    fn config(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        self.s.started |= value & Regs::CONFIG_START != 0 && self.s.regs.config_manual_start();
        self.enabled(0, 0, cx);
    }

    fn enabled(&mut self, _: u32, _: u32, _: &mut Cx<'_>) {
        if !self.on() {
            (self.s.ends, self.s.continuous) = (None, false);
        }
    }

    fn status(&mut self, _: &mut Cx<'_>) -> u32 {
        self.status_now()
    }

    fn transmit_1(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        self.transmit(1, value, cx);
    }

    fn transmit_2(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        self.transmit(2, value, cx);
    }

    fn transmit_3(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        self.transmit(3, value, cx);
    }

    fn transmit_4(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        self.transmit(4, value, cx);
    }

    fn receive(&mut self, _: &mut Cx<'_>) -> u32 {
        self.s.rx.pop_front().unwrap_or(0)
    }

    fn linear(&mut self, _: u32, _: u32, _: &mut Cx<'_>) {
        self.s.continuous = false;
        if self.s.regs.linear_on() {
            self.s.ends = None;
        }
    }
}

impl Device for Qspi {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.restart(cx);
    }

    fn read(&mut self, region: usize, offset: u64, size: u8, access: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        self.catch_up(cx);
        if region == 1 {
            if !self.on() || !self.s.regs.linear_on() {
                cx.guest_error("a read of the linear region outside linear mode");
                return Ok(0);
            }
            let mut bytes = [0; 8];
            self.read_linear(offset, &mut bytes[..usize::from(size).min(8)], cx);
            return Ok(u64::from_le_bytes(bytes));
        }
        if access.initiator == Initiator::Debug && offset == Regs::RXD {
            return Ok(self.s.rx.front().copied().unwrap_or(0).into());
        }
        let value = regs::read(self, offset, size, cx);
        self.update(cx);
        value
    }

    fn write(&mut self, region: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        if region == 1 {
            self.s.regs.linear_status |= Regs::LINEAR_STATUS_WRITE_RECEIVED;
            cx.guest_error("a write to the linear region");
            return Err(BusError::Device);
        }
        if self.s.in_reset {
            return Ok(());
        }
        self.catch_up(cx);
        let result = regs::write(self, offset, size, value, cx);
        self.update(cx);
        result
    }

    fn line_changed(&mut self, _: usize, _: u32, level: bool, cx: &mut Cx<'_>) {
        self.catch_up(cx);
        self.s.in_reset = level;
        self.restart(cx);
    }

    fn clock_changed(&mut self, _: usize, _: Hertz, cx: &mut Cx<'_>) {
        self.catch_up(cx);
        self.update(cx);
    }

    fn timer_expired(&mut self, _: u32, cx: &mut Cx<'_>) {
        self.catch_up(cx);
        self.update(cx);
    }

    crate::snapshot!(s);
}
