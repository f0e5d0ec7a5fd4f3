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
    }

    #[test]
    fn a_soft_reset_asks_for_one_and_leaves_its_reason() {
        let mut s = unlocked();
        s.write(REBOOT_STATUS, 0x0040_0055);
        s.write(PSS_RST_CTRL, 1);
        assert_eq!(s.bench.resets, 1);
        s.bench.reset();
        assert_eq!(s.read(REBOOT_STATUS) & 0xff, 0x55, "kept for the boot loader");
        assert_eq!(s.read(REBOOT_STATUS) >> 19 & 1, 1, "SLC_RST");
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

    fn transfer(d: &mut Bench, from: u32, to: u32, words: u32) {
        d.write(SRC, from);
        d.write(DST, to);
        d.write(SRC_LEN, words);
        d.write(DST_LEN, words);
    }

    #[test]
    fn takes_a_bitstream() {
        let mut d = device("xlnx,zynq-devcfg", 0);
        assert_eq!(d.read(MCTRL) >> 28, 3, "PS version");
        d.write(INT_STS, u32::MAX);
        d.write(INT_MASK, !DMA_DONE);
        transfer(&mut d, 0x1001, 0xffff_ffff, 0x400);
        assert!(d.line("irq", 0));
        assert_eq!(d.read(INT_STS) & (DMA_DONE | D_P_DONE | PCFG_DONE), DMA_DONE | D_P_DONE | PCFG_DONE);
        d.write(INT_STS, DMA_DONE);
        assert!(!d.line("irq", 0));
    }

    #[test]
    fn loops_back() {
        let mut d = device("xlnx,zynq-devcfg", 0);
        d.bench.memory()[0x100..0x108].copy_from_slice(b"loopback");
        let mctrl = d.read(MCTRL);
        d.write(MCTRL, mctrl | 1 << 4);
        transfer(&mut d, 0x100, 0x8000, 2);
        assert_eq!(&d.bench.memory()[0x8000..0x8008], b"loopback");
    }

    #[test]
    fn a_transfer_from_nowhere_is_an_error() {
        let mut d = device("xlnx,zynq-devcfg", 0);
        transfer(&mut d, 0x7fff_0000, 0xffff_ffff, 0x07ff_ffff);
        assert_eq!(d.read(INT_STS) & 1 << 21, 1 << 21, "AXI_RERR");
        assert_eq!(d.read(INT_STS) & PCFG_DONE, 0);
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
