//! CAN controller: `xlnx,zynq-can-1.0`, as UG585 ch. 18 tells it. The reference clock is 24 MHz; a bit is 24 clocks, 1000 ns.

use crate::bench::{Bench, device};

const SRR: u64 = 0x00;
const MSR: u64 = 0x04;
const BRPR: u64 = 0x08;
const BTR: u64 = 0x0c;
const ECR: u64 = 0x10;
const ESR: u64 = 0x14;
const SR: u64 = 0x18;
const ISR: u64 = 0x1c;
const IER: u64 = 0x20;
const ICR: u64 = 0x24;
const TCR: u64 = 0x28;
const WIR: u64 = 0x2c;
const TX: u64 = 0x30;
const FIRST: u64 = 0x40;
const RX: u64 = 0x50;
const AFR: u64 = 0x60;
const AFMR1: u64 = 0x64;
const AFIR1: u64 = 0x68;

const CEN: u32 = 2;
const SNOOP: u32 = 4;
const LBACK: u32 = 2;
const SLEEP: u32 = 1;

const TXOK: u32 = 1 << 1;
const TXFLL: u32 = 1 << 2;
const TXBFLL: u32 = 1 << 3;
const RXOK: u32 = 1 << 4;
const RXUFLW: u32 = 1 << 5;
const RXOFLW: u32 = 1 << 6;
const RXNEMP: u32 = 1 << 7;
const ERROR: u32 = 1 << 8;
const BSOFF: u32 = 1 << 9;
const SLP: u32 = 1 << 10;
const WKUP: u32 = 1 << 11;
const RXFWMFLL: u32 = 1 << 12;
const TXFWMEMP: u32 = 1 << 13;
const TXFEMP: u32 = 1 << 14;

/// A standard frame without data, identifier 0: 53 bits with its stuff bits and the pause.
const EMPTY: [u32; 4] = [0, 0, 0, 0];
const EMPTY_TIME: u64 = 53_000;

const fn standard(id: u32) -> u32 {
    id << 21
}

/// Enabled in this mode, no interrupt flag set.
fn can(msr: u32) -> Bench {
    let mut c = device("xlnx,zynq-can-1.0", 24_000_000);
    c.write(BRPR, 1);
    // TS1 7, TS2 2: twelve quanta of two clocks.
    c.write(BTR, 1 << 7 | 2 << 4 | 7);
    c.write(MSR, msr);
    c.write(SRR, CEN);
    c.write(ICR, u32::MAX);
    c
}

fn put(c: &mut Bench, at: u64, words: [u32; 4]) {
    for (i, word) in words.into_iter().enumerate() {
        c.write(at + 4 * i as u64, word);
    }
}

fn get(c: &mut Bench) -> [u32; 4] {
    [0, 4, 8, 12].map(|i| c.read(RX + i))
}

/// From outside: a standard frame of one byte.
fn outside(id: u32, byte: u8) -> [u8; 16] {
    let mut frame = [0; 16];
    frame[..4].copy_from_slice(&id.to_le_bytes());
    (frame[4], frame[8]) = (1, byte);
    frame
}

#[test]
fn registers_after_reset() {
    let mut c = device("xlnx,zynq-can-1.0", 24_000_000);
    for (offset, value) in
        [(SRR, 0), (MSR, 0), (BRPR, 0), (BTR, 0), (ECR, 0), (ESR, 0), (SR, 1), (ISR, 0x6000), (IER, 0), (WIR, 0x3f3f), (AFR, 0)]
    {
        assert_eq!(c.read(offset), value, "{offset:#x}");
    }
    let mut c = can(LBACK);
    c.write(SRR, CEN | 1);
    assert_eq!((c.read(SRR), c.read(MSR), c.read(BTR), c.read(SR), c.read(ISR)), (0, 0, 0, 1, 0x6000), "software reset");
}

