//! What a debugger sends: a machine with memory and nothing else serves it until the bytes end.
#![no_main]

use emu_machine::machine::Unmapped;
use emu_machine::vcpu::Vcpu;
use emu_memory::RamBlock;
use gdbstub::conn::{Connection, ConnectionExt};
use libfuzzer_sys::fuzz_target;
use std::io::{Error, ErrorKind};
use std::sync::Arc;

/// Bytes that were recorded; answers go nowhere.
struct Recorded(std::vec::IntoIter<u8>);

impl Connection for Recorded {
    type Error = Error;
    fn write(&mut self, _: u8) -> Result<(), Error> {
        Ok(())
    }
    fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

impl ConnectionExt for Recorded {
    fn read(&mut self) -> Result<u8, Error> {
        self.0.next().ok_or_else(|| Error::from(ErrorKind::UnexpectedEof))
    }
    fn peek(&mut self) -> Result<Option<u8>, Error> {
        // At the end somebody interrupts, so that a machine that was told to go does not go on for ever.
        Ok(self.0.as_slice().first().copied().or(Some(3)))
    }
}

impl emu_debug::gdb::Ready for Recorded {
    fn ready(&mut self, _: std::time::Duration) {}
}

fuzz_target!(|packets: Vec<&[u8]>| {
    let isa = emu_isa_arm::Arm::model("cortex-a9", emu_isa_arm::System::new("cortex-a9")).expect("the model");
    let mut builder = emu_machine::Builder::default();
    let bus = builder.bus(32, Unmapped::Abort, Unmapped::Abort);
    let ram = RamBlock::new("ram", 1 << 16).expect("memory");
    builder.memory(bus, 0, 1 << 16, 0, &ram, true).expect("a free place");
    builder.cpu("cpu0", Box::new(Vcpu::new(Arc::new(isa), 0)), bus, true);
    let mut machine = builder.build(emu_machine::TimeMode::Virtual(1_000_000));
    machine.reset().expect("no images");
    let mut bytes = b"+".to_vec();
    for packet in packets {
        let sum = packet.iter().fold(0u8, |a, b| a.wrapping_add(*b));
        bytes.push(b'$');
        bytes.extend(packet);
        bytes.extend(format!("#{sum:02x}+").bytes());
    }
    _ = emu_debug::gdb::serve(&mut machine, Recorded(bytes.into_iter()));
});
