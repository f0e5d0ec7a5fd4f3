//! System control: `xlnx,zynq-slcr`, `arm,a9-scu`, `arm,pl310`, `xlnx,zynq-ddrc`, `xlnx,zynq-devcfg`, `xlnx,zynq-xadc`.

use crate::bench::{Bench, device};

const PS_CLK: u64 = 33_333_333;

mod slcr {
    use super::*;

    const LOCK: u64 = 0x004;
    const UNLOCK: u64 = 0x008;
    const LOCKSTA: u64 = 0x00c;
    const ARM_PLL_CTRL: u64 = 0x100;
    const PLL_STATUS: u64 = 0x10c;
    const ARM_CLK_CTRL: u64 = 0x120;
    const UART_CLK_CTRL: u64 = 0x154;
    const FPGA0_CLK_CTRL: u64 = 0x170;
    const PSS_RST_CTRL: u64 = 0x200;
    const GEM_RST_CTRL: u64 = 0x214;
    const UART_RST_CTRL: u64 = 0x228;
    const A9_CPU_RST_CTRL: u64 = 0x244;
    const REBOOT_STATUS: u64 = 0x258;
    const PSS_IDCODE: u64 = 0x530;
    const MIO_PIN_7: u64 = 0x71c;

    fn unlocked() -> Bench {
        let mut s = device("xlnx,zynq-slcr", PS_CLK);
        s.write(UNLOCK, 0xdf0d);
        s
    }

    #[test]
    fn locks() {
        let mut s = device("xlnx,zynq-slcr", PS_CLK);
        assert_eq!(s.read(LOCKSTA), 1);
        let before = s.read(MIO_PIN_7);
        s.write(MIO_PIN_7, 0x1200);
        assert_eq!(s.read(MIO_PIN_7), before);
        s.write(UNLOCK, 0xdf0e);
        assert_eq!(s.read(LOCKSTA), 1);
        s.write(UNLOCK, 0xdf0d);
        assert_eq!(s.read(LOCKSTA), 0);
        s.write(MIO_PIN_7, 0x1200);
        assert_eq!(s.read(MIO_PIN_7), 0x1200);
        s.write(LOCK, 0x767b);
        s.write(MIO_PIN_7, 0);
        assert_eq!((s.read(LOCKSTA), s.read(MIO_PIN_7)), (1, 0x1200));
    }

    #[test]
    fn clocks_after_the_boot_loader() {
        let s = device("xlnx,zynq-slcr", PS_CLK);
        let arm = PS_CLK * 40;
        assert_eq!(s.clock_out("cpu-6x4x"), arm / 2);
        assert_eq!(s.clock_out("cpu-3x2x"), arm / 4);
        assert_eq!(s.clock_out("cpu-2x"), arm / 6);
        assert_eq!(s.clock_out("cpu-1x"), arm / 12);
        assert!((49_900_000..50_100_000).contains(&s.clock_out("uart-ref")), "{}", s.clock_out("uart-ref"));
    }

    #[test]
    fn dividers_bypass_and_gates() {
        let mut s = unlocked();
        assert_eq!(s.read(PLL_STATUS) & 0x3f, 0x3f, "locked and stable");
        s.write(ARM_CLK_CTRL, 0x1f00_0400);
        assert_eq!(s.clock_out("cpu-6x4x"), PS_CLK * 40 / 4);
        s.write(ARM_PLL_CTRL, 0x2_8010);
        assert_eq!(s.clock_out("cpu-6x4x"), PS_CLK / 4, "bypass");
        s.write(ARM_PLL_CTRL, 26 << 12);
        assert_eq!(s.clock_out("cpu-6x4x"), PS_CLK * 26 / 4);
        s.write(UART_CLK_CTRL, 0x1400);
        assert_eq!(s.clock_out("uart-ref"), 0, "no reference clock active");
        s.write(FPGA0_CLK_CTRL, 0x0020_0500);
        assert_eq!(s.clock_out("fclk0"), PS_CLK * 30 / 5 / 2);
        s.bench.reset();
        assert_eq!(s.clock_out("cpu-6x4x"), PS_CLK * 40 / 2);
    }

