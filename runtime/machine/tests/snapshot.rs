//! Snapshots, recordings and the way back, of a machine whose CPUs do something else in every instruction: memory, a device with a timer, a line, a disk and a network port.

use emu_machine::backend::{Disk, DiskRequest, DiskResult};
use emu_machine::cpu::{Cpu, CpuStop};
use emu_machine::device::{Cx, Device, Nanos};
use emu_machine::history::Back;
use emu_machine::machine::{Input, StubPolicy, Unmapped};
use emu_machine::record::Replayed;
use emu_machine::schema::{DeviceType, PortSpec, Props, RegionSpec};
use emu_machine::snapshot::{LoadError, Snapshot};
use emu_machine::{Access, Builder, BusError, Exit, Goal, Machine, TimeMode};
use emu_memory::{Attention, GuestBus, GuestPhys, RamBlock};
use serde_json::{Value, json};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

const KIND: DeviceType = DeviceType {
    regions: &[RegionSpec { name: "regs", size: emu_machine::schema::Count::Fixed(0x100) }],
    outputs: &[PortSpec::many("out", 2, "")],
    chardevs: &["serial"],
    drives: &["disk"],
    nics: &["net"],
    ..DeviceType::new("test,mixer", "", |_| Err("made by hand".into()))
};

/// Mixes everything that happens to it into a number, which decides what it does.
#[derive(Default)]
struct Mixer {
    sum: u64,
    tag: u32,
    refuses: bool,
}

impl Mixer {
    fn mix(&mut self, what: u64) {
        self.sum = (self.sum.rotate_left(7) ^ what).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Device for Mixer {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        (self.sum, self.tag) = (1, 0);
        cx.arm(3, Nanos(500_000));
    }
    fn read(&mut self, _: usize, _: u64, _: u8, _: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        self.mix(cx.now().0);
        cx.set_line(0, 0, self.sum & 1 != 0);
        Ok(self.sum)
    }
    fn write(&mut self, _: usize, at: u64, _: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        self.mix(value);
        self.tag += 1;
        match at / 4 % 6 {
            0 => cx.arm((self.sum % 3) as u32, Nanos(cx.now().0 + self.sum % 100_000)),
            1 => cx.send(0, b'a' + (self.sum % 26) as u8),
            2 => cx.transmit(0, &self.sum.to_le_bytes()),
            3 => cx.disk_submit(0, self.tag, DiskRequest::Write { at: self.sum % 4096, bytes: self.sum.to_le_bytes().to_vec() }),
            4 => cx.disk_submit(0, self.tag, DiskRequest::Read { at: self.sum % 4096, len: 16 }),
            _ => cx.disarm((self.sum % 3) as u32),
        }
        Ok(())
    }
    fn timer_expired(&mut self, timer: u32, cx: &mut Cx<'_>) {
        self.mix(timer.into());
        if timer == 3 {
            // Somebody wakes those who sleep.
            cx.arm(3, Nanos(cx.now().0 + 500_000));
            cx.set_line(0, 0, true);
        }
        cx.set_line(0, 1, timer == 3 || self.sum & 2 != 0);
    }
    fn input_ready(&mut self, _: usize, cx: &mut Cx<'_>) {
        // It takes one and leaves the rest waiting.
        if let Some(byte) = cx.receive(0) {
            self.mix(byte.into());
        }
    }
    fn frame_ready(&mut self, _: usize, cx: &mut Cx<'_>) {
        if let Some(frame) = cx.receive_frame(0) {
            frame.iter().for_each(|b| self.mix((*b).into()));
        }
    }
    fn disk_done(&mut self, _: usize, tag: u32, result: DiskResult, _: &mut Cx<'_>) {
        self.mix(tag.into());
        result.unwrap_or_default().iter().for_each(|b| self.mix((*b).into()));
    }
    fn save(&self) -> Value {
        json!({ "sum": self.sum, "tag": self.tag })
    }
    fn load(&mut self, state: &Value) -> Result<(), String> {
        let tag = state["tag"].as_u64().and_then(|t| u32::try_from(t).ok());
        let (Some(sum), Some(tag), false) = (state["sum"].as_u64(), tag, self.refuses) else { return Err("no sum".into()) };
        (self.sum, self.tag) = (sum, tag);
        Ok(())
    }
}

/// Every instruction depends on a number, and changes it. A breakpoint is a number of instructions executed.
struct Walker {
    index: u8,
    number: u64,
    asleep: bool,
    executed: u64,
    total: u64,
    breakpoints: Vec<u64>,
}

impl Walker {
    fn go(&mut self, bus: &dyn GuestBus, once: bool) -> CpuStop {
        self.executed = 0;
        let access = Access::cpu(self.index);
        loop {
            let bits = bus.attention().load(Ordering::Relaxed);
            bus.acknowledge(bits);
            if bits & Attention::EXIT != 0 {
                return CpuStop::Ran;
            }
            if self.asleep {
                if bus.levels() == 0 {
                    return CpuStop::Asleep;
                }
                self.asleep = false;
            }
            if self.executed >= bus.limit() {
                return CpuStop::Ran;
            }
            if !once && self.breakpoints.contains(&self.total) {
                return CpuStop::Breakpoint;
            }
            bus.publish(self.pc(), self.executed);
            self.number = self.number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407 + bus.levels());
            let n = self.number >> 20;
            let at = GuestPhys(0x1_0000 + n % 0x7_fff0);
            match n % 101 {
                0..60 => _ = bus.write(at, 4, n, access),
                60..90 => self.number ^= bus.read(at, 8, access).unwrap_or(9),
                90..93 => self.number ^= bus.read(GuestPhys(0xf000_0000), 4, access).unwrap_or(9),
                93..97 => _ = bus.write(GuestPhys(0xf000_0000 + n / 101 % 6 * 4), 4, n, access),
                97 => self.number ^= bus.read(GuestPhys(0xf100_0000 + n % 16 * 4), 4, access).unwrap_or(9),
                98 => self.asleep = n.is_multiple_of(3),
                _ => bus.set_output(0, 0, n.is_multiple_of(2)),
            }
            self.executed += 1;
            self.total += 1;
        }
    }
}

