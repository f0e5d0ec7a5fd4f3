//! Parts on peripheral buses: a controller reaches them during its own calls and hears of raised hands; a device's own memory is in snapshots.

use emu_machine::device::{Cx, Device};
use emu_machine::machine::{Input, Unmapped};
use emu_machine::parts::{I2cPart, PartBus};
use emu_machine::schema::{Count, DeviceType, MemorySpec, PortSpec, Props, RegionSpec, SlotSpec};
use emu_machine::testing::TestBench;
use emu_machine::{Access, Builder, BusError, Machine, TimeMode};
use serde_json::{Value, json};

/// Writes go to the part at 0x50, reads come from it; line 0 is high once a part raised its hand.
const CONTROLLER: DeviceType = DeviceType {
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x100) }],
    outputs: const { &[PortSpec::one("irq", "")] },
    slots: &[SlotSpec { name: "bus", bus: PartBus::I2c, first: 0x08, last: 0x77, doc: "" }],
    ..DeviceType::new("test,controller", "", |_| Ok(Box::new(Controller)))
};

/// Keeps bytes in its memory; a zero raises its hand, and its line.
const CHIP: DeviceType = DeviceType {
    part: Some(PartBus::I2c),
    inputs: const { &[PortSpec::one("in", "")] },
    outputs: const { &[PortSpec::one("alert", "")] },
    memories: &[MemorySpec { name: "array", size: Count::Fixed(0x1000) }],
    ..DeviceType::new("test,chip", "", |_| Ok(Box::new(Chip(0))))
};

struct Controller;

impl Device for Controller {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        cx.set_line(0, 0, false);
    }
    fn read(&mut self, _: usize, _: u64, _: u8, _: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        cx.i2c(0, 0x50, |part, cx| u64::from(part.read(cx))).ok_or(BusError::Device)
    }
    fn write(&mut self, _: usize, at: u64, _: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        let address = 0x50 + (at / 4) as u32;
        cx.i2c(0, address, |part, cx| part.write(value as u8, cx)).map(drop).ok_or(BusError::Device)
    }
    fn part_changed(&mut self, slot: usize, at: u32, cx: &mut Cx<'_>) {
        assert_eq!((slot, at), (0, 0x50));
        assert_eq!(cx.parts(0), [0x50]);
        cx.set_line(0, 0, true);
    }
    fn save(&self) -> Value {
        Value::Null
    }
    fn load(&mut self, _: &Value) -> Result<(), String> {
        Ok(())
    }
}

struct Chip(u64);

impl I2cPart for Chip {
    fn start(&mut self, at: u8, address: u8, _: bool, _: &mut Cx<'_>) -> bool {
        at == address
    }
    fn write(&mut self, byte: u8, cx: &mut Cx<'_>) -> bool {
        if byte == 0 {
            cx.set_line(0, 0, true);
            cx.notify();
        }
        self.0 += 1;
        cx.memory(0).is_some_and(|m| m.copy_in(self.0, &[byte]))
    }
    fn read(&mut self, cx: &mut Cx<'_>) -> u8 {
        let mut byte = [0xff];
        assert!(cx.memory(0).is_some_and(|m| m.copy_out(self.0, &mut byte)));
        byte[0]
    }
    fn stop(&mut self, _: &mut Cx<'_>) {}
}

impl Device for Chip {
    fn reset(&mut self, _: &mut Cx<'_>) {
        self.0 = 0;
    }
    fn i2c(&mut self) -> Option<&mut dyn I2cPart> {
        Some(self)
    }
    fn save(&self) -> Value {
        json!(self.0)
    }
    fn load(&mut self, state: &Value) -> Result<(), String> {
        self.0 = state.as_u64().ok_or("no number")?;
        Ok(())
    }
}

fn machine() -> Machine {
    let mut build = Builder::default();
    build.bus(32, Unmapped::Zero, Unmapped::Zero);
    let props = Props::default();
    let controller = build.device("controller", &CONTROLLER, &props, (CONTROLLER.create)(&props).unwrap(), None);
    build.region(controller, 0, 0, 0x1000, 0x100, 0).unwrap();
    let chip = build.device("chip", &CHIP, &props, (CHIP.create)(&props).unwrap(), None);
    build.own_memories(chip, &props).unwrap();
    build.part(chip, controller, 0, 0x50).unwrap();
    // The slot is taken, it is a part already, and nothing hangs on itself.
    assert!(build.part(chip, controller, 0, 0x51).is_err());
    assert!(build.part(controller, controller, 0, 0x52).is_err());
    assert!(build.part(controller, chip, 0, 0x52).is_err());
    build.wire(controller, 0, 0, Input::Device { device: chip, port: 0, index: 0 }).unwrap();
    let mut machine = build.build(TimeMode::Deterministic(1_000_000));
    machine.reset().unwrap();
    machine
}

fn irq(machine: &Machine) -> bool {
    machine.lines().iter().any(|line| line.high)
}

#[test]
fn a_controller_reaches_its_parts_and_hears_of_raised_hands() {
    let mut m = machine();
    let cpu = Access::cpu(0);
    m.write(0, 0x1000, 4, 7, cpu).unwrap();
    assert_eq!(m.read(0, 0x1000, 4, cpu).unwrap(), 7);
    assert!(m.write(0, 0x1004, 4, 7, cpu).is_err(), "there is no part");
    assert!(!irq(&m));
    m.write(0, 0x1000, 4, 0, cpu).unwrap();
    assert!(irq(&m));
    // Its memory outlives a reset, its state does not; a snapshot has both.
    let snapshot = m.save().unwrap();
    m.reset().unwrap();
    assert!(!irq(&m));
    m.write(0, 0x1000, 4, 9, cpu).unwrap();
    m.load_snapshot(&snapshot).unwrap();
    assert!(irq(&m));
    assert_eq!(m.read(0, 0x1000, 4, cpu).unwrap(), 0);
}

#[test]
fn the_bench_has_parts_too() {
    let mut bench = TestBench::new(&CONTROLLER, 0);
    assert!(bench.write(0, 1).is_err());
    bench.attach(0, 0x50, &CHIP, &[]);
    bench.write(0, 5).unwrap();
    assert_eq!(bench.read(0).unwrap(), 5);
    assert!(!bench.line(0, 0) && !bench.part(0, 0x50).line(0, 0));
    bench.write(0, 0).unwrap();
    assert!(bench.line(0, 0) && bench.part(0, 0x50).line(0, 0));
}
