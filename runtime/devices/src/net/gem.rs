//! Cadence Gigabit Ethernet MAC, as in the Zynq-7000 (UG585 ch. 16 and app. B.18), with the PHY behind its management port.
//!
//! Out: TX_START -> descriptors and buffers by DMA ([`transmit`]) -> checksums -> the wire, or back in loopback. In: frames that wait at the
//! port -> filters, checks, checksums ([`receive`]) -> buffers by DMA; without a buffer the frame is held and the others wait outside, so none
//! is lost. Events that are not masked -> INTR_STATUS -> interrupt line, until they are cleared. Work in one call is bounded: a long list of
//! descriptors goes on by a timer, and a list that was emptied is not looked at again for a while, so that a stream of frames goes in groups, with an
//! interrupt each. Not modelled: half duplex (collisions), time on the wire, priority-based pause, PCS and SGMII, the external
//! address match, the interrupt for a new second of the 1588 timer.

use crate::net::ethernet;
use crate::net::phy::Phy;
use emu_machine::device::{Cx, Device, Hertz, Nanos};
use emu_machine::schema::{ClockSpec, Count, DeviceType, PortSpec, PropKind, PropSpec, Props, RegionSpec};
use emu_machine::{Access, BusError, GuestPhys, Initiator};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};

mod receive;
mod stats;
mod timestamp;
mod transmit;

crate::regs!("gem");

/// `cdns,gem`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x1000) }],
    props: &[
        PropSpec {
            name: "mac",
            kind: PropKind::Text,
            default: Some("52:54:00:12:34:56"),
            doc: "specific address 1 after reset, as a boot loader leaves it",
        },
        PropSpec { name: "phy-addr", kind: PropKind::Int { min: 0, max: 31 }, default: Some("7"), doc: "the PHY's address" },
    ],
    inputs: &[PortSpec::one("reset", "held in reset while high")],
    outputs: &[
        PortSpec::one("irq", "interrupt"),
        PortSpec::one("wake", "a pulse for each wake-on-LAN event"),
        PortSpec::one("phy-irq", "the PHY's interrupt"),
    ],
    clocks_in: &[
        ClockSpec { name: "pclk", required: true, doc: "registers, DMA, 1588 timer" },
        ClockSpec { name: "tx", required: true, doc: "transmitter: nothing is sent while it stands still" },
    ],
    nics: &["net"],
    dma: true,
    ..DeviceType::new("cdns,gem", "Cadence Gigabit Ethernet MAC with a Marvell PHY (UG585 ch. 16)", create)
};

/// More descriptors are transmitted.
const TIMER_TX: u32 = 0;
/// A received pause is over.
const TIMER_PAUSE: u32 = 1;
/// Perhaps there is a receive buffer now.
const TIMER_RX: u32 = 2;

/// Longest frame that memory is taken for: what a length field of 14 bits can say.
const LONGEST: usize = 0x3fff;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    phy: Phy,
    /// Current descriptors.
    rx_at: u32,
    tx_at: u32,
    /// Which specific addresses are compared.
    compared: [bool; 4],
    /// Frames are not sent before that; 0: no pause.
    pause_until: Nanos,
    /// The transmitter looks at its list again then, at the earliest.
    tx_rests_until: Nanos,
    /// A frame without a buffer.
    held: Option<receive::Held>,
    /// When to look for a buffer again, ns from the last look.
    patience: u64,
    timer: timestamp::Timer,
    in_reset: bool,
}

impl State {
    fn is_sound(&self) -> bool {
        self.regs.is_sound() && self.phy.is_sound() && self.timer.is_sound() && self.held.as_ref().is_none_or(receive::Held::is_sound)
    }
}

struct Gem {
    s: State,
    mac: [u8; 6],
    phy_address: u32,
    /// The frame that is being sent; empty between calls.
    frame: Vec<u8>,
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    let mac = ethernet::station(props.text("mac"))?;
    Ok(Box::new(Gem { s: State::default(), mac, phy_address: props.int("phy-addr") as u32, frame: Vec::new() }))
}

/// A descriptor: two words.
type Descriptor = [u32; 2];

