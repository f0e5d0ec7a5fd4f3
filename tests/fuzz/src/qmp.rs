//! What a client of the control socket sends, and the monitor's commands in it: a machine with memory and nothing else executes them.
#![no_main]

use emu_debug::monitor::edit::Editor;
use emu_debug::monitor::{CpuName, Host, Monitor, Names, Session};
use emu_debug::qmp::{Conversation, Frame, Framer};
use emu_machine::backend::Disk;
use emu_machine::machine::Unmapped;
use emu_machine::vcpu::Vcpu;
use emu_memory::RamBlock;
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

struct Nothing;

impl Host for Nothing {
    fn disassemble(&self, _: &CpuName, _: u64, pc: u64, bytes: &[u8]) -> Option<(usize, String, String)> {
        (bytes.len() >= 4).then(|| (4, format!("{pc:x}"), "nop".into()))
    }
    fn open_disk(&self, _: &str) -> Result<Box<dyn Disk>, String> {
        Err("no disks here".into())
    }
    fn trace(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}

/// It would write files of the host, which is what it is for.
fn saves(text: &str) -> bool {
    text.contains("memsave")
}

fuzz_target!(|input: (&[u8], &str)| {
    let (stream, lines) = input;
    let isa = emu_isa_arm::Arm::model("cortex-a9", emu_isa_arm::System::new("cortex-a9")).expect("the model");
    let mut builder = emu_machine::Builder::default();
    let bus = builder.bus(32, Unmapped::Abort, Unmapped::Abort);
    let ram = RamBlock::new("ram", 1 << 16).expect("memory");
    builder.memory(bus, 0, 1 << 16, 0, &ram, true).expect("a free place");
    builder.cpu("cpu0", Box::new(Vcpu::new(Arc::new(isa), 0)), bus, true);
    let mut machine = builder.build(emu_machine::TimeMode::Virtual(1_000_000));
    machine.reset().expect("no images");
    machine.hold();
    let session = Session::new(machine.handle(), Arc::new(Names::new(&machine)), Arc::new(Nothing));
    let handle = machine.handle();
    let running = std::thread::spawn(move || machine.run());
    let mut conversation = Conversation::new(session.clone());
    let mut framer = Framer::default();
    for frame in framer.feed(br#"{"execute":"qmp_capabilities"}"#).into_iter().chain(framer.feed(stream)) {
        let parsed = if let Frame::Value(text) = &frame { serde_json::from_slice::<serde_json::Value>(text).ok() } else { None };
        if parsed.is_none_or(|value| !saves(&value.to_string())) {
            let (answer, _) = conversation.take(frame);
            assert!(answer.is_object());
        }
    }
    if !saves(lines) {
        Monitor::new(session.clone(), false).feed(format!("{lines}\n").as_bytes(), &mut |_| {});
    }
    let ways = |before: &str| (before.len() / 2, vec![before.to_string(), lines.to_string()]);
    Editor::new("> ").feed(stream, &mut { ways });
    handle.stop(0);
    _ = running.join();
});
