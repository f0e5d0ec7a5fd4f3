//! Xilinx AXI Ethernet (DS759, PG138), with the PHY behind its management port. Its streams lead to a DMA, or whatever else is on them.
//!
//! Out: a packet of the stream, with its control words ([`transmit`]) -> checksums -> VLAN tags -> the wire, or back in the PHY's loopback. In: frames
//! that wait at the port -> checks, filters, checksums, VLAN tags ([`receive`]) -> the stream when its other end takes them, with status words; until then
//! the others wait outside, so none is lost. Events -> IS -> interrupt. Tags are taken off, translated and put on, in this order. What the core was
//! made with are properties. Not modelled: half duplex, AVB, IEEE 1588, PCS and PMA (SGMII, 1000BASE-X), HARD_ACCESS_COMPLETE, bad frames (none
//! come), time on the wire.

use crate::net::ethernet;
use crate::net::phy::Phy;
use emu_machine::device::{Cx, Device, Nanos};
use emu_machine::parts::{PartBus, StreamPart};
use emu_machine::schema::{Count, DeviceType, PortSpec, PropKind, PropSpec, Props, RegionSpec};
use emu_machine::{Access, BusError, Initiator};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

mod receive;
mod stats;
mod transmit;
mod vlan;

crate::regs!("axi_ethernet");

const CHECKSUMS: PropKind = PropKind::Choice(&["none", "partial", "full"]);

/// `xlnx,axi-ethernet`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x4_0000) }],
    props: &[
        PropSpec { name: "mac", kind: PropKind::Text, default: Some("00:0a:35:00:22:01"), doc: "the station's address after reset" },
        PropSpec { name: "phy-addr", kind: PropKind::Int { min: 0, max: 31 }, default: Some("7"), doc: "the PHY's address" },
        PropSpec { name: "rxmem", kind: PropKind::Size { min: 2048, max: 32768 }, default: Some("4096"), doc: "receive memory, bytes" },
        PropSpec { name: "txmem", kind: PropKind::Size { min: 2048, max: 32768 }, default: Some("4096"), doc: "transmit memory, bytes" },
        PropSpec { name: "rxcsum", kind: CHECKSUMS, default: Some("none"), doc: "checksums of frames received" },
        PropSpec { name: "txcsum", kind: CHECKSUMS, default: Some("none"), doc: "checksums of frames sent" },
        PropSpec { name: "rx-vlan", kind: PropKind::Bool, default: Some("#false"), doc: "VLAN tags of frames received can be changed" },
        PropSpec { name: "tx-vlan", kind: PropKind::Bool, default: Some("#false"), doc: "VLAN tags of frames sent can be changed" },
        PropSpec { name: "mcast-extend", kind: PropKind::Bool, default: Some("#false"), doc: "with a table of multicast addresses" },
        PropSpec { name: "stats", kind: PropKind::Bool, default: Some("#false"), doc: "with statistics counters" },
    ],
    inputs: &[PortSpec::one("reset", "held in reset while high")],
    outputs: &[
        PortSpec::one("irq", "interrupt"),
        PortSpec::one("mac-irq", "interrupt of the management port"),
        PortSpec::one("phy-irq", "the PHY's interrupt"),
    ],
    nics: &["net"],
    part: Some(PartBus::Stream),
    ..DeviceType::new("xlnx,axi-ethernet", "Xilinx AXI Ethernet with a PHY (PG138)", create)
};

/// The transmitter's pause is over.
const TIMER_PAUSE: u32 = 0;

