//! A small machine for the tests of monitor and control socket: a CPU that counts in memory, a device with one of everything, and its names.

#![allow(dead_code)]

#[path = "../../../ir/tests/common/mod.rs"]
#[allow(clippy::all)]
mod toy;

use emu_debug::monitor::{CpuName, Host, Names, Session};
use emu_machine::backend::Disk;
use emu_machine::device::{Cx, Device};
use emu_machine::input::{InputEvent, InputKind};
use emu_machine::machine::{Input, Unmapped};
use emu_machine::schema::*;
use emu_machine::testing::MemoryDisk;
use emu_machine::vcpu::Vcpu;
use emu_machine::{Access, Builder, BusError, Exit, Handle, Initiator, Start, TimeMode};
use emu_memory::RamBlock;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use toy::{I, Toy, asm};

const fn register(
    name: &'static str,
    offset: u64,
    access: &'static str,
    fields: &'static [(&'static str, u32, u32, &'static str)],
) -> RegisterDoc {
    RegisterDoc { name, region: 0, offset, width: 32, reset: 0, access, count: 1, stride: 0, doc: "", fields }
}

/// CR: plain fields; ISR: cleared by ones; FIFO: a read takes, but not a debugger's; CLR: any read clears; MATCH: an array.
const KIND: DeviceType = DeviceType {
    registers: &[
        register("CR", 0, "rw", &[("RST", 0, 1, "w1-self-clear"), ("RXEN", 2, 1, "rw"), ("TXEN", 4, 1, "rw"), ("MODE", 8, 4, "rw")]),
        register("ISR", 4, "w1c", &[("DONE", 0, 1, "w1c"), ("FULL", 1, 1, "w1c"), ("MASK", 8, 2, "rw")]),
        register("FIFO", 8, "rw", &[]),
        register("CLR", 12, "rc", &[]),
        RegisterDoc { count: 4, stride: 4, ..register("MATCH", 16, "rw", &[("VALUE", 0, 8, "rw")]) },
    ],
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x100) }],
    inputs: &[PortSpec::one("power-button", "")],
    outputs: &[PortSpec::one("irq", "")],
    chardevs: &["serial"],
    drives: &["card"],
    nics: &["eth"],
    input: Some(InputKind::Keyboard),
    ..DeviceType::new("test,all", "A bit of everything", |_| Err("made by hand".into()))
};

#[derive(Default)]
struct All {
    cr: u32,
    isr: u32,
    taken: u32,
    clear: u32,
    matches: [u32; 4],
}

