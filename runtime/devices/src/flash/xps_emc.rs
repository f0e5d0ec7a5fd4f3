//! Xilinx external memory controller (DS575 XPS MCH EMC, DS762 AXI EMC): a window on chips with address and data lines.
//!
//! An access goes to the chip as it is; while a NOR flash reads as its array, reads are memory, and code can be executed there. The board's clocks and the core's timing
//! parameters make an access slow in hardware, which is not modelled; nor are the registers of parity and page mode that newer cores can have, and chips with 16 data lines
//! on a bus with the most significant byte first (a command would be in the other half of a word).

use emu_machine::device::{Cx, Device};
use emu_machine::parts::PartBus;
use emu_machine::schema::{Count, DeviceType, PropKind, PropSpec, Props, RegionSpec, SlotSpec};
use emu_machine::{Access, BusError, Initiator};

/// `xlnx,xps-mch-emc`.
pub const TYPE: DeviceType = DeviceType {
    regions: &[RegionSpec { name: "mem0", size: Count::Prop("size") }],
    props: &[PropSpec {
        name: "size",
        kind: PropKind::Size { min: 4096, max: 256 << 20 },
        default: Some("0x1000000"),
        doc: "C_MEM0_HIGHADDR: what bank 0 spans",
    }],
    slots: &[SlotSpec { name: "mem0", bus: PartBus::Nor, first: 0, last: 0, doc: "the chip of bank 0" }],
    windows: &[(0, 0)],
    ..DeviceType::new("xlnx,xps-mch-emc", "Xilinx external memory controller (DS575)", create)
};

struct Emc;

fn create(_: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Emc))
}

impl Device for Emc {
    fn reset(&mut self, _: &mut Cx<'_>) {}

    fn read(&mut self, _: usize, offset: u64, size: u8, access: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        // Nobody drives the lines of an empty bank.
        let mut bytes = [0xff; 8];
        let part = bytes.get_mut(..size.into()).ok_or(BusError::Device)?;
        // A look at a chip would move it on.
        if access.initiator != Initiator::Debug {
            cx.nor(0, 0, |chip, cx| chip.read(offset, part, cx));
        }
        Ok(u64::from_le_bytes(bytes) & u64::MAX >> (64 - 8 * u32::from(size)))
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        let bytes = value.to_le_bytes();
        let bytes = bytes.get(..size.into()).ok_or(BusError::Device)?;
        cx.nor(0, 0, |chip, cx| chip.write(offset, bytes, cx));
        Ok(())
    }

    fn save(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn load(&mut self, _: &serde_json::Value) -> Result<(), String> {
        Ok(())
    }
}
