//! A machine that is driven from outside: time that a client lets pass, drives that answer in it, lines that are watched.

use emu_machine::backend::{Disk, DiskRequest, DiskResult};
use emu_machine::device::{Cx, Device, Nanos};
use emu_machine::driven::Line;
use emu_machine::machine::{Input, Unmapped};
use emu_machine::schema::{Count, DeviceType, PortSpec, Props, RegionSpec};
use emu_machine::{Access, Builder, BusError, Machine, TimeMode};
use emu_memory::RamBlock;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Log = Arc<Mutex<Vec<String>>>;

fn take(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().unwrap())
}

const KIND: DeviceType = DeviceType {
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x100) }],
    inputs: &[PortSpec::many("in", 2, "")],
    outputs: &[PortSpec::many("out", 2, "")],
    drives: &["disk"],
    ..DeviceType::new("test,probe", "", |_| Err("made by hand".into()))
};

/// Timers 0 and 1 by registers 0 and 4: so many ns from now; register 8: output 0; 0xc: the time, or a pulse of output 1; 0x10: reads so many bytes of its
/// disk; 0x14: a timer that is due again whenever it was; 0x18: a reset in so many ns.
struct Probe(Log);

impl Probe {
    fn say(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }
}

impl Device for Probe {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.say(format!("reset {}", cx.now().0));
    }
    fn read(&mut self, _: usize, _: u64, size: u8, access: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        self.say(format!("read {size} by {}", access.cpu_index()));
        Ok(cx.now().0)
    }
    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        let later = Nanos(cx.now().0 + value);
        match offset {
            0 => cx.arm(0, later),
            4 => cx.arm(1, later),
            8 => cx.set_line(0, 0, value != 0),
            0xc => {
                cx.set_line(0, 1, true);
                cx.set_line(0, 1, false);
            }
            0x10 => cx.disk_submit(0, value as u32, DiskRequest::Read { at: 0, len: value as u32 }),
            0x14 => cx.arm(2, later),
            0x18 => cx.arm(3, later),
            _ => self.say(format!("write {size}@{offset:#x}={value:#x}")),
        }
        Ok(())
    }
    fn line_changed(&mut self, _: usize, index: u32, level: bool, _: &mut Cx<'_>) {
        self.say(format!("in{index}={}", u8::from(level)));
    }
    fn timer_expired(&mut self, timer: u32, cx: &mut Cx<'_>) {
        self.say(format!("timer{timer} {}", cx.now().0));
        match timer {
            0 => cx.arm(1, Nanos(cx.now().0 + 5)),
            2 => cx.arm(2, cx.now()),
            3 => cx.reset_system(),
            _ => {}
        }
    }
    fn disk_done(&mut self, _: usize, tag: u32, result: DiskResult, cx: &mut Cx<'_>) {
        self.say(format!("disk {tag} {:?} {}", result.map(|bytes| bytes.len()), cx.now().0));
    }
    fn save(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
    fn load(&mut self, _: &serde_json::Value) -> Result<(), String> {
        Ok(())
    }
}

/// A disk that takes its time on the host.
struct Slow;

