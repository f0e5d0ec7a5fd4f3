//! The machine with devices and CPUs made for the purpose: lines, timers, buses, time modes, resets.

use emu_machine::cpu::{Cpu, CpuStop};
use emu_machine::device::{Cx, Device, Hertz, Nanos};
use emu_machine::machine::{Input, Source, StubPolicy, Unmapped};
use emu_machine::schema::{ClockSpec, DeviceType, PortSpec, Props, RegionSpec};
use emu_machine::{Access, Builder, BusError, Exit, Image, Machine, Start, TimeMode, schema::Count};
use emu_memory::{Attention, GuestBus, GuestPhys, RamBlock};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

type Log = Arc<Mutex<Vec<String>>>;

fn take(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().unwrap())
}

/// A device that does what its registers say and logs what happens to it.
struct Probe {
    name: &'static str,
    log: Log,
    /// Its output repeats its input.
    repeats: bool,
    /// Its output is high after a reset.
    idle_high: bool,
}

const LINE: u64 = 0x00;
const ARM: u64 = 0x04;
const SEND: u64 = 0x08;
const DMA: u64 = 0x0c;
const RESET: u64 = 0x10;
const POWER_OFF: u64 = 0x14;
const CLOCK: u64 = 0x18;
const CLEAR: u64 = 0x1c;
const ECHO: u64 = 0x40;

const KIND: DeviceType = DeviceType {
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x100) }],
    inputs: &[PortSpec::many("in", 4, "")],
    outputs: &[PortSpec::many("out", 4, "")],
    clocks_in: &[ClockSpec { name: "clk", required: false, doc: "" }],
    clocks_out: &[ClockSpec { name: "out", required: false, doc: "" }],
    chardevs: &["serial"],
    dma: true,
    ..DeviceType::new("test,probe", "", |_| Err("made by hand".into()))
};

impl Probe {
    fn say(&self, what: String) {
        self.log.lock().unwrap().push(format!("{} {what}", self.name));
    }
}

impl Device for Probe {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.say("reset".into());
        cx.set_line(0, 0, self.idle_high);
    }
    fn read(&mut self, _: usize, offset: u64, size: u8, _: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        if offset < ECHO {
            return Ok(cx.now().0);
        }
        self.say(format!("read {size}@{offset:#x}"));
        Ok(0x1111_1111_1111_1111 * (offset & 7))
    }
    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        match offset {
            LINE => cx.set_line(0, (value >> 1) as u32, value & 1 != 0),
            ARM => cx.arm(0, Nanos(cx.now().0 + value)),
            SEND => cx.send(0, value as u8),
            DMA => {
                let result = cx.dma_write(GuestPhys(value), &[0xab; 4]);
                self.say(format!("dma {}", result.is_ok()));
            }
            RESET => cx.reset_system(),
            POWER_OFF => cx.power_off(value as i32),
            CLOCK => cx.set_clock(0, Hertz(value)),
            CLEAR => {
                // Two changes in one call: those who listen hear both, in order, after it.
                cx.set_line(0, 0, false);
                cx.set_line(0, 1, true);
                self.say("returns".into());
            }
            _ => self.say(format!("write {size}@{offset:#x}={value:#x}")),
        }
        Ok(())
    }
    fn line_changed(&mut self, _: usize, index: u32, level: bool, cx: &mut Cx<'_>) {
        self.say(format!("in{index}={}", u8::from(level)));
        if self.repeats {
            cx.set_line(0, index, level);
        }
    }
    fn clock_changed(&mut self, _: usize, hz: Hertz, _: &mut Cx<'_>) {
        self.say(format!("clock {}", hz.0));
    }
    fn timer_expired(&mut self, _: u32, cx: &mut Cx<'_>) {
        self.say(format!("timer {}", cx.now().0));
        cx.set_line(0, 0, true);
    }
    fn input_ready(&mut self, _: usize, cx: &mut Cx<'_>) {
        while let Some(byte) = cx.receive(0) {
            self.say(format!("input {}", byte as char));
        }
    }
    fn save(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
    fn load(&mut self, _: &serde_json::Value) -> Result<(), String> {
        Ok(())
    }
}

/// One instruction of [`Script`].
#[derive(Clone, Copy)]
enum Op {
    Nop,
    Write(u64, u64),
    Read(u64),
    /// Log the levels.
    Levels,
    Wfi,
    Wfe,
    Sev,
    Output(bool),
    FlushOthers,
    Jump(u64),
}

