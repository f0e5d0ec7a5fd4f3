//! Xilinx Ethernet Lite MAC (PG135 AXI Ethernet Lite; DS580 XPS Ethernet Lite), with the PHY behind its management port.
//!
//! Out: transmit buffer, length, STATUS set -> the wire, or back in loopback -> STATUS clear, interrupt. In: a frame that waits at the port, for this
//! station or all -> receive buffer with its FCS -> STATUS set, interrupt; while no buffer is free the others wait outside, so none is lost. With a second
//! ("pong") buffer in a direction they take turns. A frame's first byte is the most significant of its word on the big-endian PLB (XPS), the
//! least significant on AXI. Interrupts are pulses. Not modelled: half duplex, time on the wire.

use crate::net::ethernet::{self, BROADCAST, LEAST};
use crate::net::phy::Phy;
use emu_machine::device::{Cx, Device};
use emu_machine::schema::{Count, DeviceType, PortSpec, PropKind, PropSpec, Props, RegionSpec};
use emu_machine::{Access, BusError};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};

crate::regs!("ethernetlite");

/// `xlnx,xps-ethernetlite`.
pub const XPS: DeviceType = kind("xlnx,xps-ethernetlite", "Xilinx XPS Ethernet Lite MAC with a PHY (DS580)", create_xps);
/// `xlnx,axi-ethernetlite`.
pub const AXI: DeviceType = kind("xlnx,axi-ethernetlite", "Xilinx AXI Ethernet Lite MAC with a PHY (PG135)", create_axi);

const OUTPUTS: &[PortSpec] = &[PortSpec::one("irq", "interrupt, a pulse"), PortSpec::one("phy-irq", "the PHY's interrupt")];

const fn kind(name: &'static str, doc: &'static str, create: fn(&Props) -> Result<Box<dyn Device>, String>) -> DeviceType {
    DeviceType {
        registers: Regs::MAP,
        regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x1_0000) }],
        props: &[
            PropSpec { name: "mac", kind: PropKind::Text, default: Some("00:00:5e:00:fa:ce"), doc: "the station's address after reset" },
            PropSpec { name: "tx-ping-pong", kind: PropKind::Bool, default: Some("#true"), doc: "two transmit buffers" },
            PropSpec { name: "rx-ping-pong", kind: PropKind::Bool, default: Some("#true"), doc: "two receive buffers" },
            PropSpec { name: "mdio", kind: PropKind::Bool, default: Some("#true"), doc: "with a management port" },
            PropSpec { name: "phy-addr", kind: PropKind::Int { min: 0, max: 31 }, default: Some("7"), doc: "the PHY's address" },
        ],
        outputs: OUTPUTS,
        nics: &["net"],
        ..DeviceType::new(name, doc, create)
    }
}

/// The longest frame, with its FCS.
const LONGEST: usize = 1518;
/// From a buffer to the other of its direction, and where the receive buffers begin.
const OTHER: u64 = 0x800;
const RECEIVE: u64 = 0x1000;
/// Behind the last register.
const END: u64 = 0x2000;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    phy: Phy,
    mac: [u8; 6],
    /// The receive buffer that is next.
    next: bool,
}

impl State {
    fn is_sound(&self) -> bool {
        self.regs.is_sound() && self.phy.is_sound()
    }
}

struct Lite {
    s: State,
    big_endian: bool,
    mac: [u8; 6],
    tx_ping_pong: bool,
    rx_ping_pong: bool,
    mdio: bool,
    phy_address: u32,
}

fn create_xps(props: &Props) -> Result<Box<dyn Device>, String> {
    create(props, true)
}

fn create_axi(props: &Props) -> Result<Box<dyn Device>, String> {
    create(props, false)
}

fn create(props: &Props, big_endian: bool) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Lite {
        s: State::default(),
        big_endian,
        mac: ethernet::station(props.text("mac"))?,
        tx_ping_pong: props.flag("tx-ping-pong"),
        rx_ping_pong: props.flag("rx-ping-pong"),
        mdio: props.flag("mdio"),
        phy_address: props.int("phy-addr") as u32,
    }))
}

impl Lite {
    fn pulse(&self, enabled: u32, cx: &mut Cx<'_>) {
        if enabled != 0 && self.s.regs.gie_enable() {
            cx.set_line(0, 0, true);
            cx.set_line(0, 0, false);
        }
    }

    /// The frame in a transmit buffer.
    fn frame(&self, pong: bool) -> Vec<u8> {
        let r = &self.s.regs;
        let words = if pong { &r.tx_pong } else { &r.tx_ping };
        words.iter().flat_map(|w| if self.big_endian { w.to_be_bytes() } else { w.to_le_bytes() }).collect()
    }

