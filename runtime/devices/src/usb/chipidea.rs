//! ChipIdea USB 2.0 controller in host mode, as in the Zynq-7000 (UG585 ch. 15 and app. B.34; EHCI specification 1.0).
//!
//! Guest memory -> queues by guest timers while a schedule runs ([`queue`], [`periodic`]) -> the part at the port, through [`port`] -> back ->
//! status bits -> USBSTS & USBINTR -> interrupt line. A schedule in which nothing moves is looked at ever more seldom, down to every 4 ms
//! (asynchronous) and in lots of 8 frames (periodic), until the guest writes a register or a part raises its hand. Work in one call is bounded.
//! Not modelled: device mode, on-the-go negotiation and its interrupts, bandwidth and time on the bus, split transactions as such (a
//! transaction with a full or low speed part is one step, whichever transaction translator it would go through), frame span nodes, queue
//! inactivation (I bit), PING, park mode, the interrupt threshold (interrupts come at once), light reset, endianness, test modes, over-current.

use crate::clocked::Ticks;
use emu_machine::device::{Cx, Device, Hertz, Nanos};
use emu_machine::parts::PartBus;
use emu_machine::schema::{Count, DeviceType, PortSpec, Props, RegionSpec, SlotSpec};
use emu_machine::{Access, BusError};
use port::Port;
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};
use timer::Timer;
use ulpi::Ulpi;

mod periodic;
mod port;
mod queue;
mod timer;
mod ulpi;

crate::regs!("chipidea");

/// `chipidea,usb2`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x1000) }],
    inputs: &[PortSpec::one("reset", "held in reset while high")],
    outputs: &[PortSpec::one("irq", "interrupt")],
    slots: &[SlotSpec { name: "port", bus: PartBus::Usb, first: 1, last: 1, doc: "its port" }],
    dma: true,
    ..DeviceType::new("chipidea,usb2", "ChipIdea USB 2.0 host controller (UG585 ch. 15, EHCI 1.0)", |_: &Props| {
        Ok(Box::new(ChipIdea { s: State::default() }))
    })
};

/// USBMODE.MODE for a host.
const HOST: u32 = 3;
/// Microframes in a second.
const RATE: Hertz = Hertz(8000);
const MICROFRAME: u64 = 125_000;
/// Looks at an asynchronous schedule without movement after which the time between two of them doubles, and how often it does: up to 4 ms.
const LOOKS: u32 = 8;
const DOUBLINGS: u32 = 5;
/// Frames after the last movement from which on the periodic schedule is looked at in lots.
const QUIET: u64 = 64;
const LOT: u64 = 8;

/// The controller's timers; general-purpose ones begin with the last.
const ASYNC: u32 = 0;
const FRAMES: u32 = 1;
const PORT: u32 = 2;
const GENERAL: u32 = 3;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    /// Microframes; they stand still while the controller is halted.
    time: Ticks,
    /// Up to where their status bits are set.
    told: u64,
    /// The next frame of the periodic schedule.
    next_frame: u64,
    /// The frame in which something moved last.
    moved_frame: u64,
    /// Looks at the asynchronous schedule since something moved.
    idle: u32,
    port: Port,
    timers: [Timer; 2],
    ulpi: Ulpi,
    in_reset: bool,
}

impl State {
    fn is_sound(&self) -> bool {
        self.regs.is_sound()
            && self.time.is_sound()
            && self.next_frame <= Ticks::MOST
            && self.told <= Ticks::MOST
            && self.moved_frame <= Ticks::MOST
    }
}

struct ChipIdea {
    s: State,
}

impl ChipIdea {
    fn is_host(&self) -> bool {
        self.s.regs.usbmode_mode() == HOST
    }

    fn runs(&self) -> bool {
        self.is_host() && self.s.regs.usbcmd_run()
    }

    fn async_runs(&self) -> bool {
        self.runs() && self.s.regs.usbcmd_async()
    }

