//! 16550A UART (National Semiconductor PC16550D data sheet; also AXI UART 16550, PG143).
//!
//! Guest -> host: transmitter holding register or FIFO -> back end at once, or when it has room. Host -> guest: back end -> receive FIFO of 16 bytes, as long as there is room;
//! what does not fit waits in the back end, so nothing is lost. Interrupt: the best of the enabled sources. Registers are bytes, spread evenly over the window, and two
//! of them change with LCR.DLAB, so the map is code here, not KDL. The line speed only sets the character timeout. Not modelled: breaks, parity and framing
//! errors, transmission time, DMA modes, gating of the interrupt by OUT2.

use emu_machine::device::{Cx, Device, Hertz, Nanos};
use emu_machine::schema::{ClockSpec, Count, DeviceType, PortSpec, PropKind, PropSpec, Props, RegionSpec};
use emu_machine::{Access, BusError, Initiator};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// `ns16550a`.
pub const TYPE: DeviceType = DeviceType {
    regions: &[RegionSpec { name: "regs", size: Count::Prop("window") }],
    props: &[PropSpec {
        name: "window",
        kind: PropKind::Int { min: 8, max: 64 },
        default: Some("8"),
        doc: "bytes the eight registers take: 8, 16, 32 or 64",
    }],
    outputs: &[PortSpec::one("irq", "interrupt")],
    clocks_in: &[ClockSpec { name: "clk", required: true, doc: "16 times the highest baud rate" }],
    chardevs: &["serial"],
    ..DeviceType::new("ns16550a", "16550A UART (PC16550D)", create)
};

const FIFO: usize = 16;
const TIMEOUT: u32 = 0;

// Register numbers.
const DATA: u64 = 0;
const IER: u64 = 1;
const IIR_FCR: u64 = 2;
const LCR: u64 = 3;
const MCR: u64 = 4;
const LSR: u64 = 5;
const MSR: u64 = 6;
const SCR: u64 = 7;

const IER_RECEIVED: u8 = 1;
const IER_EMPTY: u8 = 2;
const IER_LINE: u8 = 4;
const IER_MODEM: u8 = 8;
const FCR_ENABLE: u8 = 1;
const FCR_CLEAR_RX: u8 = 2;
const FCR_CLEAR_TX: u8 = 4;
const LCR_DLAB: u8 = 0x80;
const MCR_LOOP: u8 = 0x10;
const LSR_READY: u8 = 1;
const LSR_OVERRUN: u8 = 2;
/// Transmitter holding register and transmitter empty.
const LSR_EMPTY: u8 = 0x60;
// IIR: interrupt identifications, in order of priority.
const ID_LINE: u8 = 6;
const ID_RECEIVED: u8 = 4;
const ID_TIMEOUT: u8 = 0xc;
const ID_EMPTY: u8 = 2;
const ID_MODEM: u8 = 0;
const ID_NONE: u8 = 1;
/// Somebody is always there: CTS, DSR, DCD.
const MODEM: u8 = 0xb0;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    ier: u8,
    fcr: u8,
    lcr: u8,
    mcr: u8,
    /// LSR's error bits.
    errors: u8,
    /// MSR's delta bits.
    deltas: u8,
    scr: u8,
    divisor: u16,
    rx: VecDeque<u8>,
    /// Waits for room in the back end.
    tx: VecDeque<u8>,
    /// The transmitter became empty and nobody was told yet.
    emptied: bool,
    /// Bytes below the trigger level waited for four characters' time.
    timeout: bool,
}

impl State {
    fn is_sound(&self) -> bool {
        self.rx.len() <= FIFO && self.tx.len() <= FIFO
    }
}

struct Uart {
    s: State,
    /// Bytes from one register to the next.
    stride: u64,
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    let window = props.int("window") as u64;
    if !window.is_power_of_two() {
        return Err(format!("window={window}: eight registers take 8, 16, 32 or 64 bytes"));
    }
    Ok(Box::new(Uart { s: State::default(), stride: window / 8 }))
}

impl Uart {
    fn fifos(&self) -> bool {
        self.s.fcr & FCR_ENABLE != 0
    }

