//! Building: every thing of the board reaches the machine once, things before what joins them.

mod common;

use emu_boards::board::{Bus, Memory, Stub};
use emu_boards::plan::{ClockSource, Owner, Pin, PlannedPart, Region};
use emu_boards::realise::{Build, realise};
use emu_boards::{Request, load, load_text, plan};
use emu_machine::cpu::Cpu;
use emu_machine::device::Device;
use emu_machine::schema::DeviceType;

/// Writes down what it is told.
#[derive(Default)]
struct Recorder(Vec<String>);

impl Recorder {
    fn note(&mut self, text: String) -> Result<(), String> {
        self.0.push(text);
        Ok(())
    }
}

impl Build for Recorder {
    fn bus(&mut self, index: usize, bus: &Bus) -> Result<(), String> {
        self.note(format!("bus {index} {}", bus.name.text()))
    }
    fn memory(&mut self, memory: &Memory, contents: Option<Vec<u8>>, places: &[Region]) -> Result<(), String> {
        self.note(format!("memory {} {:?} {}", memory.name.text(), contents.map(|c| c.len()), places.len()))
    }
    fn stub(&mut self, stub: &Stub, place: &Region) -> Result<(), String> {
        self.note(format!("stub {} {:#x}", stub.name.text(), place.start))
    }
    fn clock(&mut self, index: usize, name: &str, hz: Option<u64>, mul: u64, div: u64) -> Result<(), String> {
        self.note(format!("clock {index} {name} {hz:?} {mul}/{div}"))
    }
    fn cpu(&mut self, number: usize, name: &str, _: Box<dyn Cpu>, bus: usize, runs: bool) -> Result<(), String> {
        self.note(format!("cpu {number} {name} {bus} {runs}"))
    }
    fn device(&mut self, index: usize, name: &str, kind: &DeviceType, _: Box<dyn Device>, _: Option<usize>) -> Result<(), String> {
        self.note(format!("device {index} {name} {}", kind.name))
    }
    fn part(&mut self, part: usize, on: PlannedPart) -> Result<(), String> {
        self.note(format!("part {part} {on:?}"))
    }
    fn map(&mut self, device: usize, region: usize, place: &Region) -> Result<(), String> {
        self.note(format!("map {device}.{region} {:#x}", place.start))
    }
    fn derive(&mut self, clock: usize, source: ClockSource) -> Result<(), String> {
        self.note(format!("derive {clock} {source:?}"))
    }
    fn clock_input(&mut self, device: usize, input: usize, source: ClockSource) -> Result<(), String> {
        self.note(format!("clock-input {device}.{input} {source:?}"))
    }
    fn cpu_clock(&mut self, cpu: usize, source: ClockSource) -> Result<(), String> {
        self.note(format!("cpu-clock {cpu} {source:?}"))
    }
    fn shown(&mut self, place: &Region, from: Pin, level: bool) -> Result<(), String> {
        self.note(format!("shown {:#x} {from:?} {level}", place.start))
    }
    fn wire(&mut self, from: Pin, to: Pin) -> Result<(), String> {
        self.note(format!("wire {from:?} {to:?}"))
    }
}

#[test]
fn everything_once() {
    let board = load(&Request { board: "zynq7000".into(), ..Request::default() });
    let plan = plan(&board, &common::real_registry()).0;
    let mut recorder = Recorder::default();
    // The CPU type for tests makes no CPU, which must be said for each.
    let problems = realise(&board, &plan, &mut recorder, &|_| Ok(vec![0; 4])).unwrap_err();
    assert_eq!(problems.len(), board.cpus.len());
    assert!(problems.iter().all(|d| d.message.contains("for tests only")));
    let count = |kind: &str| recorder.0.iter().filter(|l| l.split(' ').next() == Some(kind)).count();
    assert_eq!(count("device"), board.devices.len());
    assert_eq!(count("bus"), 1);
    assert_eq!(count("memory"), 5);
    assert_eq!(count("stub"), board.stubs.len());
    assert_eq!(count("map"), plan.regions.iter().filter(|r| matches!(r.owner, Owner::Device(..))).count());
    assert_eq!(count("wire"), plan.links.len());
    assert_eq!(count("shown"), plan.shown.len());
    assert_eq!(count("part"), plan.devices.iter().filter(|d| d.on.is_some()).count());
    assert_eq!(count("cpu-clock"), 2);
    let first = |kind: &str| recorder.0.iter().position(|l| l.starts_with(kind)).unwrap();
    assert!(first("bus") < first("memory") && first("memory") < first("map") && first("map") < first("wire"));
    let mut unique = recorder.0.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), recorder.0.len());
}

#[test]
fn roms_and_code() {
    let folder = std::env::temp_dir().join(format!("emu-realise-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("rom.bin"), [1, 2, 3]).unwrap();
    std::fs::write(folder.join("big.bin"), [0; 17]).unwrap();
    let text = r##"board "b" {
        bus "ps" width=32
        mem "rom" at=0 size=16 kind="rom" file="rom.bin"
        mem "big" at=0x100 size=16 kind="rom" file="big.bin"
        mem "gone" at=0x200 size=16 kind="rom" file="gone.bin"
        code "good" at=0 isa="arm" { asm "nop" }
        code "bad" at=4 isa="arm" { asm #"""
            nop
            nop
              nope // here
            """# }
    }"##;
    let board = load_text(&Request { board: folder.join("b.kdl").display().to_string(), ..Request::default() }, text);
    let plan = plan(&board, &common::registry()).0;
    let mut recorder = Recorder::default();
    let assemble = |code: &emu_boards::board::Code| {
        if code.asm.text() == "nop" { Ok(vec![code.at.v as u8]) } else { Err(vec![(3, "no instruction `nope`".to_string())]) }
    };
    let problems = realise(&board, &plan, &mut recorder, &assemble).unwrap_err();
    let said: Vec<&str> = problems.iter().map(|d| d.message.as_str()).collect();
    assert!(said[0].contains("has 17 bytes; the memory holds 16"), "{said:?}");
    assert!(said[1].contains("cannot read"), "{said:?}");
    assert_eq!(board.sources.slice(problems[2].primary.as_ref().unwrap().span), "nope // here");
    assert!(said[2].contains("no instruction `nope`"), "{said:?}");
    assert!(recorder.0.contains(&"memory rom Some(3) 1".to_string()));
    std::fs::remove_dir_all(folder).unwrap();
}
