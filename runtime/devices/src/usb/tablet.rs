//! A USB pointer with absolute positions (HID 1.11): five buttons, a wheel, full speed.
//!
//! Events -> a report of everything. Movement that the host has not seen is replaced by what follows it; buttons never are.

use super::function::{Description, device_descriptor};
use super::hid::{Hid, SERIAL, hid_function};
use emu_machine::device::{Cx, Device};
use emu_machine::input::{InputEvent, InputKind, MOST};
use emu_machine::parts::{PartBus, UsbPart, UsbReply, UsbSpeed, UsbToken};
use emu_machine::schema::{DeviceType, Props};
use serde::{Deserialize, Serialize};

/// `usb-tablet`.
pub const TYPE: DeviceType = DeviceType {
    part: Some(PartBus::Usb),
    props: &[SERIAL],
    input: Some(InputKind::Tablet),
    ..DeviceType::new("usb-tablet", "USB pointer with absolute positions, full speed (HID)", create)
};

static DESCRIPTION: Description = Description {
    speed: UsbSpeed::Full,
    device: device_descriptor([0, 0, 0], 8, 3),
    configuration: &[
        9, 2, 34, 0, 1, 1, 0, 0xa0, 50, // configuration: remote wakeup, 100 mA
        9, 4, 0, 0, 1, 3, 0, 0, 0, // interface: HID
        9, 0x21, 0x11, 0x01, 0, 1, 0x22, 63, 0, // HID 1.11, 63 bytes of report descriptor
        7, 5, 0x81, 3, 8, 0, 10, // interrupt in, 8 bytes, every 10 ms
    ],
    product: "USB tablet",
};

const REPORTS: &[u8] = &[
    0x05, 0x01, 0x09, 0x02, 0xa1, 0x01, 0x09, 0x01, 0xa1, 0x00, // generic desktop, mouse, pointer, collections
    0x05, 0x09, 0x19, 0x01, 0x29, 0x05, 0x15, 0x00, 0x25, 0x01, 0x95, 0x05, 0x75, 0x01, 0x81, 0x02, // five buttons
    0x95, 0x01, 0x75, 0x03, 0x81, 0x01, // to fill the byte
    0x05, 0x01, 0x09, 0x30, 0x09, 0x31, 0x15, 0x00, 0x26, 0xff, 0x7f, 0x75, 0x10, 0x95, 0x02, 0x81, 0x02, // x and y, 0 to 0x7fff
    0x09, 0x38, 0x15, 0x81, 0x25, 0x7f, 0x75, 0x08, 0x95, 0x01, 0x81, 0x06, // wheel, relative
    0xc0, 0xc0,
];

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    hid: Hid,
    x: u16,
    y: u16,
    buttons: u8,
}

impl State {
    fn is_sound(&self) -> bool {
        self.hid.is_sound()
    }
}

struct Tablet {
    s: State,
    serial: String,
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Tablet { s: State::default(), serial: props.text("serial").to_string() }))
}

impl Tablet {
    fn report(&self, wheel: i8) -> Vec<u8> {
        let ([x, x_high], [y, y_high]) = (self.s.x.to_le_bytes(), self.s.y.to_le_bytes());
        vec![self.s.buttons, x, x_high, y, y_high, wheel as u8]
    }

    fn now(&self) -> Vec<u8> {
        self.report(0)
    }

    fn output(&mut self, _: &[u8]) -> bool {
        false
    }
}

hid_function!(Tablet, REPORTS);

impl Device for Tablet {
    fn reset(&mut self, _: &mut Cx<'_>) {
        self.s = State::default();
    }

    fn usb(&mut self) -> Option<&mut dyn UsbPart> {
        Some(self)
    }

    fn input(&mut self, event: InputEvent, cx: &mut Cx<'_>) {
        let mut wheel = 0;
        match event {
            InputEvent::At { x, y } => {
                (self.s.x, self.s.y) = (x.unwrap_or(self.s.x).min(MOST), y.unwrap_or(self.s.y).min(MOST));
                let report = self.now();
                if let Some(last) = self.s.hid.last().filter(|l| l.first() == report.first() && l.last() == Some(&0)) {
                    *last = report;
                    return;
                }
            }
            InputEvent::Button { button, down } => {
                let bit = 1 << button as u8;
                if (self.s.buttons & bit != 0) == down {
                    return;
                }
                self.s.buttons ^= bit;
            }
            InputEvent::Wheel { notches } => wheel = notches.clamp(-127, 127) as i8,
            _ => return,
        }
        let report = self.report(wheel);
        self.s.hid.report(report, cx);
    }

    crate::snapshot!(s);
}
