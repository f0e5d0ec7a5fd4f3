//! A small machine: an ARM CPU, 64 KiB of memory, a serial port and a timer.

use emu_devices::{serial::cdns_uart, timer::cdns_ttc};
use emu_machine::machine::{Input, Source, Unmapped};
use emu_machine::schema::{DeviceType, Props};
use emu_machine::vcpu::Vcpu;
use emu_machine::{Machine, TimeMode};
use emu_memory::RamBlock;
use std::sync::Arc;

/// Its devices: names and types. Each has its registers 64 KiB behind the last, from 0x10000.
pub const DEVICES: [(&str, DeviceType); 2] = [("uart0", cdns_uart::TYPE), ("ttc0", cdns_ttc::TYPE)];

/// The machine, reset.
pub fn machine() -> Machine {
    let isa = emu_isa_arm::Arm::model("cortex-a9", emu_isa_arm::System::new("cortex-a9")).expect("the model");
    let mut builder = emu_machine::Builder::default();
    let bus = builder.bus(32, Unmapped::Abort, Unmapped::Zero);
    let ram = RamBlock::new("ram", 1 << 16).expect("memory");
    builder.memory(bus, 0, 1 << 16, 0, &ram, true).expect("a free place");
    builder.cpu("cpu0", Box::new(Vcpu::new(Arc::new(isa), 0)), bus, true);
    let clock = builder.clock(Some(100_000_000), 1, 1);
    for (n, (name, kind)) in DEVICES.iter().enumerate() {
        let made = (kind.create)(&Props::default()).expect("a device");
        let device = builder.device(name, kind, &Props::default(), made, None);
        builder.region(device, 0, bus, 0x1_0000 * (n as u64 + 1), 0x1000, 0).expect("a free place");
        builder.clock_input(device, 0, Source::Clock(clock));
        builder.wire(device, 0, 0, Input::Cpu { cpu: 0, bit: n as u32 }).expect("a line");
    }
    let mut machine = builder.build(TimeMode::Deterministic(1_000_000));
    machine.reset().expect("no images");
    machine
}
