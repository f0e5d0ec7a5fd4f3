//! `xlnx,xps-ethernetlite`, `xlnx,axi-ethernetlite` (PG135): buffers, their turns, interrupts, the management port.

use crate::bench::{Bench, kind};
use emu_machine::schema::Value;
use emu_machine::testing::TestBench;

const MDIOADDR: u64 = 0x7e4;
const MDIOWR: u64 = 0x7e8;
const MDIORD: u64 = 0x7ec;
const MDIOCTRL: u64 = 0x7f0;
const TX_LENGTH: u64 = 0x7f4;
const GIE: u64 = 0x7f8;
const TX_CONTROL: u64 = 0x7fc;
const PONG: u64 = 0x800;
const RX: u64 = 0x1000;
const RX_CONTROL: u64 = 0x17fc;

const GO: u32 = 1;
const PROGRAM: u32 = 3;
const INTERRUPT: u32 = 8;
const LOOPBACK: u32 = 0x10;

const OWN: [u8; 6] = [0, 0, 0x5e, 0, 0xfa, 0xce];

fn lite(name: &str, given: &[(&str, bool)]) -> Bench {
    let given: Vec<_> = given.iter().map(|(n, v)| ((*n).to_string(), Value::Bool(*v))).collect();
    let bench = TestBench::with(&kind(name), 0, &given);
    Bench { bench, kind: kind(name) }
}

fn frame(to: [u8; 6], len: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..len).map(|i| i as u8).collect();
    frame[..6].copy_from_slice(&to);
    frame
}

impl Bench {
    fn fill_buffer(&mut self, at: u64, bytes: &[u8]) {
        for (i, four) in bytes.chunks(4).enumerate() {
            let mut word = [0; 4];
            word[..four.len()].copy_from_slice(four);
            let word = if self.kind.name.contains("xps") { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) };
            self.write(at + 4 * i as u64, word);
        }
    }

    fn buffer(&mut self, at: u64, len: usize) -> Vec<u8> {
        let big = self.kind.name.contains("xps");
        let words: Vec<u32> = (0..len.div_ceil(4)).map(|i| self.read(at + 4 * i as u64)).collect();
        let mut bytes: Vec<u8> = words.iter().flat_map(|w| if big { w.to_be_bytes() } else { w.to_le_bytes() }).collect();
        bytes.truncate(len);
        bytes
    }
}

#[test]
fn frames_go_out_of_both_buffers() {
    for name in ["xlnx,xps-ethernetlite", "xlnx,axi-ethernetlite"] {
        let mut e = lite(name, &[]);
        e.write(GIE, 1 << 31);
        for at in [0, PONG] {
            let sent = frame([2; 6], 101 + at as usize / 8);
            e.fill_buffer(at, &sent);
            e.write(at + TX_LENGTH, sent.len() as u32);
            // Software's own bit is kept, for both buffers there is one interrupt enable.
            e.write(at + TX_CONTROL, GO | INTERRUPT | 1 << 31);
            assert_eq!(e.read(at + TX_CONTROL), INTERRUPT | 1 << 31);
            assert_eq!(e.bench.transmitted(), [sent]);
        }
        assert_eq!((e.rises("irq", 0), e.line("irq", 0)), (2, false));
        // Short ones are padded; what is no frame is not sent.
        e.write(TX_LENGTH, 20);
        e.write(TX_CONTROL, GO);
        assert_eq!(e.bench.transmitted()[0].len(), 60);
        for len in [0, 13, 1515, 0xffff] {
            e.write(TX_LENGTH, len);
            e.write(TX_CONTROL, GO);
        }
        assert!(e.bench.transmitted().is_empty());
        assert_eq!(e.rises("irq", 0), 2);
    }
}

