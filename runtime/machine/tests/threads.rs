//! vCPUs on threads of their own, under load: two of them count together, each takes a device's interrupts and reads what it wrote by DMA, both
//! pulse a shared line, and another thread pauses, saves and resumes it all. Every total is exact at the end.

#[path = "../../ir/tests/common/mod.rs"]
#[allow(clippy::all)]
mod common;

use common::{I, Toy, asm};
use emu_machine::control::Event;
use emu_machine::device::{Cx, Device, Nanos};
use emu_machine::machine::{Input, Unmapped};
use emu_machine::schema::{Count, DeviceType, PortSpec, Props, RegionSpec};
use emu_machine::vcpu::Vcpu;
use emu_machine::{Access, Builder, BusError, Exit, GuestPhys, Start, TimeMode};
use emu_memory::RamBlock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

const KIND: DeviceType = DeviceType {
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x100) }],
    inputs: &[PortSpec::many("in", 1, "")],
    outputs: &[PortSpec::many("out", 1, "")],
    dma: true,
    ..DeviceType::new("test,threads", "", |_| Err("made by hand".into()))
};

/// Interrupts a CPU again and again: a while after each acknowledgement it writes the next number to memory and raises its line.
struct Ticker {
    number: u32,
    memory: u64,
    /// Timers that expired when none was armed.
    spurious: Arc<AtomicU32>,
    armed: bool,
}