#[test]
fn modes_and_what_can_be_written_in_them() {
    for (msr, status) in [(0, 1 << 3 | 1 << 4 | 1 << 7), (LBACK, 1 << 1 | 1 << 7), (SNOOP, 1 << 12 | 1 << 4 | 1 << 7)] {
        let mut c = can(msr);
        assert_eq!(c.read(SR), status, "{msr:#x}");
        let before = [BRPR, BTR, WIR, MSR].map(|at| c.read(at));
        for at in [BRPR, BTR, WIR] {
            c.write(at, 0x3f);
        }
        c.write(MSR, msr ^ LBACK ^ SNOOP);
        assert_eq!([BRPR, BTR, WIR, MSR].map(|at| c.read(at)), before, "only in configuration mode");
        c.write(SRR, 0);
        assert_eq!(c.read(SR), 1);
    }
}

#[test]
fn a_frame_takes_its_time_on_the_wire() {
    let mut c = can(0);
    c.write(IER, TXOK);
    put(&mut c, TX, EMPTY);
    assert_eq!(c.read(SR) >> 4 & 3, 2, "BBSY");
    c.bench.advance(EMPTY_TIME - 1);
    assert!(c.bench.transmitted().is_empty() && !c.line("irq", 0));
    c.bench.advance(1);
    assert_eq!(c.bench.transmitted(), [[0; 16]]);
    assert!(c.line("irq", 0));
    assert_eq!((c.read(ISR), c.read(SR) >> 4 & 3), (TXOK | TXFEMP | TXFWMEMP, 1));
    c.write(ICR, TXOK);
    assert!(!c.line("irq", 0));
    // Half the rate, twice the time.
    c.write(SRR, 0);
    c.write(BRPR, 3);
    c.write(SRR, CEN);
    put(&mut c, TX, EMPTY);
    c.bench.advance(2 * EMPTY_TIME - 1);
    assert!(c.bench.transmitted().is_empty());
    c.bench.advance(1);
    assert_eq!(c.bench.transmitted().len(), 1);
}

#[test]
fn the_fifo_keeps_order_and_the_buffer_goes_first() {
    let mut c = can(0);
    for i in 0..64 {
        assert_eq!(c.read(ISR) & TXFLL, 0);
        put(&mut c, TX, [standard(i), 1 << 28, i << 24, 0]);
    }
    assert_eq!((c.read(ISR) & TXFLL, c.read(SR) >> 10 & 1), (TXFLL, 1));
    put(&mut c, TX, [standard(99), 0, 0, 0]);
    put(&mut c, FIRST, [standard(0x7ff), 0, 0, 0]);
    assert_eq!((c.read(ISR) & TXBFLL, c.read(SR) >> 9 & 1), (TXBFLL, 1));
    put(&mut c, FIRST, [standard(98), 0, 0, 0]);
    c.bench.advance(10_000_000);
    let ids: Vec<u8> = c.bench.transmitted().iter().map(|f| f[0]).collect();
    // The first is on the wire already; what had no room is lost.
    let expected: Vec<u8> = [0, 0xff].into_iter().chain(1..64).collect();
    assert_eq!(ids, expected);
    assert_eq!(c.read(SR) >> 9 & 3, 0);
}

#[test]
fn what_comes_is_stored_with_its_time() {
    let mut c = can(0);
    c.write(IER, RXNEMP);
    c.bench.advance(100_000);
    c.bench.frame(&outside(0x123, 0xab));
    c.write(TCR, 1);
    c.bench.advance(10_000);
    c.bench.frame(&outside(0x8000_0000 | 1 << 18 | 5, 0xcd));
    assert!(c.line("irq", 0));
    assert_eq!(c.read(ISR), RXOK | RXNEMP);
    assert_eq!(get(&mut c), [standard(0x123), 1 << 28 | 2400, 0xab00_0000, 0]);
    c.write(ICR, RXOK | RXNEMP);
    assert_eq!(c.read(ISR), RXNEMP, "there is another");
    assert_eq!(get(&mut c), [standard(1) | 3 << 19 | 5 << 1, 1 << 28 | 240, 0xcd00_0000, 0]);
    c.write(ICR, RXNEMP);
    assert!(!c.line("irq", 0));
    assert_eq!((get(&mut c), c.read(ISR)), ([0; 4], RXUFLW));
}

