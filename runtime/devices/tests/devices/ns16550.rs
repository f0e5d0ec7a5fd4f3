//! The 16550A.

use crate::bench::{Bench, device};

const CLOCK: u64 = 1_843_200;

fn uart() -> Bench {
    let mut u = device("ns16550a", CLOCK);
    put(&mut u, 3, 0x83);
    put(&mut u, 0, 1);
    put(&mut u, 1, 0);
    put(&mut u, 3, 3);
    u
}

fn put(u: &mut Bench, register: u64, value: u8) {
    u.try_write(0, register, 1, value.into(), 0).unwrap();
}

fn get(u: &mut Bench, register: u64) -> u8 {
    u.try_read(0, register, 1, 0).unwrap() as u8
}

#[test]
fn divisor_and_data_share_their_places() {
    let mut u = uart();
    put(&mut u, 3, 0x80);
    assert_eq!((get(&mut u, 0), get(&mut u, 1)), (1, 0));
    put(&mut u, 3, 3);
    put(&mut u, 0, b'!');
    put(&mut u, 7, 0x5a);
    assert_eq!((u.bench.sent(), get(&mut u, 7), get(&mut u, 5)), (vec![b'!'], 0x5a, 0x60));
}

#[test]
fn the_empty_transmitter_interrupts_once_each_time() {
    let mut u = uart();
    put(&mut u, 1, 2);
    assert!(u.line("irq", 0));
    assert_eq!((get(&mut u, 2), get(&mut u, 2), u.line("irq", 0)), (2, 1, false));
    put(&mut u, 0, b'a');
    assert_eq!((get(&mut u, 2), get(&mut u, 2)), (2, 1));
    // Enabling it again asks again.
    put(&mut u, 1, 0);
    put(&mut u, 1, 2);
    assert_eq!(get(&mut u, 2), 2);
}

#[test]
fn the_trigger_level_and_the_timeout() {
    let mut u = uart();
    put(&mut u, 2, 0x81);
    put(&mut u, 1, 1);
    u.bench.input(b"1234567");
    assert_eq!((get(&mut u, 2), get(&mut u, 5) & 1), (0xc1, 1));
    u.bench.input(b"8");
    assert_eq!(get(&mut u, 2), 0xc4);
    assert_eq!(get(&mut u, 0), b'1');
    assert_eq!((get(&mut u, 2), u.line("irq", 0)), (0xc1, false));
    // Four characters of ten bits at 115200 baud.
    u.bench.advance(340_000);
    assert!(!u.line("irq", 0));
    u.bench.advance(10_000);
    assert_eq!((u.line("irq", 0), get(&mut u, 2)), (true, 0xcc));
    let rest: Vec<u8> = (0..7).map(|_| get(&mut u, 0)).collect();
    assert_eq!((&rest[..], get(&mut u, 2), get(&mut u, 5)), (&b"2345678"[..], 0xc1, 0x60));
}

#[test]
fn nothing_is_lost_with_or_without_fifos() {
    for fcr in [0, 1] {
        let mut u = uart();
        put(&mut u, 2, fcr);
        let text: Vec<u8> = (0..100).collect();
        u.bench.input(&text);
        let got: Vec<u8> = (0..100).map(|_| get(&mut u, 0)).collect();
        assert_eq!((got, get(&mut u, 5)), (text, 0x60));
    }
}

#[test]
fn loopback_overruns_and_turns_the_modem_lines() {
    let mut u = uart();
    assert_eq!(get(&mut u, 6), 0xb0);
    put(&mut u, 4, 0x1a);
    assert_eq!(get(&mut u, 6), 0x92);
    assert_eq!(get(&mut u, 6), 0x90);
    put(&mut u, 1, 4);
    put(&mut u, 0, b'a');
    put(&mut u, 0, b'b');
    assert_eq!((get(&mut u, 2), u.line("irq", 0)), (6, true));
    assert_eq!((get(&mut u, 5), get(&mut u, 5), get(&mut u, 0)), (0x63, 0x61, b'a'));
    assert!(u.bench.sent().is_empty() && !u.line("irq", 0));
}

#[test]
fn what_the_back_end_does_not_take_keeps_the_transmitter_full() {
    let mut u = uart();
    put(&mut u, 2, 1);
    put(&mut u, 1, 2);
    assert_eq!(get(&mut u, 2), 0xc2);
    u.bench.set_full(true);
    for byte in 0..16 {
        put(&mut u, 0, byte);
    }
    assert_eq!((get(&mut u, 5), get(&mut u, 2), u.line("irq", 0)), (0, 0xc1, false));
    u.bench.set_full(false);
    assert_eq!((get(&mut u, 5), get(&mut u, 2), u.bench.sent()), (0x60, 0xc2, (0..16).collect::<Vec<u8>>()));
}