    fn periodic_runs(&self) -> bool {
        self.runs() && self.s.regs.usbcmd_periodic()
    }

    /// Frames in the frame list.
    fn list_size(&self) -> u32 {
        1024 >> (u32::from(self.s.regs.usbcmd_fs2()) << 2 | self.s.regs.usbcmd_fs())
    }

    fn raise(&mut self, bits: u32) {
        self.s.regs.usbsts |= bits;
    }

    fn update(&mut self, cx: &mut Cx<'_>) {
        cx.set_line(0, 0, self.s.regs.usbsts & self.s.regs.usbintr != 0);
    }

    /// Status bits of the time that has passed.
    fn tell_time(&mut self, cx: &Cx<'_>) {
        let (now, list) = (self.s.time.at(cx.now()), u64::from(self.list_size()) * 8);
        if now / list > self.s.told / list {
            self.raise(Regs::USBSTS_ROLLOVER);
        }
        if now > self.s.told {
            self.raise(Regs::USBSTS_SOF);
        }
        self.s.told = self.s.told.max(now);
    }

    /// Starts and stops time and schedules, as registers say.
    fn steer(&mut self, cx: &mut Cx<'_>) {
        self.s.time.set_rate(if self.runs() { RATE } else { Hertz(0) }, 1, cx.now());
        self.s.idle = 0;
        if self.async_runs() {
            cx.arm(ASYNC, Nanos(cx.now().0.saturating_add(MICROFRAME)));
        } else {
            cx.disarm(ASYNC);
        }
        self.await_frame(cx);
        self.update(cx);
    }

    /// Arms the timer for the next frames of the periodic schedule, and for interrupts of time itself.
    fn await_frame(&mut self, cx: &mut Cx<'_>) {
        let enabled = self.s.regs.usbintr & !self.s.regs.usbsts;
        let (told, list) = (self.s.told, u64::from(self.list_size()) * 8);
        let quiet = self.s.next_frame.saturating_sub(self.s.moved_frame) > QUIET;
        let lot = if quiet { LOT - 1 } else { 0 };
        let wanted = [
            self.periodic_runs().then(|| self.s.next_frame.saturating_add(lot).saturating_mul(8)),
            (enabled & Regs::USBSTS_SOF != 0).then(|| told.saturating_add(1)),
            (enabled & Regs::USBSTS_ROLLOVER != 0).then(|| (told / list).saturating_add(1).saturating_mul(list)),
        ];
        match wanted.into_iter().flatten().min().and_then(|tick| self.s.time.when(tick)) {
            Some(at) => cx.arm(FRAMES, at),
            None => cx.disarm(FRAMES),
        }
    }

    /// Something may be there to do: looks soon, and often.
    fn stir(&mut self, cx: &mut Cx<'_>) {
        if self.async_runs() && self.s.idle > 0 {
            self.s.idle = 0;
            cx.arm(ASYNC, cx.now());
        }
        let quiet = self.s.next_frame.saturating_sub(self.s.moved_frame) > QUIET;
        if self.periodic_runs() && quiet {
            self.s.moved_frame = self.s.next_frame;
            self.await_frame(cx);
        }
    }

    /// Structures in memory cannot be reached: the controller stops.
    fn system_error(&mut self, cx: &mut Cx<'_>) {
        cx.guest_error("a schedule reaches where there is no memory");
        self.raise(Regs::USBSTS_SYSTEM_ERROR);
        self.s.regs.usbcmd &= !Regs::USBCMD_RUN;
        self.steer(cx);
    }

    fn look_async(&mut self, cx: &mut Cx<'_>) {
        match self.round(cx) {
            Ok(moved) => self.s.idle = if moved { 0 } else { self.s.idle.saturating_add(1).min(LOOKS * DOUBLINGS) },
            Err(_) => return self.system_error(cx),
        }
        if self.s.regs.usbcmd_doorbell() {
            self.s.regs.usbcmd &= !Regs::USBCMD_DOORBELL;
            self.raise(Regs::USBSTS_ADVANCE);
        }
        cx.arm(ASYNC, Nanos(cx.now().0.saturating_add(MICROFRAME << (self.s.idle / LOOKS).min(DOUBLINGS))));
        self.update(cx);
    }

