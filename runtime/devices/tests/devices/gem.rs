//! `cdns,gem` (UG585 ch. 16): rings, filters, checksums, pause, statistics. Its PHY: phy.rs.

use crate::bench::{Bench, device};
use emu_machine::Access;
use emu_machine::schema::Value;
use emu_machine::testing::TestBench;

pub const NET_CTRL: u64 = 0x00;
const NET_CFG: u64 = 0x04;
pub const NET_STATUS: u64 = 0x08;
const DMA_CFG: u64 = 0x10;
const TX_STATUS: u64 = 0x14;
const RX_QBAR: u64 = 0x18;
const TX_QBAR: u64 = 0x1c;
const RX_STATUS: u64 = 0x20;
pub const INTR_STATUS: u64 = 0x24;
pub const INTR_EN: u64 = 0x28;
const INTR_DIS: u64 = 0x2c;
const INTR_MASK: u64 = 0x30;
const RX_PAUSEQ: u64 = 0x38;
const TX_PAUSEQ: u64 = 0x3c;
const HASH_BOT: u64 = 0x80;
const HASH_TOP: u64 = 0x84;
const SPEC_ADDR: u64 = 0x88;
const TYPE_ID: u64 = 0xa8;
const WAKE: u64 = 0xb8;
const STACKED_VLAN: u64 = 0xc0;
const ADDR1_MASK: u64 = 0xc8;
const STATS: u64 = 0x100;
const TIMER_S: u64 = 0x1d0;
const TIMER_NS: u64 = 0x1d4;
const TIMER_ADJUST: u64 = 0x1d8;
const TIMER_INCR: u64 = 0x1dc;
const PTP_RX_S: u64 = 0x1e8;

const ON: u32 = 0x1c;
const START: u32 = 0x200;
/// Full duplex, gigabit, frames of 1536, FCS stripped.
const CFG: u32 = 1 << 17 | 1 << 10 | 1 << 8 | 2;

const RX_RING: u32 = 0x1000;
const TX_RING: u32 = 0x2000;
const RX_BUFFER: u32 = 0x4000;
const TX_BUFFER: u32 = 0xa000;

const USED: u32 = 1 << 31;
const TX_WRAP: u32 = 1 << 30;
const CORRUPT: u32 = 1 << 27;
const LAST: u32 = 1 << 15;
const NO_CRC: u32 = 1 << 16;
const EOF: u32 = 1 << 15;
const SOF: u32 = 1 << 14;

const RX_COMPLETE: u32 = 2;
const RX_USED: u32 = 4;
const TX_USED: u32 = 8;
const TX_CORRUPT: u32 = 0x40;
const TX_COMPLETE: u32 = 0x80;
const RX_OVERRUN: u32 = 0x400;
const BUS_ERROR: u32 = 0x800;

const OWN: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 1];

impl Bench {
    fn put(&mut self, at: u32, bytes: &[u8]) {
        let at = at as usize;
        self.bench.memory()[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn put_word(&mut self, at: u32, word: u32) {
        self.put(at, &word.to_le_bytes());
    }

    fn bytes(&mut self, at: u32, len: usize) -> Vec<u8> {
        self.bench.memory()[at as usize..at as usize + len].to_vec()
    }

    fn word(&mut self, at: u32) -> u32 {
        u32::from_le_bytes(self.bytes(at, 4).try_into().unwrap())
    }

    /// `n` receive buffers of 2 KiB, and the last wraps.
    fn give(&mut self, n: u32) {
        for i in 0..n {
            let wrap = if i == n - 1 { 2 } else { 0 };
            self.put_word(RX_RING + 8 * i, (RX_BUFFER + 0x800 * i) | wrap);
            self.put_word(RX_RING + 8 * i + 4, 0);
        }
    }

    /// Descriptor `i` of the transmit ring.
    fn describe(&mut self, i: u32, address: u32, control: u32) {
        self.put_word(TX_RING + 8 * i, address);
        self.put_word(TX_RING + 8 * i + 4, control);
    }

    fn control(&mut self, i: u32) -> u32 {
        self.word(TX_RING + 8 * i + 4)
    }

    fn start(&mut self) {
        self.write(NET_CTRL, ON | START);
    }

    /// Sends one frame from the ring's beginning and gives what came out.
    fn send(&mut self, frame: &[u8], flags: u32) -> Option<Vec<u8>> {
        self.write(NET_CTRL, ON & !8);
        self.put(TX_BUFFER, frame);
        self.describe(0, TX_BUFFER, frame.len() as u32 | LAST | flags);
        self.describe(1, 0, USED | TX_WRAP);
        self.start();
        self.bench.transmitted().pop()
    }

    /// Lets a frame come; the status word of its last descriptor if it was received.
    fn receive(&mut self, frame: &[u8]) -> Option<u32> {
        let at = self.read(RX_QBAR);
        self.bench.frame(frame);
        (self.read(RX_QBAR) != at).then(|| {
            let status = self.word(at + 4);
            let address = self.word(at);
            self.put_word(at, address & !1);
            status
        })
    }

    fn stat(&mut self, index: u64) -> u32 {
        self.read(STATS + 4 * index)
    }
}

/// On, with rings that are empty, all interrupts enabled.
fn gem() -> Bench {
    let mut g = device("cdns,gem", 100_000_000);
    g.write(NET_CFG, CFG);
    g.write(DMA_CFG, 0x0018_0010);
    g.write(RX_QBAR, RX_RING);
    g.write(TX_QBAR, TX_RING);
    g.give(4);
    g.describe(0, 0, USED | TX_WRAP);
    g.write(INTR_EN, 0x07ff_ffff);
    g.write(NET_CTRL, ON);
    g
}

fn frame(to: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &PEER, &kind.to_be_bytes(), payload].concat()
}

/// A frame of this length for the station.
fn sized(len: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0..len - 14).map(|i| (i * 7) as u8).collect();
    frame(OWN, 0x88b5, &payload)
}

