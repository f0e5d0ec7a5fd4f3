//! Xilinx SPI controller (PG153 AXI Quad SPI, standard mode; DS570 XPS SPI), as a master.
//!
//! Guest -> transmit FIFO -> shift register, at the rate of the bus clock and its divider, unless inhibited -> the part whose slave select is low, by hand or as long as there
//! are data -> receive FIFO -> guest. In loopback the transmitter is heard by the receiver, and no part is. What happened on the bus is made up for when somebody
//! looks; a timer is armed for the end of the data, and for the half of them if that interrupt is enabled.
//! Not modelled: slave mode and mode faults (nobody else drives the bus), dual and quad mode, execution in place, the bus error of a FIFO that is read empty or written full
//! (it is logged).

use super::{IDLE, nanos};
use emu_machine::device::{Cx, Device, Hertz, Nanos};
use emu_machine::parts::PartBus;
use emu_machine::schema::{ClockSpec, Count, DeviceType, PortSpec, PropKind, PropSpec, Props, RegionSpec, SlotSpec};
use emu_machine::{Access, BusError, Initiator};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

crate::regs!("xps_spi");

/// `xlnx,xps-spi`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x1_0000) }],
    props: &[
        PropSpec { name: "selects", kind: PropKind::Int { min: 1, max: 32 }, default: Some("1"), doc: "C_NUM_SS_BITS: slave selects" },
        PropSpec {
            name: "fifo",
            kind: PropKind::Int { min: 1, max: 256 },
            default: Some("16"),
            doc: "C_FIFO_DEPTH: words of each FIFO: 1, 16 or 256",
        },
        PropSpec {
            name: "bits",
            kind: PropKind::Int { min: 8, max: 32 },
            default: Some("8"),
            doc: "C_NUM_TRANSFER_BITS: bits of a word: 8, 16 or 32",
        },
        PropSpec {
            name: "ratio",
            kind: PropKind::Int { min: 2, max: 2048 },
            default: Some("32"),
            doc: "C_SCK_RATIO: bus clock to SPI clock",
        },
    ],
    outputs: &[PortSpec::one("irq", "interrupt")],
    clocks_in: &[ClockSpec { name: "clk", required: true, doc: "bus clock" }],
    slots: &[SlotSpec { name: "cs", bus: PartBus::Spi, first: 0, last: 31, doc: "the slave select" }],
    ..DeviceType::new("xlnx,xps-spi", "Xilinx SPI controller (PG153)", create)
};

const NEXT: u32 = 0;
/// What SRR wants.
const RESET: u32 = 0xa;
/// Words of the deepest FIFO.
const DEEPEST: usize = 256;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    tx: VecDeque<u32>,
    rx: VecDeque<u32>,
    /// The part whose slave select is low.
    selected: Option<u32>,
    /// When the word that is being shifted is through, ns.
    ends: Option<u64>,
}

impl State {
    fn is_sound(&self) -> bool {
        self.regs.is_sound() && self.tx.len() <= DEEPEST && self.rx.len() <= DEEPEST
    }
}

struct Spi {
    s: State,
    selects: u32,
    depth: usize,
    bits: u32,
    ratio: u64,
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    let (depth, bits) = (props.int("fifo") as usize, props.int("bits") as u32);
    if !matches!((depth, bits), (1 | 16 | 256, 8 | 16 | 32)) {
        return Err(format!("fifo={depth}, bits={bits}: FIFOs have 1, 16 or 256 words of 8, 16 or 32 bits"));
    }
    let (selects, ratio) = (props.int("selects") as u32, props.int("ratio") as u64);
    Ok(Box::new(Spi { s: State::default(), selects, depth, bits, ratio }))
}

impl Spi {
    fn on(&self) -> bool {
        let r = &self.s.regs;
        r.spicr_spe() && r.spicr_master() && !r.spicr_inhibit()
    }

    /// Brings the slave selects to what they are to be.
    fn select(&mut self, cx: &mut Cx<'_>) {
        let r = &self.s.regs;
        let named = Some(r.spissr.trailing_ones()).filter(|n| *n < self.selects && !r.spicr_loopback());
        let wanted = named.filter(|_| r.spicr_spe() && r.spicr_master() && (r.spicr_manual() || self.s.ends.is_some()));
        if wanted == self.s.selected {
            return;
        }
        if let Some(old) = std::mem::replace(&mut self.s.selected, wanted) {
            cx.spi(0, old, |part, cx| part.select(false, cx));
        }
        if let Some(new) = wanted {
            cx.spi(0, new, |part, cx| part.select(true, cx));
        }
    }

    fn word_time(&self, cx: &Cx<'_>) -> Option<u64> {
        nanos(u64::from(self.bits) * self.ratio, cx.clock(0).0)
    }

    /// A word goes out, and another comes in.
    fn shift(&self, word: u32, cx: &mut Cx<'_>) -> u32 {
        if self.s.regs.spicr_loopback() {
            return word;
        }
        let turned = |word: u32| if self.s.regs.spicr_lsb_first() { word.reverse_bits() >> (32 - self.bits) } else { word };
        let (out, mut answer) = (turned(word), 0u32);
        for byte in (0..self.bits).step_by(8).rev() {
            let out = (out >> byte) as u8;
            let byte = self.s.selected.and_then(|cs| cx.spi(0, cs, |part, cx| part.transfer(out, cx)));
            answer = answer << 8 | u32::from(byte.unwrap_or(IDLE));
        }
        turned(answer)
    }