    #[test]
    fn resets_and_stops_cpus() {
        let mut s = unlocked();
        s.write(A9_CPU_RST_CTRL, 0x22);
        assert_eq!((s.line("cpu-reset", 0), s.line("cpu-reset", 1)), (false, true));
        assert_eq!((s.line("cpu-stop", 0), s.line("cpu-stop", 1)), (false, true));
        s.write(A9_CPU_RST_CTRL, 0x20);
        assert_eq!((s.line("cpu-reset", 1), s.line("cpu-stop", 1)), (false, true));
        s.write(A9_CPU_RST_CTRL, 0);
        assert!(!s.line("cpu-stop", 1));
        s.write(UART_RST_CTRL, 1);
        assert_eq!((s.line("uart-reset", 0), s.line("uart-reset", 1)), (true, false));
        s.write(UART_RST_CTRL, 8);
        assert_eq!((s.line("uart-reset", 0), s.line("uart-reset", 1)), (false, true));
        for (bit, which) in [(0, 0), (1, 1), (4, 0), (5, 1), (6, 0), (7, 1)] {
            s.write(GEM_RST_CTRL, 1 << bit);
            assert_eq!([0, 1].map(|i| s.line("gem-reset", i)), [which == 0, which == 1], "bit {bit}");
        }
    }

    #[test]
    fn resets_each_controller_by_the_bits_of_its_clock_domains() {
        // Register, output, lines, the first line's bits.
        for (offset, output, lines, domains) in [
            (0x204, "ddr-reset", 1, &[0][..]),
            (0x208, "topsw-reset", 1, &[0]),
            (0x20c, "dmac-reset", 1, &[0]),
            (0x210, "usb-reset", 2, &[0]),
            (0x214, "gem-reset", 2, &[0, 4, 6]),
            (0x218, "sdio-reset", 2, &[0, 4]),
            (0x21c, "spi-reset", 2, &[0, 2]),
            (0x220, "can-reset", 2, &[0, 2]),
            (0x224, "i2c-reset", 2, &[0]),
            (0x228, "uart-reset", 2, &[0, 2]),
            (0x22c, "gpio-reset", 1, &[0]),
            (0x230, "qspi-reset", 1, &[0, 1]),
            (0x234, "smc-reset", 1, &[0, 1]),
            (0x238, "ocm-reset", 1, &[0]),
            (0x240, "fpga-reset", 4, &[0]),
            (0x244, "peri-reset", 1, &[8]),
        ] {
            let mut s = unlocked();
            for bit in 0..32 {
                s.write(offset, 1 << bit);
                for line in 0..lines {
                    let expected = domains.iter().any(|first| first + line == bit);
                    assert_eq!(s.line(output, line), expected, "{output} {line}, bit {bit}");
                }
            }
            s.write(offset, 0);
            assert!((0..lines).all(|line| !s.line(output, line)));
        }
    }

    #[test]
    fn watchdogs_reset_the_system_or_their_cpu() {
        let reason = |s: &mut Bench| s.read(REBOOT_STATUS) >> 16;
        let mut s = unlocked();
        assert_eq!(reason(&mut s), 1 << 6, "POR");
        s.bench.reset();
        assert_eq!(reason(&mut s), 1 << 5, "SRST_B: somebody outside");
        for (n, (input, cpu, bit)) in [("swdt-reset", 0, 0), ("awdt-reset", 0, 1), ("awdt-reset", 1, 2)].into_iter().enumerate() {
            s.drive(input, cpu, true);
            assert_eq!(s.bench.resets, n as u32 + 1);
            s.bench.reset();
            s.drive(input, cpu, false);
            assert_eq!(reason(&mut s), 1 << bit, "{input} {cpu}");
        }
        s.write(UNLOCK, 0xdf0d);
        s.write(0x24c, 2);
        s.drive("awdt-reset", 1, true);
        s.drive("awdt-reset", 1, false);
        assert_eq!((s.bench.resets, s.rises("cpu-reset", 1), s.line("cpu-reset", 1)), (3, 1, false));
        assert_eq!(s.rises("cpu-reset", 0), 0);
        s.drive("awdt-reset", 0, true);
        assert_eq!(s.bench.resets, 4);
    }

