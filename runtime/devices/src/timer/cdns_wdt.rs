//! Cadence system watchdog timer (UG585 ch. 8.4, app. B.34).
//!
//! Clock / prescaler -> 24-bit down-counter, restarted by key; at zero -> status, interrupt pulse, and a reset of the machine if asked.
//! Writes to MODE and CONTROL need their access keys. Not modelled: the external reset pin and its pulse length.

use crate::clocked::Ticks;
use emu_machine::device::{Cx, Device, Hertz};
use emu_machine::schema::{ClockSpec, Count, DeviceType, PortSpec, Props, RegionSpec};
use emu_machine::{Access, BusError};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};

crate::regs!("cdns_wdt");

/// `cdns,wdt`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x1000) }],
    outputs: &[PortSpec::one("irq", "the counter reached zero")],
    clocks_in: &[ClockSpec { name: "pclk", required: true, doc: "CPU_1x" }],
    ..DeviceType::new("cdns,wdt", "Cadence system watchdog (UG585 8.4)", create)
};

const EXPIRE: u32 = 0;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    ticks: Ticks,
}

impl State {
    fn is_sound(&self) -> bool {
        self.regs.is_sound()
    }
}

struct Watchdog {
    s: State,
}

fn create(_: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Watchdog { s: State::default() }))
}

impl Watchdog {
    fn start(&mut self, cx: &mut Cx<'_>) {
        let r = &self.s.regs;
        let prescaler = 8u64 << (3 * (r.control & Regs::CONTROL_CLKSEL));
        let on = r.mode & Regs::MODE_WDEN != 0;
        let hz = if on { cx.clock(0) } else { Hertz(0) };
        let count = u64::from(r.control >> 2 & 0xfff) << 12 | 0xfff;
        self.s.ticks.set_rate(hz, prescaler, cx.now());
        self.s.ticks.set(0, cx.now());
        match self.s.ticks.when(count) {
            Some(at) if on => cx.arm(EXPIRE, at),
            _ => cx.disarm(EXPIRE),
        }
    }
}

impl Hooks for Watchdog {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    fn restart(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        if value & 0xffff == 0x1999 {
            self.s.regs.status = 0;
            cx.set_line(0, 0, false);
            self.start(cx);
        }
    }
}

impl Device for Watchdog {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.s = State::default();
        cx.set_line(0, 0, false);
        self.start(cx);
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
                self.start(cx);
            }
        } else if size == 4 && offset == 4 && v >> 14 & 0xfff == 0x248 {
            self.s.regs.control = v & 0x3fff;
        }
        regs::write(self, offset, size, value, cx)
    }

    fn clock_changed(&mut self, _: usize, _: Hertz, cx: &mut Cx<'_>) {
        self.start(cx);
    }

    fn timer_expired(&mut self, _: u32, cx: &mut Cx<'_>) {
        self.s.regs.status = Regs::STATUS_WDZ;
        if self.s.regs.mode & Regs::MODE_RSTEN != 0 {
            cx.reset_system();
        } else if self.s.regs.mode & Regs::MODE_IRQEN != 0 {
            cx.set_line(0, 0, true);
        }
    }

    crate::snapshot!(s);
}
