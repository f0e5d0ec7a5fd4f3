//! `cdns,uart` (UG585 ch. 19).

use crate::bench::{Bench, device};
use emu_machine::Access;

const CR: u64 = 0x00;
const MR: u64 = 0x04;
const IER: u64 = 0x08;
const IDR: u64 = 0x0c;
const IMR: u64 = 0x10;
const ISR: u64 = 0x14;
const BAUDGEN: u64 = 0x18;
const RXTOUT: u64 = 0x1c;
const RXWM: u64 = 0x20;
const SR: u64 = 0x2c;
const FIFO: u64 = 0x30;
const BDIV: u64 = 0x34;
const TXWM: u64 = 0x44;

const RTRIG: u32 = 1;
const REMPTY: u32 = 2;
const RFUL: u32 = 4;
const TEMPTY: u32 = 8;
const TFUL: u32 = 0x10;
const TIMEOUT: u32 = 0x100;
const TTRIG: u32 = 0x400;
const TOVR: u32 = 0x1000;

/// Both directions on.
fn uart() -> Bench {
    let mut u = device("cdns,uart", 50_000_000);
    u.write(CR, 0x14);
    u
}

#[test]
fn reset_values() {
    let mut u = device("cdns,uart", 50_000_000);
    for (offset, value) in [(CR, 0x128), (MR, 0), (IMR, 0), (BAUDGEN, 0x28b), (RXWM, 0x20), (SR, 0xa), (BDIV, 0xf), (TXWM, 0x20)] {
        assert_eq!(u.read(offset), value, "{offset:#x}");
    }
    assert!(!u.line("irq", 0));
}

#[test]
fn sends_words_and_bytes() {
    let mut u = uart();
    u.write(FIFO, u32::from(b'h'));
    u.try_write(0, FIFO, 1, b'i'.into(), 0).unwrap();
    assert_eq!(u.bench.sent(), b"hi");
    assert_eq!(u.read(SR) & (TEMPTY | TFUL), TEMPTY);
}

#[test]
fn a_stopped_transmitter_keeps_its_fifo() {
    let mut u = uart();
    u.write(CR, 0x24);
    for i in 0..63 {
        u.write(FIFO, i);
    }
    assert_eq!(u.read(SR) & (TEMPTY | TFUL), 0);
    assert_eq!(u.read(SR) & 0x2000, 0x2000, "TTRIG: 32 and more");
    u.write(FIFO, 63);
    assert_eq!(u.read(SR) & (TEMPTY | TFUL), TFUL);
    u.write(ISR, 0x1fff);
    u.write(FIFO, 64);
    assert_eq!(u.read(ISR) & TOVR, TOVR);
    assert!(u.bench.sent().is_empty());
    u.write(CR, 0x14);
    assert_eq!(u.bench.sent(), (0..64).collect::<Vec<u8>>());
    assert_eq!(u.read(SR) & (TEMPTY | TFUL), TEMPTY);
    u.write(CR, 0x24);
    u.write(FIFO, 1);
    u.write(CR, 0x24 | 2);
    assert_eq!(u.read(SR) & TEMPTY, TEMPTY, "TXRST empties the FIFO");
    assert_eq!(u.read(CR), 0x24, "and clears itself");
}

#[test]
fn receives_more_than_the_fifo_holds_without_loss() {
    let mut u = uart();
    let text: Vec<u8> = (0..200).collect();
    u.bench.input(&text);
    assert_eq!(u.read(SR) & (REMPTY | RFUL | RTRIG), RFUL | RTRIG);
    let mut got = vec![];
    while u.read(SR) & REMPTY == 0 {
        got.push(u.read(FIFO) as u8);
    }
    assert_eq!(got, text);
}

#[test]
fn a_debugger_takes_nothing() {
    let mut u = uart();
    u.bench.input(b"x");
    for _ in 0..2 {
        assert_eq!(u.bench.read_as(0, FIFO, 4, Access::DEBUG).unwrap(), u64::from(b'x'));
    }
    assert_eq!(u.read(FIFO), u32::from(b'x'));
}

