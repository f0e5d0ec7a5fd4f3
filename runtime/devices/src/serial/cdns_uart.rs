//! Cadence UART (Zynq-7000 TRM UG585 ch. 19 and app. B.33).
//!
//! Guest -> host: FIFO write -> back end at once; while the transmitter is off or the back end full, bytes stay in the FIFO. Host -> guest: back end -> receive FIFO of 64 bytes, as long as there is room; what
//! does not fit waits in the back end, so nothing is lost. Interrupt: ISR & IMR. The line speed only sets the receiver timeout.
//! Not modelled: breaks, parity and framing errors, modem lines (held active), transmission time.

use emu_machine::device::{Cx, Device, Hertz, Nanos};
use emu_machine::schema::{ClockSpec, DeviceType, PortSpec, Props, RegionSpec};
use emu_machine::{Access, BusError, Initiator};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

crate::regs!("cdns_uart");

/// `cdns,uart`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: emu_machine::schema::Count::Fixed(0x1000) }],
    inputs: &[PortSpec::one("reset", "held in reset while high")],
    outputs: &[PortSpec::one("irq", "interrupt")],
    clocks_in: &[ClockSpec { name: "ref", required: true, doc: "UART_REF_CLK: baud rate" }],
    chardevs: &["serial"],
    ..DeviceType::new("cdns,uart", "Cadence UART (UG585 ch. 19)", create)
};

const FIFO: usize = 64;
const TIMEOUT: u32 = 0;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    rx: VecDeque<u8>,
    /// Waits for the transmitter to be switched on.
    tx: VecDeque<u8>,
    in_reset: bool,
}

impl State {
    fn is_sound(&self) -> bool {
        self.regs.is_sound() && self.rx.len() <= FIFO && self.tx.len() <= FIFO
    }
}

struct Uart {
    s: State,
}

fn create(_: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Uart { s: State::default() }))
}

impl Uart {
    fn rx_enabled(&self) -> bool {
        self.s.regs.cr & (Regs::CR_RXEN | Regs::CR_RXDIS) == Regs::CR_RXEN && !self.s.in_reset
    }

    fn tx_enabled(&self) -> bool {
        self.s.regs.cr & (Regs::CR_TXEN | Regs::CR_TXDIS) == Regs::CR_TXEN && !self.s.in_reset
    }

    fn mode(&self) -> u32 {
        self.s.regs.mr_chmode()
    }

    /// The FIFO-level bits that stand in the same place in SR and ISR: RTRIG, REMPTY, RFUL, TEMPTY, TFUL.
    fn levels_now(&self) -> u32 {
        let (rx, tx) = (self.s.rx.len(), self.s.tx.len());
        let trigger = self.s.regs.rxwm_rtrig() as usize;
        let flags = [
            (Regs::SR_RTRIG, trigger > 0 && rx >= trigger),
            (Regs::SR_REMPTY, rx == 0),
            (Regs::SR_RFUL, rx >= FIFO),
            (Regs::SR_TEMPTY, tx == 0),
            (Regs::SR_TFUL, tx >= FIFO),
        ];
        flags.iter().filter(|f| f.1).fold(0, |all, f| all | f.0)
    }

    /// Trigger level reached; nearly full: one place left.
    fn tx_trigger(&self) -> (bool, bool) {
        let n = self.s.tx.len();
        (n >= self.s.regs.txwm_ttrig() as usize, n == FIFO - 1)
    }

    fn update(&mut self, cx: &mut Cx<'_>) {
        let (trigger, nearly) = self.tx_trigger();
        self.s.regs.isr |= self.levels_now();
        self.s.regs.isr |= if trigger { Regs::ISR_TTRIG } else { 0 } | if nearly { Regs::ISR_TNFUL } else { 0 };
        cx.set_line(0, 0, self.s.regs.isr & self.s.regs.imr != 0);
    }

    /// Sends what the transmit FIFO holds, if the transmitter is on and somebody takes it.
    fn drain(&mut self, cx: &mut Cx<'_>) {
        while self.tx_enabled()
            && (self.mode() >= 2 || cx.can_send(0))
            && let Some(byte) = self.s.tx.pop_front()
        {
            match self.mode() {
                2 => self.receive(byte, cx),
                // In remote loopback the transmitter is cut off.
                3 => {}
                _ => cx.send(0, byte),
            }
        }
        self.update(cx);
    }