impl Disk for Slow {
    fn size(&self) -> u64 {
        1 << 20
    }
    fn read_only(&self) -> bool {
        true
    }
    fn read(&mut self, _: u64, _: &mut [u8]) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(20));
        Ok(())
    }
    fn write(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
    fn discard(&mut self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn own_ranges(&mut self) -> io::Result<Vec<Range<u64>>> {
        Ok(vec![])
    }
    fn revert(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const A: u64 = 0xf000_0000;
const B: u64 = 0xf000_1000;
const CPU: Access = Access::cpu(0);

/// Devices at [`A`] and [`B`], output 0 of the first to input 1 of the second; memory at 0, ROM at 0x1000, nothing at 0x2000.
fn machine() -> (Machine, Log) {
    let (mut build, log) = (Builder::default(), Log::default());
    build.bus(32, Unmapped::Abort, Unmapped::Abort);
    build.memory(0, 0, 0x1000, 0, &RamBlock::new("ram", 0x1000).unwrap(), true).unwrap();
    build.memory(0, 0x1000, 0x1000, 0, &RamBlock::new("rom", 0x1000).unwrap(), false).unwrap();
    for (name, at) in [("a", A), ("b", B)] {
        let device = build.device(name, &KIND, &Props::default(), Box::new(Probe(log.clone())), None);
        build.region(device, 0, 0, at, 0x100, 0).unwrap();
    }
    build.wire(0, 0, 0, Input::Device { device: 1, port: 0, index: 1 }).unwrap();
    let mut machine = build.build(TimeMode::Deterministic(1000));
    machine.reset().unwrap();
    take(&log);
    (machine, log)
}

fn write(machine: &Machine, at: u64, value: u64) {
    machine.write(0, at, 4, value, CPU).unwrap();
}

#[test]
fn timers_run_in_order_each_at_its_time() {
    let (mut m, log) = machine();
    write(&m, B + 4, 30);
    write(&m, A, 10);
    write(&m, A + 4, 1000);
    assert_eq!(m.next_timer(), Some(Nanos(10)));
    m.advance(Nanos(9)).unwrap();
    assert_eq!((take(&log), m.now()), (vec![], Nanos(9)));
    // The first timer arms the second anew.
    m.advance(Nanos(30)).unwrap();
    assert_eq!((take(&log), m.now()), (vec!["timer0 10".into(), "timer1 15".into(), "timer1 30".into()], Nanos(30)));
    assert_eq!(m.next_timer(), None);
    m.advance(Nanos(20)).unwrap();
    assert_eq!(m.now(), Nanos(30));
    m.advance(Nanos(u64::MAX)).unwrap();
    assert_eq!(m.now(), Nanos(u64::MAX));
}

#[test]
fn resets_happen_when_they_are_asked_for() {
    let (mut m, log) = machine();
    write(&m, A + 0x18, 10);
    write(&m, A + 4, 20);
    m.advance(Nanos(30)).unwrap();
    // The other timer went with the reset.
    assert_eq!(take(&log), ["timer3 10", "reset 10", "reset 10"]);
    assert_eq!(m.now(), Nanos(30));
    // A run that is to end there stops time.
    m.no_reboot = true;
    write(&m, A + 0x18, 10);
    m.advance(Nanos(100)).unwrap();
    assert_eq!(m.now(), Nanos(40));
}

#[test]
fn a_timer_that_is_always_due_does_not_hold_time() {
    let (mut m, log) = machine();
    write(&m, A + 0x14, 10);
    write(&m, B + 4, 20);
    m.advance(Nanos(30)).unwrap();
    assert_eq!(m.now(), Nanos(30));
    let said = take(&log);
    assert!(said.iter().filter(|s| *s == "timer2 10").count() > 100);
}

#[test]
fn a_stop_ends_a_step() {
    let (mut m, _) = machine();
    write(&m, A + 4, 10);
    m.handle().stop(3);
    m.advance(Nanos(30)).unwrap();
    assert_eq!(m.now(), Nanos(0));
    assert!(matches!(m.run_without_cpus(), Ok(emu_machine::Exit::Stopped(3))));
}

#[test]
fn drives_answer_at_the_same_time_in_every_run() {
    for _ in 0..3 {
        let (mut m, log) = machine();
        m.insert(0, 0, Some(Arc::new(Mutex::new(Box::new(Slow))))).unwrap();
        write(&m, A + 0x10, 512);
        write(&m, A + 0x10, 1024);
        // 50 us and 20 ns a byte, the second not before the first.
        assert_eq!(m.next_timer(), Some(Nanos(60_240)));
        m.advance(Nanos(60_239)).unwrap();
        assert_eq!(take(&log), [""; 0]);
        m.advance(Nanos(1_000_000)).unwrap();
        assert_eq!(take(&log), ["disk 512 Ok(512) 60240", "disk 1024 Ok(1024) 70480"]);
    }
}

#[test]
fn watched_lines_are_heard_of_in_order_others_are_not() {
    let (mut m, log) = machine();
    let heard: Arc<Mutex<Vec<(usize, bool)>>> = Arc::default();
    let watch = |m: &mut Machine, lines: &[Line]| {
        let heard = heard.clone();
        m.watch(lines, Box::new(move |number, level| heard.lock().unwrap().push((number, level))));
    };
    let heard_of = || std::mem::take(&mut *heard.lock().unwrap());
    let output = |index| Line::DeviceOutput { device: 0, port: 0, index };
    watch(&mut m, &[output(1), output(0), output(7)]);
    write(&m, A + 8, 1);
    write(&m, A + 8, 1);
    write(&m, A + 0xc, 0);
    write(&m, B + 8, 1);
    assert_eq!(heard_of(), [(1, true), (0, true), (0, false)]);
    // An input, which is high already; nobody hears of the outputs any more.
    watch(&mut m, &[Line::Input(Input::CpuReset(0)), Line::Input(Input::Device { device: 1, port: 0, index: 1 })]);
    assert_eq!(heard_of(), [(1, true)]);
    write(&m, A + 0xc, 0);
    write(&m, A + 8, 0);
    assert_eq!(heard_of(), [(1, false)]);
    take(&log);
    // A level from outside reaches the device, without a wire too.
    m.set_input(1, 0, 0, true);
    m.set_input(1, 0, 1, true);
    write(&m, A + 8, 1);
    write(&m, A + 8, 0);
    assert_eq!(take(&log), ["in0=1", "in1=1", "in1=1", "in1=0"]);
    // A reset takes all outputs back.
    write(&m, A + 8, 1);
    heard_of();
    m.reset().unwrap();
    assert_eq!(heard_of(), [(1, false)]);
}

#[test]
fn bytes_go_to_memory_at_once_and_to_devices_in_words() {
    let (m, log) = machine();
    let bytes: Vec<u8> = (1..=12).collect();
    m.write_bytes(0, 0x20, &bytes, CPU).unwrap();
    let mut back = [0; 14];
    m.read_bytes(0, 0x1f, &mut back, CPU).unwrap();
    assert_eq!(back, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0]);
    m.write_bytes(0, B + 0x41, &bytes, CPU).unwrap();
    let said = ["write 1@0x41=0x1", "write 2@0x42=0x302", "write 4@0x44=0x7060504", "write 4@0x48=0xb0a0908", "write 1@0x4c=0xc"];
    assert_eq!(take(&log), said);
    m.read_bytes(0, B + 0x42, &mut back[..3], CPU).unwrap();
    assert_eq!(take(&log), ["read 2 by 0", "read 1 by 0"]);
    // Into ROM nothing is written; behind the memories is nothing.
    m.write_bytes(0, 0xffe, &[0x5a; 4], CPU).unwrap();
    m.read_bytes(0, 0xffe, &mut back[..4], CPU).unwrap();
    assert_eq!(back[..4], [0x5a, 0x5a, 0, 0]);
    assert_eq!(m.read_bytes(0, 0x1ffe, &mut back[..4], CPU), Err(BusError::Decode));
    assert_eq!(m.write_bytes(7, 0, &[0], CPU), Err(BusError::Decode));
}