/// The tables behind the registers: first offset, and behind the last.
const TX_VLAN: std::ops::Range<u64> = 0x4000..0x8000;
const RX_VLAN: std::ops::Range<u64> = 0x8000..0xc000;
const MULTICAST: std::ops::Range<u64> = 0x2_0000..0x4_0000;
/// Frames that came back and wait, at most.
const LOOPED: usize = 16;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    phy: Phy,
    /// The groups whose frames are received: AF0 and AF1 of each, and 1 in FFE's place if it is off.
    groups: [[u32; 3]; 4],
    stats: stats::Counters,
    /// The tables, as far as the core has them.
    tx_vlan: Vec<u16>,
    rx_vlan: Vec<u16>,
    /// A bit for each multicast address that is let through.
    multicast: Vec<u32>,
    /// A packet of the stream as far as it came, and its control words; too long a one is dropped.
    tx: Vec<u8>,
    tx_words: [u32; 5],
    tx_overrun: bool,
    /// A frame on its way out by the stream.
    rx: Option<receive::Held>,
    /// Frames that came back in loopback.
    looped: VecDeque<Vec<u8>>,
    /// Frames are not sent before that; 0: no pause.
    pause_until: Nanos,
    in_reset: bool,
}

struct AxiEthernet {
    s: State,
    mac: [u8; 6],
    phy_address: u32,
    rxmem: usize,
    txmem: usize,
    rx_checksum: Checksum,
    tx_checksum: Checksum,
    rx_vlan: bool,
    tx_vlan: bool,
    mcast_extend: bool,
    stats: bool,
}

/// What the core does about checksums.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Checksum {
    None,
    Partial,
    Full,
}

impl Checksum {
    fn of(text: &str) -> Checksum {
        match text {
            "partial" => Checksum::Partial,
            "full" => Checksum::Full,
            _ => Checksum::None,
        }
    }
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(AxiEthernet {
        s: State::default(),
        mac: ethernet::station(props.text("mac"))?,
        phy_address: props.int("phy-addr") as u32,
        rxmem: props.int("rxmem") as usize,
        txmem: props.int("txmem") as usize,
        rx_checksum: Checksum::of(props.text("rxcsum")),
        tx_checksum: Checksum::of(props.text("txcsum")),
        rx_vlan: props.flag("rx-vlan"),
        tx_vlan: props.flag("tx-vlan"),
        mcast_extend: props.flag("mcast-extend"),
        stats: props.flag("stats"),
    }))
}

impl AxiEthernet {
    /// Something happened.
    fn event(&mut self, bits: u32, cx: &mut Cx<'_>) {
        self.s.regs.is |= bits;
        self.lines(cx);
    }

    fn lines(&mut self, cx: &mut Cx<'_>) {
        let r = &self.s.regs;
        cx.set_line(0, 0, r.is & r.ie != 0);
        cx.set_line(1, 0, r.mis & r.mie != 0);
        cx.set_line(2, 0, self.s.phy.interrupt());
    }

    /// What other than registers follows from a reset or a new state of the cable.
    fn settle(&mut self, cx: &mut Cx<'_>) {
        self.s.phy.plug(cx.link(0));
        self.lines(cx);
    }

    /// Six octets of two registers, the first the least significant.
    fn octets(low: u32, high: u32) -> [u8; 6] {
        let (low, high) = (low.to_le_bytes(), high.to_le_bytes());
        [low[0], low[1], low[2], low[3], high[0], high[1]]
    }

    /// The station's address.
    fn station(&self) -> [u8; 6] {
        AxiEthernet::octets(self.s.regs.uaw0, self.s.regs.uaw1)
    }

    /// The entry of a table at this offset: which table, and its index.
    fn entry(&mut self, offset: u64) -> Option<(Table<'_>, usize)> {
        let index = |range: &std::ops::Range<u64>| ((offset - range.start) / 4) as usize;
        Some(match offset {
            o if TX_VLAN.contains(&o) => (Table::Vlan(&mut self.s.tx_vlan), index(&TX_VLAN)),
            o if RX_VLAN.contains(&o) => (Table::Vlan(&mut self.s.rx_vlan), index(&RX_VLAN)),
            o if MULTICAST.contains(&o) => (Table::Multicast(&mut self.s.multicast), index(&MULTICAST)),
            _ => return None,
        })
    }
}

