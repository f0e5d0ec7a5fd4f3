//! Devices of the Zynq-7000, by what UG585 and the Cortex-A9 MPCore TRM say of them.

use crate::client::Qtest;

const UART: u64 = 0xe000_0000;
const I2C: u64 = 0xe000_4000;
const GPIO: u64 = 0xe000_a000;
const SLCR: u64 = 0xf800_0000;
const TTC: u64 = 0xf800_1000;
const SWDT: u64 = 0xf800_5000;
const GIC_CPU: u64 = 0xf8f0_0100;
const PRIVATE: u64 = 0xf8f0_0600;
const PRIVATE_WDT: u64 = 0xf8f0_0620;
const GIC_DIST: u64 = 0xf8f0_1000;

/// PS_CLK, the board's crystal, Hz.
const PS_CLK: u64 = 33_333_333;
/// CPU_6x4x: PS_CLK times the ARM PLL's 40, divided by 2; and what is derived from it in the ratio 6:2:1.
const CPU_3X2X: u64 = PS_CLK * 40 / 2 / 2;
const CPU_1X: u64 = PS_CLK * 40 / 2 / 6;

/// When `ticks` of a clock are over, ns: not before.
fn after(ticks: u64, hz: u64) -> u64 {
    (u128::from(ticks) * 1_000_000_000).div_ceil(hz.into()) as u64
}

/// The next event is exactly at `at`: a nanosecond before it these lines have not changed, then they do.
fn exactly(q: &mut Qtest, at: u64, irqs: &[(u32, bool)]) {
    assert_eq!(q.ok(&format!("clock_set {}", at - 1)), (at - 1).to_string());
    assert_eq!(q.irqs(), []);
    q.clock_step(1);
    assert_eq!(q.irqs(), irqs, "at {at} ns");
}

#[test]
fn uart_resets_and_loops_back() {
    let mut q = Qtest::start("zynq7000");
    q.ok("irq_intercept_out uart0");
    // UG585 B.33: CR, MR, IMR, BAUDGEN, RXWM, BDIV, TXWM; SR: both FIFOs are empty.
    for (offset, reset) in [(0, 0x128), (4, 0), (0x10, 0), (0x18, 0x28b), (0x20, 0x20), (0x34, 0xf), (0x44, 0x20), (0x2c, 0xa)] {
        assert_eq!(q.readl(UART + offset), reset, "{offset:#x}");
    }
    // Local loopback, both on; trigger level 2 and its interrupt.
    q.writel(UART + 4, 0x220);
    q.writel(UART, 0x17);
    q.writel(UART + 0x20, 2);
    q.writel(UART + 0x14, 0x1fff);
    q.writel(UART + 8, 1);
    q.writel(UART + 0x30, 0x41);
    assert_eq!((q.irqs(), q.readl(UART + 0x2c) & 3), (vec![], 0));
    q.writel(UART + 0x30, 0x42);
    assert_eq!((q.irqs(), q.readl(UART + 0x2c) & 3), (vec![(0, true)], 1));
    assert_eq!([q.readl(UART + 0x30), q.readl(UART + 0x30)], [0x41, 0x42]);
    assert_eq!(q.readl(UART + 0x2c) & 3, 2);
    // The flag stays until it is cleared by a one.
    assert_eq!(q.readl(UART + 0x14) & 1, 1);
    q.writel(UART + 0x14, 1);
    assert_eq!(q.irqs(), [(0, false)]);
    // 65 bytes do not fit; the FIFO has the first 64.
    q.writel(UART + 8, 0x20);
    for byte in 0..65 {
        q.writel(UART + 0x30, byte);
    }
    assert_eq!((q.irqs(), q.readl(UART + 0x2c) & 4), (vec![(0, true)], 4));
    for byte in 0..64 {
        assert_eq!(q.readl(UART + 0x30), byte);
    }
    assert_eq!(q.readl(UART + 0x2c) & 2, 2);
}

