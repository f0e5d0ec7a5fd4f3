//! A USB stick: mass storage class, bulk-only transport 1.0, SCSI commands ([`super::scsi`]).
//!
//! A command block at endpoint 2 -> its data, from the drive or to it -> its status at endpoint 1. While the drive works the endpoint NAKs, and
//! the part raises its hand when there is more. Descriptors are those of a high-speed device. Not modelled: more than one logical unit.

use super::function::{Description, Function, Pipe, Request, device_descriptor, reset, transact};
use super::scsi::{Identity, Outcome, READ_ERROR, Unit, WRITE_ERROR};
use emu_machine::backend::{DiskRequest, DiskResult};
use emu_machine::device::{Cx, Device};
use emu_machine::parts::{PartBus, UsbPart, UsbReply, UsbSpeed, UsbToken};
use emu_machine::schema::{DeviceType, PropKind, PropSpec, Props};
use serde::{Deserialize, Serialize};

/// `usb-storage`.
pub const TYPE: DeviceType = DeviceType {
    part: Some(PartBus::Usb),
    props: &[
        PropSpec {
            name: "serial",
            kind: PropKind::Text,
            default: Some("000000000001"),
            doc: "serial number, at least 12 hexadecimal digits",
        },
        PropSpec { name: "removable", kind: PropKind::Bool, default: Some("#true"), doc: "its medium may be changed" },
    ],
    drives: &["disk"],
    ..DeviceType::new("usb-storage", "USB mass storage, high speed (bulk-only transport, SCSI)", create)
};

const PRODUCT: &str = "USB stick";

static DESCRIPTION: Description = Description {
    speed: UsbSpeed::High,
    device: device_descriptor([0, 0, 0], 64, 1),
    configuration: &[
        9, 2, 32, 0, 1, 1, 0, 0x80, 50, // configuration: 100 mA
        9, 4, 0, 0, 2, 8, 6, 0x50, 0, // interface: mass storage, SCSI, bulk only
        7, 5, 0x81, 2, 0x00, 0x02, 0, // bulk in, 512 bytes
        7, 5, 0x02, 2, 0x00, 0x02, 0, // bulk out, 512 bytes
    ],
    product: PRODUCT,
};

const IN: u8 = 0x81;
const OUT: u8 = 0x02;
const PACKET: usize = 512;
/// Bytes asked of the drive at once.
const CHUNK: u64 = 256 << 10;
const WRAPPER: &[u8; 4] = b"USBC";

/// Where in a command it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
enum Phase {
    #[default]
    Command,
    /// Bytes to the host: those in the buffer, and more from the disk.
    In,
    /// Bytes from the host, to the disk.
    Out,
    /// The drive finishes, then comes the status.
    Busy,
    Status,
    /// An invalid wrapper: nothing but a reset helps.
    Lost,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    pipe: Pipe,
    unit: Unit,
    phase: Phase,
    tag: u32,
    /// Bytes the host expects that were not moved: the residue of the status.
    expected: u32,
    status: u8,
    /// To the host, or for the disk.
    buffer: Vec<u8>,
    /// What of it is gone already.
    sent: usize,
    /// Where on the disk it goes on, and how many bytes are left.
    at: u64,
    left: u64,
    /// Whether the command reads from the drive, for its errors.
    reads: bool,
    /// The drive's answer with this number is waited for.
    waits: bool,
    number: u32,
}

impl State {
    fn is_sound(&self) -> bool {
        self.sent <= self.buffer.len() && self.buffer.len() as u64 <= 2 * CHUNK
    }
}

struct Storage {
    s: State,
    serial: String,
    removable: bool,
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    let serial = props.text("serial").to_string();
    Ok(Box::new(Storage { s: State::default(), serial, removable: props.flag("removable") }))
}

impl Storage {
    /// Nothing is under way any more; answers of the drive that still come are for nobody.
    fn begin_anew(&mut self) {
        let old = std::mem::take(&mut self.s);
        self.s = State { pipe: old.pipe, unit: old.unit, number: old.number.wrapping_add(1), ..State::default() };
    }

    fn submit(&mut self, request: DiskRequest, cx: &mut Cx<'_>) {
        self.s.waits = true;
        cx.disk_submit(0, self.s.number, request);
    }