/// A table in the register space; empty if the core was made without it.
enum Table<'a> {
    Vlan(&'a mut Vec<u16>),
    Multicast(&'a mut Vec<u32>),
}

impl Table<'_> {
    fn read(&self, i: usize) -> u32 {
        match self {
            Table::Vlan(table) => table.get(i).map_or(0, |e| (*e).into()),
            Table::Multicast(table) => table.get(i / 32).map_or(0, |w| w >> (i % 32) & 1),
        }
    }

    fn write(&mut self, i: usize, value: u32) {
        match self {
            Table::Vlan(table) => {
                if let Some(entry) = table.get_mut(i) {
                    *entry = (value & 0x3fff) as u16;
                }
            }
            Table::Multicast(table) => {
                if let Some(word) = table.get_mut(i / 32) {
                    *word = *word & !(1 << (i % 32)) | (value & 1) << (i % 32);
                }
            }
        }
    }
}

impl Hooks for AxiEthernet {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    fn filter(&mut self, _: u32, value: u32, _: &mut Cx<'_>) {
        if value & Regs::RAF_STATISTICS_RESET != 0 {
            self.s.stats = stats::Counters::default();
        }
    }

    fn send_pause(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        if self.s.regs.fcc_tx() && self.s.regs.tc_tx() {
            self.pause_frame(cx);
        }
    }

    fn interrupts(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.lines(cx);
    }

    fn pending(&mut self, _: &mut Cx<'_>) -> u32 {
        self.s.regs.is & self.s.regs.ie
    }

    fn statistic(&mut self, index: usize, _: &mut Cx<'_>) -> u32 {
        if self.stats { self.s.stats.read(index) } else { 0 }
    }

    fn receive_control(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        if value & Regs::RCW1_RESET != 0 {
            self.s.regs.rcw1 = Regs::default().rcw1;
            self.s.rx = None;
            self.s.looped.clear();
        }
        self.drain(cx);
        cx.notify();
    }

    fn transmit_control(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        if value & Regs::TC_RESET != 0 {
            self.s.regs.tc = Regs::default().tc;
            self.s.tx.clear();
            self.s.tx_overrun = false;
        }
        cx.notify();
    }

    fn ability(&mut self, _: &mut Cx<'_>) -> u32 {
        Regs::ABILITY_SPEEDS | if self.stats { Regs::ABILITY_STATISTICS } else { 0 }
    }

    /// An operation on the management bus: done at once.
    fn mdio(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        const WRITE: u32 = 1;
        const READ: u32 = 2;
        let r = &mut self.s.regs;
        if value & Regs::MCR_INITIATE == 0 || !r.mc_enable() {
            return;
        }
        let (register, asked) = (r.mcr_register() as u8, r.mcr_phy() == self.phy_address);
        match r.mcr_operation() {
            // Nobody drives the bus if the PHY is not asked.
            READ => r.mrd = Regs::MRD_READY | if asked { self.s.phy.read(register, false).into() } else { 0xffff },
            WRITE if asked => self.s.phy.write(register, r.mwd as u16),
            _ => {}
        }
        self.s.regs.mis |= Regs::MIS_READY;
        self.lines(cx);
        cx.notify();
    }

    fn management_interrupts(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.lines(cx);
    }

    fn management_pending(&mut self, _: &mut Cx<'_>) -> u32 {
        self.s.regs.mis & self.s.regs.mie
    }

    fn group_enable(&mut self, _: &mut Cx<'_>) -> u32 {
        1 - (self.s.groups[self.s.regs.fmi_index() as usize][2] & 1)
    }

    fn group_enable_written(&mut self, _: u32, value: u32, _: &mut Cx<'_>) {
        self.s.groups[self.s.regs.fmi_index() as usize][2] = !value & 1;
    }

    fn group_low(&mut self, _: &mut Cx<'_>) -> u32 {
        self.s.groups[self.s.regs.fmi_index() as usize][0]
    }

    fn group_low_written(&mut self, _: u32, value: u32, _: &mut Cx<'_>) {
        self.s.groups[self.s.regs.fmi_index() as usize][0] = value;
    }

