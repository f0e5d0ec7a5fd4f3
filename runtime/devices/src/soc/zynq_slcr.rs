//! Zynq-7000 System Level Control Registers (UG585 ch. 25 clocks, ch. 26 resets, app. B.28).
//!
//! PS_CLK -> PLLs -> dividers -> clock outputs, recomputed at every write; reset registers -> reset and clock-stop lines of the
//! CPUs, or a reset of the whole machine. Writes need the unlock key. Not modelled: gating of the AMBA peripheral clocks, peripheral
//! resets other than the UARTs', MIO multiplexing, OCM remapping (OCM_CFG is kept, the map does not change; said once).

use emu_machine::device::{Cx, Device, Hertz};
use emu_machine::schema::{ClockSpec, Count, DeviceType, PortSpec, Props, RegionSpec};
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
    outputs: &[
        PortSpec::many("cpu-reset", 2, "A9_RST0, A9_RST1: the CPU is held in reset while high"),
        PortSpec::many("cpu-stop", 2, "A9_CLKSTOP0, A9_CLKSTOP1: the CPU's clock stands still while high"),
        PortSpec::many("uart-reset", 2, "UART_RST_CTRL: resets of the UARTs"),
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
        clock("pcap", "configuration port"),
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
}

impl State {
    fn is_sound(&self) -> bool {
        self.regs.is_sound()
    }
}

struct Slcr {
    s: State,
}

fn create(_: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Slcr { s: State::default() }))
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
        let all = [
            cpu,
            cpu / 2,
            divide(cpu, if six { 3 } else { 2 }),
            divide(cpu, if six { 6 } else { 4 }),
            divide(ddr, bits(r.ddr_clk_ctrl, 31, 26)),
            divide(ddr, bits(r.ddr_clk_ctrl, 25, 20)),
            one(r.uart_clk_ctrl, 3),
            one(r.sdio_clk_ctrl, 3),
            one(r.spi_clk_ctrl, 3),
            two(r.can_clk_ctrl, 3),
            two(r.gem0_clk_ctrl, 1),
            two(r.gem1_clk_ctrl, 1),
            one(r.smc_clk_ctrl, 1),
            one(r.lqspi_clk_ctrl, 1),
            one(r.pcap_clk_ctrl, 1),
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
        let (cpu, uart) = (self.s.regs.a9_cpu_rst_ctrl, self.s.regs.uart_rst_ctrl);
        for i in 0..2 {
            cx.set_line(0, i, cpu >> i & 1 != 0);
            cx.set_line(1, i, cpu >> (4 + i) & 1 != 0);
            // Either of the reference and the bus clock domain.
            cx.set_line(2, i, (uart | uart >> 2) >> i & 1 != 0);
        }
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

    fn system_reset(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        if value & 1 != 0 {
            // SLC_RST: the reason survives the reset.
            self.s.regs.reboot_status |= 1 << 19;
            cx.reset_system();
        }
    }

    fn uart_reset(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.lines(cx);
    }

    fn ocm(&mut self, old: u32, _: u32, cx: &mut Cx<'_>) {
        if self.s.regs.ocm_cfg != old {
            cx.unimplemented("OCM_CFG: the on-chip memory stays where it is");
        }
    }

    fn cpu_reset(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.lines(cx);
    }
}

impl Device for Slcr {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        let reboot_status = self.s.regs.reboot_status;
        self.s = State::default();
        self.s.regs.reboot_status = reboot_status;
        self.recompute(cx);
        self.lines(cx);
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, _: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        regs::read(self, offset, size, cx)
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        regs::write(self, offset, size, value, cx)
    }

    fn clock_changed(&mut self, _: usize, _: Hertz, cx: &mut Cx<'_>) {
        self.recompute(cx);
    }

    crate::snapshot!(s);
}
