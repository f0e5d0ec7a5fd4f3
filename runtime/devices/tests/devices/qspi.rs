//! The Quad-SPI controller, with one flash or two.

use crate::bench::{Bench, device, kind};
use emu_machine::schema::Value;
use std::ops::{Deref, DerefMut};

const CONFIG: u64 = 0x00;
const STATUS: u64 = 0x04;
const ENABLE_INTERRUPTS: u64 = 0x08;
const ENABLE: u64 = 0x14;
const TX: u64 = 0x1c;
const RX: u64 = 0x20;
const RX_THRESHOLD: u64 = 0x2c;
const GPIO: u64 = 0x30;
const TXD1: u64 = 0x80;
const LINEAR: u64 = 0xa0;
const LINEAR_STATUS: u64 = 0xa4;

const TX_NOT_FULL: u32 = 4;
const TX_FULL: u32 = 8;
const RX_NOT_EMPTY: u32 = 0x10;
const RX_FULL: u32 = 0x20;

const MANUAL_CS: u32 = 0x4000;
const MANUAL_START: u32 = 0x8000;
const START: u32 = 0x1_0000;
/// At 200 MHz, divided by 2: a bit takes 10 ns.
const QSPI: u32 = 0x8000_00c1;
const PCS: u32 = 0x400;
const LINEAR_ON: u32 = 1 << 31;
const TWO: u32 = 1 << 30;
const PARALLEL: u32 = 1 << 29;
const UPPER: u32 = 1 << 28;

/// The controller with its flash.
struct Qspi(Bench);

impl Deref for Qspi {
    type Target = Bench;
    fn deref(&self) -> &Bench {
        &self.0
    }
}

impl DerefMut for Qspi {
    fn deref_mut(&mut self) -> &mut Bench {
        &mut self.0
    }
}

fn byte_at(at: u32) -> u8 {
    (at.wrapping_mul(0x9e37_79b1) >> 24) as u8
}

fn pattern(at: u32, n: u32) -> Vec<u8> {
    (at..at + n).map(byte_at).collect()
}

fn qspi(flashes: &[&str]) -> Qspi {
    let mut b = device("xlnx,zynq-qspi-1.0", 200_000_000);
    for (at, name) in flashes.iter().enumerate() {
        let given = [("time-percent".into(), Value::Int(0)), ("quad".into(), Value::Int(1))];
        let part = b.bench.attach(0, at as u32, &kind(name), &given);
        // The upper chip's bytes are the complement.
        let image = pattern(0, 1 << 20).into_iter().map(|byte| if at == 1 { !byte } else { byte }).collect();
        part.insert(image, false);
    }
    b.write(CONFIG, QSPI | MANUAL_CS | PCS);
    b.write(LINEAR, 0);
    b.write(ENABLE, 1);
    Qspi(b)
}

impl Qspi {
    /// A command in I/O mode: each byte of `head` by itself, then words; the words received.
    fn io(&mut self, head: &[u8], words: usize) -> Vec<u32> {
        self.write(CONFIG, QSPI | MANUAL_CS);
        head.iter().for_each(|byte| self.write(TXD1, u32::from(*byte)));
        (0..words).for_each(|_| self.write(TX, 0));
        self.bench.advance(100_000);
        self.write(CONFIG, QSPI | MANUAL_CS | PCS);
        let mut all = vec![];
        while self.read(STATUS) & RX_NOT_EMPTY != 0 {
            all.push(self.read(RX));
        }
        all.split_off(head.len())
    }

    fn linear(&mut self, at: u64, size: u8) -> u64 {
        self.try_read(1, at, size, 0).unwrap()
    }
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().unwrap())
}