/// The Internet checksum, by the book (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for (i, b) in bytes.iter().enumerate() {
        sum += if i % 2 == 0 { u32::from(*b) << 8 } else { u32::from(*b) };
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// CRC-32, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    let mut c = u32::MAX;
    for b in bytes {
        c ^= u32::from(*b);
        for _ in 0..8 {
            c = if c & 1 == 1 { c >> 1 ^ 0xedb8_8320 } else { c >> 1 };
        }
    }
    !c
}

/// An IPv4 packet without checksums, from 10.0.2.15 to 10.0.2.2.
fn ipv4(protocol: u8, fragment: u16, segment: &[u8]) -> Vec<u8> {
    let mut p = vec![0x45, 0, 0, 0, 0x12, 0x34, 0, 0, 64, protocol, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2];
    p[2..4].copy_from_slice(&(20 + segment.len() as u16).to_be_bytes());
    p[6..8].copy_from_slice(&fragment.to_be_bytes());
    p.extend(segment);
    p
}

fn udp(data: &[u8]) -> Vec<u8> {
    [&[0x12, 0x34, 0x56, 0x78][..], &(8 + data.len() as u16).to_be_bytes(), &[0, 0], data].concat()
}

fn tcp(data: &[u8]) -> Vec<u8> {
    let mut s = vec![0; 20];
    s[..4].copy_from_slice(&[0x12, 0x34, 0, 80]);
    s[12] = 0x50;
    s.extend(data);
    s
}

/// Checksums as a host would make them; `check`: offset of the segment's in it.
fn summed(mut packet: Vec<u8>, check: usize) -> Vec<u8> {
    let header = checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&header.to_be_bytes());
    let length = (packet.len() - 20) as u16;
    let pseudo = [&packet[12..20], &[0, packet[9]], &length.to_be_bytes(), &packet[20..]].concat();
    let mut sum = checksum(&pseudo);
    if sum == 0 && packet[9] == 17 {
        sum = 0xffff;
    }
    packet[20 + check..22 + check].copy_from_slice(&sum.to_be_bytes());
    packet
}

#[test]
fn reset_values() {
    let mut g = device("cdns,gem", 100_000_000);
    let values = [
        (NET_CTRL, 0),
        (NET_CFG, 0x0008_0000),
        (NET_STATUS, 6),
        (DMA_CFG, 0x0002_0784),
        (TX_STATUS, 0),
        (RX_STATUS, 0),
        (INTR_STATUS, 0),
        (INTR_MASK, 0x07ff_ffff),
        (TX_PAUSEQ, 0xffff),
        (SPEC_ADDR, 0x1200_5452),
        (SPEC_ADDR + 4, 0x5634),
        (0xfc, 0x0002_0118),
        (0x284, 0x2ab1_2800),
    ];
    for (offset, value) in values {
        assert_eq!(g.read(offset), value, "{offset:#x}");
    }
    assert_eq!(g.read(0x280) & 1 << 23, 0, "interrupts are cleared by writing");
    assert!(!g.line("irq", 0));
}

#[test]
fn the_address_is_a_property() {
    let kind = emu_devices::registry().into_iter().find(|k| k.name == "cdns,gem").unwrap();
    let with = |mac: &str| [("mac".to_string(), Value::Text(mac.into()))];
    let mut bench = TestBench::with(&kind, 1, &with("02:04:06:08:0a:0C"));
    assert_eq!(bench.read(SPEC_ADDR).unwrap(), 0x0806_0402);
    assert_eq!(bench.read(SPEC_ADDR + 4).unwrap(), 0x0c0a);
    for bad in ["", "02:04:06:08:0a", "2:4:6:8:a:c", "02:04:06:08:0a:0c:0e", "01:00:5e:00:00:01", "02:04:06:08:0a:+c"] {
        let mut props = emu_machine::schema::Props::default();
        props.0.extend(with(bad));
        let error = (kind.create)(&props).err().unwrap_or_else(|| panic!("{bad} is taken"));
        assert!(error.starts_with("mac: "), "{error}");
    }
}

#[test]
fn sends_a_frame() {
    let mut g = gem();
    let sent = sized(100);
    assert_eq!(g.send(&sent, 0), Some(sent));
    assert_eq!(g.control(0), USED | LAST | 100);
    assert_eq!(g.read(TX_STATUS), 0x21, "complete, then a used bit was read");
    assert_eq!(g.read(INTR_STATUS), TX_COMPLETE | TX_USED);
    assert!(g.line("irq", 0));
    assert_eq!(g.read(TX_QBAR), TX_RING + 8);
    g.write(TX_STATUS, 0x21);
    assert_eq!(g.read(TX_STATUS), 0);
    let short = g.send(&sized(20), 0).unwrap();
    assert_eq!((short.len(), &short[..20], &short[20..]), (60, &sized(20)[..], &[0; 40][..]), "padded");
}

#[test]
fn gathers_buffers_and_wraps() {
    let mut g = gem();
    g.write(NET_CTRL, ON & !8);
    let sent: Vec<Vec<u8>> = (0..3).map(|i| sized(200 + i)).collect();
    g.put(TX_BUFFER, &sent.concat());
    let at = |i: u32| TX_BUFFER + [0, 200, 401][i as usize];
    g.describe(0, at(0), 50);
    g.describe(1, at(0) + 50, 0);
    g.describe(2, at(0) + 50, 150 | LAST);
    g.describe(3, at(1), 201 | LAST | TX_WRAP);
    g.start();
    assert_eq!(g.bench.transmitted(), sent[..2]);
    assert_eq!([0, 1, 2, 3].map(|i| g.control(i) >> 31), [1, 0, 0, 1], "a frame's first descriptor is marked");
    assert_eq!(g.read(TX_QBAR), TX_RING);
    g.describe(0, at(2), 202 | LAST);
    g.describe(1, 0, USED);
    g.start();
    assert!(g.bench.transmitted().is_empty(), "the transmitter rests");
    g.bench.advance(100_000);
    assert_eq!(g.bench.transmitted(), sent[2..]);
}

