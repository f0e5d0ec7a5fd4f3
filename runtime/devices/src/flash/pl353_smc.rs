//! Static memory controller: Arm PrimeCell PL353 (DDI 0380) as the Zynq-7000 has it (UG585 ch. 11, app. B.31).
//!
//! NAND window: the bits of an address say what happens; a command phase is a write whose value are address cycles, a data phase moves bytes. All go to
//! the chip on the `nand` slot at once, and by the error correction unit (`pl353_ecc`). The rise of its ready pin is the interrupt. NOR windows: an
//! access goes to the chip as it is.
//! Not modelled: timings (they are only kept), synchronous and page modes, mode register commands of PSRAM chips; a chip that reads as its array does so in reset and
//! without a clock, too.

use super::pl353_ecc::Ecc;
use emu_machine::device::{Cx, Device};
use emu_machine::parts::{NandPart, NorPart, PartBus};
use emu_machine::schema::{ClockSpec, Count, DeviceType, PortSpec, Props, RegionSpec, SlotSpec};
use emu_machine::{Access, BusError, Initiator};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};

crate::regs!("pl353_smc");

const fn slot(name: &'static str, bus: PartBus, doc: &'static str) -> SlotSpec {
    SlotSpec { name, bus, first: 0, last: 0, doc }
}

/// `arm,pl353-smc`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[
        RegionSpec { name: "regs", size: Count::Fixed(0x1000) },
        RegionSpec { name: "nand", size: Count::Fixed(16 << 20) },
        RegionSpec { name: "nor0", size: Count::Fixed(32 << 20) },
        RegionSpec { name: "nor1", size: Count::Fixed(32 << 20) },
    ],
    inputs: &[PortSpec::one("reset", "held in reset while high")],
    outputs: &[PortSpec::one("irq", "a NAND chip became ready")],
    clocks_in: &[ClockSpec { name: "ref", required: true, doc: "SMC_REF_CLK: of the memories; stopped, they cannot be reached" }],
    // As the regions, from 1 on.
    slots: &[
        slot("nand", PartBus::Nand, "the NAND chip select"),
        slot("nor0", PartBus::Nor, "chip select 0 of the SRAM and NOR interface"),
        slot("nor1", PartBus::Nor, "chip select 1 of the SRAM and NOR interface"),
    ],
    windows: &[(2, 1), (3, 2)],
    ..DeviceType::new("arm,pl353-smc", "Static memory controller, Arm PL353 (UG585 ch. 11)", create)
};

/// Regions.
const REGS: usize = 0;
const NAND: usize = 1;

/// Bits of addresses in the NAND window.
mod phase {
    pub const START_COMMAND: u32 = 3;
    pub const ECC_LAST: u64 = 1 << 10;
    pub const END_COMMAND: u32 = 11;
    pub const DATA: u64 = 1 << 19;
    pub const END_VALID: u64 = 1 << 20;
    pub const CYCLES: u32 = 21;
}

/// A command whose address cycles are not complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Command {
    /// Where in the window it was written.
    at: u64,
    /// The cycles so far, and their number.
    address: [u8; 8],
    cycles: usize,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    in_reset: bool,
    /// Enabled interrupts of the memories, of error correction, and low power: bits of `MEMC_STATUS`.
    enabled: u32,
    /// The NAND chip became ready.
    raw: bool,
    /// Its ready pin, as last seen.
    ready: bool,
    command: Option<Command>,
    ecc: Ecc,
}

impl State {
    fn is_sound(&self) -> bool {
        self.regs.is_sound() && self.command.as_ref().is_none_or(|c| c.cycles < 8)
    }
}

struct Smc {
    s: State,
}

fn create(_: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Smc { s: State::default() }))
}

impl Smc {
    fn status(&self) -> u32 {
        let raw = if self.s.raw { Regs::MEMC_STATUS_RAW_INT_STATUS1 } else { 0 };
        let pending = if self.s.raw && self.s.enabled & Regs::MEMC_STATUS_INT_EN1 != 0 { Regs::MEMC_STATUS_INT_STATUS1 } else { 0 };
        self.s.enabled | raw | pending
    }