#[test]
fn a_receiver_that_is_off_takes_nothing() {
    let mut u = device("cdns,uart", 50_000_000);
    u.bench.input(b"early");
    assert_eq!(u.read(SR) & REMPTY, REMPTY);
    u.write(CR, 0x14);
    assert_eq!(u.read(FIFO), u32::from(b'e'));
    u.write(CR, 0x14 | 1);
    assert_eq!(u.read(SR) & REMPTY, REMPTY, "RXRST empties the FIFO");
}

#[test]
fn interrupts_follow_mask_and_trigger_level() {
    let mut u = uart();
    u.write(RXWM, 3);
    u.write(ISR, 0x1fff);
    u.write(IER, RTRIG);
    assert_eq!(u.read(IMR), RTRIG);
    u.bench.input(b"ab");
    assert!(!u.line("irq", 0));
    u.bench.input(b"c");
    assert!(u.line("irq", 0));
    assert_eq!(u.read(ISR) & RTRIG, RTRIG);
    u.read(FIFO);
    u.write(ISR, RTRIG);
    assert!(!u.line("irq", 0));
    u.bench.input(b"d");
    assert!(u.line("irq", 0));
    u.write(IDR, RTRIG);
    assert_eq!(u.read(IMR), 0);
    assert!(!u.line("irq", 0));
}

#[test]
fn an_empty_transmitter_interrupts() {
    let mut u = uart();
    u.write(ISR, 0x1fff);
    u.write(FIFO, 1);
    u.write(IER, TEMPTY);
    assert!(u.line("irq", 0));
    u.write(IDR, TEMPTY);
    assert!(!u.line("irq", 0));
    u.write(CR, 0x24);
    u.write(TXWM, 2);
    u.write(FIFO, 1);
    u.write(ISR, 0x1fff);
    u.write(IER, TTRIG);
    assert!(!u.line("irq", 0));
    u.write(FIFO, 1);
    assert!(u.line("irq", 0));
}

#[test]
fn silence_after_data_times_out() {
    let mut u = uart();
    // 50 MHz / (62 * 7) = 115207 baud: 40 bits take 347 us.
    u.write(BAUDGEN, 62);
    u.write(BDIV, 6);
    u.write(RXTOUT, 10);
    u.write(IER, TIMEOUT);
    u.bench.advance(1_000_000);
    assert!(!u.line("irq", 0), "no data, no timeout");
    u.bench.input(b"x");
    u.bench.advance(340_000);
    assert!(!u.line("irq", 0));
    u.bench.advance(10_000);
    assert!(u.line("irq", 0));
    u.write(ISR, TIMEOUT);
    assert!(!u.line("irq", 0));
}

#[test]
fn channel_modes() {
    let mut u = uart();
    u.write(MR, 2 << 8);
    u.bench.input(b"n");
    u.write(FIFO, u32::from(b'L'));
    assert_eq!((u.bench.sent(), u.read(FIFO)), (vec![], u32::from(b'L')), "local loopback");
    assert_eq!(u.read(SR) & REMPTY, REMPTY);
    u.write(MR, 1 << 8);
    u.bench.input(b"e");
    assert_eq!(u.bench.sent(), b"ne", "automatic echo");
    assert_eq!(u.read(FIFO), u32::from(b'n'));
    u.write(CR, 0x14 | 1);
    u.write(MR, 3 << 8);
    u.bench.input(b"r");
    assert_eq!(u.bench.sent(), b"r", "remote loopback");
    assert_eq!(u.read(SR) & REMPTY, REMPTY);
}

#[test]
fn the_reset_line_holds_it() {
    let mut u = uart();
    u.write(IER, 0x1fff);
    u.drive("reset", 0, true);
    assert!(!u.line("irq", 0));
    u.drive("reset", 0, false);
    assert_eq!((u.read(CR), u.read(IMR)), (0x128, 0));
}

#[test]
fn what_the_back_end_does_not_take_stays_in_the_fifo() {
    let mut u = uart();
    u.bench.set_full(true);
    for i in 0..64 {
        u.write(FIFO, i);
    }
    assert_eq!((u.read(SR) & (TEMPTY | TFUL), u.bench.sent()), (TFUL, vec![]));
    u.write(ISR, 0x1fff);
    u.write(IER, TEMPTY);
    assert!(!u.line("irq", 0));
    u.bench.set_full(false);
    assert_eq!((u.read(SR) & TEMPTY, u.bench.sent()), (TEMPTY, (0..64).collect()));
    assert!(u.line("irq", 0));
}