#[test]
fn transmission_goes_on_where_it_stopped_or_anew() {
    let mut g = gem();
    g.send(&sized(60), 0);
    g.describe(1, TX_BUFFER, 60 | LAST);
    g.describe(2, 0, USED);
    g.bench.advance(100_000);
    g.start();
    assert_eq!(g.bench.transmitted().len(), 1);
    assert_eq!(g.read(TX_QBAR), TX_RING + 16);
    g.write(NET_CTRL, ON & !8);
    assert_eq!(g.read(TX_QBAR), TX_RING, "switched off, it begins anew");
    g.write(NET_CTRL, ON & !8 | START);
    assert_eq!(g.read(TX_STATUS) & 8, 0);
}

#[test]
fn a_broken_frame_stops_transmission() {
    let mut g = gem();
    // Software's descriptor within a frame.
    g.write(NET_CTRL, ON & !8);
    g.describe(0, TX_BUFFER, 60);
    g.describe(1, TX_BUFFER, USED | 60 | LAST);
    g.start();
    assert!(g.bench.transmitted().is_empty());
    assert_eq!(g.control(0) & (USED | CORRUPT), USED | CORRUPT);
    assert_eq!((g.read(TX_STATUS), g.read(INTR_STATUS)), (0x10, TX_CORRUPT));
    // A buffer that is nowhere.
    g.write(NET_CTRL, ON & !8);
    g.write(TX_STATUS, 0x1ff);
    g.write(INTR_STATUS, u32::MAX);
    g.describe(0, 0x8000_0000, 60 | LAST);
    g.start();
    assert_eq!((g.read(TX_STATUS), g.read(INTR_STATUS)), (0x110, TX_CORRUPT | BUS_ERROR));
    // A ring that is nowhere.
    g.write(NET_CTRL, ON & !8);
    g.write(INTR_STATUS, u32::MAX);
    g.write(TX_QBAR, 0xffff_fffc);
    g.start();
    assert_eq!((g.read(TX_STATUS) & 0x108, g.read(INTR_STATUS)), (0x100, BUS_ERROR));
    assert!(g.bench.transmitted().is_empty());
}

#[test]
fn hostile_rings_end() {
    let mut g = gem();
    // No last buffer, of no length or of some.
    for len in [0, 100] {
        g.write(NET_CTRL, ON & !8);
        g.write(TX_STATUS, 0x1ff);
        g.describe(0, TX_BUFFER, len | TX_WRAP);
        g.start();
        assert_eq!(g.read(TX_STATUS), 0x10, "length {len}");
    }
    // Many frames: some at once, the rest by and by.
    g.write(NET_CTRL, ON & !8);
    for i in 0..1000 {
        g.describe(i, TX_BUFFER, 60 | LAST);
    }
    g.describe(1000, 0, USED);
    g.start();
    let first = g.bench.transmitted().len();
    assert!(first < 500, "{first}");
    assert_eq!(g.read(TX_STATUS) & 8, 8, "GO");
    g.bench.advance(1_000_000);
    assert_eq!(first + g.bench.transmitted().len(), 1000);
    assert_eq!(g.read(TX_STATUS) & 8, 0);
}

#[test]
fn frames_with_an_fcs_of_their_own() {
    let mut g = gem();
    let mut own = sized(64);
    let good = crc(&own);
    own.extend(good.to_le_bytes());
    assert_eq!(g.send(&own, NO_CRC), Some(sized(64)));
    own[70 - 5] ^= 1;
    assert_eq!(g.send(&own, NO_CRC), None, "nobody takes it");
    assert_eq!(g.control(0) & USED, USED);
    assert_eq!(g.send(&[1, 2], NO_CRC), None);
}

#[test]
fn checksums_are_filled_in() {
    let mut g = gem();
    g.write(DMA_CFG, 0x0018_0810);
    let data: Vec<u8> = (0..101).map(|i| (i * 37 + 11) as u8).collect();
    for data in [&data[..], &data[..100], &data[..0], &data[..1]] {
        for (protocol, segment, check) in [(6, tcp(data), 16), (17, udp(data), 6)] {
            let packet = ipv4(protocol, 0, &segment);
            let wanted = frame(PEER, 0x800, &summed(packet.clone(), check));
            let mut wrong = packet;
            wrong[20 + check] = 0x77;
            let sent = g.send(&frame(PEER, 0x800, &wrong), 0).unwrap();
            assert_eq!(sent[..wanted.len()], wanted[..], "protocol {protocol}, {} bytes", data.len());
            assert_eq!(g.control(0) >> 20 & 7, 0);
        }
    }
    // Behind a tag, and behind SNAP.
    let packet = ipv4(17, 0, &udp(b"tagged"));
    let tagged = [&[0x20, 5, 8, 0][..], &packet].concat();
    let sent = g.send(&frame(PEER, 0x8100, &tagged), 0).unwrap();
    assert_eq!(sent[18..18 + packet.len()], summed(packet.clone(), 6)[..]);
    let snap = [&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..], &packet].concat();
    let sent = g.send(&frame(PEER, snap.len() as u16, &snap), 0).unwrap();
    assert_eq!(sent[22..22 + packet.len()], summed(packet.clone(), 6)[..]);
    // IPv6: the sum over the segment with its pseudo header is all ones.
    let segment = udp(b"six");
    let mut six = vec![0x60, 0, 0, 0, 0, segment.len() as u8, 17, 64];
    six.extend((0..32).map(|i| i * 3));
    let pseudo: Vec<u8> = [&six[8..40], &[0, 0, 0, segment.len() as u8, 0, 0, 0, 17]].concat();
    six.extend(&segment);
    let sent = g.send(&frame(PEER, 0x86dd, &six), 0).unwrap();
    assert_ne!(sent[60..62], [0, 0]);
    assert_eq!(checksum(&[&pseudo[..], &sent[54..54 + segment.len()]].concat()), 0);
}