/// A CPU that executes a list; it logs what it reads, with the guest time.
struct Script {
    ops: Vec<Op>,
    pc: u64,
    index: u8,
    log: Log,
    asleep: Option<bool>,
    event: bool,
    executed: u64,
}

impl Cpu for Script {
    fn digest(&self) -> u64 {
        self.pc
    }
    fn reset(&mut self) {
        (self.pc, self.asleep, self.event) = (0, None, false);
    }
    fn run(&mut self, bus: &dyn GuestBus) -> CpuStop {
        self.executed = 0;
        let access = Access::cpu(self.index);
        loop {
            let bits = bus.attention().load(Ordering::Relaxed);
            bus.acknowledge(bits);
            if bits & Attention::FLUSH_TLB != 0 {
                self.log.lock().unwrap().push(format!("cpu{} flush", self.index));
            }
            self.event |= bits & Attention::EVENT != 0;
            if bits & Attention::EXIT != 0 {
                return CpuStop::Ran;
            }
            if let Some(for_event) = self.asleep {
                if bus.levels() == 0 && !(for_event && std::mem::take(&mut self.event)) {
                    return CpuStop::Asleep;
                }
                self.asleep = None;
            }
            if self.executed >= bus.limit() {
                return CpuStop::Ran;
            }
            bus.publish(self.pc, self.executed);
            let op = self.ops.get(self.pc as usize).copied().unwrap_or(Op::Wfi);
            let say = |what: String| self.log.lock().unwrap().push(format!("cpu{} {what}", self.index));
            self.pc += 1;
            match op {
                Op::Nop => {}
                Op::Write(at, value) => drop(bus.write(GuestPhys(at), 4, value, access)),
                Op::Read(at) => say(format!("{:x?} @{}", bus.read(GuestPhys(at), 4, access), bus.now())),
                Op::Levels => say(format!("levels {:b} @{}", bus.levels(), bus.now())),
                Op::Wfi => self.asleep = Some(false),
                Op::Wfe => self.asleep = Some(true),
                Op::Sev => bus.send_event(),
                Op::Output(level) => bus.set_output(0, 0, level),
                Op::FlushOthers => bus.flush_other_tlbs(),
                Op::Jump(to) => self.pc = to,
            }
            self.executed += 1;
        }
    }
    fn executed(&self) -> u64 {
        self.executed
    }
    fn is_asleep(&self) -> bool {
        self.asleep.is_some()
    }
    fn pc(&self) -> u64 {
        self.pc
    }
    fn set_pc(&mut self, pc: u64) {
        self.pc = pc;
    }
    fn register(&self, _: &str) -> Option<u128> {
        None
    }
    fn set_register(&mut self, _: &str, _: u128) -> bool {
        false
    }
    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![]
    }
    fn save(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
    fn load(&mut self, _: &serde_json::Value) -> Result<(), String> {
        Ok(())
    }
}

/// A machine with RAM at 0x1_0000 (8 KiB), ROM at 0x2_0000, and devices from 0xf000_0000 on, 4 KiB apart.
struct Bench {
    build: Builder,
    log: Log,
    cpus: u8,
}

const DEVICES: u64 = 0xf000_0000;
const A: u64 = DEVICES;
const B: u64 = DEVICES + 0x1000;

impl Bench {
    fn new() -> Bench {
        let mut build = Builder::default();
        build.bus(32, Unmapped::Abort, Unmapped::Abort);
        build.memory(0, 0x1_0000, 0x2000, 0, &RamBlock::new("ram", 0x2000).unwrap(), true).unwrap();
        build.memory(0, 0x2_0000, 0x1000, 0, &RamBlock::new("rom", 0x1000).unwrap(), false).unwrap();
        Bench { build, log: Log::default(), cpus: 0 }
    }
    fn probe(&mut self, name: &'static str) -> usize {
        self.device(Probe { name, log: self.log.clone(), repeats: false, idle_high: false })
    }
    fn device(&mut self, probe: Probe) -> usize {
        let name = probe.name;
        let device = self.build.device(name, &KIND, &Props::default(), Box::new(probe), Some(0));
        self.build.region(device, 0, 0, DEVICES + 0x1000 * device as u64, 0x100, 0).unwrap();
        device
    }
    fn cpu(&mut self, runs: bool, ops: &[Op]) -> usize {
        let (log, index) = (self.log.clone(), self.cpus);
        self.cpus += 1;
        let cpu = Script { ops: ops.to_vec(), pc: 0, index, log, asleep: None, event: false, executed: 0 };
        self.build.cpu("cpu", Box::new(cpu), 0, runs)
    }
    fn build(self, time: TimeMode) -> (Machine, Log) {
        let mut machine = self.build.build(time);
        machine.reset().unwrap();
        (machine, self.log)
    }
}

