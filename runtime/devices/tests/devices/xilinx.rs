//! Soft peripherals of Xilinx: interrupt controller, timer, UART Lite.

use crate::bench::{Bench, device};
use emu_machine::schema::Value;
use emu_machine::testing::TestBench;

const MHZ: u64 = 1_000_000;

fn with(name: &str, props: &[(&str, i128)]) -> Bench {
    let kind = emu_devices::registry().into_iter().find(|k| k.name == name).expect("the type");
    let props: Vec<(String, Value)> = props.iter().map(|(n, v)| (n.to_string(), Value::Int(*v))).collect();
    Bench { bench: TestBench::with(&kind, MHZ, &props), kind }
}

mod intc {
    use super::*;

    const ISR: u64 = 0;
    const IPR: u64 = 4;
    const IER: u64 = 8;
    const IAR: u64 = 0xc;
    const SIE: u64 = 0x10;
    const CIE: u64 = 0x14;
    const IVR: u64 = 0x18;
    const MER: u64 = 0x1c;

    #[test]
    fn levels_come_back_and_edges_do_not() {
        let mut i = with("xlnx,xps-intc", &[("inputs", 4), ("edges", 0b1010)]);
        i.write(IER, 0xffff_ffff);
        assert_eq!(i.read(IER), 0xf);
        i.write(MER, 3);
        i.drive("in", 0, true);
        i.drive("in", 1, true);
        assert_eq!((i.read(ISR), i.read(IVR), i.line("irq", 0)), (3, 0, true));
        i.write(IAR, 3);
        assert_eq!((i.read(ISR), i.read(IVR), i.line("irq", 0)), (1, 0, true));
        i.drive("in", 0, false);
        i.write(IAR, 1);
        assert_eq!((i.read(ISR), i.read(IVR), i.line("irq", 0)), (0, u32::MAX, false));
        // A pulse is kept.
        i.drive("in", 1, false);
        i.drive("in", 1, true);
        i.drive("in", 1, false);
        assert_eq!((i.read(IPR), i.read(IVR)), (2, 1));
        i.write(CIE, 2);
        assert_eq!((i.read(ISR), i.read(IPR), i.line("irq", 0)), (2, 0, false));
        i.write(SIE, 2);
        assert!(i.line("irq", 0));
    }

    #[test]
    fn software_raises_until_hardware_is_enabled() {
        let mut i = with("xlnx,xps-intc", &[("inputs", 4)]);
        i.write(IER, 0xf);
        i.write(MER, 1);
        i.drive("in", 2, true);
        assert_eq!(i.read(ISR), 0);
        i.write(ISR, 8);
        assert_eq!((i.read(IVR), i.line("irq", 0)), (3, true));
        i.write(IAR, 8);
        i.write(MER, 2);
        i.write(ISR, 8);
        assert_eq!((i.read(ISR), i.read(MER), i.line("irq", 0)), (4, 2, false));
        i.write(MER, 1);
        assert_eq!((i.read(MER), i.line("irq", 0)), (3, true));
    }
}

mod timer {
    use super::*;

    const TCSR: [u64; 2] = [0, 0x10];
    const TLR: [u64; 2] = [4, 0x14];
    const TCR: [u64; 2] = [8, 0x18];
    const DOWN: u32 = 2;
    const RELOAD: u32 = 0x10;
    const LOAD: u32 = 0x20;
    const INTERRUPT: u32 = 0x40;
    const ENABLE: u32 = 0x80;
    const FLAG: u32 = 0x100;

    fn ticks(t: &mut Bench, n: u64) {
        t.bench.advance(n * 1000);
    }

    #[test]
    fn down_with_reload_has_a_period_of_load_plus_two() {
        let mut t = device("xlnx,xps-timer", MHZ);
        t.write(TLR[0], 8);
        t.write(TCSR[0], LOAD);
        t.write(TCSR[0], DOWN | RELOAD | INTERRUPT | ENABLE);
        ticks(&mut t, 8);
        assert_eq!((t.read(TCR[0]), t.line("irq", 0)), (0, false));
        for round in 0..5 {
            ticks(&mut t, 1);
            assert!(t.line("irq", 0), "{round}");
            t.write(TCSR[0], DOWN | RELOAD | INTERRUPT | ENABLE | FLAG);
            assert!(!t.line("irq", 0), "{round}");
            ticks(&mut t, 1);
            assert_eq!(t.read(TCR[0]), 8, "{round}");
            ticks(&mut t, 8);
            assert!(!t.line("irq", 0), "{round}");
        }
    }