#[test]
fn uart_receiver_times_out() {
    let mut q = Qtest::start("zynq7000");
    q.ok("irq_intercept_out uart0");
    q.writel(UART + 4, 0x220);
    q.writel(UART, 0x17);
    q.writel(UART + 8, 0x100);
    q.writel(UART + 0x14, 0x1fff);
    q.writel(UART + 0x1c, 10);
    // 50 MHz / 0x28b / 16, the rate after reset; RXTOUT counts in units of four bits (UG585 19.2.9).
    let uart_ref = PS_CLK * 30 / 20;
    let bit = after(0x28b * 16, uart_ref);
    q.writel(UART + 0x30, 0x55);
    q.clock_step(bit * 38);
    assert_eq!(q.irqs(), []);
    q.clock_step(bit * 4);
    assert_eq!(q.irqs(), [(0, true)]);
    assert_eq!(q.readl(UART + 0x14) & 0x100, 0x100);
}

#[test]
fn ttc_interval_is_exact() {
    let mut q = Qtest::start("zynq7000");
    q.ok("irq_intercept_out ttc0");
    // Counter 2 of 1..3: interval 999, its interrupt; reset, interval mode, on.
    let counter = TTC + 4;
    q.writel(counter + 0x24, 999);
    q.writel(counter + 0x60, 1);
    q.writel(counter + 0x0c, 0x32);
    for n in 1..4 {
        exactly(&mut q, after(1000 * n, CPU_1X), &[(1, true)]);
        assert_eq!(q.readl(counter + 0x18), 0);
        // The flags are cleared by reading.
        assert_eq!([q.readl(counter + 0x54), q.readl(counter + 0x54)], [1, 0]);
        assert_eq!(q.irqs(), [(1, false)]);
    }
    // Without a number a step goes to the next timer.
    assert_eq!(q.clock_next(), after(4000, CPU_1X));
    assert_eq!(q.irqs(), [(1, true)]);
    // Down, with a prescaler of 8: a match at 100 is 900 ticks from the top.
    q.writel(counter + 0x0c, 0x21);
    q.readl(counter + 0x54);
    q.writel(counter, 5);
    q.writel(counter + 0x30, 100);
    q.writel(counter + 0x60, 2);
    q.irqs();
    let start = q.clock_step(0);
    q.writel(counter + 0x0c, 0x3e);
    assert_eq!(q.readl(counter + 0x18), 999);
    exactly(&mut q, start + after(899 * 8, CPU_1X), &[(1, true)]);
    assert_eq!(q.readl(counter + 0x18), 100);
}

#[test]
fn private_timer_of_the_first_cpu() {
    let mut q = Qtest::start("zynq7000");
    q.ok("irq_intercept_out ptimer");
    q.writel(PRIVATE, 99);
    // Reload, interrupt, on.
    q.writel(PRIVATE + 8, 7);
    let first = after(99, CPU_3X2X);
    exactly(&mut q, first, &[(0, true)]);
    assert_eq!(q.readl(PRIVATE + 0xc), 1);
    q.writel(PRIVATE + 0xc, 1);
    assert_eq!(q.irqs(), [(0, false)]);
    // The period is the load value and one (MPCore TRM 4.2).
    exactly(&mut q, after(199, CPU_3X2X), &[(0, true)]);
    // Once, with a prescaler of 256.
    q.writel(PRIVATE + 8, 0);
    q.writel(PRIVATE + 0xc, 1);
    q.irqs();
    let start = q.clock_step(0);
    q.writel(PRIVATE, 1000);
    q.writel(PRIVATE + 8, 0xff05);
    exactly(&mut q, start + after(256_000, CPU_3X2X), &[(0, true)]);
    q.writel(PRIVATE + 0xc, 1);
    q.clock_step(1_000_000_000);
    assert_eq!((q.irqs(), q.readl(PRIVATE + 4)), (vec![(0, false)], 0));
}