fn input(device: usize, index: u32) -> Input {
    Input::Device { device, port: 0, index }
}

const CPU: Access = Access::cpu(0);
const IPS: u64 = 100_000_000;

#[test]
fn an_input_is_high_while_one_of_its_drivers_is() {
    let mut bench = Bench::new();
    let (a, b, c) = (bench.probe("a"), bench.probe("b"), bench.probe("c"));
    bench.build.wire(a, 0, 0, input(c, 2)).unwrap();
    bench.build.wire(b, 0, 0, input(c, 2)).unwrap();
    let (machine, log) = bench.build(TimeMode::Virtual(IPS));
    take(&log);
    let set = |base, level| machine.write(0, base + LINE, 4, level, CPU).unwrap();
    set(A, 1);
    set(A, 1);
    set(B, 1);
    assert_eq!(take(&log), ["c in2=1"]);
    set(A, 0);
    assert!(take(&log).is_empty());
    set(B, 0);
    assert_eq!(take(&log), ["c in2=0"]);
}

#[test]
fn effects_follow_the_call_in_order_and_chain() {
    let mut bench = Bench::new();
    let a = bench.probe("a");
    let b = bench.device(Probe { name: "b", log: bench.log.clone(), repeats: true, idle_high: false });
    let c = bench.probe("c");
    bench.build.wire(a, 0, 0, input(b, 0)).unwrap();
    bench.build.wire(a, 0, 1, input(b, 1)).unwrap();
    bench.build.wire(b, 0, 0, input(c, 0)).unwrap();
    bench.build.wire(b, 0, 1, input(c, 1)).unwrap();
    let (machine, log) = bench.build(TimeMode::Virtual(IPS));
    machine.write(0, A + LINE, 4, 1, CPU).unwrap();
    take(&log);
    machine.write(0, A + CLEAR, 4, 0, CPU).unwrap();
    assert_eq!(take(&log), ["a returns", "b in0=0", "b in1=1", "c in0=0", "c in1=1"]);
}

#[test]
fn a_loop_of_wires_comes_to_an_end() {
    let mut bench = Bench::new();
    let make = |bench: &mut Bench, name| bench.device(Probe { name, log: bench.log.clone(), repeats: true, idle_high: false });
    let (a, b) = (make(&mut bench, "a"), make(&mut bench, "b"));
    bench.build.wire(a, 0, 0, input(b, 0)).unwrap();
    bench.build.wire(b, 0, 0, input(a, 0)).unwrap();
    let (machine, log) = bench.build(TimeMode::Virtual(IPS));
    take(&log);
    machine.write(0, A + LINE, 4, 1, CPU).unwrap();
    assert_eq!(take(&log), ["b in0=1", "a in0=1"]);
}

#[test]
fn devices_see_aligned_words() {
    let mut bench = Bench::new();
    bench.probe("a");
    let (machine, log) = bench.build(TimeMode::Virtual(IPS));
    take(&log);
    assert_eq!(machine.read(0, A + 0x41, 4, CPU), Ok(0x4433_2211));
    assert_eq!(take(&log), ["a read 1@0x41", "a read 1@0x42", "a read 1@0x43", "a read 1@0x44"]);
    machine.write(0, A + 0x42, 4, 0xaabb_ccdd, CPU).unwrap();
    machine.write(0, A + 0x48, 8, 0x1122_3344_5566_7788, CPU).unwrap();
    let want = ["a write 2@0x42=0xccdd", "a write 2@0x44=0xaabb", "a write 4@0x48=0x55667788", "a write 4@0x4c=0x11223344"];
    assert_eq!(take(&log), want);
}

