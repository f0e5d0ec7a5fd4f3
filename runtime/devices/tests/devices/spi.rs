//! The Cadence SPI controller, with flash behind it.

use crate::bench::{Bench, device, kind};
use emu_machine::schema::Value;
use std::ops::{Deref, DerefMut};

const CONFIG: u64 = 0x00;
const STATUS: u64 = 0x04;
const ENABLE_INTERRUPTS: u64 = 0x08;
const DISABLE_INTERRUPTS: u64 = 0x0c;
const MASK: u64 = 0x10;
const ENABLE: u64 = 0x14;
const DELAY: u64 = 0x18;
const TX: u64 = 0x1c;
const RX: u64 = 0x20;
const TX_THRESHOLD: u64 = 0x28;
const RX_THRESHOLD: u64 = 0x2c;

const OVERFLOW: u32 = 1;
const MODE_FAIL: u32 = 2;
const TX_NOT_FULL: u32 = 4;
const TX_FULL: u32 = 8;
const RX_NOT_EMPTY: u32 = 0x10;
const RX_FULL: u32 = 0x20;

/// Master, fail detection, divided by 4.
const MASTER: u32 = 0x2_0009;
const MANUAL_CS: u32 = 0x4000;
const MANUAL_START: u32 = 0x8000;
const START: u32 = 0x1_0000;
const NONE: u32 = 0x3c00;

fn instant() -> Vec<(String, Value)> {
    vec![("time-percent".into(), Value::Int(0))]
}

/// A controller with parts.
struct Spi(Bench);

impl Deref for Spi {
    type Target = Bench;
    fn deref(&self) -> &Bench {
        &self.0
    }
}

impl DerefMut for Spi {
    fn deref_mut(&mut self) -> &mut Bench {
        &mut self.0
    }
}

/// At 100 MHz: a byte takes 320 ns. M25P80s at 0 and 2.
fn spi() -> Spi {
    let mut b = device("cdns,spi-r1p6", 100_000_000);
    b.bench.attach(0, 0, &kind("st,m25p80"), &instant());
    b.bench.attach(0, 2, &kind("sst,sst25vf016b"), &instant());
    b.write(CONFIG, MASTER | MANUAL_CS | NONE);
    b.write(ENABLE, 1);
    Spi(b)
}

impl Spi {
    fn send(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write(TX, u32::from(*byte)));
    }

    fn received(&mut self) -> Vec<u8> {
        let mut all = vec![];
        while self.read(STATUS) & RX_NOT_EMPTY != 0 {
            all.push(self.read(RX) as u8);
        }
        all
    }
}

#[test]
fn bytes_go_over_the_bus_in_time() {
    let mut b = spi();
    assert_eq!((b.read(0xfc), b.read(0x24)), (0x9_0106, 0xff));
    b.write(CONFIG, MASTER | MANUAL_CS);
    b.send(&[0x9f, 0, 0, 0]);
    b.bench.advance(319);
    assert_eq!(b.read(STATUS), 0);
    b.bench.advance(1);
    assert_eq!(b.read(STATUS), RX_NOT_EMPTY);
    b.bench.advance(3 * 320 - 1);
    assert_eq!(b.read(STATUS) & TX_NOT_FULL, 0);
    b.bench.advance(1);
    assert_eq!((b.read(STATUS), b.received()), (RX_NOT_EMPTY | TX_NOT_FULL, vec![0xff, 0x20, 0x20, 0x14]));
    // The same command goes on, until the chip select is released.
    b.send(&[0]);
    b.bench.advance(320);
    assert_eq!(b.received(), [0]);
    b.write(CONFIG, MASTER | MANUAL_CS | NONE);
    b.send(&[0x9f, 0]);
    b.bench.advance(640);
    assert_eq!(b.received(), [0xff, 0xff], "nobody is selected");
    // The other chip: 0 is the third bit.
    b.write(CONFIG, MASTER | MANUAL_CS | 0x0c00);
    b.send(&[0x9f, 0]);
    b.bench.advance(640);
    assert_eq!(b.received(), [0xff, 0xbf]);
    // By number, with a decoder; slower by eight; with a delay behind each byte.
    b.write(CONFIG, MASTER | MANUAL_CS | NONE);
    b.write(CONFIG, MASTER | MANUAL_CS | 0x200 | 2 << 10 | 0x20);
    b.write(DELAY, 0x0000_0800);
    b.send(&[0x9f]);
    b.bench.advance(8 * 640 + 80 - 1);
    assert!(b.received().is_empty());
    b.bench.advance(1);
    assert_eq!(b.received(), [0xff]);
    // Without a clock nothing moves; off, the chip select is released.
    b.write(ENABLE, 0);
    b.send(&[0x9f]);
    b.bench.advance(1_000_000);
    assert!(b.received().is_empty());
}

#[test]
fn chip_selects_can_be_automatic() {
    let mut b = spi();
    b.write(CONFIG, MASTER);
    b.send(&[0x9f, 0, 0]);
    b.bench.advance(3 * 320);
    assert_eq!(b.received(), [0xff, 0x20, 0x20]);
    // Each filling of the FIFO is a command of its own.
    b.send(&[0x9f, 0]);
    b.bench.advance(2 * 320);
    assert_eq!(b.received(), [0xff, 0x20]);
    // Delays before the first byte: between, and at the beginning.
    b.write(DELAY, 0x0002_0003);
    b.send(&[0x9f]);
    b.bench.advance(369);
    assert!(b.received().is_empty());
    b.bench.advance(1);
    assert_eq!(b.received(), [0xff]);
}