#[test]
fn private_watchdog_resets_the_machine() {
    let mut q = Qtest::start("zynq7000");
    q.writel(UART + 4, 0x220);
    q.writel(PRIVATE_WDT, 1_000_000);
    q.writel(PRIVATE_WDT + 8, 9);
    let zero = after(1_000_000, CPU_3X2X);
    q.clock_step(zero - 1);
    assert_eq!((q.readl(UART + 4), q.readl(PRIVATE_WDT + 0x10)), (0x220, 0));
    q.clock_step(1);
    // Everything is reset, but time goes on, and the watchdog knows that it was it.
    assert_eq!((q.readl(UART + 4), q.readl(PRIVATE_WDT + 0x10), q.readl(PRIVATE_WDT + 8)), (0, 1, 0));
    assert_eq!(q.clock_step(0), zero);
    assert_eq!(q.readl(SLCR + 0x258), 1 << 17, "AWDT0_RST");
    // RS_AWDT_CTRL: it resets its CPU only.
    q.ok("irq_intercept_in cpu0");
    q.writel(SLCR + 8, 0xdf0d);
    q.writel(SLCR + 0x24c, 1);
    q.writel(UART + 4, 0x220);
    q.writel(PRIVATE_WDT, 1000);
    q.writel(PRIVATE_WDT + 8, 9);
    q.clock_step(after(1000, CPU_3X2X));
    assert_eq!((q.irqs(), q.readl(UART + 4)), (vec![(2, true), (2, false)], 0x220));
}

#[test]
fn system_watchdog_interrupts_or_resets() {
    let mut q = Qtest::start("zynq7000");
    q.ok("irq_intercept_out swdt");
    assert_eq!([q.readl(SWDT), q.readl(SWDT + 4), q.readl(SWDT + 0xc)], [0x1c2, 0x3ffc, 0]);
    // Without their keys the registers keep what they have.
    q.writel(SWDT, 1);
    q.writel(SWDT + 4, 0);
    assert_eq!([q.readl(SWDT), q.readl(SWDT + 4)], [0x1c2, 0x3ffc]);
    // CRV 1, CPU_1x / 64; interrupt, on.
    q.writel(SWDT + 4, 0x248 << 14 | 1 << 2 | 1);
    q.writel(SWDT, 0xabc << 12 | 0x1c5);
    let zero = after(0x1fff * 64, CPU_1X);
    q.clock_step(zero / 2);
    q.writel(SWDT + 8, 0x1999);
    q.writel(SWDT + 8, 0x1234);
    exactly(&mut q, zero / 2 + zero, &[(0, true)]);
    // The interrupt is a pulse of 32 clocks.
    exactly(&mut q, zero / 2 + zero + after(32, CPU_1X), &[(0, false)]);
    assert_eq!(q.readl(SWDT + 0xc), 1);
    q.writel(SWDT + 8, 0x1999);
    assert_eq!((q.irqs(), q.readl(SWDT + 0xc)), (vec![], 0));
    // Reset instead.
    q.writel(SWDT, 0xabc << 12 | 0x1c3);
    q.writel(UART + 4, 0x220);
    q.clock_step(zero - 1);
    assert_eq!(q.readl(UART + 4), 0x220);
    q.clock_step(1);
    assert_eq!((q.readl(UART + 4), q.readl(SWDT)), (0, 0x1c2));
    assert_eq!(q.readl(SLCR + 0x258), 1 << 16, "SWDT_RST");
}

#[test]
fn a_reset_ends_the_run_where_it_is_not_wanted() {
    let mut q = Qtest::with(&["--board", "zynq7000", "--no-reboot"]);
    q.writel(SLCR + 8, 0xdf0d);
    q.writel(SLCR + 0x200, 1);
    assert_eq!(q.ended().code(), Some(0));
}