#[test]
fn memory_rules_hold() {
    let mut bench = Bench::new();
    bench.probe("a");
    let (machine, log) = bench.build(TimeMode::Virtual(IPS));
    // Across the end of RAM: the part outside fails.
    assert_eq!(machine.read(0, 0x1_1ffe, 4, CPU), Err(BusError::Decode));
    machine.write(0, 0x1_0ffd, 4, 0x1234_5678, CPU).unwrap();
    assert_eq!(machine.read(0, 0x1_0ffd, 4, CPU), Ok(0x1234_5678));
    // ROM: stores are ignored, loading is not.
    machine.write(0, 0x2_0000, 4, 1, CPU).unwrap();
    assert_eq!(machine.read(0, 0x2_0000, 4, CPU), Ok(0));
    machine.load(0, 0x2_0000, &[5, 6]).unwrap();
    assert_eq!(machine.read(0, 0x2_0000, 2, CPU), Ok(0x605));
    assert_eq!(machine.load(0, 0x2_0fff, &[0; 2]), Err(BusError::Decode));
    // DMA reaches RAM, not devices; a bus of 32 bits ignores what is above.
    take(&log);
    for at in [0x1_0004, A, 0x9_0000_0000_u64 + 0x1_0008] {
        machine.write(0, A + DMA, 4, at & 0xffff_ffff, CPU).unwrap();
    }
    assert_eq!(take(&log), ["a dma true", "a dma false", "a dma true"]);
    assert_eq!(machine.read(0, 0xf_0001_0004, 4, CPU), Ok(0xabab_abab));
}

#[test]
fn stubs_answer_by_their_policy() {
    let mut bench = Bench::new();
    let policies = [
        StubPolicy::RazWi,
        StubPolicy::Abort,
        StubPolicy::Toggle,
        StubPolicy::PollReady(3),
        StubPolicy::Ram,
        StubPolicy::Value(0x1_2345_6789),
    ];
    for (at, policy) in (0u64..).zip(policies) {
        bench.build.stub(&format!("stub{at}"), policy, false, 0, 0x3_0000 + at * 0x100, 0x100, 0).unwrap();
    }
    let (machine, _) = bench.build(TimeMode::Virtual(IPS));
    let ask = |n: u64, offset: u64| {
        let at = 0x3_0000 + n * 0x100 + offset;
        let first = machine.read(0, at, 4, CPU);
        let written = machine.write(0, at + 1, 1, 0xab, CPU);
        (first, written, machine.read(0, at, 4, CPU))
    };
    assert_eq!(ask(0, 4), (Ok(0), Ok(()), Ok(0)));
    assert_eq!(ask(1, 4), (Err(BusError::Device), Err(BusError::Device), Err(BusError::Device)));
    assert_eq!(ask(2, 4), (Ok(0xffff_ffff), Ok(()), Ok(0)));
    assert_eq!(ask(2, 8).0, Ok(0xffff_ffff));
    assert_eq!(ask(3, 4), (Ok(8), Ok(()), Ok(8)));
    assert_eq!(ask(4, 4), (Ok(0), Ok(()), Ok(0xab00)));
    assert_eq!(ask(5, 4), (Ok(0x2345_6789), Ok(()), Ok(0x2345_6789)));
    let touched = machine.stubs();
    assert_eq!((touched.len(), touched[2].reads, touched[2].writes), (6, 4, 2));
}

#[test]
fn unmapped_addresses_answer_by_the_bus() {
    let mut build = Builder::default();
    build.bus(32, Unmapped::Ones, Unmapped::Zero);
    build.bus(16, Unmapped::Zero, Unmapped::Abort);
    let machine = build.build(TimeMode::Virtual(IPS));
    assert_eq!((machine.read(0, 4, 2, CPU), machine.write(0, 4, 2, 1, CPU)), (Ok(0xffff), Ok(())));
    assert_eq!((machine.read(1, 4, 2, CPU), machine.write(1, 4, 2, 1, CPU)), (Ok(0), Err(BusError::Decode)));
    assert_eq!(machine.read(2, 4, 2, CPU), Err(BusError::Decode));
}

