//! Zynq-7000 System Level Control Registers (UG585 ch. 25 clocks, ch. 26 resets, app. B.28).
//!
//! PS_CLK -> PLLs -> dividers -> clock outputs, recomputed at every write; reset registers -> reset and clock-stop lines of CPUs and
//! controllers, or a reset of the whole machine, as the watchdogs ask for one by their lines; why the last reset was -> REBOOT_STATUS; OCM_CFG ->
//! lines by which the board maps the on-chip memory. Writes need the unlock key. Not modelled: gating of the AMBA peripheral clocks, clocks from
//! pins, one gate for each of two controllers that share a clock (it runs if one of them is open), throttling of the PL clocks, MIO multiplexing.

use emu_machine::device::{Cx, Device, Hertz};
use emu_machine::schema::{ClockSpec, Count, DeviceType, PortSpec, PropKind, PropSpec, Props, RegionSpec};
use emu_machine::{Access, BusError};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};

crate::regs!("zynq_slcr");

const fn clock(name: &'static str, doc: &'static str) -> ClockSpec {
    ClockSpec { name, required: false, doc }
}

/// `xlnx,zynq-slcr`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x1000) }],
    inputs: &[
        PortSpec::one("swdt-reset", "the system watchdog asks for a reset of the system"),
        PortSpec::many("awdt-reset", 2, "a CPU's private watchdog asks for a reset, of what RS_AWDT_CTRL says"),
    ],
    // In the order of `Slcr::lines`.
    outputs: &[
        PortSpec::many("cpu-reset", 2, "A9_RST0, A9_RST1: the CPU is held in reset while high"),
        PortSpec::many("cpu-stop", 2, "A9_CLKSTOP0, A9_CLKSTOP1: the CPU's clock stands still while high"),
        PortSpec::many("uart-reset", 2, "UART_RST_CTRL: resets of the UARTs"),
        PortSpec::many("sdio-reset", 2, "SDIO_RST_CTRL: resets of the SD controllers"),
        PortSpec::many("gem-reset", 2, "GEM_RST_CTRL: resets of the Ethernet controllers"),
        PortSpec::many("usb-reset", 2, "USB_RST_CTRL: resets of the USB controllers"),
        PortSpec::many("spi-reset", 2, "SPI_RST_CTRL: resets of the SPI controllers"),
        PortSpec::many("can-reset", 2, "CAN_RST_CTRL: resets of the CAN controllers"),
        PortSpec::many("i2c-reset", 2, "I2C_RST_CTRL: resets of the I2C controllers"),
        PortSpec::one("gpio-reset", "GPIO_RST_CTRL: reset of the GPIO controller"),
        PortSpec::one("qspi-reset", "LQSPI_RST_CTRL: reset of the Quad-SPI controller"),
        PortSpec::one("smc-reset", "SMC_RST_CTRL: reset of the static memory controller"),
        PortSpec::one("dmac-reset", "DMAC_RST_CTRL: reset of the DMA controller"),
        PortSpec::one("ddr-reset", "DDR_RST_CTRL: reset of the DDR controller"),
        PortSpec::one("ocm-reset", "OCM_RST_CTRL: reset of the on-chip memory controller"),
        PortSpec::one("topsw-reset", "TOPSW_RST_CTRL: reset of the central interconnect"),
        PortSpec::one("peri-reset", "A9_CPU_RST_CTRL.PERI_RST: reset of the CPUs' interrupt controller, timers and snoop control unit"),
        PortSpec::many("fpga-reset", 4, "FPGA_RST_CTRL: resets of the programmable logic"),
        PortSpec::one("dmac-ns", "TZ_DMA_NS: the DMA controller's manager is Non-secure"),
        PortSpec::many("dmac-irq-ns", 16, "TZ_DMA_IRQ_NS: its events that are Non-secure"),
        PortSpec::many("dmac-periph-ns", 4, "TZ_DMA_PERIPH_NS: its peripheral request interfaces that are Non-secure"),
        PortSpec::many("ocm-high", 4, "OCM_CFG: a quarter of the on-chip memory is at the top of the addresses, not at 0"),
    ],
    props: &[
        PropSpec {
            name: "boot-mode",
            kind: PropKind::Choice(&["jtag", "qspi", "nor", "nand", "sd"]),
            default: Some("jtag"),
            doc: "what the boot mode pins say (UG585 table 6-4)",
        },
        PropSpec {
            name: "ocm-cfg",
            kind: PropKind::Int { min: 0, max: 0x1f },
            default: Some("0x18"),
            doc: "OCM_CFG after reset: 0x18 as the boot ROM leaves it, 0x1f as the first-stage boot loader does",
        },
    ],
    clocks_in: &[ClockSpec { name: "ps-clk", required: true, doc: "PS_CLK pin, 33.333 MHz on most boards" }],
    clocks_out: &[
        clock("cpu-6x4x", "CPU clock"),
        clock("cpu-3x2x", "half the CPU clock: MPCore peripherals"),
        clock("cpu-2x", "interconnect"),
        clock("cpu-1x", "APB peripherals"),
        clock("ddr-2x", "DDR 2x"),
        clock("ddr-3x", "DDR 3x"),
        clock("uart-ref", "UARTs"),
        clock("sdio-ref", "SD controllers"),
        clock("spi-ref", "SPI controllers"),
        clock("can-ref", "CAN controllers"),
        clock("gem0-ref", "Ethernet 0"),
        clock("gem1-ref", "Ethernet 1"),
        clock("smc-ref", "static memory controller"),
        clock("lqspi-ref", "Quad-SPI"),
        clock("dci", "DDR impedance calibration"),
        clock("pcap", "configuration port"),
        clock("trace", "trace port"),
        clock("swdt", "system watchdog"),
        clock("fclk0", "PL clock 0"),
        clock("fclk1", "PL clock 1"),
        clock("fclk2", "PL clock 2"),
        clock("fclk3", "PL clock 3"),
    ],
    ..DeviceType::new("xlnx,zynq-slcr", "Zynq-7000 System Level Control Registers (UG585 B.28)", create)
};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    /// Power was on before: a reset is not that of power-on.
    powered: bool,
    /// Why the next reset is, in bits of REBOOT_STATUS; 0: somebody outside asks for it.
    reason: u32,
}

