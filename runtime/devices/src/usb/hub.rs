//! A USB hub: high speed, each port powered by itself (USB 2.0 ch. 11).
//!
//! Transactions for others go down to each enabled port until a part answers. A part that raises its hand, or is plugged in or out -> the port's
//! change bits, endpoint 1 -> the hub raises its own. Parts of lower speed work as if through its transaction translator, of which there is no
//! other trace. Not modelled: over-current, test mode, indicators, the hub's own power.

use super::function::{Description, Function, Pipe, Request, device_descriptor, reset, transact};
use super::hid::SERIAL;
use emu_machine::device::{Cx, Device, Nanos};
use emu_machine::parts::{PartBus, UsbPart, UsbReply, UsbSpeed, UsbToken};
use emu_machine::schema::{DeviceType, Props, SlotSpec};
use serde::{Deserialize, Serialize};

/// `usb-hub`.
pub const TYPE: DeviceType = DeviceType {
    part: Some(PartBus::Usb),
    props: &[SERIAL],
    slots: &[SlotSpec { name: "port", bus: PartBus::Usb, first: 1, last: 4, doc: "its ports" }],
    ..DeviceType::new("usb-hub", "USB hub with four ports, high speed", |props| create(4, props))
};

/// `usb-hub-8`.
pub const TYPE_8: DeviceType = DeviceType {
    part: Some(PartBus::Usb),
    props: &[SERIAL],
    slots: &[SlotSpec { name: "port", bus: PartBus::Usb, first: 1, last: 8, doc: "its ports" }],
    ..DeviceType::new("usb-hub-8", "USB hub with eight ports, high speed", |props| create(8, props))
};

static DESCRIPTION: Description = Description {
    speed: UsbSpeed::High,
    device: device_descriptor([9, 0, 1], 64, 5),
    configuration: &[
        9, 2, 25, 0, 1, 1, 0, 0xe0, 0, // configuration: self-powered, remote wakeup
        9, 4, 0, 0, 1, 9, 0, 0, 0, // interface: hub
        7, 5, 0x81, 3, 2, 0, 12, // interrupt in: status change, every 256 ms
    ],
    product: "USB hub",
};

// Status of a port (11.24.2.7.1); the change bits are those of the same number.
const CONNECTION: u16 = 1 << 0;
const ENABLE: u16 = 1 << 1;
const SUSPEND: u16 = 1 << 2;
const RESET: u16 = 1 << 4;
const POWER: u16 = 1 << 8;
const LOW_SPEED: u16 = 1 << 9;
const HIGH_SPEED: u16 = 1 << 10;

const RESET_TIME: u64 = 10_000_000;
const RESUME_TIME: u64 = 20_000_000;

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Port {
    status: u16,
    change: u16,
    /// Reset or resume ends then.
    until: Option<Nanos>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    pipe: Pipe,
    /// Port 1 is the first.
    ports: Vec<Port>,
}

impl State {
    fn is_sound(&self) -> bool {
        true
    }
}

struct Hub {
    s: State,
    count: usize,
    serial: String,
}

fn create(count: usize, props: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Hub {
        s: State { ports: vec![Port::default(); count], ..State::default() },
        count,
        serial: props.text("serial").to_string(),
    }))
}

impl Hub {
    /// Notices what is plugged in at a port, or not.
    fn look(&mut self, at: u32, cx: &mut Cx<'_>) {
        let Some(port) = (at as usize).checked_sub(1).and_then(|i| self.s.ports.get_mut(i)) else { return };
        let there = port.status & POWER != 0 && cx.usb(0, at, |part, _| part.speed()).flatten().is_some();
        if (port.status & CONNECTION != 0) != there {
            port.status &= POWER;
            port.status |= if there { CONNECTION } else { 0 };
            (port.change, port.until) = (port.change | CONNECTION, None);
        }
    }

    fn lasts(&mut self, at: u32, time: u64, cx: &mut Cx<'_>) {
        let until = Nanos(cx.now().0.saturating_add(time));
        if let Some(port) = (at as usize).checked_sub(1).and_then(|i| self.s.ports.get_mut(i)) {
            port.until = Some(until);
            cx.arm(at, until);
        }
    }

    /// SetPortFeature, ClearPortFeature; false: there is no such feature.
    fn feature(&mut self, at: u32, feature: u16, set: bool, cx: &mut Cx<'_>) -> bool {
        let Some(port) = (at as usize).checked_sub(1).and_then(|i| self.s.ports.get_mut(i)) else { return false };
        match (feature, set) {
            // PORT_ENABLE
            (1, false) => port.status &= !(ENABLE | SUSPEND),
            // PORT_SUSPEND: and resume
            (2, true) if port.status & ENABLE != 0 => port.status |= SUSPEND,
            (2, false) if port.status & SUSPEND != 0 => self.lasts(at, RESUME_TIME, cx),
            (2, _) => {}
            // PORT_RESET
            (4, true) if port.status & CONNECTION != 0 => {
                port.status = port.status & !(ENABLE | SUSPEND) | RESET;
                self.lasts(at, RESET_TIME, cx);
                cx.usb(0, at, |part, cx| part.reset(cx));
            }
            (4, true) => {}
            // PORT_POWER
            (8, true) => port.status |= POWER,
            (8, false) => *port = Port::default(),
            // C_PORT_...
            (16..=20, false) => port.change &= !(1 << (feature - 16)),
            // PORT_TEST, PORT_INDICATOR
            (21 | 22, _) => {}
            _ => return false,
        }
        if feature == 8 {
            self.look(at, cx);
            cx.notify();
        }
        true
    }

