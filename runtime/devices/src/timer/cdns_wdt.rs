//! Cadence system watchdog timer (UG585 ch. 8.4, app. B.34).
//!
//! Clock / prescaler -> 24-bit down-counter, restarted by key; at zero -> status, and pulses of the interrupt and reset lines, each as long as
//! MODE says. What the reset line resets is the board's affair. Writes to MODE and CONTROL need their access keys; a new CONTROL
//! counts from the next restart on. The counter stays at zero until it is restarted.

use crate::clocked::Ticks;
use emu_machine::device::{Cx, Device, Hertz, Nanos};
use emu_machine::schema::{ClockSpec, Count, DeviceType, PortSpec, Props, RegionSpec};
use emu_machine::{Access, BusError};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};

crate::regs!("cdns_wdt");

/// `cdns,wdt`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x1000) }],
    outputs: &[PortSpec::one("irq", "the counter reached zero"), PortSpec::one("reset", "asks for a reset of the system")],
    clocks_in: &[ClockSpec { name: "pclk", required: true, doc: "CPU_1x" }],
    ..DeviceType::new("cdns,wdt", "Cadence system watchdog (UG585 8.4)", create)
};

/// Timers.
const EXPIRE: u32 = 0;
const PULSE: u32 = 1;

/// Outputs.
const IRQ: usize = 0;
const RESET: usize = 1;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    ticks: Ticks,
    /// CONTROL at the last restart.
    control: u32,
    /// It is at zero, and stays.
    expired: bool,
    /// When the pulse of each output ends; 0: it is low.
    pulses: [Nanos; 2],
}

impl State {
    fn is_sound(&self) -> bool {
        self.regs.is_sound() && self.ticks.is_sound()
    }
}

struct Watchdog {
    s: State,
}

fn create(_: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Watchdog { s: State::default() }))
}

impl Watchdog {
    /// Counts from the top, if it is on.
    fn restart(&mut self, cx: &mut Cx<'_>) {
        self.s.control = self.s.regs.control;
        self.s.expired = false;
        self.s.ticks.set(0, cx.now());
        self.schedule(cx);
    }

    /// Arms the moment of zero.
    fn schedule(&mut self, cx: &mut Cx<'_>) {
        let on = self.s.regs.mode & Regs::MODE_WDEN != 0 && !self.s.expired;
        let prescaler = 8u64 << (3 * (self.s.control & Regs::CONTROL_CLKSEL));
        self.s.ticks.set_rate(if on { cx.clock(0) } else { Hertz(0) }, prescaler, cx.now());
        let count = u64::from(self.s.control >> 2 & 0xfff) << 12 | 0xfff;
        match self.s.ticks.when(count) {
            Some(at) if on => cx.arm(EXPIRE, at),
            _ => cx.disarm(EXPIRE),
        }
    }

    /// Raises an output for so many clocks.
    fn pulse(&mut self, output: usize, clocks: u64, cx: &mut Cx<'_>) {
        let nanos = (clocks * 1_000_000_000).div_ceil(cx.clock(0).0.max(1));
        self.s.pulses[output] = Nanos(cx.now().0.saturating_add(nanos));
        cx.set_line(output, 0, true);
        self.end_pulses(cx);
    }

    /// Lowers outputs whose pulses are over, and arms the end of the next.
    fn end_pulses(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        for (output, end) in self.s.pulses.iter_mut().enumerate().filter(|(_, end)| **end <= now) {
            *end = Nanos(0);
            cx.set_line(output, 0, false);
        }
        match self.s.pulses.iter().filter(|end| end.0 != 0).min() {
            Some(end) => cx.arm(PULSE, *end),
            None => cx.disarm(PULSE),
        }
    }
}

impl Hooks for Watchdog {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    fn restart_key(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        if value & 0xffff == 0x1999 {
            self.s.regs.status = 0;
            self.restart(cx);
        }
    }
}

impl Device for Watchdog {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.s = State::default();
        self.end_pulses(cx);
        self.restart(cx);
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, _: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        regs::read(self, offset, size, cx)
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        let v = value as u32;
        if size == 4 && offset == 0 && v >> 12 & 0xfff == 0xabc {
            let was = self.s.regs.mode & Regs::MODE_WDEN;
            self.s.regs.mode = v & 0x1ff;
            if self.s.regs.mode & Regs::MODE_WDEN != was {
                self.restart(cx);
            }
        } else if size == 4 && offset == 4 && v >> 14 & 0xfff == 0x248 {
            self.s.regs.control = v & 0x3fff;
        }
        regs::write(self, offset, size, value, cx)
    }

    fn clock_changed(&mut self, _: usize, _: Hertz, cx: &mut Cx<'_>) {
        self.schedule(cx);
    }

    fn timer_expired(&mut self, timer: u32, cx: &mut Cx<'_>) {
        if timer == PULSE {
            return self.end_pulses(cx);
        }
        self.s.regs.status = Regs::STATUS_WDZ;
        self.s.expired = true;
        self.schedule(cx);
        let mode = self.s.regs.mode;
        if mode & Regs::MODE_IRQEN != 0 {
            self.pulse(IRQ, 4 << self.s.regs.mode_irqln(), cx);
        }
        if mode & Regs::MODE_RSTEN != 0 {
            self.pulse(RESET, 2 << self.s.regs.mode_rstln(), cx);
        }
    }

    crate::snapshot!(s);
}