    /// Begins to shift the next word at `at`, if there is one.
    fn begin(&mut self, at: u64, cx: &mut Cx<'_>) {
        if self.on() && self.s.ends.is_none() && !self.s.tx.is_empty() {
            self.s.ends = self.word_time(cx).map(|time| at.saturating_add(time));
        }
    }

    /// Does what has happened on the bus until now. Bounded by the FIFO, as nobody fills it meanwhile.
    fn catch_up(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now().0;
        while let Some(end) = self.s.ends.filter(|end| *end <= now) {
            self.s.ends = None;
            if let Some(word) = self.s.tx.pop_front() {
                let word = self.shift(word, cx);
                let status = &mut self.s.regs.ipisr;
                match self.s.rx.len() < self.depth {
                    true => self.s.rx.push_back(word),
                    false => *status |= Regs::IPISR_DRR_OVERRUN,
                }
                let events = [
                    (Regs::IPISR_DTR_EMPTY, self.s.tx.is_empty()),
                    (Regs::IPISR_TX_HALF_EMPTY, self.depth > 1 && self.s.tx.len() == self.depth / 2),
                    (Regs::IPISR_DRR_FULL, self.s.rx.len() == self.depth),
                ];
                *status |= events.iter().filter(|e| e.1).fold(0, |all, e| all | e.0);
            }
            self.begin(end, cx);
        }
        self.select(cx);
    }

    /// After anything: goes on, and says when to look again.
    fn update(&mut self, cx: &mut Cx<'_>) {
        self.s.regs.spissr &= u32::MAX >> (32 - self.selects);
        self.begin(cx.now().0, cx);
        self.select(cx);
        let r = &self.s.regs;
        cx.set_line(0, 0, r.dgier_enable() && r.ipisr & r.ipier != 0);
        let (words, half) = (self.s.tx.len(), self.depth / 2);
        let halved = r.ipier & Regs::IPISR_TX_HALF_EMPTY != 0 && words > half;
        let next = if halved { words - half } else { words } as u64;
        match (self.s.ends, self.word_time(cx)) {
            (Some(end), Some(time)) => cx.arm(NEXT, Nanos(end.saturating_add(next.saturating_sub(1).saturating_mul(time)))),
            _ => cx.disarm(NEXT),
        }
    }
}

impl Hooks for Spi {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    fn changed(&mut self, _: u32, _: u32, _: &mut Cx<'_>) {}

    fn toggle(&mut self, _: u32, value: u32, _: &mut Cx<'_>) {
        self.s.regs.ipisr ^= value & Regs::IPIER_ALL;
    }

    fn reset_all(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        match value {
            RESET => self.s = State { selected: self.s.selected, ..State::default() },
            _ => cx.guest_error("a software reset that is not 0xa"),
        }
    }

    fn control(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        if value & Regs::SPICR_TX_RESET != 0 {
            self.s.tx.clear();
            self.s.ends = None;
        }
        if value & Regs::SPICR_RX_RESET != 0 {
            self.s.rx.clear();
        }
        if value & (Regs::SPICR_SPE | Regs::SPICR_MASTER) == Regs::SPICR_SPE {
            cx.unimplemented("slave mode");
        }
        if !self.on() {
            // The word on the bus is lost to the part, not to the FIFO.
            self.s.ends = None;
        }
    }

    fn status(&mut self, _: &mut Cx<'_>) -> u32 {
        let (tx, rx) = (self.s.tx.len(), self.s.rx.len());
        let flags = [
            (Regs::SPISR_NOT_SELECTED, true),
            (Regs::SPISR_TX_FULL, tx == self.depth),
            (Regs::SPISR_TX_EMPTY, tx == 0),
            (Regs::SPISR_RX_FULL, rx == self.depth),
            (Regs::SPISR_RX_EMPTY, rx == 0),
        ];
        flags.iter().filter(|f| f.1).fold(0, |all, f| all | f.0)
    }

    fn transmit(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        match self.s.tx.len() < self.depth {
            true => self.s.tx.push_back(value & u32::MAX >> (32 - self.bits)),
            false => cx.guest_error("a word for the full transmit FIFO"),
        }
    }

    fn receive(&mut self, cx: &mut Cx<'_>) -> u32 {
        self.s.rx.pop_front().unwrap_or_else(|| {
            cx.guest_error("a read of the empty receive FIFO");
            0
        })
    }

    fn transmit_level(&mut self, _: &mut Cx<'_>) -> u32 {
        self.s.tx.len().saturating_sub(1) as u32
    }

    fn receive_level(&mut self, _: &mut Cx<'_>) -> u32 {
        self.s.rx.len().saturating_sub(1) as u32
    }
}

impl Device for Spi {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.s = State { selected: self.s.selected, ..State::default() };
        self.update(cx);
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, access: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        self.catch_up(cx);
        if access.initiator == Initiator::Debug && offset == Regs::SPIDRR {
            return Ok(self.s.rx.front().copied().unwrap_or(0).into());
        }
        let value = regs::read(self, offset, size, cx);
        self.update(cx);
        value
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        self.catch_up(cx);
        let result = regs::write(self, offset, size, value, cx);
        self.update(cx);
        result
    }

    fn clock_changed(&mut self, _: usize, _: Hertz, cx: &mut Cx<'_>) {
        self.catch_up(cx);
        self.update(cx);
    }

    fn timer_expired(&mut self, _: u32, cx: &mut Cx<'_>) {
        self.catch_up(cx);
        self.update(cx);
    }

    crate::snapshot!(s);
}
