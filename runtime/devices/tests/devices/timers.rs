//! Timers and watchdogs, at 1 MHz: a tick is 1000 ns.

use crate::bench::{Bench, device};

const TICK: u64 = 1000;
const MHZ: u64 = 1_000_000;

fn ticks(b: &mut Bench, n: u64) {
    b.bench.advance(n * TICK);
}

mod global {
    use super::*;

    const LOW: u64 = 0x00;
    const HIGH: u64 = 0x04;
    const CONTROL: u64 = 0x08;
    const STATUS: u64 = 0x0c;
    const COMPARE_LOW: u64 = 0x10;
    const COMPARE_HIGH: u64 = 0x14;
    const INCREMENT: u64 = 0x18;

    #[test]
    fn counts_64_bits_with_prescaler() {
        let mut t = device("arm,a9-global-timer", MHZ);
        ticks(&mut t, 100);
        assert_eq!(t.read(LOW), 0, "off after reset");
        t.write(LOW, 0xffff_fff0);
        t.write(HIGH, 0x12);
        t.write(CONTROL, 1);
        ticks(&mut t, 0x20);
        assert_eq!((t.read(HIGH), t.read(LOW)), (0x13, 0x10));
        assert_eq!(t.read_cpu(1, 0, LOW), 0x10, "one counter for all CPUs");
        t.write(CONTROL, 9 << 8 | 1);
        ticks(&mut t, 1000);
        assert_eq!(t.read(LOW), 0x10 + 100);
        t.write(CONTROL, 0);
        ticks(&mut t, 1000);
        assert_eq!(t.read(LOW), 0x10 + 100);
    }

    #[test]
    fn does_not_drift() {
        let mut t = device("arm,a9-global-timer", 333_333_333);
        t.write(CONTROL, 1);
        for _ in 0..1000 {
            t.bench.advance(1_000_003);
            t.read(LOW);
        }
        // 1000 * 1000003 ns at 333333333 Hz.
        assert_eq!(t.read(LOW), 333_334_332);
    }

    #[test]
    fn each_cpu_has_its_comparator() {
        let mut t = device("arm,a9-global-timer", MHZ);
        t.write_cpu(1, 0, COMPARE_LOW, 50);
        t.write_cpu(1, 0, COMPARE_HIGH, 0);
        t.write_cpu(1, 0, CONTROL, 0b0111);
        ticks(&mut t, 49);
        assert!(!t.line("irq", 1));
        ticks(&mut t, 1);
        assert_eq!((t.line("irq", 0), t.line("irq", 1)), (false, true));
        assert_eq!((t.read_cpu(0, 0, STATUS), t.read_cpu(1, 0, STATUS)), (0, 1));
        assert_eq!((t.read_cpu(0, 0, CONTROL), t.read_cpu(1, 0, CONTROL)), (1, 7), "enable is common");
    }

    #[test]
    fn the_comparator_moves_on_by_itself() {
        let mut t = device("arm,a9-global-timer", MHZ);
        t.write(COMPARE_LOW, 100);
        t.write(INCREMENT, 100);
        t.write(CONTROL, 0b1111);
        for round in 1..=5 {
            ticks(&mut t, 99);
            assert!(!t.line("irq", 0), "{round}");
            ticks(&mut t, 1);
            assert!(t.line("irq", 0), "{round}");
            assert_eq!(t.read(COMPARE_LOW), (round + 1) * 100);
            t.write(STATUS, 1);
            assert!(!t.line("irq", 0));
        }
    }
}

mod private {
    use super::*;

    const LOAD: u64 = 0x00;
    const COUNTER: u64 = 0x04;
    const CONTROL: u64 = 0x08;
    const STATUS: u64 = 0x0c;
    const RESET_STATUS: u64 = 0x10;
    const DISABLE: u64 = 0x14;

    #[test]
    fn one_shot_stops_at_zero() {
        let mut t = device("arm,a9-private-timer", MHZ);
        t.write(LOAD, 10);
        t.write(CONTROL, 0b101);
        ticks(&mut t, 4);
        assert_eq!(t.read(COUNTER), 6);
        assert!(!t.line("irq", 0));
        ticks(&mut t, 6);
        assert!(t.line("irq", 0) && !t.line("irq", 1));
        assert_eq!((t.read(COUNTER), t.read(STATUS)), (0, 1));
        t.write(STATUS, 1);
        ticks(&mut t, 1000);
        assert_eq!((t.read(COUNTER), t.read(STATUS), t.line("irq", 0)), (0, 0, false));
    }