    #[test]
    fn gates_and_sources_of_clocks() {
        let mut s = unlocked();
        let (arm, io, ddr) = (PS_CLK * 40, PS_CLK * 30, PS_CLK * 32);
        assert_eq!(s.clock_out("dci"), ddr / 12 / 7);
        assert_eq!((s.clock_out("trace"), s.clock_out("swdt")), (io / 15, arm / 12));
        // DBG_CLK_CTRL from the ARM PLL, from a pin; WDT_CLK_SEL to a pin.
        s.write(0x164, 0xf21);
        assert_eq!(s.clock_out("trace"), arm / 15);
        s.write(0x164, 0xf41);
        s.write(0x304, 1);
        assert_eq!((s.clock_out("trace"), s.clock_out("swdt")), (0, 0));
        for (bit, name) in [(24, "cpu-6x4x"), (25, "cpu-3x2x"), (26, "cpu-2x"), (27, "cpu-1x")] {
            s.write(ARM_CLK_CTRL, 0x1f00_0200 & !(1 << bit));
            assert_eq!(s.clock_out(name), 0, "{name}");
        }
        s.write(0x124, 0x0c20_0002);
        assert_eq!((s.clock_out("ddr-2x"), s.clock_out("ddr-3x")), (ddr / 3, 0));
    }

    #[test]
    fn a_soft_reset_asks_for_one_and_leaves_its_reason() {
        let mut s = unlocked();
        s.write(REBOOT_STATUS, 0x0040_0055);
        s.write(PSS_RST_CTRL, 1);
        assert_eq!(s.bench.resets, 1);
        s.bench.reset();
        assert_eq!(s.read(REBOOT_STATUS) & 0xff, 0x55, "kept for the boot loader");
        assert_eq!(s.read(REBOOT_STATUS) >> 16, 1 << 3, "SLC_RST, and no longer POR");
        assert_eq!((s.read(LOCKSTA), s.read(PSS_RST_CTRL)), (1, 0));
    }

    #[test]
    fn knows_its_chip() {
        let mut s = unlocked();
        let id = s.read(PSS_IDCODE);
        assert_eq!((id & 0xfff, id >> 21 & 0x7f), (0x093, 0x1b), "Xilinx, Zynq-7000");
        s.write(PSS_IDCODE, 0);
        assert_eq!(s.read(PSS_IDCODE), id);
    }
}

#[test]
fn the_scu_counts_its_cpus() {
    let mut s = device("arm,a9-scu", 0);
    assert_eq!(s.read(0x04) & 0xf3, 0x31, "two CPUs, both in SMP");
    s.write(0x00, 1);
    assert_eq!(s.read(0x00) & 1, 1);
    s.try_write(0, 0x09, 1, 3, 0).unwrap();
    assert_eq!(s.read(0x08) >> 8 & 3, 3, "power states are bytes");
}

#[test]
fn the_cache_controller_is_always_done() {
    let mut c = device("arm,pl310", 0);
    assert_eq!(c.read(0x000) & 0xff00_03c0, 0x4100_00c0, "ARM, L310");
    for offset in [0x730, 0x770, 0x77c, 0x7b0, 0x7bc, 0x7f0, 0x7fc] {
        c.write(offset, 0xffff_ffff);
        assert_eq!(c.read(offset), 0, "{offset:#x}");
    }
    c.write(0x100, 1);
    assert_eq!(c.read(0x100), 1);
    c.write(0x904, 0xff);
    assert_eq!(c.read(0x904), 0xff);
}

#[test]
fn memory_is_in_normal_mode() {
    let mut d = device("xlnx,zynq-ddrc", 0);
    assert_eq!(d.read(0x54) & 7, 1);
}

mod devcfg {
    use super::*;