#[test]
fn what_has_no_checksum_is_told() {
    let mut g = gem();
    g.write(DMA_CFG, 0x0018_0810);
    let mut problem = |kind, payload: &[u8]| {
        let sent = g.send(&frame(PEER, kind, payload), 0);
        (g.control(0) >> 20 & 7, sent.unwrap())
    };
    assert_eq!(problem(0x806, &[0; 46]).0, 4);
    assert_eq!(problem(0x8100, &[0]).0, 1);
    assert_eq!(problem(8, &[0xaa, 0xaa, 3, 0, 0, 0]).0, 2);
    assert_eq!(problem(0x800, &[0x45, 0]).0, 3);
    assert_eq!(problem(0x8100, &[0, 1, 8, 6, 0, 0]).0, 3);
    assert_eq!(problem(0x800, &ipv4(1, 0, &[8, 0, 0, 0])).0, 6);
    assert_eq!(problem(0x800, &ipv4(17, 0, &[1, 2, 3])).0, 7);
    let fragment = ipv4(17, 0x2000, &udp(b"part"));
    let (code, sent) = problem(0x800, &fragment);
    assert_eq!(code, 5);
    assert_eq!(checksum(&sent[14..34]), 0, "the header has its checksum");
    assert_eq!(sent[40..42], [0, 0], "the segment has not");
}

#[test]
fn receives_a_frame() {
    let mut g = gem();
    let came = sized(100);
    g.bench.frame(&came);
    assert_eq!(g.word(RX_RING), RX_BUFFER | 1);
    assert_eq!(g.word(RX_RING + 4), 1 << 27 | SOF | EOF | 100, "specific address 1");
    assert_eq!(g.bytes(RX_BUFFER, 100), came);
    assert_eq!(g.read(RX_QBAR), RX_RING + 8);
    assert_eq!((g.read(RX_STATUS), g.read(INTR_STATUS)), (2, RX_COMPLETE));
    assert!(g.line("irq", 0));
    g.write(INTR_STATUS, RX_COMPLETE);
    assert!(!g.line("irq", 0));
    g.put(RX_BUFFER + 0x800, &[0xee; 64]);
    g.bench.frame(&sized(20));
    assert_eq!(g.word(RX_RING + 12) & 0x1fff, 60, "padded");
    assert_eq!(g.bytes(RX_BUFFER + 0x800 + 20, 41), [&[0; 40][..], &[0xee]].concat());
}

#[test]
fn keeps_the_fcs() {
    let mut g = gem();
    g.write(NET_CFG, CFG & !(1 << 17));
    let came = sized(61);
    assert_eq!(g.receive(&came).map(|s| s & 0x1fff), Some(65));
    assert_eq!(g.bytes(RX_BUFFER, 65), [&came[..], &crc(&came).to_le_bytes()].concat());
    // Or puts the time there.
    g.write(TIMER_NS, 0x1234_5678);
    g.write(NET_CTRL, ON | 1 << 15);
    g.receive(&came);
    assert_eq!(g.bytes(RX_BUFFER + 0x800 + 61, 4), 0x1234_5678u32.to_le_bytes());
}

#[test]
fn scatters_over_buffers_with_an_offset() {
    let mut g = gem();
    g.write(DMA_CFG, 0x0002_0010);
    g.write(NET_CFG, CFG | 3 << 14);
    let came = sized(300);
    g.bench.frame(&came);
    assert_eq!(g.word(RX_RING + 4), SOF);
    assert_eq!(g.word(RX_RING + 12), 0);
    assert_eq!(g.word(RX_RING + 20), 1 << 27 | EOF | 300);
    assert_eq!([0, 8, 16, 24].map(|i| g.word(RX_RING + i) & 1), [1, 1, 1, 0]);
    let got = [g.bytes(RX_BUFFER + 3, 125), g.bytes(RX_BUFFER + 0x800, 128), g.bytes(RX_BUFFER + 0x1000, 47)].concat();
    assert_eq!(got, came);
    g.give(4);
    g.bench.frame(&came);
    assert_eq!(g.read(RX_QBAR), RX_RING + 16, "it has wrapped");
    assert_eq!(g.word(RX_RING + 12) & (EOF | 0x1fff), EOF | 300);
}

#[test]
fn without_a_buffer_nothing_is_lost() {
    let mut g = gem();
    g.give(2);
    let came: Vec<Vec<u8>> = (0..6).map(|i| sized(70 + i)).collect();
    came.iter().for_each(|f| g.bench.frame(f));
    assert_eq!(g.bench.frames_waiting(), 3, "two in memory, one in the device");
    assert_eq!((g.read(RX_STATUS), g.read(INTR_STATUS)), (3, RX_COMPLETE | RX_USED));
    assert_eq!(g.stat(40), 1, "receive resource errors");
    // A timer looks again.
    g.give(1);
    g.bench.advance(20_000_000);
    assert_eq!(g.bytes(RX_BUFFER, 72), came[2]);
    assert_eq!(g.bench.frames_waiting(), 2);
    // So does the handler's end.
    g.give(4);
    g.write(INTR_STATUS, u32::MAX);
    assert_eq!(g.bench.frames_waiting(), 0);
    assert_eq!(g.bytes(RX_BUFFER, 73), came[3]);
    assert_eq!(g.bytes(RX_BUFFER + 0x1000, 75), came[5]);
    assert_eq!(g.read(INTR_STATUS), RX_COMPLETE);
}

