//! The controller's port: what is plugged in, reset, suspend and resume (EHCI 2.3.9, UG585 15.14).
//!
//! Reset and resume take their time by a timer and end by themselves, as this controller has it; after a reset the port is enabled at any
//! speed, thanks to the transaction translator.

use super::{ChipIdea, PORT, Regs};
use emu_machine::device::{Cx, Nanos};
use emu_machine::parts::{UsbReply, UsbSpeed, UsbToken};
use serde::{Deserialize, Serialize};

const RESET_TIME: u64 = 10_000_000;
const RESUME_TIME: u64 = 20_000_000;
/// The one place of the slot.
const AT: u32 = 1;

/// What the register does not say.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Port {
    /// Reset or resume ends then.
    until: Option<Nanos>,
}

impl ChipIdea {
    fn speed(&self, cx: &mut Cx<'_>) -> Option<UsbSpeed> {
        if !self.is_host() || !self.s.regs.portsc1_power() {
            return None;
        }
        cx.usb(0, AT, |part, _| part.speed()).flatten()
    }

    /// Notices what is plugged in or not.
    pub(super) fn look_at_port(&mut self, cx: &mut Cx<'_>) {
        let speed = self.speed(cx);
        let port = &mut self.s.regs.portsc1;
        if (*port & Regs::PORTSC1_CONNECT != 0) == speed.is_some() {
            return;
        }
        // Idle lines: J, but K for low speed.
        let lines = match speed {
            None => 0,
            Some(UsbSpeed::Low) => 1 << 10,
            Some(_) => 2 << 10,
        };
        *port &= !(Regs::PORTSC1_ENABLE | Regs::PORTSC1_SUSPEND | Regs::PORTSC1_RESUME | Regs::PORTSC1_LINES | Regs::PORTSC1_HIGH_SPEED);
        *port ^= Regs::PORTSC1_CONNECT;
        *port |= Regs::PORTSC1_CONNECT_CHANGE | Regs::PORTSC1_SPEED | lines;
        self.raise(Regs::USBSTS_PORT);
    }

    pub(super) fn port_written(&mut self, old: u32, value: u32, cx: &mut Cx<'_>) {
        let port = &mut self.s.regs.portsc1;
        let fixed = Regs::PORTSC1_RESET | Regs::PORTSC1_SUSPEND | Regs::PORTSC1_RESUME | Regs::PORTSC1_ENABLE;
        let written = *port;
        *port = written & !fixed | old & fixed;
        if !self.is_host() {
            return;
        }
        let set = |bit: u32| value & bit != 0 && old & bit == 0;
        let port = &mut self.s.regs.portsc1;
        if written & Regs::PORTSC1_ENABLE == 0 {
            *port &= !(Regs::PORTSC1_ENABLE | Regs::PORTSC1_SUSPEND | Regs::PORTSC1_RESUME);
        }
        if set(Regs::PORTSC1_RESET) && written & Regs::PORTSC1_POWER != 0 {
            *port &= !(Regs::PORTSC1_ENABLE | Regs::PORTSC1_SUSPEND | Regs::PORTSC1_RESUME);
            *port |= Regs::PORTSC1_RESET;
            self.lasts(RESET_TIME, cx);
            cx.usb(0, AT, |part, cx| part.reset(cx));
        } else if set(Regs::PORTSC1_SUSPEND) && *port & Regs::PORTSC1_ENABLE != 0 {
            *port |= Regs::PORTSC1_SUSPEND;
        } else if set(Regs::PORTSC1_RESUME) && *port & Regs::PORTSC1_SUSPEND != 0 {
            *port |= Regs::PORTSC1_RESUME;
            self.lasts(RESUME_TIME, cx);
        } else if written & Regs::PORTSC1_RESUME == 0 && old & Regs::PORTSC1_RESUME != 0 {
            *port &= !(Regs::PORTSC1_SUSPEND | Regs::PORTSC1_RESUME);
        }
        self.look_at_port(cx);
    }

    fn lasts(&mut self, time: u64, cx: &mut Cx<'_>) {
        let until = Nanos(cx.now().0.saturating_add(time));
        self.s.port.until = Some(until);
        cx.arm(PORT, until);
    }

    /// A reset or a resume is over.
    pub(super) fn port_time_over(&mut self, cx: &mut Cx<'_>) {
        let Some(until) = self.s.port.until else { return };
        if cx.now() < until {
            return cx.arm(PORT, until);
        }
        self.s.port.until = None;
        let speed = self.speed(cx);
        let port = &mut self.s.regs.portsc1;
        if *port & Regs::PORTSC1_RESUME != 0 {
            *port &= !(Regs::PORTSC1_SUSPEND | Regs::PORTSC1_RESUME);
        }
        if *port & Regs::PORTSC1_RESET == 0 {
            return;
        }
        *port &= !Regs::PORTSC1_RESET;
        if let Some(speed) = speed {
            *port = *port & !Regs::PORTSC1_SPEED | Regs::PORTSC1_ENABLE;
            *port |= match speed {
                UsbSpeed::Full => 0,
                UsbSpeed::Low => 1 << 26,
                UsbSpeed::High => 2 << 26 | Regs::PORTSC1_HIGH_SPEED,
            };
        }
    }

    /// A part of a suspended port has raised its hand: remote wakeup.
    pub(super) fn wake_up(&mut self, cx: &mut Cx<'_>) {
        let port = &mut self.s.regs.portsc1;
        if *port & (Regs::PORTSC1_SUSPEND | Regs::PORTSC1_RESUME) == Regs::PORTSC1_SUSPEND {
            *port |= Regs::PORTSC1_RESUME;
            self.raise(Regs::USBSTS_PORT);
            self.lasts(RESUME_TIME, cx);
        }
    }

    /// A transaction on the bus; `None`: nobody answers.
    pub(super) fn transact(&mut self, address: u8, endpoint: u8, token: UsbToken<'_>, cx: &mut Cx<'_>) -> Option<UsbReply> {
        let state = self.s.regs.portsc1 & (Regs::PORTSC1_ENABLE | Regs::PORTSC1_SUSPEND | Regs::PORTSC1_CONNECT);
        if state != Regs::PORTSC1_ENABLE | Regs::PORTSC1_CONNECT {
            return None;
        }
        cx.usb(0, AT, |part, cx| part.transact(address, endpoint, token, cx)).flatten()
    }
}