    const INT_STS: u64 = 0x0c;
    const INT_MASK: u64 = 0x10;
    const SRC: u64 = 0x18;
    const DST: u64 = 0x1c;
    const SRC_LEN: u64 = 0x20;
    const DST_LEN: u64 = 0x24;
    const MCTRL: u64 = 0x80;
    const DMA_DONE: u32 = 1 << 13;
    const D_P_DONE: u32 = 1 << 12;
    const PCFG_DONE: u32 = 1 << 2;

    const CTRL: u64 = 0x00;
    const LOCK: u64 = 0x04;
    const STATUS: u64 = 0x14;
    const PROG_B: u32 = 1 << 30;
    const INIT: u32 = 1 << 4;
    const INIT_PE: u32 = 1 << 1;
    const INIT_NE: u32 = 1 << 0;
    const AXI_RERR: u32 = 1 << 20;
    const AXI_WERR: u32 = 1 << 22;
    const Q_OV: u32 = 1 << 14;
    const QUEUE_EMPTY: u32 = 1 << 30;
    /// A word each microsecond.
    const HZ: u64 = 2_000_000;

    fn transfer(d: &mut Bench, from: u32, to: u32, words: u32) {
        d.write(SRC, from);
        d.write(DST, to);
        d.write(SRC_LEN, words);
        d.write(DST_LEN, words);
    }

    /// A bitstream for this device, with configuration that looks like commands.
    fn bitstream(idcode: u32) -> Vec<u32> {
        let mut words = vec![0xffff_ffff, 0x0000_00bb, 0xaa99_5566, 0x2000_0000, 0x3001_8001, idcode, 0x3000_8001, 7];
        words.extend([0x3000_4000, 0x5000_0005, 0x3000_8001, 13, 0x3001_8001, 0, 0xaa99_5566]);
        words.extend([0x3000_8001, 5, 0x2000_0000, 0x3000_8001, 13, 0x2000_0000, 0x2000_0000]);
        words
    }

    fn put(d: &mut Bench, at: usize, words: &[u32]) {
        for (i, word) in words.iter().enumerate() {
            d.bench.memory()[at + 4 * i..at + 4 * i + 4].copy_from_slice(&word.to_le_bytes());
        }
    }

    /// With the logic cleared and no interrupt flag.
    fn ready() -> Bench {
        let mut d = device("xlnx,zynq-devcfg", HZ);
        d.write(CTRL, 0x0c00_6000 | PROG_B);
        d.write(CTRL, 0x0c00_6000);
        d.write(CTRL, 0x0c00_6000 | PROG_B);
        d.write(INT_STS, u32::MAX);
        d
    }

    #[test]
    fn takes_a_bitstream() {
        let mut d = ready();
        assert_eq!(d.read(MCTRL) >> 28, 3, "PS version");
        d.write(INT_MASK, !DMA_DONE);
        let words = bitstream(0x1372_7093);
        put(&mut d, 0x1000, &words);
        transfer(&mut d, 0x1001, 0xffff_ffff, words.len() as u32);
        assert_eq!(d.read(STATUS) & QUEUE_EMPTY, 0);
        d.bench.advance(words.len() as u64 * 1000 - 1);
        assert_eq!((d.read(INT_STS), d.line("irq", 0)), (0, false));
        d.bench.advance(1);
        assert!(d.line("irq", 0));
        assert_eq!(d.read(INT_STS), DMA_DONE | D_P_DONE | PCFG_DONE);
        assert_eq!(d.read(STATUS) & (QUEUE_EMPTY | 3 << 28 | INIT), QUEUE_EMPTY | 1 << 28 | INIT);
        d.write(INT_STS, DMA_DONE);
        assert!(!d.line("irq", 0));
        // The logic stays configured until it is cleared.
        d.write(INT_STS, u32::MAX);
        assert_eq!(d.read(INT_STS), PCFG_DONE);
        d.write(CTRL, 0x0c00_6000);
        d.write(INT_STS, u32::MAX);
        assert_eq!(d.read(INT_STS), 0);
    }