/// On a big-endian bus the lowest address holds a register's most significant byte. Values of accesses are in the order of addresses.
#[test]
fn a_big_endian_bus_turns_the_bytes_of_registers_and_not_of_memory() {
    let mut bench = Bench::new();
    bench.build.big_endian(0);
    bench.probe("a");
    bench.build.stub("memory", StubPolicy::Ram, false, 0, 0x3_0000, 0x100, 0).unwrap();
    bench.build.stub("id", StubPolicy::Value(0x1234), false, 0, 0x3_0100, 0x100, 0).unwrap();
    let (machine, log) = bench.build(TimeMode::Virtual(IPS));
    machine.write(0, A + 0x40, 4, 0x1234_5678, CPU).unwrap();
    machine.write(0, A + 0x40, 1, 0xab, CPU).unwrap();
    machine.write(0, A + 0x42, 2, 0x1234, CPU).unwrap();
    machine.write(0, A + 0x40, 8, 0x1122_3344_5566_7788, CPU).unwrap();
    assert_eq!(machine.read(0, A + 0x43, 1, CPU), Ok(0));
    let said = ["a reset", "a write 4@0x40=0x78563412", "a write 1@0x43=0xab", "a write 2@0x40=0x3412"];
    assert_eq!(take(&log), [&said[..], &["a write 4@0x40=0x88776655", "a write 4@0x44=0x44332211", "a read 1@0x40"]].concat());
    for memory in [0x1_0000, 0x3_0000] {
        machine.write(0, memory, 4, 0x1234_5678, CPU).unwrap();
        machine.write(0, memory + 4, 8, 0x1122_3344_5566_7788, CPU).unwrap();
        assert_eq!(machine.read(0, memory, 1, CPU), Ok(0x78));
        assert_eq!(machine.read(0, memory + 4, 4, CPU), Ok(0x5566_7788));
    }
    assert_eq!(machine.read(0, 0x3_0100, 4, CPU), Ok(0x3412_0000));
}

#[test]
fn clocks_spread_through_the_tree() {
    let mut bench = Bench::new();
    let (a, b) = (bench.probe("a"), bench.probe("b"));
    let fixed = bench.build.clock(Some(30_000_000), 1, 1);
    let derived = bench.build.clock(None, 2, 3);
    bench.build.derive(derived, Source::Device(a, 0));
    bench.build.clock_input(a, 0, Source::Clock(fixed));
    bench.build.clock_input(b, 0, Source::Clock(derived));
    let (machine, log) = bench.build(TimeMode::Virtual(IPS));
    assert_eq!(take(&log), ["a clock 30000000", "a reset", "b reset"]);
    machine.write(0, A + CLOCK, 4, 999, CPU).unwrap();
    machine.write(0, A + CLOCK, 4, 999, CPU).unwrap();
    assert_eq!(take(&log), ["b clock 666"]);
}

#[test]
fn an_event_due_at_instruction_n_is_taken_before_the_next() {
    // One instruction is 10 ns. The arming write is instruction 2, at 20 ns: due at 20 + 95 = 115 ns, so before instruction 12.
    for extra in [95, 90] {
        let mut bench = Bench::new();
        let a = bench.probe("a");
        let mut ops = vec![Op::Nop, Op::Nop, Op::Write(A + ARM, extra)];
        ops.extend([Op::Levels; 12]);
        ops.push(Op::Write(A + POWER_OFF, 7));
        let cpu = bench.cpu(true, &ops);
        bench.build.wire(a, 0, 0, Input::Cpu { cpu, bit: 3 }).unwrap();
        let (mut machine, log) = bench.build(TimeMode::Deterministic(IPS));
        take(&log);
        assert_eq!(machine.run(), Ok(Exit::Stopped(7)));
        let seen = take(&log);
        let timer = seen.iter().position(|line| line.starts_with("a timer")).unwrap();
        let due = 20 + extra;
        assert_eq!(seen[timer], format!("a timer {}", due.next_multiple_of(10)));
        assert_eq!(seen[timer - 1], format!("cpu0 levels 0 @{}", (due - 1) / 10 * 10));
        assert_eq!(seen[timer + 1], format!("cpu0 levels 1000 @{}", due.next_multiple_of(10)));
    }
}

#[test]
fn an_idle_machine_jumps_to_its_next_timer() {
    let mut bench = Bench::new();
    let a = bench.probe("a");
    let cpu = bench.cpu(true, &[Op::Write(A + ARM, 3_000_000_000), Op::Wfi, Op::Read(A), Op::Write(A + POWER_OFF, 0)]);
    bench.build.wire(a, 0, 0, Input::Cpu { cpu, bit: 0 }).unwrap();
    let (mut machine, log) = bench.build(TimeMode::Virtual(IPS));
    take(&log);
    assert_eq!(machine.run(), Ok(Exit::Stopped(0)));
    assert_eq!(take(&log), ["a timer 3000000000", "cpu0 Ok(b2d05e00) @3000000000"]);
    assert_eq!(machine.executed(), [4]);
}