#[test]
fn a_frame_goes_on_in_a_later_buffer() {
    let mut g = gem();
    g.write(DMA_CFG, 0x0002_0010);
    g.give(2);
    let came = sized(400);
    g.bench.frame(&came);
    assert_eq!(g.read(RX_STATUS), 1);
    assert_eq!(g.word(RX_RING + 4), SOF);
    let part = g.bytes(RX_BUFFER, 128);
    let saved = g.bench.save();
    g.give(2);
    g.bench.advance(1_000_000);
    assert_eq!(g.word(RX_RING + 12) & (EOF | 0x1fff), EOF | 400);
    let rest = [g.bytes(RX_BUFFER, 128), g.bytes(RX_BUFFER + 0x800, 16)].concat();
    assert_eq!(part, came[..128]);
    assert_eq!(rest, came[256..]);
    // A snapshot has the rest of the frame.
    let mut copy = device("cdns,gem", 100_000_000);
    copy.bench.load(&saved).unwrap();
    copy.give(2);
    copy.write(INTR_STATUS, 0);
    assert_eq!(copy.bytes(RX_BUFFER, 128), came[256..384]);
    // Switched off, the receiver forgets a frame that it has begun.
    g.give(2);
    g.bench.frame(&came);
    g.write(NET_CTRL, ON & !4);
    g.give(2);
    g.write(NET_CTRL, ON);
    assert_eq!(g.word(RX_RING) & 1, 0);
}

#[test]
fn a_receiver_that_is_off_hears_nothing() {
    let mut g = gem();
    g.write(NET_CTRL, ON & !4);
    g.bench.frame(&sized(60));
    g.write(NET_CTRL, ON);
    assert_eq!((g.read(RX_QBAR), g.bench.frames_waiting()), (RX_RING, 0));
    g.write(RX_QBAR, 0x3000);
    assert_eq!(g.read(RX_QBAR), RX_RING, "the base is fixed while it is on");
    assert_eq!(g.bench.log().len(), 1);
}

#[test]
fn no_memory_for_a_frame_is_a_bus_error() {
    let mut g = gem();
    g.put_word(RX_RING, 0x8000_0000);
    g.bench.frame(&sized(60));
    assert_eq!((g.read(RX_STATUS), g.read(INTR_STATUS)), (8, BUS_ERROR));
    assert!(g.line("irq", 0));
}

#[test]
fn addresses_are_filtered() {
    let mut g = gem();
    let other = [2, 0, 0, 0, 0, 9];
    let group = [0x33, 0x33, 0, 0, 0, 0x17];
    let to = |address| frame(address, 0x88b5, &[0; 46]);
    let bits = |status: Option<u32>| status.map(|s| s & 0xfe00_0000);
    assert_eq!(bits(g.receive(&to(OWN))), Some(1 << 27));
    assert_eq!(bits(g.receive(&to(other))), None);
    assert_eq!(bits(g.receive(&to(group))), None);
    assert_eq!(bits(g.receive(&to([0xff; 6]))), Some(1 << 31));
    g.write(NET_CFG, CFG | 0x20);
    assert_eq!(bits(g.receive(&to([0xff; 6]))), None, "no broadcasts");
    g.write(NET_CFG, CFG | 0x10);
    assert_eq!(bits(g.receive(&to(other))), Some(0), "all");
    g.write(NET_CFG, CFG);
    // Specific address 3: compared once its upper half is written, not any more when its lower half is.
    g.write(SPEC_ADDR + 16, 2);
    assert_eq!(bits(g.receive(&to(other))), None);
    g.write(SPEC_ADDR + 20, 0x0900);
    assert_eq!(bits(g.receive(&to(other))), Some(1 << 27 | 2 << 25));
    g.write(SPEC_ADDR + 16, 2);
    assert_eq!(bits(g.receive(&to(other))), None);
    // Address 1 without its last octet.
    g.write(ADDR1_MASK + 4, 0xff00);
    assert_eq!(bits(g.receive(&to([0x52, 0x54, 0, 0x12, 0x34, 0xaa]))), Some(1 << 27));
}

/// The index by the manual's formula: bit i is the exclusive or of address bits i, i + 6, ... i + 42.
fn hash(address: [u8; 6]) -> u32 {
    let bit = |n: usize| u32::from(address[n / 8] >> (n % 8) & 1);
    (0..6).map(|i| (0..8).fold(0, |x, k| x ^ bit(i + 6 * k)) << i).sum()
}

#[test]
fn hashes_are_looked_up() {
    let mut g = gem();
    for address in [[0x33, 0x33, 0, 0, 0, 0x17], [1, 0, 0x5e, 0, 0, 1], [2, 0x71, 0xb3, 0xd5, 0x97, 0x3f]] {
        let group = address[0] & 1 == 1;
        let came = frame(address, 0x88b5, &[0; 46]);
        g.write(NET_CFG, CFG | if group { 0x40 } else { 0x80 });
        let index = hash(address);
        let filter = 1u64 << index;
        g.write(HASH_BOT, filter as u32);
        g.write(HASH_TOP, (filter >> 32) as u32);
        let bit = if group { 1 << 30 } else { 1 << 29 };
        assert_eq!(g.receive(&came).map(|s| s & 0xfe00_0000), Some(bit), "{address:x?}");
        g.write(HASH_BOT, !filter as u32);
        g.write(HASH_TOP, (!filter >> 32) as u32);
        assert_eq!(g.receive(&came), None);
        g.write(HASH_BOT, u32::MAX);
        g.write(HASH_TOP, u32::MAX);
        g.write(NET_CFG, CFG);
        assert_eq!(g.receive(&came), None, "hashes are not in use");
    }
}