/// Why a reset was, in REBOOT_STATUS.
const REASONS: u32 = 0x007f_0000;

impl State {
    fn is_sound(&self) -> bool {
        self.regs.is_sound()
    }
}

struct Slcr {
    s: State,
    boot_mode: u32,
    ocm_cfg: u32,
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    let boot_mode = match props.text("boot-mode") {
        "qspi" => 1,
        "nor" => 2,
        "nand" => 4,
        "sd" => 5,
        _ => 0,
    };
    Ok(Box::new(Slcr { s: State::default(), boot_mode, ocm_cfg: props.int("ocm-cfg") as u32 }))
}

/// A field of a clock control register.
fn bits(value: u32, hi: u32, lo: u32) -> u64 {
    u64::from((value >> lo) & ((1 << (hi - lo + 1)) - 1))
}

fn divide(hz: u64, by: u64) -> u64 {
    // A divisor of 0 is not allowed; hardware behaves as if it were 1.
    hz / by.max(1)
}

impl Slcr {
    /// Frequency behind a PLL: bypassed, the input clock; in reset or powered down, nothing.
    fn pll(control: u32, input: u64) -> u64 {
        if control & (Regs::ARM_PLL_CTRL_RESET | Regs::ARM_PLL_CTRL_PWRDWN) != 0 && control & Regs::ARM_PLL_CTRL_BYPASS_FORCE == 0 {
            return 0;
        }
        if control & Regs::ARM_PLL_CTRL_BYPASS_FORCE != 0 { input } else { input.saturating_mul(bits(control, 18, 12)) }
    }

