//! Board and types -> a machine: creates everything, then joins everything, so the order of nodes never matters.
//!
//! The machine is behind [`Build`]; numbers are the board's own (bus, clock, CPU and device by index), so that a builder
//! only has to keep what it made in the same order.

use crate::board::{Board, Code, Memory, Stub};
use crate::diagnostic::Diagnostic;
use crate::plan::{ClockSource, Owner, Pin, Plan, PlannedPart, Region};
use crate::source::Span;
use crate::tree::Value;
use emu_machine::cpu::Cpu;
use emu_machine::device::Device;
use emu_machine::schema::DeviceType;
use std::path::Path;

/// Largest ROM file.
const MAX_ROM: u64 = 1 << 30;

/// A machine under construction. Methods are called in the order they stand here, each for all things of its kind in the order
/// of the board; errors are one line.
pub trait Build {
    /// An address space.
    fn bus(&mut self, index: usize, bus: &crate::board::Bus) -> Result<(), String>;
    /// RAM or ROM with its first contents, and the places where it is seen.
    fn memory(&mut self, memory: &Memory, contents: Option<Vec<u8>>, places: &[Region]) -> Result<(), String>;
    /// A stub.
    fn stub(&mut self, stub: &Stub, place: &Region) -> Result<(), String>;
    /// A fixed clock (`hz`), or one derived by `mul / div` from a source joined later.
    fn clock(&mut self, index: usize, name: &str, hz: Option<u64>, mul: u64, div: u64) -> Result<(), String>;
    /// A CPU on its bus; `runs` is false if it begins held in reset.
    fn cpu(&mut self, number: usize, name: &str, cpu: Box<dyn Cpu>, bus: usize, runs: bool) -> Result<(), String>;
    /// A device; `master` is the bus it does DMA on.
    fn device(&mut self, index: usize, name: &str, kind: &DeviceType, device: Box<dyn Device>, master: Option<usize>)
    -> Result<(), String>;
    /// Puts a part where it sits.
    fn part(&mut self, part: usize, on: PlannedPart) -> Result<(), String>;
    /// A region of a device on a bus.
    fn map(&mut self, device: usize, region: usize, place: &Region) -> Result<(), String>;
    /// What a derived clock is derived from.
    fn derive(&mut self, clock: usize, source: ClockSource) -> Result<(), String>;
    /// What drives a clock input of a device.
    fn clock_input(&mut self, device: usize, input: usize, source: ClockSource) -> Result<(), String>;
    /// What drives a CPU's clock.
    fn cpu_clock(&mut self, cpu: usize, source: ClockSource) -> Result<(), String>;
    /// What is at a place is there only while an output has this level.
    fn shown(&mut self, place: &Region, from: Pin, level: bool) -> Result<(), String>;
    /// A wire from an output to an input. An input with several wires is high while one of them is.
    fn wire(&mut self, from: Pin, to: Pin) -> Result<(), String>;
}

/// Turns the text of a `code` node into bytes. An error has its line, from 1.
pub type Assemble<'a> = &'a dyn Fn(&Code) -> Result<Vec<u8>, Vec<(usize, String)>>;

