//! A USB keyboard with 105 keys (HID 1.11 app. B and E): reports of the boot protocol, low speed.
//!
//! Key events -> the keys that are down -> a report of modifiers and up to six others; more are a roll-over error. Not modelled: that LEDs shine.

use super::function::{Description, device_descriptor};
use super::hid::{Hid, SERIAL, hid_function};
use emu_machine::device::{Cx, Device};
use emu_machine::input::{InputEvent, InputKind};
use emu_machine::parts::{PartBus, UsbPart, UsbReply, UsbSpeed, UsbToken};
use emu_machine::schema::{DeviceType, Props};
use serde::{Deserialize, Serialize};

/// `usb-kbd`.
pub const TYPE: DeviceType = DeviceType {
    part: Some(PartBus::Usb),
    props: &[SERIAL],
    input: Some(InputKind::Keyboard),
    ..DeviceType::new("usb-kbd", "USB keyboard, low speed (HID boot protocol)", create)
};

static DESCRIPTION: Description = Description {
    speed: UsbSpeed::Low,
    device: device_descriptor([0, 0, 0], 8, 2),
    configuration: &[
        9, 2, 34, 0, 1, 1, 0, 0xa0, 50, // configuration: remote wakeup, 100 mA
        9, 4, 0, 0, 1, 3, 1, 1, 0, // interface: HID, boot, keyboard
        9, 0x21, 0x11, 0x01, 0, 1, 0x22, 63, 0, // HID 1.11, 63 bytes of report descriptor
        7, 5, 0x81, 3, 8, 0, 10, // interrupt in, 8 bytes, every 10 ms
    ],
    product: "USB keyboard",
};

const REPORTS: &[u8] = &[
    0x05, 0x01, 0x09, 0x06, 0xa1, 0x01, // generic desktop, keyboard, collection
    0x05, 0x07, 0x19, 0xe0, 0x29, 0xe7, 0x15, 0x00, 0x25, 0x01, 0x75, 0x01, 0x95, 0x08, 0x81, 0x02, // eight modifiers
    0x95, 0x01, 0x75, 0x08, 0x81, 0x01, // a byte of nothing
    0x95, 0x05, 0x75, 0x01, 0x05, 0x08, 0x19, 0x01, 0x29, 0x05, 0x91, 0x02, // five LEDs
    0x95, 0x01, 0x75, 0x03, 0x91, 0x01, // to fill the byte
    0x95, 0x06, 0x75, 0x08, 0x15, 0x00, 0x25, 0xff, 0x05, 0x07, 0x19, 0x00, 0x29, 0xff, 0x81, 0x00, // six keys
    0xc0,
];

/// A key of the roll-over error.
const ROLL_OVER: u8 = 1;
const FIRST_MODIFIER: u8 = 0xe0;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    hid: Hid,
    /// Keys that are down, in the order in which they went.
    down: Vec<u8>,
    leds: u8,
}

impl State {
    fn is_sound(&self) -> bool {
        self.hid.is_sound() && self.down.len() <= 256
    }
}

struct Keyboard {
    s: State,
    serial: String,
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Keyboard { s: State::default(), serial: props.text("serial").to_string() }))
}

impl Keyboard {
    fn now(&self) -> Vec<u8> {
        let mut report = vec![0; 8];
        let keys = self.s.down.iter().filter(|k| **k < FIRST_MODIFIER);
        if keys.clone().count() > 6 {
            report[2..].fill(ROLL_OVER);
        } else {
            report[2..].iter_mut().zip(keys).for_each(|(place, key)| *place = *key);
        }
        let modifiers = self.s.down.iter().filter_map(|k| k.checked_sub(FIRST_MODIFIER));
        report[0] = modifiers.filter(|n| *n < 8).fold(0, |all, n| all | 1 << n);
        report
    }

    fn output(&mut self, data: &[u8]) -> bool {
        self.s.leds = data.first().copied().unwrap_or(0);
        data.len() == 1
    }
}

hid_function!(Keyboard, REPORTS);

impl Device for Keyboard {
    fn reset(&mut self, _: &mut Cx<'_>) {
        self.s = State::default();
    }

    fn usb(&mut self) -> Option<&mut dyn UsbPart> {
        Some(self)
    }

    fn input(&mut self, event: InputEvent, cx: &mut Cx<'_>) {
        let InputEvent::Key { usage, down } = event else { return };
        if self.s.down.contains(&usage) == down {
            return;
        }
        self.s.down.retain(|k| *k != usage);
        if down {
            self.s.down.push(usage);
        }
        let report = self.now();
        self.s.hid.report(report, cx);
    }

    crate::snapshot!(s);
}
