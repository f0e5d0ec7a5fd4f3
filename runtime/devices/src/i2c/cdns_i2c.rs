//! Cadence I2C controller, revision 1.0 (Zynq-7000 TRM UG585 ch. 20 and app. B.22).
//!
//! Guest -> DATA -> FIFO of 16 bytes -> parts, and back, a byte each nine periods of the bus clock (CPU_1x / 22 / dividers), by guest timers. A
//! write to ADDRESS starts. With HOLD the controller keeps the clock low, instead of a stop, when there is nothing more to send, when all was
//! received, or when the FIFO is full; TO tells if that takes long. Interrupt: ISR & ~IMR. COMP and NACK are seen when the stop is over. After a read
//! with HOLD there is no COMP before HOLD is cleared, as in silicon (Linux's driver knows that). Not modelled: slave mode and 10-bit addresses (said
//! once), other masters (so ARB_LOST is never set), and the reads of their own that silicon does after TO (AMD AR 61664).

use super::listeners::Listeners;
use emu_machine::device::{Cx, Device, Hertz, Nanos};
use emu_machine::parts::PartBus;
use emu_machine::schema::{ClockSpec, Count, DeviceType, PortSpec, Props, RegionSpec, SlotSpec};
use emu_machine::{Access, BusError, Initiator};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

crate::regs!("cdns_i2c");

/// `cdns,i2c-r1p10`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x1000) }],
    inputs: &[PortSpec::one("reset", "held in reset while high")],
    outputs: &[PortSpec::one("irq", "interrupt")],
    clocks_in: &[ClockSpec { name: "pclk", required: true, doc: "CPU_1x" }],
    slots: &[SlotSpec { name: "bus", bus: PartBus::I2c, first: 0x03, last: 0x77, doc: "the 7-bit address" }],
    ..DeviceType::new("cdns,i2c-r1p10", "Cadence I2C controller (UG585 ch. 20)", create)
};

const FIFO: usize = 16;
/// Bytes received at which DATA is set: two fit.
const NEARLY_FULL: usize = FIFO - 2;
const SLOT: usize = 0;
const STEP: u32 = 0;
const TIMEOUT: u32 = 1;

/// What is on the bus.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
enum Phase {
    /// Nothing.
    #[default]
    Idle,
    /// A start and an address.
    Address,
    /// A byte to the parts.
    Send,
    /// A byte from them.
    Receive,
    /// The clock is held low.
    Held,
    /// A stop.
    Stop,
    /// Nothing, until the monitored address is tried again.
    Pause,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    fifo: VecDeque<u8>,
    phase: Phase,
    /// The transfer is a read.
    reading: bool,
    /// A read has all its bytes.
    complete: bool,
    /// The byte on its way out.
    shift: u8,
    /// It was written while the clock was held: an address before it is out makes a repeated start, and it comes after that.
    resumed: bool,
    /// Interrupts to come with the stop.
    at_stop: u32,
    /// A byte did not fit.
    overflow: bool,
    /// How many periods of the bus clock the phase takes, and when it is over.
    periods: u64,
    due: u64,
    listeners: Listeners,
    in_reset: bool,
}

impl State {
    fn is_sound(&self) -> bool {
        self.regs.is_sound() && self.fifo.len() <= FIFO && self.periods <= 0x100
    }
}

struct I2c {
    s: State,
}

fn create(_: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(I2c { s: State::default() }))
}

impl I2c {
    fn update(&mut self, cx: &mut Cx<'_>) {
        cx.set_line(0, 0, self.s.regs.isr & !self.s.regs.imr != 0);
    }

    fn holds(&self) -> bool {
        self.s.regs.control & Regs::CONTROL_HOLD != 0
    }

    fn monitors(&self) -> bool {
        self.s.regs.control & Regs::CONTROL_SLVMON != 0
    }

    /// Nanoseconds of so many periods of the bus clock; `None`: it stands still.
    fn nanos(&self, periods: u64, cx: &Cx<'_>) -> Option<u64> {
        let divisor = 22 * (u64::from(self.s.regs.control_divisor_a()) + 1) * (u64::from(self.s.regs.control_divisor_b()) + 1);
        let ticks = u128::from(periods * divisor) * 1_000_000_000;
        ticks.checked_div(cx.clock(0).0.into()).and_then(|n| u64::try_from(n).ok())
    }

    /// The next phase follows without a gap.
    fn enter(&mut self, phase: Phase, periods: u64, cx: &mut Cx<'_>) {
        (self.s.phase, self.s.periods) = (phase, periods);
        match self.nanos(periods, cx) {
            Some(nanos) => {
                self.s.due = self.s.due.saturating_add(nanos);
                cx.arm(STEP, Nanos(self.s.due));
            }
            None => cx.disarm(STEP),
        }
    }