#[test]
fn a_full_receive_fifo_loses_what_comes() {
    let mut c = device("xlnx,zynq-can-1.0", 24_000_000);
    c.write(WIR, 0x3f02);
    c.write(SRR, CEN);
    for i in 0..65 {
        let flags = c.read(ISR);
        assert_eq!((flags & RXFWMFLL != 0, flags & RXOFLW), (i > 2, 0), "{i}");
        c.bench.frame(&outside(i, 0));
    }
    assert_eq!(c.read(ISR) & RXOFLW, RXOFLW);
    assert_eq!(c.bench.frames_waiting(), 0);
    let ids: Vec<u32> = (0..64).map(|_| get(&mut c)[0] >> 21).collect();
    assert_eq!(ids, (0..64).collect::<Vec<u32>>());
}

#[test]
fn filters() {
    let mut c = can(0);
    for i in 0..4 {
        c.write(AFMR1 + 8 * i, standard(0x7ff) | 1 << 19);
        c.write(AFIR1 + 8 * i, standard(0x100 + i as u32));
    }
    let accepted = |c: &mut Bench, id: u32| {
        c.bench.frame(&outside(id, 0));
        let any = c.read(ISR) & RXNEMP != 0;
        if any {
            get(c);
        }
        c.write(ICR, u32::MAX);
        any
    };
    assert!(accepted(&mut c, 0x555), "no filter is used");
    for i in 0..4 {
        c.write(AFR, 1 << i);
        let ids: Vec<u32> = (0x0ff..0x105).filter(|id| accepted(&mut c, *id)).collect();
        assert_eq!(ids, [0x100 + i]);
    }
    c.write(AFR, 0b1001);
    assert_eq!([0x100, 0x101, 0x103, 0x8000_0000 | 0x100 << 18].map(|id| accepted(&mut c, id)), [true, false, true, false]);
    // A filter that is used cannot be written.
    c.write(AFIR1, standard(0x200));
    c.write(AFMR1, 0);
    assert!(accepted(&mut c, 0x100) && !accepted(&mut c, 0x200));
}

#[test]
fn loopback_stays_inside() {
    let mut c = can(LBACK);
    c.bench.set_link(false);
    put(&mut c, TX, [standard(0x55), 2 << 28, 0x1122_0000, 0]);
    c.bench.frame(&outside(7, 7));
    c.bench.advance(1_000_000);
    assert_eq!(c.read(ISR) & (TXOK | RXOK | ERROR), TXOK | RXOK);
    let frame = get(&mut c);
    assert_eq!([frame[0], frame[1] >> 28, frame[2]], [standard(0x55), 2, 0x1122_0000]);
    assert_eq!((c.read(ISR) & RXUFLW, c.bench.transmitted().len()), (0, 0));
    assert_eq!(get(&mut c), [0; 4], "nothing from outside");
}

#[test]
fn snooping_sends_nothing() {
    let mut c = can(SNOOP);
    put(&mut c, TX, EMPTY);
    c.bench.frame(&outside(7, 7));
    c.bench.advance(10_000_000);
    assert_eq!((c.read(ISR) & (TXOK | RXOK), c.bench.transmitted().len()), (RXOK, 0));
}

#[test]
fn sleeps_until_something_happens() {
    for way in 0..3 {
        let mut c = can(0);
        c.write(MSR, SLEEP);
        assert_eq!((c.read(ISR), c.read(SR)), (SLP, 1 << 7 | 1 << 2));
        match way {
            0 => c.bench.frame(&outside(1, 1)),
            1 => put(&mut c, TX, EMPTY),
            _ => c.write(MSR, 0),
        }
        assert_eq!((c.read(ISR) & WKUP, c.read(MSR), c.read(SR) >> 3 & 1), (WKUP, 0, 1), "{way}");
        assert_eq!(c.read(ISR) & RXOK != 0, way == 0);
    }
    let mut c = can(0);
    put(&mut c, TX, EMPTY);
    c.write(MSR, SLEEP);
    assert_eq!(c.read(SR) >> 2 & 3, 2, "not while there is something to send");
    c.bench.advance(EMPTY_TIME);
    assert_eq!(c.read(SR) >> 2 & 3, 1);
}