    #[test]
    fn reload_has_a_period_of_load_plus_one() {
        let mut t = device("arm,a9-private-timer", MHZ);
        t.write(LOAD, 9);
        t.write(CONTROL, 0b111);
        ticks(&mut t, 9);
        assert!(t.line("irq", 0));
        assert_eq!(t.read(COUNTER), 0);
        ticks(&mut t, 1);
        assert_eq!(t.read(COUNTER), 9);
        ticks(&mut t, 9);
        t.write(STATUS, 1);
        for round in 0..10 {
            ticks(&mut t, 9);
            assert!(!t.line("irq", 0), "{round}");
            ticks(&mut t, 1);
            assert!(t.line("irq", 0), "{round}");
            t.write(STATUS, 1);
            assert!(!t.line("irq", 0), "{round}");
        }
    }

    /// The host's clock goes on while the device works; a zero between two looks must not be lost.
    #[test]
    fn no_zero_is_missed_while_it_is_programmed() {
        for look in (50..3_000).step_by(50) {
            let mut t = device("arm,a9-private-timer", MHZ);
            t.write(CONTROL, 0b101);
            t.bench.pass_at_every_look(look);
            t.write(COUNTER, 3);
            t.write(CONTROL, 0b101);
            ticks(&mut t, 10);
            assert!(t.line("irq", 0), "{look} ns pass at every look");
        }
    }

    #[test]
    fn prescaled_and_banked() {
        let mut t = device("arm,a9-private-timer", MHZ);
        t.write_cpu(1, 0, LOAD, 100);
        t.write_cpu(1, 0, CONTROL, 4 << 8 | 0b101);
        ticks(&mut t, 50);
        assert_eq!((t.read(LOAD), t.read(COUNTER), t.read_cpu(1, 0, COUNTER)), (0, 0, 90));
        ticks(&mut t, 450);
        assert!(!t.line("irq", 0) && t.line("irq", 1));
    }

    #[test]
    fn a_stopped_clock_keeps_the_count() {
        let mut t = device("arm,a9-private-timer", MHZ);
        t.write(LOAD, 1000);
        t.write(CONTROL, 0b001);
        ticks(&mut t, 100);
        t.write(CONTROL, 0);
        ticks(&mut t, 100);
        assert_eq!(t.read(COUNTER), 900);
        t.write(CONTROL, 1);
        ticks(&mut t, 100);
        assert_eq!(t.read(COUNTER), 800);
    }

    #[test]
    fn the_watchdog_resets_unless_it_is_fed_or_disarmed() {
        let mut t = device("arm,a9-private-wdt", MHZ);
        t.write(LOAD, 100);
        t.write(CONTROL, 0b1001);
        for _ in 0..10 {
            ticks(&mut t, 90);
            t.write(LOAD, 100);
        }
        assert_eq!(t.rises("reset", 0), 0);
        t.write(CONTROL, 0b0001);
        assert_eq!(t.read(CONTROL) & 8, 8, "watchdog mode stays");
        t.write(LOAD, 100);
        ticks(&mut t, 101);
        assert_eq!((t.rises("reset", 0), t.rises("reset", 1), t.line("reset", 0)), (1, 0, false));
        assert_eq!(t.read(RESET_STATUS), 1);
        t.write(RESET_STATUS, 1);
        assert_eq!(t.read(RESET_STATUS), 0);
        t.write(LOAD, 100);
        t.write(DISABLE, 0x1234_5678);
        t.write(DISABLE, 0x8765_4321);
        assert_eq!(t.read(CONTROL) & 8, 0);
        ticks(&mut t, 1000);
        assert_eq!(t.rises("reset", 0), 1);
    }

    #[test]
    fn the_watchdog_is_also_a_timer() {
        let mut t = device("arm,a9-private-wdt", MHZ);
        t.write(LOAD, 100);
        t.write(CONTROL, 0b0101);
        ticks(&mut t, 100);
        assert!(t.line("irq", 0));
        assert_eq!(t.rises("reset", 0), 0);
    }
}