#[test]
fn gpio_senses_pins_and_drives_them() {
    let mut q = Qtest::start("zynq7000");
    q.ok("irq_intercept_out gpio");
    // Bank 1, pin 40: MIO 32 and on. Rising edge, as INT_TYPE is edge after reset; interrupt enabled.
    let (bank, pin) = (GPIO + 0x40, 1 << 8);
    assert_eq!(q.readl(bank + 0x21c), 0x003f_ffff);
    q.writel(bank + 0x220, pin);
    q.writel(bank + 0x210, pin);
    q.ok("set_irq_in gpio in 40 1");
    assert_eq!((q.irqs(), q.readl(GPIO + 0x64)), (vec![(0, true)], pin));
    q.writel(bank + 0x218, pin);
    assert_eq!(q.irqs(), [(0, false)]);
    q.ok("set_irq_in gpio in 40 0");
    assert_eq!((q.irqs(), q.readl(GPIO + 0x64)), (vec![], 0));
    // Output: direction, enable, and DATA by its masked half; MIO 53 is line 1 + 53 of all outputs.
    q.writel(bank + 0x204, 1 << 21);
    q.writel(bank + 0x208, 1 << 21);
    q.writel(GPIO + 0xc, !(1 << 5) << 16 | 1 << 5);
    assert_eq!((q.irqs(), q.readl(GPIO + 0x64)), (vec![(54, true)], 1 << 21));
    q.writel(GPIO + 0xc, 0xffff_0000);
    assert_eq!(q.readl(GPIO + 0x44), 1 << 21);
    q.writel(GPIO + 0x44, 0);
    assert_eq!(q.irqs(), [(54, false)]);
}

#[test]
fn named_outputs_are_numbered_by_themselves() {
    let mut q = Qtest::start("zynq7000");
    q.ok("irq_intercept_out_named /machine/gpio out");
    q.writel(GPIO + 0x204, 1);
    q.writel(GPIO + 0x208, 1);
    q.writel(GPIO + 0x40, 1);
    assert_eq!(q.irqs(), [(0, true)]);
    assert_eq!(q.fail("irq_intercept_out gpio"), "IRQ intercept already enabled");
}

#[test]
fn slcr_is_locked_until_it_is_unlocked() {
    let mut q = Qtest::start("zynq7000");
    // PSS_IDCODE of the XC7Z020; ARM_PLL_CTRL and UART_CLK_CTRL as the boot loader leaves them; locked.
    for (offset, value) in [(0x530, 0x0372_7093), (0x100, 0x28000), (0x154, 0x1403), (0x10c, 0x3f), (0xc, 1)] {
        assert_eq!(q.readl(SLCR + offset), value, "{offset:#x}");
    }
    q.writel(SLCR + 0x154, 0x2803);
    assert_eq!(q.readl(SLCR + 0x154), 0x1403);
    q.writel(SLCR + 8, 0xdf0e);
    assert_eq!(q.readl(SLCR + 0xc), 1);
    q.writel(SLCR + 8, 0xdf0d);
    q.writel(SLCR + 0x154, 0x2803);
    assert_eq!([q.readl(SLCR + 0xc), q.readl(SLCR + 0x154)], [0, 0x2803]);
    q.writel(SLCR + 4, 0x767b);
    q.writel(SLCR + 0x154, 0x1403);
    assert_eq!([q.readl(SLCR + 0xc), q.readl(SLCR + 0x154)], [1, 0x2803]);
    // A reset of the whole: registers, but not memory; REBOOT_STATUS says why.
    q.writel(0x1000, 0x1234_5678);
    q.writel(SLCR + 8, 0xdf0d);
    q.writel(SLCR + 0x200, 1);
    assert_eq!([q.readl(SLCR + 0xc), q.readl(SLCR + 0x154), q.readl(0x1000)], [1, 0x1403, 0x1234_5678]);
    assert_eq!(q.readl(SLCR + 0x258) & 1 << 19, 1 << 19);
}

#[test]
fn slcr_holds_cpus_and_devices_in_reset() {
    let mut q = Qtest::start("zynq7000");
    q.ok("irq_intercept_in cpu1");
    q.writel(SLCR + 8, 0xdf0d);
    // A9_CPU_RST_CTRL: reset and clock stop of CPU 1; of its lines irq and fiq come first.
    q.writel(SLCR + 0x244, 0x22);
    assert_eq!(q.irqs(), [(2, true), (3, true)]);
    q.writel(SLCR + 0x244, 0);
    assert_eq!(q.irqs(), [(2, false), (3, false)]);
    // UART_RST_CTRL: the reference clock domain of UART 0.
    q.writel(UART + 4, 0x220);
    q.writel(SLCR + 0x228, 4);
    assert_eq!(q.readl(UART + 4), 0);
}