    fn look_frames(&mut self, cx: &mut Cx<'_>) {
        self.tell_time(cx);
        if self.periodic_runs() && self.frames(cx).is_err() {
            return self.system_error(cx);
        }
        self.await_frame(cx);
        self.update(cx);
    }

    /// As after a reset; what is plugged in stays, and so does the transceiver.
    fn reset_all(&mut self, cx: &mut Cx<'_>) {
        let in_reset = self.s.in_reset;
        self.s = State { in_reset, ulpi: self.s.ulpi.clone(), ..State::default() };
        (ASYNC..GENERAL + 2).for_each(|timer| cx.disarm(timer));
        self.update(cx);
    }
}

impl Hooks for ChipIdea {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    fn timer_control(&mut self, i: usize, cx: &mut Cx<'_>) -> u32 {
        let control = self.s.regs.gptimerctrl.get(i).copied().unwrap_or(0);
        control & !Regs::GPTIMERCTRL_COUNT | self.s.timers.get(i).map_or(0, |t| t.count(cx.now()))
    }

    fn timer_written(&mut self, i: usize, _: u32, value: u32, cx: &mut Cx<'_>) {
        let (Some(timer), Some(load)) = (self.s.timers.get_mut(i), self.s.regs.gptimerld.get(i)) else { return };
        timer.control(value & Regs::GPTIMERCTRL_RUN != 0, (value & Regs::GPTIMERCTRL_LOAD != 0).then_some(*load), cx.now());
        timer.arm(GENERAL + i as u32, cx);
    }

    fn command(&mut self, old: u32, value: u32, cx: &mut Cx<'_>) {
        if value & Regs::USBCMD_RESET != 0 {
            return self.reset_all(cx);
        }
        if self.s.regs.usbcmd_run() && !self.is_host() {
            cx.unimplemented(if self.s.regs.usbmode_mode() == 2 { "device mode" } else { "running without a mode" });
        }
        self.steer(cx);
        if !old & value & (Regs::USBCMD_PERIODIC | Regs::USBCMD_RUN) != 0 {
            self.s.next_frame = self.s.time.at(cx.now()) / 8 + 1;
            self.s.moved_frame = self.s.next_frame;
            self.await_frame(cx);
        }
    }

    fn status(&mut self, cx: &mut Cx<'_>) -> u32 {
        self.tell_time(cx);
        let flags = [
            (Regs::USBSTS_ASYNC, self.async_runs()),
            (Regs::USBSTS_PERIODIC, self.periodic_runs()),
            (Regs::USBSTS_RECLAMATION, self.async_runs() && self.s.idle == 0),
            (Regs::USBSTS_HALTED, self.is_host() && !self.runs()),
        ];
        flags.iter().filter(|f| f.1).fold(self.s.regs.usbsts, |all, f| all | f.0)
    }

    fn acknowledged(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.stir(cx);
        self.await_frame(cx);
        self.update(cx);
    }

    fn interrupts(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.tell_time(cx);
        self.await_frame(cx);
        self.update(cx);
    }

    fn frame_index(&mut self, cx: &mut Cx<'_>) -> u32 {
        self.s.time.at(cx.now()) as u32 & Regs::FRINDEX_INDEX
    }

    fn frame_index_written(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        if self.runs() {
            return cx.guest_error("FRINDEX is written while the controller runs");
        }
        let index = u64::from(value & Regs::FRINDEX_INDEX);
        self.s.time.set(index, cx.now());
        (self.s.told, self.s.next_frame, self.s.moved_frame) = (index, index / 8 + 1, index / 8 + 1);
    }