impl Cpu for Walker {
    fn reset(&mut self) {
        (self.number, self.asleep, self.total) = (u64::from(self.index) + 7, false, 0);
    }
    fn run(&mut self, bus: &dyn GuestBus) -> CpuStop {
        self.go(bus, false)
    }
    fn step(&mut self, bus: &dyn GuestBus) -> CpuStop {
        self.go(bus, true)
    }
    fn executed(&self) -> u64 {
        self.executed
    }
    fn is_asleep(&self) -> bool {
        self.asleep
    }
    fn digest(&self) -> u64 {
        self.number ^ u64::from(self.asleep)
    }
    fn pc(&self) -> u64 {
        self.total
    }
    fn set_pc(&mut self, _: u64) {}
    fn register(&self, _: &str) -> Option<u128> {
        Some(self.number.into())
    }
    fn set_register(&mut self, _: &str, _: u128) -> bool {
        false
    }
    fn set_debug_points(&mut self, points: &emu_ir::interp::DebugPoints) {
        self.breakpoints = points.breakpoints.iter().copied().collect();
    }
    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![]
    }
    fn save(&self) -> Value {
        json!([self.number, self.asleep, self.total])
    }
    fn load(&mut self, state: &Value) -> Result<(), String> {
        let (number, asleep, total) = serde_json::from_value(state.clone()).map_err(|e| e.to_string())?;
        (self.number, self.asleep, self.total) = (number, asleep, total);
        Ok(())
    }
}

/// An overlay of 512-byte blocks over a pattern.
struct Overlay(Vec<Option<[u8; 512]>>);

impl Disk for Overlay {
    fn size(&self) -> u64 {
        self.0.len() as u64 * 512
    }
    fn read_only(&self) -> bool {
        false
    }
    fn read(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        for (n, byte) in (at..).zip(buffer) {
            *byte = self.0[(n / 512) as usize].map_or(n as u8, |block| block[(n % 512) as usize]);
        }
        Ok(())
    }
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        for (n, byte) in (at..).zip(bytes) {
            let first = n / 512 * 512;
            let block = self.0[(n / 512) as usize].get_or_insert_with(|| std::array::from_fn(|i| (first as usize + i) as u8));
            block[(n % 512) as usize] = *byte;
        }
        Ok(())
    }
    fn discard(&mut self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn own_ranges(&mut self) -> io::Result<Vec<Range<u64>>> {
        let own = self.0.iter().enumerate().filter(|(_, block)| block.is_some());
        Ok(own.map(|(n, _)| n as u64 * 512..(n as u64 + 1) * 512).collect())
    }
    fn revert(&mut self) -> io::Result<()> {
        self.0.fill(None);
        Ok(())
    }
}