    fn recompute(&mut self, cx: &mut Cx<'_>) {
        let r = &self.s.regs;
        let input = cx.clock(0).0;
        let (arm, ddr, io) = (Self::pll(r.arm_pll_ctrl, input), Self::pll(r.ddr_pll_ctrl, input), Self::pll(r.io_pll_ctrl, input));
        // SRCSEL 0x: IO PLL, 10: ARM PLL, 11: DDR PLL; for the CPU 0x ARM, 10 DDR, 11 IO.
        let source = |value: u32| match bits(value, 5, 4) {
            2 => arm,
            3 => ddr,
            _ => io,
        };
        let cpu_source = match bits(r.arm_clk_ctrl, 5, 4) {
            2 => ddr,
            3 => io,
            _ => arm,
        };
        let cpu = divide(cpu_source, bits(r.arm_clk_ctrl, 13, 8));
        let six = r.clk_621_true & 1 != 0;
        let on = |value: u32, mask: u32, hz: u64| if value & mask != 0 { hz } else { 0 };
        let one = |value: u32, mask: u32| on(value, mask, divide(source(value), bits(value, 13, 8)));
        let two = |value: u32, mask: u32| on(value, mask, divide(divide(source(value), bits(value, 13, 8)), bits(value, 25, 20)));
        let (arm_clk, ddr_clk) = (r.arm_clk_ctrl, r.ddr_clk_ctrl);
        let cpu_1x = on(arm_clk, 1 << 27, divide(cpu, if six { 6 } else { 4 }));
        let all = [
            on(arm_clk, 1 << 24, cpu),
            on(arm_clk, 1 << 25, cpu / 2),
            on(arm_clk, 1 << 26, divide(cpu, if six { 3 } else { 2 })),
            cpu_1x,
            on(ddr_clk, 2, divide(ddr, bits(ddr_clk, 31, 26))),
            on(ddr_clk, 1, divide(ddr, bits(ddr_clk, 25, 20))),
            one(r.uart_clk_ctrl, 3),
            one(r.sdio_clk_ctrl, 3),
            one(r.spi_clk_ctrl, 3),
            two(r.can_clk_ctrl, 3),
            two(r.gem0_clk_ctrl, 1),
            two(r.gem1_clk_ctrl, 1),
            one(r.smc_clk_ctrl, 1),
            one(r.lqspi_clk_ctrl, 1),
            on(r.dci_clk_ctrl, 1, divide(divide(ddr, bits(r.dci_clk_ctrl, 13, 8)), bits(r.dci_clk_ctrl, 25, 20))),
            one(r.pcap_clk_ctrl, 1),
            // A clock that comes from a pin stands still, as nobody drives it.
            if r.dbg_clk_ctrl & 1 << 6 == 0 { one(r.dbg_clk_ctrl, 1) } else { 0 },
            if r.wdt_clk_sel & 1 == 0 { cpu_1x } else { 0 },
            two(r.fpga0_clk_ctrl, u32::MAX),
            two(r.fpga1_clk_ctrl, u32::MAX),
            two(r.fpga2_clk_ctrl, u32::MAX),
            two(r.fpga3_clk_ctrl, u32::MAX),
        ];
        for (port, hz) in all.into_iter().enumerate() {
            cx.set_clock(port, Hertz(hz));
        }
    }

