//! The bench with ports by name and 32-bit registers.

use emu_machine::schema::DeviceType;
use emu_machine::testing::TestBench;
use emu_machine::{Access, BusError};

/// A device on the bench.
pub struct Bench {
    pub bench: TestBench,
    pub kind: DeviceType,
}

pub fn kind(name: &str) -> DeviceType {
    emu_devices::registry().into_iter().find(|k| k.name == name).unwrap_or_else(|| panic!("no type {name}"))
}

/// A device of this type, `hz` on each clock input.
pub fn device(name: &str, hz: u64) -> Bench {
    let kind = kind(name);
    Bench { bench: TestBench::new(&kind, hz), kind }
}

impl Bench {
    pub fn try_read(&mut self, region: usize, offset: u64, size: u8, cpu: u8) -> Result<u64, BusError> {
        self.bench.read_as(region, offset, size, Access::cpu(cpu))
    }

    pub fn try_write(&mut self, region: usize, offset: u64, size: u8, value: u64, cpu: u8) -> Result<(), BusError> {
        self.bench.write_as(region, offset, size, value, Access::cpu(cpu))
    }

    pub fn read_cpu(&mut self, cpu: u8, region: usize, offset: u64) -> u32 {
        self.try_read(region, offset, 4, cpu).unwrap() as u32
    }

    pub fn write_cpu(&mut self, cpu: u8, region: usize, offset: u64, value: u32) {
        self.try_write(region, offset, 4, value.into(), cpu).unwrap();
    }

    pub fn read(&mut self, offset: u64) -> u32 {
        self.read_cpu(0, 0, offset)
    }

    pub fn write(&mut self, offset: u64, value: u32) {
        self.write_cpu(0, 0, offset, value);
    }

    pub fn line(&self, port: &str, index: u32) -> bool {
        let port = self.kind.outputs.iter().position(|p| p.name == port).expect("an output of that name");
        self.bench.line(port, index)
    }

    pub fn rises(&self, port: &str, index: u32) -> u32 {
        let port = self.kind.outputs.iter().position(|p| p.name == port).expect("an output of that name");
        self.bench.rises(port, index)
    }

    pub fn drive(&mut self, port: &str, index: u32, level: bool) {
        let port = self.kind.inputs.iter().position(|p| p.name == port).expect("an input of that name");
        self.bench.set_input(port, index, level);
    }

    pub fn clock_out(&self, name: &str) -> u64 {
        let port = self.kind.clocks_out.iter().position(|p| p.name == name).expect("a clock output of that name");
        self.bench.clocks_out.get(&port).map_or(0, |h| h.0)
    }
}
