//! A machine description as plain data: what the board file says, typed, before any device type is looked at.

use crate::diagnostic::{Diagnostic, suggest};
use crate::source::{Sources, Span};
use crate::tree::{Data, Item, Value};
use std::sync::Arc;

/// A typed value and the written one it comes from.
#[derive(Clone, PartialEq, Debug)]
pub struct Given<T> {
    /// The value.
    pub v: T,
    /// What was written, where, and what it replaced.
    pub from: Value,
}

/// What happens at addresses where nothing is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unmapped {
    /// The access fails; the CPU takes its fault.
    Abort,
    /// Reads give zero, writes do nothing.
    Zero,
    /// Reads give all ones, writes do nothing.
    Ones,
}

/// An address space.
#[derive(Clone, Debug)]
pub struct Bus {
    /// Name.
    pub name: Value,
    /// Address width in bits, 1 to 64.
    pub width: u32,
    /// Device registers have their most significant byte at the lowest address.
    pub big_endian: bool,
    /// Reads where nothing is.
    pub unmapped_read: Unmapped,
    /// Writes where nothing is.
    pub unmapped_write: Unmapped,
}

/// A fixed or derived clock.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Name.
    pub name: Value,
    /// Its frequency if it is a source.
    pub hz: Option<Given<u64>>,
    /// What it is derived from otherwise: a clock, or `DEVICE.OUTPUT`.
    pub from: Option<Value>,
    /// Multiplier, at least 1.
    pub mul: u64,
    /// Divisor, at least 1.
    pub div: u64,
}

/// A connection as written: `irq "PORT" to="TARGET"` or `wire "PORT" to="TARGET"`.
#[derive(Clone, Debug)]
pub struct Wire {
    /// The source: `PORT`, `PORT N`, `PORT A..=B`; with `DEVICE.` in front at the top level.
    pub from: Option<Value>,
    /// The targets.
    pub to: Vec<Value>,
    /// Several sources may drive the target: their levels are ORed.
    pub shared: bool,
    /// Where to point when nothing better is known.
    pub span: Span,
}

/// Where something is on its bus.
#[derive(Clone, Debug)]
pub struct Place {
    /// The region's name; `None` for the only one.
    pub region: Option<Value>,
    /// First address.
    pub at: Given<u64>,
    /// Size in bytes, if the file says it.
    pub size: Option<Given<u64>>,
    /// Names of what this is meant to cover.
    pub over: Option<Value>,
    /// Greater covers less; 0 if not given.
    pub priority: i32,
    /// It is there only while a line has a level: which line (`when=`: while high, `unless=`: while low).
    pub when: Option<(Value, bool)>,
}

/// A CPU.
#[derive(Clone, Debug)]
pub struct Cpu {
    /// Name.
    pub name: Value,
    /// Instruction set.
    pub isa: Value,
    /// Model.
    pub model: Value,
    /// Bus, if said.
    pub bus: Option<Value>,
    /// Clock, if said.
    pub clock: Option<Value>,
    /// Properties.
    pub set: Vec<(crate::syntax::Name, Value)>,
    /// Output wires.
    pub wires: Vec<Wire>,
    /// False if it stays in reset until something releases it.
    pub runs: bool,
    /// Device-tree node.
    pub dt: Option<Item>,
}

/// What a memory is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryKind {
    /// Read and written.
    Ram,
    /// Read; writes do nothing.
    Rom,
}

/// RAM or ROM.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Name.
    pub name: Value,
    /// Kind.
    pub kind: MemoryKind,
    /// Where: the first place, then aliases. Each has its size.
    pub places: Vec<Place>,
    /// Size in bytes.
    pub size: u64,
    /// Bus, if said.
    pub bus: Option<Value>,
    /// A file with its contents.
    pub file: Option<Value>,
    /// Device-tree node.
    pub dt: Option<Item>,
}

/// A device.
#[derive(Clone, Debug)]
pub struct Device {
    /// Name.
    pub name: Value,
    /// Type name.
    pub kind: Value,
    /// Where its regions are; for a part its place on its bus.
    pub places: Vec<Place>,
    /// Bus of its regions, if said.
    pub bus: Option<Value>,
    /// Bus it is a DMA master on, if said.
    pub master: Option<Value>,
    /// What it is a part of, if said: `CONTROLLER`, or `CONTROLLER.SLOT`.
    pub on: Option<Value>,
    /// `clock="..."`: the first clock input.
    pub clock: Option<Value>,
    /// `clock "INPUT" from="..."`.
    pub clocks: Vec<(Value, Value)>,
    /// Properties.
    pub set: Vec<(crate::syntax::Name, Value)>,
    /// Output wires.
    pub wires: Vec<Wire>,
    /// Default back end of its serial port.
    pub chardev: Option<Value>,
    /// Device-tree node.
    pub dt: Option<Item>,
    /// One line.
    pub doc: Option<Value>,
}

/// What a stub answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StubPolicy {
    /// Reads as zero, writes are ignored.
    RazWi,
    /// Every access is a bus error.
    Abort,
    /// Each read of a word gives the complement of the last.
    Toggle,
    /// Reads have this bit set, the others clear: what a loop waiting for "ready" wants.
    PollReady(u32),
    /// Keeps what is written.
    Ram,
    /// Reads give this.
    Value(u64),
}

/// A known block that is not modelled.
#[derive(Clone, Debug)]
pub struct Stub {
    /// Name.
    pub name: Value,
    /// Where; always with a size.
    pub place: Place,
    /// Size in bytes.
    pub size: u64,
    /// Bus, if said.
    pub bus: Option<Value>,
    /// What it answers.
    pub policy: StubPolicy,
    /// True: do not log the first access.
    pub quiet: bool,
    /// Device-tree node.
    pub dt: Option<Item>,
}

