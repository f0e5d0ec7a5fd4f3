//! Cortex-A9 MPCore private timer and watchdog (Cortex-A9 MPCore TRM r4p1, 4.2): a 32-bit down-counter for each CPU.
//!
//! PERIPHCLK and the prescaler -> counter; at zero -> event flag -> interrupt (timer ID 29, watchdog ID 30), reload or stop. In
//! watchdog mode zero asks for a reset instead, by a pulse of its reset line; the magic sequence 0x12345678, 0x87654321 leaves that mode. Each CPU sees its
//! own copy at the same address.

use crate::clocked::Ticks;
use emu_machine::device::{Cx, Device, Hertz};
use emu_machine::schema::{ClockSpec, Count, DeviceType, PortSpec, PropKind, PropSpec, Props, RegionSpec};
use emu_machine::{Access, BusError};
use serde::{Deserialize, Serialize};

const PROPS: &[PropSpec] =
    &[PropSpec { name: "ncpu", kind: PropKind::Int { min: 1, max: 8 }, default: Some("2"), doc: "CPUs: one counter each" }];
const CLOCKS: &[ClockSpec] = &[ClockSpec { name: "periphclk", required: true, doc: "PERIPHCLK: half the CPU clock" }];
const OUTPUTS: &[PortSpec] = &[PortSpec { name: "irq", count: Count::Fixed(1), first: 0, per_cpu: true, doc: "the counter of each CPU" }];

/// `arm,a9-private-timer`.
pub const TIMER: DeviceType = DeviceType {
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x20) }],
    props: PROPS,
    outputs: OUTPUTS,
    clocks_in: CLOCKS,
    ..DeviceType::new("arm,a9-private-timer", "Cortex-A9 private timer (MPCore TRM 4.2)", create_timer)
};

/// `arm,a9-private-wdt`.
pub const WATCHDOG: DeviceType = DeviceType {
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x20) }],
    props: PROPS,
    outputs: &[
        OUTPUTS[0],
        PortSpec {
            name: "reset",
            count: Count::Prop("ncpu"),
            first: 0,
            per_cpu: false,
            doc: "WDRESETREQ: a CPU's watchdog asks for a reset",
        },
    ],
    clocks_in: CLOCKS,
    ..DeviceType::new("arm,a9-private-wdt", "Cortex-A9 private watchdog (MPCore TRM 4.2)", create_watchdog)
};

const ENABLE: u32 = 1;
const AUTO: u32 = 2;
const IRQ: u32 = 4;
const WATCHDOG_MODE: u32 = 8;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Counter {
    load: u32,
    control: u32,
    event: bool,
    reset_status: bool,
    /// What the magic sequence has seen so far.
    unlocking: bool,
    /// Runs while the counter is enabled.
    ticks: Ticks,
    /// The tick at which the counter is zero: its value is `zero - ticks`.
    zero: u64,
    /// It counts down to `zero`; false once it is there and stays.
    counting: bool,
    /// It was reloaded, and shows 0 in the tick this takes.
    reloaded: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    each: Vec<Counter>,
}

impl State {
    fn is_sound(&self) -> bool {
        (1..=8).contains(&self.each.len())
    }
}

struct Timer {
    s: State,
    ncpu: usize,
    watchdog: bool,
}

fn create(props: &Props, watchdog: bool) -> Result<Box<dyn Device>, String> {
    let ncpu = props.int("ncpu").max(1) as usize;
    Ok(Box::new(Timer { s: State { each: vec![Counter::default(); ncpu] }, ncpu, watchdog }))
}

fn create_timer(props: &Props) -> Result<Box<dyn Device>, String> {
    create(props, false)
}

fn create_watchdog(props: &Props) -> Result<Box<dyn Device>, String> {
    create(props, true)
}

impl Counter {
    fn value(&self, now: u64) -> u32 {
        match u32::try_from(self.zero.saturating_sub(now)) {
            Ok(left) if !self.reloaded || left <= self.load => left,
            _ => 0,
        }
    }

    fn set_rate(&mut self, cx: &mut Cx<'_>) {
        let divisor = u64::from((self.control >> 8) & 0xff) + 1;
        let hz = if self.control & ENABLE != 0 { cx.clock(0) } else { Hertz(0) };
        self.ticks.set_rate(hz, divisor, cx.now());
    }