#[test]
fn in_real_time_an_idle_machine_waits_for_timers_and_input() {
    let mut bench = Bench::new();
    let a = bench.probe("a");
    let cpu = bench.cpu(true, &[Op::Write(A + ARM, 2_000_000), Op::Wfi, Op::Write(A + POWER_OFF, 3)]);
    bench.build.wire(a, 0, 0, Input::Cpu { cpu, bit: 0 }).unwrap();
    let (mut machine, log) = bench.build(TimeMode::Realtime);
    assert!(machine.serial_line(a, 0).unwrap().receive(b"hi"));
    assert_eq!(machine.run(), Ok(Exit::Stopped(3)));
    let seen = take(&log);
    assert_eq!(seen[..3], ["a reset", "a input h", "a input i"]);
    let late: u64 = seen[3].strip_prefix("a timer ").unwrap().parse().unwrap();
    assert!(late >= 2_000_000);
    assert!(machine.executed()[0] <= 3, "a waiting CPU executes nothing");
}

#[test]
fn another_thread_ends_a_sleeping_machine() {
    let mut bench = Bench::new();
    bench.cpu(true, &[Op::Wfi]);
    let (mut machine, _) = bench.build(TimeMode::Realtime);
    let handle = machine.handle();
    let thread = std::thread::spawn(move || {
        handle.stop(130);
        handle.stop(1);
    });
    assert_eq!(machine.run(), Ok(Exit::Stopped(130)));
    thread.join().unwrap();
}

#[test]
fn events_wake_other_cpus() {
    let mut bench = Bench::new();
    bench.cpu(true, &[Op::Wfe, Op::Levels, Op::Write(A + POWER_OFF, 5)]);
    bench.cpu(true, &[Op::Nop, Op::Nop, Op::Sev]);
    bench.probe("a");
    let (mut machine, _) = bench.build(TimeMode::Deterministic(IPS));
    assert_eq!(machine.run(), Ok(Exit::Stopped(5)));
    assert_eq!(machine.executed(), [3, 4]);
}

#[test]
fn a_broadcast_flush_reaches_the_others_only() {
    for time in [TimeMode::Deterministic(IPS), TimeMode::Realtime] {
        let mut bench = Bench::new();
        let a = bench.probe("a");
        bench.cpu(true, &[Op::FlushOthers, Op::Write(A + LINE, 1), Op::Wfi]);
        // One that is or falls asleep, and one that is held.
        let cpu = bench.cpu(true, &[Op::Wfi, Op::Levels, Op::Write(A + POWER_OFF, 0)]);
        bench.cpu(false, &[]);
        bench.build.wire(a, 0, 0, Input::Cpu { cpu, bit: 0 }).unwrap();
        let (mut machine, log) = bench.build(time);
        take(&log);
        assert_eq!(machine.run(), Ok(Exit::Stopped(0)));
        let seen: Vec<String> = take(&log).iter().map(|line| line.split(" @").next().unwrap().to_string()).collect();
        assert_eq!(seen, ["cpu1 flush", "cpu1 levels 1"]);
    }
}

#[test]
fn reset_and_stop_lines_hold_a_cpu() {
    let mut bench = Bench::new();
    let a = bench.probe("a");
    // CPU 0 starts CPU 1 by pulsing its reset, twice; CPU 1 never runs by itself.
    let pulse = [Op::Write(A + LINE, 1), Op::Write(A + LINE, 0), Op::Wfe];
    let ops = [&pulse[..], &pulse[..], &[Op::Write(A + LINE, 3), Op::Write(A + POWER_OFF, 0)]].concat();
    bench.cpu(true, &ops);
    let second = bench.cpu(false, &[Op::Levels, Op::Sev, Op::Wfi]);
    bench.build.wire(a, 0, 0, Input::CpuReset(second)).unwrap();
    bench.build.wire(a, 0, 1, Input::CpuStop(second)).unwrap();
    let (mut machine, log) = bench.build(TimeMode::Deterministic(IPS));
    take(&log);
    assert_eq!(machine.run(), Ok(Exit::Stopped(0)));
    let seen = take(&log);
    assert_eq!((seen.len(), machine.executed()[1]), (2, 6), "{seen:?}");
}