#[test]
fn alone_on_the_bus_it_becomes_error_passive() {
    let mut c = can(0);
    c.bench.set_link(false);
    put(&mut c, TX, EMPTY);
    for (round, (tec, state)) in [(8, 1), (16, 1), (24, 1)].into_iter().enumerate() {
        c.bench.advance(EMPTY_TIME);
        assert_eq!((c.read(ECR), c.read(SR) >> 7 & 3, c.read(ESR)), (tec, state, 1 << 4), "{round}");
    }
    assert_eq!(c.read(ISR) & (ERROR | TXOK), ERROR);
    c.write(ESR, 1 << 4);
    assert_eq!(c.read(ESR), 0);
    c.bench.advance(9 * EMPTY_TIME);
    assert_eq!((c.read(ECR), c.read(SR) >> 6 & 7), (96, 0b011), "a warning");
    c.bench.advance(1000 * EMPTY_TIME);
    assert_eq!((c.read(ECR), c.read(SR) >> 6 & 7, c.read(ISR) & BSOFF), (128, 0b111, 0), "passive, but never off the bus");
    c.bench.set_link(true);
    c.bench.advance(EMPTY_TIME);
    assert_eq!((c.read(ECR), c.read(ISR) & TXOK, c.bench.transmitted().len()), (127, TXOK, 1));
    c.write(SRR, 0);
    assert_eq!((c.read(ECR), c.read(ESR), c.read(ISR) & (ERROR | TXOK)), (0, 0, 0));
}

#[test]
fn a_shorted_bus_puts_it_off_the_bus() {
    let mut c = can(0);
    c.drive("bus-fault", 0, true);
    put(&mut c, TX, EMPTY);
    c.bench.advance(31 * EMPTY_TIME);
    assert_eq!((c.read(ECR), c.read(SR) >> 7 & 3, c.read(ISR) & BSOFF, c.read(ESR)), (248, 3, 0, 1 << 3));
    c.bench.advance(EMPTY_TIME);
    assert_eq!((c.read(SR) >> 7 & 3, c.read(ISR) & BSOFF), (2, BSOFF));
    c.bench.frame(&outside(1, 1));
    assert_eq!(c.read(ISR) & RXOK, 0);
    c.bench.advance(1_000_000_000);
    assert_eq!(c.read(SR) >> 7 & 3, 2, "as long as it is shorted");
    c.drive("bus-fault", 0, false);
    c.bench.advance(128 * 11 * 1000 - 1);
    assert_eq!(c.read(SR) >> 7 & 3, 2);
    c.bench.advance(1);
    assert_eq!((c.read(SR) >> 7 & 3, c.read(ECR)), (1, 0));
    c.bench.advance(EMPTY_TIME);
    assert_eq!(c.bench.transmitted().len(), 1, "and the frame gets through");
}

#[test]
fn configuration_keeps_frames_and_the_reset_line_does_not() {
    let mut c = can(0);
    c.bench.frame(&outside(1, 1));
    put(&mut c, TX, EMPTY);
    c.bench.advance(EMPTY_TIME - 1);
    c.write(SRR, 0);
    c.bench.frame(&outside(2, 2));
    c.bench.advance(1_000_000);
    assert!(c.bench.transmitted().is_empty());
    assert_eq!(get(&mut c)[0], standard(1));
    c.write(SRR, CEN);
    c.bench.advance(EMPTY_TIME);
    assert_eq!(c.bench.transmitted().len(), 1);
    assert_eq!(get(&mut c)[0], 0, "what came meanwhile is lost");
    put(&mut c, TX, EMPTY);
    c.drive("reset", 0, true);
    c.write(SRR, CEN);
    assert_eq!((c.read(SRR), c.read(SR)), (0, 1));
    c.drive("reset", 0, false);
    c.write(SRR, CEN);
    c.bench.advance(1_000_000);
    assert!(c.bench.transmitted().is_empty());
}

#[test]
fn without_a_clock_nothing_is_sent() {
    let mut c = device("xlnx,zynq-can-1.0", 0);
    c.write(SRR, CEN);
    put(&mut c, TX, EMPTY);
    c.bench.advance(1_000_000_000);
    assert!(c.bench.transmitted().is_empty());
}

#[test]
fn frames_of_other_networks_are_no_frames() {
    let mut c = can(0);
    c.bench.frame(&[0xff; 60]);
    assert_eq!(c.read(ISR) & RXOK, 0);
    assert!(c.bench.log().iter().any(|l| l.contains("not a CAN frame")), "{:?}", c.bench.log());
}