    fn group_high(&mut self, _: &mut Cx<'_>) -> u32 {
        self.s.groups[self.s.regs.fmi_index() as usize][1]
    }

    fn group_high_written(&mut self, _: u32, value: u32, _: &mut Cx<'_>) {
        self.s.groups[self.s.regs.fmi_index() as usize][1] = value & 0xffff;
    }
}

impl StreamPart for AxiEthernet {
    fn push(&mut self, bytes: &[u8], begins: Option<[u32; 5]>, ends: bool, cx: &mut Cx<'_>) -> usize {
        self.gather(bytes, begins, ends, cx)
    }

    fn pull(&mut self, buffer: &mut [u8], cx: &mut Cx<'_>) -> (usize, Option<[u32; 5]>) {
        self.hand_over(buffer, cx)
    }
}

impl Device for AxiEthernet {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        let table = |there: bool, len: usize| if there { len } else { 0 };
        self.s = State {
            in_reset: self.s.in_reset,
            tx_vlan: vec![0; table(self.tx_vlan, 4096)],
            rx_vlan: vec![0; table(self.rx_vlan, 4096)],
            multicast: vec![0; table(self.mcast_extend, 1024)],
            ..State::default()
        };
        let mac = self.mac;
        self.s.regs.uaw0 = u32::from_le_bytes([mac[0], mac[1], mac[2], mac[3]]);
        self.s.regs.uaw1 = u32::from_le_bytes([mac[4], mac[5], 0, 0]);
        cx.disarm(TIMER_PAUSE);
        self.settle(cx);
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, access: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        if size == 4
            && let Some((table, i)) = self.entry(offset)
        {
            return Ok(table.read(i).into());
        }
        let counter = offset.checked_sub(Regs::STATISTICS).map(|o| (o / 4) as usize);
        if access.initiator == Initiator::Debug
            && let Some(value) = counter.filter(|_| self.stats).and_then(|i| self.s.stats.look(i))
        {
            // A debugger looks without keeping the other half.
            return Ok(value.into());
        }
        regs::read(self, offset, size, cx)
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        if self.s.in_reset {
            return Ok(());
        }
        if size == 4
            && let Some((mut table, i)) = self.entry(offset)
        {
            table.write(i, value as u32);
            return Ok(());
        }
        regs::write(self, offset, size, value, cx)
    }

    fn line_changed(&mut self, _: usize, _: u32, level: bool, cx: &mut Cx<'_>) {
        self.s.in_reset = level;
        if level {
            self.reset(cx);
        } else {
            cx.notify();
        }
    }

    fn timer_expired(&mut self, _: u32, cx: &mut Cx<'_>) {
        if cx.now() >= self.s.pause_until {
            self.s.pause_until = Nanos(0);
            cx.notify();
        }
    }

    fn frame_ready(&mut self, _: usize, cx: &mut Cx<'_>) {
        self.drain(cx);
        cx.notify();
    }

    fn link_changed(&mut self, _: usize, cx: &mut Cx<'_>) {
        self.settle(cx);
    }

    fn stream(&mut self) -> Option<&mut dyn StreamPart> {
        Some(self)
    }

    crate::snapshot!(s, |me, state| state.fits(me));
}

impl State {
    fn is_sound(&self) -> bool {
        self.regs.is_sound() && self.phy.is_sound() && self.stats.is_sound() && self.rx.as_ref().is_none_or(receive::Held::is_sound)
    }

    /// It is a state of a core made like this.
    fn fits(&self, core: &AxiEthernet) -> bool {
        let table = |there: bool, len: usize, is: usize| is == if there { len } else { 0 };
        table(core.tx_vlan, 4096, self.tx_vlan.len())
            && table(core.rx_vlan, 4096, self.rx_vlan.len())
            && table(core.mcast_extend, 1024, self.multicast.len())
            && self.tx.len() <= core.txmem
            && self.looped.len() <= LOOPED
            && self.looped.iter().all(|frame| frame.len() <= core.txmem + 64)
    }
}