    fn viewport(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        if value & Regs::ULPI_VIEWPORT_RUN == 0 {
            return;
        }
        if self.s.regs.ulpi_viewport_port() != 0 {
            return cx.guest_error("ULPI viewport: there is one port");
        }
        let (address, data) = (self.s.regs.ulpi_viewport_address(), self.s.regs.ulpi_viewport_write_data() as u8);
        if value & Regs::ULPI_VIEWPORT_WRITE != 0 {
            return self.s.ulpi.write(address, data);
        }
        let data = self.s.ulpi.read(address);
        self.s.regs.ulpi_viewport = self.s.regs.ulpi_viewport & !Regs::ULPI_VIEWPORT_READ_DATA | u32::from(data) << 8;
    }

    fn port(&mut self, old: u32, value: u32, cx: &mut Cx<'_>) {
        self.port_written(old, value, cx);
        self.update(cx);
    }

    fn otg(&mut self, _: &mut Cx<'_>) -> u32 {
        // A host's cable: the ID pin is low. VBUS is there if the port has power.
        let vbus = if self.s.regs.portsc1_power() { 0b0_1110 << 8 } else { 0b1_0000 << 8 };
        self.s.regs.otgsc | vbus
    }

    fn otg_written(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        if value & Regs::OTGSC_INTERRUPT_ENABLE != 0 {
            cx.unimplemented("on-the-go interrupts");
        }
    }

    fn mode(&mut self, old: u32, _: u32, cx: &mut Cx<'_>) {
        match (old & 3, self.s.regs.usbmode_mode()) {
            // Only a reset changes the mode again.
            (was, now) if was != 0 && was != now => {
                cx.guest_error("USBMODE is changed without a reset");
                self.s.regs.usbmode = self.s.regs.usbmode & !3 | old & 3;
            }
            (0, HOST) => {
                self.s.regs.portsc1 &= !Regs::PORTSC1_ENABLE;
                self.look_at_port(cx);
            }
            (_, 2) => cx.unimplemented("device mode"),
            _ => {}
        }
        self.steer(cx);
    }
}

impl Device for ChipIdea {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.s.ulpi = Ulpi::default();
        self.reset_all(cx);
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, _: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        regs::read(self, offset, size, cx)
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        if self.s.in_reset {
            return Ok(());
        }
        regs::write(self, offset, size, value, cx)
    }

    fn line_changed(&mut self, _: usize, _: u32, level: bool, cx: &mut Cx<'_>) {
        self.s.in_reset = level;
        if level {
            self.reset_all(cx);
        }
    }

    fn timer_expired(&mut self, timer: u32, cx: &mut Cx<'_>) {
        match timer {
            ASYNC if self.async_runs() => self.look_async(cx),
            FRAMES => self.look_frames(cx),
            PORT => {
                self.port_time_over(cx);
                self.update(cx);
            }
            _ => self.general_timer(timer.wrapping_sub(GENERAL), cx),
        }
    }

    fn part_changed(&mut self, _: usize, _: u32, cx: &mut Cx<'_>) {
        self.look_at_port(cx);
        self.wake_up(cx);
        self.stir(cx);
        self.update(cx);
    }

    crate::snapshot!(s);
}

impl ChipIdea {
    fn general_timer(&mut self, i: u32, cx: &mut Cx<'_>) {
        let i = i as usize;
        let (Some(timer), Some(control), Some(load)) =
            (self.s.timers.get_mut(i), self.s.regs.gptimerctrl.get_mut(i), self.s.regs.gptimerld.get(i))
        else {
            return;
        };
        if !timer.expired(cx.now()) {
            return timer.arm(GENERAL + i as u32, cx);
        }
        let repeats = *control & Regs::GPTIMERCTRL_REPEAT != 0;
        if !repeats {
            *control &= !Regs::GPTIMERCTRL_RUN;
        }
        timer.again(repeats.then_some(*load), cx.now());
        timer.arm(GENERAL + i as u32, cx);
        self.raise(1 << 24 << i);
        self.update(cx);
    }
}
