//! What all USB functions have in common: the default control pipe with its standard requests (USB 2.0 ch. 8.5.3, 9).
//!
//! Transactions at endpoint 0 -> a request, its data stage -> the standard's own, or [`Function::request`]; others -> [`Function::transfer`].
//! Descriptors are data. Not modelled: data toggles (no packet is ever lost or repeated), test modes, descriptors of the other speed.

use emu_machine::device::Cx;
use emu_machine::parts::{UsbReply, UsbSpeed, UsbToken};
use serde::{Deserialize, Serialize};

/// What a function says about itself.
pub(super) struct Description {
    pub speed: UsbSpeed,
    /// Its device descriptor; strings 1 to 3 are manufacturer, product and serial number.
    pub device: [u8; 18],
    /// Its one configuration, with interfaces and endpoints.
    pub configuration: &'static [u8],
    pub product: &'static str,
}

/// The maker of all parts here.
pub(super) const MANUFACTURER: &str = "emu";
/// The most bytes of the data stage of a request to a function.
const MOST: usize = 4096;

/// A device descriptor without a class of its own: packet size of endpoint 0, product number (of vendor 0x1209, pid.codes' test range).
pub(super) const fn device_descriptor(class: [u8; 3], packet: u8, product: u8) -> [u8; 18] {
    [18, 1, 0x00, 0x02, class[0], class[1], class[2], packet, 0x09, 0x12, product, 0x00, 0x00, 0x01, 1, 2, 3, 1]
}

/// The eight bytes of a SETUP (USB 2.0 table 9-2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// Direction, type and recipient.
    pub kind: u8,
    pub request: u8,
    pub value: u16,
    pub index: u16,
    pub length: u16,
}

impl Request {
    fn new(b: [u8; 8]) -> Request {
        let word = |i: usize| u16::from_le_bytes([b[i], b[i + 1]]);
        Request { kind: b[0], request: b[1], value: word(2), index: word(4), length: word(6) }
    }

    fn reads(self) -> bool {
        self.kind & 0x80 != 0
    }
}

/// The state of the default control pipe, and what standard requests set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Pipe {
    address: u8,
    /// Takes effect after the status stage.
    next_address: Option<u8>,
    configuration: u8,
    /// Halted endpoints: OUT by bit, IN from bit 16 on.
    halted: u32,
    /// The host allows it to wake it up.
    wakeup: bool,
    request: Option<Request>,
    /// Of the data stage: to come, or to go.
    data: Vec<u8>,
    stalled: bool,
}

/// The bit of an endpoint by its address, direction included.
fn bit(endpoint: u8) -> u32 {
    1 << (endpoint & 15) << (endpoint >> 7 << 4)
}

impl Pipe {
    pub fn is_configured(&self) -> bool {
        self.configuration != 0
    }

    /// Halts an endpoint, by its address with direction.
    pub fn halt(&mut self, endpoint: u8) {
        self.halted |= bit(endpoint);
    }

    pub fn is_halted(&self, endpoint: u8) -> bool {
        self.halted & bit(endpoint) != 0
    }
}