impl Gem {
    /// Something happened: the interrupt status says so if it is not masked.
    fn event(&mut self, bits: u32) {
        self.s.regs.intr_status |= bits & !self.s.regs.intr_mask;
    }

    fn lines(&mut self, cx: &mut Cx<'_>) {
        cx.set_line(0, 0, self.s.regs.intr_status != 0);
        cx.set_line(2, 0, self.s.phy.interrupt());
    }

    fn read_descriptor(&self, at: u32, cx: &mut Cx<'_>) -> Result<Descriptor, BusError> {
        let mut bytes = [0; 8];
        cx.dma_read(GuestPhys(at.into()), &mut bytes)?;
        let word = |i: usize| {
            let word = u32::from_le_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
            if self.s.regs.dma_cfg_swap_descriptors() { word.swap_bytes() } else { word }
        };
        Ok([word(0), word(4)])
    }

    fn write_word(&self, at: u32, value: u32, cx: &mut Cx<'_>) -> Result<(), BusError> {
        let value = if self.s.regs.dma_cfg_swap_descriptors() { value.swap_bytes() } else { value };
        cx.dma_write(GuestPhys(at.into()), &value.to_le_bytes())
    }

    /// The words of memory that hold these bytes: where they begin, and how many bytes there are.
    fn covering(at: u32, len: usize) -> (GuestPhys, usize, usize) {
        let skip = (at & 3) as usize;
        (GuestPhys(u64::from(at & !3)), skip, (skip + len).next_multiple_of(4))
    }

    /// Reads `len` bytes of a buffer to the end of `to`.
    fn read_data(&self, at: u32, len: usize, to: &mut Vec<u8>, cx: &mut Cx<'_>) -> Result<(), BusError> {
        let from = to.len();
        if !self.s.regs.dma_cfg_swap_data() {
            to.resize(from + len, 0);
            return cx.dma_read(GuestPhys(at.into()), &mut to[from..]);
        }
        let (start, skip, size) = Gem::covering(at, len);
        let mut words = vec![0; size];
        cx.dma_read(start, &mut words)?;
        words.chunks_exact_mut(4).for_each(<[u8]>::reverse);
        to.extend(&words[skip..skip + len]);
        Ok(())
    }

    fn write_data(&self, at: u32, bytes: &[u8], cx: &mut Cx<'_>) -> Result<(), BusError> {
        if !self.s.regs.dma_cfg_swap_data() {
            return cx.dma_write(GuestPhys(at.into()), bytes);
        }
        let (start, skip, size) = Gem::covering(at, bytes.len());
        let mut words = vec![0; size];
        cx.dma_read(start, &mut words)?;
        words.chunks_exact_mut(4).for_each(<[u8]>::reverse);
        words[skip..skip + bytes.len()].copy_from_slice(bytes);
        words.chunks_exact_mut(4).for_each(<[u8]>::reverse);
        cx.dma_write(start, &words)
    }

    /// Nanoseconds of a pause quantum: 512 bit times.
    fn quantum(&self) -> u64 {
        match (self.s.regs.net_cfg_gigabit(), self.s.regs.net_cfg_speed_100()) {
            (true, _) => 512,
            (_, true) => 5_120,
            _ => 51_200,
        }
    }

    /// What other than registers follows from a reset or a new state of the cable.
    fn settle(&mut self, cx: &mut Cx<'_>) {
        self.s.phy.plug(cx.link(0));
        self.lines(cx);
    }
}