    #[test]
    fn one_shot_stops_and_starts_again() {
        let mut t = device("xlnx,xps-timer", MHZ);
        for round in 0..3 {
            t.write(TLR[1], 10);
            t.write(TCSR[1], LOAD | FLAG);
            t.write(TCSR[1], DOWN | INTERRUPT | ENABLE);
            ticks(&mut t, 4);
            assert_eq!((t.read(TCR[1]), t.line("irq", 0)), (6, false), "{round}");
            ticks(&mut t, 1000);
            assert_eq!((t.read(TCSR[1]) & FLAG, t.line("irq", 0)), (FLAG, true), "{round}");
        }
    }

    #[test]
    fn free_running_up() {
        let mut t = device("xlnx,xps-timer", MHZ);
        t.write(TCSR[1], LOAD);
        t.write(TCSR[1], RELOAD | ENABLE);
        ticks(&mut t, 123_456);
        assert_eq!(t.read(TCR[1]), 123_456);
        ticks(&mut t, (1 << 32) + 5 - 123_456);
        assert_eq!((t.read(TCR[1]), t.read(TCSR[1]) & FLAG, t.line("irq", 0)), (4, FLAG, false));
    }

    #[test]
    fn captures_an_edge() {
        let mut t = device("xlnx,xps-timer", MHZ);
        t.write(TCSR[0], 1 | 8 | ENABLE | INTERRUPT);
        ticks(&mut t, 77);
        t.drive("capture", 0, true);
        assert_eq!((t.read(TLR[0]), t.line("irq", 0)), (77, true));
        ticks(&mut t, 5);
        t.drive("capture", 0, false);
        t.drive("capture", 0, true);
        assert_eq!(t.read(TLR[0]), 77);
    }

    #[test]
    fn no_end_is_missed_while_it_is_programmed() {
        for look in (50..3_000).step_by(50) {
            let mut t = device("xlnx,xps-timer", MHZ);
            t.bench.pass_at_every_look(look);
            t.write(TLR[0], 3);
            t.write(TCSR[0], LOAD);
            t.write(TCSR[0], DOWN | INTERRUPT | ENABLE);
            t.write(TCSR[0], DOWN | INTERRUPT | ENABLE);
            ticks(&mut t, 30);
            assert!(t.line("irq", 0), "{look} ns pass at every look");
        }
    }
}

mod uartlite {
    use super::*;

    #[test]
    fn bytes_go_both_ways_and_none_is_lost() {
        let mut u = device("xlnx,uartlite", MHZ);
        u.write(4, 0x141);
        assert_eq!(u.bench.sent(), b"A");
        assert_eq!(u.read(8), 0b100);
        u.bench.input(b"0123456789abcdefghij");
        assert_eq!(u.read(8), 0b111);
        let all: Vec<u8> = (0..20).map(|_| u.read(0) as u8).collect();
        assert_eq!((&all[..], u.read(8)), (&b"0123456789abcdefghij"[..], 0b100));
    }

    #[test]
    fn what_the_back_end_does_not_take_stays_in_the_fifo() {
        let mut u = device("xlnx,uartlite", MHZ);
        u.write(0xc, 0x10);
        u.bench.set_full(true);
        for byte in 0..17 {
            u.write(4, byte);
        }
        assert_eq!((u.read(8), u.bench.rises(0, 0)), (0b11000, 0));
        u.bench.set_full(false);
        assert_eq!((u.read(8), u.bench.rises(0, 0), u.bench.sent()), (0b10100, 1, (0..16).collect::<Vec<u8>>()));
        u.bench.set_full(true);
        u.write(4, 1);
        u.write(0xc, 0x11);
        assert_eq!((u.read(8), u.bench.rises(0, 0)), (0b10100, 2));
    }

    #[test]
    fn interrupts_are_pulses() {
        let mut u = device("xlnx,uartlite", MHZ);
        u.bench.input(b"x");
        assert_eq!(u.bench.rises(0, 0), 0);
        u.write(0xc, 0x12);
        assert_eq!(u.read(8), 0b10100);
        u.bench.input(b"ab");
        u.bench.input(b"c");
        assert_eq!((u.bench.rises(0, 0), u.line("irq", 0)), (1, false));
        u.write(4, 1);
        assert_eq!(u.bench.rises(0, 0), 2);
    }
}