mod ttc {
    use super::*;

    fn clock(i: u64) -> u64 {
        4 * i
    }
    fn control(i: u64) -> u64 {
        0x0c + 4 * i
    }
    fn value(i: u64) -> u64 {
        0x18 + 4 * i
    }
    fn interval(i: u64) -> u64 {
        0x24 + 4 * i
    }
    fn match_1(i: u64) -> u64 {
        0x30 + 4 * i
    }
    fn status(i: u64) -> u64 {
        0x54 + 4 * i
    }
    fn enable(i: u64) -> u64 {
        0x60 + 4 * i
    }

    #[test]
    fn interval_mode() {
        let mut t = device("cdns,ttc", MHZ);
        assert_eq!(t.read(control(1)), 0x21, "off after reset");
        t.write(interval(1), 99);
        t.write(enable(1), 1);
        t.write(control(1), 0x12);
        ticks(&mut t, 40);
        assert_eq!(t.read(value(1)), 40);
        ticks(&mut t, 59);
        assert!(!t.line("irq", 1));
        ticks(&mut t, 1);
        assert_eq!((t.line("irq", 0), t.line("irq", 1), t.line("irq", 2)), (false, true, false));
        assert_eq!(t.read(status(1)), 1);
        assert!(!t.line("irq", 1), "reading clears");
        assert_eq!(t.read(status(1)), 0);
        ticks(&mut t, 100);
        assert!(t.line("irq", 1));
    }

    #[test]
    fn overflow_prescaler_and_down() {
        let mut t = device("cdns,ttc", MHZ);
        t.write(clock(0), 1);
        t.write(enable(0), 0x10);
        t.write(control(0), 0x10);
        ticks(&mut t, 2 * 0xffff);
        assert_eq!(t.read(value(0)), 0xffff);
        assert!(!t.line("irq", 0));
        ticks(&mut t, 2);
        assert!(t.line("irq", 0));
        t.write(control(0), 0x14);
        assert_eq!(t.read(value(0)), 0xffff);
        ticks(&mut t, 20);
        assert_eq!(t.read(value(0)), 0xffff - 10);
        t.write(control(0), 0x05);
        ticks(&mut t, 20);
        assert_eq!(t.read(value(0)), 0xffff - 10, "stopped");
    }

    #[test]
    fn match_mode() {
        let mut t = device("cdns,ttc", MHZ);
        t.write(interval(2), 999);
        t.write(match_1(2), 300);
        t.write(enable(2), 2);
        t.write(control(2), 0x1a);
        ticks(&mut t, 299);
        assert!(!t.line("irq", 2));
        ticks(&mut t, 1);
        assert!(t.line("irq", 2));
        assert_eq!(t.read(status(2)) & 3, 2);
        ticks(&mut t, 999);
        assert_eq!(t.read(status(2)) & 3, 1, "the interval flag needs no enable");
        ticks(&mut t, 1);
        assert!(t.line("irq", 2));
    }

    fn event_control(i: u64) -> u64 {
        0x6c + 4 * i
    }
    fn event(i: u64) -> u64 {
        0x78 + 4 * i
    }

    #[test]
    fn three_matches_in_a_period_up_and_down() {
        for down in [0, 4] {
            let mut t = device("cdns,ttc", MHZ);
            t.write(interval(0), 99);
            for (i, at) in [10, 20, 30].into_iter().enumerate() {
                t.write(match_1(0) + 12 * i as u64, at);
            }
            t.write(control(0), 0x1a | down);
            let at = |t: &mut Bench, n: u64| {
                ticks(t, n);
                t.read(status(0))
            };
            // Down from 99: 30 comes first.
            if down == 0 {
                assert_eq!([at(&mut t, 9), at(&mut t, 1), at(&mut t, 10), at(&mut t, 10), at(&mut t, 70)], [0, 2, 4, 8, 1]);
            } else {
                assert_eq!([at(&mut t, 68), at(&mut t, 1), at(&mut t, 10), at(&mut t, 10), at(&mut t, 11)], [0, 8, 4, 2, 1]);
            }
            assert_eq!(at(&mut t, 10_000), 0xf);
        }
    }