impl Device for Ticker {
    fn reset(&mut self, _: &mut Cx<'_>) {}
    fn read(&mut self, _: usize, _: u64, _: u8, _: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        Ok(cx.now().0)
    }
    fn write(&mut self, _: usize, _: u64, _: u8, _: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        cx.set_line(0, 0, false);
        if self.number < TICKS {
            // Twice, and one that never expires: the last word counts.
            cx.arm(0, Nanos(cx.now().0 + 1_000));
            cx.arm(1, cx.now());
            cx.disarm(1);
            cx.arm(0, Nanos(cx.now().0 + 5_000 + u64::from(self.number % 7) * 9_000));
            self.armed = true;
        }
        Ok(())
    }
    fn timer_expired(&mut self, timer: u32, cx: &mut Cx<'_>) {
        if timer != 0 || !std::mem::take(&mut self.armed) {
            self.spurious.fetch_add(1, Ordering::Relaxed);
        }
        self.number += 1;
        assert!(cx.dma_write(GuestPhys(self.memory), &self.number.to_le_bytes()).is_ok());
        cx.set_line(0, 0, true);
    }
    fn save(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
    fn load(&mut self, _: &serde_json::Value) -> Result<(), String> {
        Ok(())
    }
}

/// Pulses its output at each write to offset 0, and powers off at one to offset 4.
struct Pulser;

impl Device for Pulser {
    fn reset(&mut self, _: &mut Cx<'_>) {}
    fn read(&mut self, _: usize, _: u64, _: u8, _: Access, _: &mut Cx<'_>) -> Result<u64, BusError> {
        Ok(0)
    }
    fn write(&mut self, _: usize, offset: u64, _: u8, _: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        if offset == 0 {
            cx.set_line(0, 0, true);
            cx.set_line(0, 0, false);
        } else {
            cx.power_off(0);
        }
        Ok(())
    }
    fn save(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
    fn load(&mut self, _: &serde_json::Value) -> Result<(), String> {
        Ok(())
    }
}

/// Counts the pulses of its input, and those that were none.
struct Counter(Arc<AtomicU32>, bool);

impl Device for Counter {
    fn reset(&mut self, _: &mut Cx<'_>) {}
    fn read(&mut self, _: usize, _: u64, _: u8, _: Access, _: &mut Cx<'_>) -> Result<u64, BusError> {
        Ok(0)
    }
    fn write(&mut self, _: usize, _: u64, _: u8, _: u64, _: Access, _: &mut Cx<'_>) -> Result<(), BusError> {
        Ok(())
    }
    fn line_changed(&mut self, _: usize, _: u32, level: bool, _: &mut Cx<'_>) {
        // Twice the same level would be an odd total.
        self.0.fetch_add(if level == self.1 { 1 << 24 } else { u32::from(level) }, Ordering::Relaxed);
        self.1 = level;
    }
    fn save(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
    fn load(&mut self, _: &serde_json::Value) -> Result<(), String> {
        Ok(())
    }
}

const TICKS: u32 = 600;
const ROUNDS: u32 = 400;
const STEPS: u32 = 32;

/// Shared: the counter, and how many CPUs are done. Each CPU's own: interrupts taken, the sum of the numbers read, the number its device writes.
const SHARED: u64 = 0x8000;
const OWN: u64 = 0x9000;
const DEVICES: u64 = 0x1000_0000;

/// Adds 1 to the word `offset` bytes into the shared ones; its new value is in r1.
fn add_one(code: &mut Vec<u32>, offset: u32) {
    code.extend([
        asm(I::AddI, 3, 10, offset),
        asm(I::LdX, 1, 3, 0),
        asm(I::AddI, 1, 1, 1),
        asm(I::StX, 2, 3, 1),
        asm(I::CmpI, 0, 2, 0),
        asm(I::Bne, 0, 0, (-4i32) as u32),
    ]);
}

/// Waits for an interrupt, if there is one to come.
fn wait(code: &mut Vec<u32>) {
    code.extend([
        asm(I::Mask, 0, 0, 1),
        asm(I::Ld, 3, 9, 0),
        asm(I::CmpI, 0, 3, TICKS),
        asm(I::Beq, 0, 0, 2),
        asm(I::Wfi, 0, 0, 0),
        asm(I::Mask, 0, 0, 0),
    ]);
}

/// r8: its device, r9: its own words, r10: the shared ones, r11: the pulser.
fn program() -> Vec<u32> {
    let mut code = vec![asm(I::Mask, 0, 0, 0), asm(I::St, 0, 8, 0), asm(I::Li, 12, 0, ROUNDS)];
    let round = code.len();
    code.push(asm(I::Li, 13, 0, STEPS));
    let step = code.len();
    add_one(&mut code, 0);
    code.extend([asm(I::St, 0, 11, 0), asm(I::AddI, 13, 13, 0xffff), asm(I::CmpI, 0, 13, 0)]);
    code.push(asm(I::Bne, 0, 0, (step as i32 - code.len() as i32) as u32));
    wait(&mut code);
    code.extend([asm(I::AddI, 12, 12, 0xffff), asm(I::CmpI, 0, 12, 0)]);
    code.push(asm(I::Bne, 0, 0, (round as i32 - code.len() as i32) as u32));
    let rest = code.len();
    wait(&mut code);
    code.extend([asm(I::Ld, 3, 9, 0), asm(I::CmpI, 0, 3, TICKS)]);
    code.push(asm(I::Bne, 0, 0, (rest as i32 - code.len() as i32) as u32));
    add_one(&mut code, 4);
    code.extend([asm(I::CmpI, 0, 1, 2), asm(I::Bne, 0, 0, 2), asm(I::St, 0, 11, 4), asm(I::Wfi, 0, 0, 0), asm(I::B, 0, 0, 0xffff)]);
    code
}

/// Counts, adds up what the device wrote, and acknowledges; leaves the flags alone.
fn handler() -> Vec<u32> {
    vec![
        asm(I::Ld, 5, 9, 0),
        asm(I::AddI, 5, 5, 1),
        asm(I::St, 5, 9, 0),
        asm(I::Ld, 5, 9, 4),
        asm(I::Ld, 6, 9, 8),
        asm(I::Add, 5, 5, 6),
        asm(I::St, 5, 9, 4),
        asm(I::St, 0, 8, 0),
        asm(I::Eret, 0, 0, 0),
    ]
}

/// Guest time stands still while it is held.
fn hold_for_a_while(handle: &emu_machine::Handle) {
    let (times, holds) = (Arc::<AtomicU64>::default(), Arc::<AtomicU32>::default());
    let (time, held) = (times.clone(), holds.clone());
    handle.listen(Box::new(move |event| _ = held.fetch_add(u32::from(event == Event::Held), Ordering::Relaxed)));
    handle.ask(Box::new(move |machine| {
        machine.hold();
        time.store(machine.now().0, Ordering::Relaxed);
    }));
    std::thread::sleep(Duration::from_micros(300));
    handle.ask(Box::new(move |machine| {
        assert!(machine.is_held() && holds.load(Ordering::Relaxed) > 0);
        assert_eq!(machine.now().0, times.load(Ordering::Relaxed));
        machine.resume();
    }));
}

#[test]
fn after_its_end_nobody_waits_for_a_machine() {
    let machine = Builder::default().build(TimeMode::Realtime);
    let handle = machine.handle();
    let waiting = handle.clone();
    let waits = std::thread::spawn(move || waiting.call(|_| ()));
    std::thread::sleep(Duration::from_millis(2));
    drop(machine);
    assert_eq!((waits.join().unwrap(), handle.call(|_| ())), (None, None));
}

fn stress(quick: bool) {
    let mut build = Builder::default();
    build.bus(32, Unmapped::Abort, Unmapped::Abort);
    let ram = RamBlock::new("ram", 1 << 20).unwrap();
    build.memory(0, 0, 1 << 20, 0, &ram, true).unwrap();
    let words = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    assert!(ram.copy_in(0x1000, &words(&program())) && ram.copy_in(0x2000, &words(&handler())));
    let vector = 0x100 + 16 * u64::from(common::IRQ);
    assert!(ram.copy_in(vector, &words(&[asm(I::B, 0, 0, ((0x2000 - vector) / 4) as u32)])));
    let (spurious, pulses) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
    let mut starts = Vec::new();
    for n in 0..2 {
        let (own, at) = (OWN + 0x1000 * n as u64, DEVICES + 0x1000 * n as u64);
        let ticker = Ticker { number: 0, memory: own + 8, spurious: spurious.clone(), armed: false };
        let device = build.device("ticker", &KIND, &Props::default(), Box::new(ticker), Some(0));
        build.region(device, 0, 0, at, 0x100, 0).unwrap();
        let cpu = build.cpu("cpu", Box::new(Vcpu::new(Arc::new(Toy), n)), 0, true);
        build.wire(device, 0, 0, Input::Cpu { cpu, bit: 0 }).unwrap();
        let registers = [("r8", at), ("r9", own), ("r10", SHARED), ("r11", DEVICES + 0x2000)];
        starts.push(Start { cpu, pc: Some(0x1000), registers: registers.map(|(name, value)| (name.to_string(), value)).to_vec() });
    }
    let pulser = build.device("pulser", &KIND, &Props::default(), Box::new(Pulser), None);
    build.region(pulser, 0, 0, DEVICES + 0x2000, 0x100, 0).unwrap();
    let counter = build.device("counter", &KIND, &Props::default(), Box::new(Counter(pulses.clone(), false)), None);
    build.wire(pulser, 0, 0, Input::Device { device: counter, port: 0, index: 0 }).unwrap();
    let mut machine = build.build(TimeMode::Realtime);
    machine.starts = starts;
    if quick {
        machine.use_tiers(&emu_ir::interp::Tiers::Quick);
    }
    machine.reset().unwrap();

    let ended = AtomicBool::new(false);
    let pauses = std::thread::scope(|scope| {
        let handle = machine.handle();
        let ended = &ended;
        scope.spawn(move || {
            for n in 0u32.. {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                if n == 100_000 {
                    // It should have been over long ago.
                    handle.stop(124);
                }
                if n % 2 == 0 {
                    handle.pause();
                } else {
                    hold_for_a_while(&handle);
                }
                std::thread::sleep(Duration::from_micros(600));
            }
        });
        let mut pauses = 0;
        let exit = loop {
            let exit = machine.run();
            if exit != Ok(Exit::Paused) {
                break exit;
            }
            pauses += 1;
            // Everything stands still: what is saved is what goes on.
            for n in 0..2 {
                let cpu = machine.cpu(n).unwrap();
                let saved = cpu.save().to_string();
                cpu.reset();
                cpu.load(&serde_json::from_str(&saved).unwrap()).unwrap();
                assert_eq!(cpu.save().to_string(), saved);
            }
        };
        ended.store(true, Ordering::Relaxed);
        assert_eq!(exit, Ok(Exit::Stopped(0)));
        pauses
    });
    assert!(pauses > 0);
    let word = |at: u64| ram.read_u32(at).unwrap();
    let total = 2 * ROUNDS * STEPS;
    assert_eq!((word(SHARED), word(SHARED + 4), pulses.load(Ordering::Relaxed)), (total, 2, total));
    for own in [OWN, OWN + 0x1000] {
        assert_eq!([word(own), word(own + 4), word(own + 8)], [TICKS, TICKS * (TICKS + 1) / 2, TICKS]);
    }
    assert_eq!(spurious.load(Ordering::Relaxed), 0);
}

#[test]
fn totals_are_exact_in_the_interpreter() {
    stress(false);
}

#[test]
fn totals_are_exact_in_the_quick_tier() {
    stress(true);
}
