//! The USB controller: registers, port, schedules, with a small part of the tests' own.

use crate::bench::{Bench, device};
use emu_machine::device::{Cx, Device};
use emu_machine::parts::{PartBus, UsbPart, UsbReply, UsbSpeed, UsbToken};
use emu_machine::schema::{DeviceType, PropKind, PropSpec, Value};

pub const COMMAND: u64 = 0x140;
pub const STATUS: u64 = 0x144;
const INTERRUPTS: u64 = 0x148;
const FRINDEX: u64 = 0x14c;
const PERIODIC: u64 = 0x154;
const ASYNC: u64 = 0x158;
pub const PORT: u64 = 0x184;
const MODE: u64 = 0x1a8;

// USB command.
pub const RUN: u32 = 1;
const WITH_PERIODIC: u32 = 0x10;
const WITH_ASYNC: u32 = 0x20;
const DOORBELL: u32 = 0x40;
// USB status.
const DONE: u32 = 1;
const ERROR: u32 = 2;
const PORT_CHANGE: u32 = 4;
const ROLLOVER: u32 = 8;
const SYSTEM_ERROR: u32 = 0x10;
const ADVANCE: u32 = 0x20;
const HALTED: u32 = 0x1000;
// Status of a transfer descriptor.
pub const ACTIVE: u32 = 0x80;
pub const HALT: u32 = 0x40;

pub const OUT: u32 = 0;
pub const IN: u32 = 1;
pub const SETUP: u32 = 2;

const HEAD: u32 = 0x1000;
const QUEUE: u32 = 0x1100;
const DESCRIPTORS: u32 = 0x2000;
const FRAMES: u32 = 0x3000;
pub const BUFFER: u32 = 0x5000;

/// Endpoint 1 gives back in packets of 64 bytes what it was sent; 2 stalls; 3 is not there; 4 gives too much; 5 all that is asked, the bytes counting;
/// 6 says how often it was asked, and NAKs every second time.
const ECHO: DeviceType = DeviceType {
    part: Some(PartBus::Usb),
    props: &[PropSpec { name: "speed", kind: PropKind::Int { min: 0, max: 2 }, default: Some("2"), doc: "" }],
    ..DeviceType::new("test,echo", "", |props| {
        let speed = [UsbSpeed::Low, UsbSpeed::Full, UsbSpeed::High][props.int("speed") as usize];
        Ok(Box::new(Echo { speed, bytes: vec![], asked: 0, resets: 0 }))
    })
};

struct Echo {
    speed: UsbSpeed,
    bytes: Vec<u8>,
    asked: u8,
    resets: u8,
}

impl UsbPart for Echo {
    fn speed(&self) -> Option<UsbSpeed> {
        Some(self.speed)
    }
    fn reset(&mut self, _: &mut Cx<'_>) {
        self.resets += 1;
        self.bytes.clear();
    }
    fn transact(&mut self, address: u8, endpoint: u8, token: UsbToken<'_>, cx: &mut Cx<'_>) -> Option<UsbReply> {
        if address != 9 || endpoint == 3 {
            return None;
        }
        Some(match (endpoint, token) {
            (1, UsbToken::Out(bytes)) => {
                self.bytes.extend(bytes);
                cx.notify();
                UsbReply::Ack
            }
            (1, UsbToken::In(_)) if self.bytes.is_empty() => UsbReply::Nak,
            (1, UsbToken::In(n)) => UsbReply::Data(self.bytes.drain(..self.bytes.len().min(n)).collect()),
            (4, UsbToken::In(n)) => UsbReply::Data(vec![1; n + 1]),
            (5, UsbToken::In(n)) => UsbReply::Data((0..n).map(|i| (i / 7) as u8).collect()),
            (6, UsbToken::In(_)) => {
                self.asked += 1;
                if self.asked.is_multiple_of(2) { UsbReply::Nak } else { UsbReply::Data(vec![self.asked, self.resets]) }
            }
            (0, UsbToken::Setup(_)) => UsbReply::Ack,
            _ => UsbReply::Stall,
        })
    }
}