    /// The next phase begins now.
    fn enter_now(&mut self, phase: Phase, periods: u64, cx: &mut Cx<'_>) {
        cx.disarm(TIMEOUT);
        self.s.due = cx.now().0;
        self.enter(phase, periods, cx);
    }

    fn hold(&mut self, cx: &mut Cx<'_>) {
        self.s.phase = Phase::Held;
        cx.disarm(STEP);
        if let Some(nanos) = self.nanos(self.s.regs.time_out.into(), cx) {
            cx.arm(TIMEOUT, Nanos(cx.now().0.saturating_add(nanos)));
        }
    }

    /// What comes after an acknowledged byte.
    fn go_on(&mut self, cx: &mut Cx<'_>) {
        let next = if self.s.reading {
            let more = self.s.regs.transfer_size != 0 && !self.s.complete;
            self.s.complete = !more;
            let room = self.s.fifo.len() < FIFO || !self.holds();
            (more && room).then_some(Phase::Receive)
        } else {
            let byte = self.s.fifo.pop_front();
            if self.holds() && self.s.fifo.len() <= 2 {
                self.s.regs.isr |= Regs::ISR_DATA;
            }
            self.s.shift = byte.unwrap_or(0);
            byte.map(|_| Phase::Send)
        };
        match next {
            Some(phase) => self.enter(phase, 9, cx),
            None if self.holds() => {
                if !self.s.reading {
                    self.s.regs.isr |= Regs::ISR_COMP;
                }
                self.hold(cx);
            }
            None => self.finish(Regs::ISR_COMP, cx),
        }
    }

    /// A stop, and these interrupts.
    fn finish(&mut self, interrupts: u32, cx: &mut Cx<'_>) {
        self.s.at_stop = interrupts;
        self.enter(Phase::Stop, 1, cx);
    }

    /// The guest did something about a clock that is held low.
    fn resume(&mut self, cx: &mut Cx<'_>) {
        let may_go_on = match self.s.reading {
            true => !self.s.complete && (self.s.fifo.len() < FIFO || !self.holds()),
            false => !self.s.fifo.is_empty(),
        };
        if self.s.phase == Phase::Held && (may_go_on || !self.holds()) {
            cx.disarm(TIMEOUT);
            self.s.due = cx.now().0;
            self.go_on(cx);
            self.s.resumed = self.s.phase == Phase::Send;
        }
    }

    fn received(&mut self, byte: u8, cx: &mut Cx<'_>) {
        let fits = self.s.fifo.len() < FIFO;
        let size = self.s.regs.transfer_size.saturating_sub(1);
        self.s.regs.transfer_size = size;
        self.s.complete = size == 0 || !fits;
        if fits {
            self.s.fifo.push_back(byte);
        } else {
            self.s.overflow = true;
            self.s.regs.isr |= Regs::ISR_RX_OVF;
        }
        if self.s.fifo.len() >= NEARLY_FULL {
            self.s.regs.isr |= Regs::ISR_DATA;
        }
        self.s.listeners.acknowledged(SLOT, !self.s.complete, cx);
        self.go_on(cx);
    }

    /// A phase is over.
    fn step(&mut self, cx: &mut Cx<'_>) {
        self.s.resumed = false;
        match self.s.phase {
            Phase::Idle | Phase::Held => {}
            Phase::Address => {
                let address = (self.s.regs.address & 0x7f) as u8;
                let found = self.s.listeners.start(SLOT, address, self.s.reading, cx);
                match (self.monitors(), found) {
                    (true, true) => self.finish(Regs::ISR_SLV_RDY, cx),
                    (true, false) => {
                        self.s.listeners.stop(SLOT, cx);
                        self.enter(Phase::Pause, u64::from(self.s.regs.slv_pause) + 1, cx);
                    }
                    (false, true) => self.go_on(cx),
                    (false, false) => self.finish(Regs::ISR_NACK, cx),
                }
            }
            Phase::Send => match self.s.listeners.write(SLOT, self.s.shift, cx) {
                true => self.go_on(cx),
                false => self.finish(Regs::ISR_NACK, cx),
            },
            Phase::Receive => {
                let byte = self.s.listeners.read(SLOT, cx);
                self.received(byte, cx);
            }
            Phase::Stop => {
                self.s.listeners.stop(SLOT, cx);
                self.s.phase = Phase::Idle;
                self.s.regs.isr |= std::mem::take(&mut self.s.at_stop);
            }
            Phase::Pause => self.enter(Phase::Address, 10, cx),
        }
    }
}

