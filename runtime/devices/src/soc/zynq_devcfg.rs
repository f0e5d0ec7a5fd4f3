//! Zynq-7000 device configuration interface (UG585 ch. 6.4, app. B.16): takes bitstreams for the programmable logic by DMA.
//!
//! DMA registers -> words read from memory -> PCAP (thrown away: the logic is not modelled) or, in loopback, back to memory; then the
//! done interrupts. Not modelled: AES and RSA, readback of the logic.

use emu_machine::device::{Cx, Device};
use emu_machine::schema::{Count, DeviceType, PortSpec, Props, RegionSpec};
use emu_machine::{Access, BusError, GuestPhys};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};

crate::regs!("zynq_devcfg");

/// `xlnx,zynq-devcfg`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x100) }],
    outputs: &[PortSpec::one("irq", "interrupt")],
    dma: true,
    ..DeviceType::new("xlnx,zynq-devcfg", "Zynq-7000 device configuration (UG585 B.16)", create)
};

const DMA_DONE: u32 = 1 << 13;
const D_P_DONE: u32 = 1 << 12;
const AXI_READ_ERROR: u32 = 1 << 21;
const PCFG_DONE: u32 = 1 << 2;
const PCFG_INIT: u32 = 1 << 4;
const PROG_B: u32 = 1 << 30;
const LOOPBACK: u32 = 1 << 4;
/// Longest transfer the length registers can name, in words.
const MAX_WORDS: u32 = (1 << 27) - 1;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
}

impl State {
    fn is_sound(&self) -> bool {
        self.regs.is_sound()
    }
}

struct Devcfg {
    s: State,
}

fn create(_: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Devcfg { s: State::default() }))
}

impl Devcfg {
    fn line(&mut self, cx: &mut Cx<'_>) {
        cx.set_line(0, 0, self.s.regs.int_sts & !self.s.regs.int_mask != 0);
    }

    /// Moves the words in pieces, so that no guest value makes the host allocate much.
    fn copy(&mut self, source: u64, to: Option<u64>, words: u32, cx: &mut Cx<'_>) -> Result<(), BusError> {
        let mut buffer = [0; 4096];
        let total = u64::from(words.min(MAX_WORDS)) * 4;
        let mut at = 0;
        while at < total {
            let n = (total - at).min(4096) as usize;
            cx.dma_read(GuestPhys(source + at), &mut buffer[..n])?;
            if let Some(to) = to {
                cx.dma_write(GuestPhys(to + at), &buffer[..n])?;
            }
            at += n as u64;
        }
        Ok(())
    }
}

impl Hooks for Devcfg {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    /// PCFG_PROG_B low clears the logic; high again, it initialises at once.
    fn control(&mut self, old: u32, value: u32, cx: &mut Cx<'_>) {
        if value & PROG_B == 0 {
            self.s.regs.status &= !(PCFG_INIT | 1 << 8);
            self.s.regs.int_sts &= !PCFG_DONE;
        } else if old & PROG_B == 0 {
            self.s.regs.status |= PCFG_INIT;
        }
        self.line(cx);
    }

    fn update(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.line(cx);
    }

    fn transfer(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        let r = &self.s.regs;
        let (source, to, words) = (u64::from(r.dma_src_addr & !3), u64::from(r.dma_dst_addr & !3), r.dma_src_len);
        let loopback = r.mctrl & LOOPBACK != 0;
        let result = if r.dma_src_addr == 0xffff_ffff {
            cx.unimplemented("readback of the programmable logic");
            Ok(())
        } else {
            self.copy(source, loopback.then_some(to), words, cx)
        };
        self.s.regs.int_sts |= match result {
            Ok(()) if loopback => DMA_DONE | D_P_DONE,
            Ok(()) => DMA_DONE | D_P_DONE | PCFG_DONE,
            Err(_) => AXI_READ_ERROR | DMA_DONE,
        };
        self.line(cx);
    }
}

impl Device for Devcfg {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.s = State::default();
        self.line(cx);
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, _: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        regs::read(self, offset, size, cx)
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        regs::write(self, offset, size, value, cx)
    }

    crate::snapshot!(s);
}