    /// What the status change endpoint has to say: a bit for each port.
    fn changes(&self) -> u16 {
        self.s.ports.iter().enumerate().fold(0, |all, (i, port)| all | u16::from(port.change != 0) << (i + 1))
    }
}

impl Function for Hub {
    fn description(&self) -> &Description {
        &DESCRIPTION
    }

    fn serial(&self) -> &str {
        &self.serial
    }

    fn pipe(&mut self) -> &mut Pipe {
        &mut self.s.pipe
    }

    fn request(&mut self, r: Request, _: &[u8], cx: &mut Cx<'_>) -> Option<Vec<u8>> {
        let at = u32::from(r.index & 0xff);
        match (r.kind, r.request) {
            // GetHubDescriptor: power and over-current of each port; 20 ms until power is good; all parts can be removed
            (0xa0, 6) => {
                let bitmaps = [vec![0; self.count / 8 + 1], vec![0xff; self.count / 8 + 1]].concat();
                Some([&[7 + bitmaps.len() as u8, 0x29, self.count as u8, 0x09, 0, 10, 0], &bitmaps[..]].concat())
            }
            // GetHubStatus, SetHubFeature, ClearHubFeature
            (0xa0, 0) => Some(vec![0; 4]),
            (0x20, 1 | 3) if r.value < 2 => Some(vec![]),
            // GetPortStatus
            (0xa3, 0) => {
                let port = (at as usize).checked_sub(1).and_then(|i| self.s.ports.get(i))?;
                Some([port.status.to_le_bytes(), port.change.to_le_bytes()].concat())
            }
            (0x23, 1 | 3) => self.feature(at, r.value, r.request == 3, cx).then(Vec::new),
            // ClearTTBuffer, ResetTT, StopTT
            (0x23, 8 | 9 | 11) => Some(vec![]),
            _ => None,
        }
    }

    fn transfer(&mut self, endpoint: u8, token: UsbToken<'_>, _: &mut Cx<'_>) -> UsbReply {
        match (endpoint, token, self.changes()) {
            (1, UsbToken::In(_), 0) => UsbReply::Nak,
            (1, UsbToken::In(n), changes) => UsbReply::Data(changes.to_le_bytes()[..(self.count / 8 + 1).min(n).min(2)].to_vec()),
            _ => UsbReply::Stall,
        }
    }

    fn configured(&mut self, cx: &mut Cx<'_>) {
        // Its ports are without power.
        self.s.ports = vec![Port::default(); self.count];
        (1..=self.count as u32).for_each(|timer| cx.disarm(timer));
    }
}

impl UsbPart for Hub {
    fn speed(&self) -> Option<UsbSpeed> {
        Some(UsbSpeed::High)
    }

    fn reset(&mut self, cx: &mut Cx<'_>) {
        reset(self, cx);
    }

    fn transact(&mut self, address: u8, endpoint: u8, token: UsbToken<'_>, cx: &mut Cx<'_>) -> Option<UsbReply> {
        let reply = transact(self, address, endpoint, token.clone(), cx);
        if reply.is_some() || !self.s.pipe.is_configured() {
            return reply;
        }
        let open = |port: &Port| port.status & (ENABLE | SUSPEND | RESET) == ENABLE;
        let ports = self.s.ports.iter().enumerate().filter(|(_, port)| open(port));
        ports
            .map(|(i, _)| i as u32 + 1)
            .find_map(|at| cx.usb(0, at, |part, cx| part.transact(address, endpoint, token.clone(), cx)).flatten())
    }
}

impl Device for Hub {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.s.pipe = Pipe::default();
        self.configured(cx);
    }

    fn usb(&mut self) -> Option<&mut dyn UsbPart> {
        Some(self)
    }

    fn part_changed(&mut self, _: usize, at: u32, cx: &mut Cx<'_>) {
        self.look(at, cx);
        // Remote wakeup.
        let port = (at as usize).checked_sub(1).and_then(|i| self.s.ports.get(i));
        if port.is_some_and(|port| port.status & SUSPEND != 0 && port.until.is_none()) {
            self.lasts(at, RESUME_TIME, cx);
        }
        cx.notify();
    }

    fn timer_expired(&mut self, at: u32, cx: &mut Cx<'_>) {
        let Some(port) = (at as usize).checked_sub(1).and_then(|i| self.s.ports.get_mut(i)) else { return };
        if port.until.take().is_none() {
            return;
        }
        if port.status & RESET != 0 {
            port.status &= !(RESET | LOW_SPEED | HIGH_SPEED);
            port.change |= RESET;
            let speed = cx.usb(0, at, |part, _| part.speed()).flatten();
            port.status |= match speed {
                None => 0,
                Some(UsbSpeed::Full) => ENABLE,
                Some(UsbSpeed::Low) => ENABLE | LOW_SPEED,
                Some(UsbSpeed::High) => ENABLE | HIGH_SPEED,
            };
        } else if port.status & SUSPEND != 0 {
            port.status &= !SUSPEND;
            port.change |= SUSPEND;
        }
        cx.notify();
    }

    crate::snapshot!(s, |hub, state| state.ports.len() == hub.count);
}