#[test]
fn qspi_sends_one_to_four_bytes() {
    let mut b = qspi(&["micron,n25q128"]);
    let resets = [(0x04, TX_NOT_FULL), (0x24, 0xff), (0x28, 1), (0x2c, 1), (0x30, 1), (0x38, 0x2d), (0xfc, 0x109_0101)];
    resets.iter().for_each(|(at, value)| assert_eq!(b.read(*at), *value, "{at:#x}"));
    assert_eq!(device("xlnx,zynq-qspi-1.0", 1).read(LINEAR), 0x3a0_02eb);
    // What comes back is at the upper end of the word, first byte lowest.
    assert_eq!(b.io(&[0x9f], 1), [0x1018_ba20]);
    b.write(CONFIG, QSPI | MANUAL_CS);
    b.write(0x88, 0x0001_009f);
    b.bench.advance(10_000);
    assert_eq!(b.read(RX), 0xba20_ff00);
    b.write(0x84, 0);
    b.bench.advance(10_000);
    assert_eq!(b.read(RX), 0x1018_0000);
    b.write(CONFIG, QSPI | MANUAL_CS | PCS);
    assert_eq!(b.io(&[0x03, 0, 0, 5], 2), [word(&pattern(5, 4)), word(&pattern(9, 4))]);
    // The most significant byte first.
    b.write(CONFIG, QSPI | MANUAL_CS | 1 << 26);
    b.write(TX, 0x0300_0005);
    b.write(TX, 0);
    b.bench.advance(10_000);
    assert_eq!((b.read(RX), b.read(RX)), (u32::MAX, word(&pattern(5, 4)).swap_bytes()));
    b.write(CONFIG, QSPI | MANUAL_CS | PCS);
    // Programs, and the pin that protects.
    b.io(&[0x06], 0);
    b.io(&[0x02, 0, 0x10, 0, 0], 0);
    assert_eq!(b.io(&[0x03, 0, 0x10, 0], 1)[0] & 0xff, 0);
    b.write(GPIO, 0);
    assert!(b.line("wp", 0));
    b.write(GPIO, 1);
    assert!(!b.line("wp", 0));
}

#[test]
fn qspi_takes_the_lines_of_the_command() {
    let mut b = qspi(&["micron,n25q128"]);
    b.write(CONFIG, QSPI | MANUAL_CS);
    b.write(TX, 0x0000_006b);
    b.bench.advance(32 * 10 - 1);
    assert_eq!(b.read(STATUS), 0);
    b.bench.advance(1);
    assert_eq!(b.read(STATUS), RX_NOT_EMPTY | TX_NOT_FULL);
    // A byte without meaning on one line, then data on four.
    b.write(TXD1, 0);
    b.write(TX, 0);
    b.write(ENABLE_INTERRUPTS, TX_NOT_FULL);
    b.bench.advance(8 * 10 + 8 * 10 - 1);
    assert!(!b.line("irq", 0));
    b.bench.advance(1);
    assert!(b.line("irq", 0));
    assert_eq!((b.read(RX), b.read(RX), b.read(RX)), (u32::MAX, 0xff00_0000, word(&pattern(0, 4))));
}

#[test]
fn qspi_fifo_has_63_words() {
    let mut b = qspi(&["micron,n25q128"]);
    b.write(CONFIG, QSPI | MANUAL_CS | MANUAL_START);
    b.write(TX, 3);
    (0..61).for_each(|_| b.write(TX, 0));
    assert_eq!(b.read(STATUS), 0);
    b.write(TX, 0);
    assert_eq!(b.read(STATUS), TX_FULL);
    b.write(RX_THRESHOLD, 32);
    b.write(ENABLE_INTERRUPTS, RX_NOT_EMPTY);
    b.write(CONFIG, QSPI | MANUAL_CS | MANUAL_START | START);
    b.bench.advance(32 * 320 - 1);
    assert!(!b.line("irq", 0));
    b.bench.advance(1);
    assert!(b.line("irq", 0));
    b.bench.advance(31 * 320);
    assert_eq!(b.read(STATUS), TX_NOT_FULL | RX_NOT_EMPTY | RX_FULL);
    let words: Vec<u32> = (0..63).map(|_| b.read(RX)).collect();
    assert_eq!((words[0], words[1], words[62]), (u32::MAX, word(&pattern(0, 4)), word(&pattern(244, 4))));
}