#[test]
fn a_clock_that_stops_stops_its_timers() {
    let mut q = Qtest::start("zynq7000");
    q.ok("irq_intercept_out ttc0");
    q.writel(TTC + 0x24, 999);
    q.writel(TTC + 0x60, 1);
    q.writel(TTC + 0x0c, 0x32);
    q.clock_step(after(500, CPU_1X));
    // The ARM PLL in reset, and again as it was.
    q.writel(SLCR + 8, 0xdf0d);
    q.writel(SLCR + 0x100, 0x28001);
    q.clock_step(1_000_000);
    assert_eq!((q.irqs(), q.readl(TTC + 0x18)), (vec![], 500));
    q.writel(SLCR + 0x100, 0x28000);
    let on = q.clock_step(0);
    exactly(&mut q, on + after(500, CPU_1X), &[(0, true)]);
}

#[test]
fn gic_brings_lines_to_the_cpu() {
    let mut q = Qtest::start("zynq7000");
    q.ok("irq_intercept_in cpu0");
    // ICDICTR: 96 interrupts, two CPUs, security extensions, 31 lockable.
    assert_eq!(q.readl(GIC_DIST + 4), 0xfc22);
    // Shared interrupt 9, ID 41, to CPU 0 with priority 0x80.
    q.writeb(GIC_DIST + 0x400 + 41, 0x80);
    q.writeb(GIC_DIST + 0x800 + 41, 1);
    assert_eq!([q.readb(GIC_DIST + 0x429), q.readb(GIC_DIST + 0x829)], [0x80, 1]);
    q.writel(GIC_DIST + 0x104, 1 << 9);
    q.writel(GIC_DIST, 1);
    q.writel(GIC_CPU + 4, 0xf0);
    q.writel(GIC_CPU, 1);
    assert_eq!(q.readl(GIC_CPU + 0xc), 1023);
    q.ok("set_irq_in gic spi 9 1");
    assert_eq!((q.irqs(), q.readl(GIC_DIST + 0x204)), (vec![(0, true)], 1 << 9));
    assert_eq!(q.readl(GIC_CPU + 0x18), 41);
    assert_eq!(q.readl(GIC_CPU + 0xc), 41);
    assert_eq!((q.irqs(), q.readl(GIC_CPU + 0x14), q.readl(GIC_DIST + 0x304)), (vec![(0, false)], 0x80, 1 << 9));
    // It is a level: after its end it comes again.
    q.writel(GIC_CPU + 0x10, 41);
    assert_eq!(q.irqs(), [(0, true)]);
    q.ok("set_irq_in gic spi 9 0");
    assert_eq!(q.irqs(), [(0, false)]);
    // A software interrupt to itself; masked by priority; as FIQ.
    q.writel(GIC_DIST + 0xf00, 0x0200_0003);
    assert_eq!(q.irqs(), [(0, true)]);
    q.writel(GIC_CPU + 4, 0);
    assert_eq!(q.irqs(), [(0, false)]);
    q.writel(GIC_CPU, 9);
    q.writel(GIC_CPU + 4, 0xf0);
    assert_eq!(q.irqs(), [(1, true)]);
    assert_eq!(q.readl(GIC_CPU + 0xc), 3);
    q.writel(GIC_CPU + 0x10, 3);
    assert_eq!((q.irqs(), q.readl(GIC_CPU + 0x14)), (vec![(1, false)], 0xff));
}

#[test]
fn memories_are_where_the_manual_says() {
    let mut q = Qtest::start("zynq7000");
    // DDR to its last word, 256 KiB of on-chip memory at the top.
    for at in [0, 0x1fff_fffc, 0xfffc_0000, 0xffff_fff8] {
        q.writel(at, at as u32 ^ 0x5a5a_5a5a);
    }
    for at in [0, 0x1fff_fffc, 0xfffc_0000, 0xffff_fff8] {
        assert_eq!(q.readl(at), at as u32 ^ 0x5a5a_5a5a);
    }
    for at in [0x2000_0000u64, 0xfffb_fffc] {
        assert!(q.fail(&format!("readl {at:#x}")).contains("no device or memory"));
        assert!(q.fail(&format!("writel {at:#x} 0")).contains("no device or memory"));
    }
}