impl Hooks for Gem {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    fn control(&mut self, old: u32, value: u32, cx: &mut Cx<'_>) {
        if value & Regs::NET_CTRL_STAT_CLEAR != 0 {
            self.s.regs.statistics.fill(0);
        }
        if value & Regs::NET_CTRL_STAT_INCREMENT != 0 {
            (0..self.s.regs.statistics.len()).for_each(|i| self.count(i, 1));
        }
        if value & (Regs::NET_CTRL_TX_PFC | Regs::NET_CTRL_RX_PFC) != 0 {
            cx.unimplemented("priority-based pause");
        }
        if !self.s.regs.net_ctrl_rx_en() && self.s.held.as_ref().is_some_and(receive::Held::is_begun)
            || value & Regs::NET_CTRL_FLUSH_RX != 0
        {
            self.s.held = None;
        }
        if !self.s.regs.net_ctrl_tx_en() {
            self.s.tx_at = self.s.regs.tx_qbar;
            self.s.regs.tx_status &= !Regs::TX_STATUS_GO;
            self.s.tx_rests_until = Nanos(0);
        } else {
            if value & (Regs::NET_CTRL_TX_PAUSE | Regs::NET_CTRL_TX_ZERO_PAUSE) != 0 {
                let zero = value & Regs::NET_CTRL_TX_PAUSE == 0;
                self.send_pause(if zero { 0 } else { self.s.regs.tx_pauseq as u16 }, cx);
            }
            if value & Regs::NET_CTRL_TX_START != 0 {
                self.s.regs.tx_status |= Regs::TX_STATUS_GO;
            }
            if value & Regs::NET_CTRL_TX_HALT != 0 {
                self.s.regs.tx_status &= !Regs::TX_STATUS_GO;
            }
            self.transmit(cx);
        }
        if self.s.regs.net_ctrl_rx_en() && (old & Regs::NET_CTRL_RX_EN == 0 || self.s.held.is_some()) {
            self.receive(cx);
        }
        self.lines(cx);
    }

    fn config(&mut self, old: u32, _: u32, cx: &mut Cx<'_>) {
        let changed = old ^ self.s.regs.net_cfg;
        if changed & self.s.regs.net_cfg & (Regs::NET_CFG_PCS | Regs::NET_CFG_SGMII | Regs::NET_CFG_EXT_MATCH) != 0 {
            cx.unimplemented("PCS, SGMII, external address match");
        }
    }

    fn rx_pointer(&mut self, _: &mut Cx<'_>) -> u32 {
        self.s.rx_at
    }

    fn rx_base(&mut self, old: u32, _: u32, cx: &mut Cx<'_>) {
        if self.s.regs.net_ctrl_rx_en() {
            self.s.regs.rx_qbar = old;
            cx.guest_error("RX_QBAR was written while the receiver was on");
        } else {
            self.s.rx_at = self.s.regs.rx_qbar;
        }
    }

    fn tx_pointer(&mut self, _: &mut Cx<'_>) -> u32 {
        self.s.tx_at
    }

    fn tx_base(&mut self, old: u32, _: u32, cx: &mut Cx<'_>) {
        if self.s.regs.tx_status_go() {
            self.s.regs.tx_qbar = old;
            cx.guest_error("TX_QBAR was written during transmission");
        } else {
            self.s.tx_at = self.s.regs.tx_qbar;
        }
    }

    fn rx_status(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.resume(cx);
    }

    fn interrupts(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.resume(cx);
        self.lines(cx);
    }

    fn test_interrupts(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        self.s.regs.intr_status = value & 0x07ff_ffff;
        self.lines(cx);
    }

    /// An operation on the management bus: done at once.
    fn mdio(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        const READ: u32 = 2;
        const WRITE: u32 = 1;
        let r = &mut self.s.regs;
        let (operation, register) = (r.phy_maint_operation(), r.phy_maint_register() as u8);
        // An operation of clause 45 says nothing to this PHY; nobody drives the bus if it is not asked.
        let asked = r.net_ctrl_mdio() && r.phy_maint_clause_22() == 1 && r.phy_maint_phy() == self.phy_address;
        if operation == READ {
            let data = if asked { self.s.phy.read(register, false) } else { 0xffff };
            r.phy_maint = value & !Regs::PHY_MAINT_DATA | u32::from(data);
        } else if operation == WRITE && asked {
            self.s.phy.write(register, value as u16);
        }
        self.event(Regs::INTR_STATUS_MDIO);
        self.lines(cx);
    }

    fn pause_left(&mut self, cx: &mut Cx<'_>) -> u32 {
        if self.s.pause_until == Nanos(0) {
            return 0;
        }
        let left = self.s.pause_until.0.saturating_sub(cx.now().0).div_ceil(self.quantum());
        left.min(0xffff) as u32
    }

