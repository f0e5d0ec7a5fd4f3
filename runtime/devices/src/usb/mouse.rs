//! A USB mouse (HID 1.11 app. B and E): five buttons, a wheel, low speed. Its reports begin as those of the boot protocol.
//!
//! Events -> reports of what moved since the last. Movement that the host has not seen grows by what follows it, up to what a report can say.

use super::function::{Description, device_descriptor};
use super::hid::{Hid, SERIAL, hid_function};
use emu_machine::device::{Cx, Device};
use emu_machine::input::{InputEvent, InputKind};
use emu_machine::parts::{PartBus, UsbPart, UsbReply, UsbSpeed, UsbToken};
use emu_machine::schema::{DeviceType, Props};
use serde::{Deserialize, Serialize};

/// `usb-mouse`.
pub const TYPE: DeviceType = DeviceType {
    part: Some(PartBus::Usb),
    props: &[SERIAL],
    input: Some(InputKind::Mouse),
    ..DeviceType::new("usb-mouse", "USB mouse, low speed (HID boot protocol)", create)
};

static DESCRIPTION: Description = Description {
    speed: UsbSpeed::Low,
    device: device_descriptor([0, 0, 0], 8, 4),
    configuration: &[
        9, 2, 34, 0, 1, 1, 0, 0xa0, 50, // configuration: remote wakeup, 100 mA
        9, 4, 0, 0, 1, 3, 1, 2, 0, // interface: HID, boot, mouse
        9, 0x21, 0x11, 0x01, 0, 1, 0x22, 52, 0, // HID 1.11, 52 bytes of report descriptor
        7, 5, 0x81, 3, 4, 0, 10, // interrupt in, 4 bytes, every 10 ms
    ],
    product: "USB mouse",
};

const REPORTS: &[u8] = &[
    0x05, 0x01, 0x09, 0x02, 0xa1, 0x01, 0x09, 0x01, 0xa1, 0x00, // generic desktop, mouse, pointer, collections
    0x05, 0x09, 0x19, 0x01, 0x29, 0x05, 0x15, 0x00, 0x25, 0x01, 0x95, 0x05, 0x75, 0x01, 0x81, 0x02, // five buttons
    0x95, 0x01, 0x75, 0x03, 0x81, 0x01, // to fill the byte
    0x05, 0x01, 0x09, 0x30, 0x09, 0x31, 0x09, 0x38, 0x15, 0x81, 0x25, 0x7f, 0x75, 0x08, 0x95, 0x03, 0x81, 0x06, // x, y, wheel
    0xc0, 0xc0,
];

/// The most movements of one event, in reports.
const PIECES: usize = 64;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    hid: Hid,
    buttons: u8,
}

impl State {
    fn is_sound(&self) -> bool {
        self.hid.is_sound()
    }
}

struct Mouse {
    s: State,
    serial: String,
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Mouse { s: State::default(), serial: props.text("serial").to_string() }))
}

impl Mouse {
    fn now(&self) -> Vec<u8> {
        vec![self.s.buttons, 0, 0, 0]
    }

    fn output(&mut self, _: &[u8]) -> bool {
        false
    }

    fn moved(&mut self, by: [i32; 3], cx: &mut Cx<'_>) {
        let mut left = by;
        // The last report takes what it has room for, the rest are others.
        if let Some(last) = self.s.hid.last().filter(|l| l.first() == Some(&self.s.buttons)) {
            last.iter_mut().skip(1).zip(&mut left).for_each(|(place, left)| {
                let sum = i32::from(*place as i8).saturating_add(*left);
                let now = sum.clamp(-127, 127);
                (*place, *left) = (now as i8 as u8, sum - now);
            });
        }
        for _ in 0..PIECES {
            if left == [0; 3] {
                break;
            }
            let mut report = self.now();
            report.iter_mut().skip(1).zip(&mut left).for_each(|(place, left)| {
                let now = (*left).clamp(-127, 127);
                (*place, *left) = (now as i8 as u8, *left - now);
            });
            self.s.hid.report(report, cx);
        }
    }
}

hid_function!(Mouse, REPORTS);

impl Device for Mouse {
    fn reset(&mut self, _: &mut Cx<'_>) {
        self.s = State::default();
    }

    fn usb(&mut self) -> Option<&mut dyn UsbPart> {
        Some(self)
    }

    fn input(&mut self, event: InputEvent, cx: &mut Cx<'_>) {
        match event {
            InputEvent::Move { dx, dy } => self.moved([dx, dy, 0], cx),
            InputEvent::Wheel { notches } => self.moved([0, 0, notches], cx),
            InputEvent::Button { button, down } => {
                let bit = 1 << button as u8;
                if (self.s.buttons & bit != 0) != down {
                    self.s.buttons ^= bit;
                    let report = self.now();
                    self.s.hid.report(report, cx);
                }
            }
            _ => {}
        }
    }

    crate::snapshot!(s);
}
