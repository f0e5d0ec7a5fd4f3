//! Zynq-7000 device configuration interface (UG585 ch. 6.4, app. B.16): takes bitstreams for the programmable logic by DMA.
//!
//! DMA registers -> a queue of transfers -> words read from memory at the rate of the PCAP clock -> the bitstream's packets, and its hash, or in
//! loopback back to memory; then the done interrupts. A bitstream for this device that ends makes the logic configured; it is logged, and does
//! nothing. Not modelled: the logic, AES and RSA, readback, time-outs.

use crate::soc::bitstream::{Event, Parser};
use emu_machine::device::{Cx, Device, Hertz, Nanos};
use emu_machine::schema::{ClockSpec, Count, DeviceType, PortSpec, PropKind, PropSpec, Props, RegionSpec};
use emu_machine::{Access, BusError, GuestPhys};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

crate::regs!("zynq_devcfg");

/// `xlnx,zynq-devcfg`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x100) }],
    props: &[PropSpec {
        name: "idcode",
        kind: PropKind::Int { min: 0, max: 0xffff_ffff },
        default: Some("0x3727093"),
        doc: "device that bitstreams must be for, as in its JTAG IDCODE: XC7Z020",
    }],
    outputs: &[PortSpec::one("irq", "interrupt")],
    clocks_in: &[ClockSpec { name: "pcap", required: true, doc: "PCAP_2X: a word goes through the port every other clock" }],
    dma: true,
    ..DeviceType::new("xlnx,zynq-devcfg", "Zynq-7000 device configuration (UG585 B.16)", create)
};

/// Transfers that wait.
const QUEUE: usize = 4;
/// Bytes moved at once.
const PIECE: usize = 1 << 14;
/// The address that stands for the configuration port.
const PORT: u32 = 0xffff_ffff;

const MOVE: u32 = 0;

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Transfer {
    source: u32,
    to: u32,
    words: u32,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    queue: VecDeque<Transfer>,
    /// A piece of the first is on its way.
    moving: bool,
    parser: Parser,
    /// Bytes that the port got since the logic was cleared or configured.
    bytes: u64,
    /// The logic is configured: its DONE is high.
    #[serde(default)]
    done: bool,
}

impl State {
    fn is_sound(&self) -> bool {
        self.regs.is_sound() && self.queue.len() <= QUEUE && !(self.moving && self.queue.is_empty()) && self.bytes < 1 << 62
    }
}

struct Devcfg {
    s: State,
    idcode: u32,
    /// Of the same bytes; after a snapshot was loaded it is not known until the next bitstream.
    hash: Option<blake3::Hasher>,
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Devcfg { s: State::default(), idcode: props.int("idcode") as u32, hash: None }))
}

impl Devcfg {
    fn event(&mut self, interrupts: u32) {
        self.s.regs.int_sts |= interrupts;
    }

    fn line(&mut self, cx: &mut Cx<'_>) {
        cx.set_line(0, 0, self.s.regs.int_sts & !self.s.regs.int_mask != 0);
    }

    /// Bytes of the next piece.
    fn piece(&self) -> usize {
        self.s.queue.front().map_or(0, |t| (t.words as usize).saturating_mul(4).min(PIECE))
    }

    /// Begins the next piece, when the port's clock runs.
    fn start(&mut self, cx: &mut Cx<'_>) {
        let hz = cx.clock(0).0;
        if !self.s.moving && !self.s.queue.is_empty() && hz != 0 {
            let clocks = self.piece() as u64 / 2 * if self.s.regs.ctrl_pcap_rate_en() { 4 } else { 1 };
            self.s.moving = true;
            cx.arm(MOVE, Nanos(cx.now().0.saturating_add((clocks * 1_000_000_000).div_ceil(hz))));
        }
        let (full, empty) = (self.s.queue.len() == QUEUE, self.s.queue.is_empty());
        let status = self.s.regs.status & !(Regs::STATUS_DMA_CMD_Q_F | Regs::STATUS_DMA_CMD_Q_E);
        self.s.regs.status = status | if full { Regs::STATUS_DMA_CMD_Q_F } else { 0 } | if empty { Regs::STATUS_DMA_CMD_Q_E } else { 0 };
    }

    /// Moves a piece of the first transfer.
    fn move_piece(&mut self, cx: &mut Cx<'_>) {
        let mut buffer = [0; PIECE];
        let piece = &mut buffer[..self.piece()];
        let Some(transfer) = self.s.queue.front().copied() else { return };
        let loopback = self.s.regs.mctrl_int_pcap_lpbk();
        let error = if transfer.source == PORT {
            cx.unimplemented("readback of the programmable logic");
            0
        } else if cx.dma_read(GuestPhys((transfer.source & !3).into()), piece).is_err() {
            Regs::INT_STS_AXI_RERR
        } else if !loopback {
            self.configure(piece, cx);
            0
        } else if cx.dma_write(GuestPhys((transfer.to & !3).into()), piece).is_err() {
            Regs::INT_STS_AXI_WERR
        } else {
            0
        };
        let words = piece.len() as u32 / 4;
        let on = |at: u32| if at == PORT { at } else { at.wrapping_add(4 * words) };
        let left = if error == 0 && transfer.source != PORT { transfer.words - words } else { 0 };
        self.s.queue.pop_front();
        if left > 0 {
            self.s.queue.push_front(Transfer { source: on(transfer.source), to: on(transfer.to), words: left });
        } else {
            // Bits 1 and 0 of an address are 01 in the last of the transfers that belong together: it waits for the port as well.
            let last = transfer.source & 3 == 1 || transfer.to & 3 == 1;
            self.event(error | Regs::INT_STS_DMA_DONE | if error == 0 && last { Regs::INT_STS_D_P_DONE } else { 0 });
            let done = (self.s.regs.status_dma_done_cnt() + 1).min(3);
            self.s.regs.status = self.s.regs.status & !Regs::STATUS_DMA_DONE_CNT | done << 28;
        }
    }

