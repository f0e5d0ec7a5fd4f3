//! Cadence SPI controller (UG585 ch. 17, app. B.30), as a master.
//!
//! Guest -> transmit FIFO -> shift register, at the rate of the divider and the delays, started by hand or by data -> the part whose chip select is low,
//! by hand or as long as there are data -> receive FIFO -> guest. A byte leaves the transmit FIFO when it has been shifted out. What happened on the bus is
//! made up for when somebody looks; a timer is armed for the next interrupt that is enabled, and for the end of the data. Not modelled: slave mode, the
//! external clock, releasing the chip select between words (automatic, phase 0; its time passes).

use super::{IDLE, Levels, nanos};
use emu_machine::device::{Cx, Device, Hertz, Nanos};
use emu_machine::parts::PartBus;
use emu_machine::schema::{ClockSpec, Count, DeviceType, PortSpec, Props, RegionSpec, SlotSpec};
use emu_machine::{Access, BusError, Initiator};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

crate::regs!("cdns_spi");

/// `cdns,spi-r1p6`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x1000) }],
    inputs: &[PortSpec::one("reset", "held in reset"), PortSpec::one("ss-in", "another master holds the slave select input low")],
    outputs: &[PortSpec::one("irq", "interrupt")],
    clocks_in: &[ClockSpec { name: "ref", required: true, doc: "SPI reference clock" }],
    slots: &[SlotSpec { name: "cs", bus: PartBus::Spi, first: 0, last: 7, doc: "the chip select; 0 to 2 without a decoder" }],
    ..DeviceType::new("cdns,spi-r1p6", "Cadence SPI controller (UG585 ch. 17)", create)
};

const FIFO: usize = 128;
const NEXT: u32 = 0;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    tx: VecDeque<u8>,
    rx: VecDeque<u8>,
    /// The part whose chip select is low.
    selected: Option<u32>,
    /// When the byte that is being shifted is through, ns.
    ends: Option<u64>,
    /// Started by hand.
    started: bool,
    in_reset: bool,
    ss_in: bool,
}

impl State {
    fn is_sound(&self) -> bool {
        self.regs.is_sound() && self.tx.len() <= FIFO && self.rx.len() <= FIFO
    }
}

struct Spi {
    s: State,
}

fn create(_: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Spi { s: State::default() }))
}

impl Spi {
    fn on(&self) -> bool {
        self.s.regs.enable_on() && self.s.regs.config_master() && !self.s.in_reset
    }

    /// The chip select that the configuration names.
    fn named(&self) -> Option<u32> {
        let cs = self.s.regs.config_cs();
        if cs == 0xf {
            return None;
        }
        match self.s.regs.config_decode() {
            true => Some(cs & 7),
            // The lowest zero.
            false => Some(cs.trailing_ones()).filter(|n| *n < 3),
        }
    }

    /// Brings the chip selects to what they are to be.
    fn select(&mut self, cx: &mut Cx<'_>) {
        let manual = self.s.regs.config_manual_cs();
        let wanted = self.named().filter(|_| self.on() && (manual || self.s.ends.is_some()));
        if wanted == self.s.selected {
            return;
        }
        if let Some(old) = std::mem::replace(&mut self.s.selected, wanted) {
            cx.spi(0, old, |part, cx| part.select(false, cx));
        }
        if let Some(new) = wanted {
            cx.spi(0, new, |part, cx| part.select(true, cx));
        }
    }

    /// How long a byte takes, ns.
    fn byte_time(&self, first: bool, cx: &Cx<'_>) -> Option<u64> {
        let r = &self.s.regs;
        // The divider 0 is not allowed (UG585 B.30).
        let mut cycles = 8 * u64::from(2u32 << r.config_divider().max(1)) + u64::from(r.delay_after());
        if !r.config_manual_cs() && !r.config_phase() {
            cycles += u64::from(r.delay_nss());
        }
        if first {
            cycles += u64::from(r.delay_init()) + u64::from(r.delay_between());
        }
        nanos(cycles, cx.clock(0).0)
    }