    fn loops(&self) -> bool {
        self.s.mcr & MCR_LOOP != 0
    }

    fn trigger(&self) -> usize {
        if self.fifos() { [1, 4, 8, 14][usize::from(self.s.fcr >> 6)] } else { 1 }
    }

    fn modem(&self) -> u8 {
        let m = self.s.mcr;
        // In loopback RTS, DTR, OUT1, OUT2 come back as CTS, DSR, RI, DCD.
        if self.loops() { (m & 2) << 3 | (m & 1) << 5 | (m & 4) << 4 | (m & 8) << 4 } else { MODEM }
    }

    fn identification(&self) -> u8 {
        let s = &self.s;
        if s.ier & IER_LINE != 0 && s.errors != 0 {
            ID_LINE
        } else if s.ier & IER_RECEIVED != 0 && s.rx.len() >= self.trigger() {
            ID_RECEIVED
        } else if s.ier & IER_RECEIVED != 0 && s.timeout {
            ID_TIMEOUT
        } else if s.ier & IER_EMPTY != 0 && s.emptied {
            ID_EMPTY
        } else if s.ier & IER_MODEM != 0 && s.deltas != 0 {
            ID_MODEM
        } else {
            ID_NONE
        }
    }

    fn line_status(&self) -> u8 {
        if self.s.tx.is_empty() { LSR_EMPTY } else { 0 }
    }

    /// Sends what somebody takes.
    fn drain(&mut self, cx: &mut Cx<'_>) {
        while cx.can_send(0)
            && let Some(byte) = self.s.tx.pop_front()
        {
            cx.send(0, byte);
        }
        self.s.emptied |= self.s.tx.is_empty();
    }

    fn update(&self, cx: &mut Cx<'_>) {
        cx.set_line(0, 0, self.identification() != ID_NONE);
    }

    /// Four characters' time from now, if bytes wait below the trigger level.
    fn arm_timeout(&mut self, cx: &mut Cx<'_>) {
        self.s.timeout = false;
        if !self.fifos() || self.s.rx.is_empty() {
            return cx.disarm(TIMEOUT);
        }
        let bits = 7 + u64::from(self.s.lcr & 3) + u64::from(self.s.lcr >> 2 & 1) + u64::from(self.s.lcr >> 3 & 1);
        let bit = 16_000_000_000u64.saturating_mul(self.s.divisor.max(1).into()).checked_div(cx.clock(0).0).unwrap_or(0);
        cx.arm(TIMEOUT, Nanos(cx.now().0.saturating_add(bit.min(10_000_000) * bits * 4)));
    }

    fn receive(&mut self, byte: u8, cx: &mut Cx<'_>) {
        if self.s.rx.len() < if self.fifos() { FIFO } else { 1 } {
            self.s.rx.push_back(byte);
        } else {
            self.s.errors |= LSR_OVERRUN;
        }
        self.arm_timeout(cx);
    }

    /// Takes what waits in the back end, while there is room. In loopback the receiver hears only the transmitter.
    fn fill(&mut self, cx: &mut Cx<'_>) {
        while !self.loops()
            && self.s.rx.len() < if self.fifos() { FIFO } else { 1 }
            && let Some(byte) = cx.receive(0)
        {
            self.receive(byte, cx);
        }
        self.update(cx);
    }

    fn get(&mut self, register: u64, cx: &mut Cx<'_>) -> u8 {
        match register {
            DATA if self.s.lcr & LCR_DLAB != 0 => self.s.divisor as u8,
            DATA => {
                let byte = self.s.rx.pop_front().unwrap_or(0);
                self.arm_timeout(cx);
                self.fill(cx);
                byte
            }
            IER if self.s.lcr & LCR_DLAB != 0 => (self.s.divisor >> 8) as u8,
            IER => self.s.ier,
            IIR_FCR => {
                let id = self.identification();
                if id == ID_EMPTY {
                    self.s.emptied = false;
                    self.update(cx);
                }
                id | if self.fifos() { 0xc0 } else { 0 }
            }
            LCR => self.s.lcr,
            MCR => self.s.mcr,
            LSR => {
                let errors = std::mem::take(&mut self.s.errors);
                self.update(cx);
                self.line_status() | errors | if self.s.rx.is_empty() { 0 } else { LSR_READY }
            }
            MSR => {
                let deltas = std::mem::take(&mut self.s.deltas);
                self.update(cx);
                self.modem() | deltas
            }
            _ => self.s.scr,
        }
    }