type Sent = Arc<Mutex<Vec<u8>>>;

fn machine_with(time: TimeMode, ram: u64, refuses: bool) -> (Machine, Sent) {
    let mut build = Builder::default();
    build.bus(32, Unmapped::Zero, Unmapped::Zero);
    build.memory(0, 0x1_0000, ram, 0, &RamBlock::new("ram", ram).unwrap(), true).unwrap();
    build.stub("stub", StubPolicy::Toggle, true, 0, 0xf100_0000, 0x100, 0).unwrap();
    let device = build.device("mixer", &KIND, &Props::default(), Box::new(Mixer { refuses, ..Mixer::default() }), Some(0));
    build.region(device, 0, 0, 0xf000_0000, 0x100, 0).unwrap();
    for index in 0..2 {
        let walker = Walker { index, number: 0, asleep: false, executed: 0, total: 0, breakpoints: vec![] };
        let cpu = build.cpu("cpu", Box::new(walker), 0, true);
        build.wire(device, 0, u32::from(index), Input::Cpu { cpu, bit: 0 }).unwrap();
    }
    // One stops the other's clock now and then.
    build.wire_cpu(0, 0, 0, Input::CpuStop(1)).unwrap();
    let mut machine = build.build(time);
    machine.reset().unwrap();
    machine.insert(device, 0, Some(Arc::new(Mutex::new(Box::new(Overlay(vec![None; 64])))))).unwrap();
    let sent = Sent::default();
    let (serial, net) = (sent.clone(), sent.clone());
    let sink = move |bytes: &[u8]| {
        serial.lock().unwrap().extend(bytes);
        true
    };
    machine.connect(device, 0, Some(Box::new(sink)));
    machine.connect_network(device, 0, Some(Box::new(move |frame| net.lock().unwrap().extend(frame))));
    (machine, sent)
}

fn machine() -> (Machine, Sent) {
    machine_with(TimeMode::Deterministic(1_000_000), 0x8_0000, false)
}

fn run_to(machine: &mut Machine, executed: u64) {
    loop {
        match machine.round_until(Goal::Total(executed)).unwrap() {
            None => {}
            Some(Exit::Reached) => return,
            Some(exit) => panic!("{exit:?}"),
        }
    }
}

/// A file of the test's own, which goes with it.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Temporary {
        Temporary(std::env::temp_dir().join(format!("emu-snapshot-{name}-{}", std::process::id())))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}

/// Everything of a machine that a guest can see.
fn whole(machine: &mut Machine) -> Vec<u8> {
    let file = Temporary::new(&format!("whole-{:?}", std::thread::current().id()));
    machine.save_to_file(&file.0).unwrap();
    std::fs::read(&file.0).unwrap()
}

const END: u64 = 300_000;

#[test]
fn another_process_goes_on_as_the_first_would_have() {
    let (mut first, all) = machine();
    run_to(&mut first, END);
    let end = whole(&mut first);
    let (mut saved, before) = machine();
    let file = Temporary::new("file");
    for at in (1..20).map(|n| n * n * 797 + n) {
        run_to(&mut saved, at);
        saved.save_to_file(&file.0).unwrap();
        let (mut other, after) = machine();
        run_to(&mut other, 1000);
        after.lock().unwrap().clear();
        other.load_from_file(&file.0).unwrap();
        assert_eq!(other.executed().iter().sum::<u64>(), at);
        run_to(&mut other, END);
        assert!(whole(&mut other) == end, "from {at} on another state");
        let sent = [&before.lock().unwrap()[..], &after.lock().unwrap()[..]].concat();
        assert!(sent == *all.lock().unwrap(), "from {at} on other bytes");
    }
    // Who was saved does not notice.
    run_to(&mut saved, END);
    assert!(whole(&mut saved) == end && *before.lock().unwrap() == *all.lock().unwrap());
}