#[test]
fn types_and_tags_are_told() {
    let mut g = gem();
    let other = [2, 0, 0, 0, 0, 9];
    g.write(TYPE_ID + 8, 1 << 31 | 0x88b5);
    let status = g.receive(&frame(other, 0x88b5, &[0; 46])).unwrap();
    assert_eq!(status & 0xffff_0000, 1 << 24 | 2 << 22, "received for its type, 3");
    g.write(TYPE_ID + 8, 0x88b5);
    assert_eq!(g.receive(&frame(other, 0x88b5, &[0; 46])), None);
    let tagged = |tci: u16| frame(OWN, 0x8100, &[&tci.to_be_bytes()[..], &[0x88, 0xb5], &[0; 44]].concat());
    assert_eq!(g.receive(&tagged(0xb123)).unwrap() >> 16 & 0x3f, 0x20 | 0xb);
    assert_eq!(g.receive(&tagged(0x6000)).unwrap() >> 16 & 0x3f, 0x30 | 6, "a priority tag");
    g.write(NET_CFG, CFG | 4);
    assert!(g.receive(&tagged(1)).is_some());
    assert_eq!(g.receive(&sized(60)), None, "only tagged ones");
    let stacked = frame(OWN, 0x88a8, &[&[0, 7, 0x81, 0, 0, 1, 0x88, 0xb5][..], &[0; 40]].concat());
    assert_eq!(g.receive(&stacked), None);
    g.write(STACKED_VLAN, 1 << 31 | 0x88a8);
    assert_eq!(g.receive(&stacked).unwrap() >> 16 & 0x3f, 0x20);
}

#[test]
fn lengths_are_checked() {
    let mut g = gem();
    g.write(NET_CFG, CFG & !(1 << 8));
    assert!(g.receive(&sized(1514)).is_some());
    assert_eq!(g.receive(&sized(1515)), None);
    assert_eq!(g.stat(34), 1, "oversize");
    g.write(NET_CFG, CFG);
    assert!(g.receive(&sized(1532)).is_some());
    assert_eq!(g.receive(&sized(1533)), None);
    g.write(NET_CFG, CFG | 8);
    g.write(DMA_CFG, 0x0010_0010);
    g.bench.frame(&sized(3000));
    assert_eq!(g.word(RX_RING + 4) & (SOF | EOF), EOF, "a jumbo frame in the third, last and first buffer");
    g.give(4);
    assert_eq!(g.receive(&sized(10_237)), None);
    // A length field that says more than there is.
    let long = frame(OWN, 47, &[0; 46]);
    g.stat(37);
    assert!(g.receive(&long).is_some());
    assert_eq!(g.stat(37), 1);
    g.write(NET_CFG, CFG | 1 << 16);
    assert_eq!(g.receive(&long), None);
    assert!(g.receive(&frame(OWN, 46, &[0; 46])).is_some());
    assert!(g.receive(&frame(OWN, 3, &[0; 46])).is_some(), "padding");
}

#[test]
fn received_checksums_are_verified() {
    let mut g = gem();
    g.write(NET_CFG, CFG | 1 << 24);
    let told = |status: Option<u32>| status.map(|s| s >> 22 & 7);
    let good = frame(OWN, 0x800, &summed(ipv4(6, 0, &tcp(b"abc")), 16));
    assert_eq!(told(g.receive(&good)), Some(2));
    assert_eq!(told(g.receive(&frame(OWN, 0x800, &summed(ipv4(17, 0, &udp(b"abcd")), 6)))), Some(3));
    let mut header_only = summed(ipv4(17, 0, &udp(b"abcd")), 6);
    header_only[26..28].fill(0);
    assert_eq!(told(g.receive(&frame(OWN, 0x800, &header_only))), Some(1), "UDP without a checksum");
    assert_eq!(told(g.receive(&sized(60))), Some(0));
    let packet = summed(ipv4(6, 0, &tcp(b"abc")), 16);
    let snap = [&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..], &packet].concat();
    assert_eq!(told(g.receive(&frame(OWN, snap.len() as u16, &snap))), Some(4 | 2));
    for (at, counter) in [(14 + 8, 42), (14 + 20 + 2, 43)] {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert_eq!(g.receive(&bad), None);
        assert_eq!(g.stat(counter), 1, "statistic {counter}");
    }
    let mut bad = frame(OWN, 0x800, &summed(ipv4(17, 0, &udp(b"abcd")), 6));
    bad[14 + 28] ^= 1;
    assert_eq!((g.receive(&bad), g.stat(44)), (None, 1));
    g.write(NET_CFG, CFG);
    assert!(g.receive(&bad).is_some());
}

#[test]
fn a_pause_holds_the_transmitter() {
    let mut g = gem();
    let pause = |quanta: u16| frame([1, 0x80, 0xc2, 0, 0, 1], 0x8808, &[&[0, 1][..], &quanta.to_be_bytes(), &[0; 42]].concat());
    g.bench.frame(&pause(100));
    assert_eq!((g.read(RX_PAUSEQ), g.stat(25)), (0, 1), "counted, not heeded");
    g.write(NET_CFG, CFG | 1 << 13);
    g.bench.frame(&pause(100));
    assert_eq!(g.read(INTR_STATUS), 0x1000);
    assert_eq!(g.read(RX_PAUSEQ), 100);
    assert_eq!(g.send(&sized(60), 0), None);
    assert_eq!(g.read(TX_STATUS) & 8, 8, "GO");
    g.write(TX_QBAR, 0x3000);
    assert_eq!(g.read(TX_QBAR), TX_RING, "the base is fixed while it goes");
    g.bench.advance(50 * 512);
    assert_eq!(g.read(RX_PAUSEQ), 50);
    assert!(g.bench.transmitted().is_empty());
    g.bench.advance(50 * 512);
    assert_eq!(g.bench.transmitted(), [sized(60)]);
    assert_eq!(g.read(INTR_STATUS) & 0x3000, 0x3000);
    // A pause of no time ends one.
    g.bench.frame(&pause(1000));
    g.send(&sized(60), 0);
    g.bench.frame(&pause(0));
    g.bench.advance(0);
    assert_eq!(g.bench.transmitted().len(), 1);
    // They go to memory like others, or never.
    g.write(NET_CFG, CFG | 0x10);
    assert!(g.receive(&pause(1)).is_some());
    g.write(NET_CFG, CFG | 0x10 | 1 << 23);
    assert_eq!(g.receive(&pause(1)), None);
}