    fn address_low(&mut self, index: usize, _: u32, _: u32, _: &mut Cx<'_>) {
        self.s.compared[index & 3] = false;
    }

    fn address_high(&mut self, index: usize, _: u32, _: u32, _: &mut Cx<'_>) {
        self.s.compared[index & 3] = true;
    }

    fn statistic(&mut self, index: usize, _: &mut Cx<'_>) -> u32 {
        self.s.regs.statistics.get_mut(index).map_or(0, std::mem::take)
    }

    fn statistic_written(&mut self, index: usize, old: u32, _: u32, _: &mut Cx<'_>) {
        if !self.s.regs.net_ctrl_stat_write() {
            self.s.regs.statistics[index] = old;
        }
    }

    fn timer_seconds(&mut self, cx: &mut Cx<'_>) -> u32 {
        self.time(cx).0
    }

    fn timer_nanoseconds(&mut self, cx: &mut Cx<'_>) -> u32 {
        self.time(cx).1
    }

    fn timer_seconds_written(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        let (_, ns) = self.time(cx);
        self.set_time(value, ns, cx);
    }

    fn timer_nanoseconds_written(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        let (seconds, _) = self.time(cx);
        self.set_time(seconds, self.s.regs.timer_ns, cx);
    }

    fn timer_adjusted(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        self.adjust_time(value & Regs::TIMER_ADJUST_SUBTRACT != 0, value & Regs::TIMER_ADJUST_NS, cx);
    }

    fn timer_increment(&mut self, old: u32, _: u32, cx: &mut Cx<'_>) {
        self.change_rate(old, cx);
    }
}

impl Device for Gem {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        let in_reset = self.s.in_reset;
        self.s = State { in_reset, patience: receive::PATIENCE, ..State::default() };
        self.s.timer.start(cx.now(), cx.clock(0));
        // The boot loader has set the station's address.
        let mac = self.mac;
        self.s.regs.spec_addr_bot[0] = u32::from_le_bytes([mac[0], mac[1], mac[2], mac[3]]);
        self.s.regs.spec_addr_top[0] = u32::from_le_bytes([mac[4], mac[5], 0, 0]);
        self.s.compared[0] = true;
        [TIMER_TX, TIMER_PAUSE, TIMER_RX].into_iter().for_each(|timer| cx.disarm(timer));
        self.settle(cx);
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, access: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        let statistic = (offset / 4).checked_sub(Regs::STATISTICS / 4).map(|i| i as usize);
        if access.initiator == Initiator::Debug
            && let Some(value) = statistic.and_then(|i| self.s.regs.statistics.get(i))
        {
            // A debugger looks without clearing.
            return Ok((*value).into());
        }
        regs::read(self, offset, size, cx)
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        if self.s.in_reset {
            return Ok(());
        }
        regs::write(self, offset, size, value, cx)
    }

    fn line_changed(&mut self, _: usize, _: u32, level: bool, cx: &mut Cx<'_>) {
        self.s.in_reset = level;
        if level {
            self.reset(cx);
        }
    }

    fn clock_changed(&mut self, port: usize, hz: Hertz, cx: &mut Cx<'_>) {
        if port == 0 {
            self.change_clock(hz, cx);
        } else {
            self.transmit(cx);
            self.lines(cx);
        }
    }

    fn timer_expired(&mut self, timer: u32, cx: &mut Cx<'_>) {
        match timer {
            TIMER_RX => self.resume(cx),
            TIMER_PAUSE if cx.now() >= self.s.pause_until => {
                self.s.pause_until = Nanos(0);
                self.event(Regs::INTR_STATUS_PAUSE_ZERO);
                self.transmit(cx);
            }
            _ => self.transmit(cx),
        }
        self.lines(cx);
    }

    fn frame_ready(&mut self, _: usize, cx: &mut Cx<'_>) {
        self.receive(cx);
        self.lines(cx);
    }

    fn link_changed(&mut self, _: usize, cx: &mut Cx<'_>) {
        self.settle(cx);
    }

    crate::snapshot!(s);
}