impl Device for Echo {
    fn reset(&mut self, _: &mut Cx<'_>) {}
    fn usb(&mut self) -> Option<&mut dyn UsbPart> {
        Some(self)
    }
    fn save(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
    fn load(&mut self, _: &serde_json::Value) -> Result<(), String> {
        Ok(())
    }
}

/// A controller with a part, as a driver sees them.
pub struct Usb {
    pub b: Bench,
}

/// The type called so.
pub fn kind(name: &str) -> DeviceType {
    emu_devices::registry().into_iter().find(|k| k.name == name).unwrap()
}

impl Usb {
    /// In host mode, with power, before anything else.
    pub fn cold(part: &DeviceType, given: &[(String, Value)]) -> Usb {
        let mut usb = Usb { b: device("chipidea,usb2", 0) };
        usb.b.bench.attach(0, 1, part, given);
        usb.b.write(MODE, 3);
        usb.b.write(PORT, 0x1000);
        usb
    }

    /// Running, with the port reset.
    pub fn with(part: &DeviceType, given: &[(String, Value)]) -> Usb {
        let mut usb = Usb::cold(part, given);
        usb.reset_port();
        usb.empty_async();
        usb.b.write(COMMAND, RUN | WITH_ASYNC);
        usb
    }

    pub fn reset_port(&mut self) {
        self.b.write(PORT, 0x1100);
        self.b.bench.advance(20_000_000);
    }

    pub fn put(&mut self, at: u32, words: &[u32]) {
        for (i, word) in words.iter().enumerate() {
            let at = at as usize + 4 * i;
            self.b.bench.memory()[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
    }

    pub fn get(&mut self, at: u32) -> u32 {
        let bytes = &self.b.bench.memory()[at as usize..][..4];
        u32::from_le_bytes(bytes.try_into().unwrap())
    }

    /// A list of nothing but its head.
    fn empty_async(&mut self) {
        self.put(HEAD, &[HEAD | 2, 1 << 15, 1 << 30, 0, 1, 1, 0x40]);
        self.b.write(ASYNC, HEAD);
    }

    /// A queue of an endpoint at this place, which goes on with this link.
    fn queue(&mut self, at: u32, link: u32, address: u8, endpoint: u8, packet: u32, first: u32) {
        let head = packet << 16 | 1 << 14 | 2 << 12 | u32::from(endpoint) << 8 | u32::from(address);
        self.put(at, &[link, head, 1 << 30, 0, first, 1, 0, 0, 0, 0, 0, 0]);
    }

    /// Transfer descriptors: PID, bytes, at most; each interrupts. Buffers lie one page apart; a link for short packets goes to the last.
    fn descriptors(&mut self, all: &[(u32, u32)]) {
        let place = |i: usize| DESCRIPTORS + 0x20 * i as u32;
        for (i, (pid, len)) in all.iter().enumerate() {
            let last = i + 1 == all.len();
            let (next, alternate) = if last { (1, 1) } else { (place(i + 1), place(all.len() - 1)) };
            let toggle = if *pid == SETUP || i == 0 { 0 } else { 1 << 31 };
            let page = BUFFER + 0x1000 * i as u32;
            self.put(place(i), &[next, alternate, toggle | len << 16 | 1 << 15 | 3 << 10 | pid << 8 | ACTIVE, page]);
            let pages: Vec<u32> = (1..5).map(|p| (page + 0x1000 * p) & 0xf000).collect();
            self.put(place(i) + 16, &pages);
        }
    }

    fn token(&mut self, i: u32) -> u32 {
        self.get(DESCRIPTORS + 0x20 * i + 8)
    }

    /// Has these descriptors executed for an endpoint, for at most 100 ms.
    pub fn run(&mut self, address: u8, endpoint: u8, packet: u32, all: &[(u32, u32)]) {
        self.descriptors(all);
        self.queue(QUEUE, HEAD | 2, address, endpoint, packet, DESCRIPTORS);
        self.put(HEAD, &[QUEUE | 2]);
        for _ in 0..100 {
            self.b.bench.advance(1_000_000);
            let queue = self.get(QUEUE + 24);
            if self.token(all.len() as u32 - 1) & ACTIVE == 0 || queue & HALT != 0 {
                break;
            }
        }
        self.put(HEAD, &[HEAD | 2]);
    }

    /// One descriptor with these bytes to the part; its status.
    pub fn send(&mut self, address: u8, endpoint: u8, packet: u32, bytes: &[u8]) -> u32 {
        self.b.bench.memory()[BUFFER as usize..][..bytes.len()].copy_from_slice(bytes);
        self.run(address, endpoint, packet, &[(OUT, bytes.len() as u32)]);
        self.token(0) & 0xff
    }

    /// One descriptor for bytes from the part; its status, and what came.
    pub fn receive(&mut self, address: u8, endpoint: u8, packet: u32, len: u32) -> (u32, Vec<u8>) {
        self.run(address, endpoint, packet, &[(IN, len)]);
        let token = self.token(0);
        let came = (len - (token >> 16 & 0x7fff)) as usize;
        (token & 0xff, self.b.bench.memory()[BUFFER as usize..][..came].to_vec())
    }

    /// A control transfer: what came, or `None` if it stalled. `data` goes out.
    pub fn control(&mut self, address: u8, request: [u8; 8], data: &[u8]) -> Option<Vec<u8>> {
        self.b.bench.memory()[BUFFER as usize..][..8].copy_from_slice(&request);
        self.b.bench.memory()[BUFFER as usize + 0x1000..][..data.len()].copy_from_slice(data);
        let len = u32::from(u16::from_le_bytes([request[6], request[7]]));
        let stages: &[(u32, u32)] = match (len, request[0] & 0x80 != 0) {
            (0, _) => &[(SETUP, 8), (IN, 0)],
            (_, true) => &[(SETUP, 8), (IN, len), (OUT, 0)],
            (_, false) => &[(SETUP, 8), (OUT, len), (IN, 0)],
        };
        self.run(address, 0, 64, stages);
        let (last, came) = (self.token(stages.len() as u32 - 1), self.token(1) >> 16 & 0x7fff);
        let halted = self.get(QUEUE + 24) & HALT != 0;
        let mut data = || self.b.bench.memory()[BUFFER as usize + 0x1000..][..(len - came) as usize].to_vec();
        (last & 0xff == 0 && !halted).then(|| if len > 0 && request[0] & 0x80 != 0 { data() } else { vec![] })
    }
}

fn echo() -> Usb {
    Usb::with(&ECHO, &[])
}

fn speed(speed: i128) -> Vec<(String, Value)> {
    vec![("speed".into(), Value::Int(speed))]
}

#[test]
fn registers_are_as_the_manual_says() {
    let mut b = device("chipidea,usb2", 0);
    for (at, value) in [
        (0x000, 0xe441_fa05),
        (0x004, 0x83),
        (0x008, 0x1002_0001),
        (0x00c, 0x19),
        (0x100, 0x0100_0040),
        (0x104, 0x0001_0011),
        (0x108, 6),
        (0x124, 0x18c),
        (0x140, 0x0008_0000),
        (0x144, 0),
        (0x160, 0x1010),
        (0x170, 0x0800_0000),
        (0x180, 1),
        (0x184, 0x8c00_0004),
        (0x1a4, 0x1020),
        (0x1c0, 0x0080_0080),
    ] {
        assert_eq!(b.read(at), value, "{at:#x}");
    }
    assert_eq!(b.try_read(0, 0x100, 1, 0), Ok(0x40));
    assert_eq!(b.try_read(0, 0x102, 2, 0), Ok(0x100));
    // Only in host mode is it halted; and the mode stays until a reset.
    b.write(MODE, 3);
    assert_eq!(b.read(STATUS) & HALTED, HALTED);
    b.write(MODE, 2);
    assert_eq!(b.read(MODE), 3);
    b.write(COMMAND, RUN);
    assert_eq!(b.read(STATUS) & HALTED, 0);
    b.write(COMMAND, 2);
    assert_eq!((b.read(COMMAND), b.read(MODE)), (0x0008_0000, 0));
    b.write(MODE, 3);
    b.drive("reset", 0, true);
    b.write(MODE, 3);
    assert_eq!(b.read(MODE), 0);
}

#[test]
fn the_port_tells_what_is_plugged_in_and_how_fast_it_is() {
    for (i, lines, after) in [(0, 1, 0x0400_1005), (1, 2, 0x1005), (2, 2, 0x0800_1205)] {
        let mut usb = Usb::cold(&ECHO, &speed(i));
        let bits = usb.b.read(PORT);
        assert_eq!((bits & 7, bits >> 10 & 3, bits >> 26 & 3), (3, lines, 3), "{bits:#x}");
        usb.b.write(INTERRUPTS, PORT_CHANGE);
        assert!(usb.b.line("irq", 0));
        usb.b.write(STATUS, PORT_CHANGE);
        usb.b.write(PORT, 0x1002);
        assert!(!usb.b.line("irq", 0));
        usb.b.write(PORT, 0x1100);
        assert_eq!(usb.b.read(PORT) & 0x104, 0x100);
        // A write of 0 does not end it, time does.
        usb.b.write(PORT, 0x1000);
        assert_eq!(usb.b.read(PORT) & 0x104, 0x100);
        usb.b.bench.advance(10_000_000);
        assert_eq!(usb.b.read(PORT) & 0x0c00_13ff, after);
        // Off, and on again.
        usb.b.write(PORT, 0x0004);
        assert_eq!(usb.b.read(PORT) & 7, 2);
        usb.b.write(PORT, 0x1002);
        assert_eq!(usb.b.read(PORT) & 7, 3);
    }
    // Nothing there: a reset enables nothing.
    let mut b = device("chipidea,usb2", 0);
    b.write(MODE, 3);
    b.write(PORT, 0x1000);
    b.write(PORT, 0x1100);
    b.bench.advance(20_000_000);
    assert_eq!(b.read(PORT) & 0x107, 0);
}

#[test]
fn a_suspended_port_is_silent_until_it_is_resumed() {
    let mut usb = echo();
    usb.b.write(PORT, 0x1084);
    assert_eq!(usb.b.read(PORT) & 0x84, 0x84);
    assert_ne!(usb.receive(9, 5, 512, 16).0 & HALT, 0);
    usb.b.write(PORT, 0x10c4);
    assert_eq!(usb.b.read(PORT) & 0xc0, 0xc0);
    usb.b.bench.advance(20_000_000);
    assert_eq!(usb.b.read(PORT) & 0xc4, 4);
    assert_eq!(usb.receive(9, 5, 512, 16).0, 0);
    // Software may end a resume.
    usb.b.write(PORT, 0x1084);
    usb.b.write(PORT, 0x10c4);
    usb.b.write(PORT, 0x1084);
    assert_eq!(usb.b.read(PORT) & 0xc4, 4);
}

#[test]
fn transfers_go_through_pages_and_descriptors() {
    let mut usb = echo();
    usb.b.write(INTERRUPTS, DONE);
    // From the middle of a page on.
    usb.descriptors(&[(IN, 0x3000)]);
    usb.put(DESCRIPTORS + 12, &[BUFFER + 0x234]);
    usb.queue(QUEUE, HEAD | 2, 9, 5, 512, DESCRIPTORS);
    usb.put(HEAD, &[QUEUE | 2]);
    usb.b.bench.advance(1_000_000);
    // Twenty-four packets: the toggle is what it was; the fourth page.
    assert_eq!(usb.token(0), 3 << 12 | 1 << 15 | 3 << 10 | IN << 8);
    assert_eq!(usb.get(QUEUE + 12), DESCRIPTORS);
    assert_eq!(usb.get(QUEUE + 28) & 0xfff, 0x234);
    let pattern: Vec<u8> = (0..0x3000).map(|i| (i / 7) as u8).collect();
    assert!(usb.b.bench.memory()[BUFFER as usize + 0x234..][..0x3000] == pattern[..]);
    assert!(usb.b.line("irq", 0));
    usb.b.write(STATUS, DONE);
    assert!(!usb.b.line("irq", 0));
    // Odd numbers of packets change the toggle; two descriptors in order.
    usb.run(9, 5, 512, &[(IN, 512), (IN, 513)]);
    assert_eq!((usb.token(0), usb.token(1)), (1 << 31 | 0x8d00, 1 << 31 | 0x8d00));
    // To the part, and back.
    assert_eq!(usb.send(9, 1, 64, b"over the wire"), 0);
    assert_eq!(usb.receive(9, 1, 64, 13), (0, b"over the wire".to_vec()));
    // A SETUP.
    usb.run(9, 0, 64, &[(SETUP, 8)]);
    assert_eq!(usb.token(0) & 0xff, 0);
}

#[test]
fn a_short_packet_takes_the_other_way() {
    let mut usb = echo();
    assert_eq!(usb.send(9, 1, 64, &[7; 70]), 0);
    usb.run(9, 1, 64, &[(IN, 128), (IN, 128), (IN, 64)]);
    assert_eq!(usb.token(0) >> 16 & 0x7fff, 128 - 70);
    // The second is left out; the third waits for more.
    assert_eq!((usb.token(1) & 0xff, usb.token(2) & 0xff), (ACTIVE, ACTIVE));
    assert_eq!(usb.get(QUEUE + 12), DESCRIPTORS + 0x40);
    // Whole packets are no end.
    let mut usb = echo();
    assert_eq!(usb.send(9, 1, 64, &[7; 64]), 0);
    let (status, bytes) = usb.receive(9, 1, 64, 128);
    // The descriptor has what came when it is done.
    assert_eq!((status, bytes.len()), (ACTIVE, 0));
    assert_eq!(usb.get(QUEUE + 24) >> 16 & 0x7fff, 64);
}

#[test]
fn trouble_halts_a_queue() {
    let mut usb = echo();
    usb.b.write(INTERRUPTS, ERROR);
    for (endpoint, bits) in [(2, 0), (3, 8), (4, 0x10)] {
        assert_eq!(usb.receive(9, endpoint, 512, 16).0, HALT | bits, "endpoint {endpoint}");
        assert!(usb.b.line("irq", 0));
        usb.b.write(STATUS, ERROR);
        assert!(!usb.b.line("irq", 0));
        assert_eq!(usb.get(QUEUE + 24) & (ACTIVE | HALT), HALT);
    }
    // The errors allowed are counted down; without a count it goes on for ever.
    assert_eq!(usb.token(0) >> 10 & 3, 3);
    usb.run(8, 5, 512, &[(IN, 16)]);
    assert_eq!((usb.token(0) >> 10 & 3, usb.token(0) & 0xff), (0, HALT | 8));
    // More than five pages, a reserved PID, a wrong SETUP.
    usb.run(9, 5, 512, &[(IN, 0x5001)]);
    assert_eq!(usb.token(0) & 0xff, HALT | 0x20);
    usb.run(9, 5, 512, &[(3, 8)]);
    assert_eq!(usb.token(0) & 0xff, HALT | 8);
    usb.run(9, 0, 512, &[(SETUP, 7)]);
    assert_eq!(usb.token(0) & 0xff, HALT | 8);
}

#[test]
fn the_doorbell_is_answered_when_nothing_is_held_any_more() {
    let mut usb = echo();
    usb.b.write(INTERRUPTS, ADVANCE);
    usb.b.bench.advance(100_000_000);
    usb.b.write(COMMAND, RUN | WITH_ASYNC | DOORBELL);
    assert_eq!(usb.b.read(COMMAND) & DOORBELL, DOORBELL);
    usb.b.bench.advance(200_000);
    assert!(usb.b.line("irq", 0));
    assert_eq!(usb.b.read(COMMAND) & DOORBELL, 0);
}

#[test]
fn who_has_nothing_costs_little_and_is_heard_when_he_has() {
    let mut usb = echo();
    usb.descriptors(&[(IN, 64)]);
    usb.queue(QUEUE, HEAD | 2, 9, 6, 64, DESCRIPTORS);
    usb.put(HEAD, &[QUEUE | 2]);
    // One in two is a NAK: the first had an answer, the second not.
    usb.b.bench.advance(1_000_000_000);
    assert_eq!(usb.token(0) & 0xff, 0);
    usb.descriptors(&[(IN, 64)]);
    usb.queue(QUEUE, HEAD | 2, 9, 1, 64, DESCRIPTORS);
    usb.b.bench.advance(1_000_000_000);
    assert_eq!(usb.token(0) & 0xff, ACTIVE);
    // Another queue has it send to itself: its hand is up, and the next look is at once.
    usb.put(0x2800, &[1, 1, 4 << 16 | 3 << 10 | ACTIVE, 0x6000]);
    usb.queue(0x1200, HEAD | 2, 9, 1, 64, 0x2800);
    usb.put(QUEUE, &[0x1200 | 2]);
    usb.b.bench.advance(4_200_000);
    assert_eq!(usb.token(0) & 0xff, 0);
}

#[test]
fn bad_memory_and_loops_do_no_harm() {
    for bad in [0xffff_0000u32, 0x0002_0000] {
        let mut usb = echo();
        usb.put(HEAD, &[bad | 2]);
        usb.b.bench.advance(1_000_000);
        assert_eq!(usb.b.read(STATUS) & (SYSTEM_ERROR | HALTED), SYSTEM_ERROR | HALTED);
        assert_eq!(usb.b.read(COMMAND) & RUN, 0);
    }
    // A descriptor that follows itself, a list without a head, buffers that are not there.
    let mut usb = echo();
    usb.put(DESCRIPTORS, &[DESCRIPTORS, DESCRIPTORS, 64 << 16 | IN << 8 | ACTIVE, 0x9000]);
    usb.queue(QUEUE, QUEUE | 2, 9, 5, 64, DESCRIPTORS);
    usb.put(HEAD, &[QUEUE | 2]);
    usb.b.bench.advance(100_000_000);
    assert_eq!(usb.b.read(STATUS) & HALTED, 0);
    usb.run(9, 5, 64, &[(IN, 64)]);
    usb.put(DESCRIPTORS, &[1, 1, 64 << 16 | IN << 8 | ACTIVE, 0xfff0_0000]);
    usb.queue(QUEUE, HEAD | 2, 9, 5, 64, DESCRIPTORS);
    usb.put(HEAD, &[QUEUE | 2]);
    usb.b.bench.advance(1_000_000);
    assert_ne!(usb.b.read(STATUS) & SYSTEM_ERROR, 0);
    // Frames that are loops.
    let mut usb = periodic();
    usb.queue(QUEUE, QUEUE | 2, 9, 1, 64, 1);
    usb.put(FRAMES, &[QUEUE | 2; 1024]);
    usb.b.bench.advance(100_000_000);
    assert_eq!(usb.b.read(STATUS) & HALTED, 0);
}

/// A frame list of nothing, running.
fn periodic() -> Usb {
    let mut usb = Usb::cold(&ECHO, &[]);
    usb.reset_port();
    usb.put(FRAMES, &[1; 1024]);
    usb.b.write(PERIODIC, FRAMES);
    usb.b.write(COMMAND, RUN | WITH_PERIODIC);
    usb
}

#[test]
fn time_is_counted_in_microframes() {
    let mut usb = periodic();
    assert_eq!(usb.b.read(FRINDEX), 0);
    usb.b.bench.advance(10_000_000);
    assert_eq!(usb.b.read(FRINDEX), 80);
    // Rollover after 1024 frames, or after 8 if the list is that long.
    usb.b.write(INTERRUPTS, ROLLOVER);
    usb.b.bench.advance(1_013_000_000);
    assert!(!usb.b.line("irq", 0));
    usb.b.bench.advance(1_000_000);
    assert!(usb.b.line("irq", 0));
    usb.b.write(COMMAND, RUN | 3 << 2 | 1 << 15);
    usb.b.write(STATUS, ROLLOVER);
    assert!(!usb.b.line("irq", 0));
    usb.b.bench.advance(8_000_000);
    assert!(usb.b.line("irq", 0));
    // Halted it stands, and may be written.
    usb.b.write(COMMAND, 0);
    usb.b.write(FRINDEX, 0x1234);
    usb.b.bench.advance(1_000_000);
    assert_eq!(usb.b.read(FRINDEX), 0x1234);
}

#[test]
fn interrupt_queues_move_a_packet_in_each_of_their_microframes() {
    let mut usb = periodic();
    usb.b.write(INTERRUPTS, DONE);
    usb.descriptors(&[(IN, 32)]);
    usb.queue(QUEUE, 1, 9, 5, 8, DESCRIPTORS);
    // Every fourth frame, in microframes 0 and 4.
    usb.put(QUEUE + 8, &[1 << 30 | 0x11]);
    (0..1024).step_by(4).for_each(|frame| usb.put(FRAMES + 4 * frame, &[QUEUE | 2]));
    let left = |usb: &mut Usb| usb.get(QUEUE + 24) >> 16 & 0x7fff;
    usb.b.bench.advance(3_500_000);
    assert_eq!(left(&mut usb), 0, "nothing was taken over yet");
    usb.b.bench.advance(1_000_000);
    assert_eq!((left(&mut usb), usb.b.line("irq", 0)), (16, false));
    usb.b.bench.advance(4_000_000);
    assert_eq!((usb.token(0) & 0xff, usb.b.line("irq", 0)), (0, true));
    // Quiet, and still there.
    usb.b.bench.advance(2_000_000_000);
    usb.descriptors(&[(IN, 8)]);
    usb.put(QUEUE + 16, &[DESCRIPTORS]);
    usb.b.bench.advance(20_000_000);
    assert_eq!(usb.token(0) & 0xff, 0);
}

#[test]
fn isochronous_descriptors_are_done_in_their_frame() {
    let mut usb = periodic();
    usb.b.write(INTERRUPTS, DONE);
    let mut itd = [0u32; 16];
    itd[0] = 1;
    // Two transactions of 24 bytes; the second interrupts.
    (itd[1], itd[5]) = (1 << 31 | 24 << 16 | 0xff8, 1 << 31 | 24 << 16 | 1 << 15 | 1 << 12);
    (itd[9], itd[10], itd[11]) = (0x5000 | 5 << 8 | 9, 0x6000 | 1 << 11 | 64, 0x7000 | 1);
    usb.put(QUEUE, &itd);
    usb.put(FRAMES + 4 * 20, &[QUEUE]);
    usb.b.bench.advance(19_900_000);
    assert!(!usb.b.line("irq", 0));
    usb.b.bench.advance(1_000_000);
    assert!(usb.b.line("irq", 0));
    assert_eq!((usb.get(QUEUE + 4), usb.get(QUEUE + 20)), (24 << 16 | 0xff8, 24 << 16 | 1 << 15 | 1 << 12));
    assert_eq!(usb.b.bench.memory()[0x5ff8..0x6000], [0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(usb.b.bench.memory()[0x6010..0x6018], [2, 2, 2, 2, 2, 3, 3, 3]);
    // Nobody there.
    itd[9] = 0x5000 | 5 << 8 | 8;
    usb.put(QUEUE, &itd);
    usb.put(FRAMES + 4 * 30, &[QUEUE]);
    usb.b.bench.advance(10_000_000);
    assert_eq!(usb.get(QUEUE + 4), 1 << 28 | 0xff8);
    // The split kind.
    usb.put(QUEUE, &[1, 1 << 31 | 5 << 8 | 9, 0x1c01, 1 << 31 | 24 << 16 | 0x80, 0x5ff8, 0x7000, 1]);
    usb.b.write(STATUS, DONE);
    usb.put(FRAMES + 4 * 40, &[QUEUE | 4]);
    usb.b.bench.advance(10_000_000);
    assert_eq!(usb.get(QUEUE + 12), 1 << 31);
    assert_eq!(usb.b.bench.memory()[0x700e..0x7010], [3, 3]);
    assert!(usb.b.line("irq", 0));
}

#[test]
fn timers_count_microseconds() {
    let mut b = device("chipidea,usb2", 0);
    b.write(INTERRUPTS, 1 << 25);
    b.write(0x88, 999);
    b.write(0x8c, 3 << 30);
    assert_eq!(b.read(0x8c), 1 << 31 | 999);
    b.bench.advance(400_000);
    assert_eq!(b.read(0x8c), 1 << 31 | 599);
    b.bench.advance(600_000);
    assert!(b.line("irq", 0));
    assert_eq!(b.read(0x8c), 0);
    // Again and again.
    b.write(STATUS, 1 << 25);
    b.write(0x8c, 3 << 30 | 1 << 24);
    for _ in 0..3 {
        b.bench.advance(999_000);
        assert!(!b.line("irq", 0));
        b.bench.advance(1_000);
        assert!(b.line("irq", 0));
        b.write(STATUS, 1 << 25);
    }
    b.write(0x8c, 0);
    b.bench.advance(10_000_000);
    assert!(!b.line("irq", 0));
}

#[test]
fn the_viewport_shows_the_transceiver() {
    let mut b = device("chipidea,usb2", 0);
    let mut read = |address: u32| {
        b.write(0x170, 1 << 30 | address << 16);
        let value = b.read(0x170);
        assert_eq!(value & 1 << 30, 0, "done");
        value >> 8 & 0xff
    };
    assert_eq!([0, 1, 2, 3].map(&mut read), [0x24, 0x04, 0x07, 0x00]);
    assert_eq!((read(0x04), read(0x0a), read(0x16)), (0x41, 0x06, 0));
    for (address, value, now) in [(0x16, 0x5a, 0x5a), (0x17, 0x81, 0xdb), (0x18, 0x0f, 0xd0)] {
        b.write(0x170, 3 << 29 | address << 16 | value);
        b.write(0x170, 1 << 30 | 0x16 << 16);
        assert_eq!(b.read(0x170) >> 8 & 0xff, now);
    }
}