#[test]
fn sends_pauses() {
    let mut g = gem();
    g.write(TX_PAUSEQ, 0x1234);
    g.write(NET_CTRL, ON | 1 << 11);
    g.write(NET_CTRL, ON | 1 << 12);
    let sent = g.bench.transmitted();
    let head = [&[1, 0x80, 0xc2, 0, 0, 1], &OWN[..], &[0x88, 8, 0, 1]].concat();
    assert_eq!((sent.len(), sent[0].len()), (2, 60));
    assert_eq!(sent[0][..18], [&head[..], &[0x12, 0x34]].concat());
    assert_eq!(sent[1][..18], [&head[..], &[0, 0]].concat());
    assert_eq!((g.stat(5), g.stat(2)), (2, 0), "pause frames count apart");
    assert_eq!(g.read(INTR_STATUS), 0x4000);
}

#[test]
fn loops_back() {
    let mut g = gem();
    g.write(NET_CTRL, ON & !8);
    g.put(TX_BUFFER, &sized(90));
    for i in 0..6 {
        g.describe(i, TX_BUFFER, 90 | LAST);
    }
    g.describe(6, 0, USED);
    g.write(NET_CTRL, ON | START | 2);
    assert!(g.bench.transmitted().is_empty());
    assert_eq!(g.bytes(RX_BUFFER + 0x1800, 90), sized(90));
    assert_eq!((g.read(RX_STATUS), g.stat(41)), (7, 1), "the fifth is held, the sixth is an overrun");
    assert_eq!(g.read(INTR_STATUS) & RX_OVERRUN, RX_OVERRUN);
    g.give(4);
    g.write(INTR_STATUS, u32::MAX);
    g.bench.frame(&sized(60));
    assert_eq!(g.read(RX_QBAR), RX_RING + 8, "nothing comes from outside");
}

#[test]
fn counts() {
    let mut g = gem();
    let group = [1, 0, 0x5e, 0, 0, 1];
    for f in [sized(60), sized(61), frame([0xff; 6], 1, &[0; 300]), frame(group, 1, &[0; 1500])] {
        g.send(&f, 0);
    }
    assert_eq!([0, 1, 2, 3, 4].map(|i| g.stat(i)), [64 + 65 + 318 + 1518, 0, 4, 1, 1]);
    assert_eq!([6, 7, 8, 9, 10, 11, 12].map(|i| g.stat(i)), [1, 1, 0, 1, 0, 1, 0]);
    assert_eq!([0, 2, 6].map(|i| g.stat(i)), [0; 3], "a read clears");
    g.receive(&sized(600));
    g.receive(&frame([0xff; 6], 0x88b5, &[0; 46]));
    g.receive(&frame([2, 0, 0, 0, 0, 9], 0x88b5, &[0; 46]));
    for _ in 0..2 {
        assert_eq!(g.bench.read_as(0, STATS + 4 * 22, 4, Access::DEBUG).unwrap(), 2, "a debugger clears nothing");
    }
    assert_eq!([20, 22, 23, 24, 26, 30].map(|i| g.stat(i)), [604 + 64, 2, 1, 0, 1, 1]);
    // Test modes.
    g.write(STATS + 8, 77);
    assert_eq!(g.stat(2), 0);
    g.write(NET_CTRL, ON | 0x80);
    g.write(STATS + 8, u32::MAX);
    g.write(STATS, u32::MAX);
    g.write(NET_CTRL, ON | 0x40);
    assert_eq!((g.stat(2), g.stat(44)), (u32::MAX, 1), "they stop at the top");
    g.send(&sized(60), 0);
    assert_eq!((g.stat(0), g.stat(1)), (63, 2), "octets have 48 bits");
    g.write(NET_CTRL, ON | 0x20);
    assert_eq!(g.stat(43), 0);
}

#[test]
fn masked_events_leave_nothing() {
    let mut g = gem();
    g.write(INTR_DIS, RX_COMPLETE);
    assert_eq!(g.read(INTR_MASK), RX_COMPLETE);
    g.receive(&sized(60));
    assert_eq!((g.read(INTR_STATUS), g.read(RX_STATUS)), (0, 2));
    g.write(INTR_EN, RX_COMPLETE);
    assert!(!g.line("irq", 0), "an event of before is not made up for");
    g.receive(&sized(60));
    assert!(g.line("irq", 0));
    g.write(INTR_STATUS, 0x07ff_ffff & !RX_COMPLETE);
    assert!(g.line("irq", 0));
    assert_eq!(g.read(INTR_STATUS), RX_COMPLETE, "a read clears nothing");
    g.write(INTR_STATUS, RX_COMPLETE);
    assert!(!g.line("irq", 0));
    g.write(INTR_MASK, 0x10);
    assert!(g.line("irq", 0));
    assert_eq!(g.read(INTR_STATUS), 0x10);
}

#[test]
fn the_1588_timer_runs() {
    let mut g = gem();
    g.write(TIMER_S, 5);
    g.write(TIMER_NS, 999_999_000);
    g.bench.advance(1_000_000);
    assert_eq!((g.read(TIMER_S), g.read(TIMER_NS)), (5, 999_999_000), "without an increment it stands still");
    g.write(TIMER_INCR, 10);
    g.bench.advance(2_000);
    assert_eq!((g.read(TIMER_S), g.read(TIMER_NS)), (6, 1_000));
    g.write(TIMER_ADJUST, 1 << 31 | 1_500);
    assert_eq!((g.read(TIMER_S), g.read(TIMER_NS)), (5, 999_999_500));
    g.write(TIMER_ADJUST, 1_000_000_600);
    assert_eq!((g.read(TIMER_S), g.read(TIMER_NS)), (7, 100));
    // Three times 10 ns, then 14: 44 ns for each 40.
    g.write(TIMER_INCR, 3 << 16 | 14 << 8 | 10);
    g.bench.advance(4_000);
    assert_eq!(g.read(TIMER_NS), 100 + 4_400);
}