#[test]
fn outputs_of_cpus_reach_inputs() {
    let mut bench = Bench::new();
    let a = bench.probe("a");
    let cpu = bench.cpu(true, &[Op::Output(true), Op::Output(true), Op::Output(false), Op::Write(A + POWER_OFF, 0)]);
    bench.build.wire_cpu(cpu, 0, 0, input(a, 1)).unwrap();
    let (mut machine, log) = bench.build(TimeMode::Deterministic(IPS));
    take(&log);
    machine.run().unwrap();
    assert_eq!(take(&log), ["a in1=1", "a in1=0"]);
}

#[test]
fn a_reset_boots_again_with_ram_kept() {
    let mut bench = Bench::new();
    let a = bench.device(Probe { name: "a", log: bench.log.clone(), repeats: false, idle_high: true });
    let b = bench.probe("b");
    bench.build.wire(a, 0, 0, input(b, 0)).unwrap();
    bench.build.wire(b, 0, 1, input(a, 1)).unwrap();
    let start = [Op::Read(0x1_0000), Op::Read(0x1_0010), Op::Write(0x1_0000, 9), Op::Write(0x1_0010, 9)];
    let ops = [&[Op::Nop], &start[..], &[Op::Write(A + ARM, 1000), Op::Write(B + LINE, 3), Op::Write(B + RESET, 0), Op::Jump(0)]].concat();
    bench.cpu(true, &ops);
    bench.cpu(false, &[Op::Levels]);
    let (mut machine, log) = bench.build(TimeMode::Deterministic(IPS));
    assert_eq!(take(&log), ["a reset", "b reset", "b in0=1"]);
    machine.images = vec![Image { bus: 0, at: 0x1_0000, bytes: vec![7], name: "code".into() }];
    machine.starts = vec![Start { cpu: 0, pc: Some(1), registers: vec![] }];
    machine.reset().unwrap();
    machine.no_reboot = true;
    take(&log);
    assert_eq!(machine.run(), Ok(Exit::Reset));
    assert_eq!(take(&log), ["cpu0 Ok(7) @0", "cpu0 Ok(0) @10", "a in1=1"]);
    machine.reset().unwrap();
    // Told after all are reset; the timer is gone; the image is back; other RAM is as it was.
    assert_eq!(take(&log), ["a reset", "b reset", "b in0=1", "a in1=0"]);
    assert_eq!(machine.run(), Ok(Exit::Reset));
    assert_eq!(take(&log), ["cpu0 Ok(7) @70", "cpu0 Ok(9) @80", "a in1=1"]);
    assert_eq!(machine.executed(), [14, 0]);
    machine.images = vec![Image { bus: 0, at: 0x5_0000, bytes: vec![7], name: "code".into() }];
    assert_eq!(machine.reset(), Err("`code` (1 bytes at 0x50000) lies where there is no memory".into()));
}

#[test]
fn two_deterministic_runs_are_the_same() {
    let run = || {
        let mut bench = Bench::new();
        let (a, b) = (bench.probe("a"), bench.probe("b"));
        // Two CPUs, each woken by its own timer and interrupted by the other's.
        let program = |own: u64| {
            let round = [Op::Write(own + LINE, 0), Op::Levels, Op::Read(own), Op::Nop, Op::Write(own + ARM, 123), Op::Wfi];
            [round.repeat(200), vec![Op::Write(own + POWER_OFF, 0)]].concat()
        };
        let cpus = [bench.cpu(true, &program(A)), bench.cpu(true, &program(B))];
        for cpu in cpus {
            bench.build.wire(a, 0, 0, Input::Cpu { cpu, bit: 0 }).unwrap();
            bench.build.wire(b, 0, 0, Input::Cpu { cpu, bit: 1 }).unwrap();
        }
        let (mut machine, log) = bench.build(TimeMode::Deterministic(333_000_000));
        assert_eq!(machine.run(), Ok(Exit::Stopped(0)));
        take(&log)
    };
    let (one, two) = (run(), run());
    assert!(one.len() > 500);
    assert_eq!(one, two);
}