    #[test]
    fn takes_a_bitstream_in_pieces() {
        let mut d = ready();
        let words = bitstream(0x0372_7093);
        put(&mut d, 0x1000, &words);
        for i in 0..words.len() as u32 {
            transfer(&mut d, 0x1000 + 4 * i, 0xffff_ffff, 1);
            d.bench.advance(1000);
            let done = d.read(INT_STS) & PCFG_DONE != 0;
            assert_eq!(done, i as usize >= words.len() - 3, "{i}");
        }
    }

    #[test]
    fn what_is_no_bitstream_for_it_configures_nothing() {
        for (idcode, wrong) in [(0x0372_2093, true), (0x0372_7093, false)] {
            let mut d = ready();
            let mut words = bitstream(idcode);
            if !wrong {
                words[2] = 0xaa99_5567;
                // The other word of this kind is data.
                words[14] = 0;
            }
            put(&mut d, 0x1000, &words);
            transfer(&mut d, 0x1001, 0xffff_ffff, words.len() as u32);
            d.bench.advance(1_000_000);
            assert_eq!(d.read(INT_STS), DMA_DONE | D_P_DONE | if wrong { INIT_NE } else { 0 });
            assert_eq!(d.read(STATUS) & INIT != 0, !wrong);
            assert_eq!(d.bench.log().iter().any(|l| l.contains("for the device 0x03722093")), wrong);
        }
        let mut d = ready();
        d.write(CTRL, 0x0800_6000 | PROG_B);
        put(&mut d, 0x1000, &bitstream(0x0372_7093));
        transfer(&mut d, 0x1000, 0xffff_ffff, 22);
        d.bench.advance(1_000_000);
        assert_eq!(d.read(INT_STS) & PCFG_DONE, 0, "the port is not PCAP");
    }

    #[test]
    fn prog_b_clears_and_initialises() {
        let mut d = ready();
        d.write(CTRL, 0x0c00_6000);
        assert_eq!((d.read(STATUS) & INIT, d.read(INT_STS)), (0, INIT_NE));
        d.write(CTRL, 0x0c00_6000 | PROG_B);
        assert_eq!((d.read(STATUS) & INIT, d.read(INT_STS)), (INIT, INIT_NE | INIT_PE));
    }

    #[test]
    fn locked_fields_stay() {
        let mut d = ready();
        d.write(LOCK, 1 << 1 | 1);
        d.write(LOCK, 0);
        assert_eq!(d.read(LOCK), 3, "until the next reset");
        d.write(CTRL, 0x0c00_7fff | PROG_B);
        assert_eq!(d.read(CTRL), 0x0c00_7f00 | PROG_B);
    }

    #[test]
    fn loops_back() {
        let mut d = ready();
        d.bench.memory()[0x100..0x108].copy_from_slice(b"loopback");
        let mctrl = d.read(MCTRL);
        d.write(MCTRL, mctrl | 1 << 4);
        transfer(&mut d, 0x101, 0x8001, 2);
        d.bench.advance(2000);
        assert_eq!(&d.bench.memory()[0x8000..0x8008], b"loopback");
        transfer(&mut d, 0x100, 0x7fff_0000, 2);
        d.bench.advance(2000);
        assert_eq!(d.read(INT_STS), DMA_DONE | D_P_DONE | AXI_WERR);
    }

    #[test]
    fn transfers_wait_in_a_queue() {
        let mut d = ready();
        let mctrl = d.read(MCTRL);
        d.write(MCTRL, mctrl | 1 << 4);
        for i in 0..5 {
            d.bench.memory()[0x100 + i] = i as u8 + 1;
            assert_eq!(d.read(STATUS) >> 31, u32::from(i == 4));
            transfer(&mut d, 0x100, 0x8000 + 8 * i as u32, 2);
            d.bench.advance(400);
        }
        assert_eq!(d.read(INT_STS), Q_OV | DMA_DONE, "none of them is the last");
        d.bench.advance(10_000);
        assert_eq!([0, 1, 2, 3, 4].map(|i| d.bench.memory()[0x8000 + 8 * i]), [1, 1, 1, 1, 0]);
        // A long one takes its time, in pieces.
        transfer(&mut d, 0, 0, 0x4000);
        d.bench.advance(0x4000 * 1000 - 1);
        assert_eq!(d.read(STATUS) & QUEUE_EMPTY, 0);
        d.bench.advance(1);
        assert_eq!(d.read(STATUS) & QUEUE_EMPTY, QUEUE_EMPTY);
    }

