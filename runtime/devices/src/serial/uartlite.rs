//! Xilinx UART Lite (PG142 AXI UART Lite; DS571 XPS UART Lite).
//!
//! Guest -> host: transmit FIFO of 16 bytes -> back end at once, or when it has room. Host -> guest: back end -> receive FIFO of 16 bytes, as long as there is room; what does not fit
//! waits in the back end, so nothing is lost. Interrupt: a pulse when the receive FIFO gets its first byte, and when the transmit FIFO has become
//! empty. The line speed is fixed in the hardware and has no effect. Not modelled: parity, framing and overrun errors, transmission time.

use emu_machine::device::{Cx, Device};
use emu_machine::schema::{Count, DeviceType, PortSpec, Props, RegionSpec};
use emu_machine::{Access, BusError, Initiator};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

crate::regs!("uartlite");

/// `xlnx,uartlite`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x1_0000) }],
    outputs: &[PortSpec::one("irq", "interrupt, a pulse")],
    chardevs: &["serial"],
    ..DeviceType::new("xlnx,uartlite", "Xilinx UART Lite (PG142)", create)
};

const FIFO: usize = 16;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    rx: VecDeque<u8>,
    /// Waits for room in the back end.
    tx: VecDeque<u8>,
    interrupts: bool,
}

impl State {
    fn is_sound(&self) -> bool {
        self.rx.len() <= FIFO && self.tx.len() <= FIFO
    }
}

struct Uart {
    s: State,
}

fn create(_: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Uart { s: State::default() }))
}

impl Uart {
    fn pulse(&self, cx: &mut Cx<'_>) {
        if self.s.interrupts {
            cx.set_line(0, 0, true);
            cx.set_line(0, 0, false);
        }
    }

    /// Sends what somebody takes.
    fn drain(&mut self, cx: &mut Cx<'_>) {
        let waited = !self.s.tx.is_empty();
        while cx.can_send(0)
            && let Some(byte) = self.s.tx.pop_front()
        {
            cx.send(0, byte);
        }
        if waited && self.s.tx.is_empty() {
            self.pulse(cx);
        }
    }

    /// Takes what waits in the back end, while there is room.
    fn fill(&mut self, cx: &mut Cx<'_>) {
        let was_empty = self.s.rx.is_empty();
        while self.s.rx.len() < FIFO
            && let Some(byte) = cx.receive(0)
        {
            self.s.rx.push_back(byte);
        }
        if was_empty && !self.s.rx.is_empty() {
            self.pulse(cx);
        }
    }
}

impl Hooks for Uart {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    fn pop(&mut self, cx: &mut Cx<'_>) -> u32 {
        let byte = self.s.rx.pop_front().unwrap_or(0);
        self.fill(cx);
        byte.into()
    }

    fn push(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        if self.s.tx.len() < FIFO {
            self.s.tx.push_back(value as u8);
        }
        self.drain(cx);
    }

    fn status(&mut self, _: &mut Cx<'_>) -> u32 {
        let flags = [
            (Regs::STAT_RXVALID, !self.s.rx.is_empty()),
            (Regs::STAT_RXFULL, self.s.rx.len() == FIFO),
            (Regs::STAT_TXFULL, self.s.tx.len() == FIFO),
            (Regs::STAT_TXEMPTY, self.s.tx.is_empty()),
            (Regs::STAT_IE, self.s.interrupts),
        ];
        flags.iter().filter(|f| f.1).fold(0, |all, f| all | f.0)
    }

    fn control(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        self.s.interrupts = value & Regs::CTRL_IE != 0;
        if value & Regs::CTRL_RST_RX != 0 {
            self.s.rx.clear();
        }
        if value & Regs::CTRL_RST_TX != 0 && !self.s.tx.is_empty() {
            self.s.tx.clear();
            self.pulse(cx);
        }
        self.fill(cx);
    }
}

impl Device for Uart {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.s = State::default();
        cx.set_line(0, 0, false);
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, access: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        if access.initiator == Initiator::Debug && offset == Regs::RX_FIFO {
            // A debugger looks without taking.
            return Ok(self.s.rx.front().copied().unwrap_or(0).into());
        }
        regs::read(self, offset, size, cx)
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        regs::write(self, offset, size, value, cx)
    }

    fn output_ready(&mut self, _: usize, cx: &mut Cx<'_>) {
        self.drain(cx);
    }

    fn input_ready(&mut self, _: usize, cx: &mut Cx<'_>) {
        self.fill(cx);
    }

    crate::snapshot!(s);
}