    fn set(&mut self, register: u64, value: u8, cx: &mut Cx<'_>) {
        match register {
            DATA if self.s.lcr & LCR_DLAB != 0 => self.s.divisor = self.s.divisor & 0xff00 | u16::from(value),
            DATA => {
                if self.loops() {
                    self.receive(value, cx);
                } else {
                    // One that comes too early takes the place of the last.
                    if self.s.tx.len() == if self.fifos() { FIFO } else { 1 } {
                        self.s.tx.pop_back();
                    }
                    self.s.tx.push_back(value);
                }
                self.s.emptied = false;
                self.drain(cx);
            }
            IER if self.s.lcr & LCR_DLAB != 0 => self.s.divisor = self.s.divisor & 0xff | u16::from(value) << 8,
            IER => {
                // Enabling the interrupt of an empty transmitter raises it.
                self.s.emptied |= value & !self.s.ier & IER_EMPTY != 0 && self.s.tx.is_empty();
                self.s.ier = value & 0xf;
            }
            IIR_FCR => {
                if value & FCR_CLEAR_RX != 0 || (value ^ self.s.fcr) & FCR_ENABLE != 0 {
                    self.s.rx.clear();
                }
                if value & FCR_CLEAR_TX != 0 || (value ^ self.s.fcr) & FCR_ENABLE != 0 {
                    self.s.tx.clear();
                    self.drain(cx);
                }
                // The other bits are taken only together with the enable.
                self.s.fcr = if value & FCR_ENABLE != 0 { value & 0xc9 } else { 0 };
                self.arm_timeout(cx);
                self.fill(cx);
            }
            LCR => self.s.lcr = value,
            MCR => {
                let before = self.modem();
                self.s.mcr = value & 0x1f;
                let changed = before ^ self.modem();
                // RI only tells its falling edge.
                let fell = before & !self.modem() & 0x40;
                self.s.deltas |= (changed & 0xb0 | fell) >> 4;
                self.fill(cx);
            }
            SCR => self.s.scr = value,
            _ => {}
        }
        self.update(cx);
    }
}

impl Device for Uart {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.s = State { emptied: true, ..State::default() };
        self.update(cx);
    }

    fn read(&mut self, _: usize, offset: u64, _: u8, access: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        let register = offset / self.stride;
        if !offset.is_multiple_of(self.stride) {
            return Ok(0);
        }
        if access.initiator == Initiator::Debug {
            // A debugger looks without taking.
            let shown = match register {
                DATA if self.s.lcr & LCR_DLAB == 0 => self.s.rx.front().copied().unwrap_or(0),
                IIR_FCR => self.identification(),
                LSR => self.line_status() | self.s.errors | u8::from(!self.s.rx.is_empty()),
                MSR => self.modem() | self.s.deltas,
                other => self.get(other, cx),
            };
            return Ok(shown.into());
        }
        Ok(self.get(register, cx).into())
    }

    fn write(&mut self, _: usize, offset: u64, _: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        if offset.is_multiple_of(self.stride) {
            self.set(offset / self.stride, value as u8, cx);
        }
        Ok(())
    }

    fn clock_changed(&mut self, _: usize, _: Hertz, _: &mut Cx<'_>) {}

    fn timer_expired(&mut self, _: u32, cx: &mut Cx<'_>) {
        self.s.timeout = !self.s.rx.is_empty();
        self.update(cx);
    }

    fn output_ready(&mut self, _: usize, cx: &mut Cx<'_>) {
        if !self.s.tx.is_empty() {
            self.drain(cx);
            self.update(cx);
        }
    }

    fn input_ready(&mut self, _: usize, cx: &mut Cx<'_>) {
        self.fill(cx);
    }

    crate::snapshot!(s);
}
