//! An SPI bus by hand: a controller that does what a test says, and nothing by itself.

use crate::bench::{Bench, kind};
use emu_machine::device::{Cx, Device};
use emu_machine::parts::PartBus;
use emu_machine::schema::{Count, DeviceType, Props, RegionSpec, SlotSpec, Value};
use emu_machine::testing::TestBench;
use emu_machine::{Access, BusError};
use std::ops::{Deref, DerefMut};

/// Registers: 0, the chip select; 4, a byte to the part, and the last from it.
struct Wire(u8);

impl Device for Wire {
    fn reset(&mut self, _: &mut Cx<'_>) {}
    fn read(&mut self, _: usize, _: u64, _: u8, _: Access, _: &mut Cx<'_>) -> Result<u64, BusError> {
        Ok(self.0.into())
    }
    fn write(&mut self, _: usize, offset: u64, _: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        let answer = cx.spi(0, 0, |part, cx| match offset & 4 {
            0 => part.select(value & 1 != 0, cx),
            _ => self.0 = part.transfer(value as u8, cx),
        });
        answer.ok_or(BusError::Device)
    }
    fn save(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
    fn load(&mut self, _: &serde_json::Value) -> Result<(), String> {
        Ok(())
    }
}

const KIND: DeviceType = DeviceType {
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(8) }],
    slots: &[SlotSpec { name: "cs", bus: PartBus::Spi, first: 0, last: 0, doc: "" }],
    ..DeviceType::new("test,wire", "", |_: &Props| Ok(Box::new(Wire(0))))
};

/// A bus with one part.
pub struct Wired(pub Bench);

impl Deref for Wired {
    type Target = Bench;
    fn deref(&self) -> &Bench {
        &self.0
    }
}

impl DerefMut for Wired {
    fn deref_mut(&mut self) -> &mut Bench {
        &mut self.0
    }
}

/// A part of this type on a bus of its own.
pub fn wired(name: &str, given: &[(String, Value)]) -> Wired {
    let mut bench = TestBench::new(&KIND, 0);
    bench.attach(0, 0, &kind(name), given);
    Wired(Bench { bench, kind: KIND })
}

impl Wired {
    /// The part on the wire.
    pub fn part(&mut self) -> &mut TestBench {
        self.bench.part(0, 0)
    }

    pub fn select(&mut self, selected: bool) {
        self.write(0, selected.into());
    }

    pub fn transfer(&mut self, byte: u8) -> u8 {
        self.write(4, byte.into());
        self.read(4) as u8
    }

    /// Asserts the chip select, sends these bytes, and then receives so many; the chip select stays.
    pub fn talk(&mut self, out: &[u8], n: usize) -> Vec<u8> {
        self.select(true);
        out.iter().for_each(|byte| _ = self.transfer(*byte));
        (0..n).map(|_| self.transfer(0)).collect()
    }

    /// A whole command.
    pub fn command(&mut self, out: &[u8], n: usize) -> Vec<u8> {
        let answer = self.talk(out, n);
        self.select(false);
        answer
    }
}