/// Bytes to put in memory at every reset.
#[derive(Clone, PartialEq, Debug)]
pub struct Image {
    /// The `code` node's name.
    pub name: String,
    /// Bus, by index.
    pub bus: usize,
    /// First address.
    pub at: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Builds the machine; gives what has to be put in memory at every reset.
///
/// # Errors
/// The board must have passed [`crate::check`]; what remains are types that refuse their properties, ROM files that cannot be
/// read, assembly that is wrong, and what the builder refuses.
pub fn realise(board: &Board, plan: &Plan, build: &mut impl Build, assemble: Assemble<'_>) -> Result<Vec<Image>, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut keep = |result: Result<(), String>, span: Span, what: &str| {
        if let Err(message) = result {
            problems.push(Diagnostic::error("realise", format!("`{what}`: {message}")).at(span, ""));
        }
    };
    for (i, bus) in board.buses.iter().enumerate() {
        keep(build.bus(i, bus), bus.name.span, bus.name.text());
    }
    let places = |owned: &dyn Fn(Owner) -> bool| -> Vec<Region> { plan.regions.iter().filter(|r| owned(r.owner)).cloned().collect() };
    for (i, memory) in board.memories.iter().enumerate() {
        let contents = match &memory.file {
            Some(file) => match rom(board, memory, file.text()) {
                Ok(bytes) => Some(bytes),
                Err(message) => {
                    keep(Err(message), file.span, memory.name.text());
                    continue;
                }
            },
            None => None,
        };
        let mut seen = places(&|o| matches!(o, Owner::Memory(m, _) if m == i));
        seen.sort_by_key(|r| match r.owner {
            Owner::Memory(_, place) => place,
            _ => 0,
        });
        keep(build.memory(memory, contents, &seen), memory.name.span, memory.name.text());
    }
    for (i, stub) in board.stubs.iter().enumerate() {
        for place in places(&|o| o == Owner::Stub(i)) {
            keep(build.stub(stub, &place), stub.name.span, stub.name.text());
        }
    }
    for (i, clock) in board.clocks.iter().enumerate() {
        let made = build.clock(i, clock.name.text(), clock.hz.as_ref().map(|h| h.v), clock.mul, clock.div);
        keep(made, clock.name.span, clock.name.text());
    }
    for (i, cpu) in board.cpus.iter().enumerate() {
        let Some(kind) = plan.cpus[i].kind else { continue };
        let made = (kind.create)(cpu.model.text(), &plan.cpus[i].props, i)
            .and_then(|c| build.cpu(i, cpu.name.text(), c, plan.cpus[i].bus.unwrap_or(0), cpu.runs));
        keep(made, cpu.name.span, cpu.name.text());
    }
    for (i, device) in board.devices.iter().enumerate() {
        let Some(kind) = plan.devices[i].kind else { continue };
        let made =
            (kind.create)(&plan.devices[i].props).and_then(|d| build.device(i, device.name.text(), &kind, d, plan.devices[i].master));
        keep(made, device.name.span, device.name.text());
    }
    for (i, device) in plan.devices.iter().enumerate() {
        if let Some(on) = device.on {
            keep(build.part(i, on), board.devices[i].name.span, board.devices[i].name.text());
        }
    }
    for region in &plan.regions {
        if let Owner::Device(device, index) = region.owner {
            keep(build.map(device, index, region), region.at.span, &region.name);
        }
    }
    for (i, source) in plan.clocks.iter().enumerate() {
        if let Some(source) = source {
            keep(build.derive(i, *source), board.clocks[i].name.span, board.clocks[i].name.text());
        }
    }
    for (i, device) in plan.devices.iter().enumerate() {
        for (input, source) in device.clocks.iter().enumerate() {
            if let Some(source) = source {
                keep(build.clock_input(i, input, *source), board.devices[i].name.span, board.devices[i].name.text());
            }
        }
    }
    for (i, cpu) in plan.cpus.iter().enumerate() {
        if let Some(source) = cpu.clock {
            keep(build.cpu_clock(i, source), board.cpus[i].name.span, board.cpus[i].name.text());
        }
    }
    for link in &plan.links {
        keep(build.wire(link.from, link.to), link.span, &plan.pin_name(board, link.from, true));
    }
    for (region, from, level) in &plan.shown {
        let place = &plan.regions[*region];
        keep(build.shown(place, *from, *level), place.at.span, &place.name);
    }
    let mut images = Vec::new();
    for code in &board.codes {
        let bus = code.bus.as_ref().and_then(|b| board.buses.iter().position(|x| x.name.text() == b.text())).unwrap_or(0);
        match assemble(code) {
            Ok(bytes) => images.push(Image { name: code.name.to_text(), bus, at: code.at.v, bytes }),
            Err(errors) => {
                for (line, message) in errors {
                    let d = Diagnostic::error("assembly", format!("`{}`: {message}", code.name.text()));
                    problems.push(d.at(line_of(board, &code.asm, line), ""));
                }
            }
        }
    }
    if problems.is_empty() { Ok(images) } else { Err(problems) }
}

/// The place of a line of a text of several lines: its first line follows the opening quotes.
fn line_of(board: &Board, text: &Value, line: usize) -> Span {
    let source = board.sources.slice(text.span);
    if !source.trim_start_matches('#').starts_with("\"\"\"") {
        return text.span;
    }
    match source.lines().nth(line) {
        Some(found) => {
            let blank = found.len() - found.trim_start().len();
            let start = text.span.start + (found.as_ptr() as usize - source.as_ptr() as usize + blank) as u32;
            Span { start, end: start + found.trim().len() as u32, ..text.span }
        }
        None => text.span,
    }
}

/// A ROM's contents: the path is relative to the file that names it.
fn rom(board: &Board, memory: &Memory, file: &str) -> Result<Vec<u8>, String> {
    let beside = memory.file.as_ref().map_or("", |f| board.sources.name(f.span.file));
    let path = Path::new(beside).parent().filter(|_| !beside.starts_with("--") && !beside.starts_with("builtin:")).unwrap_or(Path::new(""));
    let path = path.join(file);
    let length = std::fs::metadata(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?.len();
    if length > memory.size.min(MAX_ROM) {
        return Err(format!("{} has {length} bytes; the memory holds {}", path.display(), memory.size));
    }
    std::fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}
