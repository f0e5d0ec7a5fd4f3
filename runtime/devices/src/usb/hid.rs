//! Human interface devices: what keyboards and pointers have in common (HID 1.11 ch. 7).
//!
//! Input events -> reports in a queue -> endpoint 1, one at a time, so that nothing that happens between two looks of the host is lost. Without
//! news the endpoint NAKs. Not modelled: idle rates (a report comes only when something changed), feature reports.

use super::function::{Description, Pipe, Request};
use emu_machine::device::Cx;
use emu_machine::parts::{UsbReply, UsbToken};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Reports that wait for a host that does not look; what happens then is lost.
const WAITING: usize = 256;

/// What is the same in all of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Hid {
    pub pipe: Pipe,
    reports: VecDeque<Vec<u8>>,
    idle: u8,
    /// 1: the report protocol, as after a reset; 0: the boot protocol, whose reports are the same here.
    boot: bool,
}

impl Hid {
    pub fn is_sound(&self) -> bool {
        self.reports.len() <= WAITING && self.reports.iter().all(|r| r.len() <= 64)
    }

    /// A report for the host.
    pub fn report(&mut self, report: Vec<u8>, cx: &mut Cx<'_>) {
        if self.pipe.is_configured() && self.reports.len() < WAITING {
            self.reports.push_back(report);
            cx.notify();
        }
    }

    /// The report that comes last, if it still waits.
    pub fn last(&mut self) -> Option<&mut Vec<u8>> {
        self.reports.back_mut()
    }

    /// A configuration begins.
    pub fn configured(&mut self) {
        self.reports.clear();
        (self.idle, self.boot) = (0, false);
    }

    /// Endpoint 1.
    pub fn transfer(&mut self, endpoint: u8, token: &UsbToken<'_>) -> UsbReply {
        match (endpoint, token) {
            (1, UsbToken::In(n)) => self.reports.pop_front().map_or(UsbReply::Nak, |mut report| {
                report.truncate(*n);
                UsbReply::Data(report)
            }),
            _ => UsbReply::Stall,
        }
    }

    /// Requests of the class and for its descriptors. `descriptor`: of its reports; `now`: the report there would be now.
    pub fn request(&mut self, r: Request, description: &Description, descriptor: &[u8], now: Vec<u8>) -> Option<Vec<u8>> {
        match (r.kind, r.request) {
            // GET_DESCRIPTOR: the HID descriptor lies behind the interface's in the configuration.
            (0x81, 6) if r.value >> 8 == 0x21 => description.configuration.get(18..27).map(<[u8]>::to_vec),
            (0x81, 6) if r.value >> 8 == 0x22 => Some(descriptor.to_vec()),
            // GET_REPORT (input), GET_IDLE, GET_PROTOCOL
            (0xa1, 1) if r.value >> 8 == 1 => Some(now),
            (0xa1, 2) => Some(vec![self.idle]),
            (0xa1, 3) => Some(vec![u8::from(!self.boot)]),
            // SET_IDLE, SET_PROTOCOL
            (0x21, 10) => {
                self.idle = (r.value >> 8) as u8;
                Some(vec![])
            }
            (0x21, 11) => {
                self.boot = r.value == 0;
                Some(vec![])
            }
            _ => None,
        }
    }
}

/// `UsbPart` and the part of `Function` that is the same in all of them; the state is `s`, with its [`Hid`] in `hid`.
macro_rules! hid_function {
    ($type:ty, $reports:expr) => {
        impl $crate::usb::function::Function for $type {
            fn description(&self) -> &$crate::usb::function::Description {
                &DESCRIPTION
            }
            fn serial(&self) -> &str {
                &self.serial
            }
            fn pipe(&mut self) -> &mut $crate::usb::function::Pipe {
                &mut self.s.hid.pipe
            }
            fn request(&mut self, request: $crate::usb::function::Request, data: &[u8], _: &mut Cx<'_>) -> Option<Vec<u8>> {
                // SET_REPORT (output)
                if (request.kind, request.request, request.value >> 8) == (0x21, 9, 2) {
                    return self.output(data).then(Vec::new);
                }
                let now = self.now();
                self.s.hid.request(request, &DESCRIPTION, $reports, now)
            }
            fn transfer(&mut self, endpoint: u8, token: UsbToken<'_>, _: &mut Cx<'_>) -> UsbReply {
                self.s.hid.transfer(endpoint, &token)
            }
            fn configured(&mut self, _: &mut Cx<'_>) {
                self.s.hid.configured();
            }
        }

        impl emu_machine::parts::UsbPart for $type {
            fn speed(&self) -> Option<UsbSpeed> {
                Some(DESCRIPTION.speed)
            }
            fn reset(&mut self, cx: &mut Cx<'_>) {
                $crate::usb::function::reset(self, cx);
            }
            fn transact(&mut self, address: u8, endpoint: u8, token: UsbToken<'_>, cx: &mut Cx<'_>) -> Option<UsbReply> {
                $crate::usb::function::transact(self, address, endpoint, token, cx)
            }
        }
    };
}
pub(super) use hid_function;

/// The serial number's property.
pub(super) const SERIAL: emu_machine::schema::PropSpec = emu_machine::schema::PropSpec {
    name: "serial",
    kind: emu_machine::schema::PropKind::Text,
    default: Some("1"),
    doc: "serial number, as its string descriptor has it",
};