/// A few lines of assembly put in memory at every reset.
#[derive(Clone, Debug)]
pub struct Code {
    /// Name.
    pub name: Value,
    /// Where.
    pub at: Given<u64>,
    /// Instruction set.
    pub isa: Value,
    /// Model of it, if said: which instructions there are, and the byte order.
    pub model: Option<Value>,
    /// Bus, if said.
    pub bus: Option<Value>,
    /// The text.
    pub asm: Value,
}

/// `protocol "NAME" { key value ... }`: one way to start.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// Its name.
    pub name: Value,
    /// Key, value, in order.
    pub keys: Vec<(crate::syntax::Name, Value)>,
}

impl Protocol {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.keys.iter().find(|(n, _)| n.text == key).map(|(_, v)| v)
    }
    /// The number `key`; `None` if it is not there or no number.
    pub fn int(&self, key: &str) -> Option<i128> {
        self.get(key).and_then(|v| v.data.int())
    }
    /// Problems with keys the loader of this protocol does not know, and with values that should be numbers.
    pub fn check(&self, numbers: &[&str], texts: &[&str]) -> Vec<Diagnostic> {
        let known = || numbers.iter().chain(texts).copied();
        let mut out = Vec::new();
        for (name, value) in &self.keys {
            if !known().any(|k| k == name.text) {
                out.push(
                    Diagnostic::error("unknown-property", format!("boot protocol `{}` has no `{}`", self.name.text(), name.text))
                        .at(name.span, "")
                        .maybe_help(suggest(&name.text, "it has", known())),
                );
            } else if numbers.contains(&name.text.as_str()) && value.data.int().is_none() && value.data != Data::Bad {
                out.push(
                    Diagnostic::error("type-mismatch", format!("`{}` wants a number, this is {}", name.text, value.data.kind()))
                        .at(value.span, ""),
                );
            }
        }
        out
    }
}

/// A CPU that something else starts.
#[derive(Clone, Debug)]
pub struct Secondary {
    /// The CPU.
    pub cpu: Value,
    /// Where it begins when the board is started through a boot protocol: a number, or the name of a `code` node.
    pub at: Option<Value>,
    /// The address it watches (for the device tree's `cpu-release-addr`).
    pub spin_at: Option<Given<u64>>,
}

/// How the board starts.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Its place in the file.
    pub span: Span,
    /// Ways to start, in order of preference.
    pub protocols: Vec<Protocol>,
    /// What runs if no kernel or firmware is given: the name of a `code` node or of an embedded demo, or a file.
    pub firmware: Option<Value>,
    /// Where firmware is put.
    pub firmware_at: Option<Given<u64>>,
    /// 32-bit words firmware finds its hardware by: numbers, or names of regions that stand for their addresses.
    pub words: Vec<Value>,
    /// CPUs other than the first.
    pub secondaries: Vec<Secondary>,
}

impl Boot {
    /// The protocol called `name`.
    pub fn protocol(&self, name: &str) -> Option<&Protocol> {
        self.protocols.iter().find(|p| p.name.text() == name)
    }
}

/// A board.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// Name.
    pub name: String,
    /// Where its name stands.
    pub span: Option<Span>,
    /// What it is.
    pub doc: Vec<Value>,
    /// Human-readable model, for device trees.
    pub model: Option<Value>,
    /// `compatible` strings, most specific first.
    pub compatible: Vec<Value>,
    /// Parameters as they came out.
    pub params: Vec<(String, Arc<Value>)>,
    /// Address spaces.
    pub buses: Vec<Bus>,
    /// Clocks.
    pub clocks: Vec<Clock>,
    /// CPUs; the index is the CPU number.
    pub cpus: Vec<Cpu>,
    /// Memories.
    pub memories: Vec<Memory>,
    /// Devices.
    pub devices: Vec<Device>,
    /// Stubs.
    pub stubs: Vec<Stub>,
    /// Top-level wires.
    pub wires: Vec<Wire>,
    /// Code.
    pub codes: Vec<Code>,
    /// Aliases: name, target.
    pub aliases: Vec<(crate::syntax::Name, Value)>,
    /// How it starts.
    pub boot: Option<Boot>,
    /// Extra device-tree nodes.
    pub dt: Vec<Item>,
    /// Tests: `expect` nodes as written.
    pub expects: Vec<Item>,
    /// Names of things the file switches off.
    pub disabled: Vec<String>,
    /// The effective tree, for `explain`.
    pub items: Vec<Item>,
    /// The texts.
    pub sources: Sources,
    /// What loading found wrong; `check` repeats it.
    pub problems: Vec<Diagnostic>,
    /// `--set` paths whose first part names nothing on the board.
    pub unknown_paths: Vec<crate::syntax::Name>,
    /// Files or templates are missing, so only `problems` can be told.
    pub incomplete: bool,
}

impl Board {
    /// The first RAM of the file, where boot loaders put things: its address and size in bytes.
    pub fn main_memory(&self) -> Option<(u64, u64)> {
        let ram = self.memories.iter().find(|m| m.kind == MemoryKind::Ram)?;
        ram.places.first().map(|p| (p.at.v, ram.size))
    }
    /// True if `name` is one of the board's `compatible` strings.
    pub fn is_compatible(&self, name: &str) -> bool {
        self.compatible.iter().any(|c| c.text() == name)
    }
}