    #[test]
    fn a_transfer_from_nowhere_is_an_error() {
        let mut d = ready();
        transfer(&mut d, 0x7fff_0000, 0xffff_ffff, 0x07ff_ffff);
        d.bench.advance(1_000_000_000);
        assert_eq!(d.read(INT_STS), DMA_DONE | AXI_RERR);
    }
}

mod xadc {
    use super::*;

    const INT_STS: u64 = 0x04;
    const INT_MASK: u64 = 0x08;
    const MSTS: u64 = 0x0c;
    const CMDFIFO: u64 = 0x10;
    const RDFIFO: u64 = 0x14;
    const MCTL: u64 = 0x18;
    const READ: u32 = 1 << 26;
    const WRITE: u32 = 2 << 26;

    #[test]
    fn answers_a_command_with_the_result_of_the_one_before() {
        let mut x = device("xlnx,zynq-xadc", 0);
        x.write(MCTL, 0);
        assert_eq!(x.read(MSTS) >> 8 & 5, 5, "both FIFOs empty");
        x.write(CMDFIFO, READ);
        x.write(CMDFIFO, 0);
        assert_eq!(x.read(MSTS) >> 12 & 15, 2);
        x.read(RDFIFO);
        let code = f64::from(x.read(RDFIFO) >> 4);
        let celsius = code * 503.975 / 4096.0 - 273.15;
        assert!((20.0..80.0).contains(&celsius), "{celsius}");
        x.write(CMDFIFO, WRITE | 0x41 << 16 | 0x2ef0);
        x.write(CMDFIFO, READ | 0x41 << 16);
        x.write(CMDFIFO, 0);
        x.read(RDFIFO);
        x.read(RDFIFO);
        assert_eq!(x.read(RDFIFO), 0x2ef0);
    }

    /// Reads a register of the XADC.
    fn drp(x: &mut Bench, register: u32) -> u32 {
        x.write(CMDFIFO, READ | register << 16);
        x.write(CMDFIFO, 0);
        x.read(RDFIFO);
        x.read(RDFIFO)
    }

    fn set(x: &mut Bench, register: u32, value: u32) {
        x.write(CMDFIFO, WRITE | register << 16 | value);
        x.read(RDFIFO);
    }

    /// What the monitor does.
    fn measure(x: &mut Bench, offset: u64, value: i32) {
        x.bench.write_as(0, offset, 4, u64::from(value as u32), emu_machine::Access::DEBUG).unwrap();
    }

    fn started() -> Bench {
        let mut x = device("xlnx,zynq-xadc", 0);
        x.write(MCTL, 0);
        x
    }

    #[test]
    fn measures_what_it_is_told() {
        let mut x = started();
        // Supplies: 1.0, 1.8, 1.0, 1.0, 1.8, 1.5 V of 3 V; 45 °C.
        for (register, code) in [(0, 2586), (1, 1365), (2, 2458), (6, 1365), (0xd, 1365), (0xe, 2458), (0xf, 2048), (3, 0), (0x10, 0)] {
            assert_eq!(drp(&mut x, register), code << 4, "{register:#x}");
        }
        for (offset, value, register, code) in [
            (0x40, 100_000, 0x00, 3033),
            (0x40, -40_000, 0x00, 1895),
            (0x44, 950, 0x01, 1297),
            (0x58, 1350, 0x0f, 1843),
            (0x5c, 500, 0x03, 2048),
            (0x80, 250, 0x10, 1024),
            (0xbc, 5000, 0x1f, 4095),
        ] {
            measure(&mut x, offset, value);
            assert_eq!(drp(&mut x, register), code << 4, "{offset:#x}");
        }
        // Greatest and least temperature and core voltage so far.
        assert_eq!([0x20, 0x24, 0x21, 0x25].map(|r| drp(&mut x, r) >> 4), [3033, 1895, 1365, 1297]);
        // A reset of the XADC forgets those, one of the machine keeps the temperature.
        set(&mut x, 0x03, 0);
        assert_eq!([0x20, 0x24].map(|r| drp(&mut x, r) >> 4), [1895, 1895]);
        x.bench.reset();
        x.write(MCTL, 0);
        assert_eq!(drp(&mut x, 0) >> 4, 1895);
        // The guest sees nothing of this.
        x.write(0x40, 0);
        assert_eq!((x.read(0x40), drp(&mut x, 0) >> 4), (0, 1895));
    }