    fn lines(&mut self, cx: &mut Cx<'_>) {
        let r = &self.s.regs;
        // How many lines, the register, and the first line's bits: one for each clock domain. The next line has the next bits.
        let all: [(u32, u32, &[u32]); 22] = [
            (2, r.a9_cpu_rst_ctrl, &[0]),
            (2, r.a9_cpu_rst_ctrl, &[4]),
            (2, r.uart_rst_ctrl, &[0, 2]),
            (2, r.sdio_rst_ctrl, &[0, 4]),
            (2, r.gem_rst_ctrl, &[0, 4, 6]),
            (2, r.usb_rst_ctrl, &[0]),
            (2, r.spi_rst_ctrl, &[0, 2]),
            (2, r.can_rst_ctrl, &[0, 2]),
            (2, r.i2c_rst_ctrl, &[0]),
            (1, r.gpio_rst_ctrl, &[0]),
            (1, r.lqspi_rst_ctrl, &[0, 1]),
            (1, r.smc_rst_ctrl, &[0, 1]),
            (1, r.dmac_rst_ctrl, &[0]),
            (1, r.ddr_rst_ctrl, &[0]),
            (1, r.ocm_rst_ctrl, &[0]),
            (1, r.topsw_rst_ctrl, &[0]),
            (1, r.a9_cpu_rst_ctrl, &[8]),
            (4, r.fpga_rst_ctrl, &[0]),
            (1, r.tz_dma_ns, &[0]),
            (16, r.tz_dma_irq_ns, &[0]),
            (4, r.tz_dma_periph_ns, &[0]),
            (4, r.ocm_cfg, &[0]),
        ];
        for (port, (lines, value, bits)) in all.into_iter().enumerate() {
            for i in 0..lines {
                cx.set_line(port, i, bits.iter().any(|bit| value >> (bit + i) & 1 != 0));
            }
        }
    }

    fn reset_system(&mut self, reason: u32, cx: &mut Cx<'_>) {
        self.s.reason = reason;
        cx.reset_system();
    }
}

impl Hooks for Slcr {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    fn lock(&mut self, _: u32, value: u32, _: &mut Cx<'_>) {
        if value & 0xffff == 0x767b {
            self.s.regs.slcr_locksta = 1;
        }
    }

    fn unlock(&mut self, _: u32, value: u32, _: &mut Cx<'_>) {
        if value & 0xffff == 0xdf0d {
            self.s.regs.slcr_locksta = 0;
        }
    }

    fn clocks(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.recompute(cx);
    }

    fn pin_clocks(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        if value & (1 << 6 | 1 << 22) != 0 {
            cx.unimplemented("CAN_MIOCLK_CTRL: CAN reference clocks from pins");
        }
    }

    fn system_reset(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        if value & 1 != 0 {
            self.reset_system(Regs::REBOOT_STATUS_SLC_RST, cx);
        }
    }

    fn peripheral_reset(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.lines(cx);
    }

    fn security(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.lines(cx);
    }

    fn ocm(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.lines(cx);
    }

    fn cpu_reset(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.lines(cx);
    }
}

impl Device for Slcr {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        let was = std::mem::take(&mut self.s);
        self.s.powered = true;
        // What is not the reason survives.
        self.s.regs.reboot_status = match (was.powered, was.reason) {
            (false, _) => Regs::REBOOT_STATUS_POR,
            (true, 0) => was.regs.reboot_status & !REASONS | Regs::REBOOT_STATUS_SRST_B,
            (true, reason) => was.regs.reboot_status & !REASONS | reason,
        };
        // The pins that choose the boot mode have no pull-up.
        self.s.regs.mio_pin[2..=8].fill(0x601);
        (self.s.regs.boot_mode, self.s.regs.ocm_cfg) = (self.boot_mode, self.ocm_cfg);
        self.recompute(cx);
        self.lines(cx);
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, _: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        regs::read(self, offset, size, cx)
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        regs::write(self, offset, size, value, cx)
    }

    fn line_changed(&mut self, port: usize, index: u32, level: bool, cx: &mut Cx<'_>) {
        let reason = match (port, index) {
            (0, _) => Regs::REBOOT_STATUS_SWDT_RST,
            (_, 0) => Regs::REBOOT_STATUS_AWDT0_RST,
            _ => Regs::REBOOT_STATUS_AWDT1_RST,
        };
        if !level {
        } else if port == 0 || self.s.regs.rs_awdt_ctrl >> (index & 1) & 1 == 0 {
            self.reset_system(reason, cx);
        } else {
            self.s.regs.reboot_status = self.s.regs.reboot_status & !REASONS | reason;
            cx.set_line(0, index & 1, true);
            self.lines(cx);
        }
    }

    fn clock_changed(&mut self, _: usize, _: Hertz, cx: &mut Cx<'_>) {
        self.recompute(cx);
    }

    crate::snapshot!(s);
}