impl Hooks for I2c {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    fn control(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        if value & Regs::CONTROL_CLR_FIFO != 0 {
            self.s.fifo.clear();
            self.s.regs.transfer_size = 0;
            self.s.overflow = false;
        }
        if self.s.phase == Phase::Pause && !self.monitors() {
            self.s.phase = Phase::Idle;
            cx.disarm(STEP);
        }
        self.resume(cx);
        self.update(cx);
    }

    fn status(&mut self, _: &mut Cx<'_>) -> u32 {
        let reading = self.s.regs.control & Regs::CONTROL_RW != 0;
        let flags = [
            (Regs::STATUS_BA, self.s.phase != Phase::Idle),
            (Regs::STATUS_RXOVF, self.s.overflow),
            (Regs::STATUS_TXDV, !reading && !self.s.fifo.is_empty()),
            (Regs::STATUS_RXDV, reading && !self.s.fifo.is_empty()),
        ];
        flags.iter().filter(|f| f.1).fold(0, |all, f| all | f.0)
    }

    fn address(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        let control = self.s.regs.control;
        if self.s.in_reset {
            return;
        }
        if control & Regs::CONTROL_MS == 0 {
            return cx.unimplemented("slave mode");
        }
        if control & Regs::CONTROL_NEA == 0 {
            return cx.unimplemented("10-bit addresses");
        }
        match self.s.phase {
            Phase::Send if self.s.resumed && self.s.fifo.len() < FIFO => self.s.fifo.push_front(self.s.shift),
            Phase::Address | Phase::Send | Phase::Receive => return cx.guest_error("an address while a transfer goes on"),
            Phase::Stop => self.s.listeners.stop(SLOT, cx),
            Phase::Idle | Phase::Held | Phase::Pause => {}
        }
        self.s.reading = control & Regs::CONTROL_RW != 0 && !self.monitors();
        (self.s.complete, self.s.resumed) = (false, false);
        self.enter_now(Phase::Address, 10, cx);
    }

    fn pop(&mut self, cx: &mut Cx<'_>) -> u32 {
        let byte = if self.s.regs.control & Regs::CONTROL_RW != 0 { self.s.fifo.pop_front() } else { None };
        if byte.is_none() {
            self.s.regs.isr |= Regs::ISR_RX_UNF;
        }
        self.s.overflow = false;
        self.resume(cx);
        self.update(cx);
        byte.unwrap_or(0).into()
    }

    fn push(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        if self.s.fifo.len() < FIFO {
            self.s.fifo.push_back(value as u8);
        } else {
            self.s.regs.isr |= Regs::ISR_TX_OVF;
        }
        self.resume(cx);
        self.update(cx);
    }

    fn interrupts(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.update(cx);
    }

    /// Reading: bytes that are still to come. Sending: those that wait, so all but the one on its way.
    fn left(&mut self, _: &mut Cx<'_>) -> u32 {
        if self.s.regs.control & Regs::CONTROL_RW != 0 { self.s.regs.transfer_size } else { self.s.fifo.len() as u32 }
    }
}

impl Device for I2c {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        cx.disarm(STEP);
        cx.disarm(TIMEOUT);
        self.s = State { in_reset: self.s.in_reset, ..State::default() };
        self.update(cx);
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, access: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        if access.initiator == Initiator::Debug && offset == Regs::DATA {
            // A debugger looks without taking.
            return Ok(self.s.fifo.front().copied().unwrap_or(0).into());
        }
        regs::read(self, offset, size, cx)
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        regs::write(self, offset, size, value, cx)
    }

    fn line_changed(&mut self, _: usize, _: u32, level: bool, cx: &mut Cx<'_>) {
        self.s.in_reset = level;
        if level {
            // The lines are let go, which is a stop.
            self.s.listeners.stop(SLOT, cx);
            self.reset(cx);
        }
    }

    fn clock_changed(&mut self, _: usize, _: Hertz, cx: &mut Cx<'_>) {
        match self.s.phase {
            Phase::Idle => {}
            Phase::Held => self.hold(cx),
            phase => self.enter_now(phase, self.s.periods, cx),
        }
    }

    fn timer_expired(&mut self, timer: u32, cx: &mut Cx<'_>) {
        match timer {
            STEP => self.step(cx),
            _ => self.s.regs.isr |= Regs::ISR_TO,
        }
        self.update(cx);
    }

    crate::snapshot!(s);
}