    fn update(&self, cx: &mut Cx<'_>) {
        cx.set_line(0, 0, self.status() & Regs::MEMC_STATUS_INT_STATUS1 != 0);
    }

    /// Calls the NAND chip, and looks at its ready pin then; `None`: there is none.
    fn nand<R>(&mut self, cx: &mut Cx<'_>, f: impl FnOnce(&mut dyn NandPart, &mut Cx<'_>) -> R) -> Option<R> {
        let (result, ready) = cx.nand(NAND - 1, 0, |part, cx| (f(part, cx), part.is_ready()))?;
        if ready && !self.s.ready {
            self.s.raw = true;
            self.update(cx);
        }
        self.s.ready = ready;
        Some(result)
    }

    /// A write in the command phase: the first issues the start command, and the last the end command.
    fn command_phase(&mut self, at: u64, bytes: &[u8], cx: &mut Cx<'_>) {
        let byte = |shift: u32| (at >> shift) as u8;
        let (start, wanted) = (byte(phase::START_COMMAND), usize::from(byte(phase::CYCLES) & 7));
        let end = (at & phase::END_VALID != 0).then(|| byte(phase::END_COMMAND));
        let mut command = match self.s.command.take() {
            Some(command) if command.at == at => command,
            _ => {
                self.nand(cx, |chip, cx| chip.command(start, cx));
                Command { at, address: [0; 8], cycles: 0 }
            }
        };
        for byte in bytes.iter().take(wanted.saturating_sub(command.cycles)) {
            if let Some(place) = command.address.get_mut(command.cycles) {
                *place = *byte;
                command.cycles += 1;
            }
            self.nand(cx, |chip, cx| chip.address(*byte, cx));
        }
        if command.cycles < wanted {
            self.s.command = Some(command);
            return;
        }
        self.s.ecc.command(&mut self.s.regs, start, end, &command.address, cx);
        if let Some(end) = end {
            self.nand(cx, |chip, cx| chip.command(end, cx));
        }
    }

    /// What follows the data cycles of a data phase.
    fn data_moved(&mut self, at: u64, bytes: &[u8], cx: &mut Cx<'_>) {
        self.s.ecc.data(&mut self.s.regs, bytes);
        if at & phase::ECC_LAST != 0 {
            self.s.ecc.last(&mut self.s.regs);
        }
        if at & phase::END_VALID != 0 {
            let end = (at >> phase::END_COMMAND) as u8;
            self.nand(cx, |chip, cx| chip.command(end, cx));
        }
    }

    /// The chips have 8 data lines: of wider accesses to a wider memory only every second byte, or fourth, is theirs.
    fn step(&self) -> usize {
        1 << (self.s.regs.opmode1_0 & 3).min(2)
    }

    fn read_nand(&mut self, at: u64, bytes: &mut [u8], cx: &mut Cx<'_>) {
        if at & phase::DATA == 0 {
            return cx.guest_error("a read in the command phase");
        }
        let step = self.step();
        let mut moved = vec![0xff; bytes.len().div_ceil(step)];
        if self.nand(cx, |chip, cx| chip.read(&mut moved, cx)).is_none() {
            cx.guest_error("there is no NAND chip");
        }
        bytes.iter_mut().step_by(step).zip(&moved).for_each(|(to, from)| *to = *from);
        self.s.raw = false;
        self.update(cx);
        self.data_moved(at, &moved, cx);
    }

    fn write_nand(&mut self, at: u64, bytes: &[u8], cx: &mut Cx<'_>) {
        if at & phase::DATA == 0 {
            return self.command_phase(at, bytes, cx);
        }
        let moved: Vec<u8> = bytes.iter().copied().step_by(self.step()).collect();
        self.nand(cx, |chip, cx| chip.write(&moved, cx));
        self.data_moved(at, &moved, cx);
    }

    fn nor<R>(&mut self, region: usize, cx: &mut Cx<'_>, f: impl FnOnce(&mut dyn NorPart, &mut Cx<'_>) -> R) {
        if cx.nor(region - 1, 0, f).is_none() {
            cx.guest_error("an access to a chip select that has no chip");
        }
    }

    fn reaches_memory(&self, cx: &mut Cx<'_>) -> bool {
        if cx.clock(0).0 == 0 {
            cx.guest_error("an access to a memory while the memories' clock is stopped");
        }
        cx.clock(0).0 != 0 && !self.s.in_reset
    }

    fn reset_all(&mut self, cx: &mut Cx<'_>) {
        let in_reset = self.s.in_reset;
        let ready = cx.nand(NAND - 1, 0, |chip, _| chip.is_ready()).unwrap_or(true);
        self.s = State { in_reset, ready, ..State::default() };
        self.update(cx);
    }
}