    /// A command block wrapper (5.1); false: it is none.
    fn command(&mut self, bytes: &[u8], cx: &mut Cx<'_>) -> bool {
        let Ok(w) = <&[u8; 31]>::try_from(bytes) else { return false };
        let (unit, len) = (w[13], usize::from(w[14]));
        if w[..4] != WRAPPER[..] || unit > 15 || len == 0 || len > 16 {
            return false;
        }
        let word = |i: usize| u32::from_le_bytes([w[i], w[i + 1], w[i + 2], w[i + 3]]);
        let to_host = w[12] & 0x80 != 0;
        (self.s.tag, self.s.expected, self.s.status) = (word(4), word(8), 0);
        self.s.buffer.clear();
        self.s.sent = 0;
        let identity = Identity { removable: self.removable, product: PRODUCT, serial: &self.serial };
        let outcome = self.s.unit.execute(unit, &w[15..15 + len], cx.medium(0), &identity);
        let expected = u64::from(self.s.expected);
        match outcome {
            Outcome::Data(data) if data.is_empty() => self.no_data(to_host),
            Outcome::Data(mut data) => {
                data.truncate(self.s.expected as usize);
                if self.fits(to_host, true, data.len() as u64) {
                    (self.s.buffer, self.s.left, self.s.phase) = (data, 0, Phase::In);
                }
            }
            Outcome::Read(_, 0) | Outcome::Write(_, 0) => self.no_data(to_host),
            Outcome::Read(at, len) => {
                if self.fits(to_host, true, len) {
                    (self.s.at, self.s.left, self.s.phase, self.s.reads) = (at, len.min(expected), Phase::In, true);
                    self.read_on(cx);
                }
            }
            Outcome::Write(at, len) => {
                if self.fits(to_host, false, len) {
                    (self.s.at, self.s.left, self.s.phase, self.s.reads) = (at, len.min(expected), Phase::Out, false);
                }
            }
            Outcome::Flush => {
                (self.s.phase, self.s.reads) = (Phase::Busy, false);
                self.submit(DiskRequest::Flush, cx);
            }
            Outcome::Failed => {
                self.s.status = 1;
                self.no_data(to_host);
            }
        }
        true
    }

    /// The host expects data in the direction in which they go; if not, it is a phase error. So it is if there are more of them (6.7).
    fn fits(&mut self, to_host: bool, sends: bool, len: u64) -> bool {
        let right = to_host == sends && self.s.expected > 0;
        if !right || len > self.s.expected.into() {
            self.s.status = 2;
        }
        if !right {
            self.no_data(to_host);
        }
        right
    }

    /// No data, or no more: an endpoint at which some are expected is halted.
    fn no_data(&mut self, to_host: bool) {
        self.s.phase = Phase::Status;
        if self.s.expected > 0 {
            self.s.pipe.halt(if to_host { IN } else { OUT });
        }
    }

    /// Asks the drive for what comes next.
    fn read_on(&mut self, cx: &mut Cx<'_>) {
        let len = self.s.left.min(CHUNK);
        if len > 0 && !self.s.waits {
            self.submit(DiskRequest::Read { at: self.s.at, len: len as u32 }, cx);
        }
    }

    /// Data to the host.
    fn send(&mut self, n: usize, cx: &mut Cx<'_>) -> UsbReply {
        let there = self.s.buffer.len() - self.s.sent;
        if there == 0 && self.s.left > 0 {
            return UsbReply::Nak;
        }
        let last = self.s.left == 0;
        let n = n.min(there);
        // Only whole packets, but for the last.
        let n = if last || n < PACKET { n } else { n - n % PACKET };
        let data = self.s.buffer.get(self.s.sent..self.s.sent + n).unwrap_or_default().to_vec();
        self.s.sent += n;
        self.s.expected = self.s.expected.saturating_sub(n as u32);
        if self.s.sent == self.s.buffer.len() {
            self.s.buffer.clear();
            self.s.sent = 0;
            if last {
                // A short packet says that no more will come; else it is the halt.
                self.s.phase = Phase::Status;
                if self.s.expected > 0 && n.is_multiple_of(PACKET) {
                    self.s.pipe.halt(IN);
                }
            } else {
                self.read_on(cx);
            }
        }
        UsbReply::Data(data)
    }

    /// Data from the host.
    fn take(&mut self, bytes: &[u8], cx: &mut Cx<'_>) -> UsbReply {
        if self.s.waits {
            return UsbReply::Nak;
        }
        let wanted = self.s.left.saturating_sub(self.s.buffer.len() as u64);
        let n = (bytes.len() as u64).min(wanted).min(CHUNK) as usize;
        self.s.buffer.extend_from_slice(&bytes[..n]);
        self.s.expected = self.s.expected.saturating_sub(bytes.len() as u32);
        if self.s.buffer.len() as u64 >= self.s.left.min(CHUNK) {
            let bytes = std::mem::take(&mut self.s.buffer);
            let (at, len) = (self.s.at, bytes.len() as u64);
            (self.s.at, self.s.left) = (at.saturating_add(len), self.s.left.saturating_sub(len));
            if self.s.left == 0 {
                self.s.phase = Phase::Busy;
            }
            self.submit(DiskRequest::Write { at, bytes }, cx);
        }
        UsbReply::Ack
    }