#[test]
fn the_on_chip_memory_is_mapped_low_or_high() {
    let mut q = Qtest::start("zynq7000");
    let (unlock, ocm_cfg) = (0xf800_0008, 0xf800_0910);
    q.writel(unlock, 0xdf0d);
    q.writel(0, 1);
    q.writel(0xfffc_0000, 2);
    q.writel(0xffff_0000, 3);
    assert_eq!(q.readl(ocm_cfg), 0x1f, "as the first-stage boot loader leaves it");
    q.writel(ocm_cfg, 0x18);
    assert_eq!((q.readl(0), q.readl(0xffff_0000)), (2, 3), "three quarters over the DDR memory");
    assert!(q.fail("readl 0xfffc0000").contains("no device or memory"));
    q.writel(ocm_cfg, 0x10);
    assert_eq!(q.readl(0x3_0000), 3);
    q.writel(ocm_cfg, 0x1f);
    assert_eq!((q.readl(0), q.readl(0xfffc_0000)), (1, 2));
}

#[test]
fn i2c_writes_an_eeprom_in_its_time() {
    let mut q = Qtest::start("zynq7000");
    q.ok("irq_intercept_out i2c0");
    // UG585 B.22: control, status, address, interrupt status, transfer size, slave monitor pause, time out, mask.
    for (offset, reset) in [(0, 0), (4, 0), (8, 0), (0x10, 0), (0x14, 0), (0x18, 0), (0x1c, 0x1f), (0x20, 0x2ff)] {
        assert_eq!(q.readl(I2C + offset), reset, "{offset:#x}");
    }
    // CPU_1x / 22 / 13, 388 kHz; so many bits take so many ns.
    let bits = |n: u64| n * 22 * 13 * 1_000_000_000 / CPU_1X;
    q.writel(I2C, 12 << 8 | 0x4e);
    q.writel(I2C + 0x24, 5);
    q.writel(I2C + 0xc, 0x20);
    q.writel(I2C + 0xc, 0xa5);
    q.writel(I2C + 8, 0x54);
    assert_eq!((q.readl(I2C + 4), q.readl(I2C + 0x14)), (0x140, 2));
    // Start and address, two bytes, stop.
    let stop = bits(10) + bits(9) + bits(9) + bits(1);
    exactly(&mut q, stop, &[(0, true)]);
    assert_eq!((q.readl(I2C + 4), q.readl(I2C + 0x10)), (0, 1));
    q.writel(I2C + 0x10, 1);
    assert_eq!(q.irqs(), [(0, false)]);
    // The EEPROM is busy for 5 ms.
    q.writel(I2C + 8, 0x54);
    exactly(&mut q, stop + bits(10) + bits(1), &[(0, true)]);
    assert_eq!(q.readl(I2C + 0x10), 4);
    q.writel(I2C + 0x10, 4);
    q.clock_step(5_000_000);
    // Its address with HOLD, then a read after a repeated start.
    q.writel(I2C, 12 << 8 | 0x5e);
    q.writel(I2C + 0xc, 0x20);
    q.writel(I2C + 8, 0x54);
    q.clock_step(1_000_000);
    assert_eq!((q.readl(I2C + 4), q.readl(I2C + 0x10) & 5), (0x100, 1));
    q.writel(I2C, 12 << 8 | 0x4f);
    q.writel(I2C + 0x14, 2);
    q.writel(I2C + 8, 0x54);
    q.clock_step(1_000_000);
    assert_eq!((q.readl(I2C + 4), q.readl(I2C + 0x14)), (0x20, 0));
    assert_eq!([q.readl(I2C + 0xc), q.readl(I2C + 0xc), q.readl(I2C + 4)], [0xa5, 0xff, 0]);
}