    #[test]
    fn the_count_is_kept_when_direction_or_interval_change() {
        let mut t = device("cdns,ttc", MHZ);
        t.write(interval(0), 999);
        t.write(control(0), 0x12);
        ticks(&mut t, 300);
        t.write(control(0), 0x06);
        assert_eq!(t.read(value(0)), 300);
        ticks(&mut t, 100);
        assert_eq!(t.read(value(0)), 200);
        t.write(interval(0), 499);
        assert_eq!(t.read(value(0)), 200);
        ticks(&mut t, 200);
        assert_eq!((t.read(value(0)), t.read(status(0))), (0, 0));
        ticks(&mut t, 1);
        assert_eq!((t.read(value(0)), t.read(status(0))), (499, 1));
        t.write(control(0), 0x00);
        assert_eq!(t.read(value(0)), 499);
        ticks(&mut t, 0xffff - 499 + 1);
        assert_eq!((t.read(value(0)), t.read(status(0))), (0, 0x10));
    }

    #[test]
    fn waveforms() {
        for (polarity, down) in [(0, 0), (0x40, 0), (0, 4), (0x40, 4)] {
            let mut t = device("cdns,ttc", MHZ);
            t.write(interval(1), 99);
            t.write(match_1(1), if down == 0 { 30 } else { 69 });
            t.write(control(1), 0x3a | polarity | down);
            ticks(&mut t, 50);
            assert!(!t.line("wave", 1), "not enabled");
            t.write(control(1), 0x1a | polarity | down);
            let high = polarity == 0;
            for _ in 0..3 {
                assert_eq!(t.line("wave", 1), !high);
                ticks(&mut t, 29);
                assert_eq!(t.line("wave", 1), !high);
                ticks(&mut t, 1);
                assert_eq!((t.line("wave", 1), t.line("wave", 0)), (high, false));
                ticks(&mut t, 69);
                assert_eq!(t.line("wave", 1), high);
                ticks(&mut t, 1);
            }
            // Stopped, it stays as it is.
            ticks(&mut t, 40);
            t.write(control(1), 0x0b | polarity | down);
            ticks(&mut t, 1000);
            assert_eq!(t.line("wave", 1), high);
        }
        // Faster than anybody looks: time goes on.
        let mut t = device("cdns,ttc", 100 * MHZ);
        t.write(interval(0), 1);
        t.write(match_1(0), 1);
        t.write(control(0), 0x1a);
        t.bench.advance(10_000_000);
        assert_eq!(t.read(value(0)), 0);
    }

    #[test]
    fn counts_edges_of_an_external_clock() {
        let pulses = |t: &mut Bench, n: u32| {
            for _ in 0..n {
                t.drive("clk", 2, true);
                t.drive("clk", 2, false);
            }
        };
        let mut t = device("cdns,ttc", MHZ);
        t.write(interval(2), 9);
        t.write(enable(2), 1);
        t.write(clock(2), 0x20);
        pulses(&mut t, 3);
        assert_eq!(t.read(value(2)), 0, "off");
        t.write(control(2), 0x12);
        ticks(&mut t, 1000);
        pulses(&mut t, 9);
        assert_eq!((t.read(value(2)), t.line("irq", 2)), (9, false));
        t.drive("clk", 2, true);
        assert_eq!((t.read(value(2)), t.line("irq", 2)), (0, true));
        t.drive("clk", 2, false);
        // Falling edges, two for a tick.
        t.write(clock(2), 0x61);
        t.write(control(2), 0x12);
        pulses(&mut t, 3);
        t.drive("clk", 2, true);
        assert_eq!(t.read(value(2)), 1);
        t.drive("clk", 2, false);
        assert_eq!(t.read(value(2)), 2);
    }