    /// Words for the configuration port.
    fn configure(&mut self, mut bytes: &[u8], cx: &mut Cx<'_>) {
        if !self.s.regs.ctrl_pcap_pr() || !self.s.regs.ctrl_pcap_mode() {
            return cx.guest_error("a bitstream is lost, as the configuration port is not PCAP (CTRL.PCAP_PR, CTRL.PCAP_MODE)");
        }
        if self.s.bytes == 0 {
            self.hash = Some(blake3::Hasher::new());
        }
        self.s.bytes += bytes.len() as u64;
        self.hash.iter_mut().for_each(|hash| _ = hash.update(bytes));
        while !bytes.is_empty() {
            let (taken, event) = self.s.parser.feed(bytes, self.idcode);
            bytes = bytes.get(taken..).unwrap_or_default();
            match event {
                Some(Event::OtherDevice(id)) => {
                    cx.guest_error(&format!("a bitstream is for the device {id:#010x}, and this is {:#010x}", self.idcode));
                    self.set_init(false);
                }
                Some(Event::Ended) => {
                    self.s.done = true;
                    self.event(Regs::INT_STS_PCFG_DONE);
                    let hash = self.hash.as_ref().map_or_else(|| "unknown".into(), |hash| hash.finalize().to_hex().to_string());
                    tracing::info!("the programmable logic got a bitstream, {} bytes until its end's piece, BLAKE3 {hash}", self.s.bytes);
                    self.s.bytes = 0;
                }
                None => {}
            }
        }
    }

    /// The logic is initialised and takes a bitstream, or not.
    fn set_init(&mut self, init: bool) {
        if init != self.s.regs.status_pcfg_init() {
            self.s.regs.status ^= Regs::STATUS_PCFG_INIT;
            self.event(if init { Regs::INT_STS_PCFG_INIT_PE } else { Regs::INT_STS_PCFG_INIT_NE });
        }
    }
}

impl Hooks for Devcfg {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    /// PCFG_PROG_B low clears the logic; high again, it initialises at once.
    fn control(&mut self, old: u32, value: u32, cx: &mut Cx<'_>) {
        let r = &mut self.s.regs;
        let debug = Regs::CTRL_SPNIDEN | Regs::CTRL_SPIDEN | Regs::CTRL_NIDEN | Regs::CTRL_DBGEN | Regs::CTRL_DAP_EN;
        let locks = [debug, Regs::CTRL_SEC_EN, Regs::CTRL_SEU_EN, Regs::CTRL_PCFG_AES_EN, Regs::CTRL_PCFG_AES_FUSE];
        let locked = locks.iter().enumerate().filter(|(i, _)| r.lock >> i & 1 != 0).fold(0, |all, (_, fields)| all | fields);
        r.ctrl = r.ctrl & !locked | old & locked;
        if value & Regs::CTRL_PCFG_PROG_B == 0 && old & Regs::CTRL_PCFG_PROG_B != 0 {
            (self.s.parser, self.s.bytes, self.s.done) = (Parser::default(), 0, false);
            self.s.regs.int_sts &= !Regs::INT_STS_PCFG_DONE;
            self.set_init(false);
        } else if value & Regs::CTRL_PCFG_PROG_B != 0 {
            self.set_init(old & Regs::CTRL_PCFG_PROG_B == 0 || self.s.regs.status_pcfg_init());
        }
        self.line(cx);
    }

    /// PCFG_DONE follows a level: drivers clear all and then look whether the logic is configured.
    fn update(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.s.regs.int_sts |= if self.s.done { Regs::INT_STS_PCFG_DONE } else { 0 };
        self.line(cx);
    }

    fn transfer(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        let r = &self.s.regs;
        let transfer = Transfer { source: r.dma_src_addr, to: r.dma_dst_addr, words: r.dma_src_len };
        if self.s.queue.len() < QUEUE {
            self.s.queue.push_back(transfer);
        } else {
            self.event(Regs::INT_STS_DMA_Q_OV);
        }
        self.start(cx);
        self.line(cx);
    }
}

impl Device for Devcfg {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        // It outlives all resets but power-on: where the next start looks for its image.
        let next = self.s.regs.multiboot_addr;
        (self.s, self.hash) = (State::default(), None);
        self.s.regs.multiboot_addr = next;
        self.line(cx);
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, _: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        regs::read(self, offset, size, cx)
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        regs::write(self, offset, size, value, cx)
    }

    fn clock_changed(&mut self, _: usize, _: Hertz, cx: &mut Cx<'_>) {
        self.start(cx);
    }

    fn timer_expired(&mut self, _: u32, cx: &mut Cx<'_>) {
        self.s.moving = false;
        self.move_piece(cx);
        self.start(cx);
        self.line(cx);
    }

    crate::snapshot!(s);
}