    /// Ten bit times for each unit of four in RXTOUT: counted in bit periods of the programmed rate.
    fn arm_timeout(&mut self, cx: &mut Cx<'_>) {
        let units = u64::from(self.s.regs.rxtout_rto());
        if units == 0 || self.s.rx.is_empty() {
            return cx.disarm(TIMEOUT);
        }
        let clock = cx.clock(0).0 / if self.s.regs.mr_clks() { 8 } else { 1 };
        let divisor = u64::from(self.s.regs.baudgen.max(1)) * (u64::from(self.s.regs.bdiv) + 1);
        let bit = (1_000_000_000u64.saturating_mul(divisor)).checked_div(clock.max(1)).unwrap_or(0).min(10_000_000);
        cx.arm(TIMEOUT, Nanos(cx.now().0.saturating_add(bit.saturating_mul(units * 4))));
    }

    fn receive(&mut self, byte: u8, cx: &mut Cx<'_>) {
        if self.s.rx.len() < FIFO {
            self.s.rx.push_back(byte);
        } else {
            self.s.regs.isr |= Regs::ISR_ROVR;
        }
        self.arm_timeout(cx);
    }

    /// Takes what waits in the back end, while there is room.
    fn fill(&mut self, cx: &mut Cx<'_>) {
        // In local loopback the receiver hears only the transmitter.
        while self.rx_enabled() && self.mode() != 2 && self.s.rx.len() < FIFO {
            let Some(byte) = cx.receive(0) else { break };
            match self.mode() {
                // Automatic echo: received bytes also go out. Remote loopback: only that.
                1 => {
                    cx.send(0, byte);
                    self.receive(byte, cx);
                }
                3 => cx.send(0, byte),
                _ => self.receive(byte, cx),
            }
        }
        self.update(cx);
    }
}

impl Hooks for Uart {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    fn control(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        if value & Regs::CR_RXRST != 0 {
            self.s.rx.clear();
        }
        if value & Regs::CR_RSTTO != 0 {
            self.arm_timeout(cx);
        }
        if value & Regs::CR_TXRST != 0 {
            self.s.tx.clear();
        }
        self.drain(cx);
        self.fill(cx);
    }

    fn interrupts(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.update(cx);
    }

    fn timeout(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.arm_timeout(cx);
    }

    fn levels(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.update(cx);
    }

    fn divider(&mut self, old: u32, value: u32, _: &mut Cx<'_>) {
        // 0 to 3 are ignored (UG585 B.33, Baud_rate_divider_reg0).
        if value & 0xff < 4 {
            self.s.regs.bdiv = old;
        }
    }

    fn status(&mut self, _: &mut Cx<'_>) -> u32 {
        let (trigger, nearly) = self.tx_trigger();
        self.levels_now() | if trigger { Regs::SR_TTRIG } else { 0 } | if nearly { Regs::SR_TNFUL } else { 0 }
    }

    fn pop(&mut self, cx: &mut Cx<'_>) -> u32 {
        let byte = self.s.rx.pop_front().unwrap_or(0);
        self.arm_timeout(cx);
        self.fill(cx);
        byte.into()
    }

    fn push(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        if self.s.tx.len() < FIFO {
            self.s.tx.push_back(value as u8);
        } else {
            self.s.regs.isr |= Regs::ISR_TOVR;
        }
        self.drain(cx);
    }
}

impl Device for Uart {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        let in_reset = self.s.in_reset;
        self.s = State { in_reset, ..State::default() };
        // The modem inputs are active: somebody is always there.
        self.s.regs.modemsr = Regs::MODEMSR_DCD | Regs::MODEMSR_DSR | Regs::MODEMSR_CTS;
        self.update(cx);
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, access: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        if access.initiator == Initiator::Debug && offset == Regs::FIFO {
            // A debugger looks without taking.
            return Ok(self.s.rx.front().copied().unwrap_or(0).into());
        }
        regs::read(self, offset, size, cx)
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        regs::write(self, offset, size, value, cx)
    }

    fn line_changed(&mut self, _: usize, _: u32, level: bool, cx: &mut Cx<'_>) {
        self.s.in_reset = level;
        if level {
            self.reset(cx);
        }
    }

    fn clock_changed(&mut self, _: usize, _: Hertz, _: &mut Cx<'_>) {}

    fn timer_expired(&mut self, _: u32, cx: &mut Cx<'_>) {
        self.s.regs.isr |= Regs::ISR_TIMEOUT;
        self.update(cx);
    }

    fn output_ready(&mut self, _: usize, cx: &mut Cx<'_>) {
        self.drain(cx);
    }

    fn input_ready(&mut self, _: usize, cx: &mut Cx<'_>) {
        self.fill(cx);
    }

    crate::snapshot!(s);
}