    fn start(&mut self, from: u32, cx: &mut Cx<'_>) {
        self.zero = self.ticks.at(cx.now()).wrapping_add(from.into());
        self.counting = from > 0;
        self.reloaded = false;
    }
}

impl Timer {
    /// Lets the counter run up to now, and arms the next zero.
    fn update(&mut self, cpu: usize, cx: &mut Cx<'_>) {
        let watchdog = self.watchdog;
        let c = &mut self.s.each[cpu];
        let now = c.ticks.at(cx.now());
        if c.ticks.runs() && c.counting && now >= c.zero {
            c.event = true;
            if watchdog && c.control & WATCHDOG_MODE != 0 {
                c.reset_status = true;
                cx.set_line(1, cpu as u32, true);
                cx.set_line(1, cpu as u32, false);
            }
            // A reload takes a tick of its own: the period is load + 1.
            c.counting = c.control & AUTO != 0 && c.load > 0;
            if c.counting {
                c.reloaded = true;
                let period = u64::from(c.load) + 1;
                c.zero = c.zero.saturating_add(((now - c.zero) / period + 1).saturating_mul(period));
            }
        }
        cx.set_line(0, cpu as u32, c.event && c.control & IRQ != 0 && c.control & WATCHDOG_MODE == 0);
        match c.ticks.when(c.zero) {
            Some(at) if c.counting => cx.arm(cpu as u32, at),
            _ => cx.disarm(cpu as u32),
        }
    }
}

impl Device for Timer {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        // The reset status of the watchdog survives the reset it caused.
        let kept: Vec<bool> = self.s.each.iter().map(|c| c.reset_status).collect();
        self.s.each = kept.into_iter().map(|reset_status| Counter { reset_status, ..Counter::default() }).collect();
        for cpu in 0..self.ncpu {
            self.update(cpu, cx);
        }
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, access: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        if size != 4 || !offset.is_multiple_of(4) {
            return Err(BusError::Device);
        }
        let cpu = access.cpu_index().min(self.ncpu - 1);
        self.update(cpu, cx);
        let c = &self.s.each[cpu];
        Ok(match offset {
            0x00 => c.load.into(),
            0x04 => c.value(c.ticks.at(cx.now())).into(),
            0x08 => c.control.into(),
            0x0c => c.event.into(),
            0x10 => c.reset_status.into(),
            _ => 0,
        })
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, access: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        if size != 4 || !offset.is_multiple_of(4) {
            return Err(BusError::Device);
        }
        let cpu = access.cpu_index().min(self.ncpu - 1);
        self.update(cpu, cx);
        let watchdog = self.watchdog;
        let c = &mut self.s.each[cpu];
        let value = value as u32;
        match offset {
            0x00 => {
                c.load = value;
                c.start(value, cx);
            }
            // In watchdog mode the counter is only reloaded through the load register.
            0x04 if c.control & WATCHDOG_MODE == 0 => c.start(value, cx),
            0x08 => {
                // Watchdog mode is left by the magic sequence only.
                let kept = c.control & WATCHDOG_MODE;
                let left = c.value(c.ticks.at(cx.now()));
                c.control = value & if watchdog { 0xff0f } else { 0xff07 } | kept;
                let from = if left == 0 && c.control & AUTO != 0 { c.load } else { left };
                c.start(from, cx);
                c.set_rate(cx);
            }
            0x0c if value & 1 != 0 => c.event = false,
            0x10 if value & 1 != 0 => c.reset_status = false,
            0x14 if watchdog => {
                if c.unlocking && value == 0x8765_4321 {
                    c.control &= !WATCHDOG_MODE;
                }
                c.unlocking = value == 0x1234_5678;
            }
            _ => {}
        }
        self.update(cpu, cx);
        Ok(())
    }

    fn clock_changed(&mut self, _: usize, _: Hertz, cx: &mut Cx<'_>) {
        for cpu in 0..self.ncpu {
            self.s.each[cpu].set_rate(cx);
            self.update(cpu, cx);
        }
    }

    fn timer_expired(&mut self, timer: u32, cx: &mut Cx<'_>) {
        if (timer as usize) < self.ncpu {
            self.update(timer as usize, cx);
        }
    }

    crate::snapshot!(s, |timer, state| state.each.len() == timer.ncpu);
}
