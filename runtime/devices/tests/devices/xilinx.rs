//! Soft peripherals of Xilinx: interrupt controller, timer, UART Lite, GPIO, SPI, external memory controller.

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

    const IMR: u64 = 0x20;
    const ILR: u64 = 0x24;
    const IVAR: u64 = 0x100;
    /// What the CPU acknowledges.
    const TAKEN: u32 = 0;
    const RETURNED: u32 = 1;
    const ENABLED: u32 = 2;

    fn address(i: &Bench) -> u32 {
        (0..32).map(|bit| u32::from(i.line("address", bit)) << bit).sum()
    }

    fn acknowledge(i: &mut Bench, what: u32) {
        i.drive("ack", what, true);
        i.drive("ack", what, false);
    }

    #[test]
    fn fast_interrupts_bring_an_address_and_are_acknowledged_by_the_cpu() {
        let mut i = with("xlnx,xps-intc", &[("inputs", 4), ("edges", 0b0010), ("fast", 1)]);
        assert_eq!((i.read(IMR), i.read(IVAR + 12), address(&i)), (0, 0x10, 0));
        i.write(IER, 0xf);
        i.write(IMR, 0b1011);
        (0..4).for_each(|n| i.write(IVAR + 4 * u64::from(n), 0x5000_0100 * (n + 1)));
        i.write(MER, 3);
        // An edge is acknowledged when its handler begins.
        i.drive("in", 1, true);
        assert_eq!((address(&i), i.line("irq", 0), i.read(IVR)), (0xa000_0200, true, 1));
        // One that comes before the CPU goes there does not change the address.
        i.drive("in", 0, true);
        assert_eq!((address(&i), i.read(IVR)), (0xa000_0200, 0));
        acknowledge(&mut i, TAKEN);
        assert_eq!((i.read(ISR), address(&i)), (1, 0x5000_0100));
        // A level when it returns.
        acknowledge(&mut i, TAKEN);
        assert_eq!(i.read(ISR), 1);
        i.drive("in", 0, false);
        acknowledge(&mut i, RETURNED);
        assert_eq!((i.read(ISR), i.line("irq", 0), address(&i)), (0, false, 0));
        // Or enables interrupts in its handler; one that is still high is there again.
        i.drive("in", 3, true);
        acknowledge(&mut i, TAKEN);
        acknowledge(&mut i, ENABLED);
        assert_eq!((i.read(ISR), address(&i)), (8, 0x4000_0400));
        i.drive("in", 3, false);
        i.write(IAR, 8);
        // One that is not fast goes to the vector, and software acknowledges it.
        i.drive("in", 2, true);
        assert_eq!((address(&i), i.line("irq", 0)), (0x10, true));
        acknowledge(&mut i, TAKEN);
        acknowledge(&mut i, RETURNED);
        assert_eq!(i.read(ISR), 4);
        // Without the fast mode its registers are not there.
        let mut i = with("xlnx,xps-intc", &[]);
        [IMR, ILR, IVAR].iter().for_each(|at| i.write(*at, 0x55));
        assert_eq!([IMR, ILR, IVAR].map(|at| i.read(at)), [0; 3]);
    }

    #[test]
    fn a_level_lets_only_better_interrupts_through() {
        let mut i = with("xlnx,xps-intc", &[("inputs", 8), ("level", 1)]);
        assert_eq!(i.read(ILR), u32::MAX);
        i.write(IER, 0xff);
        i.write(MER, 3);
        i.drive("in", 3, true);
        assert!(i.line("irq", 0));
        // As a handler does it that lets others nest: what is served, and what comes after it, waits.
        let served = i.read(IVR);
        i.write(ILR, served);
        assert!(!i.line("irq", 0));
        i.drive("in", 5, true);
        assert!(!i.line("irq", 0));
        i.drive("in", 2, true);
        assert_eq!((i.line("irq", 0), i.read(IVR), i.read(IPR)), (true, 2, 0b101100));
        i.write(ILR, 0);
        assert!(!i.line("irq", 0));
        i.write(ILR, u32::MAX);
        assert!(i.line("irq", 0));
    }

    #[test]
    fn software_interrupts_and_kinds() {
        let mut i = with("xlnx,xps-intc", &[("inputs", 3), ("software", 2), ("edges", 0b010), ("falling", 0b110)]);
        i.write(IER, u32::MAX);
        assert_eq!(i.read(IER), 0x1f);
        i.drive("in", 2, true);
        i.write(MER, 3);
        i.write(ISR, 0x1f);
        assert_eq!((i.read(ISR), i.read(IVR)), (0x18, 3));
        i.write(ISR, 0);
        i.write(IAR, 8);
        assert_eq!(i.read(ISR), 0x10);
        // A falling edge; a low level.
        i.drive("in", 1, true);
        assert_eq!(i.read(ISR), 0x10);
        i.drive("in", 1, false);
        assert_eq!(i.read(ISR), 0x12);
        i.drive("in", 2, false);
        i.write(IAR, 0x16);
        assert_eq!(i.read(ISR), 4);
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

    const GENERATE: u32 = 4;
    const CASCADE: u32 = 0x800;
    const MODULATE: u32 = 0x200;
    const ALL: u32 = 0x400;

    #[test]
    fn both_counters_are_one_of_64_bits() {
        let mut t = device("xlnx,xps-timer", MHZ);
        // Both halves are loaded with both load bits.
        t.write(TLR[0], 0xffff_fff0);
        t.write(TLR[1], 2);
        t.write(TCSR[0], CASCADE | LOAD);
        t.write(TCSR[1], LOAD);
        assert_eq!([t.read(TCR[0]), t.read(TCR[1])], [0xffff_fff0, 2]);
        t.write(TCSR[1], 0);
        t.write(TCSR[0], CASCADE | INTERRUPT | ENABLE);
        ticks(&mut t, 0x20);
        assert_eq!([t.read(TCR[0]), t.read(TCR[1])], [0x10, 3]);
        // Down through zero of the lower half, to the end of both, and from the start again.
        t.write(TLR[0], 5);
        t.write(TLR[1], 1);
        t.write(TCSR[0], CASCADE | LOAD);
        t.write(TCSR[1], LOAD);
        t.write(TCSR[0], CASCADE | DOWN | RELOAD | INTERRUPT | ENABLE);
        ticks(&mut t, 6);
        assert_eq!(([t.read(TCR[0]), t.read(TCR[1])], t.line("irq", 0)), ([u32::MAX, 0], false));
        ticks(&mut t, u32::MAX.into());
        assert_eq!(([t.read(TCR[0]), t.read(TCR[1])], t.line("irq", 0)), ([0, 0], false));
        ticks(&mut t, 1);
        assert!(t.line("irq", 0) && t.read(TCSR[0]) & FLAG != 0 && t.read(TCSR[1]) & FLAG == 0);
        ticks(&mut t, 1);
        assert_eq!([t.read(TCR[0]), t.read(TCR[1])], [5, 1]);
        // A capture of both; the cascade is no bit of TCSR1.
        t.write(TCSR[0], CASCADE | 1 | 8 | RELOAD | ENABLE | FLAG);
        ticks(&mut t, 3);
        t.drive("capture", 0, true);
        assert_eq!([t.read(TLR[0]), t.read(TLR[1])], [8, 1]);
        t.write(TCSR[1], CASCADE);
        assert_eq!(t.read(TCSR[1]), 0);
        // Apart again, each is its half.
        t.write(TCSR[0], 0);
        assert_eq!([t.read(TCR[0]), t.read(TCR[1])], [8, 1]);
    }

    #[test]
    fn generates_a_pulse_at_each_end() {
        let mut t = device("xlnx,xps-timer", MHZ);
        t.write(TLR[1], 8);
        t.write(TCSR[1], LOAD);
        t.write(TCSR[1], DOWN | RELOAD | GENERATE | ENABLE);
        ticks(&mut t, 8);
        assert_eq!(t.rises("generate", 1), 0);
        ticks(&mut t, 1);
        assert_eq!((t.rises("generate", 1), t.line("generate", 1)), (1, false));
        // Also while its flag is not cleared.
        ticks(&mut t, 40);
        assert_eq!([t.rises("generate", 1), t.rises("generate", 0)], [5, 0]);
        // One for each tick is more than anybody sees.
        t.write(TLR[1], 0);
        t.bench.advance(20_000_000);
        assert!(t.rises("generate", 1) < 20_010);
    }

    #[test]
    fn modulates_a_pulse_width() {
        let mut t = device("xlnx,xps-timer", MHZ);
        // A period of ten ticks, four of them high.
        for (n, load) in [8, 2].into_iter().enumerate() {
            t.write(TLR[n], load);
            t.write(TCSR[n], LOAD);
        }
        for n in [0, 1] {
            t.write(TCSR[n], DOWN | RELOAD | GENERATE | MODULATE);
        }
        t.write(TCSR[0], DOWN | RELOAD | GENERATE | MODULATE | ALL);
        ticks(&mut t, 8);
        assert_eq!((t.rises("pwm", 0), t.line("pwm", 0)), (0, false));
        for period in 1..4 {
            ticks(&mut t, 1);
            for tick in 0..10 {
                assert_eq!((t.line("pwm", 0), t.rises("pwm", 0)), (tick < 4, period), "{period}, {tick}");
                if tick < 9 {
                    ticks(&mut t, 1);
                }
            }
        }
        t.write(TCSR[1], 0);
        assert!(!t.line("pwm", 0));
    }

    #[test]
    fn stands_still_while_it_is_frozen() {
        let mut t = device("xlnx,xps-timer", MHZ);
        t.write(TCSR[0], ENABLE);
        ticks(&mut t, 7);
        t.drive("freeze", 0, true);
        ticks(&mut t, 100);
        assert_eq!(t.read(TCR[0]), 7);
        t.drive("freeze", 0, false);
        ticks(&mut t, 2);
        assert_eq!(t.read(TCR[0]), 9);
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

mod gpio {
    use super::*;

    const DATA: [u64; 2] = [0, 8];
    const TRI: [u64; 2] = [4, 0xc];
    const GIER: u64 = 0x11c;
    const ISR: u64 = 0x120;
    const IER: u64 = 0x128;

    #[test]
    fn outputs_are_driven_and_inputs_are_read() {
        let mut g = with("xlnx,xps-gpio", &[("width", 8), ("width2", 4), ("data", 0x5a), ("tri2", 3)]);
        assert_eq!([g.read(TRI[0]), g.read(TRI[1])], [0xff, 3]);
        assert!(!g.line("out", 1));
        g.write(TRI[0], 0xf0);
        assert_eq!([0, 1, 2, 3, 4].map(|pin| g.line("out", pin)), [false, true, false, true, false]);
        g.write(DATA[0], 0xfff);
        assert_eq!([0, 3, 4, 7].map(|pin| g.line("out", pin)), [true, true, false, false]);
        // Outputs read 0.
        g.drive("in", 0, true);
        g.drive("in", 5, true);
        assert_eq!(g.read(DATA[0]), 0x20);
        g.write(TRI[0], 0xffff_ffff);
        assert_eq!((g.read(TRI[0]), g.read(DATA[0]), g.line("out", 0)), (0xff, 0x21, false));
        g.write(DATA[1], 0xf);
        assert_eq!([1, 2, 3].map(|pin| g.line("out2", pin)), [false, true, true]);
        // One channel; directions that are fixed.
        let mut g = with("xlnx,xps-gpio", &[("width2", 2), ("inputs", 1), ("outputs", 2)]);
        g.write(TRI[0], 0);
        g.write(TRI[1], 3);
        assert_eq!([g.read(TRI[0]), g.read(TRI[1])], [u32::MAX, 0]);
    }

    #[test]
    fn a_change_of_an_input_interrupts() {
        let mut g = with("xlnx,xps-gpio", &[("width", 8), ("width2", 8)]);
        g.write(TRI[0], 0x0f);
        g.write(IER, 1);
        g.write(GIER, u32::MAX);
        assert_eq!(g.read(GIER), 0x8000_0000);
        // Not of an output.
        g.drive("in", 7, true);
        assert_eq!((g.read(ISR), g.line("irq", 0)), (0, false));
        g.drive("in", 2, true);
        assert_eq!((g.read(ISR), g.line("irq", 0)), (1, true));
        g.write(ISR, 1);
        assert_eq!((g.read(ISR), g.line("irq", 0)), (0, false));
        g.drive("in", 2, false);
        g.drive("in2", 0, true);
        assert_eq!((g.read(ISR), g.line("irq", 0)), (3, true));
        g.write(ISR, 1);
        assert!(!g.line("irq", 0));
        g.write(IER, 3);
        assert!(g.line("irq", 0));
        g.write(GIER, 0);
        assert!(!g.line("irq", 0));
        // A write of 1 turns it round.
        g.write(ISR, 3);
        assert_eq!(g.read(ISR), 1);
    }
}

mod spi {
    use super::*;
    use crate::bench::kind;

    const DGIER: u64 = 0x1c;
    const IPISR: u64 = 0x20;
    const IPIER: u64 = 0x28;
    const SRR: u64 = 0x40;
    const CR: u64 = 0x60;
    const SR: u64 = 0x64;
    const DTR: u64 = 0x68;
    const DRR: u64 = 0x6c;
    const SSR: u64 = 0x70;
    const TX: u64 = 0x74;
    const RX: u64 = 0x78;
    const LOOP: u32 = 1;
    const ON: u32 = 6;
    const MANUAL: u32 = 0x80;
    const INHIBIT: u32 = 0x100;
    const LSB_FIRST: u32 = 0x200;
    /// A word takes 8 * 32 ticks of 1 MHz.
    const WORD: u64 = 256_000;

    fn flash(props: &[(&str, i128)]) -> Bench {
        let mut s = with("xlnx,xps-spi", props);
        s.bench.attach(0, 0, &kind("micron,n25q128"), &[]);
        s
    }

    /// The identification of the flash, with its slave select by hand or not.
    fn identification(s: &mut Bench, control: u32) -> [u32; 4] {
        s.write(SSR, !1);
        s.write(CR, ON | INHIBIT | control);
        [0x9f, 0, 0, 0].iter().for_each(|byte| s.write(DTR, *byte));
        s.write(CR, ON | control);
        s.bench.advance(4 * WORD);
        s.write(SSR, u32::MAX);
        [(); 4].map(|()| s.read(DRR))
    }

    #[test]
    fn resets() {
        let mut s = flash(&[("selects", 4)]);
        assert_eq!([CR, SR, SSR, IPISR].map(|at| s.read(at)), [0x180, 0x25, 0xf, 0]);
        s.write(CR, ON | 0x1ff);
        s.write(DTR, 1);
        s.write(SRR, 5);
        assert_eq!(s.read(SR), 0x21);
        s.write(SRR, 0xa);
        assert_eq!([CR, SR].map(|at| s.read(at)), [0x180, 0x25]);
    }

    #[test]
    fn a_flash_answers() {
        let mut s = flash(&[]);
        assert_eq!(identification(&mut s, MANUAL)[1..], [0x20, 0xba, 0x18]);
        assert_eq!(identification(&mut s, 0)[1..], [0x20, 0xba, 0x18]);
        // Nobody is selected.
        s.write(CR, ON | MANUAL);
        s.write(DTR, 0x9f);
        s.bench.advance(WORD);
        assert_eq!((s.read(DRR), s.bench.log()), (0xff, &[][..] as &[String]));
    }

    #[test]
    fn words_take_their_time_and_interrupt() {
        let mut s = flash(&[]);
        s.write(IPIER, 0x1ff);
        s.write(DGIER, 0x8000_0000);
        s.write(CR, ON | LOOP | INHIBIT);
        (0..17).for_each(|word| s.write(DTR, word));
        assert_eq!((s.read(SR), s.read(TX), s.bench.log().len()), (0x29, 15, 1));
        s.bench.advance(10 * WORD);
        assert_eq!((s.read(TX), s.line("irq", 0)), (15, false));
        s.write(CR, ON | LOOP);
        s.bench.advance(8 * WORD - 1);
        assert_eq!((s.read(TX), s.line("irq", 0)), (8, false));
        s.bench.advance(1);
        assert!(s.line("irq", 0));
        assert_eq!([s.read(IPISR), s.read(TX), s.read(RX)], [0x40, 7, 7]);
        s.write(IPISR, 0x40);
        assert!(!s.line("irq", 0));
        s.bench.advance(8 * WORD);
        assert!(s.line("irq", 0));
        assert_eq!([s.read(IPISR), s.read(SR)], [0x14, 0x26]);
        // Nothing fits any more.
        s.write(DTR, 0x77);
        s.bench.advance(WORD);
        assert_eq!(s.read(IPISR) & 0x20, 0x20);
        assert_eq!((0..16).map(|_| s.read(DRR)).collect::<Vec<_>>(), (0..16).collect::<Vec<_>>());
        assert_eq!((s.read(DRR), s.read(SR)), (0, 0x25));
        // FIFOs are emptied by hand.
        s.write(CR, ON | LOOP | INHIBIT);
        s.write(DTR, 1);
        s.write(CR, ON | LOOP | INHIBIT | 0x60);
        assert_eq!((s.read(SR), s.read(CR)), (0x25, ON | LOOP | INHIBIT));
    }

    #[test]
    fn words_of_other_widths_and_orders() {
        let mut s = flash(&[("bits", 32)]);
        s.write(SSR, 0);
        s.write(CR, ON | MANUAL);
        s.write(DTR, 0x9f00_0000);
        s.bench.advance(4 * WORD);
        assert_eq!(s.read(DRR) & 0xff_ffff, 0x20_ba18);
        // The least significant bit first.
        let mut s = flash(&[("fifo", 1), ("bits", 16)]);
        s.write(SSR, 0);
        s.write(CR, ON | MANUAL | LSB_FIRST);
        s.write(DTR, u32::from(0x9f00u16.reverse_bits()));
        assert_eq!(s.read(SR) & 8, 8);
        s.bench.advance(2 * WORD);
        assert_eq!(s.read(DRR) >> 8, u32::from(0x20u8.reverse_bits()));
    }
}

mod emc {
    use super::*;
    use crate::bench::kind;

    #[test]
    fn a_flash_is_behind_the_window() {
        let mut e = device("xlnx,xps-mch-emc", MHZ);
        assert_eq!(e.read(0x100), u32::MAX);
        let chip = kind("intel,28f128j3");
        let array = |e: &mut Bench| e.bench.part(0, 0).line(0, 0);
        e.bench.attach(0, 0, &chip, &[]).insert((0..200).collect(), false);
        assert_eq!((e.read(0x10), array(&mut e)), (0x1312_1110, true));
        e.try_write(0, 0xaa, 1, 0x98, 0).unwrap();
        assert_eq!((e.try_read(0, 0x20, 1, 0).unwrap(), array(&mut e)), (0x51, false));
        e.try_write(0, 0, 1, 0xff, 0).unwrap();
        assert_eq!((e.read(0xc4), array(&mut e)), (0xc7c6_c5c4, true));
        // Behind the image it is erased.
        assert_eq!(e.read(0x200), u32::MAX);
        // AMD's reads as its array again when it is no longer busy, and somebody looks.
        let mut e = device("xlnx,xps-mch-emc", MHZ);
        e.bench.attach(0, 0, &kind("spansion,s29gl128p"), &[]);
        for (at, value) in [(0xaaa, 0xaa), (0x555, 0x55), (0xaaa, 0xa0), (0x20, 0x12)] {
            e.try_write(0, at, 1, value, 0).unwrap();
        }
        e.read(0);
        assert!(!array(&mut e));
        e.bench.advance(60_000);
        assert_eq!((e.try_read(0, 0x20, 1, 0).unwrap(), array(&mut e)), (0x12, true));
    }
}