    /// A command status wrapper (5.2).
    fn status(&mut self) -> UsbReply {
        let mut csw = b"USBS".to_vec();
        csw.extend(self.s.tag.to_le_bytes());
        csw.extend(self.s.expected.to_le_bytes());
        csw.push(self.s.status);
        self.s.phase = Phase::Command;
        UsbReply::Data(csw)
    }
}

impl Function for Storage {
    fn description(&self) -> &Description {
        &DESCRIPTION
    }

    fn serial(&self) -> &str {
        &self.serial
    }

    fn pipe(&mut self) -> &mut Pipe {
        &mut self.s.pipe
    }

    fn request(&mut self, request: Request, _: &[u8], _: &mut Cx<'_>) -> Option<Vec<u8>> {
        match (request.kind, request.request) {
            // Get Max LUN
            (0xa1, 0xfe) => Some(vec![0]),
            // Bulk-Only Mass Storage Reset; halts stay until they are cleared.
            (0x21, 0xff) => {
                self.begin_anew();
                Some(vec![])
            }
            _ => None,
        }
    }

    fn transfer(&mut self, endpoint: u8, token: UsbToken<'_>, cx: &mut Cx<'_>) -> UsbReply {
        match (endpoint, token, self.s.phase) {
            (2, UsbToken::Out(bytes), Phase::Command) => {
                if self.command(bytes, cx) {
                    return UsbReply::Ack;
                }
                cx.guest_error("an invalid command block wrapper");
                self.s.phase = Phase::Lost;
                self.s.pipe.halt(IN);
                UsbReply::Stall
            }
            (2, UsbToken::Out(bytes), Phase::Out) => self.take(bytes, cx),
            (1, UsbToken::In(n), Phase::In) => self.send(n, cx),
            (1, UsbToken::In(13..), Phase::Status) => self.status(),
            (1 | 2, _, Phase::Lost) => UsbReply::Stall,
            (1 | 2, _, _) => UsbReply::Nak,
            _ => UsbReply::Stall,
        }
    }

    fn configured(&mut self, _: &mut Cx<'_>) {
        self.begin_anew();
    }

    fn cleared(&mut self, _: u8) -> bool {
        self.s.phase != Phase::Lost
    }
}

impl UsbPart for Storage {
    fn speed(&self) -> Option<UsbSpeed> {
        Some(UsbSpeed::High)
    }
    fn reset(&mut self, cx: &mut Cx<'_>) {
        reset(self, cx);
    }
    fn transact(&mut self, address: u8, endpoint: u8, token: UsbToken<'_>, cx: &mut Cx<'_>) -> Option<UsbReply> {
        transact(self, address, endpoint, token, cx)
    }
}

impl Device for Storage {
    fn reset(&mut self, _: &mut Cx<'_>) {
        self.s = State::default();
    }

    fn usb(&mut self) -> Option<&mut dyn UsbPart> {
        Some(self)
    }

    fn disk_done(&mut self, _: usize, tag: u32, result: DiskResult, cx: &mut Cx<'_>) {
        if tag != self.s.number || !self.s.waits {
            return;
        }
        self.s.waits = false;
        match result {
            Ok(bytes) if self.s.phase == Phase::In => {
                let n = bytes.len() as u64;
                (self.s.at, self.s.left) = (self.s.at.saturating_add(n), self.s.left.saturating_sub(n.max(1)));
                (self.s.buffer, self.s.sent) = (bytes, 0);
            }
            Ok(_) if self.s.phase == Phase::Busy => self.s.phase = Phase::Status,
            Ok(_) => {}
            Err(_) => {
                self.s.unit.fail(if self.s.reads { READ_ERROR } else { WRITE_ERROR });
                self.s.status = 1;
                self.s.buffer.clear();
                (self.s.sent, self.s.left) = (0, 0);
                match self.s.phase {
                    Phase::In => self.no_data(true),
                    Phase::Out => self.no_data(false),
                    _ => self.s.phase = Phase::Status,
                }
            }
        }
        cx.notify();
    }

    fn medium_changed(&mut self, _: usize, _: &mut Cx<'_>) {
        self.s.unit.medium_changed();
    }

    crate::snapshot!(s);
}