    /// Begins to shift the next byte at `at`, if there is one.
    fn begin(&mut self, at: u64, first: bool, cx: &mut Cx<'_>) {
        let started = !self.s.regs.config_manual_start() || self.s.started;
        if self.s.tx.is_empty() {
            self.s.started = false;
        } else if started && self.on() && self.s.ends.is_none() {
            self.s.ends = self.byte_time(first, cx).map(|time| at.saturating_add(time));
        }
    }

    /// Does what has happened on the bus until now. Bounded by the FIFO, as nobody fills it meanwhile.
    fn catch_up(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now().0;
        while let Some(end) = self.s.ends.filter(|end| *end <= now) {
            self.s.ends = None;
            if let Some(byte) = self.s.tx.pop_front() {
                let answer = self.s.selected.and_then(|cs| cx.spi(0, cs, |part, cx| part.transfer(byte, cx)));
                match self.s.rx.len() < FIFO {
                    true => self.s.rx.push_back(answer.unwrap_or(IDLE)),
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
        self.begin(cx.now().0, self.s.selected.is_none(), cx);
        self.select(cx);
        let r = &self.s.regs;
        cx.set_line(0, 0, self.status_now() & r.mask != 0);
        let bytes = self.levels().next(r.mask);
        match (self.s.ends, bytes, self.byte_time(false, cx)) {
            (Some(end), Some(n), Some(time)) => cx.arm(NEXT, Nanos(end.saturating_add((n - 1).saturating_mul(time)))),
            _ => cx.disarm(NEXT),
        }
    }

    fn restart(&mut self, cx: &mut Cx<'_>) {
        let (in_reset, ss_in, selected) = (self.s.in_reset, self.s.ss_in, self.s.selected);
        self.s = State { in_reset, ss_in, selected, ..State::default() };
        self.update(cx);
    }

    /// Another master has the bus.
    fn mode_fail(&mut self) {
        if self.s.ss_in && self.on() && self.s.regs.config_mode_fail_enable() {
            self.s.regs.status |= Regs::STATUS_MODE_FAIL;
            self.s.regs.enable = 0;
            self.s.ends = None;
        }
    }
}

impl Hooks for Spi {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    fn config(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        self.s.started |= value & Regs::CONFIG_START != 0 && self.s.regs.config_manual_start();
        self.enabled(0, 0, cx);
    }

    fn enabled(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        if self.s.regs.enable_on() && !self.s.regs.config_master() {
            cx.unimplemented("slave mode");
        }
        if !self.on() {
            // The byte on the bus is lost to the part, not to the FIFO.
            self.s.ends = None;
        }
        self.mode_fail();
    }

    fn status(&mut self, _: &mut Cx<'_>) -> u32 {
        self.status_now()
    }

    fn transmit(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        match self.s.tx.len() < FIFO {
            true => self.s.tx.push_back(value as u8),
            false => cx.guest_error("a byte for the full transmit FIFO"),
        }
    }

    fn receive(&mut self, _: &mut Cx<'_>) -> u32 {
        self.s.rx.pop_front().unwrap_or(0).into()
    }
}

impl Device for Spi {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.restart(cx);
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, access: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        self.catch_up(cx);
        if access.initiator == Initiator::Debug && offset == Regs::RX {
            return Ok(self.s.rx.front().copied().unwrap_or(0).into());
        }
        let value = regs::read(self, offset, size, cx);
        self.update(cx);
        value
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        if self.s.in_reset {
            return Ok(());
        }
        self.catch_up(cx);
        let result = regs::write(self, offset, size, value, cx);
        self.update(cx);
        result
    }

    fn line_changed(&mut self, port: usize, _: u32, level: bool, cx: &mut Cx<'_>) {
        self.catch_up(cx);
        match port {
            0 => {
                self.s.in_reset = level;
                self.restart(cx);
            }
            _ => {
                self.s.ss_in = level;
                self.mode_fail();
                self.update(cx);
            }
        }
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