impl Device for All {
    fn reset(&mut self, _: &mut Cx<'_>) {
        *self = All { isr: 3, clear: 7, ..All::default() };
    }
    fn read(&mut self, _: usize, offset: u64, _: u8, access: Access, _: &mut Cx<'_>) -> Result<u64, BusError> {
        Ok(u64::from(match offset {
            0 => self.cr,
            4 => self.isr,
            8 => {
                self.taken += u32::from(access.initiator != Initiator::Debug);
                self.taken
            }
            12 => std::mem::take(&mut self.clear),
            16..=31 => self.matches[(offset as usize - 16) / 4],
            _ => return Err(BusError::Device),
        }))
    }
    fn write(&mut self, _: usize, offset: u64, _: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        let value = value as u32;
        match offset {
            0 if value & 1 != 0 => self.cr = 0xbad,
            0 => {
                self.cr = value;
                cx.set_line(0, 0, value & 0x10 != 0);
            }
            4 => self.isr = self.isr & !(value & 3) & 3 | value & 0x300,
            16..=31 => self.matches[(offset as usize - 16) / 4] = value,
            0xf0 => cx.reset_system(),
            0xf4 => cx.power_off(0),
            _ => return Err(BusError::Device),
        }
        Ok(())
    }
    fn line_changed(&mut self, _: usize, _: u32, level: bool, _: &mut Cx<'_>) {
        self.matches[3] += u32::from(level);
    }
    fn input(&mut self, event: InputEvent, _: &mut Cx<'_>) {
        let InputEvent::Key { usage, down } = event else { panic!("only keys are for it") };
        self.matches[1] += 1;
        self.matches[2] = u32::from(usage) << 1 | u32::from(down);
    }
    fn save(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
    fn load(&mut self, _: &serde_json::Value) -> Result<(), String> {
        Ok(())
    }
}

/// Every word is an instruction; the image `FILE` is a disk of as many bytes as its name has, times 512.
pub struct TestHost(pub Mutex<String>);

impl Host for TestHost {
    fn disassemble(&self, cpu: &CpuName, key: u64, pc: u64, bytes: &[u8]) -> Option<(usize, String, String)> {
        let word = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
        Some((4, format!("{word:08x}"), format!("{} {key} op{} at {pc:x}", cpu.model, word >> 24)))
    }
    fn open_disk(&self, image: &str) -> Result<Box<dyn Disk>, String> {
        match image {
            "missing" => Err("cannot open missing: no such file".into()),
            _ => Ok(Box::new(MemoryDisk { bytes: vec![0; 512 * image.len()], read_only: image.contains("readonly") })),
        }
    }
    fn trace(&self, filter: &str) -> Result<(), String> {
        *self.0.lock().unwrap() = filter.to_string();
        if filter.contains('!') { Err("`!` is no filter".into()) } else { Ok(()) }
    }
}

/// Where the CPU counts.
pub const COUNTER: u64 = 0x8000;
/// The device.
pub const DEVICE: u64 = 0x1000_0000;

/// A machine that runs on a thread of its own.
pub struct Running {
    pub session: Session,
    pub host: Arc<TestHost>,
    thread: Option<JoinHandle<Result<Exit, String>>>,
}

pub fn start() -> Running {
    start_with(|_| {})
}

/// Starts it after `change`.
pub fn start_with(change: impl FnOnce(&mut emu_machine::Machine)) -> Running {
    let mut builder = Builder::default();
    let bus = builder.bus(32, Unmapped::Abort, Unmapped::Abort);
    let ram = RamBlock::new("ram", 0x1_0000).unwrap();
    let rom = RamBlock::new("rom", 0x1000).unwrap();
    builder.memory(bus, 0, 0x1_0000, 0, &ram, true).unwrap();
    builder.memory(bus, 0x2000_0000, 0x1000, 0, &rom, false).unwrap();
    let cpu = builder.cpu("cpu0", Box::new(Vcpu::new(Arc::new(Toy), 0)), bus, true);
    let device = builder.device("uart0", &KIND, &Props::default(), Box::new(All::default()), None);
    builder.region(device, 0, bus, DEVICE, 0x100, 0).unwrap();
    builder.wire(device, 0, 0, Input::Cpu { cpu, bit: 0 }).unwrap();
    let mut machine = builder.build(TimeMode::Realtime);
    let code = [asm(I::Mask, 0, 0, 1), asm(I::Ld, 1, 2, 0), asm(I::AddI, 1, 1, 1), asm(I::St, 1, 2, 0), asm(I::B, 0, 0, (-4i32) as u32)];
    let bytes: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
    machine.images = vec![emu_machine::Image { bus, at: 0x1000, bytes, name: "code".into() }];
    machine.starts = vec![Start { cpu, pc: Some(0x1000), registers: vec![("r2".into(), COUNTER)] }];
    machine.reset().unwrap();
    change(&mut machine);
    let mut names = Names::new(&machine);
    names.board = "small".into();
    names.cpus[0] = CpuName { name: "cpu0".into(), isa: "toy".into(), model: "toy1".into(), lines: vec!["irq".into()] };
    names.aliases = vec![("console".into(), "uart0".into()), ("sd0".into(), "uart0".into()), ("eth0".into(), "uart0".into())];
    names.chardevs.insert(device, "unix:/tmp/serial,server".into());
    let host = Arc::new(TestHost(Mutex::default()));
    let session = Session::new(machine.handle(), Arc::new(names), host.clone());
    let thread = std::thread::spawn(move || machine.run());
    Running { session, host, thread: Some(thread) }
}

impl Running {
    pub fn handle(&self) -> Handle {
        self.session.handle().clone()
    }

    /// Executes a command that works.
    pub fn ok(&mut self, line: &str) -> String {
        self.session.execute(line).unwrap_or_else(|e| panic!("{line}: {e}"))
    }

    /// Executes a command that does not.
    pub fn error(&mut self, line: &str) -> String {
        self.session.execute(line).expect_err(line)
    }

    /// What the CPU counted so far.
    pub fn counted(&mut self) -> u64 {
        let text = self.ok("peekp 0x8000");
        u64::from_str_radix(text.trim().rsplit("0x").next().unwrap(), 16).unwrap()
    }

    /// Waits for its end.
    pub fn exit(mut self) -> Exit {
        self.thread.take().unwrap().join().unwrap().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.session.handle().stop(0);
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}