    #[test]
    fn alarms_follow_their_thresholds() {
        let mut x = started();
        x.write(INT_MASK, !0x7f);
        let code = |celsius: u32| ((celsius * 1000 + 273_150) * 128 / 15_749) << 4;
        // 60 °C on, 50 °C off; core from 0.9 to 1.1 V; these two alarms only.
        for (register, value) in [(0x50, code(60)), (0x54, code(50)), (0x51, 1502 << 4), (0x55, 1229 << 4)] {
            set(&mut x, register, value);
        }
        set(&mut x, 0x41, 0x0f08);
        measure(&mut x, 0x40, 70_000);
        assert_eq!(x.read(MSTS) & 0xff, 0, "not in the default mode");
        set(&mut x, 0x41, 0x2f08);
        assert_eq!((x.read(MSTS) & 0xff, x.read(INT_STS) & 0xff, x.line("irq", 0)), (1, 1, true));
        x.write(INT_STS, 0xff);
        assert_eq!(x.read(INT_STS) & 0xff, 1, "as long as it is active");
        measure(&mut x, 0x40, 55_000);
        assert_eq!(x.read(MSTS) & 0xff, 1);
        measure(&mut x, 0x40, 49_000);
        x.write(INT_STS, 0xff);
        assert_eq!((x.read(MSTS) & 0xff, x.line("irq", 0)), (0, false));
        measure(&mut x, 0x40, 55_000);
        assert_eq!(x.read(MSTS) & 0xff, 0);
        for (millivolts, alarm) in [(1000, 0), (800, 2), (950, 0), (1200, 2)] {
            measure(&mut x, 0x44, millivolts);
            assert_eq!((x.read(MSTS) & 0xff, drp(&mut x, 0x3f)), (alarm, alarm));
        }
        set(&mut x, 0x41, 0x2f0c);
        assert_eq!(x.read(MSTS) & 0xff, 0, "switched off");
    }

    #[test]
    fn over_temperature() {
        let mut x = started();
        let seen = |x: &mut Bench, celsius: i32| {
            measure(x, 0x40, celsius * 1000);
            x.read(MSTS) >> 7 & 1
        };
        // 125 °C, and off below 70 °C, in the default mode.
        assert_eq!([124, 126, 80, 69, 80].map(|t| seen(&mut x, t)), [0, 1, 1, 0, 0]);
        set(&mut x, 0x53, 2800 << 4 | 3);
        assert_eq!([69, 80].map(|t| seen(&mut x, t)), [0, 1], "another limit");
        assert_eq!(drp(&mut x, 0x3f) & 8, 8);
        set(&mut x, 0x41, 1);
        assert_eq!(x.read(MSTS) >> 7 & 1, 0, "switched off");
    }

    #[test]
    fn the_data_fifo_interrupts_above_its_threshold() {
        let mut x = device("xlnx,zynq-xadc", 0);
        x.write(MCTL, 0);
        x.write(INT_STS, u32::MAX);
        x.write(INT_MASK, !(1 << 8));
        assert!(!x.line("irq", 0));
        x.write(CMDFIFO, READ);
        assert!(x.line("irq", 0));
        x.read(RDFIFO);
        x.write(INT_STS, 1 << 8);
        assert!(!x.line("irq", 0));
    }
}