#[test]
fn what_is_damaged_or_does_not_fit_is_refused_and_changes_nothing() {
    let (mut saved, _) = machine();
    run_to(&mut saved, 50_000);
    let bytes = whole(&mut saved);
    let (mut other, _) = machine();
    run_to(&mut other, 5000);
    let before = whole(&mut other);
    let mut refused = |bytes: Vec<u8>| {
        let loaded = Snapshot::read(bytes, &other).map_err(LoadError::Refused).and_then(|s| other.load_snapshot(&s));
        matches!(loaded, Err(LoadError::Refused(_)))
    };
    let lens = (0..2000).chain((2000..bytes.len()).step_by(997)).chain(bytes.len() - 200..bytes.len());
    for len in lens.filter(|len| *len < bytes.len()) {
        assert!(refused(bytes[..len].to_vec()), "cut at {len} of {}", bytes.len());
    }
    for at in (0..2000).chain((2000..bytes.len()).step_by(991)) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        assert!(refused(bytes), "changed at {at}");
    }
    assert!(refused([&bytes[..], b"x"].concat()));
    assert!(whole(&mut other) == before, "what is refused changes nothing");
    let (mut small, _) = machine_with(TimeMode::Deterministic(1_000_000), 0x4_0000, false);
    let said = Snapshot::read(bytes.clone(), &small).map(|_| ()).unwrap_err();
    assert!(said.contains("`ram`"), "{said}");
    run_to(&mut small, 10);
    // A device that refuses what it is given: the others have theirs back.
    let (mut refuses, _) = machine_with(TimeMode::Deterministic(1_000_000), 0x8_0000, true);
    let before = whole(&mut refuses);
    let loaded = Snapshot::read(bytes.clone(), &refuses).unwrap();
    assert!(matches!(refuses.load_snapshot(&loaded), Err(LoadError::Refused(why)) if why.contains("mixer")));
    assert!(whole(&mut refuses) == before);
    // Another disk.
    other.insert(0, 0, Some(Arc::new(Mutex::new(Box::new(Overlay(vec![None; 65])))))).unwrap();
    let loaded = Snapshot::read(bytes.clone(), &other).and_then(|s| other.load_snapshot(&s).map_err(|e| e.to_string()));
    assert!(loaded.unwrap_err().contains("the disk of `mixer` was another"));
    // And what is good is taken, in other time modes, too.
    for time in [TimeMode::Virtual(77), TimeMode::Realtime] {
        let (mut good, _) = machine_with(time, 0x8_0000, false);
        let loaded = Snapshot::read(bytes.clone(), &good).unwrap();
        good.load_snapshot(&loaded).unwrap();
        let now = good.now().0;
        assert!((saved.now().0..saved.now().0 + 1_000_000_000).contains(&now), "{now}");
    }
}

#[test]
fn a_recording_is_the_same_run_again() {
    let file = Temporary::new("recording");
    let (mut first, sent) = machine();
    run_to(&mut first, 20_000);
    sent.lock().unwrap().clear();
    first.record_file(&file.0).unwrap();
    let cable = first.cable(0, 0).unwrap();
    for n in 0..200u8 {
        assert!(first.serial_line(0, 0).unwrap().receive(&[n, n, n]));
        cable.send(vec![n; 5]);
        if n % 50 == 0 {
            cable.set_link(n == 0);
        }
        if n == 77 {
            first.write(0, 0x1_0000, 4, 0x1234_5678, Access::DEBUG).unwrap();
        }
        run_to(&mut first, 21_000 + u64::from(n) * 1371);
    }
    let end = whole(&mut first);
    first.end_recording().unwrap();
    let (mut again, heard) = machine();
    again.replay_file(&file.0).unwrap();
    assert!(again.serial_line(0, 0).unwrap().receive(b"who is there?"));
    heard.lock().unwrap().clear();
    assert_eq!(again.run(), Ok(Exit::Reached));
    assert_eq!(again.replayed(), Some(Replayed::Same));
    assert!(whole(&mut again) == end && *heard.lock().unwrap() == *sent.lock().unwrap());
    // Cut off, it replays to its end; with something left out or changed, it is another run or cut off there.
    let bytes = std::fs::read(&file.0).unwrap();
    for len in [bytes.len() - 1, bytes.len() - 300, bytes.len() - 5000] {
        std::fs::write(&file.0, &bytes[..len]).unwrap();
        let (mut again, _) = machine();
        again.replay_file(&file.0).unwrap();
        assert_eq!((again.run(), again.replayed()), (Ok(Exit::Reached), Some(Replayed::CutOff)));
    }
    std::fs::write(&file.0, &bytes[..1000]).unwrap();
    assert!(machine().0.replay_file(&file.0).is_err());
    let (mut realtime, _) = machine_with(TimeMode::Realtime, 0x8_0000, false);
    assert!(realtime.record_file(&file.0).is_err() && realtime.replay_file(&file.0).is_err());
}