#[test]
fn transfers_can_be_started_by_hand() {
    let mut b = spi();
    b.write(CONFIG, MASTER | MANUAL_CS | MANUAL_START);
    b.send(&[0x9f, 0]);
    b.bench.advance(10_000);
    assert!(b.received().is_empty());
    b.write(CONFIG, MASTER | MANUAL_CS | MANUAL_START | START);
    assert_eq!(b.read(CONFIG) & START, 0);
    b.bench.advance(640);
    assert_eq!(b.received(), [0xff, 0x20]);
    b.send(&[0]);
    b.bench.advance(10_000);
    assert!(b.received().is_empty(), "the start was for the data there were");
}

#[test]
fn levels_interrupt() {
    let mut b = spi();
    assert_eq!((b.read(STATUS), b.read(MASK)), (TX_NOT_FULL, 0));
    b.write(TX_THRESHOLD, 0xffff);
    assert_eq!(b.read(TX_THRESHOLD), 127, "drivers find the FIFO's depth so");
    b.write(TX_THRESHOLD, 1);
    b.write(ENABLE_INTERRUPTS, 0x7f);
    assert!(b.line("irq", 0));
    b.write(DISABLE_INTERRUPTS, 0x7f & !RX_NOT_EMPTY);
    assert_eq!((b.read(MASK), b.line("irq", 0)), (RX_NOT_EMPTY, false));
    b.write(RX_THRESHOLD, 10);
    b.write(TX_THRESHOLD, 4);
    b.write(CONFIG, MASTER | MANUAL_CS);
    b.send(&[0; 20]);
    // The tenth byte, without anybody looking.
    b.bench.advance(10 * 320 - 1);
    assert!(!b.line("irq", 0));
    b.bench.advance(1);
    assert!(b.line("irq", 0));
    assert_eq!(b.read(STATUS), RX_NOT_EMPTY);
    b.read(RX);
    assert!(!b.line("irq", 0));
    // Three are left, of twenty.
    b.write(DISABLE_INTERRUPTS, 0x7f);
    b.write(ENABLE_INTERRUPTS, TX_NOT_FULL);
    b.bench.advance(7 * 320 - 1);
    assert!(!b.line("irq", 0));
    b.bench.advance(1);
    assert!(b.line("irq", 0));
}

#[test]
fn fifos_fill_and_overflow() {
    let mut b = spi();
    b.write(CONFIG, MASTER | MANUAL_CS | MANUAL_START);
    b.send(&[0; 127]);
    assert_eq!(b.read(STATUS), 0);
    b.send(&[0]);
    assert_eq!(b.read(STATUS), TX_FULL);
    b.send(&[0]);
    assert!(b.bench.log().iter().any(|l| l.contains("full transmit FIFO")));
    b.write(CONFIG, MASTER | MANUAL_CS | MANUAL_START | START);
    b.bench.advance(128 * 320);
    assert_eq!(b.read(STATUS), TX_NOT_FULL | RX_NOT_EMPTY | RX_FULL);
    b.write(ENABLE_INTERRUPTS, OVERFLOW);
    b.send(&[0]);
    b.write(CONFIG, MASTER | MANUAL_CS | MANUAL_START | START);
    b.bench.advance(319);
    assert!(!b.line("irq", 0));
    b.bench.advance(1);
    assert!(b.line("irq", 0));
    assert_eq!(b.received().len(), 128);
    assert_eq!(b.read(STATUS), TX_NOT_FULL | OVERFLOW, "it stays");
    b.write(STATUS, 0x7f);
    assert_eq!((b.read(STATUS), b.line("irq", 0)), (TX_NOT_FULL, false));
}

#[test]
fn another_master_and_resets() {
    let mut b = spi();
    b.write(ENABLE_INTERRUPTS, MODE_FAIL);
    b.drive("ss-in", 0, true);
    assert_eq!((b.read(STATUS) & MODE_FAIL, b.read(ENABLE), b.line("irq", 0)), (MODE_FAIL, 0, true));
    b.write(STATUS, MODE_FAIL);
    assert_eq!(b.read(STATUS) & MODE_FAIL, 0);
    b.write(ENABLE, 1);
    assert_eq!((b.read(STATUS) & MODE_FAIL, b.read(ENABLE)), (MODE_FAIL, 0), "it is still there");
    b.write(CONFIG, MASTER & !0x2_0000);
    b.write(ENABLE, 1);
    assert_eq!(b.read(ENABLE), 1, "nobody minds");
    b.write(CONFIG, 0);
    assert!(b.bench.log().iter().any(|l| l.contains("slave mode")));
    let mut b = spi();
    b.drive("reset", 0, true);
    b.write(CONFIG, MASTER);
    b.drive("reset", 0, false);
    assert_eq!((b.read(CONFIG), b.read(ENABLE)), (0x2_0000, 0));
}