impl Hooks for Smc {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    fn memc_status(&mut self, _: &mut Cx<'_>) -> u32 {
        self.status()
    }

    fn memc_cfg_set(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        self.s.enabled |= enables(value);
        self.update(cx);
    }

    fn memc_cfg_clr(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        self.s.enabled &= !enables(value);
        self.s.raw &= value & Regs::MEMC_CFG_CLR_INT_CLR_1 == 0;
        self.update(cx);
    }

    fn direct_cmd(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        let (chip, kind) = (value >> 23 & 7, value >> 21 & 3);
        if kind & 1 != 0 {
            cx.unimplemented("a mode register command");
        }
        if kind == 1 {
            return;
        }
        let r = &mut self.s.regs;
        let (timings, opmode) = match chip {
            0 => (&mut r.sram_cycles0_0, &mut r.opmode0_0),
            1 => (&mut r.sram_cycles0_1, &mut r.opmode0_1),
            4 => (&mut r.nand_cycles1_0, &mut r.opmode1_0),
            _ => return cx.guest_error("a direct command to a chip select that is not there"),
        };
        *timings = r.set_cycles;
        *opmode = *opmode & 0xffff_0000 | r.set_opmode;
    }
}

/// Bits of `MEMC_CFG_SET` and `MEMC_CFG_CLR` as those of `MEMC_STATUS`.
fn enables(value: u32) -> u32 {
    (value & 0x60) << 2 | (value & 3) << 1 | value >> 2 & 1
}

impl Device for Smc {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.reset_all(cx);
    }

    fn read(&mut self, region: usize, offset: u64, size: u8, access: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        if region == REGS {
            return regs::read(self, offset, size, cx);
        }
        let mut bytes = [0; 8];
        let part = bytes.get_mut(..size.into()).ok_or(BusError::Device)?;
        // A look at a chip would move it on.
        if access.initiator != Initiator::Debug && self.reaches_memory(cx) {
            match region {
                NAND => self.read_nand(offset, part, cx),
                _ => self.nor(region, cx, |chip, cx| chip.read(offset, part, cx)),
            }
        }
        Ok(u64::from_le_bytes(bytes))
    }

    fn write(&mut self, region: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        if self.s.in_reset {
            return Ok(());
        }
        let bytes = value.to_le_bytes();
        let bytes = bytes.get(..size.into()).ok_or(BusError::Device)?;
        match region {
            REGS => regs::write(self, offset, size, value, cx)?,
            _ if !self.reaches_memory(cx) => {}
            NAND => self.write_nand(offset, bytes, cx),
            _ => self.nor(region, cx, |chip, cx| chip.write(offset, bytes, cx)),
        }
        Ok(())
    }

    fn line_changed(&mut self, _: usize, _: u32, level: bool, cx: &mut Cx<'_>) {
        self.s.in_reset = level;
        if level {
            self.reset_all(cx);
        }
    }

    fn part_changed(&mut self, slot: usize, _: u32, cx: &mut Cx<'_>) {
        if slot == NAND - 1 {
            self.nand(cx, |_, _| ());
        }
    }

    crate::snapshot!(s);
}