#[test]
fn another_run_is_told_from_the_recorded_one() {
    let file = Temporary::new("other");
    let (mut first, _) = machine();
    first.record_file(&file.0).unwrap();
    for n in 1..10 {
        assert!(first.serial_line(0, 0).unwrap().receive(&[n]));
        run_to(&mut first, u64::from(n) * 3000);
    }
    first.end_recording().unwrap();
    let (mut again, _) = machine();
    again.replay_file(&file.0).unwrap();
    for _ in 0..2 {
        assert_eq!(again.round(), Ok(None));
    }
    // Behind the replay's back.
    again.cpu(0).unwrap().reset();
    assert_eq!(again.run(), Ok(Exit::Reached));
    assert!(matches!(again.replayed(), Some(Replayed::Other(_))));
}

#[test]
fn steps_are_undone_one_by_one() {
    let (mut machine, sent) = machine();
    run_to(&mut machine, 40_000);
    assert!(machine.keep_history().unwrap());
    run_to(&mut machine, 60_000);
    let mut states = Vec::new();
    let registers = |m: &mut Machine| [0, 1].map(|cpu| (m.cpu(cpu).unwrap().pc(), m.cpu(cpu).unwrap().register("")));
    assert!(machine.serial_line(0, 0).unwrap().receive(b"hello"));
    for _ in 0..300 {
        states.push(registers(&mut machine));
        machine.step(1).unwrap();
    }
    let (end, heard) = (registers(&mut machine), sent.lock().unwrap().clone());
    for (n, state) in states.iter().enumerate().rev() {
        assert_eq!(machine.reverse_step(1), Ok(Back::There));
        // It goes to right behind the step before; the first step began later, when the other CPU had gone on.
        assert_eq!(registers(&mut machine)[usize::from(n == 0)..], state[usize::from(n == 0)..], "step {n}");
    }
    for _ in 0..300 {
        machine.step(1).unwrap();
    }
    assert_eq!(registers(&mut machine), end);
    assert!(*sent.lock().unwrap() == heard, "nothing is sent twice");
    // To the beginning, and on: as if nobody had looked.
    assert_eq!(machine.reverse_continue(), Ok(Back::Begin));
    assert_eq!(machine.executed().iter().sum::<u64>(), 40_000);
    let (mut other, _) = self::machine();
    run_to(&mut other, 40_000);
    assert!(whole(&mut machine) == whole(&mut other));
}

#[test]
fn the_last_breakpoint_before_is_found() {
    let (mut machine, _) = machine();
    machine.keep_history().unwrap();
    run_to(&mut machine, 100_000);
    let mut points = emu_ir::interp::DebugPoints::default();
    points.breakpoints.extend([1000, 30_000, 31_000]);
    machine.set_debug_points(&points);
    // Each CPU comes by each.
    let mut found = Vec::new();
    loop {
        match machine.reverse_continue().unwrap() {
            Back::Hit(cpu, CpuStop::Breakpoint) => found.push((machine.cpu(cpu).unwrap().pc(), cpu)),
            Back::Begin => break,
            other => panic!("{other:?}"),
        }
    }
    let mut sorted = found.clone();
    sorted.sort_by_key(|(pc, _)| std::cmp::Reverse(*pc));
    assert_eq!(sorted.len(), found.len());
    found.sort_unstable();
    assert_eq!(found, [(1000, 0), (1000, 1), (30_000, 0), (30_000, 1), (31_000, 0), (31_000, 1)]);
    assert_eq!(machine.executed(), [0, 0]);
}

#[test]
fn who_changes_the_present_has_another_future() {
    let (mut machine, _) = machine();
    machine.keep_history().unwrap();
    run_to(&mut machine, 30_000);
    machine.write(0, 0x1_0000, 4, 7, Access::DEBUG).unwrap();
    run_to(&mut machine, 30_100);
    let here = whole(&mut machine);
    let executed = machine.executed();
    assert_eq!(machine.reverse_step(0), Ok(Back::There));
    for _ in 0..200 {
        assert_eq!(machine.reverse_step(0), Ok(Back::There));
    }
    // In the past nobody writes.
    assert!(machine.write(0, 0x1_0000, 4, 8, Access::DEBUG).is_err());
    run_to(&mut machine, 30_100);
    assert!(machine.executed() == executed && whole(&mut machine) == here);
}