    #[test]
    fn the_event_timer_measures_pulses() {
        let mut t = device("cdns,ttc", MHZ);
        t.write(event_control(0), 1);
        t.drive("clk", 0, true);
        ticks(&mut t, 123);
        assert_eq!(t.read(event(0)), 0, "not over yet");
        t.drive("clk", 0, false);
        ticks(&mut t, 77);
        assert_eq!((t.read(event(0)), t.read(status(0))), (123, 0));
        t.write(event_control(0), 3);
        ticks(&mut t, 50);
        t.drive("clk", 0, true);
        assert_eq!(t.read(event(0)), 50, "low pulses");
        // It overflows: stops, or goes on.
        for (goes_on, result) in [(0, (0, 2)), (4, (100, 7))] {
            t.write(event_control(0), 0);
            t.drive("clk", 0, true);
            t.write(enable(0), 0x20);
            t.write(event_control(0), 3 | goes_on);
            t.drive("clk", 0, false);
            ticks(&mut t, 0xffff);
            assert!(!t.line("irq", 0));
            ticks(&mut t, 1);
            assert!(t.line("irq", 0));
            assert_eq!((t.read(status(0)), t.line("irq", 0)), (0x20, false));
            ticks(&mut t, 100);
            t.drive("clk", 0, true);
            assert_eq!((t.read(event(0)), t.read(event_control(0))), result);
        }
    }
}

mod swdt {
    use super::*;

    const MODE: u64 = 0x00;
    const CONTROL: u64 = 0x04;
    const RESTART: u64 = 0x08;
    const STATUS: u64 = 0x0c;
    const MODE_KEY: u32 = 0xabc << 12;
    const CONTROL_KEY: u32 = 0x248 << 14;

    #[test]
    fn keys_guard_it() {
        let mut w = device("cdns,wdt", MHZ);
        assert_eq!((w.read(MODE), w.read(CONTROL)), (0x1c2, 0x3ffc));
        w.write(MODE, 1);
        w.write(CONTROL, 0);
        assert_eq!((w.read(MODE), w.read(CONTROL)), (0x1c2, 0x3ffc));
        w.write(MODE, MODE_KEY | 0x1c4);
        w.write(CONTROL, CONTROL_KEY | 1);
        assert_eq!((w.read(MODE), w.read(CONTROL)), (0x1c4, 1));
    }

    #[test]
    fn pulses_at_zero() {
        for (asked, pulses) in [(2, [0, 1]), (4, [1, 0]), (6, [1, 1])] {
            let mut w = device("cdns,wdt", MHZ);
            let levels = |w: &Bench| [w.line("irq", 0), w.line("reset", 0)].map(u32::from);
            // Counter from 0xfff, prescaler 8: 32.76 ms. IRQLN 3, RSTLN 2: 32 and 8 clocks.
            w.write(CONTROL, CONTROL_KEY);
            w.write(MODE, MODE_KEY | 0x1a1 | asked);
            for _ in 0..5 {
                w.bench.advance(30_000_000);
                w.write(RESTART, 0x1999);
            }
            w.write(RESTART, 0x1234);
            ticks(&mut w, 0xfff * 8 - 1);
            assert_eq!((levels(&w), w.read(STATUS)), ([0, 0], 0));
            ticks(&mut w, 1);
            assert_eq!((levels(&w), w.read(STATUS)), (pulses, 1));
            ticks(&mut w, 8);
            assert_eq!(levels(&w), [pulses[0], 0]);
            ticks(&mut w, 23);
            assert_eq!(levels(&w), [pulses[0], 0]);
            ticks(&mut w, 1);
            assert_eq!(levels(&w), [0, 0]);
            // It stays at zero until it is restarted.
            w.bench.advance(1_000_000_000);
            assert_eq!([w.rises("irq", 0), w.rises("reset", 0)], pulses);
            w.write(RESTART, 0x1999);
            assert_eq!(w.read(STATUS), 0);
            ticks(&mut w, 0xfff * 8);
            assert_eq!(levels(&w), pulses);
        }
    }

    #[test]
    fn a_new_clock_or_control_does_not_begin_the_count_again() {
        let mut w = device("cdns,wdt", MHZ);
        w.write(CONTROL, CONTROL_KEY);
        w.write(MODE, MODE_KEY | 0x1c5);
        ticks(&mut w, 0xfff * 8 - 10);
        w.write(CONTROL, CONTROL_KEY | 0x3fff);
        ticks(&mut w, 9);
        assert!(!w.line("irq", 0));
        ticks(&mut w, 1);
        assert!(w.line("irq", 0));
    }
}