    fn send(&mut self, pong: bool, cx: &mut Cx<'_>) {
        let length = self.s.regs.tx_length[usize::from(pong)] as usize;
        let mut frame = self.frame(pong);
        if length < 14 || length + 4 > LONGEST {
            return cx.guest_error("a frame of less than 14 or more than 1514 bytes was to be sent");
        }
        frame.truncate(length);
        frame.resize(length.max(LEAST), 0);
        let loopback = self.s.regs.tx_control[0] & Regs::TX_CONTROL_LOOPBACK != 0;
        if loopback || self.s.phy.is_loopback() {
            if self.has_room() {
                self.arrive(&frame, cx);
            }
        } else if self.s.phy.is_open() {
            cx.transmit(0, &frame);
        }
    }

    /// The next receive buffer is free.
    fn has_room(&self) -> bool {
        self.s.regs.rx_control[usize::from(self.s.next)] & Regs::RX_CONTROL_STATUS == 0
    }

    /// Takes what waits, as long as there are buffers.
    fn receive(&mut self, cx: &mut Cx<'_>) {
        let listens = self.s.phy.is_open() && self.s.regs.tx_control[0] & Regs::TX_CONTROL_LOOPBACK == 0;
        while (!listens || self.has_room())
            && let Some(mut frame) = cx.receive_frame(0)
        {
            if listens {
                // The sender has padded it.
                frame.resize(frame.len().max(LEAST), 0);
                self.arrive(&frame, cx);
            }
        }
    }

    /// A frame arrives, while there is room for it.
    fn arrive(&mut self, frame: &[u8], cx: &mut Cx<'_>) {
        if !(frame.starts_with(&self.s.mac) || frame.starts_with(&BROADCAST)) || frame.len() + 4 > LONGEST {
            return;
        }
        let pong = self.s.next;
        let big_endian = self.big_endian;
        let r = &mut self.s.regs;
        let words = if pong { &mut r.rx_pong } else { &mut r.rx_ping };
        let bytes: Vec<u8> = frame.iter().copied().chain(ethernet::fcs(frame).to_le_bytes()).collect();
        for (word, part) in words.iter_mut().zip(bytes.chunks(4)) {
            let mut four = [0; 4];
            four[..part.len()].copy_from_slice(part);
            *word = if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) };
        }
        r.rx_control[usize::from(pong)] |= Regs::RX_CONTROL_STATUS;
        self.s.next = self.rx_ping_pong && !pong;
        self.pulse(self.s.regs.rx_control[0] & Regs::RX_CONTROL_INTERRUPT_ENABLE, cx);
    }

    /// What other than registers follows from a reset or a new state of the cable.
    fn settle(&mut self, cx: &mut Cx<'_>) {
        self.s.phy.plug(cx.link(0));
        cx.set_line(1, 0, self.s.phy.interrupt());
    }

    /// False for a register of what the core was made without.
    fn is_there(&self, offset: u64) -> bool {
        let second = offset & OTHER != 0;
        let doubled = if offset >= RECEIVE { self.rx_ping_pong } else { self.tx_ping_pong };
        let management = (Regs::MDIOADDR..Regs::MDIOCTRL + 4).contains(&offset);
        offset < END && (!second || doubled) && (!management || self.mdio)
    }
}

impl Hooks for Lite {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    /// An operation on the management bus: done at once.
    fn mdio(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        let r = &mut self.s.regs;
        if value & Regs::MDIOCTRL_STATUS == 0 || !r.mdioctrl_enable() {
            return;
        }
        let (register, asked) = (r.mdioaddr_register() as u8, r.mdioaddr_phy() == self.phy_address);
        if r.mdioaddr_read() {
            // Nobody drives the bus if the PHY is not asked.
            r.mdiord = if asked { self.s.phy.read(register, false).into() } else { 0xffff };
        } else if asked {
            self.s.phy.write(register, r.mdiowr as u16);
        }
        self.settle(cx);
    }

    fn transmit(&mut self, index: usize, _: u32, value: u32, cx: &mut Cx<'_>) {
        let pong = index == 1;
        if value & Regs::TX_CONTROL_STATUS == 0 {
            return self.receive(cx);
        }
        if value & Regs::TX_CONTROL_PROGRAM != 0 {
            let frame = self.frame(pong);
            self.s.mac.copy_from_slice(&frame[..6]);
        } else {
            self.send(pong, cx);
        }
        self.pulse(self.s.regs.tx_control[0] & Regs::TX_CONTROL_INTERRUPT_ENABLE, cx);
    }

    fn receive_control(&mut self, _: usize, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.receive(cx);
    }
}

impl Device for Lite {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.s = State { mac: self.mac, ..State::default() };
        self.settle(cx);
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, _: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        if self.is_there(offset) { regs::read(self, offset, size, cx) } else { Ok(0) }
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        if self.is_there(offset) { regs::write(self, offset, size, value, cx) } else { Ok(()) }
    }

    fn frame_ready(&mut self, _: usize, cx: &mut Cx<'_>) {
        self.receive(cx);
    }

    fn link_changed(&mut self, _: usize, cx: &mut Cx<'_>) {
        self.settle(cx);
    }

    crate::snapshot!(s);
}