#[test]
fn ptp_events_are_stamped() {
    let mut g = gem();
    g.write(TIMER_S, 42);
    g.write(TIMER_NS, 17);
    let sync = frame([1, 0x1b, 0x19, 0, 0, 0], 0x88f7, &[0; 46]);
    g.write(NET_CFG, CFG | 0x10);
    g.receive(&sync);
    assert_eq!((g.read(PTP_RX_S), g.read(PTP_RX_S + 4)), (42, 17));
    assert_eq!(g.read(INTR_STATUS), 1 << 19 | RX_COMPLETE);
    let mut pdelay = ipv4(17, 0, &udp(&[2; 20]));
    pdelay[22..24].copy_from_slice(&319u16.to_be_bytes());
    g.send(&frame(PEER, 0x800, &pdelay), 0);
    assert_eq!(g.read(0x1f0), 42);
    assert_eq!(g.read(INTR_STATUS) & 0x03fc_0000, 1 << 24 | 1 << 19);
    // Not the general port, no time-stamped message.
    g.write(INTR_STATUS, u32::MAX);
    pdelay[22..24].copy_from_slice(&320u16.to_be_bytes());
    g.send(&frame(PEER, 0x800, &pdelay), 0);
    g.receive(&frame([1, 0x1b, 0x19, 0, 0, 0], 0x88f7, &[8; 46]));
    assert_eq!(g.read(INTR_STATUS) & 0x03fc_0000, 0);
}

#[test]
fn wakes() {
    let mut g = gem();
    let magic = frame([0xff; 6], 0x842, &[&[0xff; 6][..], &OWN.repeat(16)].concat());
    let mut arp = frame([0xff; 6], 0x806, &[0; 46]);
    arp[20..22].copy_from_slice(&[0, 1]);
    arp[40..42].copy_from_slice(&[2, 15]);
    g.receive(&magic);
    assert_eq!(g.bench.rises(1, 0), 0);
    g.write(WAKE, 1 << 16);
    g.receive(&magic);
    g.receive(&arp);
    g.receive(&sized(60));
    assert_eq!(g.bench.rises(1, 0), 1);
    g.write(WAKE, 1 << 17 | 0x020f);
    g.receive(&magic);
    g.receive(&arp);
    assert_eq!(g.bench.rises(1, 0), 2);
    g.write(WAKE, 1 << 18);
    g.receive(&sized(60));
    assert_eq!(g.bench.rises(1, 0), 3);
    assert!(!g.line("wake", 0));
}

#[test]
fn byte_orders() {
    let mut g = gem();
    let swapped = |bytes: &[u8]| bytes.chunks(4).flat_map(|w| w.iter().rev().copied().collect::<Vec<_>>()).collect::<Vec<u8>>();
    // Data.
    g.write(DMA_CFG, 0x0018_0090);
    g.write(NET_CFG, CFG | 1 << 14);
    let came = sized(66);
    g.put(RX_BUFFER, &[0xee; 72]);
    g.receive(&came);
    let padded = [&[0xee], &came[..], &[0xee]].concat();
    assert_eq!(g.bytes(RX_BUFFER, 68), swapped(&padded));
    g.write(NET_CTRL, ON & !8);
    g.put(TX_BUFFER, &swapped(&padded));
    g.describe(0, TX_BUFFER + 1, 66 | LAST);
    g.describe(1, 0, USED);
    g.start();
    assert_eq!(g.bench.transmitted(), [came]);
    // Descriptors.
    g.write(DMA_CFG, 0x0018_0050);
    g.write(NET_CTRL, ON & !8);
    g.describe(0, TX_BUFFER.swap_bytes(), (60 | LAST).swap_bytes());
    g.describe(1, 0, USED.swap_bytes());
    g.start();
    assert_eq!(g.bench.transmitted().len(), 1);
    assert_eq!(g.control(0), (USED | LAST | 60).swap_bytes());
}

#[test]
fn a_stopped_clock_stops_the_transmitter() {
    let kind = emu_devices::registry().into_iter().find(|k| k.name == "cdns,gem").unwrap();
    let mut g = Bench { bench: TestBench::new(&kind, 0), kind };
    g.write(TX_QBAR, TX_RING);
    assert_eq!(g.send(&sized(60), 0), None);
    assert_eq!(g.read(TX_STATUS) & 8, 8);
}

#[test]
fn snapshots_and_the_reset_line() {
    let mut g = gem();
    g.give(1);
    g.receive(&sized(60));
    g.put_word(RX_RING, 3);
    g.bench.frame(&sized(61));
    let saved = g.bench.save();
    let mut copy = device("cdns,gem", 100_000_000);
    copy.bench.load(&saved).unwrap();
    assert_eq!(copy.bench.save(), saved);
    for offset in [NET_CTRL, NET_CFG, INTR_STATUS, RX_QBAR, SPEC_ADDR] {
        assert_eq!(copy.read(offset), g.read(offset));
    }
    let mut bad = saved;
    bad["held"]["done"] = 1000.into();
    assert!(copy.bench.load(&bad).is_err());
    g.drive("reset", 0, true);
    assert!(!g.line("irq", 0));
    g.write(NET_CTRL, ON);
    assert_eq!(g.read(NET_CTRL), 0);
    g.drive("reset", 0, false);
    g.write(NET_CTRL, ON);
    assert_eq!((g.read(NET_CTRL), g.read(INTR_MASK), g.read(SPEC_ADDR)), (ON, 0x07ff_ffff, 0x1200_5452));
}