#[test]
fn frames_come_in_by_turns_and_wait_outside() {
    let mut e = lite("xlnx,xps-ethernetlite", &[]);
    e.write(GIE, 1 << 31);
    e.write(RX_CONTROL, INTERRUPT);
    let frames = [frame(OWN, 100), frame([0xff; 6], 61), frame(OWN, 1514)];
    frames.iter().for_each(|f| e.bench.frame(f));
    assert_eq!((e.rises("irq", 0), e.bench.frames_waiting()), (2, 1));
    assert_eq!([e.read(RX_CONTROL), e.read(RX_CONTROL + PONG)], [INTERRUPT | 1, 1]);
    assert_eq!(e.buffer(RX, 100), frames[0]);
    assert_eq!(e.buffer(RX + PONG, 61), frames[1]);
    // Behind it the FCS.
    assert_eq!(e.buffer(RX, 104)[100..], crc(&frames[0]).to_le_bytes());
    e.write(RX_CONTROL, INTERRUPT);
    assert_eq!((e.rises("irq", 0), e.bench.frames_waiting()), (3, 0));
    assert_eq!(e.buffer(RX, 1514), frames[2]);
    // Others', groups', and too long ones are not received.
    e.write(RX_CONTROL, INTERRUPT);
    e.write(RX_CONTROL + PONG, 0);
    for to in [[2, 0, 0, 0, 0, 1], [1, 0, 0x5e, 0, 0, 1]] {
        e.bench.frame(&frame(to, 100));
    }
    e.bench.frame(&frame(OWN, 1515));
    assert_eq!([e.read(RX_CONTROL), e.read(RX_CONTROL + PONG)], [INTERRUPT, 0]);
    // Another address.
    e.fill_buffer(0, &[2, 0, 0, 0, 0, 1]);
    e.write(TX_CONTROL, PROGRAM);
    assert_eq!(e.read(TX_CONTROL), 0);
    e.bench.frame(&frame([2, 0, 0, 0, 0, 1], 100));
    assert_eq!(e.read(RX_CONTROL + PONG), 1);
}

fn crc(bytes: &[u8]) -> u32 {
    let step = |c: u32, _| if c & 1 != 0 { c >> 1 ^ 0xedb8_8320 } else { c >> 1 };
    !bytes.iter().fold(u32::MAX, |c, b| (0..8).fold(c ^ u32::from(*b), step))
}

#[test]
fn what_the_core_was_made_without_is_not_there() {
    let mut e = lite("xlnx,xps-ethernetlite", &[("tx-ping-pong", false), ("rx-ping-pong", false), ("mdio", false)]);
    e.write(PONG, 0x1234);
    e.write(MDIOADDR, 0x3ff);
    assert_eq!([e.read(PONG), e.read(MDIOADDR), e.read(0x2000)], [0; 3]);
    e.bench.frame(&frame(OWN, 100));
    e.bench.frame(&frame(OWN, 200));
    assert_eq!(e.bench.frames_waiting(), 1);
    e.write(RX_CONTROL, 0);
    assert_eq!((e.bench.frames_waiting(), e.buffer(RX, 200)), (0, frame(OWN, 200)));
}

#[test]
fn loopback_and_cable() {
    let mut e = lite("xlnx,axi-ethernetlite", &[]);
    let sent = frame(OWN, 64);
    e.fill_buffer(0, &sent);
    e.write(TX_LENGTH, 64);
    e.write(TX_CONTROL, LOOPBACK | GO);
    assert!(e.bench.transmitted().is_empty());
    assert_eq!((e.read(RX_CONTROL), e.buffer(RX, 64)), (1, sent));
    e.write(TX_CONTROL, 0);
    e.bench.set_link(false);
    e.write(TX_CONTROL, GO);
    assert!(e.bench.transmitted().is_empty());
}

#[test]
fn the_management_port_reaches_the_phy() {
    let mut e = lite("xlnx,axi-ethernetlite", &[]);
    let read = |e: &mut Bench, phy: u32, register: u32| {
        e.write(MDIOADDR, 1 << 10 | phy << 5 | register);
        e.write(MDIOCTRL, 9);
        assert_eq!(e.read(MDIOCTRL), 8, "done");
        e.read(MDIORD)
    };
    assert_eq!([read(&mut e, 7, 2), read(&mut e, 7, 3), read(&mut e, 6, 2)], [0x0141, 0x0e40, 0xffff]);
    e.write(MDIOADDR, 7 << 5 | 4);
    e.write(MDIOWR, 0x0101);
    e.write(MDIOCTRL, 1);
    assert_eq!(read(&mut e, 7, 4), 0x01e1, "it was not enabled");
    e.write(MDIOADDR, 7 << 5 | 4);
    e.write(MDIOCTRL, 9);
    assert_eq!(read(&mut e, 7, 4), 0x0101);
}