#[test]
fn linear_reads_are_flash_commands() {
    for (name, config) in [("winbond,w25q128", 0x0200_02eb), ("micron,n25q128", 0x0000_016b), ("spansion,s25fl128s", 0x0000_0003)] {
        let mut b = qspi(&[name]);
        assert_eq!(b.linear(0, 4), 0, "not in I/O mode");
        b.write(LINEAR, LINEAR_ON | config);
        assert_eq!(b.linear(0x1234, 4) as u32, word(&pattern(0x1234, 4)), "{name}");
        assert_eq!(b.linear(0x4321, 1) as u8, byte_at(0x4321));
        assert_eq!(b.linear(0x100_0006, 2) as u16, u16::from_le_bytes([byte_at(6), byte_at(7)]), "one chip is seen twice");
        assert_eq!(b.linear(8, 8), u64::from_le_bytes(pattern(8, 8).try_into().unwrap()));
        assert!(b.try_write(1, 0, 4, 0, 0).is_err());
        assert_eq!(b.read(LINEAR_STATUS), 2);
        b.write(LINEAR_STATUS, 2);
        assert_eq!(b.read(LINEAR_STATUS), 0);
        // The FIFOs are of I/O mode.
        b.write(TXD1, 0x9f);
        b.bench.advance(10_000);
        assert_eq!(b.read(STATUS) & RX_NOT_EMPTY, 0);
    }
    // Mode bits that keep the chip in this read: it hears the opcode once.
    let mut b = qspi(&["winbond,w25q128"]);
    b.write(LINEAR, LINEAR_ON | 0x03a0_02eb);
    (0..3).for_each(|i| assert_eq!(b.linear(i, 1) as u8, byte_at(i as u32)));
    b.write(LINEAR, LINEAR_ON | 0x0200_02eb);
    assert_ne!(b.linear(3, 1) as u8, byte_at(3), "the opcode is taken for an address");
    // The wrong number of dummy bytes.
    let mut b = qspi(&["winbond,w25q128"]);
    b.write(LINEAR, LINEAR_ON | 0x0000_026b);
    assert_eq!(b.linear(0, 1) as u8, byte_at(1));
}

#[test]
fn two_flashes_behind_one_another() {
    let mut b = qspi(&["micron,n25q128", "micron,n25q128"]);
    b.write(LINEAR, TWO);
    assert_eq!(b.io(&[0x03, 0, 0, 5], 1), [word(&pattern(5, 4))]);
    b.write(LINEAR, TWO | UPPER);
    assert_eq!(b.io(&[0x03, 0, 0, 5], 1), [!word(&pattern(5, 4))]);
    b.write(LINEAR, LINEAR_ON | TWO | 0x016b);
    assert_eq!(b.linear(0x40, 4) as u32, word(&pattern(0x40, 4)));
    assert_eq!(b.linear(0x100_0040, 4) as u32, !word(&pattern(0x40, 4)));
}

#[test]
fn two_flashes_side_by_side() {
    let mut b = qspi(&["micron,n25q128", "micron,n25q128"]);
    b.write(LINEAR, TWO | PARALLEL);
    // Even bits of the lower, odd bits of the upper, most significant first: the upper's byte is the complement, so each pair of bits is 01 or 10.
    let lower = byte_at(0);
    let expected: Vec<u8> = [lower >> 4, lower & 15]
        .iter()
        .map(|half| (0..4).fold(0, |all, i| all | (half >> i & 1) << (2 * i) | (!half >> i & 1) << (2 * i + 1)))
        .collect();
    let two = b.io(&[0x03, 0, 0, 0], 1)[0].to_le_bytes();
    assert_eq!(&two[..2], &expected[..]);
    b.write(LINEAR, LINEAR_ON | TWO | PARALLEL | 0x016b);
    assert_eq!(b.linear(0, 4) as u32, word(&two));
    assert_eq!(b.linear(1, 1) as u8, two[1]);
    // Programs: both hear the command, each gets its bits.
    b.write(LINEAR, TWO | PARALLEL);
    b.io(&[0x06], 0);
    b.io(&[0xd8, 0, 0, 0], 0);
    b.io(&[0x06], 0);
    b.io(&[0x02, 0, 0, 0, 0x12, 0x34, 0x56, 0x78], 0);
    assert_eq!(b.io(&[0x03, 0, 0, 0], 1), [0x7856_3412]);
    // 12 34 is 0001001000110100: odd bits 00010100, even bits 01000110... of each chip by itself.
    b.write(LINEAR, TWO);
    assert_eq!(b.io(&[0x03, 0, 0, 0], 1)[0] & 0xff, 0b0100_0110);
    b.write(LINEAR, TWO | UPPER);
    assert_eq!(b.io(&[0x03, 0, 0, 0], 1)[0] & 0xff, 0b0001_0100);
}