/// A USB function.
pub(super) trait Function {
    fn description(&self) -> &Description;
    fn serial(&self) -> &str;
    fn pipe(&mut self) -> &mut Pipe;
    /// A request that is no standard one of devices: its answer, or `None` for a stall. `data` came with it.
    fn request(&mut self, request: Request, data: &[u8], cx: &mut Cx<'_>) -> Option<Vec<u8>>;
    /// A transaction at another endpoint than 0 that is not halted.
    fn transfer(&mut self, endpoint: u8, token: UsbToken<'_>, cx: &mut Cx<'_>) -> UsbReply;
    /// It has a configuration now, or none any more: everything begins anew.
    fn configured(&mut self, cx: &mut Cx<'_>);
    /// The host cleared the halt of an endpoint; false: it stays.
    fn cleared(&mut self, endpoint: u8) -> bool {
        let _ = endpoint;
        true
    }
}

/// The port is reset.
pub(super) fn reset(f: &mut dyn Function, cx: &mut Cx<'_>) {
    *f.pipe() = Pipe::default();
    f.configured(cx);
}

/// A transaction, if the address is this function's.
pub(super) fn transact(f: &mut dyn Function, address: u8, endpoint: u8, token: UsbToken<'_>, cx: &mut Cx<'_>) -> Option<UsbReply> {
    if f.pipe().address != address {
        return None;
    }
    if endpoint == 0 {
        return Some(control(f, token, cx));
    }
    let with_direction = endpoint | if matches!(token, UsbToken::In(_)) { 0x80 } else { 0 };
    if !f.pipe().is_configured() || matches!(token, UsbToken::Setup(_)) {
        return None;
    }
    if f.pipe().is_halted(with_direction) {
        return Some(UsbReply::Stall);
    }
    let reply = f.transfer(endpoint, token, cx);
    if reply == UsbReply::Stall {
        f.pipe().halt(with_direction);
    }
    Some(reply)
}

fn control(f: &mut dyn Function, token: UsbToken<'_>, cx: &mut Cx<'_>) -> UsbReply {
    if let UsbToken::Setup(bytes) = token {
        let request = Request::new(bytes);
        let pipe = f.pipe();
        (pipe.request, pipe.stalled, pipe.next_address) = (Some(request), false, None);
        pipe.data.clear();
        if request.reads() || request.length == 0 {
            answer(f, request, cx);
        }
        return UsbReply::Ack;
    }
    let pipe = f.pipe();
    let Some(request) = pipe.request.filter(|_| !pipe.stalled) else { return UsbReply::Stall };
    match token {
        UsbToken::In(n) if request.reads() => {
            let n = n.min(pipe.data.len());
            UsbReply::Data(pipe.data.drain(..n).collect())
        }
        // Status stages.
        UsbToken::Out(_) if request.reads() => {
            pipe.request = None;
            UsbReply::Ack
        }
        UsbToken::In(_) => {
            pipe.request = None;
            if let Some(address) = pipe.next_address.take() {
                pipe.address = address;
            }
            UsbReply::Data(vec![])
        }
        UsbToken::Out(bytes) => {
            let whole = pipe.data.len() + bytes.len();
            if whole > usize::from(request.length).min(MOST) {
                pipe.stalled = true;
                return UsbReply::Stall;
            }
            pipe.data.extend_from_slice(bytes);
            if whole == usize::from(request.length) {
                answer(f, request, cx);
                if f.pipe().stalled {
                    return UsbReply::Stall;
                }
            }
            UsbReply::Ack
        }
        UsbToken::Setup(_) => UsbReply::Stall,
    }
}

/// Does what is asked.
fn answer(f: &mut dyn Function, request: Request, cx: &mut Cx<'_>) {
    let data = std::mem::take(&mut f.pipe().data);
    let answer = standard(f, request, cx).unwrap_or_else(|| f.request(request, &data, cx));
    let pipe = f.pipe();
    match answer {
        Some(mut data) => {
            data.truncate(request.length.into());
            pipe.data = data;
        }
        None => pipe.stalled = true,
    }
}

const DEVICE_REMOTE_WAKEUP: u16 = 1;
const ENDPOINT_HALT: u16 = 0;

/// A standard request: its answer, or `Some(None)` for a stall; `None`: it is not one, or the function's own.
fn standard(f: &mut dyn Function, r: Request, cx: &mut Cx<'_>) -> Option<Option<Vec<u8>>> {
    let done = Some(Some(vec![]));
    let endpoint = r.index as u8;
    match (r.kind, r.request) {
        // GET_STATUS
        (0x80, 0) => {
            let powered = f.description().configuration.get(7).is_some_and(|a| a & 0x40 != 0);
            Some(Some(vec![u8::from(powered) | u8::from(f.pipe().wakeup) << 1, 0]))
        }
        (0x81, 0) => Some(Some(vec![0, 0])),
        (0x82, 0) => Some(Some(vec![u8::from(f.pipe().is_halted(endpoint)), 0])),
        // CLEAR_FEATURE, SET_FEATURE
        (0x00, 1 | 3) if r.value == DEVICE_REMOTE_WAKEUP => {
            f.pipe().wakeup = r.request == 3;
            done
        }
        (0x02, 1) if r.value == ENDPOINT_HALT => {
            if f.cleared(endpoint) {
                f.pipe().halted &= !bit(endpoint);
            }
            done
        }
        (0x02, 3) if r.value == ENDPOINT_HALT => {
            f.pipe().halt(endpoint);
            done
        }
        // SET_ADDRESS
        (0x00, 5) if r.value < 128 => {
            f.pipe().next_address = Some(r.value as u8);
            done
        }
        (0x80, 6) => Some(descriptor(f, r)),
        // GET_CONFIGURATION, SET_CONFIGURATION
        (0x80, 8) => Some(Some(vec![f.pipe().configuration])),
        (0x00, 9) if r.value < 2 => {
            (f.pipe().configuration, f.pipe().halted) = (r.value as u8, 0);
            f.configured(cx);
            done
        }
        // GET_INTERFACE, SET_INTERFACE
        (0x81, 10) => Some(Some(vec![0])),
        (0x01, 11) if r.value == 0 => done,
        _ if r.kind & 0x7f == 0 => Some(None),
        _ => None,
    }
}

fn descriptor(f: &dyn Function, r: Request) -> Option<Vec<u8>> {
    let description = f.description();
    match r.value >> 8 {
        1 => Some(description.device.to_vec()),
        2 => Some(description.configuration.to_vec()),
        3 => match r.value & 0xff {
            // US English.
            0 => Some(vec![4, 3, 0x09, 0x04]),
            1 => Some(string(MANUFACTURER)),
            2 => Some(string(description.product)),
            3 => Some(string(f.serial())),
            _ => None,
        },
        // What it would be at the other speed: nothing.
        6 if description.speed == UsbSpeed::High => {
            let d = &description.device;
            Some(vec![10, 6, d[2], d[3], d[4], d[5], d[6], 64, 0, 0])
        }
        _ => None,
    }
}

fn string(text: &str) -> Vec<u8> {
    let units: Vec<u8> = text.encode_utf16().take(126).flat_map(u16::to_le_bytes).collect();
    [&[units.len() as u8 + 2, 3], &units[..]].concat()
}
